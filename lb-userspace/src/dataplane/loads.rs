//! Half-open counts put right: the kernel's LRU throws entries out without telling the program that counts them.
//!
//! LOADS is written by the programs only, except for this: one atomic addition to one word, through a mapping of
//! the array. Writing the element whole would undo what a program adds to its neighbours meanwhile; where the
//! map cannot be mapped, nothing is corrected.

use std::collections::HashMap;
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use lb_common::abi::{Load, RealFlags, RealId};

use super::maps::Maps;
use super::table::TableError;

/// BPF_F_MMAPABLE (include/uapi/linux/bpf.h).
const MMAPABLE: u32 = 1 << 10;

/// LOADS in this process's memory, and what the last sweep found wrong with it.
pub(super) struct HalfOpenLoads {
    mapping: Option<Mapping>,
    /// Too many (positive) or too few half-open flows counted, for each real server.
    off: HashMap<RealId, i64>,
}

struct Mapping {
    base: NonNull<c_void>,
    bytes: usize,
    entries: u32,
}

// SAFETY: the mapping is shared memory that is only touched by atomic operations, from whichever thread.
unsafe impl Send for Mapping {}

impl HalfOpenLoads {
    pub(super) fn new(maps: &Maps) -> Self {
        Self { mapping: Mapping::of(maps), off: HashMap::new() }
    }

    /// Compares the counts with what a sweep found; what was wrong in the same way twice is put right.
    pub(super) fn correct(
        &mut self,
        maps: &Maps,
        found: &HashMap<RealId, u32>,
    ) -> Result<(), TableError> {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let mut used = Vec::new();
        maps.reals.for_each(|&id, real| {
            if real.flags & RealFlags::USED != 0 {
                used.push(RealId(id));
            }
        })?;
        let mut off = HashMap::new();
        for real in used {
            let Some(counted) = mapping.half_open(real) else { continue };
            let now = i64::from(counted.load(Ordering::Relaxed).cast_signed())
                - i64::from(found.get(&real).copied().unwrap_or(0));
            let sure = agreed(self.off.get(&real).copied().unwrap_or(0), now);
            if sure != 0 {
                counted.fetch_sub((sure as i32).cast_unsigned(), Ordering::Relaxed);
            }
            off.insert(real, now - sure);
        }
        self.off = off;
        Ok(())
    }
}

/// How much of two observations is the same error: flows come and go between them.
fn agreed(before: i64, now: i64) -> i64 {
    if before.signum() == now.signum() { now.signum() * before.abs().min(now.abs()) } else { 0 }
}

impl Mapping {
    fn of(maps: &Maps) -> Option<Self> {
        let entries = maps.loads.capacity();
        if maps.loads.flags() & MMAPABLE == 0 {
            return None;
        }
        let bytes = entries as usize * size_of::<Load>();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = maps.loads.fd().as_raw_fd();
        // SAFETY: a new mapping where the kernel likes, of an array that is at least that long.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        Some(Self { base: NonNull::new(base)?, bytes, entries })
    }

    fn half_open(&self, real: RealId) -> Option<&AtomicU32> {
        if real.0 >= self.entries {
            return None;
        }
        let load = self.base.cast::<Load>().as_ptr();
        // SAFETY: the index is inside the mapping, which lives as long as `self`; elements of 16 bytes lie without
        // gaps from a page's start on, so the word is aligned; everybody writes it atomically.
        Some(unsafe { AtomicU32::from_ptr(&raw mut (*load.add(real.0 as usize)).half_open) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `of` with this length, and no reference to it outlives `self`.
        let unmapped = unsafe { libc::munmap(self.base.as_ptr(), self.bytes) };
        // Addresses from mmap are always accepted back.
        debug_assert_eq!(unmapped, 0);
    }
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
