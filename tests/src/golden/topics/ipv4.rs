//! Topics about the IPv4 header.

use crate::golden::frames::{
    FRAGMENT, HEADER_CHECK, LENGTH, PROTOCOL, TOS, VERSION, client, made_right, rising, syn, vip,
    with,
};
use crate::golden::recompute::mend;
use crate::golden::scribe::Scribe;
use crate::packets::{self, Flags, with_ttl};
use crate::world::{DNS, FULL_NAT, NAT, UDP_FULL_NAT};

use super::{established, open};

pub(super) fn tos(scribe: &mut Scribe) {
    scribe.scene("all values, in turn up and down", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(FULL_NAT));
        for value in 0..=255_u8 {
            let up = value % 2 == 0;
            let frame = if up { conn.up(Flags::ACK, b"") } else { conn.down(Flags::ACK, b"") };
            let way = if up { "up" } else { "down" };
            stage.packet(format!("{value:#04x} {way}"), made_right(frame, TOS, &[value]));
        }
    });
    scribe.scene("the first packet of a flow", "plain", |stage| {
        for (port, value) in
            (40_000..).zip([0x00_u8, 0x01, 0x02, 0x03, 0x10, 0x28, 0xb8, 0xe0, 0xff])
        {
            let (syn, query) =
                (syn(client(port), vip(NAT)), packets::udp(client(port), vip(DNS), b"q"));
            stage.packet(format!("TCP {value:#04x}"), made_right(syn, TOS, &[value]));
            stage.packet(format!("UDP {value:#04x}"), made_right(query, TOS, &[value]));
        }
    });
}

pub(super) fn ttl(scribe: &mut Scribe) {
    const VALUES: [u8; 8] = [0, 1, 2, 3, 64, 128, 254, 255];
    for service in [NAT, FULL_NAT] {
        scribe.scene(&format!("TCP to port {service}"), "plain", |stage| {
            let conn = established(stage, client(40_000), vip(service));
            for (port, ttl) in (40_001..).zip(VALUES) {
                stage.packet(
                    format!("{ttl} in a SYN"),
                    with_ttl(syn(client(port), vip(service)), ttl),
                );
                stage.packet(format!("{ttl} up"), with_ttl(conn.up(Flags::ACK, b"data"), ttl));
                stage.packet(format!("{ttl} down"), with_ttl(conn.down(Flags::ACK, b"data"), ttl));
            }
        });
    }
    for service in [DNS, UDP_FULL_NAT] {
        scribe.scene(&format!("UDP to port {service}"), "plain", |stage| {
            let conn = open(stage, client(40_000), vip(service), true);
            for ttl in VALUES {
                let up = packets::udp(conn.client, conn.vip, b"question");
                stage.packet(format!("{ttl} up"), with_ttl(up, ttl));
                let down = packets::udp(conn.real, conn.local, b"answer");
                stage.packet(format!("{ttl} down"), with_ttl(down, ttl));
            }
        });
    }
    scribe.scene("the last hop of other packets", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(NAT));
        let broken = with(with_ttl(conn.up(Flags::ACK, b""), 1), HEADER_CHECK, &[0xab, 0xcd]);
        stage.packet("a header that is broken is not answered", broken);
        stage.packet("nobody's service", with_ttl(syn(client(40_001), vip(9)), 1));
        let longer = with_ttl(conn.up(Flags::ACK, &rising(1_000)), 1);
        stage.packet("a long packet is quoted by its first 28 bytes", longer);
    });
}

