//! Frames for tests. Checksums come from etherparse, never from xlb's own arithmetic.

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
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

/// The kinds of ICMP message that the tests speak of.
pub mod icmp {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const REDIRECT: u8 = 5;
    pub const ECHO: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// With [`UNREACHABLE`].
    pub const FRAGMENTATION_NEEDED: u8 = 4;
}

/// An ICMP message in an Ethernet frame: `head` is kind, code and the four bytes behind the checksum.
pub fn icmp(from: Ipv4Addr, to: Ipv4Addr, head: (u8, u8, [u8; 4]), rest: &[u8]) -> Vec<u8> {
    let (kind, code, word) = head;
    let mut message = vec![kind, code, 0, 0];
    message.extend(word);
    message.extend(rest);
    let check = sum_of(&message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ipv4(from.octets(), to.octets(), 64)
        .write(&mut frame, IpNumber::ICMP, &message)
        .expect("a small packet");
    frame
}

/// The checksum of some bytes, by etherparse; 0 where one in them is right.
fn sum_of(bytes: &[u8]) -> u16 {
    Sum16BitWords::new().add_slice(bytes).ones_complement().to_be()
}

/// The IPv4 packet in a frame.
pub fn ip_packet(frame: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    &frame[14..14 + length]
}

/// What an ICMP error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenError {
    pub dst_mac: [u8; 6],
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub ttl: u8,
    /// Kind, code and the four bytes behind the checksum.
    pub head: (u8, u8, [u8; 4]),
    /// What it quotes, and whatever comes behind that.
    pub quote: Vec<u8>,
}

/// Takes an ICMP error apart and proves its checksums and that of the quoted IPv4 header.
///
/// # Panics
///
/// Where a checksum is wrong or the frame is of another kind.
pub fn take_error(frame: &[u8]) -> TakenError {
    let (eth, rest) = Ethernet2Header::from_slice(frame).expect("ethernet");
    let (ip, rest) = Ipv4Header::from_slice(rest).expect("ipv4");
    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
    assert_eq!(ip.protocol, IpNumber::ICMP);
    let message = &rest[..usize::from(ip.total_len) - 20];
    assert_eq!(sum_of(message), 0, "ICMP checksum");
    let (quoted, _) = Ipv4Header::from_slice(&message[8..]).expect("a quoted header");
    assert_eq!(quoted.header_checksum, quoted.calc_header_checksum(), "quoted header checksum");
    let word = [message[4], message[5], message[6], message[7]];
    TakenError {
        dst_mac: eth.destination,
        from: ip.source.into(),
        to: ip.destination.into(),
        ttl: ip.time_to_live,
        head: (message[0], message[1], word),
        quote: message[8..].to_vec(),
    }
}

/// Cuts a frame's IPv4 packet into fragments whose payloads end at these offsets; each in a frame of its own.
///
/// # Panics
///
/// Where an offset is no multiple of eight.
pub fn fragments(frame: &[u8], id: u16, ends: &[usize]) -> Vec<Vec<u8>> {
    let payload = &ip_packet(frame)[20..];
    let (mut from, mut all) = (0, Vec::new());
    for end in ends.iter().copied().chain([payload.len()]) {
        assert!(from % 8 == 0, "offsets are counted in eight bytes");
        let piece = &payload[from..end];
        let more = if end < payload.len() { 0x2000 } else { 0 };
        let mut fragment = frame[..34].to_vec();
        fragment.extend(piece);
        fragment[16..18].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
        fragment[18..20].copy_from_slice(&id.to_be_bytes());
        fragment[20..22].copy_from_slice(&(more | (from / 8) as u16).to_be_bytes());
        refresh_ip_checksum(&mut fragment);
        all.push(fragment);
        from = end;
    }
    all
}

/// Puts fragments together again; their headers must be right and agree.
///
/// # Panics
///
/// Where they do not.
pub fn reassembled(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = fragments[0][..34].to_vec();
    for fragment in fragments {
        let (ip, _) = Ipv4Header::from_slice(&fragment[14..]).expect("ipv4");
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
        assert_eq!(fragment[26..34], whole[26..34], "addresses");
        assert_eq!(usize::from(ip.fragment_offset.value()) * 8, whole.len() - 34, "in order");
        whole.extend(&ip_packet(fragment)[20..]);
    }
    let length = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&length.to_be_bytes());
    whole[20..22].fill(0);
    refresh_ip_checksum(&mut whole);
    whole
}

/// The same frame with options in its IPv4 header, a multiple of four bytes of them.
pub fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut whole = frame.to_vec();
    whole.splice(34..34, options.iter().copied());
    whole[14] += (options.len() / 4) as u8;
    let length = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&length.to_be_bytes());
    refresh_ip_checksum(&mut whole);
    whole
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
