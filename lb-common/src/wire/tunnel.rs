//! What carries a packet in another one: GRE (RFC 2784) and GUE variant 0 (draft-ietf-intarea-gue-09).

use super::Wire;

/// A GRE header without options. 4 bytes; [`GreSum`] follows where it says so.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Gre {
    flags: [u8; 2],
    protocol: [u8; 2],
}

// SAFETY: byte arrays.
unsafe impl Wire for Gre {}

impl Gre {
    /// Bytes of the header.
    pub const LEN: usize = 4;

    /// A header before a packet of that `EtherType`.
    #[inline(always)]
    pub const fn new(ether_type: [u8; 2], has_sum: bool) -> Self {
        Self { flags: [(has_sum as u8) << 7, 0], protocol: ether_type }
    }
}

/// The checksum of GRE header and payload. 4 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GreSum {
    /// The checksum.
    pub check: [u8; 2],
    reserved: [u8; 2],
}

// SAFETY: byte arrays.
unsafe impl Wire for GreSum {}

impl GreSum {
    /// Bytes of it.
    pub const LEN: usize = 4;

    /// With that checksum.
    #[inline(always)]
    pub const fn new(check: [u8; 2]) -> Self {
        Self { check, reserved: [0; 2] }
    }
}

/// A GUE header without optional fields. 4 bytes, behind a UDP header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Gue {
    version_and_length: u8,
    protocol: u8,
    flags: [u8; 2],
}

// SAFETY: bytes.
unsafe impl Wire for Gue {}

impl Gue {
    /// Bytes of the header.
    pub const LEN: usize = 4;

    /// A header before data of an IP protocol.
    #[inline(always)]
    pub const fn new(protocol: u8) -> Self {
        Self { version_and_length: 0, protocol, flags: [0; 2] }
    }
}

const _: () = assert!(size_of::<Gre>() == 4 && size_of::<GreSum>() == 4 && size_of::<Gue>() == 4);
