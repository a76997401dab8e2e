//! From the engine's looks to sentences.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::abi::{
    DropReason, Flow, FlowFlags, FlowKey, HopState, Load, Method, NextHop, Notice, PassReason,
    Real, RealFlags, RealId, Scheduler, Service, ServiceKey, Sticky,
};
use lb_common::engine::tables::Table;
use lb_common::engine::{Action, Family, expire};
use lb_common::host::Frame;
use lb_common::wire::eth::Ethernet;
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::ipv6::Ipv6;
use lb_common::wire::vlan::Vlan;
use lb_common::wire::{Addr4, Addr6, Address, Mac, Port};
use serde::Serialize;

use super::packet::{Packet, number};
use crate::dataplane::read::Reader;
use crate::dataplane::rehearsal::{Look, Rehearsed};
use crate::dataplane::table::TableError;
use crate::stats::report::{Protocol, RealReport, Report, ServiceReport};

/// `xlb why --json`; names and order are public.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Answer {
    verdict: &'static str,
    /// A name of `docs/reasons.md`; for what is forwarded `new_flow` or `known_flow`.
    reason: &'static str,
    /// The virtual server's address and port.
    service: Option<SocketAddr>,
    real: Option<SocketAddr>,
    rewrite: Option<Rewrite>,
    steps: Vec<String>,
    #[serde(skip)]
    title: String,
    #[serde(skip)]
    scheduler: String,
}

/// What is written into the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Rewrite {
    source: SocketAddr,
    destination: SocketAddr,
    new_source: SocketAddr,
    new_destination: SocketAddr,
    interface: String,
    source_mac: String,
    destination_mac: String,
    /// What is put around the packet, whose own addresses are those above.
    tunnel: Option<Outer>,
}

/// The addresses of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Outer {
    kind: &'static str,
    source: IpAddr,
    destination: IpAddr,
}

impl Answer {
    /// For people.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}\n", self.title)?;
        writeln!(out, "{:<9} {} ({})", "verdict", self.verdict, self.reason)?;
        if let Some(service) = self.service {
            writeln!(
                out,
                "{}",
                format!("{:<9} {service} {}", "service", self.scheduler).trim_end()
            )?;
        }
        if let Some(real) = self.real {
            writeln!(out, "{:<9} {real}", "real")?;
        }
        if let Some(rewrite) = &self.rewrite {
            let Rewrite { source, destination, new_source, new_destination, interface, .. } =
                rewrite;
            writeln!(out, "{:<9} {source} > {destination}", "arrives")?;
            writeln!(out, "{:<9} {new_source} > {new_destination} by {interface}", "leaves")?;
            if let Some(Outer { kind, source, destination }) = &rewrite.tunnel {
                writeln!(out, "{:<9} {source} > {destination} by {kind}", "inside")?;
            }
        }
        writeln!(out)?;
        for (n, step) in (1..).zip(&self.steps) {
            writeln!(out, "{n:>2}. {step}")?;
        }
        Ok(())
    }
}

/// What is known of the packet and its way.
pub(super) struct Facts<'a> {
    pub(super) packet: &'a Packet,
    pub(super) frame: &'a [u8],
    pub(super) rehearsed: &'a Rehearsed,
    pub(super) ifindex: u32,
    pub(super) names: &'a HashMap<u32, String>,
    pub(super) sender_known: bool,
    /// The daemon's word on its real servers, if there is a daemon.
    pub(super) report: Option<&'a Report>,
}

/// What the instance's tables say beside the looks.
struct Around {
    /// The flow the packet is of, where one was known, and how long it lives.
    known: Option<(Table, Flow<Addr6>, Duration)>,
    /// The real server it goes to or comes from.
    real: Option<(RealId, Real)>,
    /// All of that service.
    reals: Vec<(RealId, Real, Load)>,
    /// The age of the client's template, if it has one.
    template: Option<Duration>,
}

