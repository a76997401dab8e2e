//! Inheritance: checker → real server → virtual server → built in. keepalived-spec sections 8 and 9.

use std::net::IpAddr;
use std::time::Duration;

use super::super::diag::{Code, Diag};
use super::super::model::{CheckKind, CheckTarget, Checker, Globals, Kind, RealServer};
use super::super::source::Span;
use super::RealPlace;
use super::draft::{self, Connection, Forwarding, Timers};
use super::values::{Out, family};

const DELAY_LOOP: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a real server inherits.
pub(super) struct Outer<'a> {
    pub server: &'a draft::VirtualServer,
    pub forwarding: Forwarding,
    pub globals: &'a Globals,
    /// The service's port, 0 if it has none.
    pub port: u16,
}

impl Outer<'_> {
    /// The virtual server's check interval.
    pub(super) fn delay_loop(&self) -> Duration {
        self.server.timers.delay_loop.unwrap_or(DELAY_LOOP)
    }

    /// Fills in a real server; its port is still the written one.
    pub(super) fn real_server(
        &self,
        out: &mut Out,
        draft: &draft::RealServer,
    ) -> (RealServer, RealPlace) {
        let server = self.server;
        let forwarding = draft.forwarding.unwrap_or(self.forwarding);
        let mut place =
            RealPlace { span: draft.span, uses: draft.uses.clone(), checkers: Vec::new() };
        let mut checkers = Vec::new();
        for checker in &draft.checkers {
            if let Some(resolved) = self.checker(out, draft, checker) {
                checkers.push(resolved);
                place.checkers.push(checker.span);
            }
        }
        let real = RealServer {
            ip: draft.ip,
            port: draft.port,
            weight: draft.weight.or(server.weight).unwrap_or(1),
            kind: forwarding.kind,
            tunnel: (forwarding.kind == Kind::Tun).then_some(forwarding.tunnel),
            inhibit_on_failure: draft.inhibit_on_failure.unwrap_or(server.inhibit_on_failure),
            alpha: checkers.iter().any(|checker| checker.alpha),
            uthreshold: draft.uthreshold,
            lthreshold: draft.lthreshold,
            notify_up: draft.notify_up.clone(),
            notify_down: draft.notify_down.clone(),
            checkers,
        };
        (real, place)
    }

    fn checker(
        &self,
        out: &mut Out,
        real: &draft::RealServer,
        draft: &draft::Checker,
    ) -> Option<Checker> {
        let timers = draft.timers.or(real.timers).or(self.server.timers);
        let delay_loop = timers.delay_loop.unwrap_or(DELAY_LOOP);
        let (retry, delay_before_retry) = built_in(&draft.kind, delay_loop);
        let target = match &draft.kind {
            CheckKind::Misc(_) => None,
            _ => Some(self.target(out, real, draft, timers)?),
        };
        let mut kind = draft.kind.clone();
        match &mut kind {
            CheckKind::Http(http) => {
                let inherited = draft.virtualhost.as_ref().or(real.virtualhost.as_ref());
                let inherited = inherited.or(self.server.virtualhost.as_ref());
                for url in &mut http.urls {
                    url.virtualhost = url.virtualhost.take().or(inherited.cloned());
                }
            }
            CheckKind::Misc(misc) => misc.timeout = draft.misc_timeout.unwrap_or(self.delay_loop()),
            _ => {}
        }
        Some(Checker {
            delay_loop,
            warmup: timers.warmup.unwrap_or(delay_loop),
            retry: timers.retry.unwrap_or(retry),
            delay_before_retry: timers.delay_before_retry.unwrap_or(delay_before_retry),
            alpha: draft.alpha.or(real.alpha).unwrap_or(self.server.alpha),
            log_all_failures: draft.log_all_failures.unwrap_or(self.globals.log_all_failures),
            target,
            kind,
        })
    }

    fn target(
        &self,
        out: &mut Out,
        real: &draft::RealServer,
        draft: &draft::Checker,
        timers: Timers,
    ) -> Option<CheckTarget> {
        let Connection { connect_ip, connect_port, bindto, bind_port, bind_if, fwmark } =
            &draft.connection;
        let connect_ip = connect_ip.unwrap_or(real.ip);
        let link_local = matches!(connect_ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if link_local && bind_if.is_none() {
            let message = format!(
                "a check of the link-local address {connect_ip} needs `bind_if`; it is dropped"
            );
            out.push(Diag::new(Code::CheckerIgnored, draft.span, message));
            return None;
        }
        let written = if real.port == 0 { self.port } else { real.port };
        Some(CheckTarget {
            connect_ip,
            connect_port: connect_port.unwrap_or(written),
            bindto: bindto.and_then(|bindto| same_family(out, bindto, connect_ip)),
            bind_port: *bind_port,
            bind_if: bind_if.clone(),
            fwmark: *fwmark,
            connect_timeout: timers.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        })
    }
}

fn same_family(out: &mut Out, (bindto, span): (IpAddr, Span), target: IpAddr) -> Option<IpAddr> {
    if family(bindto) == family(target) {
        return Some(bindto);
    }
    let message = format!(
        "`bindto {bindto}` and the checked address {target} are of different families; it has no effect"
    );
    out.push(Diag::new(Code::FamilyMismatch, span, message));
    None
}

/// retry and `delay_before_retry` when nobody says them.
fn built_in(kind: &CheckKind, delay_loop: Duration) -> (u32, Duration) {
    match kind {
        CheckKind::Http(_) => (1, Duration::from_secs(3)),
        CheckKind::Dns { .. } => (3, delay_loop),
        CheckKind::Misc(_) => (0, Duration::from_secs(1)),
        CheckKind::Tcp | CheckKind::Smtp { .. } | CheckKind::Udp(_) | CheckKind::Ping => {
            (1, Duration::from_secs(1))
        }
    }
}
