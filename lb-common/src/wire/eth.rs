//! Ethernet II.

use network_types::eth::{EthHdr, EtherType};

use super::{Mac, Wire};

/// An Ethernet header. 14 bytes; the crate's own struct wants an alignment of 2, which a frame does not promise.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ethernet {
    dst: [u8; 6],
    src: [u8; 6],
    ether_type: [u8; 2],
}

// SAFETY: made of byte arrays.
unsafe impl Wire for Ethernet {}

impl Ethernet {
    /// Bytes of the header.
    pub const LEN: usize = EthHdr::LEN;
    /// `EtherType` 0x0800 as it is read from the packet.
    pub const IPV4: u16 = EtherType::Ipv4 as u16;
    /// `EtherType` 0x86dd as it is read from the packet.
    pub const IPV6: u16 = EtherType::Ipv6 as u16;

    /// Destination address.
    #[inline(always)]
    pub fn dst(&self) -> Mac {
        Mac(self.dst)
    }

    /// Source address.
    #[inline(always)]
    pub fn src(&self) -> Mac {
        Mac(self.src)
    }

    /// The `EtherType` as it lies in memory; compare with the constants.
    #[inline(always)]
    pub fn ether_type(&self) -> u16 {
        u16::from_ne_bytes(self.ether_type)
    }

    /// Announces something else.
    #[inline(always)]
    pub fn set_ether_type(&mut self, ether_type: [u8; 2]) {
        self.ether_type = ether_type;
    }

    /// Readdresses the frame.
    #[inline(always)]
    pub fn set_addresses(&mut self, dst: Mac, src: Mac) {
        self.dst = dst.0;
        self.src = src.0;
    }

    /// Fills the whole header.
    #[inline(always)]
    pub fn set(&mut self, dst: Mac, src: Mac, ether_type: u16) {
        self.set_addresses(dst, src);
        self.ether_type = ether_type.to_ne_bytes();
    }
}

const _: () = assert!(size_of::<Ethernet>() == 14 && align_of::<Ethernet>() == 1);