/// Puts the looks in words.
pub(super) fn tell(facts: &Facts<'_>, reader: &Reader) -> Result<Answer, TableError> {
    let looks = &facts.rehearsed.looks;
    let known = match found_flow(facts) {
        Some((table, flow)) => Some((table, flow, reader.remaining(&flow)?)),
        None => None,
    };
    let new = made(facts).map(|flow| flow.rewrite.real);
    let of_known = known.filter(|_| new.is_none()).map(|(_, flow, _)| flow.rewrite.real);
    let real = match new.or(of_known).or_else(|| chosen(looks)) {
        Some(id) => reader.real(id)?.map(|real| (id, real)),
        None => None,
    };
    let service = real.map(|(_, real)| real.service).or_else(|| matched(looks).map(|(key, _)| key));
    let reals = match service {
        Some(service) => reader.reals_of(&service)?,
        None => Vec::new(),
    };
    let template = looks.iter().find_map(|look| match look {
        Look::Template { found: Some(found), .. } => Some(found.stamp),
        _ => None,
    });
    let template = template.map(|stamp| reader.since(stamp)).transpose()?;
    Ok(compose(facts, &Around { known, real, reals, template }))
}

fn compose(facts: &Facts<'_>, around: &Around) -> Answer {
    let run = facts.rehearsed;
    let service = around
        .real
        .map(|(_, real)| real.service)
        .or_else(|| matched(&run.looks).map(|(key, _)| key));
    let (verdict, reason, sentence) = fate(run, made(facts).is_some());
    let method = around.real.and_then(|(_, real)| Method::from_raw(real.method));
    let rewrite = (verdict == "forward").then(|| rewrite(facts, method)).flatten();
    let mut steps = vec![arrival(facts)];
    flow_step(facts, around, &mut steps);
    service_steps(facts, around, &mut steps);
    hop_steps(facts, around, &mut steps);
    reply_path_step(facts, around, &mut steps);
    if let Some(rewrite) = &rewrite {
        steps.push(changes(rewrite, method));
        let how = if run.action == Action::Bounce { "straight back" } else { "redirected" };
        steps.push(format!(
            "leaves by {} ({how}), from {} to {}",
            rewrite.interface, rewrite.source_mac, rewrite.destination_mac
        ));
    } else {
        let what = if verdict == "pass" { "left to the kernel" } else { "ends here" };
        steps.push(format!("{what}: {reason}: {sentence}"));
        if verdict == "drop" && matches!(run.action, Action::Redirect | Action::Bounce) {
            steps.push(format!(
                "its sender is told: the ICMP error leaves by {}",
                name(facts, run.leaves_by)
            ));
        }
    }
    if !run.same_program {
        steps.push(
            "note: the program that runs is of another build of xlb than this command, whose program was asked; \
             restart `xlb run` to have both the same"
                .to_owned(),
        );
    }
    if !run.agreed {
        steps.push(
            "note: the program came to another end than the steps above, which are the engine's in this command; the \
             verdict is the program's. This is a bug of xlb, please report it"
                .to_owned(),
        );
    }
    Answer {
        verdict,
        reason,
        service: service.map(|key| at(key.addr, key.port)),
        real: around.real.map(|(_, real)| at(real.addr, port_of(facts, &real))),
        rewrite,
        steps,
        title: title(facts),
        scheduler: scheduler(facts, service, matched(&run.looks).map(|(_, service)| service)),
    }
}

/// Verdict, reason and its sentence.
fn fate(run: &Rehearsed, new: bool) -> (&'static str, &'static str, &'static str) {
    match run.slot {
        0 if new => ("forward", "new_flow", ""),
        0 if run.action == Action::Pass => ("pass", "unknown", "no reason was counted"),
        0 if run.action == Action::Drop => ("drop", "unknown", "no reason was counted"),
        0 => ("forward", "known_flow", ""),
        slot @ 1..128 => PassReason::from_number(slot as u8)
            .map_or(("pass", "unknown", ""), |reason| ("pass", reason.name(), reason.sentence())),
        slot @ 128..224 => DropReason::from_number((slot - 128) as u8)
            .map_or(("drop", "unknown", ""), |reason| ("drop", reason.name(), reason.sentence())),
        slot => Notice::from_number((slot - 224) as u8)
            .map_or(("drop", "unknown", ""), |notice| ("drop", notice.name(), notice.sentence())),
    }
}

fn title(facts: &Facts<'_>) -> String {
    let packet = facts.packet;
    let kind = match packet.protocol {
        Protocol::Udp => "UDP datagram".to_owned(),
        _ => format!("TCP segment {}", packet.flags.words()),
    };
    format!("{kind}, {} > {}, in by {}", packet.from, packet.to, name(facts, facts.ifindex))
}

