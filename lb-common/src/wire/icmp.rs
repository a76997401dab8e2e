//! ICMP errors (RFC 792, RFC 1191, RFC 4884).

use super::Wire;

/// The 8 bytes before the quotation in an ICMP error.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IcmpError {
    /// One of this type's constants.
    pub kind: u8,
    /// Meaning depends on the kind.
    pub code: u8,
    /// Over everything from `kind` on.
    pub check: [u8; 2],
    /// 0, but for some kinds; fragmentation needed: the MTU in the last two bytes (RFC 1191).
    pub rest: [u8; 4],
}

// SAFETY: bytes and byte arrays.
unsafe impl Wire for IcmpError {}

impl IcmpError {
    /// Bytes before the quotation.
    pub const LEN: usize = 8;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// With that kind: port unreachable.
    pub const PORT: u8 = 3;
    /// With that kind: fragmentation needed and DF set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Source quench; deprecated (RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// With that kind: in transit.
    pub const TTL: u8 = 0;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// What fragmentation needed and packet too big say: bytes that the router could pass on.
    #[inline(always)]
    pub const fn mtu(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }
}

/// ICMPv6 (RFC 4443): the same 8 bytes, other numbers, and a checksum over the pseudo-header too.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// With that type: port unreachable.
    pub const PORT: u8 = 4;
    /// Packet too big; the MTU is in the last four bytes.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// With that type: hop limit exceeded in transit.
    pub const HOP_LIMIT: u8 = 0;
}
