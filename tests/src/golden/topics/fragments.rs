//! The topic about fragments.

use crate::golden::frames::{ROUTER, client, rising, vip, with};
use crate::golden::scribe::{Scribe, Stage};
use crate::packets::{self, Flags, with_ttl};
use crate::world::{DNS, EMPTY, FULL_NAT, NAT, UDP_FULL_NAT};

use super::{established, open};

const NAMES: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// A packet's fragments in an order.
fn pieces(stage: &mut Stage, frame: &[u8], id: u16, ends: &[usize], order: &[usize]) {
    let pieces = packets::fragments(frame, id, ends);
    for at in order {
        stage.packet(format!("the {} of {}", NAMES[*at], pieces.len()), pieces[*at].clone());
    }
}

pub(super) fn all(scribe: &mut Scribe) {
    for service in [DNS, UDP_FULL_NAT] {
        scribe.scene(&format!("datagrams of port {service}"), "plain", |stage| {
            let (from, to) = (client(40_000), vip(service));
            pieces(stage, &packets::udp(from, to, &rising(100)), 1, &[48, 80], &[0, 1, 2]);
            let conn = open(stage, client(40_001), to, true);
            let answer = packets::udp(conn.real, conn.local, &rising(101));
            pieces(stage, &answer, 2, &[8, 104], &[0, 2, 1]);
        });
    }
    for service in [NAT, FULL_NAT] {
        scribe.scene(&format!("segments of port {service}"), "plain", |stage| {
            let conn = established(stage, client(40_000), vip(service));
            pieces(stage, &conn.up(Flags::ACK, &rising(90)), 3, &[24, 64], &[0, 1, 2]);
            pieces(stage, &conn.down(Flags::ACK, &rising(90)), 3, &[24, 64], &[0, 2, 1]);
            pieces(
                stage,
                &packets::tcp(client(40_001), vip(service), Flags::SYN, &rising(40)),
                4,
                &[40],
                &[0, 1],
            );
        });
    }
    scribe.scene("out of order", "plain", |stage| {
        let frame = packets::udp(client(40_000), vip(DNS), &rising(100));
        pieces(stage, &frame, 7, &[48, 80], &[2, 1, 0, 1, 2, 2]);
    });
    scribe.scene("an identification used again", "plain", |stage| {
        for port in [40_000, 40_001, 40_002] {
            let frame = packets::udp(client(port), vip(DNS), &rising(64));
            pieces(stage, &frame, 7, &[32], &[0, 1]);
        }
    });
    scribe.scene("what differs in one part of the key", "plain", |stage| {
        let frame = packets::udp(client(40_000), vip(DNS), &rising(100));
        let pieces = packets::fragments(&frame, 7, &[48]);
        stage.packet("the first", pieces[0].clone());
        let parts = [
            ("source", 29, 9),
            ("destination", 33, 9),
            ("identification", 19, 8),
            ("protocol", 23, 6),
        ];
        for (name, at, value) in parts {
            let mut other = with(pieces[1].clone(), at, &[value]);
            packets::refresh_ip_checksum(&mut other);
            stage.packet(format!("another {name}"), other);
        }
    });
    scribe.scene("headers cut and overwritten (RFC 1858, 3128)", "plain", |stage| {
        let segment = packets::tcp(client(40_000), vip(NAT), Flags::SYN, &rising(60));
        for end in [8, 16] {
            stage.packet(
                format!("a first of {end} bytes"),
                packets::fragments(&segment, 8, &[end])[0].clone(),
            );
        }
        stage.packet("a first of 24 bytes", packets::fragments(&segment, 8, &[24])[0].clone());
        for from in [8, 16, 24] {
            let over = packets::fragments(&segment, 8, &[from])[1].clone();
            stage.packet(format!("a later one from {from}"), over);
        }
        let query = packets::udp(client(40_000), vip(DNS), &rising(60));
        stage.packet(
            "a datagram's first of 8 bytes",
            packets::fragments(&query, 9, &[8])[0].clone(),
        );
        for from in [8, 16] {
            let over = packets::fragments(&query, 9, &[from])[1].clone();
            stage.packet(format!("a datagram's later one from {from}"), over);
        }
    });
    scribe.scene("lengths of later fragments", "plain", |stage| {
        let query = packets::udp(client(40_000), vip(DNS), &rising(100));
        let pieces = packets::fragments(&query, 10, &[48]);
        stage.packet("the first", pieces[0].clone());
        for length in [0_u16, 19, 20, 21, 80, 81] {
            let mut other = with(pieces[1].clone(), 16, &length.to_be_bytes());
            packets::refresh_ip_checksum(&mut other);
            stage.packet(format!("{length}"), other);
        }
    });
    scribe.scene("what is not forwarded leads nobody anywhere", "plain", |stage| {
        let refused = packets::tcp(client(40_000), vip(EMPTY), Flags::SYN, &rising(60));
        pieces(stage, &refused, 11, &[40], &[0, 1]);
        let stranger = packets::udp(client(40_000), vip(9), &rising(60));
        pieces(stage, &stranger, 12, &[40], &[0, 1]);
        let message = packets::icmp(ROUTER, vip(NAT).0, (3, 3, [0; 4]), &rising(100));
        pieces(stage, &message, 13, &[64], &[0, 1]);
        let echo = packets::icmp(ROUTER, vip(NAT).0, (8, 0, [0; 4]), &rising(100));
        pieces(stage, &echo, 14, &[64], &[0, 1]);
    });
    scribe.scene("the last hop", "plain", |stage| {
        let frame = packets::udp(client(40_000), vip(DNS), &rising(64));
        let pieces = packets::fragments(&frame, 15, &[32]);
        stage.packet("a first one is answered", with_ttl(pieces[0].clone(), 1));
        stage.packet("the first again", pieces[0].clone());
        stage.packet("a later one is not (RFC 1812, 4.3.2.7)", with_ttl(pieces[1].clone(), 1));
    });
}
