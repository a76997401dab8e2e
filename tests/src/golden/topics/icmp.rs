//! Topics about ICMP.

use std::net::Ipv4Addr;

use crate::golden::frames::{
    CLIENT, FRAGMENT, HEADER_CHECK, ICMP_CHECK, ROUTER, TTL, VERSION, client, made_right, rising,
    vip, with,
};
use crate::golden::scribe::{Scribe, Stage};
use crate::packets::{self, Flags, icmp, with_ttl};
use crate::world::{DNS, FULL_NAT, NAT, UDP_FULL_NAT, VIP};

use super::{established, open};

type Head = (u8, u8, [u8; 4]);

/// Fragmentation needed, for 1,400 bytes.
const NEEDS_1400: Head = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, 0x05, 0x78]);

/// Four flows to hear errors about: a packet of each as it left, in each direction.
struct Left {
    name: String,
    frame: Vec<u8>,
}

impl Left {
    /// The error of a router that quotes the first bytes of it.
    fn error(&self, head: Head, bytes: usize) -> Vec<u8> {
        let packet = packets::ip_packet(&self.frame);
        self.error_with(head, &packet[..bytes.min(packet.len())])
    }

    /// The error with a quotation of its own.
    fn error_with(&self, head: Head, quote: &[u8]) -> Vec<u8> {
        packets::icmp(ROUTER, self.sender(), head, quote)
    }

    fn sender(&self) -> Ipv4Addr {
        packets::take(&self.frame).from.0
    }

    fn whole(&self) -> usize {
        packets::ip_packet(&self.frame).len()
    }
}

/// A TCP flow and a UDP flow, each way, through NAT and full-NAT.
fn flows(stage: &mut Stage) -> Vec<Left> {
    let mut all = Vec::new();
    for (service, name) in [(NAT, "NAT"), (FULL_NAT, "full-NAT")] {
        let conn = established(stage, client(40_000), vip(service));
        for (way, frame) in [
            ("up", conn.up(Flags::ACK, &rising(120))),
            ("down", conn.down(Flags::ACK, &rising(120))),
        ] {
            let name = format!("TCP {name} {way}");
            all.push(Left { frame: stage.setup(name.clone(), frame), name });
        }
    }
    for (service, name) in [(DNS, "NAT"), (UDP_FULL_NAT, "full-NAT")] {
        let conn = open(stage, client(40_001), vip(service), true);
        for (way, from, to) in [("up", conn.client, conn.vip), ("down", conn.real, conn.local)] {
            let name = format!("UDP {name} {way}");
            let frame = packets::udp(from, to, &rising(21));
            all.push(Left { frame: stage.setup(name.clone(), frame), name });
        }
    }
    all
}

fn about(scribe: &mut Scribe, name: &str, play: impl Fn(&mut Stage, &Left)) {
    scribe.scene(name, "plain", |stage| {
        for left in flows(stage) {
            play(stage, &left);
        }
    });
}

