//! lc and wlc: the least loaded real server, by exact counts (`net/netfilter/ipvs/ip_vs_lc.c`, `ip_vs_wlc.c`).

use crate::abi::{RealId, limits};
use crate::engine::Tables;

/// Scans `len` entries of SLOTS from `slots_at` on: a service's usable reals. On a tie the first in IPVS's list
/// order wins. `weights`: all ones for wlc; 0 for lc, which is wlc with every weight masked to 1.
#[inline(always)]
pub fn scan<T: Tables + ?Sized>(
    tables: &T,
    slots_at: u32,
    len: u32,
    weights: u32,
) -> Option<RealId> {
    let mut best = u32::MAX;
    let (mut best_overhead, mut best_weight) = (u64::MAX >> 32, 0_u64);
    // 64 bits, for the verifier follows whole stack slots only; and the length opaque, or the compiler counts down
    // from the smaller of the two bounds, which the verifier does not know.
    let mut at = 0_u64;
    while at < u64::from(limits::SCAN) {
        if at >= core::hint::black_box(u64::from(len)) {
            break;
        }
        let Some(id) = tables.slot(slots_at + at as u32) else { break };
        let (Some(real), Some(load)) = (tables.real(id), tables.load(id)) else { break };
        at += 1;
        let weight = u64::from((real.weight & weights) | (!weights & 1));
        // IPVS: an active connection costs 256 times an inactive one (ip_vs_dest_conn_overhead).
        let overhead = (u64::from(load.active) << 8) + u64::from(load.inactive);
        // overhead / weight < best_overhead / best_weight, without dividing; the first beats "weight 0".
        if overhead * best_weight < best_overhead * weight {
            best = id.0;
            (best_overhead, best_weight) = (overhead, weight);
        }
    }
    (best != u32::MAX).then_some(RealId(best))
}
