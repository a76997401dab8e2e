//! One sequence through IPVS and through xlb.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Result, bail};
use lb_common::abi::{
    ConnState, FlowKey, HopState, Iface, Method, NextHop, Real, RealFlags, RealId, Scheduler,
    Service, ServiceId, ServiceKey,
};
use lb_common::engine::{Action, Flows};
use lb_common::host::{Frame, HostTables};
use lb_common::wire::{Mac, Port};

use super::compare::normal;
use super::director::{Director, Seen, Side, server_mac};
use super::rules::{self, Case};
use super::sequence::{
    EMPTY, OUTER, REALS, SERVERS, Sequence, Step, TCP_PORT, UDP_PORT, VIP, ends_of,
};
use crate::golden::layout;
use crate::golden::state;
use crate::packets::OUR_MAC;
use crate::world::{INNER_MAC, World};

/// What sequences came to.
#[derive(Debug, Default)]
pub struct Report {
    pub sequences: u64,
    pub packets: u64,
    /// Frames that came out, the same on both sides.
    pub same: u64,
    /// Steps whose frames were written differently and mean the same, by [`SPELLINGS`](super::compare::SPELLINGS).
    pub spelt: BTreeMap<&'static str, u64>,
    /// Differences by their rules, and ends for what was about to differ.
    pub explained: BTreeMap<&'static str, u64>,
}

/// Interfaces by side, numbered as the engine is told.
const fn ifindex(side: Side) -> u32 {
    side as u32 + 1
}

/// xlb's tables with the services of a sequence.
fn tables(number: u64) -> HostTables {
    let mut world = World::new(4_096);
    world.services.clear();
    world.reals.clear();
    world.hops.clear();
    world.slots.clear();
    world.iface = Iface { mac: Mac(OUR_MAC), addr: OUTER.into(), ..world.iface };
    let port = Sequence::port(number);
    for (id, (proto, port, inner)) in
        (0..).zip([(6, port, TCP_PORT), (17, port, UDP_PORT), (6, EMPTY, 0)])
    {
        let key = ServiceKey { addr: VIP.into(), port: Port::new(port), proto, pad: 0 };
        let slots_at = world.slots.len() as u32;
        let reals = if port == EMPTY { &[][..] } else { &REALS[..] };
        for (index, addr) in (0..).zip(reals) {
            let real = RealId(world.reals.len() as u32);
            world.slots.push(real);
            world.hops.push((real, hop(index)));
            let value = Real {
                addr: (*addr).into(),
                port: Port::new(inner),
                method: Method::Nat as u8,
                flags: RealFlags::USED | RealFlags::UP,
                weight: 1,
                locals_at: 0,
                locals_len: 0,
                mss: 0,
                service: key,
                service_id: ServiceId(id),
            };
            world.reals.push((real, value));
        }
        let service = Service {
            id: ServiceId(id),
            scheduler: Scheduler::Cycle as u8,
            slots_at,
            slots_len: reals.len() as u32,
            ..Service::default()
        };
        world.services.push((key, service));
    }
    let mut tables = world.on_host();
    let inner = Iface { mac: INNER_MAC, addr: SERVERS.into(), ..world.iface };
    tables.ifaces.insert(ifindex(Side::Servers), inner);
    tables
}

fn hop(index: u8) -> NextHop {
    NextHop {
        dst: Mac(server_mac(index)),
        state: HopState::Valid as u8,
        flags: 0,
        src: INNER_MAC,
        mtu: 1_500,
        ifindex: ifindex(Side::Servers),
        pad: 0,
    }
}

/// What xlb made of a step.
struct Made {
    left: Vec<Seen>,
    reasons: Vec<String>,
    half_open: bool,
    known: bool,
    /// The client's tuple of a half-open flow that somebody spoke on who did not open it or answer that.
    out_of_turn: Option<FlowKey>,
}

