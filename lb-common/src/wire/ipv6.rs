//! IPv6 (RFC 8200), the fixed 40 bytes, and its extension headers.

use network_types::ip::Ipv6Hdr;

use super::ipv4::Around;
use super::{Addr6, Wire};

/// An IPv6 header. 40 bytes; the crate's own struct wants an alignment that a frame does not promise.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv6 {
    head: [u8; 8],
    src: Addr6,
    dst: Addr6,
}

// SAFETY: bytes and addresses, whose alignment is 1.
unsafe impl Wire for Ipv6 {}

impl Ipv6 {
    /// Bytes of the header.
    pub const LEN: usize = Ipv6Hdr::LEN;
    /// Next header: hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Next header: routing.
    pub const ROUTING: u8 = 43;
    /// Next header: fragment.
    pub const FRAGMENT: u8 = 44;
    /// Next header: ICMPv6.
    pub const ICMP: u8 = 58;
    /// Next header: destination options.
    pub const DESTINATION: u8 = 60;

    /// The version; 6.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.head[0] >> 4
    }

    /// Bytes behind this header.
    #[inline(always)]
    pub fn payload_length(&self) -> u16 {
        u16::from_be_bytes([self.head[4], self.head[5]])
    }

    /// What follows.
    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        self.head[6]
    }

    /// Hop limit.
    #[inline(always)]
    pub fn hop_limit(&self) -> u8 {
        self.head[7]
    }

    /// Source address.
    #[inline(always)]
    pub fn src(&self) -> Addr6 {
        self.src
    }

    /// Destination address.
    #[inline(always)]
    pub fn dst(&self) -> Addr6 {
        self.dst
    }

    /// New addresses in a header that is only quoted.
    #[inline(always)]
    pub fn readdress(&mut self, src: Addr6, dst: Addr6) {
        self.src = src;
        self.dst = dst;
    }

    /// New addresses, one hop less.
    #[inline(always)]
    pub fn forward(&mut self, src: Addr6, dst: Addr6) {
        self.readdress(src, dst);
        self.head[7] = self.head[7].wrapping_sub(1);
    }

    /// Fills the header of a packet that xlb makes itself: hop limit 64, no flow label.
    #[inline(always)]
    pub fn set(&mut self, src: Addr6, dst: Addr6, next_header: u8, payload_length: u16) {
        self.set_around(src, dst, next_header, payload_length, &Around::OWN);
    }

    /// The same around another packet.
    #[inline(always)]
    pub fn set_around(
        &mut self,
        src: Addr6,
        dst: Addr6,
        next_header: u8,
        payload_length: u16,
        around: &Around,
    ) {
        let [high, low] = payload_length.to_be_bytes();
        let class = around.traffic_class;
        self.head = [0x60 | class >> 4, class << 4, 0, 0, high, low, next_header, around.ttl];
        self.readdress(src, dst);
    }

    /// What the header around this one takes from it.
    #[inline(always)]
    pub fn around(&self) -> Around {
        Around {
            traffic_class: self.head[0] << 4 | self.head[1] >> 4,
            ttl: self.head[7],
            identification: [0; 2],
            dont_fragment: true,
        }
    }
}

/// A fragment header (RFC 8200, 4.5). 8 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fragment {
    /// What follows, in the first fragment.
    pub next_header: u8,
    reserved: u8,
    offset: [u8; 2],
    /// What the fragments of a packet have in common beside addresses.
    pub id: [u8; 4],
}

// SAFETY: bytes and byte arrays.
unsafe impl Wire for Fragment {}

impl Fragment {
    /// Bytes of the header.
    pub const LEN: usize = 8;

    /// Where in its packet the fragment belongs, in bytes behind the unfragmentable part.
    #[inline(always)]
    pub fn offset(&self) -> u16 {
        u16::from_be_bytes(self.offset) & 0xfff8
    }

    /// Whether more fragments follow.
    #[inline(always)]
    pub fn more_follow(&self) -> bool {
        self.offset[1] & 1 != 0
    }
}

const _: () = assert!(size_of::<Ipv6>() == 40 && size_of::<Fragment>() == Fragment::LEN);
