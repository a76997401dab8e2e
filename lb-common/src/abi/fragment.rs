//! Fragments of packets of flows: only the first names ports.

use bytemuck::{Pod, Zeroable};

use super::{FlowRewrite, Tick};
use crate::wire::{Addr4, Addr6, Address};

/// Key of FRAGMENTS4 and FRAGMENTS6: what the fragments of one packet have in common (RFC 791; RFC 8200, 4.5).
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct FragmentKey<A = Addr4> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// The packet's identification; of IPv4 the last two bytes.
    pub id: [u8; 4],
    /// IP protocol number; 0 with IPv6, where only the first fragment must name it.
    pub proto: u8,
    /// 0.
    pub pad: [u8; 3],
}

/// A value of those: where the first fragment went.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Fragmented<A = Addr4> {
    /// The rewrite of its flow; what it says of ports is the first fragment's business.
    pub rewrite: FlowRewrite<A>,
    /// When.
    pub stamp: Tick,
    /// 0.
    pub pad: u32,
}

// SAFETY: addresses are bytes, a multiple of four of them (checked below): the fields leave no room between them.
unsafe impl<A: Address> Zeroable for FragmentKey<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Pod for FragmentKey<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Zeroable for Fragmented<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Pod for Fragmented<A> {}

const _: () = assert!(size_of::<FragmentKey>() == 16 && size_of::<Fragmented>() == 48);
const _: () =
    assert!(size_of::<FragmentKey<Addr6>>() == 40 && size_of::<Fragmented<Addr6>>() == 72);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl<A: crate::wire::Address> aya::Pod for super::FragmentKey<A> {}
    // SAFETY: as above.
    unsafe impl<A: crate::wire::Address> aya::Pod for super::Fragmented<A> {}
}
