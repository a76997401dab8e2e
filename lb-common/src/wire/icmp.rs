//! ICMP errors (RFC 792).

use super::Wire;

/// The 8 bytes before the quotation in an ICMP error.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IcmpError {
    /// 3: destination unreachable.
    pub kind: u8,
    /// With kind 3, 3: port unreachable.
    pub code: u8,
    /// Over everything from `kind` on.
    pub check: [u8; 2],
    /// 0, but for some kinds.
    pub rest: [u8; 4],
}

// SAFETY: bytes and byte arrays.
unsafe impl Wire for IcmpError {}

impl IcmpError {
    /// Bytes before the quotation.
    pub const LEN: usize = 8;
    /// Bytes that are quoted: the IPv4 header and eight bytes of what it carries (RFC 792).
    pub const QUOTE: usize = 28;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Port unreachable.
    pub const PORT: u8 = 3;
}