fn by_xlb(tables: &HostTables, bare: &mut Director, step: &Step) -> Result<Made> {
    let (mut left, mut reasons, mut half_open, mut known) = (Vec::new(), Vec::new(), false, false);
    let mut out_of_turn = None;
    for (side, bytes) in step {
        if let Some(key) = key_of(bytes) {
            if let Some(entry) = tables.half_open(&key) {
                half_open = true;
                let reply = entry.rewrite().is_reply();
                let (flags, state) = (bytes.get(47).copied().unwrap_or(0), entry.state());
                let third = state == ConnState::SynAck as u32 && flags & 0x17 == 0x10;
                let in_turn = if reply { flags == 0x12 } else { flags == 0x02 || third };
                if bytes[23] == 6 && !in_turn {
                    out_of_turn = Some(if reply { entry.rewrite().twin() } else { key });
                }
            }
            known |= half_open || tables.flow(&key).is_some();
        }
        let mut frame = Frame::new(bytes.clone());
        let verdict = tables.run(&mut frame, ifindex(*side));
        if verdict.slot() != 0 {
            reasons.push(state::reason(verdict.slot() as usize));
        }
        match verdict.action() {
            Action::Pass => left.extend(bare.pass(&(*side, bytes.clone()))?),
            Action::Drop => {}
            Action::Redirect | Action::Bounce => {
                let clients = verdict.ifindex() == ifindex(Side::Clients);
                let to = if clients { Side::Clients } else { Side::Servers };
                left.push((to, frame.bytes));
            }
        }
    }
    Ok(Made { left, reasons, half_open, known, out_of_turn })
}

fn key_of(frame: &[u8]) -> Option<FlowKey> {
    if frame.len() < 42 || !matches!(frame[23], 6 | 17) {
        return None;
    }
    let (from, to) = ends_of(frame);
    Some(FlowKey {
        src: from.0.into(),
        dst: to.0.into(),
        sport: Port::new(from.1),
        dport: Port::new(to.1),
        proto: frame[23],
        ..FlowKey::default()
    })
}

/// Runs a sequence; an unexplained difference is an error that shows how it came to it.
pub fn run(
    seed: u64,
    number: u64,
    ipvs: &mut Director,
    bare: &mut Director,
    report: &mut Report,
) -> Result<()> {
    let (tables, mut sequence) = (tables(number), Sequence::new(seed, number));
    let (mut history, mut odd) = (Vec::new(), HashSet::new());
    report.sequences += 1;
    for _ in 0..sequence.steps() {
        let step = sequence.step();
        report.packets += step.len() as u64;
        let made = by_xlb(&tables, bare, &step)?;
        let mut there = Vec::new();
        for frame in &step {
            there.extend(ipvs.pass(frame)?);
        }
        let mut spelt = BTreeSet::new();
        let mut plain = (there.clone(), made.left.clone());
        let (there, here) =
            (normal(&there, &step, &mut spelt), normal(&made.left, &step, &mut spelt));
        history.push(shown(&step, &there, &here, &made.reasons));
        // IPVS takes such a flow for established, and for closed then.
        let again = opens(&step)
            && step.iter().any(|(_, frame)| key_of(frame).is_some_and(|key| odd.contains(&key)));
        let case = Case {
            asked: &step,
            reasons: &made.reasons,
            ipvs: &there,
            xlb: &here,
            half_open: made.half_open || again,
            known: made.known,
        };
        if there != here {
            let Some(rule) = rules::explains(&case) else {
                let from = history.len().saturating_sub(200);
                bail!(
                    "seed {seed}, sequence {number}, step {}: not explained\n{}",
                    history.len(),
                    history[from..].join("\n")
                );
            };
            *report.explained.entry(rule.name).or_default() += 1;
            // What was not forwarded here, or was there, leaves other tables behind.
            return Ok(());
        }
        plain.0.sort();
        plain.1.sort();
        if plain.0 != plain.1 {
            for name in spelt {
                *report.spelt.entry(name).or_default() += 1;
            }
        }
        odd.extend(made.out_of_turn);
        if let Some(name) = rules::parts(&case).or(again.then_some("half-open")) {
            *report.explained.entry(name).or_default() += 1;
            return Ok(());
        }
        report.same += here.len() as u64;
        if made.known && opens(&step) {
            // What a port used again ends is gone at IPVS's next tick.
            std::thread::sleep(TICKS);
        }
        sequence.heard(&made.left);
    }
    Ok(())
}

/// Some ticks of a kernel with 250 of them in a second.
const TICKS: std::time::Duration = std::time::Duration::from_millis(12);

fn opens(step: &Step) -> bool {
    step.iter().any(|(_, frame)| frame.get(23) == Some(&6) && frame.get(47) == Some(&2))
}

fn shown(step: &Step, ipvs: &[Seen], xlb: &[Seen], reasons: &[String]) -> String {
    let lines = |mark: &str, frames: &[Seen]| -> String {
        let line = |(side, frame): &Seen| format!("  {mark} {side:?} {}\n", layout::shown(frame));
        frames.iter().map(line).collect()
    };
    if ipvs == xlb {
        return format!("{}{}  {reasons:?}", lines("in", step), lines("both", xlb));
    }
    format!("{}{}{}  {reasons:?}", lines("in", step), lines("IPVS", ipvs), lines("xlb", xlb))
}
