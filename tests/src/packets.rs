//! Frames for tests. Checksums come from etherparse, never from xlb's own arithmetic.

use std::net::Ipv4Addr;

use etherparse::{Ethernet2Header, IpNumber, Ipv4Header, PacketBuilder, TcpHeader, UdpHeader};

/// The client's router.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];
/// The director's interface.
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x01];

/// Addresses and ports of one end.
pub type End = (Ipv4Addr, u16);

/// TCP flags, in the order people say them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags on the wire")]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

impl Flags {
    pub const SYN: Self = Self { syn: true, ack: false, fin: false, rst: false };
    pub const SYN_ACK: Self = Self { syn: true, ack: true, fin: false, rst: false };
    pub const ACK: Self = Self { syn: false, ack: true, fin: false, rst: false };
    pub const FIN_ACK: Self = Self { syn: false, ack: true, fin: true, rst: false };
    pub const RST: Self = Self { syn: false, ack: false, fin: false, rst: true };

    /// From the bits of a number, for enumerations.
    pub const fn from_bits(bits: u8) -> Self {
        Self { syn: bits & 1 != 0, ack: bits & 2 != 0, fin: bits & 4 != 0, rst: bits & 8 != 0 }
    }
}

/// A TCP segment in an Ethernet frame.
pub fn tcp(from: End, to: End, flags: Flags, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, 0x0102_0304, 0xfaf0);
    header.acknowledgment_number = 0x0a0b_0c0d;
    (header.syn, header.ack, header.fin, header.rst) = (flags.syn, flags.ack, flags.fin, flags.rst);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .tcp_header(header)
        .write(&mut frame, payload)
        .expect("a small packet");
    frame
}

/// A UDP datagram in an Ethernet frame.
pub fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .udp(from.1, to.1)
        .write(&mut frame, payload)
        .expect("a small packet");
    frame
}

/// Sets the time to live and mends the header checksum.
pub fn with_ttl(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    frame[22] = ttl;
    refresh_ip_checksum(&mut frame);
    frame
}

/// Writes the right IPv4 header checksum.
pub fn refresh_ip_checksum(frame: &mut [u8]) {
    let (header, _) = Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
    frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}

/// What a frame says, taken apart by etherparse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub src_mac: [u8; 6],
    pub dst_mac: [u8; 6],
    pub from: End,
    pub to: End,
    pub ttl: u8,
    pub protocol: IpNumber,
    pub payload: Vec<u8>,
}

/// Takes an IPv4 TCP or UDP frame apart and proves both checksums by full recomputation.
///
/// # Panics
///
/// Where a checksum is wrong or the frame is of another kind.
pub fn take(frame: &[u8]) -> Taken {
    let (eth, rest) = Ethernet2Header::from_slice(frame).expect("ethernet");
    let (ip, rest) = Ipv4Header::from_slice(rest).expect("ipv4");
    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
    let l4 = &rest[..usize::from(ip.total_len) - 20];
    let (from, to, payload) = match ip.protocol {
        IpNumber::TCP => {
            let (header, payload) = TcpHeader::from_slice(l4).expect("tcp");
            let right = header.calc_checksum_ipv4(&ip, payload).expect("length");
            assert_eq!(header.checksum, right, "TCP checksum");
            (header.source_port, header.destination_port, payload)
        }
        IpNumber::UDP => {
            let (header, payload) = UdpHeader::from_slice(l4).expect("udp");
            if header.checksum != 0 {
                let right = header.calc_checksum_ipv4(&ip, payload).expect("length");
                assert_eq!(header.checksum, right, "UDP checksum");
            }
            (header.source_port, header.destination_port, payload)
        }
        other => panic!("neither TCP nor UDP: {other:?}"),
    };
    Taken {
        src_mac: eth.source,
        dst_mac: eth.destination,
        from: (ip.source.into(), from),
        to: (ip.destination.into(), to),
        ttl: ip.time_to_live,
        protocol: ip.protocol,
        payload: payload.to_vec(),
    }
}
