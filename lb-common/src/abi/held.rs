//! Frames that wait for a neighbour: how the program hands them to the daemon, and how it gets them back.

use bytemuck::{Pod, Zeroable};

use super::HopId;

/// What comes before a frame in HELD's buffers. The kernel may append a few bytes of its own: `len` counts.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct HeldHead {
    /// The next hop that has no link-layer address.
    pub hop: HopId,
    /// Interface the frame came in by.
    pub ifindex: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// 0.
    pub pad: u32,
}

/// XDP metadata in front of a frame that the daemon gives back, in native byte order, and at tc its mark. Frames from a
/// wire carry no metadata, and a driver's own does not begin so; marks do not cross namespaces, and are small numbers.
pub const GIVEN_BACK: u32 = 0x786c_6231;
/// The same for the last time: it is not handed over again.
pub const LAST_TRY: u32 = 0x786c_6230;
