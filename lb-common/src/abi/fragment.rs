//! Fragments of packets of flows: only the first names ports.

use bytemuck::{Pod, Zeroable};

use super::{FlowRewrite, Tick};
use crate::wire::Addr4;

/// Key of FRAGMENTS4: what the fragments of one packet have in common (RFC 791).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct FragmentKey {
    /// Source address.
    pub src: Addr4,
    /// Destination address.
    pub dst: Addr4,
    /// The packet's identification.
    pub id: [u8; 2],
    /// IP protocol number.
    pub proto: u8,
    /// 0.
    pub pad: u8,
}

/// A value of FRAGMENTS4: where the first fragment went.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Fragmented {
    /// The rewrite of its flow; what it says of ports is the first fragment's business.
    pub rewrite: FlowRewrite,
    /// When.
    pub stamp: Tick,
    /// 0.
    pub pad: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 12 && size_of::<Fragmented>() == 48);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::FragmentKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Fragmented {}
}
