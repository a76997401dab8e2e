//! Everything the engine counts, in one value, so that a test says what changed and, by that, what did not.

use std::collections::BTreeMap;

use lb_common::abi::{DropReason, Flow, FlowKey, Gauge, Notice, PassReason, RealCounters, RealId};
use lb_common::engine::tables::Table;

use crate::bed::Bed;

/// All counters, gauges and tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By name, those that are not 0.
    pub(crate) reasons: BTreeMap<String, u64>,
    pub(crate) flows_gauge: u32,
    pub(crate) hop_cursor: u32,
    pub(crate) port_cursor: u32,
    pub(crate) reals: BTreeMap<RealId, RealCounters>,
    /// Active, inactive, half-open.
    pub(crate) loads: BTreeMap<RealId, (u32, u32, i64)>,
    pub(crate) templates: usize,
    pub(crate) flows: Vec<(FlowKey, Flow)>,
    pub(crate) half_open: Vec<(FlowKey, Flow)>,
}

/// The name of an element of REASONS.
fn name(slot: usize) -> String {
    let name = match slot {
        0..128 => PassReason::from_number(slot as u8).map(PassReason::name),
        128..224 => DropReason::from_number((slot - 128) as u8).map(DropReason::name),
        _ => Notice::from_number((slot - 224) as u8).map(Notice::name),
    };
    name.map_or_else(|| format!("slot {slot} that has no name"), str::to_owned)
}

impl Counts {
    pub(crate) fn of(bed: &Bed) -> Self {
        let reasons = bed.reasons().into_iter().enumerate().filter(|(_, count)| *count != 0);
        let ids = || bed.world.reals.iter().map(|(id, _)| *id);
        Self {
            reasons: reasons.map(|(slot, count)| (name(slot), count)).collect(),
            flows_gauge: bed.host.gauge(Gauge::Flows),
            hop_cursor: bed.host.gauge(Gauge::HopCursor),
            port_cursor: bed.host.gauge(Gauge::PortCursor),
            reals: ids().map(|id| (id, bed.host.counters(id))).collect(),
            loads: ids().map(|id| (id, bed.host.load_of(id))).collect(),
            templates: bed.host.templates(),
            flows: bed.host.entries(Table::Flows),
            half_open: bed.host.entries(Table::HalfOpen),
        }
    }

    /// One more of a reason or notice.
    pub(crate) fn raise(&mut self, name: &str) {
        *self.reasons.entry(name.to_owned()).or_default() += 1;
    }

    /// One more packet of a real server's flows.
    pub(crate) fn packet(&mut self, real: RealId, reply: bool, bytes: u64) {
        let count = self.reals.get_mut(&real).expect("a real server of this world");
        if reply {
            count.out_packets += 1;
            count.out_bytes += bytes;
        } else {
            count.in_packets += 1;
            count.in_bytes += bytes;
        }
    }

    /// Per-real sums are what the tables hold, and nothing is negative.
    #[track_caller]
    pub(crate) fn agree(&self) {
        let sum: u32 = self.loads.values().map(|(active, inactive, _)| active + inactive).sum();
        assert_eq!(sum, self.flows_gauge, "flows of all real servers");
        assert_eq!(2 * self.flows_gauge as usize, self.flows.len(), "entries of FLOWS4");
        let half: i64 = self.loads.values().map(|(.., half_open)| half_open).sum();
        assert_eq!(Ok(self.half_open.len()), usize::try_from(2 * half), "entries of HALF_OPEN4");
        assert!(self.loads.values().all(|(.., half_open)| *half_open >= 0), "{:?}", self.loads);
    }
}
