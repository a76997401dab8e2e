//! The packet that is asked about, as it would be on the wire.

use std::net::{IpAddr, SocketAddr};

use lb_common::wire::checksum::fold;
use lb_common::wire::tcp::TcpFlags;
use lb_common::wire::{Mac, ipv4::Ipv4};

use crate::stats::report::Protocol;

/// An Ethernet address that stands for a neighbour's which is not known: locally administered (IEEE 802), like those of
/// virtual interfaces.
pub(super) const NOBODYS: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// What hosts start with (RFC 1340's recommendation, and Linux's default).
const TTL: u8 = 64;
/// Of a TCP segment without data: any window, not 0.
const WINDOW: [u8; 2] = [0xff, 0xff];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// TCP flags by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub(super) u8);

const NAMES: [(&str, u8); 6] = [
    ("SYN", TcpFlags::SYN),
    ("ACK", TcpFlags::ACK),
    ("FIN", TcpFlags::FIN),
    ("RST", TcpFlags::RST),
    ("PSH", TcpFlags::PSH),
    ("URG", TcpFlags::URG),
];

impl Flags {
    /// `syn,ack`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bit = |word: &str| {
            NAMES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(word.trim()))
                .map(|(_, bit)| bit)
        };
        text.split(',').try_fold(0, |bits, word| Some(bits | bit(word)?)).map(Self)
    }

    /// `SYN ACK`.
    pub(super) fn words(self) -> String {
        let set = NAMES.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(name, _)| *name);
        set.collect::<Vec<_>>().join(" ")
    }
}

/// IANA's number of a protocol that packets are built for.
pub(super) const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => Ipv4::UDP,
        _ => Ipv4::TCP,
    }
}

/// A packet without data. Both addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) flags: Flags,
    /// Ethernet addresses.
    pub(super) source: Mac,
    pub(super) destination: Mac,
}

impl Packet {
    /// The frame, checksums finished.
    pub(super) fn frame(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut frame = [self.destination.0, self.source.0].concat();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(IPV4);
                let length = (Ipv4::LEN + segment.len()) as u16;
                let mut header = [0; Ipv4::LEN];
                header[0] = 0x45;
                header[2..4].copy_from_slice(&length.to_be_bytes());
                // Don't fragment, as every TCP of today says.
                header[6] = 0x40;
                header[8] = TTL;
                header[9] = number(self.protocol);
                header[12..16].copy_from_slice(&from.octets());
                header[16..20].copy_from_slice(&to.octets());
                let check = !sum(&[&header]);
                header[10..12].copy_from_slice(&check.to_be_bytes());
                frame.extend(header);
            }
            (from, to) => {
                frame.extend(IPV6);
                frame.extend([0x60, 0, 0, 0]);
                frame.extend((segment.len() as u16).to_be_bytes());
                frame.extend([number(self.protocol), TTL]);
                frame.extend(octets(from));
                frame.extend(octets(to));
            }
        }
        frame.extend(segment);
        frame
    }

    /// The TCP or UDP header.
    fn segment(&self) -> Vec<u8> {
        let mut segment = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let check_at = if number(self.protocol) == Ipv4::UDP {
            segment.extend([0, 8, 0, 0]);
            6
        } else {
            segment.extend([0; 8]);
            segment.extend([0x50, self.flags.0]);
            segment.extend(WINDOW);
            segment.extend([0; 4]);
            16
        };
        let pseudo = [
            &octets(self.from.ip())[..],
            &octets(self.to.ip()),
            &[0, number(self.protocol)],
            &(segment.len() as u16).to_be_bytes(),
        ];
        let check = match !sum(&[&pseudo.concat(), &segment]) {
            // RFC 768: 0 on the wire is "none".
            0 if number(self.protocol) == Ipv4::UDP => 0xffff,
            check => check,
        };
        segment[check_at..check_at + 2].copy_from_slice(&check.to_be_bytes());
        segment
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The folded sum of parts of even length (RFC 1071), as a number.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    fold(words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum())
}

#[cfg(test)]
mod tests {
    use lb_common::engine::Family;
    use lb_common::host::Frame;
    use lb_common::wire::{Addr4, Addr6};

    use super::*;

    fn packet(from: &str, to: &str, protocol: Protocol) -> Packet {
        Packet {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            protocol,
            flags: Flags::parse("syn").unwrap(),
            source: NOBODYS,
            destination: Mac([2, 0, 0, 0, 0, 2]),
        }
    }

    #[test]
    fn a_syn_is_one_byte_for_byte() {
        let frame = packet("192.0.2.7:40000", "198.51.100.2:80", Protocol::Tcp).frame();
        let expected = [
            &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..],
            &[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6],
            &[0x4e, 0x93],
            &[192, 0, 2, 7, 198, 51, 100, 2],
            &[0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff],
            &[0x27, 0x15, 0, 0],
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn the_engine_reads_what_was_asked_for() {
        for (protocol, flags) in [(Protocol::Tcp, TcpFlags::SYN), (Protocol::Udp, 0)] {
            let frame = packet("192.0.2.7:40000", "198.51.100.2:80", protocol).frame();
            let seen = <Addr4 as Family>::headers(&Frame::new(frame)).unwrap();
            assert_eq!((seen.key.src.0, seen.key.dst.0), ([192, 0, 2, 7], [198, 51, 100, 2]));
            assert_eq!((seen.key.sport.get(), seen.key.dport.get()), (40_000, 80));
            assert_eq!((seen.key.proto, seen.tcp.0), (number(protocol), flags));
        }
    }

    #[test]
    fn checksums_are_right_in_both_families() {
        for (from, to) in
            [("192.0.2.7:40000", "198.51.100.2:80"), ("[2001:db8::7]:40000", "[2001:db8::2]:80")]
        {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let packet = packet(from, to, protocol);
                let segment = packet.segment();
                let pseudo = [
                    octets(packet.from.ip()),
                    octets(packet.to.ip()),
                    vec![0, number(protocol)],
                    (segment.len() as u16).to_be_bytes().to_vec(),
                ]
                .concat();
                assert_eq!(sum(&[&pseudo, &segment]), 0xffff, "{from} {protocol:?}");
            }
        }
        let frame = packet("[2001:db8::7]:4", "[2001:db8::2]:80", Protocol::Tcp).frame();
        assert_eq!(frame.len(), 14 + 40 + 20);
        let seen = <Addr6 as Family>::headers(&Frame::new(frame)).unwrap();
        assert_eq!((seen.key.sport.get(), seen.key.dport.get()), (4, 80));
    }

    #[test]
    fn flags_have_names() {
        assert_eq!(Flags::parse("syn, ACK").map(Flags::words), Some("SYN ACK".to_owned()));
        assert_eq!(Flags::parse("fin,psh,urg").map(|flags| flags.0), Some(0x29));
        for text in ["", "x", "syn,,ack", "syn ack"] {
            assert_eq!(Flags::parse(text), None, "{text}");
        }
    }
}
