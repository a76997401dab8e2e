//! From the configuration to the list of checks, and what makes two checkers the same one.
//!
//! Pure. Identity follows keepalived's reload (`compare_conn_opts`, `check_tcp.c`): kind, connection options and
//! content, never timers or retries.

use std::net::{IpAddr, SocketAddr};

use crate::config::model::{
    CheckKind, CheckTarget, Checker, Protocol, RealServer, ServiceMatch, VirtualServer,
};

use super::fsm::Status;

/// Which checker of which real server of which virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckId {
    pub service: (ServiceMatch, Option<Protocol>),
    pub real: (IpAddr, u16),
    pub checker: CheckerIdentity,
}

impl CheckId {
    /// The id by which a checker is known again after a reload: a group counts by its name, so that a change of
    /// its members forgets nothing.
    #[must_use]
    pub fn across_reloads(&self) -> Self {
        let mut id = self.clone();
        if let ServiceMatch::Group { members, .. } = &mut id.service.0 {
            members.clear();
        }
        id
    }
}

/// What a checker asks, without how often.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckerIdentity {
    pub kind: IdentityKind,
    pub connect: SocketAddr,
    pub bindto: Option<IpAddr>,
    pub bind_port: Option<u16>,
    pub bind_if: Option<String>,
    pub fwmark: Option<u32>,
    /// 0 for the first of several equal checkers of one real server.
    pub repeat: u32,
}

/// Kind and content of a checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityKind {
    Tcp,
}

impl CheckerIdentity {
    /// `None` for kinds that are not run.
    pub fn of(checker: &Checker) -> Option<Self> {
        let target = checker.target.as_ref()?;
        let kind = match checker.kind {
            CheckKind::Tcp => IdentityKind::Tcp,
            CheckKind::Http(_)
            | CheckKind::Smtp { .. }
            | CheckKind::Dns { .. }
            | CheckKind::Udp(_)
            | CheckKind::Ping
            | CheckKind::Misc(_) => return None,
        };
        let CheckTarget {
            connect_ip,
            connect_port,
            bindto,
            bind_port,
            bind_if,
            fwmark,
            connect_timeout: _,
        } = target.clone();
        let connect = SocketAddr::new(connect_ip, connect_port);
        Some(Self { kind, connect, bindto, bind_port, bind_if, fwmark, repeat: 0 })
    }
}

/// One check to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckSpec {
    pub id: CheckId,
    pub checker: Checker,
    /// What a checker that was not there before is held to be until its first check has ended.
    pub initial: Status,
}

/// The checks of these virtual servers, in file order; kinds that are not run are left out. `initial` says what a
/// checker starts as if it is new; most callers want [`configured`] or what they knew of the real server before.
pub fn specs(
    services: &[VirtualServer],
    mut initial: impl FnMut(&CheckId, &RealServer) -> Status,
) -> Vec<CheckSpec> {
    let mut list = Vec::new();
    for service in services {
        for real in &service.real_servers {
            let first = list.len();
            for checker in &real.checkers {
                let Some(mut identity) = CheckerIdentity::of(checker) else { continue };
                let equal = |spec: &&CheckSpec| {
                    let mut other = spec.id.checker.clone();
                    other.repeat = 0;
                    other == identity
                };
                identity.repeat = list[first..].iter().filter(equal).count() as u32;
                let id = CheckId {
                    service: (service.service.clone(), service.protocol),
                    real: (real.ip, real.port),
                    checker: identity,
                };
                let initial = initial(&id, real);
                list.push(CheckSpec { id, checker: checker.clone(), initial });
            }
        }
    }
    list
}

