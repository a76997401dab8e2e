//! The checks after the file is read, in keepalived's order. keepalived-spec section 10.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use super::super::diag::{Code, Diag};
use super::super::model::{
    Family, Granularity, GroupMember, Kind, Persistence, Protocol, RealServer, Scheduler,
    ServiceMatch, SorryServer, Tunnel, VirtualServer,
};
use super::super::source::Span;
use super::draft::{self, Forwarding};
use super::groups::Groups;
use super::resolve::Outer;
use super::values::{Out, family};
use super::virtual_server::DEFAULT_PERSISTENCE;
use super::{Lowered, RealPlace, ServerPlace};

/// Turns drafts into the model; what is lost on the way is reported.
pub(super) fn finish(lowered: &mut Lowered, drafts: Vec<draft::VirtualServer>, groups: &Groups) {
    let mut seen = HashSet::new();
    let Lowered { config, diags, places } = lowered;
    for draft in drafts {
        let span = draft.span;
        let Some((server, place)) = virtual_server(diags, draft, groups, &config.globals) else {
            continue;
        };
        if !seen.insert(identity(&server)) {
            let message = "an earlier virtual server is the same service; this one is dropped";
            diags.push(
                Diag::new(Code::DuplicateVirtualServer, span, message)
                    .note("in keepalived its real servers would silently join the first one's"),
            );
            continue;
        }
        config.virtual_servers.push(server);
        places.virtual_servers.push(place);
    }
}

/// What makes a service one and the same.
fn identity(server: &VirtualServer) -> (ServiceMatch, Option<Protocol>) {
    let service = match &server.service {
        ServiceMatch::Group { name, .. } => {
            ServiceMatch::Group { name: name.clone(), members: Vec::new() }
        }
        other => other.clone(),
    };
    (service, server.protocol)
}

fn virtual_server(
    out: &mut Out,
    mut draft: draft::VirtualServer,
    groups: &Groups,
    globals: &super::super::model::Globals,
) -> Option<(VirtualServer, ServerPlace)> {
    join_group(out, &mut draft, groups)?;
    let family = settle_family(out, &mut draft)?;
    if draft.reals.is_empty() {
        let message = "a virtual server without real servers is dropped";
        out.push(Diag::new(Code::NoRealServers, draft.span, message));
        return None;
    }
    let protocol = protocol(out, &mut draft);
    zero_port(out, &mut draft);
    let scheduler = draft.scheduler.unwrap_or_else(|| {
        let message = "no scheduler; `wlc` is used";
        out.push(
            Diag::new(Code::NoScheduler, draft.span, message)
                .help("write `lb_algo wlc`, or another one"),
        );
        Scheduler::Wlc
    });
    let port = service_port(&draft.service);
    drop_repeated(out, &mut draft.reals, port);
    let forwarding = forwarding(out, &draft);
    let outer = Outer { server: &draft, forwarding, globals, port };
    let (mut reals, mut places): (Vec<RealServer>, Vec<RealPlace>) =
        draft.reals.iter().map(|real| outer.real_server(out, real)).unzip();
    let delay_loop = outer.delay_loop();
    let mut sorry = draft.sorry.as_ref().map(|sorry| {
        let Forwarding { kind, tunnel } = sorry.forwarding.unwrap_or(forwarding);
        SorryServer {
            ip: sorry.ip,
            port: sorry.port,
            kind,
            tunnel: (kind == Kind::Tun).then_some(tunnel),
            inhibit: sorry.inhibit,
        }
    });
    agree_on_inhibit(out, &draft, &mut sorry, &reals, port);
    let (quorum, hysteresis) = quorum(out, &draft, &reals);
    ports(out, &draft, port, &mut sorry, &mut reals, &places);
    drop_merged(out, &mut reals, &mut places);
    let place = ServerPlace { span: draft.span, uses: draft.uses.clone(), real_servers: places };
    let local_addresses = local_addresses(out, &draft, groups);
    let mss = mss(out, &draft, protocol);
    let persistence = draft.persistence_timeout.map(|timeout| Persistence {
        timeout,
        granularity: granularity(draft.granularity, family),
        engine: draft.engine.clone(),
    });
    let server = VirtualServer {
        service: match draft.service {
            ServiceMatch::Fwmark { mark, .. } => {
                ServiceMatch::Fwmark { mark, family: Some(family) }
            }
            other => other,
        },
        protocol,
        scheduler,
        flags: flags(scheduler, draft.scheduler_flags, draft.ops),
        kind: forwarding.kind,
        persistence,
        delay_loop,
        quorum,
        hysteresis,
        quorum_up: draft.quorum_up,
        quorum_down: draft.quorum_down,
        alpha: draft.alpha,
        omega: draft.omega,
        ha_suspend: draft.ha_suspend,
        sorry_server: sorry,
        real_servers: reals,
        local_addresses,
        mss,
    };
    Some((server, place))
}

