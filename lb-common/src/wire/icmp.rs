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
    /// Bytes that xlb quotes: the IPv4 header and eight bytes of what it carries (RFC 792).
    pub const QUOTE: usize = 28;
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

    /// Whether it quotes a packet: the other kinds are queries and answers.
    #[inline(always)]
    pub const fn is_error(&self) -> bool {
        matches!(
            self.kind,
            Self::UNREACHABLE
                | Self::SOURCE_QUENCH
                | Self::REDIRECT
                | Self::TIME_EXCEEDED
                | Self::PARAMETER_PROBLEM
        )
    }

    /// The MTU that the router could pass on; `None`: it is about something else.
    #[inline(always)]
    pub const fn mtu(&self) -> Option<u16> {
        if self.kind == Self::UNREACHABLE && self.code == Self::FRAGMENTATION_NEEDED {
            Some(u16::from_be_bytes([self.rest[2], self.rest[3]]))
        } else {
            None
        }
    }
}
