//! Whether what became of a packet may be: cheap checks after each packet, dear ones now and then.

use std::collections::HashSet;

use lb_common::abi::{FlowKey, Gauge, REASON_SLOTS};
use lb_common::engine::expire;
use lb_common::engine::tables::Table;
use lb_common::engine::{Action, Tables};
use lb_common::host::{Frame, HostTables};
use lb_common::wire::Addr4;

use super::tables::Condition;
use crate::golden::model::Model;
use crate::golden::recompute;
use crate::tags::without_priority;
use crate::world::{IFINDEX, World};

/// Reasons that end a packet; behind them are notices.
const REASONS: usize = 224;

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub dropped: u64,
    pub forwarded: u64,
    pub answered: u64,
}

impl Tally {
    pub const fn all(&self) -> u64 {
        self.passed + self.dropped + self.forwarded + self.answered
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.dropped += more.dropped;
        self.forwarded += more.forwarded;
        self.answered += more.answered;
    }
}

/// The engine on the host in some condition, and whoever looks at what it does.
pub struct Judge<'w> {
    condition: Condition,
    world: &'w World,
    pub tables: HostTables,
    model: Model<'w>,
    pub tally: Tally,
    /// The frame before it was run.
    before: Vec<u8>,
}

impl<'w> Judge<'w> {
    pub fn new(condition: Condition, world: &'w World) -> Self {
        Self {
            condition,
            world,
            tables: condition.on_host(world),
            model: Model::new(world),
            tally: Tally::default(),
            before: Vec::new(),
        }
    }

    /// Runs a frame; whether it left as a packet of a flow, or what is wrong.
    pub fn run(&mut self, frame: &mut Frame) -> Result<bool, String> {
        self.before.clear();
        self.before.extend_from_slice(&frame.bytes);
        let verdict = self.tables.run(frame, IFINDEX);
        let slot = verdict.slot();
        let untouched = frame.bytes == self.before;
        match (verdict.action(), slot) {
            (Action::Pass, 1..128) if untouched => self.tally.passed += 1,
            // A tag is not put back on what ends.
            (Action::Drop, 128..224) if untouched || frame.bytes == self.plain() => {
                self.tally.dropped += 1;
            }
            (Action::Redirect, 0) => {
                self.tally.forwarded += 1;
                self.forwarded(&frame.bytes)?;
                return Ok(true);
            }
            (Action::Redirect, 128..224) => {
                self.tally.answered += 1;
                recompute::answered(&self.plain(), &frame.bytes)?;
            }
            _ => return Err(format!("{verdict:?}, untouched: {untouched}")),
        }
        let plain = self.plain();
        self.model.refused(&plain);
        Ok(false)
    }

    /// The frame as it came, without a tag that is only a priority.
    fn plain(&self) -> Vec<u8> {
        without_priority(&self.before)
    }

    /// I-3, I-4, I-10; where tables are as they should be I-5, I-6, I-7, I-9 too.
    fn forwarded(&mut self, left: &[u8]) -> Result<(), String> {
        let frame = self.plain();
        match self.condition {
            Condition::Normal | Condition::Full => self.model.forwarded(&frame, left),
            Condition::Empty => Err("there is no service".into()),
            Condition::Stale => recompute::forwarded(&frame, left),
        }
    }

    /// What must hold between packets: one reason for each packet that did not leave as it was meant to (I-2), and
    /// counts that are those of the tables (I-8, C-48).
    pub fn settle(&self) -> Result<(), String> {
        let reasons: u64 = self.tables.reasons()[..REASONS].iter().sum();
        let Tally { passed, dropped, answered, .. } = self.tally;
        if reasons != passed + dropped + answered {
            return Err(format!("{reasons} reasons for {:?}", self.tally));
        }
        if self.condition == Condition::Stale {
            return Ok(());
        }
        let (mut loads, mut half_open) = (0, 0);
        for (id, _) in &self.world.reals {
            let (active, inactive, half) = self.tables.load_of(*id);
            loads += active + inactive;
            half_open += half;
        }
        let gauge = self.tables.gauge(Gauge::Flows);
        let (flows, halves) =
            (self.tables.entries(Table::Flows), self.tables.entries(Table::HalfOpen));
        if loads != gauge || flows.len() != 2 * gauge as usize {
            return Err(format!(
                "{loads} flows by load, {gauge} by gauge, {} entries",
                flows.len()
            ));
        }
        if i64::try_from(halves.len()) != Ok(2 * half_open) {
            return Err(format!("{half_open} half-open flows, {} entries", halves.len()));
        }
        // Each direction has its other, and every flow a real server of its service.
        for (table, entries) in [(Table::Flows, &flows), (Table::HalfOpen, &halves)] {
            let keys: HashSet<&FlowKey> = entries.iter().map(|(key, _)| key).collect();
            for (key, flow) in entries {
                let twin = flow.rewrite.twin();
                let real = self.world.reals.iter().find(|(id, _)| *id == flow.rewrite.real);
                let of_service = real.is_some_and(|(_, r)| r.service_id == flow.rewrite.service);
                if !keys.contains(&twin) || !of_service || flow.conn_state().is_none() {
                    return Err(format!("{table:?}: {key:?} {flow:?}"));
                }
            }
        }
        Ok(())
    }

    /// Lets time pass and ends what is over, as the daemon does.
    pub fn age(&mut self, ticks: u32) {
        let mut now = self.tables.now();
        now.0 = now.0.wrapping_add(ticks);
        self.tables.set_now(now);
        let keys = |tables: &HostTables| -> Vec<FlowKey> {
            [Table::Flows, Table::HalfOpen]
                .into_iter()
                .flat_map(|table| tables.entries(table))
                .map(|(key, _)| key)
                .collect()
        };
        for batch in keys(&self.tables).chunks(lb_common::abi::limits::EXPIRE_BATCH as usize) {
            expire::run::<Addr4, _, _>(
                &Frame::new(bytemuck::cast_slice(batch).to_vec()),
                &self.tables,
            );
        }
        let left: HashSet<FlowKey> = keys(&self.tables).into_iter().collect();
        self.model.keep(|key| left.contains(key));
    }
}

const _: () = assert!(REASONS < REASON_SLOTS as usize);