fn arrival(facts: &Facts<'_>) -> String {
    let stands_for = if facts.sender_known { "" } else { ", which stands for one not known here" };
    format!(
        "{} bytes arrive at {} for {}, from {}{stands_for}",
        facts.frame.len(),
        name(facts, facts.ifindex),
        facts.packet.destination,
        facts.packet.source,
    )
}

/// The tuple that the packet arrives with, if the program reads it.
fn arriving(facts: &Facts<'_>) -> Option<FlowKey<Addr6>> {
    tuple(&Frame::new(facts.frame.to_vec()))
}

/// The tuple of a frame of either family.
fn tuple(frame: &Frame) -> Option<FlowKey<Addr6>> {
    let ipv4 = Addr4::headers(frame).map(|seen| seen.key.widened());
    ipv4.or_else(|_| Addr6::headers(frame).map(|seen| seen.key)).ok()
}

/// The entry that was found for the tuple.
fn found_flow(facts: &Facts<'_>) -> Option<(Table, Flow<Addr6>)> {
    let tuple = arriving(facts)?;
    facts.rehearsed.looks.iter().find_map(|look| match look {
        Look::Flow { table, key, found: Some(flow) } if *key == tuple => Some((*table, *flow)),
        _ => None,
    })
}

/// The request entry that was made for the tuple; promotion makes none, it moves one.
fn made(facts: &Facts<'_>) -> Option<Flow<Addr6>> {
    let tuple = arriving(facts)?;
    facts.rehearsed.looks.iter().rev().find_map(|look| match look {
        Look::Inserted { table: Table::HalfOpen, key, flow } if *key == tuple => Some(*flow),
        _ => None,
    })
}

/// The virtual server that was found.
fn matched(looks: &[Look]) -> Option<(ServiceKey, Service)> {
    looks.iter().find_map(|look| match look {
        Look::Service { key, found: Some(service) } => Some((*key, *service)),
        _ => None,
    })
}

/// Whom the template or the scheduler named: the real server whose hop was asked for next.
fn chosen(looks: &[Look]) -> Option<RealId> {
    looks.windows(2).rev().find_map(|two| match two {
        [Look::Real { id, .. }, Look::Hop { id: hop, .. }] if id.hop() == *hop => Some(*id),
        _ => None,
    })
}

fn flow_step(facts: &Facts<'_>, around: &Around, steps: &mut Vec<String>) {
    let Some(tuple) = arriving(facts) else { return };
    let Some((table, flow, remaining)) = &around.known else {
        let looked = |look: &Look| matches!(look, Look::Flow { key, .. } if *key == tuple);
        if facts.rehearsed.looks.iter().any(looked) {
            steps.push("no flow has this tuple".to_owned());
        }
        return;
    };
    let state = flow.conn_state().map_or("?", |state| expire::listed(state).name());
    let kind = if *table == Table::HalfOpen { "a half-open flow" } else { "a flow" };
    let way =
        if flow.rewrite.is_reply() { "the real server's answers" } else { "the client's side" };
    steps.push(format!(
        "{kind} of this tuple is known ({way}): state {state}, expires in {} s",
        remaining.as_secs()
    ));
    if made(facts).is_some() {
        steps.push("the SYN ends that flow and begins a new one".to_owned());
    } else if let Some((_, real)) = around.real {
        let method = method_words(Method::from_raw(real.method));
        steps.push(format!(
            "it is of virtual server {}, with real server {} by {method}",
            at(real.service.addr, real.service.port),
            at(real.addr, port_of(facts, &real)),
        ));
    }
}

fn service_steps(facts: &Facts<'_>, around: &Around, steps: &mut Vec<String>) {
    let looks = &facts.rehearsed.looks;
    let asked = looks.iter().any(|look| matches!(look, Look::Service { .. }));
    let Some((key, service)) = matched(looks) else {
        if asked {
            steps.push(format!(
                "no virtual server is at {} by {}, nor one for any port of that address",
                facts.packet.to,
                facts.packet.protocol.upper()
            ));
        }
        return;
    };
    let which = if key.port == Port::ZERO { "any port" } else { "exact port" };
    steps.push(format!(
        "virtual server {} by {} matches ({which}): {}",
        at(key.addr, key.port),
        facts.packet.protocol.upper(),
        scheduler(facts, Some(key), Some(service)),
    ));
    let by_template = template_step(looks, &service, around, steps);
    if !by_template {
        scheduler_step(facts, &service, around, steps);
        let of_report = service_report(facts, key);
        for (id, real, load) in &around.reals {
            if around.real.is_none_or(|(chosen, _)| chosen != *id) {
                let why = why_not(&service, real, *load, real_report(of_report, real));
                steps.push(format!("not {}: {why}", at(real.addr, real.port)));
            }
        }
    }
    if let (Some(flow), Some((_, real))) = (made(facts), around.real)
        && flow.rewrite.flags & FlowFlags::FULL_NAT != 0
    {
        steps.push(format!(
            "full-NAT: {} is free towards {}",
            at(flow.rewrite.src, flow.rewrite.sport),
            at(real.addr, port_of(facts, &real)),
        ));
    }
}