pub(super) fn errors(scribe: &mut Scribe) {
    about(scribe, "destination unreachable, all codes", |stage, left| {
        for code in 0..17 {
            let word = if code == icmp::FRAGMENTATION_NEEDED { NEEDS_1400.2 } else { [0; 4] };
            stage.packet(
                format!("code {code} about {}", left.name),
                left.error((3, code, word), 28),
            );
        }
    });
    about(scribe, "time exceeded", |stage, left| {
        for code in 0..2 {
            stage.packet(
                format!("code {code} about {}", left.name),
                left.error((11, code, [0; 4]), 28),
            );
        }
    });
    about(scribe, "kinds that are not translated", |stage, left| {
        for (kind, name) in [(4, "source quench"), (5, "redirect"), (12, "parameter problem")] {
            let head = (kind, 0, [10, 64, 1, 77]);
            stage.packet(format!("{name} about {}", left.name), left.error(head, 28));
        }
    });
    about(scribe, "how much is quoted", |stage, left| {
        for bytes in [0, 19, 20, 27, 28, 29, 37, 38, 39, 40, 47, 49, left.whole() - 1, left.whole()]
        {
            stage.packet(format!("{bytes} bytes of {}", left.name), left.error(NEEDS_1400, bytes));
        }
    });
    about(scribe, "the MTU of fragmentation needed", |stage, left| {
        for mtu in [0_u16, 1, 68, 575, 576, 1_280, 1_500, 65_535] {
            let [high, low] = mtu.to_be_bytes();
            let head = (3, 4, [0, 0, high, low]);
            stage.packet(format!("{mtu} about {}", left.name), left.error(head, 28));
        }
    });
    about(scribe, "checksums", |stage, left| {
        let whole = left.error(NEEDS_1400, left.whole());
        for wrong in [[0, 0], [0xff, 0xff], [0x12, 0x34]] {
            let frame = with(whole.clone(), ICMP_CHECK, &wrong);
            stage.packet(format!("the message's {wrong:02x?}, {}", left.name), frame);
        }
        let mut quote = packets::ip_packet(&left.frame).to_vec();
        quote[10] ^= 1;
        let frame = left.error_with(NEEDS_1400, &quote);
        stage.packet(format!("the quoted header's, {}", left.name), frame);
        let mut quote = packets::ip_packet(&left.frame).to_vec();
        let at = if quote[9] == 6 { 36 } else { 26 };
        quote[at] ^= 1;
        let frame = left.error_with(NEEDS_1400, &quote);
        stage.packet(format!("the quoted segment's is nobody's business, {}", left.name), frame);
        let mut quote = packets::ip_packet(&left.frame).to_vec();
        quote[at..at + 2].fill(0);
        let frame = left.error_with(NEEDS_1400, &quote);
        stage.packet(format!("the quoted segment's is 0, {}", left.name), frame);
        let outer = with(whole, HEADER_CHECK, &[0xab, 0xcd]);
        stage.packet(format!("the outer header's, {}", left.name), outer);
    });
    about(scribe, "what a router may have changed in what it quotes", |stage, left| {
        let quote = packets::ip_packet(&left.frame);
        for (name, at, byte) in
            [("TTL 0", 8, 0), ("TOS", 1, 0xb8), ("DF", 6, 0x40), ("first fragment", 6, 0x20)]
        {
            let frame = made_right([&[0; 12], &[8, 0][..], quote].concat(), 14 + at, &[byte]);
            let frame = left.error_with(NEEDS_1400, &frame[14..]);
            stage.packet(format!("{name} in {}", left.name), frame);
        }
        for words in [1_usize, 10] {
            let mut frame = [&[0; 12], &[8, 0][..], quote].concat();
            frame[VERSION] += words as u8;
            frame.splice(34..34, vec![1; 4 * words]);
            packets::refresh_ip_checksum(&mut frame);
            let frame = left.error_with(NEEDS_1400, &frame[14..]);
            stage.packet(format!("{words} words of options in {}", left.name), frame);
        }
        let mut extended = quote.to_vec();
        extended.resize(128, 0);
        extended.extend([0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 0, 1, 2, 0x3f]);
        let frame = left.error_with((11, 0, [0, 32, 0, 0]), &extended);
        stage.packet(format!("extensions behind {} (RFC 4884)", left.name), frame);
    });
    about(scribe, "who may tell", |stage, left| {
        let quote = &packets::ip_packet(&left.frame)[..28];
        for from in [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [192, 168, 1, 1]] {
            let frame = packets::icmp(from.into(), left.sender(), NEEDS_1400, quote);
            let from = Ipv4Addr::from(from);
            stage.packet(format!("{from} about {}", left.name), frame);
        }
        let frame = packets::icmp(ROUTER, [10, 64, 1, 3].into(), NEEDS_1400, quote);
        stage.packet(format!("told to another than the sender of {}", left.name), frame);
        for ttl in [0, 1, 2, 255] {
            let frame = with_ttl(left.error(NEEDS_1400, 28), ttl);
            stage.packet(format!("TTL {ttl}, about {}", left.name), frame);
        }
    });
    scribe.scene("half-open connections", "plain", |stage| {
        for (port, service) in [(40_000, NAT), (40_001, FULL_NAT)] {
            let frame = packets::tcp(client(port), vip(service), Flags::SYN, b"");
            let left = Left { frame: stage.setup("the client begins", frame), name: String::new() };
            for head in [(3, 1, [0; 4]), (11, 0, [0; 4]), NEEDS_1400] {
                let frame = left.error(head, 28);
                stage.packet(format!("kind {} about the SYN to port {service}", head.0), frame);
            }
        }
    });
}

