//! The topic about UDP.

use crate::golden::frames::{L4, UDP_CHECK, UDP_LENGTH, client, made_right, rising, vip, with};
use crate::golden::scribe::{Scribe, Stage};
use crate::packets::{self, End};
use crate::world::{DNS, UDP_FULL_NAT};

use super::open;

pub(super) fn all(scribe: &mut Scribe) {
    for service in [DNS, UDP_FULL_NAT] {
        scribe.scene(&format!("checksums of flows to port {service}"), "plain", |stage| {
            let conn = open(stage, client(40_000), vip(service), true);
            checksums(stage, "up", conn.client, conn.vip);
            checksums(stage, "down", conn.real, conn.local);
        });
        scribe.scene(&format!("lengths of datagrams to port {service}"), "plain", |stage| {
            let conn = open(stage, client(40_000), vip(service), true);
            for length in [0, 1, 2, 3, 7, 8, 9, 64, 511, 512, 1_471, 1_472, 1_473] {
                let (up, down) = ((conn.client, conn.vip), (conn.real, conn.local));
                stage.packet(format!("{length} up"), packets::udp(up.0, up.1, &rising(length)));
                stage.packet(
                    format!("{length} down"),
                    packets::udp(down.0, down.1, &rising(length)),
                );
            }
        });
        scribe.scene(
            &format!("first datagrams to port {service} and their length field"),
            "plain",
            |stage| {
                for (from, length) in
                    (40_000..).zip([0_u16, 1, 7, 8, 9, 15, 16, 17, 24, 1_480, 65_535])
                {
                    let frame = packets::udp(client(from), vip(service), b"question");
                    let frame = made_right(frame, UDP_LENGTH, &length.to_be_bytes());
                    stage.packet(format!("16 bytes that say they are {length}"), frame);
                }
            },
        );
        scribe.scene(&format!("the flow of a known client of port {service}"), "plain", |stage| {
            let conn = open(stage, client(40_000), vip(service), true);
            let odd = with(packets::udp(conn.client, conn.vip, b"x"), UDP_LENGTH, &[0, 3]);
            stage.packet("a wrong length is the receiver's to find", odd);
            stage.packet("the answer", packets::udp(conn.real, conn.local, b"answer"));
            stage.packet("once more", packets::udp(conn.client, conn.vip, b"question"));
        });
    }
    scribe.scene("datagrams that are cut", "plain", |stage| {
        let whole = packets::udp(client(40_000), vip(DNS), b"question");
        for length in [20_u16, 21, 27, 28, 29, 35] {
            let frame = made_right(whole.clone(), 16, &length.to_be_bytes());
            stage.packet(format!("a packet of {length} bytes"), frame);
        }
    });
}

/// No checksum, wrong ones, and those on either side of zero before and after the translation.
fn checksums(stage: &mut Stage, way: &str, from: End, to: End) {
    let frame = packets::udp(from, to, &[0; 4]);
    stage.packet(format!("none {way}"), with(frame.clone(), UDP_CHECK, &[0, 0]));
    for wrong in [[0xff, 0xff], [0, 1], [0x12, 0x34]] {
        let word = u16::from_be_bytes(wrong);
        stage.packet(
            format!("wrong one of {word:#06x} {way}"),
            with(frame.clone(), UDP_CHECK, &wrong),
        );
    }
    for wanted in [0xffff_u16, 1, 0xfffe] {
        let check = u16::from_be_bytes([frame[UDP_CHECK], frame[UDP_CHECK + 1]]);
        let word = (u32::from(check) + u32::from(!wanted)) % 65_535;
        let payload = (word as u16).to_be_bytes();
        let frame = made_right(frame.clone(), L4 + 8, &payload);
        stage.packet(format!("right one of {wanted:#06x} {way}"), frame);
    }
    // The payload for which the translated checksum comes out as zero: found by what the plain one becomes.
    let left = stage.packet(format!("as it is {way}"), frame.clone());
    let check = u16::from_be_bytes([left[UDP_CHECK], left[UDP_CHECK + 1]]);
    for (name, off) in [("zero", 0_u16), ("one", 0xfffe)] {
        let word = (u32::from(check) + u32::from(off)) % 65_535;
        let frame = made_right(frame.clone(), L4 + 8, &(word as u16).to_be_bytes());
        stage.packet(format!("one that comes out as {name} {way}"), frame);
    }
}
