//! A first-fit allocator over an array that packets are being forwarded by.
//!
//! A region that is given back may still be read by a program that looked up its owner a moment ago, so it is
//! given to another only after [`GRACE`]. A restart forgets who waits: it takes longer than a program runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A program run lasts microseconds; this is generous.
pub const GRACE: Duration = Duration::from_secs(1);

/// Which parts of an array are in use.
#[derive(Clone, Debug)]
pub struct Arena {
    capacity: u32,
    regions: BTreeMap<u32, Region>,
    /// The end of a region below which there is no gap: where the search for one begins.
    full_below: u32,
    /// When the next region becomes free.
    next_free: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Region {
    len: u32,
    /// `None`: in use.
    free_at: Option<Instant>,
}

impl Arena {
    /// An empty array of `capacity` elements.
    pub fn new(capacity: u32) -> Self {
        Self { capacity, regions: BTreeMap::new(), full_below: 0, next_free: None }
    }

    /// The start of `len` free elements, now in use; `None` if there is no such gap at `now`.
    pub fn alloc(&mut self, len: u32, now: Instant) -> Option<u32> {
        if self.next_free.is_some_and(|free_at| free_at <= now) {
            self.regions.retain(|_, region| region.free_at.is_none_or(|free_at| free_at > now));
            self.look_again();
        }
        let mut at = self.full_below;
        for (&start, region) in self.regions.range(at..) {
            if start.saturating_sub(at) >= len {
                break;
            }
            at = at.max(start + region.len);
        }
        if len == 0 || self.capacity.saturating_sub(at) < len {
            return None;
        }
        self.regions.insert(at, Region { len, free_at: None });
        if at == self.full_below {
            self.full_below = at + len;
        }
        Some(at)
    }

    /// `(start, length)` of all that is in use from now on; what else was in use is free after [`GRACE`].
    pub fn retain(&mut self, in_use: impl IntoIterator<Item = (u32, u32)>, now: Instant) {
        for region in self.regions.values_mut() {
            region.free_at.get_or_insert(now + GRACE);
        }
        for (at, len) in in_use {
            if len > 0 {
                let region = self.regions.entry(at).or_insert(Region { len, free_at: None });
                region.len = region.len.max(len);
                region.free_at = None;
            }
        }
        self.look_again();
    }

    fn look_again(&mut self) {
        self.full_below = 0;
        self.next_free = self.regions.values().filter_map(|region| region.free_at).min();
    }

    /// How many elements are in use or waiting to be free.
    pub fn used(&self) -> u32 {
        self.regions.values().map(|region| region.len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_region_is_reused_only_after_the_grace_period() {
        let t0 = Instant::now();
        let mut arena = Arena::new(10);
        assert_eq!(arena.alloc(6, t0), Some(0));
        arena.retain([], t0);
        assert_eq!(arena.alloc(6, t0), None);
        assert_eq!(arena.alloc(4, t0), Some(6));
        assert_eq!(arena.alloc(6, t0 + GRACE), Some(0));
    }

    #[test]
    fn first_gap_that_fits_is_taken() {
        let t0 = Instant::now();
        let mut arena = Arena::new(100);
        arena.retain([(0, 10), (12, 8), (30, 10)], t0);
        assert_eq!(arena.alloc(2, t0), Some(10));
        assert_eq!(arena.alloc(10, t0), Some(20));
        assert_eq!(arena.alloc(61, t0), None);
        assert_eq!(arena.alloc(60, t0), Some(40));
        assert_eq!(arena.used(), 100);
        assert_eq!(arena.alloc(0, t0), None);
    }
}
