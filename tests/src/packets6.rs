//! IPv6 frames for tests. Checksums come from etherparse, never from xlb's own arithmetic.

use std::net::Ipv6Addr;

use etherparse::{
    Ethernet2Header, Icmpv6Header, Icmpv6Type, IpNumber, Ipv6Header, PacketBuilder, TcpHeader,
    UdpHeader,
};

use crate::packets::{CLIENT_MAC, Flags, OUR_MAC};

/// Addresses and ports of one end.
pub type End = (Ipv6Addr, u16);

/// Where the IPv6 header starts in a frame, and what follows it.
pub const IP: usize = 14;
/// As [`IP`].
pub const PAYLOAD: usize = IP + 40;

/// Numbers of extension headers.
pub mod next {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const NONE: u8 = 59;
    pub const DESTINATION: u8 = 60;
}

/// The kinds of ICMPv6 message that the tests speak of.
pub mod icmp {
    pub const UNREACHABLE: u8 = 1;
    pub const TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    pub const PARAMETER_PROBLEM: u8 = 4;
    pub const ECHO: u8 = 128;
}

/// A TCP segment in an Ethernet frame.
pub fn tcp(from: End, to: End, flags: Flags, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, 0x0102_0304, 0xfaf0);
    header.acknowledgment_number = 0x0a0b_0c0d;
    (header.syn, header.ack, header.fin, header.rst) = (flags.syn, flags.ack, flags.fin, flags.rst);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv6(from.0.octets(), to.0.octets(), 64)
        .tcp_header(header)
        .write(&mut frame, payload)
        .expect("a small packet");
    frame
}

/// The same with TCP options, up to forty bytes, padded to whole words with zeroes.
pub fn tcp_with_options(from: End, to: End, flags: Flags, options: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, 0x0102_0304, 0xfaf0);
    (header.syn, header.ack) = (flags.syn, flags.ack);
    header.set_options_raw(options).expect("no more than fit");
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv6(from.0.octets(), to.0.octets(), 64)
        .tcp_header(header)
        .write(&mut frame, b"")
        .expect("a small packet");
    frame
}

/// A UDP datagram in an Ethernet frame.
pub fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv6(from.0.octets(), to.0.octets(), 64)
        .udp(from.1, to.1)
        .write(&mut frame, payload)
        .expect("a small packet");
    frame
}

/// An ICMPv6 message in an Ethernet frame: `head` is type, code and the four bytes behind the checksum.
pub fn icmp(from: Ipv6Addr, to: Ipv6Addr, head: (u8, u8, [u8; 4]), rest: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv6(from.octets(), to.octets(), 64)
        .icmpv6_raw(head.0, head.1, head.2)
        .write(&mut frame, rest)
        .expect("a small packet");
    frame
}

/// The same frame with extension headers before what it carried: number and body, whose first two bytes, next header and
/// length, are filled in here.
pub fn with_extensions(frame: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut next = frame[IP + 6];
    let mut chain = Vec::new();
    for (number, body) in headers.iter().rev() {
        let mut header = body.clone();
        header[0] = next;
        // A fragment header has no length.
        if *number != next::FRAGMENT {
            header[1] = (header.len() / 8 - 1) as u8;
        }
        next = *number;
        chain.splice(0..0, header);
    }
    let mut whole = frame.to_vec();
    whole.splice(PAYLOAD..PAYLOAD, chain);
    whole[IP + 6] = next;
    let length = (whole.len() - PAYLOAD) as u16;
    whole[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
    whole
}

/// A header of padding, eight bytes.
pub fn padding(number: u8) -> (u8, Vec<u8>) {
    (number, vec![0, 0, 1, 4, 0, 0, 0, 0])
}

/// Cuts a frame's payload into fragments that end at these offsets; each in a frame of its own.
pub fn fragments(frame: &[u8], id: u32, ends: &[usize]) -> Vec<Vec<u8>> {
    let payload = &frame[PAYLOAD..];
    let (mut from, mut all) = (0, Vec::new());
    for end in ends.iter().copied().chain([payload.len()]) {
        let more = u16::from(end < payload.len());
        let mut body = vec![0, 0];
        body.extend((from as u16 | more).to_be_bytes());
        body.extend(id.to_be_bytes());
        let mut piece = frame[..PAYLOAD].to_vec();
        piece.extend(&payload[from..end]);
        all.push(with_extensions(&piece, &[(next::FRAGMENT, body)]));
        from = end;
    }
    all
}

/// What a frame says, taken apart by etherparse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub dst_mac: [u8; 6],
    pub from: End,
    pub to: End,
    pub hop_limit: u8,
    pub protocol: u8,
    pub payload: Vec<u8>,
}

/// Takes a TCP or UDP frame without extension headers apart and proves its checksum by full recomputation.
///
/// # Panics
///
/// Where it is wrong or the frame is of another kind.
pub fn take(frame: &[u8]) -> Taken {
    let (eth, rest) = Ethernet2Header::from_slice(frame).expect("ethernet");
    let (ip, rest) = Ipv6Header::from_slice(rest).expect("ipv6");
    let l4 = &rest[..usize::from(ip.payload_length)];
    let (from, to, payload) = match ip.next_header {
        IpNumber::TCP => {
            let (header, payload) = TcpHeader::from_slice(l4).expect("tcp");
            let right = header.calc_checksum_ipv6(&ip, payload).expect("length");
            assert_eq!(header.checksum, right, "TCP checksum");
            (header.source_port, header.destination_port, payload)
        }
        IpNumber::UDP => {
            let (header, payload) = UdpHeader::from_slice(l4).expect("udp");
            let right = header.calc_checksum_ipv6(&ip, payload).expect("length");
            assert_eq!(header.checksum, right, "UDP checksum");
            (header.source_port, header.destination_port, payload)
        }
        other => panic!("neither TCP nor UDP: {other:?}"),
    };
    Taken {
        dst_mac: eth.destination,
        from: (ip.source.into(), from),
        to: (ip.destination.into(), to),
        hop_limit: ip.hop_limit,
        protocol: ip.next_header.0,
        payload: payload.to_vec(),
    }
}

/// What an ICMPv6 error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenError {
    pub dst_mac: [u8; 6],
    pub from: Ipv6Addr,
    pub to: Ipv6Addr,
    pub hop_limit: u8,
    /// Type, code and the four bytes behind the checksum.
    pub head: (u8, u8, [u8; 4]),
    pub quote: Vec<u8>,
}

/// Takes an ICMPv6 error apart and proves its checksum.
///
/// # Panics
///
/// Where it is wrong or the frame is of another kind.
pub fn take_error(frame: &[u8]) -> TakenError {
    let (eth, rest) = Ethernet2Header::from_slice(frame).expect("ethernet");
    let (ip, rest) = Ipv6Header::from_slice(rest).expect("ipv6");
    assert_eq!(ip.next_header, IpNumber::IPV6_ICMP);
    let message = &rest[..usize::from(ip.payload_length)];
    let (header, quote) = Icmpv6Header::from_slice(message).expect("icmpv6");
    let kind: Icmpv6Type = header.icmp_type;
    let right = kind.calc_checksum(ip.source, ip.destination, quote).expect("length");
    assert_eq!(header.checksum, right, "ICMPv6 checksum");
    TakenError {
        dst_mac: eth.destination,
        from: ip.source.into(),
        to: ip.destination.into(),
        hop_limit: ip.hop_limit,
        head: (message[0], message[1], [message[4], message[5], message[6], message[7]]),
        quote: quote.to_vec(),
    }
}