fn join_group(out: &mut Out, draft: &mut draft::VirtualServer, groups: &Groups) -> Option<()> {
    if let ServiceMatch::Group { name, members } = &mut draft.service {
        let Some(group) = groups.service(name) else {
            let message =
                format!("group `{name}` is empty or not defined; the virtual server is dropped");
            let known = groups.services.iter().map(|group| group.name.as_str());
            out.push(Diag::new(Code::UnknownGroup, draft.span, message).suggest(name, known));
            return None;
        };
        members.clone_from(&group.members);
    }
    Some(())
}

fn tunnelled(draft: &draft::VirtualServer, own: Option<Forwarding>) -> bool {
    own.or(draft.forwarding).is_some_and(|forwarding| forwarding.kind == Kind::Tun)
}

/// The service's family; servers of another one are dropped unless tunnelled.
fn settle_family(out: &mut Out, draft: &mut draft::VirtualServer) -> Option<Family> {
    let (mixed, of_members) = match &draft.service {
        ServiceMatch::Group { members, .. } => member_families(members),
        _ => (false, None),
    };
    if mixed {
        let unclear = matches!(&draft.service, ServiceMatch::Group { members, .. }
            if members.iter().any(|member| matches!(member, GroupMember::Fwmark { family: None, .. })));
        if unclear || !draft.reals.iter().all(|real| tunnelled(draft, real.forwarding)) {
            let message = "the group mixes IPv4 and IPv6; the virtual server is dropped";
            out.push(Diag::new(Code::MixedGroup, draft.span, message).help(
                "that needs tunnelled real servers only, and a family for each of the group's marks",
            ));
            return None;
        }
        return Some(Family::Inet);
    }
    let family = of_members.or(draft.family).or(match draft.granularity {
        Some(Granularity::Mask4(_)) => Some(Family::Inet),
        Some(Granularity::Prefix6(_)) => Some(Family::Inet6),
        None => None,
    });
    let family = family.unwrap_or_else(|| family_of_servers(draft));
    let fits = |ip: IpAddr, own: Option<Forwarding>| {
        super::values::family(ip) == family || tunnelled(draft, own)
    };
    let mismatch = |span: Span, what: &str| {
        Diag::new(
            Code::FamilyMismatch,
            span,
            format!("the {what} is not of the virtual server's address family; it is dropped"),
        )
    };
    let fitting: Vec<bool> =
        draft.reals.iter().map(|real| fits(real.ip, real.forwarding)).collect();
    let sorry_lost = draft
        .sorry
        .as_ref()
        .filter(|sorry| !fits(sorry.ip, sorry.forwarding))
        .map(|sorry| sorry.span);
    if let Some(span) = sorry_lost {
        out.push(mismatch(span, "sorry server"));
        draft.sorry = None;
    }
    let mut fitting = fitting.into_iter();
    draft.reals.retain(|real| {
        let fits = fitting.next().unwrap_or(true);
        if !fits {
            out.push(mismatch(real.span, "real server"));
        }
        fits
    });
    Some(family)
}