/// What the client's template says; whether it decides.
fn template_step(
    looks: &[Look],
    service: &Service,
    around: &Around,
    steps: &mut Vec<String>,
) -> bool {
    let Some((key, found)) = looks.iter().find_map(|look| match look {
        Look::Template { key, found } => Some((key, found)),
        _ => None,
    }) else {
        return false;
    };
    let client = key.client;
    let Some(Sticky { real, .. }) = found else {
        steps.push(format!("persistence: no template for client {client}"));
        return false;
    };
    let to = around.reals.iter().find(|(id, ..)| id == real);
    let to_text =
        to.map_or_else(|| "a removed one".to_owned(), |(_, r, _)| at(r.addr, r.port).to_string());
    let age = around.template.unwrap_or_default().as_secs();
    let asked =
        |look: &Look| matches!(look, Look::Turn { .. } | Look::Least { .. } | Look::Slot { .. });
    let decides = !looks.iter().any(asked) && service.slots_len > 0
        || around.real.is_some_and(|(id, _)| id == *real) && !looks.iter().any(asked);
    let and = if decides {
        "is kept to".to_owned()
    } else if to.is_none_or(|(_, real, _)| real.flags & RealFlags::UP == 0) {
        "is ignored: that real server is not up".to_owned()
    } else {
        "is too old".to_owned()
    };
    steps.push(format!(
        "persistence: client {client} has a template to {to_text}, last used {age} s ago, which {and}"
    ));
    decides
}

fn scheduler_step(facts: &Facts<'_>, service: &Service, around: &Around, steps: &mut Vec<String>) {
    if service.slots_len == 0 {
        steps.push("no real server may take new connections".to_owned());
        return;
    }
    let Some((id, real)) = around.real else { return };
    let looks = &facts.rehearsed.looks;
    let turn = looks.iter().find_map(|look| match look {
        Look::Turn { turn, .. } => turn.checked_rem(service.slots_len),
        _ => None,
    });
    let load = around.reals.iter().find(|(other, ..)| *other == id).map(|(.., load)| *load);
    let why = match (Scheduler::from_raw(service.scheduler), turn, load) {
        (Some(Scheduler::Cycle), Some(turn), _) => {
            format!("it is the turn of entry {} of {}", turn + 1, service.slots_len)
        }
        (Some(Scheduler::SourceHash), ..) => "the client's address hashes to it".to_owned(),
        (Some(Scheduler::DestinationHash), ..) => "the virtual address hashes to it".to_owned(),
        (_, _, Some(load)) => format!("least loaded: {}", loaded(&real, load)),
        _ => return,
    };
    steps.push(format!("the scheduler takes {}: {why}", at(real.addr, real.port)));
}

fn loaded(real: &Real, load: Load) -> String {
    format!("{} active, {} inactive, weight {}", load.active, load.inactive, real.weight)
}

/// Why a real server of the service was not taken.
fn why_not(service: &Service, real: &Real, load: Load, report: Option<&RealReport>) -> String {
    if real.flags & RealFlags::UP == 0 {
        return match report {
            Some(report) if !report.health_reason.is_empty() => {
                // What a checked server answered may be part of it; the terminal is not its to control.
                format!("down: {}", report.health_reason.escape_debug())
            }
            _ => "down".to_owned(),
        };
    }
    if report.is_some_and(|report| report.draining) {
        return "draining: it keeps its connections and takes no new ones".to_owned();
    }
    if real.weight == 0 {
        return "weight 0: it keeps its connections and takes no new ones".to_owned();
    }
    match Scheduler::from_raw(service.scheduler) {
        _ if service.slots_len == 0 => "it takes no new connections now".to_owned(),
        Some(Scheduler::Cycle) => "not its turn".to_owned(),
        Some(Scheduler::Lc | Scheduler::Wlc) => format!("no less loaded: {}", loaded(real, load)),
        Some(Scheduler::SourceHash | Scheduler::DestinationHash) => {
            "the hash names another".to_owned()
        }
        None => "the scheduler is not known".to_owned(),
    }
}

