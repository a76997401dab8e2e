//! Numbers that stand for things, so that one is never taken for another.

use bytemuck::{Pod, Zeroable};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Pod, Zeroable)]
        pub struct $name(pub u32);
    )* };
}

ids! {
    /// Index of a service in CURSORS; stable while the service exists, across reloads and restarts.
    ServiceId;
    /// Index of a real server in REALS, LOADS, COUNT_REAL and NEXT_HOPS: one id for a real *of one service*.
    RealId;
    /// Index in NEXT_HOPS.
    HopId;
    /// Coarse monotonic time: jiffies shifted right so that a tick is about a quarter of a second.
    /// The daemon measures the exact length at start (`Config::ticks_per_1024_s`).
    Tick;
}

impl Tick {
    /// Ticks from `earlier` to `self`; 0 if `earlier` is later (another CPU was ahead by a tick).
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let gap = self.0.wrapping_sub(earlier.0);
        if gap > u32::MAX / 2 { 0 } else { gap }
    }
}

impl RealId {
    /// In a slot table: the bucket of nobody. No index of REALS.
    pub const NOBODY: Self = Self(u32::MAX);

    /// The next hop towards this real server: the same index.
    #[inline(always)]
    pub const fn hop(self) -> HopId {
        HopId(self.0)
    }
}
