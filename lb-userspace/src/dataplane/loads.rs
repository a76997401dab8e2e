//! Half-open counts put right: the kernel's LRU throws entries out without telling the program that counts them.

use std::collections::HashMap;

use lb_common::abi::{RealFlags, RealId};

use super::maps::Maps;
use super::table::TableError;

/// What the last sweep found wrong.
#[derive(Debug, Default)]
pub(super) struct HalfOpenLoads {
    /// Too many (positive) or too few half-open flows counted, for each real server.
    off: HashMap<RealId, i64>,
}

impl HalfOpenLoads {
    /// Compares `HALF_LOADS` with what a sweep found; what was wrong in the same way twice is put right.
    pub(super) fn correct(
        &mut self,
        maps: &Maps,
        found: &HashMap<RealId, u32>,
    ) -> Result<(), TableError> {
        let mut used = Vec::new();
        maps.reals.for_each(|&id, real| {
            if real.flags & RealFlags::USED != 0 {
                used.push(RealId(id));
            }
        })?;
        let mut off = HashMap::new();
        for real in used {
            let counted = maps.half_loads.get(&real.0)?.unwrap_or(0);
            // A count that was taken below zero is a count all the same.
            let now = i64::from(counted.cast_signed())
                - i64::from(found.get(&real).copied().unwrap_or(0));
            let sure = agreed(self.off.get(&real).copied().unwrap_or(0), now);
            if sure != 0 {
                // What a program adds between these two calls is lost: one of an estimate, found by the next sweeps.
                let counted = maps.half_loads.get(&real.0)?.unwrap_or(0);
                maps.half_loads
                    .put(&real.0, &counted.wrapping_sub((sure as i32).cast_unsigned()))?;
            }
            if now != sure {
                off.insert(real, now - sure);
            }
        }
        self.off = off;
        Ok(())
    }
}

/// How much of two observations is the same error: flows come and go between them.
fn agreed(before: i64, now: i64) -> i64 {
    if before.signum() == now.signum() { now.signum() * before.abs().min(now.abs()) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_wrong_twice_is_put_right() {
        assert_eq!(agreed(0, 5), 0);
        assert_eq!(agreed(5, 3), 3);
        assert_eq!(agreed(-2, -9), -2);
        assert_eq!(agreed(4, -4), 0);
    }
}
