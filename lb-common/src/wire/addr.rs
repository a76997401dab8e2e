//! Addresses and ports in network byte order.

use core::cmp::Ordering;
use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Wire;
use super::checksum::{self, Delta};

use bytemuck::{Pod, Zeroable};

/// An IPv4 address as it stands in the packet.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Addr4(pub [u8; 4]);

impl Addr4 {
    /// `0.0.0.0`, which means "none" only where a field's documentation says so.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// The address as a number, for arithmetic and hashing.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
}

impl From<Ipv4Addr> for Addr4 {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Addr4> for Ipv4Addr {
    fn from(address: Addr4) -> Self {
        Self::from(address.0)
    }
}

impl fmt::Display for Addr4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address in 16 bytes, as it stands in an IPv6 packet. Tables that serve both families hold IPv4 addresses mapped
/// (`::ffff:a.b.c.d`, RFC 4291, 2.5.5.2), which no packet carries.
///
/// Two words without alignment: as an array of bytes the kernel program would keep each byte in a register of its own,
/// and has neither the registers nor the stack for that.
#[repr(C, packed)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Addr6(u64, u64);

impl Addr6 {
    /// `::`, which means "none" only where a field's documentation says so.
    pub const UNSPECIFIED: Self = Self(0, 0);
    /// All bits.
    pub const ALL: Self = Self(u64::MAX, u64::MAX);

    /// From its bytes.
    #[inline(always)]
    pub fn new(bytes: [u8; 16]) -> Self {
        bytemuck::cast(bytes)
    }

    /// Its bytes.
    #[inline(always)]
    pub fn octets(self) -> [u8; 16] {
        bytemuck::cast(self)
    }

    /// The bits that both `self` and `mask` have; persistence granularity (ipvsadm -M).
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, mask: Self) -> Self {
        Self(self.0 & mask.0, self.1 & mask.1)
    }

    /// The mapped form of an IPv4 address.
    #[inline(always)]
    pub const fn mapped(Addr4([a, b, c, d]): Addr4) -> Self {
        Self(0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d]))
    }

    /// The IPv4 address that it maps; `None`: it is one of IPv6.
    pub fn as_ipv4(self) -> Option<Addr4> {
        Ipv6Addr::from(self.octets()).to_ipv4_mapped().map(Addr4::from)
    }

    /// Whether it is one of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.as_ipv4().is_none()
    }

    /// 64-bit half 0 or 1, in host order.
    #[inline(always)]
    const fn half(self, index: usize) -> u64 {
        u64::from_be(if index == 0 { self.0 } else { self.1 })
    }
}

impl Ord for Addr6 {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(&other.octets())
    }
}

impl PartialOrd for Addr6 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Addr4> for Addr6 {
    fn from(address: Addr4) -> Self {
        Self::mapped(address)
    }
}

impl From<Ipv4Addr> for Addr6 {
    fn from(address: Ipv4Addr) -> Self {
        Self::mapped(address.into())
    }
}

impl From<Ipv6Addr> for Addr6 {
    fn from(address: Ipv6Addr) -> Self {
        Self::new(address.octets())
    }
}

impl From<IpAddr> for Addr6 {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Addr6> for IpAddr {
    fn from(address: Addr6) -> Self {
        Ipv6Addr::from(address.octets()).to_canonical()
    }
}

impl fmt::Display for Addr6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address of either family, as packets of that family carry it.
pub trait Address:
    Wire + Pod + Eq + Hash + Default + fmt::Debug + fmt::Display + Into<Addr6>
{
    /// Whether a packet from a network may come from it (RFC 1812, 5.3.7; RFC 4291, 2.5 and 2.7).
    fn may_be_a_source(self) -> bool;
    /// Whether all bits are 0.
    fn is_unspecified(&self) -> bool;
    /// As tables of both families hold it.
    fn widened(self) -> Addr6;
    /// From what such a table holds, which must be of this family.
    fn narrowed(wide: Addr6) -> Self;
    /// In 32 bits, as IPVS hashes it (`ip_vs_sh_hashkey` in `net/netfilter/ipvs/ip_vs_sh.c`).
    fn folded(self) -> u32;
    /// What it does to a checksum when it becomes `new`.
    fn replaced(self, new: Self) -> Delta;
    /// Its part in a sum.
    fn sum(self) -> u32;
}

// SAFETY: an array of bytes.
unsafe impl Wire for Addr4 {}
// SAFETY: as above.
unsafe impl Wire for Addr6 {}

impl Address for Addr4 {
    /// Not 0/8, 127/8, multicast or what is above.
    #[inline(always)]
    fn may_be_a_source(self) -> bool {
        !matches!(self.0[0], 0 | 127 | 224..)
    }

    #[inline(always)]
    fn is_unspecified(&self) -> bool {
        self.get() == 0
    }

    #[inline(always)]
    fn widened(self) -> Addr6 {
        Addr6::mapped(self)
    }

    #[inline(always)]
    fn narrowed(wide: Addr6) -> Self {
        let [.., a, b, c, d] = wide.1.to_ne_bytes();
        Self([a, b, c, d])
    }

    #[inline(always)]
    fn folded(self) -> u32 {
        self.get()
    }

    #[inline(always)]
    fn replaced(self, new: Self) -> Delta {
        let (Self(o), Self(n)) = (self, new);
        Delta::new().word([o[0], o[1]], [n[0], n[1]]).word([o[2], o[3]], [n[2], n[3]])
    }

    #[inline(always)]
    fn sum(self) -> u32 {
        checksum::sum(&self.0)
    }
}

impl Address for Addr6 {
    /// Not the unspecified or the loopback address, not mapped IPv4, not multicast.
    #[inline(always)]
    fn may_be_a_source(self) -> bool {
        let mapped_or_none = matches!(self.half(1), 0 | 1 | 0xffff_0000_0000..=0xffff_ffff_ffff);
        self.half(0) >> 56 != 0xff && !(self.half(0) == 0 && mapped_or_none)
    }

    #[inline(always)]
    fn is_unspecified(&self) -> bool {
        self.0 | self.1 == 0
    }

    #[inline(always)]
    fn widened(self) -> Addr6 {
        self
    }

    #[inline(always)]
    fn narrowed(wide: Addr6) -> Self {
        wide
    }

    #[inline(always)]
    fn folded(self) -> u32 {
        let both = self.half(0) ^ self.half(1);
        (both >> 32) as u32 ^ both as u32
    }

    #[inline(always)]
    fn replaced(self, new: Self) -> Delta {
        let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
        Delta::of_words(halves(!self.0) + halves(!self.1) + halves(new.0) + halves(new.1))
    }

    #[inline(always)]
    fn sum(self) -> u32 {
        let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
        u32::from(Delta::of_words(halves(self.0) + halves(self.1)).finish())
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
