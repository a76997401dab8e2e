//! IPv4 (RFC 791), the fixed 20 bytes.

use network_types::ip::Ipv4Hdr;

use super::{Addr4, Wire, checksum};

/// An IPv4 header without options. 20 bytes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Ipv4(Ipv4Hdr);

// SAFETY: `Ipv4Hdr` is made of bytes and byte arrays.
unsafe impl Wire for Ipv4 {}

impl Ipv4 {
    /// Bytes of the header without options.
    pub const LEN: usize = Ipv4Hdr::LEN;
    /// Protocol number of ICMP.
    pub const ICMP: u8 = 1;
    /// Protocol number of GRE.
    pub const GRE: u8 = 47;
    /// Protocol number of TCP.
    pub const TCP: u8 = 6;
    /// Protocol number of UDP.
    pub const UDP: u8 = 17;

    /// Version and header length as they share a byte; 0x45 is IPv4 without options.
    #[inline(always)]
    pub fn version_and_length(&self) -> u8 {
        self.0.vihl
    }

    /// Bytes of the header, options included, as it says itself: 0 to 60.
    #[inline(always)]
    pub fn header_length(&self) -> usize {
        4 * usize::from(self.0.vihl & 0xf)
    }

    /// Bytes of the packet, header included.
    #[inline(always)]
    pub fn total_length(&self) -> u16 {
        u16::from_be_bytes(self.0.tot_len)
    }

    /// Whether it is a piece of a packet: more fragments follow, or the offset is not 0.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.0.frags) & 0x3fff != 0
    }

    /// Where in its packet a fragment belongs, in bytes.
    #[inline(always)]
    pub fn fragment_offset(&self) -> u16 {
        (u16::from_be_bytes(self.0.frags) & 0x1fff) << 3
    }

    /// What the fragments of a packet have in common beside addresses and protocol.
    #[inline(always)]
    pub fn identification(&self) -> [u8; 2] {
        self.0.id
    }

    /// Whether it is a fragment other than the first: it has no transport header.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes(self.0.frags) & 0x1fff != 0
    }

    /// Whether routers must not fragment it.
    #[inline(always)]
    pub fn dont_fragment(&self) -> bool {
        self.0.frags[0] & 0x40 != 0
    }

    /// Time to live, in hops.
    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        self.0.ttl
    }

    /// Protocol number of what follows.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.0.proto
    }

    /// Source address.
    #[inline(always)]
    pub fn src(&self) -> Addr4 {
        Addr4(self.0.src_addr)
    }

    /// Destination address.
    #[inline(always)]
    pub fn dst(&self) -> Addr4 {
        Addr4(self.0.dst_addr)
    }

    /// New addresses, one hop less, and the checksum moved by `delta`, which covers all of that.
    #[inline(always)]
    pub fn forward(&mut self, src: Addr4, dst: Addr4, delta: u16) {
        self.0.src_addr = src.0;
        self.0.dst_addr = dst.0;
        self.0.ttl = self.0.ttl.wrapping_sub(1);
        self.0.check = checksum::update(self.0.check, delta);
    }

    /// New addresses in a header that is only quoted: its TTL stays. What that does to the sum of these 20 bytes: of the
    /// addresses and of the checksum field, which makes up for them.
    #[inline(always)]
    pub fn readdress(&mut self, src: Addr4, dst: Addr4) -> checksum::Delta {
        let addresses = checksum::Delta::new().addr(self.src(), src).addr(self.dst(), dst);
        let old = self.0.check;
        self.0.check = checksum::update(old, addresses.finish());
        self.0.src_addr = src.0;
        self.0.dst_addr = dst.0;
        addresses.word(old, self.0.check)
    }

    /// What one hop less does to the header's sum: the word of TTL and protocol falls by 0x0100.
    pub const ONE_HOP: checksum::Delta = checksum::Delta::new().word([1, 0], [0, 0]);

    /// Fills the header of a packet that xlb makes itself: TTL 64, don't fragment, checksum complete.
    #[inline(always)]
    pub fn set(&mut self, src: Addr4, dst: Addr4, protocol: u8, total_length: u16) {
        self.set_around(src, dst, protocol, total_length, &Around::OWN);
    }

    /// The same around another packet.
    #[inline(always)]
    pub fn set_around(
        &mut self,
        src: Addr4,
        dst: Addr4,
        protocol: u8,
        total_length: u16,
        around: &Around,
    ) {
        self.0 = Ipv4Hdr {
            vihl: 0x45,
            tos: around.traffic_class,
            tot_len: total_length.to_be_bytes(),
            id: around.identification,
            frags: [(around.dont_fragment as u8) << 6, 0],
            ttl: around.ttl,
            proto: protocol,
            check: [0; 2],
            src_addr: src.0,
            dst_addr: dst.0,
        };
        let mut delta = checksum::Delta::new()
            .addr(Addr4::UNSPECIFIED, src)
            .addr(Addr4::UNSPECIFIED, dst)
            .word([0; 2], [0x45, around.traffic_class])
            .word([0; 2], self.0.tot_len);
        delta = delta.word([0; 2], self.0.frags).word([0; 2], [around.ttl, protocol]);
        delta = delta.word([0; 2], around.identification);
        // From an empty header, whose checksum is ~0, by the same arithmetic that every update uses.
        self.0.check = checksum::update([0xff; 2], delta.finish());
    }

    /// What the header around this one takes from it.
    #[inline(always)]
    pub fn around(&self) -> Around {
        Around {
            traffic_class: self.0.tos,
            ttl: self.0.ttl,
            identification: self.0.id,
            dont_fragment: self.dont_fragment(),
        }
    }
}

/// What a packet of xlb's own has in its header, or one around another takes from that.
#[derive(Clone, Copy)]
pub struct Around {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4's identification; 0 where it is of no use.
    pub identification: [u8; 2],
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
}

impl Around {
    /// Of a packet that is around nothing.
    pub const OWN: Self =
        Self { traffic_class: 0, ttl: 64, identification: [0; 2], dont_fragment: true };
}

/// Kinds of options that mean something to a router (RFC 791, 3.1).
pub mod option {
    /// The list ends.
    pub const END: u8 = 0;
    /// One byte of padding.
    pub const NO_OPERATION: u8 = 1;
    /// Loose source route.
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source route.
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
}

const _: () = assert!(size_of::<Ipv4>() == 20 && align_of::<Ipv4>() == 1);
