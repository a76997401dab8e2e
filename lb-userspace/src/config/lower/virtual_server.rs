//! `virtual_server`: its header and its own words. keepalived-spec section 7.

use std::time::Duration;

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::keywords::Block;
use super::super::model::{Family, Granularity, Protocol, Scheduler, ServiceMatch};
use super::draft::{Sorry, Timers, Uses, VirtualServer};
use super::values::{
    LONGEST, LONGEST_CONNECT, Out, bad, bad_value, boolean, family, ip, ip_port, number, number32,
    timer, uint,
};
use super::{forwarding, known, real_server, scripts};

/// keepalived's limit: the kernel's own field is wider.
const MOST_WEIGHT: u32 = 2_147_483_647;
/// A bare `persistence_timeout`, and what other words switch on.
pub(super) const DEFAULT_PERSISTENCE: Duration = Duration::from_mins(6);

/// Reads a virtual server; `None` if its header loses it.
pub(super) fn read(out: &mut Out, block: &Statement) -> Option<VirtualServer> {
    let service = header(out, block)?;
    let mut server = VirtualServer {
        span: block.span(),
        family: match &service {
            ServiceMatch::Address { ip, .. } => Some(family(*ip)),
            _ => None,
        },
        service,
        protocol: None,
        scheduler: None,
        scheduler_flags: 0,
        ops: false,
        forwarding: None,
        persistence_timeout: None,
        granularity: None,
        engine: None,
        timers: Timers::default(),
        weight: None,
        inhibit_on_failure: false,
        alpha: false,
        omega: false,
        quorum: 1,
        hysteresis: 0,
        quorum_up: None,
        quorum_down: None,
        ha_suspend: false,
        sorry: None,
        virtualhost: None,
        local_group: None,
        mss: None,
        reals: Vec::new(),
        uses: Uses::new(),
    };
    for statement in block.statements() {
        if known(out, statement, Block::VirtualServer) {
            statement_in(out, statement, &mut server);
        }
    }
    Some(server)
}

fn header(out: &mut Out, block: &Statement) -> Option<ServiceMatch> {
    match block.argument(0)? {
        "fwmark" => {
            let mark = block.argument(1).and_then(uint).and_then(|mark| u32::try_from(mark).ok());
            match mark.filter(|mark| *mark > 0) {
                Some(mark) => Some(ServiceMatch::Fwmark { mark, family: None }),
                None if block.arguments.len() < 2 => {
                    missing(out, block, "a mark");
                    None
                }
                None => {
                    let message = "bad mark; the virtual server is dropped";
                    out.push(
                        Diag::new(Code::BadValue, block.argument_span(1), message)
                            .label("expected a number from 1 to 4294967295"),
                    );
                    None
                }
            }
        }
        "group" => {
            let Some(name) = block.argument(1) else {
                missing(out, block, "the name of a group");
                return None;
            };
            Some(ServiceMatch::Group { name: name.to_owned(), members: Vec::new() })
        }
        word => address_header(out, block, word),
    }
}

fn missing(out: &mut Out, block: &Statement, what: &str) {
    let word = block.argument(0).unwrap_or("");
    let message = format!("`virtual_server {word}` needs {what}");
    out.push(Diag::new(Code::MissingParameter, block.span(), message));
}

fn address_header(out: &mut Out, block: &Statement, word: &str) -> Option<ServiceMatch> {
    // keepalived cuts a glued range or prefix off silently.
    let first = word.split(['/', '-']).next().unwrap_or(word);
    if first.len() < word.len() && ip(first).is_some() {
        let message = format!("a virtual server has one address; `{word}` is read as `{first}`");
        out.push(
            Diag::new(Code::BadRange, block.argument_span(0), message)
                .help("put ranges into a `virtual_server_group`"),
        );
        let mut cut = block.clone();
        cut.block = None;
        first.clone_into(&mut cut.arguments[0].text);
        return ip_port(out, &cut, 0, "the virtual server is dropped")
            .map(|(ip, port)| ServiceMatch::Address { ip, port });
    }
    ip_port(out, block, 0, "the virtual server is dropped")
        .map(|(ip, port)| ServiceMatch::Address { ip, port })
}

