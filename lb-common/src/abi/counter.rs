//! Counters that the programs keep for each CPU and readers sum.

use bytemuck::{Pod, Zeroable};

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

/// The element of `ICMP_BUDGET`: how many ICMP errors this CPU sent in which tick (RFC 1812 section 4.3.2.8).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct IcmpBudget {
    /// The tick that `sent` is of.
    pub tick: u32,
    /// Errors sent in it.
    pub sent: u32,
}

/// Entries of REASONS: pass reasons at their number, drop reasons at 128 + number, notices at 224 + number.
pub const REASON_SLOTS: u32 = 256;

/// Things worth counting that decide no packet's fate. Entries of REASONS from 224.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Notice {
    /// STICKY4 was full: a client was scheduled without a template.
    TemplateTableFull = 0,
    /// A half-open flow was promoted.
    Promoted = 1,
    /// A pair had lost one of its two entries and was repaired.
    Repaired = 2,
}

impl Notice {
    /// Index in REASONS.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        224 + self as u32
    }
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::RealCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::IcmpBudget {}
}
