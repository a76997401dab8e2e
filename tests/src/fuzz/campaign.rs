//! Rounds on all processors, and a sample of them in the kernel.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use lb_common::abi::{Flow, FlowKey, Tick, map, program};
use lb_common::engine::Action;
use lb_common::engine::tables::Table;
use lb_common::host::Frame;

use super::draw::Draw;
use super::judge::{Judge, Tally};
use super::source::{Kind, Source};
use super::tables::Condition;
use crate::golden::text::Topic;
use crate::golden::{file, state, topics};
use crate::kernel::{Kernel, xdp};
use crate::world::IFINDEX;

/// Packets of a round.
pub const ROUND: u64 = 5_000;
/// How often dear checks are made, in packets; a round ends with one.
const SETTLE: u64 = 1_000;
/// How often time passes, in packets.
const AGE: u64 = 2_500;
/// Ticks that pass then: enough for what is half-open or closed, too little for what is established.
const AGED: u32 = 500;

/// All packets of the goldens, before and after.
pub fn goldens() -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for subject in topics::ALL {
        let path = file(subject.name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let topic: Topic = text.parse()?;
        for packet in topic.scenes.into_iter().flat_map(|scene| scene.packets) {
            frames.extend(packet.fate.left);
            frames.push(packet.bytes);
        }
    }
    Ok(frames)
}

/// The seed of a round.
fn seed_of(seed: u64, round: u64) -> u64 {
    Draw::new(seed ^ round.wrapping_mul(0xd134_2543_de82_ef95)).bits()
}

/// The condition of the tables in a round: as they should be in every other one.
fn condition_of(round: u64) -> Condition {
    match round % 8 {
        1 => Condition::Empty,
        3 | 7 => Condition::Full,
        5 => Condition::Stale,
        _ => Condition::Normal,
    }
}

/// What rounds came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub tally: Tally,
    /// How many frames were made in each way.
    pub kinds: BTreeMap<Kind, u64>,
    /// REASONS, by name.
    pub reasons: BTreeMap<String, u64>,
}

impl Report {
    fn add(&mut self, more: &Self) {
        self.tally += more.tally;
        for (kind, count) in &more.kinds {
            *self.kinds.entry(*kind).or_default() += count;
        }
        for (name, count) in &more.reasons {
            *self.reasons.entry(name.clone()).or_default() += count;
        }
    }
}

/// What broke, and how to see it again.
fn broken(seed: u64, round: u64, packet: u64, frame: &[u8], what: &str) -> String {
    let mut bytes = String::new();
    for byte in frame {
        // Writing to a String cannot fail.
        let _ = write!(bytes, "{byte:02x}");
    }
    format!(
        "seed {seed}, round {round} ({:?}), packet {packet}: {what}\nframe: {bytes}\n\
         XLB_FUZZ_SEED={seed} XLB_FUZZ_ROUND={round} brings it back",
        condition_of(round)
    )
}

/// One round on the host.
pub fn round(seed: u64, round: u64, goldens: &[Vec<u8>]) -> Result<Report, String> {
    let mut at = (0, Vec::new());
    let outcome = catch_unwind(AssertUnwindSafe(|| play(seed, round, goldens, &mut at)));
    let outcome = outcome.unwrap_or_else(|_| Err("the engine panicked".into()));
    outcome.map_err(|what| broken(seed, round, at.0, &at.1, &what))
}

fn play(
    seed: u64,
    round: u64,
    goldens: &[Vec<u8>],
    at: &mut (u64, Vec<u8>),
) -> Result<Report, String> {
    let condition = condition_of(round);
    let world = condition.world();
    let mut judge = Judge::new(condition, &world);
    let mut source = Source::new(seed_of(seed, round), goldens);
    let mut kinds = [0; Kind::ALL.len()];
    let mut frame = Frame::default();
    for number in 1..=ROUND {
        let kind = source.next(&mut frame.bytes);
        kinds[kind as usize] += 1;
        at.0 = number;
        at.1.clone_from(&frame.bytes);
        if judge.run(&mut frame)? {
            source.remember(&frame.bytes);
        }
        if number % SETTLE == 0 {
            judge.settle()?;
        }
        if number % AGE == 0 && condition != Condition::Stale {
            judge.age(AGED);
            judge.settle()?;
        }
    }
    let kinds = Kind::ALL.into_iter().zip(kinds).collect();
    let counted = judge.tables.reasons().into_iter().enumerate().filter(|(_, count)| *count != 0);
    let reasons = counted.map(|(slot, count)| (state::reason(slot), count)).collect();
    Ok(Report { tally: judge.tally, kinds, reasons })
}

