//! Counters and tables as lines of text, and what changed in them.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{DropReason, Flow, FlowKey, Gauge, Notice, PassReason, RealCounters, RealId};

/// What a shell can be asked for.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// REASONS.
    pub reasons: Vec<u64>,
    /// COUNT_REAL, and the load: active, inactive, half-open.
    pub reals: Vec<(RealId, RealCounters, (u32, u32, i64))>,
    /// GAUGES.
    pub gauges: [u32; Gauge::COUNT as usize],
    /// How many entries STICKY4 and FRAGMENTS4 have.
    pub templates: usize,
    pub fragments: usize,
    /// FLOWS4 and HALF_OPEN4.
    pub flows: Vec<(FlowKey, Flow)>,
    pub half_open: Vec<(FlowKey, Flow)>,
}

/// The same, named. Times are left out, which no two runs share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    numbers: BTreeMap<String, i64>,
    entries: BTreeSet<String>,
}

/// The name of an element of REASONS.
pub fn reason(slot: usize) -> String {
    let name = match slot {
        0..128 => PassReason::from_number(slot as u8).map(PassReason::name),
        128..224 => DropReason::from_number((slot - 128) as u8).map(DropReason::name),
        _ => Notice::from_number((slot - 224) as u8).map(Notice::name),
    };
    name.map_or_else(|| format!("slot_{slot}"), str::to_owned)
}

fn tuple(key: &FlowKey) -> String {
    format!("{}:{} > {}:{}", key.src, key.sport, key.dst, key.dport)
}

fn entry(table: &str, key: &FlowKey, flow: &Flow) -> String {
    let rewrite = &flow.rewrite;
    let proto = if key.proto == 6 { "tcp" } else { "udp" };
    let state = flow.conn_state().map_or("?", lb_common::abi::ConnState::name);
    let way = if rewrite.is_reply() { "reply" } else { "request" };
    format!(
        "{table} {proto} {} as {} {way} {state} real {} hop {} service {}",
        tuple(key),
        tuple(&rewrite.outgoing()),
        rewrite.real.0,
        rewrite.hop.0,
        rewrite.service.0
    )
}

impl From<Raw> for State {
    fn from(raw: Raw) -> Self {
        let mut numbers = BTreeMap::new();
        for (slot, count) in raw.reasons.iter().enumerate() {
            numbers.insert(format!("reason {}", reason(slot)), count.cast_signed());
        }
        for (RealId(id), count, (active, inactive, half_open)) in raw.reals {
            let of_real = [
                ("conns", count.conns.cast_signed()),
                ("in_packets", count.in_packets.cast_signed()),
                ("in_bytes", count.in_bytes.cast_signed()),
                ("out_packets", count.out_packets.cast_signed()),
                ("out_bytes", count.out_bytes.cast_signed()),
                ("active", i64::from(active)),
                ("inactive", i64::from(inactive)),
                ("half_open", half_open),
            ];
            numbers.extend(of_real.map(|(name, count)| (format!("real {id} {name}"), count)));
        }
        for (name, value) in ["flows", "hop_cursor", "port_cursor"].into_iter().zip(raw.gauges) {
            numbers.insert(format!("gauge {name}"), i64::from(value));
        }
        numbers.insert("templates".into(), raw.templates.cast_signed() as i64);
        numbers.insert("fragments".into(), raw.fragments.cast_signed() as i64);
        let mut entries: BTreeSet<String> =
            raw.flows.iter().map(|(key, flow)| entry("flow", key, flow)).collect();
        entries.extend(raw.half_open.iter().map(|(key, flow)| entry("half_open", key, flow)));
        Self { numbers, entries }
    }
}

impl State {
    /// What is different after it, a line each.
    pub fn changes(&self, after: &Self) -> Vec<String> {
        let gone = self.entries.difference(&after.entries).map(|entry| format!("- {entry}"));
        let new = after.entries.difference(&self.entries).map(|entry| format!("+ {entry}"));
        let counted = after.numbers.iter().filter_map(|(name, value)| {
            let by = value - self.numbers.get(name).copied().unwrap_or(0);
            (by != 0).then(|| format!("{name} {by:+}"))
        });
        counted.chain(gone).chain(new).collect()
    }
}