fn statement_in(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    if let Some(keyword) = statement.known {
        server.uses.push((keyword.name, statement.keyword.span));
    }
    match statement.name() {
        "lb_algo" | "lvs_sched" => scheduler(out, statement, server),
        "lb_kind" | "lvs_method" => {
            if let Some(forwarding) = forwarding::read(out, statement) {
                server.forwarding = Some(forwarding);
            }
        }
        "protocol" => match statement.argument(0).unwrap_or("").to_ascii_uppercase().as_str() {
            "TCP" => server.protocol = Some(Protocol::Tcp),
            "UDP" => server.protocol = Some(Protocol::Udp),
            "SCTP" => server.protocol = Some(Protocol::Sctp),
            _ => bad(out, statement, 0, "TCP, UDP or SCTP"),
        },
        "persistence_timeout"
        | "persistent_timeout"
        | "persistence_granularity"
        | "persistence_engine" => {
            persistence(out, statement, server);
        }
        "ops" => server.ops = true,
        "flag-1" | "flag-2" | "flag-3" | "sh-port" | "sh-fallback" | "mh-port" | "mh-fallback"
        | "hashed" => {
            flag(out, statement, server);
        }
        "delay_loop" | "connect_timeout" | "retry" | "delay_before_retry" | "warmup" => {
            timers(out, statement, &mut server.timers, 1);
        }
        "weight" => server.weight = number32(out, statement, 1, MOST_WEIGHT).or(server.weight),
        "inhibit_on_failure" => server.inhibit_on_failure = true,
        "alpha" => server.alpha = true,
        "omega" => server.omega = true,
        "quorum" => server.quorum = number32(out, statement, 1, u32::MAX).unwrap_or(1),
        "hysteresis" => {
            server.hysteresis = number32(out, statement, 0, u32::MAX).unwrap_or(server.hysteresis);
        }
        "quorum_up" => scripts::read_once(out, statement, &mut server.quorum_up),
        "quorum_down" => scripts::read_once(out, statement, &mut server.quorum_down),
        "ha_suspend" => server.ha_suspend = true,
        "sorry_server" | "sorry_server_inhibit" | "sorry_server_lvs_method" => {
            sorry(out, statement, server);
        }
        "virtualhost" => host_name(out, statement, &mut server.virtualhost),
        "snmp_name" => snmp_name(out, statement),
        "smtp_alert" => {
            boolean(out, statement);
        }
        "ip_family" => ip_family(out, statement, server),
        "laddr_group_name" => server.local_group = statement.arguments.first().cloned(),
        "xlb_mss" => mss(out, statement, server),
        "real_server" => server.reals.extend(real_server::read(out, statement)),
        _ => {}
    }
}

fn scheduler(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    let word = statement.argument(0).unwrap_or("");
    let names = Scheduler::ALL.map(Scheduler::name);
    match Scheduler::ALL.into_iter().find(|scheduler| scheduler.name() == word) {
        Some(scheduler) => server.scheduler = Some(scheduler),
        None => out.push(
            bad_value(statement, 0, &format!("one of {}", names.join(", "))).suggest(word, names),
        ),
    }
}

fn persistence(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    match statement.name() {
        "persistence_granularity" => {
            let word = statement.argument(0).unwrap_or("");
            let v4 = server.family.map_or(word.contains('.'), |family| family == Family::Inet);
            let granularity = if v4 {
                word.parse().ok().map(Granularity::Mask4)
            } else {
                let prefix = uint(word).filter(|prefix| (1..=128).contains(prefix));
                prefix.and_then(|prefix| u8::try_from(prefix).ok()).map(Granularity::Prefix6)
            };
            match granularity {
                Some(granularity) => {
                    server.granularity = Some(granularity);
                    server.persistence_timeout.get_or_insert(DEFAULT_PERSISTENCE);
                }
                None if v4 => bad(out, statement, 0, "a netmask such as 255.255.255.0"),
                None => bad(out, statement, 0, "a prefix length from 1 to 128"),
            }
        }
        "persistence_engine" => match statement.argument(0) {
            Some("sip") => server.engine = Some("sip".to_owned()),
            _ => bad(out, statement, 0, "sip"),
        },
        _ if statement.arguments.is_empty() => {
            server.persistence_timeout = Some(DEFAULT_PERSISTENCE);
        }
        _ => {
            if let Some(seconds) = number(out, statement, 1, 2_678_400) {
                server.persistence_timeout = Some(Duration::from_secs(seconds));
            }
        }
    }
}

