//! Topics about TCP.

use crate::golden::frames::{
    L4, TCP_CHECK, TCP_OFFSET, client, flag_names, flagged, made_right, rising, syn, vip, with,
    with_options,
};
use crate::golden::scribe::{Scribe, Stage};
use crate::packets::{self, Flags};
use crate::world::{FULL_NAT, NAT, WLC};

use super::{established, open};

/// FIN, SYN, RST and ACK as the four bits of a number.
fn of_state(bits: u8) -> u8 {
    bits & 7 | (bits & 8) << 1
}

pub(super) fn flags(scribe: &mut Scribe) {
    scribe.scene("a new tuple", "plain", |stage| {
        for bits in 0..64 {
            let from = client(40_000 + u16::from(bits));
            stage.packet(flag_names(bits), flagged(from, vip(NAT), bits));
        }
    });
    scribe.scene("a new tuple with the bits of ECN (RFC 3168)", "plain", |stage| {
        for bits in [0x02_u8, 0x10, 0x11, 0x04, 0x00, 0x03] {
            let from = client(41_000 + u16::from(bits));
            stage.packet(flag_names(bits | 0xc0), flagged(from, vip(NAT), bits | 0xc0));
        }
    });
    for bits in 0..16 {
        let bits = of_state(bits);
        scribe.scene(&format!("known flows and {}", flag_names(bits)), "plain", |stage| {
            let conn = established(stage, client(40_000), vip(NAT));
            stage.packet("established, the client", flagged(conn.client, conn.vip, bits));
            let conn = established(stage, client(40_001), vip(FULL_NAT));
            stage.packet("established, the real server", flagged(conn.real, conn.local, bits));
            let conn = open(stage, client(40_002), vip(NAT), false);
            stage.packet("half-open, the client", flagged(conn.client, conn.vip, bits));
            let conn = open(stage, client(40_003), vip(WLC), false);
            stage.packet("half-open, the real server", flagged(conn.real, conn.local, bits));
        });
    }
}

/// Options by name, as they lie on the wire.
const OPTIONS: &[(&str, &[u8])] = &[
    ("maximum segment size", &[2, 4, 5, 0xb4]),
    ("window scale", &[1, 3, 3, 7]),
    ("SACK permitted", &[1, 1, 4, 2]),
    ("one SACK block", &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9]),
    ("timestamps", &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
    ("TCP fast open, asking", &[1, 1, 34, 2]),
    ("TCP fast open, with a cookie", &[1, 1, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("multipath TCP", &[30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("MD5 (RFC 2385)", &[1, 1, 19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ("TCP-AO (RFC 5925)", &[29, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ("an unknown kind", &[253, 6, 0xf9, 0x89, 1, 2]),
    ("a length of 0", &[2, 0, 1, 1]),
    ("a length of 1", &[2, 1, 1, 1]),
    ("a length beyond the header", &[2, 40, 1, 1]),
    ("nothing but the end", &[0, 0, 0, 0]),
    ("something behind the end", &[0, 2, 4, 5]),
    ("forty times nothing", &[1; 40]),
    ("what Linux sends", &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7]),
];

pub(super) fn options(scribe: &mut Scribe) {
    scribe.scene("a SYN's options", "plain", |stage| {
        for (port, (name, options)) in (40_000..).zip(OPTIONS) {
            let frame = with_options(client(port), vip(NAT), Flags::SYN, options, b"");
            stage.packet(*name, frame);
        }
    });
    scribe.scene("options on an established flow", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(FULL_NAT));
        for (name, options) in OPTIONS {
            let up = with_options(conn.client, conn.vip, Flags::ACK, options, b"data");
            stage.packet(format!("{name}, up"), up);
            let down = with_options(conn.real, conn.local, Flags::ACK, options, b"data");
            stage.packet(format!("{name}, down"), down);
        }
    });
    scribe.scene("a SYN with data (RFC 7413)", "plain", |stage| {
        let cookie = OPTIONS[6].1;
        let frame =
            with_options(client(40_000), vip(NAT), Flags::SYN, cookie, b"GET / HTTP/1.0\r\n");
        stage.packet("fast open", frame);
    });
}

pub(super) fn header(scribe: &mut Scribe) {
    scribe.scene(
        "data offset of a SYN with eight bytes behind the fixed header",
        "plain",
        |stage| {
            for words in 0..16_u8 {
                let frame =
                    packets::tcp(client(40_000 + u16::from(words)), vip(NAT), Flags::SYN, &[1; 8]);
                stage
                    .packet(format!("{words} words"), made_right(frame, TCP_OFFSET, &[words << 4]));
            }
        },
    );
    scribe.scene("reserved bits, urgent pointer, window of nothing", "plain", |stage| {
        let frame = |port| syn(client(port), vip(NAT));
        stage.packet("reserved bits set", made_right(frame(40_000), TCP_OFFSET, &[0x5f]));
        stage.packet("urgent pointer", made_right(frame(40_001), L4 + 18, &[0x12, 0x34]));
        stage.packet("window 0", made_right(frame(40_002), L4 + 14, &[0, 0]));
        stage.packet("sequence 0xffffffff", made_right(frame(40_003), L4 + 4, &[0xff; 4]));
    });
    for service in [NAT, FULL_NAT] {
        scribe.scene(&format!("checksums of flows to port {service}"), "plain", |stage| {
            let conn = established(stage, client(40_000), vip(service));
            for (name, bytes) in
                [("0", [0, 0]), ("0xffff", [0xff, 0xff]), ("1", [0, 1]), ("0x8000", [0x80, 0])]
            {
                let up = with(conn.up(Flags::ACK, b"odd"), TCP_CHECK, &bytes);
                stage.packet(format!("wrong one of {name} up"), up);
                let down = with(conn.down(Flags::ACK, b"odd"), TCP_CHECK, &bytes);
                stage.packet(format!("wrong one of {name} down"), down);
            }
            zero_and_ones(stage, "up", &conn.up(Flags::ACK, &[0; 4]));
            zero_and_ones(stage, "down", &conn.down(Flags::ACK, &[0; 4]));
        });
        scribe.scene(&format!("lengths of segments to port {service}"), "plain", |stage| {
            let conn = established(stage, client(40_000), vip(service));
            for length in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 63, 255, 256, 535, 536] {
                lengths(stage, &conn, length);
            }
            for length in [1_000, 1_024, 1_399, 1_400, 1_459, 1_460, 1_461] {
                lengths(stage, &conn, length);
            }
        });
    }
}

fn lengths(stage: &mut Stage, conn: &super::Conn, length: usize) {
    stage.packet(format!("{length} bytes up"), conn.up(Flags::ACK, &rising(length)));
    stage.packet(format!("{length} bytes down"), conn.down(Flags::ACK, &rising(length)));
}

/// Segments whose right checksum is 0, and 1, before they are translated.
fn zero_and_ones(stage: &mut Stage, way: &str, frame: &[u8]) {
    for wanted in [0_u16, 1, 0xfffe] {
        // What the payload's first word must be for that.
        let check = u16::from_be_bytes([frame[TCP_CHECK], frame[TCP_CHECK + 1]]);
        let word = (u32::from(check) + u32::from(!wanted)) % 65_535;
        let payload = (word as u16).to_be_bytes();
        let frame = made_right(frame.to_vec(), L4 + 20, &payload);
        stage.packet(format!("right one of {wanted:#06x} {way}"), frame);
    }
}