pub(super) fn others(scribe: &mut Scribe) {
    scribe.scene("all kinds, quoting a known flow", "plain", |stage| {
        let left = flows(stage).swap_remove(0);
        for kind in (0..=44).filter(|kind| ![3, 11, 4, 5, 12].contains(kind)).chain([253, 254, 255])
        {
            stage.packet(format!("kind {kind}"), left.error((kind, 0, [0; 4]), 28));
        }
    });
    scribe.scene("echo requests are the host's to answer", "plain", |stage| {
        for length in [0, 1, 2, 18, 56, 57, 1_000, 1_471, 1_472] {
            let frame = packets::icmp(CLIENT, VIP, (icmp::ECHO, 0, [0, 7, 0, 1]), &rising(length));
            stage.packet(format!("{length} bytes"), frame);
        }
        let frame = packets::icmp(CLIENT, VIP, (icmp::ECHO, 0, [0, 7, 0, 1]), b"");
        stage.packet("with TTL 1", with_ttl(frame.clone(), 1));
        stage.packet("with a wrong checksum", with(frame.clone(), ICMP_CHECK, &[1, 2]));
        stage.packet("of 7 bytes", made_right(frame, 16, &[0, 27]));
    });
    scribe.scene("errors about nobody's packets", "plain", |stage| {
        let stranger = packets::tcp(vip(4_000), client(80), Flags::ACK, b"data");
        let about = |frame: &[u8], bytes: usize| {
            packets::icmp(ROUTER, VIP, NEEDS_1400, &packets::ip_packet(frame)[..bytes])
        };
        stage.packet("a stranger's segment", about(&stranger, 28));
        let datagram = packets::udp(vip(4_000), client(80), b"data");
        stage.packet("a stranger's datagram", about(&datagram, 28));
        let echo = packets::icmp(VIP, CLIENT, (icmp::ECHO, 0, [0; 4]), b"data");
        stage.packet("an echo request", about(&echo, 28));
        let error = about(&stranger, 28);
        stage.packet("another error", about(&error, 28));
        for (proto, name) in [(132, "SCTP"), (47, "GRE"), (50, "ESP")] {
            stage.packet(name, about(&made_right(stranger.clone(), 23, &[proto]), 28));
        }
        stage.packet(
            "a later fragment",
            about(&made_right(stranger.clone(), FRAGMENT, &[0, 9]), 28),
        );
        stage.packet("version 6", about(&with(stranger.clone(), VERSION, &[0x65]), 28));
        stage.packet("a header of 4 words", about(&with(stranger.clone(), VERSION, &[0x44]), 28));
        stage.packet(
            "a header of 15 words in 28 bytes",
            about(&with(stranger, VERSION, &[0x4f]), 28),
        );
    });
    scribe.scene("an error in fragments", "plain", |stage| {
        let left = flows(stage).swap_remove(0);
        let frame = left.error(NEEDS_1400, left.whole());
        for (at, piece) in packets::fragments(&frame, 77, &[64]).into_iter().enumerate() {
            stage.packet(format!("piece {at}"), piece);
        }
        let whole = with(frame, TTL, &[64]);
        stage.packet("whole", whole);
    });
}
