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
    /// Interface it leaves by; key of DEVICES and IFACES.
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
    /// The real server is at the end of a tunnel; `mtu` is what fits into it.
    pub const TUNNEL: u8 = 4;
    /// The interface is a VLAN of one that runs the program: frames leave with its tags ([`Iface::tags`]).
    pub const TAGGED: u8 = 8;
    /// Whether frames need something in front before they leave.
    pub const DRESSED: u8 = Self::TUNNEL | Self::TAGGED;
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

/// VLAN tags, the outer one first; 0: none. Aligned for the kernel program, whose stack is accessed by aligned words only.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct Tags(pub [Tag; 2]);

impl Tags {
    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0[0].0 | self.0[1].0 == 0
    }

    /// Whether there are two.
    #[inline(always)]
    pub fn are_two(&self) -> bool {
        self.0[1].0 != 0
    }
}

/// `EtherType`, priority and number of a tag, as they lie in a frame.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct Tag(pub u32);

impl Tag {
    /// The bits of the number.
    const NUMBER: u32 = u32::from_ne_bytes([0, 0, 0xf, 0xff]);
    const ETHER_TYPE: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0]);

    /// Of these bytes.
    #[inline(always)]
    pub const fn new([a, b]: [u8; 2], [c, d]: [u8; 2]) -> Self {
        Self(u32::from_ne_bytes([a, b, c, d]))
    }

    /// `EtherType`; priority and number.
    #[inline(always)]
    pub const fn bytes(self) -> ([u8; 2], [u8; 2]) {
        let [a, b, c, d] = self.0.to_ne_bytes();
        ([a, b], [c, d])
    }

    /// What says which VLAN it is; none where it has no number.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(self) -> Self {
        if self.0 & Self::NUMBER == 0 {
            Self(0)
        } else {
            Self(self.0 & (Self::NUMBER | Self::ETHER_TYPE))
        }
    }
}

/// Key of VLANS: a VLAN on an interface that runs the program.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct VlanKey {
    /// The tags of its frames, without priorities.
    pub tags: Tags,
    /// The interface that they arrive on.
    pub ifindex: u32,
    /// 0.
    pub pad: u32,
}

/// A value of IFACES: what the program must know of an interface of `--iface`, or of a VLAN on one.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Iface {
    /// Its own address; all zero where it has none.
    pub mac: Mac,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// [`NextHop::TX`] and [`NextHop::TAGGED`], where they hold: copied to the hops learned on this interface.
    pub flags: u8,
    /// 0.
    pub pad: [u8; 3],
    /// Its primary IPv4 address, which xlb's own ICMP errors come from where no virtual address is at hand; all zero
    /// where it has none.
    pub addr: Addr4,
    /// The same of IPv6.
    pub addr6: Addr6,
    /// What frames that leave by it are tagged with.
    pub tags: Tags,
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
const _: () = assert!(size_of::<Iface>() == 40 && size_of::<VlanKey>() == 16);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::NextHop {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LastHopKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Iface {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::VlanKey {}
}