fn hop_steps(facts: &Facts<'_>, around: &Around, steps: &mut Vec<String>) {
    let looks = &facts.rehearsed.looks;
    let wanted = match (made(facts), &around.known, around.real) {
        (Some(flow), ..) => Some(flow.rewrite.hop),
        (None, Some((_, flow, _)), _) => Some(flow.rewrite.hop),
        (None, None, Some((id, _))) => Some(id.hop()),
        _ => None,
    };
    let hop = looks.iter().find_map(|look| match look {
        Look::Hop { id, hop } if Some(*id) == wanted => Some(*hop),
        _ => None,
    });
    if let Some(hop) = hop {
        steps.push(format!("next hop: {}", hop_words(facts, &hop)));
    }
    if let Some(Look::Sender { found, .. }) =
        looks.iter().find(|look| matches!(look, Look::Sender { .. }))
    {
        let how = if found.is_some() { "known" } else { "learned from this frame" };
        steps.push(format!(
            "the way back, {how}: {} by {}",
            facts.packet.source,
            name(facts, facts.ifindex)
        ));
    }
}

/// Why an answer was not believed.
fn reply_path_step(facts: &Facts<'_>, around: &Around, steps: &mut Vec<String>) {
    let run = facts.rehearsed;
    let Some((_, flow, _)) = &around.known else { return };
    if run.slot != DropReason::SpoofedReply.slot() {
        return;
    }
    let way_there = flow.rewrite.real.hop();
    let hop = run.looks.iter().find_map(|look| match look {
        Look::Hop { id, hop } if *id == way_there && hop.ifindex != 0 => Some(*hop),
        _ => None,
    });
    let there = hop.map_or_else(
        || "no interface leads to that real server now".to_owned(),
        |hop| format!("{} leads to that real server", name(facts, hop.ifindex)),
    );
    steps.push(format!(
        "{there}, and this came in by {}: its answers are believed by the way there alone, unless `global_defs` says \
         `xlb_reply_path any`",
        name(facts, facts.ifindex)
    ));
}

fn hop_words(facts: &Facts<'_>, hop: &NextHop) -> String {
    match hop.state {
        state if state == HopState::Valid as u8 => format!(
            "{} by {}, which takes packets of {} bytes",
            hop.dst,
            name(facts, hop.ifindex),
            hop.mtu
        ),
        state if state == HopState::Gone as u8 => "the real server was removed".to_owned(),
        _ if hop.ifindex != 0 => {
            format!("has no link-layer address yet, by {}", name(facts, hop.ifindex))
        }
        _ => "has no link-layer address: it does not answer, or there is no route".to_owned(),
    }
}

/// What becomes of the packet's bytes.
fn changes(rewrite: &Rewrite, method: Option<Method>) -> String {
    let Rewrite { source, destination, new_source, new_destination, .. } = rewrite;
    if !method.is_some_and(Method::is_direct) {
        return format!(
            "rewritten: {source} > {destination} becomes {new_source} > {new_destination}, TTL one less, checksums by the \
             difference"
        );
    }
    let around = rewrite.tunnel.as_ref().map_or_else(String::new, |tunnel| {
        format!(", and put into {} from {} to {}", tunnel.kind, tunnel.source, tunnel.destination)
    });
    format!(
        "kept as it is: {source} > {destination}, TTL one less{around}; who gets it holds that address, and answers past \
         this host"
    )
}

/// The configuration's words for a method.
const fn method_words(method: Option<Method>) -> &'static str {
    match method {
        Some(Method::FullNat) => "full-NAT",
        Some(Method::Dr) => "DR",
        Some(Method::Ipip) => "TUN (ipip)",
        Some(Method::Gre) => "TUN (gre)",
        Some(Method::Gue) => "TUN (gue)",
        Some(Method::Nat) | None => "NAT",
    }
}