/// What the configuration says of a real server nothing is known of: up at once, with alpha down.
pub const fn configured(real: &RealServer) -> Status {
    if real.alpha { Status::Down } else { Status::Up }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;

    use crate::config::model::{GroupMember, Kind, Scheduler};

    pub(crate) fn tcp_checker(peer: SocketAddr) -> Checker {
        Checker {
            delay_loop: Duration::from_secs(1),
            warmup: Duration::ZERO,
            retry: 0,
            delay_before_retry: Duration::from_secs(1),
            alpha: false,
            log_all_failures: false,
            target: Some(CheckTarget {
                connect_ip: peer.ip(),
                connect_port: peer.port(),
                bindto: None,
                bind_port: None,
                bind_if: None,
                fwmark: None,
                connect_timeout: Duration::from_secs(1),
            }),
            kind: CheckKind::Tcp,
        }
    }

    pub(crate) fn real(peer: SocketAddr, checkers: Vec<Checker>) -> RealServer {
        RealServer {
            ip: peer.ip(),
            port: peer.port(),
            weight: 1,
            kind: Kind::Nat,
            tunnel: None,
            inhibit_on_failure: false,
            alpha: checkers.iter().any(|checker| checker.alpha),
            uthreshold: 0,
            lthreshold: 0,
            notify_up: None,
            notify_down: None,
            checkers,
        }
    }

    pub(crate) fn service(service: ServiceMatch, real_servers: Vec<RealServer>) -> VirtualServer {
        VirtualServer {
            service,
            protocol: Some(Protocol::Tcp),
            scheduler: Scheduler::Rr,
            flags: vec![],
            kind: Kind::Nat,
            persistence: None,
            delay_loop: Duration::from_secs(1),
            quorum: 1,
            hysteresis: 0,
            quorum_up: None,
            quorum_down: None,
            alpha: false,
            omega: false,
            ha_suspend: false,
            sorry_server: None,
            real_servers,
            local_addresses: None,
            mss: None,
        }
    }

    fn group(port: u16) -> ServiceMatch {
        let ip = "198.51.100.1".parse().unwrap();
        let members = vec![GroupMember::Addresses { first: ip, last: ip, port }];
        ServiceMatch::Group { name: "web".into(), members }
    }

    fn peer() -> SocketAddr {
        "192.0.2.10:80".parse().unwrap()
    }

    #[test]
    fn only_kinds_that_are_run_become_checks() {
        let mut ping = tcp_checker(peer());
        ping.kind = CheckKind::Ping;
        let services = [service(group(80), vec![real(peer(), vec![ping, tcp_checker(peer())])])];
        let list = specs(&services, |_, real| configured(real));
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].initial, Status::Up);
        assert_eq!(list[0].id.checker.connect, peer());
    }

    #[test]
    fn alpha_starts_down() {
        let mut alpha = tcp_checker(peer());
        alpha.alpha = true;
        let services = [service(group(80), vec![real(peer(), vec![alpha])])];
        assert_eq!(specs(&services, |_, real| configured(real))[0].initial, Status::Down);
    }

    #[test]
    fn timers_are_no_part_of_the_identity_and_the_bound_address_is() {
        let checker = tcp_checker(peer());
        let mut slower = checker.clone();
        slower.delay_loop = Duration::from_secs(9);
        slower.retry = 7;
        slower.target.as_mut().unwrap().connect_timeout = Duration::from_secs(9);
        assert_eq!(CheckerIdentity::of(&checker), CheckerIdentity::of(&slower));
        slower.target.as_mut().unwrap().bindto = Some("192.0.2.1".parse().unwrap());
        assert_ne!(CheckerIdentity::of(&checker), CheckerIdentity::of(&slower));
    }

    #[test]
    fn equal_checkers_of_one_real_server_are_numbered() {
        let twice = vec![tcp_checker(peer()), tcp_checker(peer())];
        let list = specs(&[service(group(80), vec![real(peer(), twice)])], |_, r| configured(r));
        assert_eq!(list.iter().map(|s| s.id.checker.repeat).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_group_is_known_again_by_its_name() {
        let id = |port| {
            let one = service(group(port), vec![real(peer(), vec![tcp_checker(peer())])]);
            specs(&[one], |_, r| configured(r))[0].id.clone()
        };
        assert_ne!(id(80), id(81));
        assert_eq!(id(80).across_reloads(), id(81).across_reloads());
    }
}
