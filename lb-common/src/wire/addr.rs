//! Addresses and ports in network byte order.

use core::fmt;

use bytemuck::{Pod, Zeroable};

/// An IPv4 address as it stands in the packet.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Addr4(pub [u8; 4]);

impl Addr4 {
    /// `0.0.0.0`, which means "none" only where a field's documentation says so.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// Whether a packet from a network may come from it (RFC 1812, 5.3.7): not 0/8, 127/8, multicast or what is above.
    #[inline(always)]
    pub const fn may_be_a_source(self) -> bool {
        !matches!(self.0[0], 0 | 127 | 224..)
    }

    /// The address as a number, for arithmetic and hashing.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    /// The bits that both `self` and `mask` have; persistence granularity (ipvsadm -M).
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, mask: Self) -> Self {
        Self((self.get() & mask.get()).to_be_bytes())
    }
}

impl From<core::net::Ipv4Addr> for Addr4 {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Addr4> for core::net::Ipv4Addr {
    fn from(address: Addr4) -> Self {
        Self::from(address.0)
    }
}

impl fmt::Display for Addr4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::Ipv4Addr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A TCP or UDP port as it stands in the packet.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Port(pub [u8; 2]);

impl Port {
    /// Port 0: "any port" in a service key, "as the client wrote it" in a real server.
    pub const ZERO: Self = Self([0; 2]);

    /// From a number in host order.
    #[inline(always)]
    pub const fn new(port: u16) -> Self {
        Self(port.to_be_bytes())
    }

    /// The port as a number, for arithmetic and printing.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// An Ethernet address.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether the frame is for a group (IEEE 802.3, the I/G bit): broadcast or multicast.
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
