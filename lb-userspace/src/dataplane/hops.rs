//! Next hops that the program learned from clients' frames, given back when no flow uses them.
//!
//! Three sweeps, because a packet may be between looking a hop up and recording its flow: unused once (noted),
//! unused twice (nobody finds it any more), unused thrice (free).

use std::collections::{HashMap, HashSet};

use lb_common::abi::{Gauge, LastHopKey, NextHop, limits};

use super::maps::Maps;
use super::table::TableError;

/// How often in a row each learned hop was seen without a flow.
#[derive(Debug, Default)]
pub(super) struct LearnedHops {
    unused: HashMap<u32, u32>,
}

impl LearnedHops {
    /// Takes note of a sweep that found the hops `used`; how many were freed.
    pub(super) fn sweep(&mut self, maps: &Maps, used: &HashSet<u32>) -> Result<u32, TableError> {
        if maps.gauge(Gauge::HopCursor)? == 0 {
            return Ok(0);
        }
        let mut unused = Vec::new();
        maps.next_hops.for_each(|&id, hop| {
            let learned = id >= limits::REALS && hop.flags & NextHop::LEARNED != 0;
            if learned && !used.contains(&id) {
                unused.push(id);
            }
        })?;
        let (hidden, free) = self.note(&unused);
        if !hidden.is_empty() {
            hide(maps, &hidden)?;
        }
        for id in &free {
            maps.next_hops.put(id, &NextHop::default())?;
        }
        Ok(free.len() as u32)
    }

    /// Counts; which hops nobody may find any more, and which are free.
    fn note(&mut self, unused: &[u32]) -> (HashSet<u32>, Vec<u32>) {
        let before = std::mem::take(&mut self.unused);
        let (mut hidden, mut free) = (HashSet::new(), Vec::new());
        for &id in unused {
            let times = before.get(&id).copied().unwrap_or(0) + 1;
            match times {
                1 => {}
                2 => {
                    hidden.insert(id);
                }
                _ => {
                    free.push(id);
                    continue;
                }
            }
            self.unused.insert(id, times);
        }
        (hidden, free)
    }
}

/// Removes the entries of `LAST_HOPS` that lead to `hops`.
fn hide(maps: &Maps, hops: &HashSet<u32>) -> Result<(), TableError> {
    let mut keys: Vec<LastHopKey> = Vec::new();
    maps.last_hops.for_each(|key, hop| {
        if hops.contains(hop) {
            keys.push(*key);
        }
    })?;
    keys.iter().try_for_each(|key| maps.last_hops.remove(key).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_is_hidden_after_two_idle_sweeps_and_freed_after_three() {
        let mut hops = LearnedHops::default();
        assert_eq!(hops.note(&[7]), (HashSet::new(), vec![]));
        assert_eq!(hops.note(&[7, 8]), (HashSet::from([7]), vec![]));
        assert_eq!(hops.note(&[7, 8]), (HashSet::from([8]), vec![7]));
    }

    #[test]
    fn hop_that_is_used_again_starts_over() {
        let mut hops = LearnedHops::default();
        hops.note(&[7]);
        hops.note(&[7]);
        hops.note(&[]);
        assert_eq!(hops.note(&[7]), (HashSet::new(), vec![]));
    }
}
