//! The three atomic instructions the tables need. The target has no `core::sync::atomic`; the intrinsics become
//! `lock +=` and `cmpxchg` with cpu v3 (kernel 5.12 and later).

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

/// Adds to a word and returns what it held.
///
/// # Safety
///
/// `word` is aligned and valid for writes.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u32, by: u32) -> u32 {
    // SAFETY: by contract.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(word, by) }
}

/// Stores `to` if the word holds `from`; whether it did.
///
/// # Safety
///
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u32, from: u32, to: u32) -> bool {
    // SAFETY: by contract.
    let (_, done) = unsafe {
        atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, from, to)
    };
    done
}
