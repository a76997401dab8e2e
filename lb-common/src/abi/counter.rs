//! Counters that the programs keep for each CPU and readers sum.

use bytemuck::{Pod, Zeroable};

use super::RealId;

/// An element of COUNT_REAL: what `ipvsadm --stats` shows. Bytes are those of the IP packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct RealCounters {
    /// Connections scheduled to this real server.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
}

impl core::ops::AddAssign for RealCounters {
    fn add_assign(&mut self, more: Self) {
        self.conns = self.conns.wrapping_add(more.conns);
        self.in_packets = self.in_packets.wrapping_add(more.in_packets);
        self.out_packets = self.out_packets.wrapping_add(more.out_packets);
        self.in_bytes = self.in_bytes.wrapping_add(more.in_bytes);
        self.out_bytes = self.out_bytes.wrapping_add(more.out_bytes);
    }
}

/// Indices of GAUGES: numbers that all CPUs share and only new or ending flows touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Gauge {
    /// Flows (pairs) in FLOWS4.
    Flows = 0,
    /// Where the search for a free learned hop goes on.
    HopCursor = 1,
    /// Where the search for a free full-NAT port goes on.
    PortCursor = 2,
}

impl Gauge {
    /// Entries of GAUGES.
    pub const COUNT: u32 = 3;
}

/// A value of `COUNT_RETIRED`: what the removed real servers of a service had counted. Written by the daemon only, whole.
///
/// Counters move here from COUNT_REAL in two steps that a crash may part: they are added and `moving` names the real
/// server in one write, then its element of COUNT_REAL is zeroed and `moving` cleared. Whoever finds a name there
/// zeroes, and adds nothing.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Retired {
    /// The sum.
    pub sum: RealCounters,
    /// Whose counters are in `sum` and may still be in COUNT_REAL; [`RealId::NOBODY`]: nobody's.
    pub moving: RealId,
    /// 0.
    pub pad: u32,
}

impl Default for Retired {
    fn default() -> Self {
        Self { sum: RealCounters::default(), moving: RealId::NOBODY, pad: 0 }
    }
}

/// What a CPU may do only so often in a tick: indices of BUDGETS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Budget {
    /// ICMP errors (RFC 1812, 4.3.2.8).
    Icmp = 0,
    /// Frames handed to the daemon until their next hop answers.
    Held = 1,
}

impl Budget {
    /// Entries of BUDGETS.
    pub const COUNT: u32 = 2;
}

/// An element of BUDGETS.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Spent {
    /// The tick that `times` is of.
    pub tick: u32,
    /// How often in it.
    pub times: u32,
}

impl Spent {
    /// Whether it may be done once more in the tick `now`, of `limit` times; counts it if so.
    #[inline(always)]
    pub fn take(&mut self, now: u32, limit: u32) -> bool {
        if self.tick != now {
            *self = Self { tick: now, times: 0 };
        }
        let allowed = self.times < limit;
        self.times += u32::from(allowed);
        allowed
    }
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::RealCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Retired {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Spent {}
}