/// At least so many packets in rounds from the first on, on all processors. The first thing that breaks is told.
pub fn run(seed: u64, packets: u64, goldens: &[Vec<u8>]) -> Result<Report, String> {
    let rounds = packets.div_ceil(ROUND);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Ok(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= rounds {
                        return;
                    }
                    let one = round(seed, number, goldens);
                    let mut all = outcome.lock().expect("no one panics under it");
                    match (&mut *all, one) {
                        (Ok(sum), Ok(one)) => sum.add(&one),
                        (Ok(_), Err(what)) => *all = Err(what),
                        (Err(_), _) => {}
                    }
                    if all.is_err() {
                        next.store(rounds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    outcome.into_inner().expect("no one panicked under it")
}

/// Entries without their times, which no two runs share.
fn timeless(mut entries: Vec<(FlowKey, Flow)>) -> Vec<(FlowKey, Flow)> {
    for (_, flow) in &mut entries {
        flow.stamp = Tick(0);
        flow.rewrite.opened = Tick(0);
    }
    entries
}

/// Rounds of so many packets through the engine and the program in the kernel: the same verdict and bytes after each
/// packet, the same counters and tables after each round.
pub fn in_kernel(seed: u64, rounds: u64, packets: u64, goldens: &[Vec<u8>]) -> Result<u64> {
    let mut run = 0;
    for condition in Condition::ALL {
        let world = condition.world();
        let mut kernel = Kernel::load(&world)?;
        for number in (0..rounds).filter(|number| condition_of(*number) == condition) {
            kernel.reset(&world)?;
            for (table, key, flow) in condition.flows() {
                kernel.insert_flow(name(table), &key, &flow)?;
            }
            let host = condition.on_host(&world);
            let mut source = Source::new(seed_of(seed, number), goldens);
            let mut frame = Frame::default();
            for packet in 1..=packets {
                source.next(&mut frame.bytes);
                if frame.bytes.len() < xdp::SHORTEST {
                    continue;
                }
                let before = frame.bytes.clone();
                let told = |what: String| broken(seed, number, packet, &before, &what);
                let verdict = host.run(&mut frame, IFINDEX);
                let (code, bytes) = kernel
                    .run(program::XDP, &before)
                    .with_context(|| told("the kernel refused it".into()))?;
                let same = code == xdp::code(verdict) && bytes == frame.bytes;
                ensure!(
                    same,
                    told(format!(
                        "host {verdict:?}, kernel {code}; {:02x?}, {bytes:02x?}",
                        frame.bytes
                    ))
                );
                if verdict.action() == Action::Redirect && verdict.slot() == 0 {
                    source.remember(&frame.bytes);
                }
                run += 1;
            }
            let told = |what: &str| broken(seed, number, packets, &[], what);
            for table in [Table::Flows, Table::HalfOpen] {
                let same = timeless(host.entries(table)) == timeless(kernel.entries(name(table))?);
                ensure!(same, told(name(table)));
            }
            ensure!(host.reasons() == kernel.reasons()?, told("reasons"));
            for (id, _) in &world.reals {
                let (active, inactive, half_open) = host.load_of(*id);
                let kernel_load = kernel.load_of(*id)?;
                // Counted below zero where stale flows end that nobody had counted.
                let half = i64::from(kernel_load.2.cast_signed());
                let same = (active, inactive, half_open) == (kernel_load.0, kernel_load.1, half);
                ensure!(same, told("load"));
                ensure!(host.counters(*id) == kernel.counters(*id)?, told("counters"));
            }
        }
    }
    Ok(run)
}

const fn name(table: Table) -> &'static str {
    match table {
        Table::Flows => map::FLOWS4,
        Table::HalfOpen => map::HALF_OPEN4,
    }
}