/// A frame without its VLAN tags.
fn untagged(mut bytes: Vec<u8>) -> Vec<u8> {
    let tagged = |bytes: &[u8]| {
        let kind = bytes.get(12..14).and_then(|kind| <[u8; 2]>::try_from(kind).ok());
        kind.is_some_and(Vlan::follows) && bytes.len() >= Ethernet::LEN + Vlan::LEN
    };
    while tagged(&bytes) {
        bytes.drain(12..12 + Vlan::LEN);
    }
    bytes
}

/// The outer addresses of a frame.
fn outer(frame: &Frame, method: Method) -> Option<Outer> {
    let kind = match method {
        Method::Ipip => "ipip",
        Method::Gre => "gre",
        Method::Gue => "gue",
        Method::Nat | Method::FullNat | Method::Dr => return None,
    };
    let eth: &Ethernet = lb_common::engine::PacketBytes::at(frame, 0)?;
    let (source, destination) = if eth.ether_type() == Ethernet::IPV6 {
        let ip: &Ipv6 = lb_common::engine::PacketBytes::at(frame, Ethernet::LEN)?;
        (ip.src().into(), ip.dst().into())
    } else {
        let ip: &Ipv4 = lb_common::engine::PacketBytes::at(frame, Ethernet::LEN)?;
        (ip.src().widened().into(), ip.dst().widened().into())
    };
    Some(Outer { kind, source, destination })
}

fn rewrite(facts: &Facts<'_>, method: Option<Method>) -> Option<Rewrite> {
    let after = Frame::new(untagged(facts.rehearsed.frame.clone()));
    let from = arriving(facts)?;
    let tunnel = method.and_then(|method| outer(&after, method));
    // What is inside is as it came.
    let to = if tunnel.is_some() { from } else { tuple(&after)? };
    let eth: &Ethernet = lb_common::engine::PacketBytes::at(&after, 0)?;
    let mac = |mac: Mac| mac.to_string();
    Some(Rewrite {
        source: at(from.src, from.sport),
        destination: at(from.dst, from.dport),
        new_source: at(to.src, to.sport),
        new_destination: at(to.dst, to.dport),
        interface: name(facts, facts.rehearsed.leaves_by),
        source_mac: mac(eth.src()),
        destination_mac: mac(eth.dst()),
        tunnel,
    })
}

/// The scheduler by the configuration's name, or what the tables know of it.
fn scheduler(facts: &Facts<'_>, key: Option<ServiceKey>, service: Option<Service>) -> String {
    if let Some(report) = key.and_then(|key| service_report(facts, key)) {
        return report.scheduler.clone();
    }
    let of_tables = service.and_then(|service| Scheduler::from_raw(service.scheduler));
    match of_tables {
        Some(Scheduler::Cycle) => "rr or wrr",
        Some(Scheduler::Lc) => "lc",
        Some(Scheduler::Wlc) => "wlc",
        Some(Scheduler::SourceHash) => "sh",
        Some(Scheduler::DestinationHash) => "dh",
        None => "",
    }
    .to_owned()
}

fn service_report<'a>(facts: &Facts<'a>, key: ServiceKey) -> Option<&'a ServiceReport> {
    let wanted = at(key.addr, key.port);
    facts.report?.services.iter().find(|service| {
        service.address == Some(wanted.ip())
            && service.port == Some(wanted.port())
            && service.protocol.map(number) == Some(key.proto)
    })
}

fn real_report<'a>(service: Option<&'a ServiceReport>, real: &Real) -> Option<&'a RealReport> {
    let wanted = at(real.addr, real.port);
    service?
        .reals
        .iter()
        .find(|report| report.address == wanted.ip() && report.port == wanted.port())
}

/// The port a real server is spoken to on: 0 in the table is the port that the client wrote.
fn port_of(facts: &Facts<'_>, real: &Real) -> Port {
    let answers = found_flow(facts).is_some_and(|(_, flow)| flow.rewrite.is_reply());
    match real.port {
        Port::ZERO if answers => Port::new(facts.packet.from.port()),
        Port::ZERO => Port::new(facts.packet.to.port()),
        port => port,
    }
}

fn at(address: Addr6, port: Port) -> SocketAddr {
    SocketAddr::new(address.into(), port.get())
}

fn name(facts: &Facts<'_>, ifindex: u32) -> String {
    facts.names.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
}

#[cfg(test)]
mod tests;
