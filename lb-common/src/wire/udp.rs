//! UDP (RFC 768).

use network_types::udp::UdpHdr;

use super::{Port, Wire, checksum};

/// A UDP header. 8 bytes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Udp(UdpHdr);

// SAFETY: `UdpHdr` is made of byte arrays.
unsafe impl Wire for Udp {}

impl Udp {
    /// Bytes of the header.
    pub const LEN: usize = UdpHdr::LEN;

    /// Source port.
    #[inline(always)]
    pub fn src(&self) -> Port {
        Port(self.0.src)
    }

    /// Destination port.
    #[inline(always)]
    pub fn dst(&self) -> Port {
        Port(self.0.dst)
    }

    /// Bytes of the datagram, header included, as it says itself.
    #[inline(always)]
    pub fn length(&self) -> u16 {
        u16::from_be_bytes(self.0.len)
    }

    /// Whether it has a checksum.
    #[inline(always)]
    pub fn has_checksum(&self) -> bool {
        self.0.check != [0; 2]
    }

    /// A header before `length` bytes of data and itself, without a checksum.
    #[inline(always)]
    pub const fn without_checksum(src: Port, dst: Port, length: u16) -> Self {
        Self(UdpHdr { src: src.0, dst: dst.0, len: length.to_be_bytes(), check: [0; 2] })
    }

    /// Puts a checksum in; 0 would mean none (RFC 768).
    #[inline(always)]
    pub fn set_checksum(&mut self, check: u16) {
        self.0.check = if check == 0 { [0xff; 2] } else { check.to_ne_bytes() };
    }

    /// New ports, and the checksum moved by `delta`, which covers ports and pseudo-header.
    #[inline(always)]
    pub fn forward(&mut self, src: Port, dst: Port, delta: u16) {
        self.0.src = src.0;
        self.0.dst = dst.0;
        self.0.check = checksum::update_udp(self.0.check, delta);
    }
}

const _: () = assert!(size_of::<Udp>() == 8 && align_of::<Udp>() == 1);
