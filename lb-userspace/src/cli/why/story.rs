//! From the engine's looks to sentences.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::abi::{
    DropReason, Flow, FlowKey, HopState, Load, Method, NextHop, Notice, PassReason, Real, RealId,
    Scheduler, Service, ServiceKey,
};
use lb_common::engine::tables::Table;
use lb_common::engine::{Action, Family, expire};
use lb_common::host::Frame;
use lb_common::wire::{Addr4, Addr6, Port};
use serde::Serialize;

use choice::service_steps;
use rewrite::{Outer, Rewrite, changes};

use super::packet::{Packet, number};
use crate::dataplane::read::Reader;
use crate::dataplane::rehearsal::{Look, Rehearsed};
use crate::dataplane::table::TableError;
use crate::stats::report::{Protocol, RealReport, Report, ServiceReport};

mod choice;
mod rewrite;

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
    let rewrite = (verdict == "forward").then(|| Rewrite::of(facts, method)).flatten();
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