pub(super) fn header(scribe: &mut Scribe) {
    let plain = || syn(client(40_000), vip(NAT));
    scribe.scene("version", "plain", |stage| {
        for version in (0..16_u8).filter(|version| *version != 4) {
            stage.packet(format!("{version}"), made_right(plain(), VERSION, &[version << 4 | 5]));
        }
    });
    scribe.scene("header length", "plain", |stage| {
        for words in (0..16_u8).filter(|words| *words != 5) {
            let frame = packets::tcp(client(40_000), vip(NAT), Flags::SYN, &[1; 40]);
            stage.packet(format!("{words} words"), made_right(frame, VERSION, &[0x40 | words]));
        }
    });
    scribe.scene("options are looked behind", "plain", |stage| {
        let options: [(&str, &[u8]); 7] = [
            ("nothing", &[1, 1, 1, 1]),
            ("the end", &[0, 0, 0, 0]),
            ("router alert", &[148, 4, 0, 0]),
            ("record route", &[7, 7, 4, 0, 0, 0, 0, 0]),
            ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0]),
            ("loose source route", &[131, 7, 4, 10, 0, 0, 1, 0]),
            ("a length of 0", &[7, 0, 0, 0]),
        ];
        for (name, option) in options {
            let mut frame = plain();
            frame.splice(34..34, option.iter().copied());
            frame[VERSION] += (option.len() / 4) as u8;
            frame[LENGTH + 1] += option.len() as u8;
            packets::refresh_ip_checksum(&mut frame);
            stage.packet(name, frame);
        }
    });
    scribe.scene("total length", "plain", |stage| {
        for length in [0_u16, 1, 19, 20, 21, 39, 40, 41, 60, 1_500, 0x8000, 65_535] {
            let frame = with(plain(), LENGTH, &length.to_be_bytes());
            stage.packet(format!("{length} in a packet of 40"), made_right(frame, TOS, &[0]));
        }
    });
    scribe.scene("header checksum of new flows", "plain", |stage| {
        for (port, wrong) in (40_001..).zip([[0, 0], [0xff, 0xff], [0, 1], [0x80, 0]]) {
            let frame = with(syn(client(port), vip(NAT)), HEADER_CHECK, &wrong);
            stage.packet(format!("TCP {wrong:02x?}"), frame);
            let frame = with(packets::udp(client(port), vip(DNS), b"q"), HEADER_CHECK, &wrong);
            stage.packet(format!("UDP {wrong:02x?}"), frame);
        }
        for bit in 0..16 {
            let mut frame = plain();
            frame[HEADER_CHECK + bit / 8] ^= 0x80 >> (bit % 8);
            stage.packet(format!("bit {bit} turned"), frame);
        }
    });
    scribe.scene("header checksum of known flows", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(FULL_NAT));
        for wrong in [[0, 0], [0xff, 0xff], [0x12, 0x34]] {
            let up = with(conn.up(Flags::ACK, b"data"), HEADER_CHECK, &wrong);
            stage.packet(format!("{wrong:02x?} up"), up);
            let down = with(conn.down(Flags::ACK, b"data"), HEADER_CHECK, &wrong);
            stage.packet(format!("{wrong:02x?} down"), down);
        }
    });
    scribe.scene("protocols", "plain", |stage| {
        for proto in [0_u8, 2, 4, 27, 33, 41, 47, 50, 51, 58, 89, 103, 112, 132, 136, 255] {
            stage.packet(format!("{proto}"), made_right(plain(), PROTOCOL, &[proto]));
        }
    });
    scribe.scene("flags", "plain", |stage| {
        let cases = [("reserved", 0x80), ("reserved and DF", 0xc0), ("none", 0x00), ("DF", 0x40)];
        for (port, (name, bits)) in (40_000..).zip(cases) {
            stage.packet(name, made_right(syn(client(port), vip(NAT)), FRAGMENT, &[bits, 0]));
        }
    });
}

pub(super) fn padding(scribe: &mut Scribe) {
    scribe.scene("behind the packet", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(NAT));
        let dns = open(stage, client(40_000), vip(DNS), true);
        for (length, filler) in [(1, 0), (6, 0), (6, 0xff), (18, 0xaa), (100, 0x55)] {
            let padded = |frame: Vec<u8>| [frame, vec![filler; length]].concat();
            let of = |what: &str| format!("{length} times {filler:#04x}, {what}");
            stage.packet(of("segment up"), padded(conn.up(Flags::ACK, b"")));
            stage.packet(of("segment down"), padded(conn.down(Flags::ACK, b"")));
            stage.packet(of("datagram up"), padded(packets::udp(dns.client, dns.vip, b"odd")));
            let new = syn(client(41_000 + length as u16 + u16::from(filler)), vip(NAT));
            stage.packet(of("SYN"), padded(new));
        }
        let last = [with_ttl(conn.up(Flags::ACK, b""), 1), vec![0xee; 6]].concat();
        stage.packet("what is answered is quoted without it", last);
    });
    scribe.scene("a SYN cut off", "plain", |stage| {
        let mut whole = syn(client(40_000), vip(NAT));
        mend(&mut whole);
        for length in 0..whole.len() {
            stage.packet(format!("after {length} bytes"), whole[..length].to_vec());
        }
    });
}
