//! Next hops: where frames go, by one look-up in a small array.

use bytemuck::{Pod, Zeroable};

use crate::wire::{Addr4, Addr6, Mac};

/// What [`NextHop::state`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum HopState {
    /// Unused or not resolved yet: there is no address to send to.
    Unresolved = 0,
    /// Frames may be sent.
    Valid = 1,
    /// The real server behind it was removed: its flows' packets are dropped silently, as IPVS does.
    Gone = 2,
}

/// An element of NEXT_HOPS. The two halves that change together lie in one aligned word each, so that a
/// reader never sees half an Ethernet address.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct NextHop {
    /// Destination of the frame.
    pub dst: Mac,
    /// [`HopState`] as a number.
    pub state: u8,
    /// Bits of this type's constants.
    pub flags: u8,
    /// Source of the frame: the address of the interface it leaves by.
    pub src: Mac,
    /// Largest IP packet in bytes that the interface takes.
    pub mtu: u16,
    /// Interface it leaves by; key of DEVICES.
    pub ifindex: u32,
    /// 0.
    pub pad: u32,
}

impl NextHop {
    /// A frame that leaves by the interface it came in by may use XDP_TX; without it DEVICES is used always
    /// (veth swallows XDP_TX unless its peer runs an XDP program).
    pub const TX: u8 = 1;
    /// The program made this entry from a client's frame; the daemon frees it when no flow uses it.
    pub const LEARNED: u8 = 2;
}

/// Key of LAST_HOPS: who on which wire sent us the packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct LastHopKey {
    /// Interface the frame came in by.
    pub ifindex: u32,
    /// Its source address.
    pub mac: Mac,
    /// 0.
    pub pad: [u8; 2],
}

/// A value of IFACES: what the program must know of an interface of `--iface`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Iface {
    /// Its own address; all zero where it has none.
    pub mac: Mac,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// [`NextHop::TX`] or 0: copied to the hops learned on this interface.
    pub flags: u8,
    /// 0.
    pub pad: [u8; 3],
    /// Its primary IPv4 address, which xlb's own ICMP errors come from where no virtual address is at hand; all zero
    /// where it has none.
    pub addr: Addr4,
    /// The same of IPv6.
    pub addr6: Addr6,
}

impl Iface {
    /// Whether a frame for `dst` is for this host: its own address, or a virtual router's (RFC 5798, 7.3), which
    /// keepalived's `use_vmac` answers for.
    #[inline(always)]
    pub fn answers_to(&self, dst: Mac) -> bool {
        let virtual_router = matches!(dst.0, [0, 0, 0x5e, 0, 1, _]);
        dst == self.mac || self.mac == Mac::default() || virtual_router
    }
}

const _: () = assert!(size_of::<NextHop>() == 24 && size_of::<LastHopKey>() == 12);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::NextHop {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LastHopKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Iface {}
}