/// Scheduler flags are judged against the scheduler set so far.
fn flag(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    let name = statement.name();
    let (wanted, bit) = match name {
        "flag-1" => (None, 1),
        "flag-2" => (None, 2),
        "flag-3" => (None, 4),
        "sh-fallback" => (Some(Scheduler::Sh), 1),
        "sh-port" => (Some(Scheduler::Sh), 2),
        "mh-fallback" => (Some(Scheduler::Mh), 1),
        "mh-port" => (Some(Scheduler::Mh), 2),
        // `hashed`: no effect, but it too only belongs to the hashing schedulers.
        _ => (Some(Scheduler::Sh), 0),
    };
    let hashing = matches!(server.scheduler, Some(Scheduler::Sh | Scheduler::Mh));
    match wanted {
        Some(wanted) if server.scheduler != Some(wanted) => {
            // keepalived says nothing about the one's word under the other.
            if !hashing {
                let message = format!(
                    "`{name}` has no effect: the scheduler so far is not {}",
                    wanted.name()
                );
                out.push(
                    Diag::new(Code::FlagIgnored, statement.keyword.span, message)
                        .help(format!("write `lb_algo {}` above it", wanted.name())),
                );
            }
        }
        _ => server.scheduler_flags |= bit,
    }
}

fn sorry(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    if statement.name() == "sorry_server" {
        if let Some((ip, port)) = ip_port(out, statement, 0, "the sorry server is not used") {
            server.sorry =
                Some(Sorry { span: statement.span(), ip, port, forwarding: None, inhibit: false });
        }
        return;
    }
    let Some(sorry) = &mut server.sorry else {
        let message =
            format!("`{}` without a `sorry_server` before it has no effect", statement.name());
        out.push(Diag::new(Code::NoSorryServer, statement.keyword.span, message));
        return;
    };
    if statement.name() == "sorry_server_inhibit" {
        sorry.inhibit = true;
    } else if statement.arguments.is_empty() {
        let message = "`sorry_server_lvs_method` needs an argument";
        out.push(Diag::new(Code::MissingParameter, statement.keyword.span, message));
    } else if let Some(forwarding) = forwarding::read(out, statement) {
        sorry.forwarding = Some(forwarding);
    }
}

/// `xlb_mss`; at least what Linux takes for an MSS (`TCP_MIN_MSS` in include/net/tcp.h), at most what an IPv4 packet carries.
fn mss(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    const LEAST: u16 = 88;
    const MOST: u16 = u16::MAX - 20 - 20;
    let word = statement.argument(0).and_then(uint).and_then(|bytes| u16::try_from(bytes).ok());
    match word.filter(|bytes| (LEAST..=MOST).contains(bytes)) {
        Some(bytes) => server.mss = Some((bytes, statement.keyword.span)),
        None => out.push(
            bad_value(statement, 0, &format!("a whole number from {LEAST} to {MOST}")).help(
                "write the smallest MTU on the way less the headers: 40 bytes with IPv4, 60 with IPv6",
            ),
        ),
    }
}

fn ip_family(out: &mut Out, statement: &Statement, server: &mut VirtualServer) {
    let family = match statement.argument(0) {
        Some("inet") => Family::Inet,
        Some("inet6") => Family::Inet6,
        _ => {
            bad(out, statement, 0, "inet or inet6");
            return;
        }
    };
    if server.family.is_some_and(|known| known != family) {
        let message = "`ip_family` contradicts the address family known already; it has no effect";
        out.push(Diag::new(Code::FamilyMismatch, statement.span(), message));
    } else {
        server.family = Some(family);
    }
}

/// `delay_loop` and its siblings, for virtual servers, real servers and checkers.
pub(super) fn timers(out: &mut Out, statement: &Statement, timers: &mut Timers, least_retry: u32) {
    match statement.name() {
        "delay_loop" => timers.delay_loop = timer(out, statement, 1, LONGEST).or(timers.delay_loop),
        "connect_timeout" => {
            timers.connect_timeout =
                timer(out, statement, 1, LONGEST_CONNECT).or(timers.connect_timeout);
        }
        "retry" => timers.retry = number32(out, statement, least_retry, u32::MAX).or(timers.retry),
        "delay_before_retry" => {
            timers.delay_before_retry =
                timer(out, statement, 0, LONGEST).or(timers.delay_before_retry);
        }
        _ => timers.warmup = timer(out, statement, 0, LONGEST).or(timers.warmup),
    }
}

/// `virtualhost`, whose missing name is no more than a warning.
pub(super) fn host_name(out: &mut Out, statement: &Statement, slot: &mut Option<String>) {
    match statement.argument(0) {
        Some(name) => *slot = Some(name.to_owned()),
        None => bad(out, statement, 0, "a host name"),
    }
}

/// `snmp_name`: exactly one word.
pub(super) fn snmp_name(out: &mut Out, statement: &Statement) {
    if statement.arguments.len() != 1 {
        bad(out, statement, statement.arguments.len().min(1), "one word");
    }
}