/// Whether both families occur, and the one if it is one.
fn member_families(members: &[GroupMember]) -> (bool, Option<Family>) {
    let mut families = members.iter().filter_map(|member| match member {
        GroupMember::Addresses { first, .. } => Some(family(*first)),
        GroupMember::Fwmark { family, .. } => *family,
    });
    let first = families.next();
    (families.any(|other| Some(other) != first), first)
}

fn family_of_servers(draft: &draft::VirtualServer) -> Family {
    let reals = draft.reals.iter().map(|real| (real.ip, real.forwarding));
    let sorry = draft.sorry.iter().map(|sorry| (sorry.ip, sorry.forwarding));
    let servers: Vec<_> = reals.chain(sorry).collect();
    let plain = servers.iter().find(|(_, own)| !tunnelled(draft, *own));
    match plain.or(servers.first()) {
        Some((ip, _))
            if plain.is_some()
                || servers.iter().all(|(other, _)| family(*other) == family(*ip)) =>
        {
            family(*ip)
        }
        _ => Family::Inet,
    }
}

fn has_mark(service: &ServiceMatch) -> bool {
    match service {
        ServiceMatch::Address { .. } => false,
        ServiceMatch::Fwmark { .. } => true,
        ServiceMatch::Group { members, .. } => {
            members.iter().any(|member| matches!(member, GroupMember::Fwmark { .. }))
        }
    }
}

fn has_address(service: &ServiceMatch) -> bool {
    match service {
        ServiceMatch::Address { .. } => true,
        ServiceMatch::Fwmark { .. } => false,
        ServiceMatch::Group { members, .. } => {
            members.iter().any(|member| matches!(member, GroupMember::Addresses { .. }))
        }
    }
}

/// `ha_suspend`, protocol and ops.
fn protocol(out: &mut Out, draft: &mut draft::VirtualServer) -> Option<Protocol> {
    let span = draft.span;
    if draft.ha_suspend && has_mark(&draft.service) {
        let message = "`ha_suspend` has no effect with marks: there is no address to watch";
        out.push(Diag::new(Code::HaSuspendFwmark, span, message));
        draft.ha_suspend = false;
    }
    let addressed = has_address(&draft.service);
    if addressed && draft.protocol.is_none() {
        let message = "no protocol; UDP is used";
        out.push(
            Diag::new(Code::NoProtocol, span, message)
                .help("write `protocol TCP` or `protocol UDP`"),
        );
        draft.protocol = Some(Protocol::Udp);
    }
    if draft.ops && matches!(draft.protocol, Some(Protocol::Tcp | Protocol::Sctp)) {
        let message = "`ops` works with UDP only; it has no effect";
        out.push(Diag::new(Code::OpsNeedsUdp, span, message));
        draft.ops = false;
    }
    if !addressed && draft.protocol.take().is_some() {
        let message = "a mark carries every protocol; `protocol` has no effect";
        out.push(Diag::new(Code::ProtocolIgnored, span, message));
    }
    draft.protocol
}

fn zero_port(out: &mut Out, draft: &mut draft::VirtualServer) {
    let zero = match &draft.service {
        ServiceMatch::Address { port, .. } => *port == 0,
        ServiceMatch::Fwmark { .. } => false,
        ServiceMatch::Group { members, .. } => {
            members.iter().any(|member| matches!(member, GroupMember::Addresses { port: 0, .. }))
        }
    };
    if zero && draft.persistence_timeout.is_none() {
        let message = "a service for all ports needs persistence; 360 seconds are used";
        out.push(
            Diag::new(Code::ZeroPort, draft.span, message)
                .help("write the port, or `persistence_timeout`"),
        );
        draft.persistence_timeout = Some(DEFAULT_PERSISTENCE);
    }
}

