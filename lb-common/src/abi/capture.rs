//! Captured packets: what an operator wants to see, and how the programs hand it to the daemon.
//!
//! A packet makes one event: the beginning of the frame as it arrived, the verdict, and the frame as it was when that
//! fell. The engine writes into headers only, so that beginning and the rest of the frame as it leaves are the frame as
//! it arrived.

use bytemuck::{Pod, Zeroable};

use crate::wire::{Addr6, Port};

/// Bytes of a frame that are kept as they arrived: Ethernet 14, IPv4 with all options 60, ICMP 8, the quoted IPv4 with
/// all options 60, the quoted TCP 20 are 162. What IPv6 puts before a transport header may be longer; then no more than
/// this is known for sure.
pub const CAPTURE_HEAD: usize = 256;

/// The one element of CAPTURE: which packets are handed over.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct CaptureFilter {
    /// Source or destination, arriving or leaving; IPv4 mapped. Under [`Self::HOST`].
    pub host: Addr6,
    /// Either port, arriving or leaving; 0: any, and packets without ports.
    pub port: Port,
    /// IP protocol number, that of ICMP for `ICMPv6`, too; 0: any, and what is no IP.
    pub proto: u8,
    /// Bits of this type's constants.
    pub flags: u8,
    /// Index in REASONS that the packet was counted at; 0: any.
    pub slot: u32,
    /// One of so many that match; 0: none.
    pub sample: u32,
    /// Bytes of the frame, at most.
    pub length: u32,
}

impl CaptureFilter {
    /// Only packets from or to `host`.
    pub const HOST: u8 = 1;
    /// Only packets that were dropped, those that were answered with an ICMP error included.
    pub const DROPPED: u8 = 2;

    /// Whether packets with this fate are wanted. `slot`: where it was counted in REASONS.
    #[inline(always)]
    pub fn wants(&self, slot: u32) -> bool {
        let dropped = slot >= 128;
        (self.slot == 0 || self.slot == slot) && (self.flags & Self::DROPPED == 0 || dropped)
    }
}

/// What a CPU has captured; reset when a capture begins.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct CaptureCounts {
    /// Packets that matched, those that sampling left out included.
    pub matched: u64,
    /// Packets that found no room in the buffer.
    pub lost: u64,
}

impl core::ops::AddAssign for CaptureCounts {
    fn add_assign(&mut self, more: Self) {
        self.matched = self.matched.wrapping_add(more.matched);
        self.lost = self.lost.wrapping_add(more.lost);
    }
}

/// What comes before a frame in CAPTURED's buffers. The kernel may append a few bytes of its own: `taken` counts.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct CapturedHead {
    /// When it was handed over: nanoseconds of the monotonic clock.
    pub time: u64,
    /// `engine::Verdict`, as its words.
    pub verdict: [u32; 2],
    /// Bytes of the frame as it arrived.
    pub arrived: u32,
    /// Bytes of the frame as it is now.
    pub left: u32,
    /// How many bytes of `head` are the frame's.
    pub kept: u32,
    /// Bytes of the frame as it is now that follow.
    pub taken: u32,
    /// Interface it came in by.
    pub ifindex: u32,
    /// Whether the filter concerns it as it arrived.
    pub concerned: u32,
    /// How the frame began when it arrived.
    pub head: [u8; CAPTURE_HEAD],
}

/// The one element of `CAPTURE_ROOM`, on each CPU: the packet under way, and what was captured.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct CaptureRoom {
    /// What was captured.
    pub counts: CaptureCounts,
    /// What is handed over.
    pub event: CapturedHead,
}

const _: () = assert!(size_of::<CapturedHead>() == 296 && size_of::<CaptureRoom>() == 312);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::CaptureFilter {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::CaptureRoom {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_told_apart() {
        let any = CaptureFilter::default();
        let dropped = CaptureFilter { flags: CaptureFilter::DROPPED, ..any };
        let one = CaptureFilter { slot: 129, ..any };
        for (slot, of_any, of_dropped, of_one) in [
            (0, true, false, false),
            (8, true, false, false),
            (129, true, true, true),
            (130, true, true, false),
            (227, true, true, false),
        ] {
            assert_eq!(any.wants(slot), of_any);
            assert_eq!(dropped.wants(slot), of_dropped, "{slot}");
            assert_eq!(one.wants(slot), of_one, "{slot}");
        }
    }
}
