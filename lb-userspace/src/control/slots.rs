//! Slot tables: what each scheduler's next, or hashed, choice is, laid out once instead of decided per packet.
//!
//! Pure. Real servers come in the order of the configuration; IPVS puts each new one at the head of its list
//! (`ip_vs_add_dest` in `ip_vs_ctl.c`), so tables are laid from the last to the first.
//!
//! IPVS differs: a server that comes back after a failure goes to the head of IPVS's list, here it has its old
//! place again, so that every node with the same configuration has the same tables. And a table that changes does
//! not set the walk back to the head: the program's cursor goes on.

use lb_common::abi::{RealId, limits};

/// Longest table of wrr; beyond it weights are scaled down.
pub const WRR_MAX: u64 = 16_384;
/// Buckets of sh and dh (`IP_VS_SH_TAB_SIZE`, `IP_VS_DH_TAB_SIZE`).
pub const BUCKETS: usize = 256;
/// A bucket of sh or dh whose server is quiesced: its clients are refused, as under IPVS. Beyond every index of REALS.
pub const NOBODY: RealId = RealId::NOBODY;

/// How a table is laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// rr: each in turn.
    Cycle,
    /// wrr: each in turn, by weight.
    WeightedCycle,
    /// lc, wlc: each once; the program compares.
    Scan,
    /// sh: buckets in proportion to weights. `fallback` (sh-fallback): a quiesced server's clients go to another.
    SourceHash { fallback: bool },
    /// dh: buckets in turn.
    DestinationHash,
}

/// No table can be laid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotsError {
    #[error(
        "{wanted} real servers, but lc and wlc compare at most {limit}; hint: use rr, wrr or sh, or split the service"
    )]
    TooManyToScan { wanted: usize, limit: u32 },
}

/// The table over `reals`, `(id, weight)` in the order of the configuration; those with weight 0 are quiesced.
/// Empty when nobody may take new flows.
pub fn table(layout: Layout, reals: &[(RealId, u32)]) -> Vec<RealId> {
    if reals.iter().all(|(_, weight)| *weight == 0) {
        return Vec::new();
    }
    match layout {
        Layout::Cycle | Layout::Scan => {
            reals.iter().rev().filter(|(_, weight)| *weight > 0).map(|(id, _)| *id).collect()
        }
        Layout::WeightedCycle => weighted_cycle(reals),
        Layout::SourceHash { fallback } => source_hash(reals, fallback),
        Layout::DestinationHash => {
            reals.iter().rev().cycle().take(BUCKETS).map(|entry| bucket(*entry)).collect()
        }
    }
}

/// Whether so many real servers can be scheduled at all.
pub fn check(layout: Layout, reals: usize) -> Result<(), SlotsError> {
    if layout == Layout::Scan && reals > limits::SCAN as usize {
        return Err(SlotsError::TooManyToScan { wanted: reals, limit: limits::SCAN });
    }
    Ok(())
}

/// `ip_vs_wrr.c`, unrolled over one period.
fn weighted_cycle(reals: &[(RealId, u32)]) -> Vec<RealId> {
    let reals = scaled(reals);
    let mark = Mark::after_adding(reals.iter().map(|(_, weight)| *weight));
    let period = reals.iter().map(|(_, weight)| weight / mark.step).sum::<u64>();
    let mut slots = Vec::with_capacity(period as usize);
    let mut level = mark.level;
    while (slots.len() as u64) < period {
        slots.extend(reals.iter().rev().filter(|(_, w)| *w > 0 && *w >= level).map(|(id, _)| *id));
        level = if level > mark.step { level - mark.step } else { mark.top };
    }
    slots
}

/// Weights as they are, or scaled so that the period fits [`WRR_MAX`]; a positive weight stays positive.
fn scaled(reals: &[(RealId, u32)]) -> Vec<(RealId, u64)> {
    let step = reals.iter().fold(0, |step, (_, weight)| gcd(step, u64::from(*weight))).max(1);
    let period = reals.iter().map(|(_, weight)| u64::from(*weight) / step).sum::<u64>();
    // Each server may be rounded up to 1, so that many entries are set aside.
    let room = WRR_MAX.saturating_sub(reals.len() as u64).max(1);
    let scale = |weight: u64| match (period > WRR_MAX, weight) {
        (false, _) | (_, 0) => weight,
        (true, _) => (weight / step * room / period).max(1),
    };
    reals.iter().map(|(id, weight)| (*id, scale(u64::from(*weight)))).collect()
}

/// IPVS's struct `ip_vs_wrr_mark`: where its walk stands.
struct Mark {
    /// `cw`: servers of at least this weight are chosen in this round.
    level: u64,
    /// `mw`: the level of the first round.
    top: u64,
    /// `di`: the greatest common divisor of the weights.
    step: u64,
}

impl Mark {
    /// After servers of these weights were added one by one (`ip_vs_wrr_dest_changed)`: the level is where the
    /// earlier ones left it, so the walk need not begin with the heaviest.
    fn after_adding(weights: impl Iterator<Item = u64>) -> Self {
        let (mut divisor, mut heaviest) = (0, 0);
        let mut mark = Self { level: 0, top: 0, step: 1 };
        for weight in weights {
            divisor = gcd(divisor, weight);
            heaviest = heaviest.max(weight);
            mark.step = divisor.max(1);
            mark.top = heaviest.saturating_sub(mark.step - 1);
            if mark.level > mark.top || mark.level == 0 {
                mark.level = mark.top;
            } else if mark.step > 1 {
                mark.level = mark.level / mark.step * mark.step + 1;
            }
        }
        mark
    }
}

/// `ip_vs_sh_reassign`: each server fills as many buckets as its weight, a quiesced one fills one.
fn source_hash(reals: &[(RealId, u32)], fallback: bool) -> Vec<RealId> {
    let mut slots = Vec::with_capacity(BUCKETS);
    for entry in reals.iter().rev().cycle() {
        let times = (entry.1.max(1) as usize).min(BUCKETS - slots.len());
        slots.extend(std::iter::repeat_n(bucket(*entry), times));
        if slots.len() == BUCKETS {
            break;
        }
    }
    if fallback { with_fallback(&slots) } else { slots }
}

/// `ip_vs_sh_get_fallback` depends on the bucket alone, so it is resolved here: the k-th try from bucket `i` is
/// `2i + k`.
fn with_fallback(slots: &[RealId]) -> Vec<RealId> {
    let next =
        |i: usize| (0..BUCKETS).map(|k| slots[(2 * i + k) % BUCKETS]).find(|id| *id != NOBODY);
    let resolve = |(i, id): (usize, &RealId)| {
        if *id == NOBODY { next(i).unwrap_or(NOBODY) } else { *id }
    };
    slots.iter().enumerate().map(resolve).collect()
}

fn bucket((id, weight): (RealId, u32)) -> RealId {
    if weight > 0 { id } else { NOBODY }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