/// The port servers inherit; a group has one only if its members agree.
fn service_port(service: &ServiceMatch) -> u16 {
    match service {
        ServiceMatch::Address { port, .. } => *port,
        ServiceMatch::Fwmark { .. } => 0,
        ServiceMatch::Group { members, .. } => {
            let mut ports = members.iter().map(|member| match member {
                GroupMember::Addresses { port, .. } => *port,
                GroupMember::Fwmark { .. } => 0,
            });
            let first = ports.next().unwrap_or(0);
            if ports.all(|port| port == first) { first } else { 0 }
        }
    }
}

const fn or_port(written: u16, service: u16) -> u16 {
    if written == 0 { service } else { written }
}

fn repeated(span: Span) -> Diag {
    let message = "an earlier real server has the same address and port; this one is dropped";
    Diag::new(Code::DuplicateRealServer, span, message)
}

fn drop_repeated(out: &mut Out, reals: &mut Vec<draft::RealServer>, port: u16) {
    let mut seen = HashSet::new();
    reals.retain(|real| {
        let new = seen.insert((real.ip, or_port(real.port, port)));
        if !new {
            out.push(repeated(real.span));
        }
        new
    });
}

/// Resetting ports can make two servers one.
fn drop_merged(out: &mut Out, reals: &mut Vec<RealServer>, places: &mut Vec<RealPlace>) {
    let mut seen = HashSet::new();
    let keep: Vec<bool> = reals.iter().map(|real| seen.insert((real.ip, real.port))).collect();
    for (place, _) in places.iter().zip(&keep).filter(|(_, keep)| !**keep) {
        out.push(
            repeated(place.span)
                .note("their ports differed, but this forwarding method can't change ports"),
        );
    }
    let mut kept = keep.iter();
    reals.retain(|_| *kept.next().unwrap_or(&true));
    let mut kept = keep.iter();
    places.retain(|_| *kept.next().unwrap_or(&true));
}

fn forwarding(out: &mut Out, draft: &draft::VirtualServer) -> Forwarding {
    draft.forwarding.unwrap_or_else(|| {
        let sorry_open = draft.sorry.as_ref().is_some_and(|sorry| sorry.forwarding.is_none());
        if sorry_open || draft.reals.iter().any(|real| real.forwarding.is_none()) {
            let message = "no forwarding method; NAT is used";
            out.push(
                Diag::new(Code::NoKind, draft.span, message)
                    .help("write `lb_kind NAT`, or another one"),
            );
        }
        Forwarding { kind: Kind::Nat, tunnel: Tunnel::Ipip }
    })
}

fn agree_on_inhibit(
    out: &mut Out,
    draft: &draft::VirtualServer,
    sorry: &mut Option<SorryServer>,
    reals: &[RealServer],
    port: u16,
) {
    let Some(sorry) = sorry else { return };
    let same = reals
        .iter()
        .find(|real| real.ip == sorry.ip && or_port(real.port, port) == or_port(sorry.port, port));
    if let Some(real) = same
        && real.inhibit_on_failure != sorry.inhibit
    {
        sorry.inhibit = real.inhibit_on_failure;
        let message = "the sorry server is also a real server and must agree with it on inhibiting; the real server's setting is used";
        out.push(Diag::new(Code::SorryInhibitDiffers, draft.span, message));
    }
}

fn quorum(out: &mut Out, draft: &draft::VirtualServer, reals: &[RealServer]) -> (u32, u32) {
    let sum: u64 = reals.iter().map(|real| u64::from(real.weight)).sum();
    let mut quorum = draft.quorum;
    if u64::from(quorum) > sum {
        // Below a 32-bit number, so it is one.
        let reduced = sum as u32;
        let message =
            format!("quorum {quorum} is more than all weights together; {reduced} is used");
        out.push(Diag::new(Code::QuorumTooHigh, draft.span, message));
        quorum = reduced;
    }
    let most = quorum.saturating_sub(1);
    if draft.hysteresis > most {
        let message = format!(
            "hysteresis {} must be below quorum {quorum}; {most} is used",
            draft.hysteresis
        );
        out.push(Diag::new(Code::HysteresisTooHigh, draft.span, message));
    }
    (quorum, draft.hysteresis.min(most))
}

/// Direct routing and tunnels can't change ports; NAT servers without one get the service's.
fn ports(
    out: &mut Out,
    draft: &draft::VirtualServer,
    port: u16,
    sorry: &mut Option<SorryServer>,
    reals: &mut [RealServer],
    places: &[RealPlace],
) {
    let marks_only = !has_address(&draft.service);
    let mut settle = |written: &mut u16, kind: Kind, span: Span| {
        if matches!(kind, Kind::Nat | Kind::FullNat) {
            *written = or_port(*written, port);
            return;
        }
        if *written != 0 && marks_only {
            let message = format!(
                "{} keeps the port of a marked packet; port {written} has no effect",
                kind.name()
            );
            out.push(Diag::new(Code::PortIgnored, span, message));
        } else if *written != 0 && *written != port {
            let message = format!(
                "{} can't change the port from {port} to {written}; {port} is used",
                kind.name()
            );
            out.push(
                Diag::new(Code::PortMismatch, span, message).help("leave the port out, or use NAT"),
            );
        }
        *written = port;
    };
    if let (Some(server), Some(written)) = (sorry, &draft.sorry) {
        settle(&mut server.port, server.kind, written.span);
    }
    for (real, place) in reals.iter_mut().zip(places) {
        settle(&mut real.port, real.kind, place.span);
    }
}

fn granularity(written: Option<Granularity>, family: Family) -> Granularity {
    match (written, family) {
        (Some(granularity @ Granularity::Mask4(_)), Family::Inet)
        | (Some(granularity @ Granularity::Prefix6(_)), Family::Inet6) => granularity,
        (_, Family::Inet) => Granularity::Mask4(Ipv4Addr::BROADCAST),
        (_, Family::Inet6) => Granularity::Prefix6(128),
    }
}

/// Flags by the names the final scheduler gives them.
fn flags(scheduler: Scheduler, bits: u8, ops: bool) -> Vec<String> {
    let names = match scheduler {
        Scheduler::Sh => ["sh-fallback", "sh-port", "flag-3"],
        Scheduler::Mh => ["mh-fallback", "mh-port", "flag-3"],
        _ => ["flag-1", "flag-2", "flag-3"],
    };
    let set = names.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    let mut flags: Vec<String> = set.map(|(_, name)| (*name).to_owned()).collect();
    if ops {
        flags.push("ops".to_owned());
    }
    flags.sort();
    flags
}

fn local_addresses(
    out: &mut Out,
    draft: &draft::VirtualServer,
    groups: &Groups,
) -> Option<Vec<super::super::model::AddressRange>> {
    let name = draft.local_group.as_ref()?;
    if let Some(group) = groups.local(&name.text) {
        return Some(group.members.clone());
    }
    let message = format!(
        "local address group `{}` is empty or not defined; the address of the interface towards the real server is used",
        name.text
    );
    let known = groups.locals.iter().map(|group| group.name.as_str());
    out.push(Diag::new(Code::UnknownGroup, name.span, message).suggest(&name.text, known));
    None
}

/// `xlb_mss`, of which only TCP knows; virtual servers by mark serve any protocol.
fn mss(out: &mut Out, draft: &draft::VirtualServer, protocol: Option<Protocol>) -> Option<u16> {
    let (mss, span) = draft.mss?;
    let Some(other) = protocol.filter(|protocol| *protocol != Protocol::Tcp) else {
        return Some(mss);
    };
    let message =
        format!("`xlb_mss` has no effect: {} has no MSS", other.name().to_ascii_uppercase());
    out.push(
        Diag::new(Code::FlagIgnored, span, message).help("take it out, or write `protocol TCP`"),
    );
    None
}
