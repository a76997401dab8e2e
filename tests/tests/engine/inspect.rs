//! What a packet must be to begin a flow.

use std::net::Ipv4Addr;

use lb_common::abi::{Budget, DropReason, PassReason};
use lb_common::engine::Action;
use lb_common::engine::tables::Table;
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, VIP};

use crate::bed::{Bed, CLIENT};

#[track_caller]
fn dropped(frame: &[u8], reason: DropReason) {
    let bed = Bed::new(64);
    let sent = bed.send(frame);
    assert_eq!(sent.verdict.slot(), reason.slot(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes, frame, "untouched");
    assert!(bed.host.entries(Table::HalfOpen).is_empty());
}

// S-38
#[test]
fn no_host_on_a_network_has_such_an_address() {
    for first in [0, 127, 224, 239, 240, 255] {
        let from = (Ipv4Addr::new(first, 1, 2, 3), 40_000);
        dropped(&packets::tcp(from, (VIP, world::NAT), Flags::SYN, b""), DropReason::MartianSource);
        dropped(&packets::udp(from, (VIP, world::DNS), b""), DropReason::MartianSource);
    }
    for first in [1, 10, 126, 128, 223] {
        let from = (Ipv4Addr::new(first, 1, 2, 3), 40_000);
        let bed = Bed::new(64);
        assert!(bed.send(&packets::tcp(from, (VIP, world::NAT), Flags::SYN, b"")).left());
    }
}

// S-39
#[test]
fn a_service_does_not_call_itself() {
    for port in [world::NAT, 9] {
        let from = (VIP, port);
        dropped(&packets::tcp(from, (VIP, world::NAT), Flags::SYN, b""), DropReason::Land);
    }
}

// P-59
#[test]
fn a_segment_header_fits_its_packet() {
    for (words, fits) in [(0, false), (4, false), (5, true), (7, true), (8, false), (15, false)] {
        let mut frame = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, &[1; 8]);
        frame[46] = words << 4;
        if fits {
            assert!(Bed::new(64).send(&frame).left(), "{words} words");
        } else {
            dropped(&frame, DropReason::BadTcpHeader);
        }
    }
}

// P-69
#[test]
fn a_datagram_is_as_long_as_it_says_or_padded() {
    for (length, fits) in [(0_u16, false), (7, false), (8, true), (16, true), (17, false)] {
        let mut frame = packets::udp((CLIENT, 40_000), (VIP, world::DNS), b"question");
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        // No checksum, so that only the length is wrong.
        frame[40..42].fill(0);
        if fits {
            assert!(Bed::new(64).send(&frame).left(), "{length} bytes");
        } else {
            dropped(&frame, DropReason::BadUdpLength);
        }
    }
}

// P-07: what is wrong on a known flow is for its receiver to find, not for us to hide.
#[test]
fn known_flows_are_not_looked_at_so_closely() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let mut frame = conn.up(Flags::ACK, b"data");
    frame[24] ^= 0x10;
    let sent = bed.send(&frame);
    assert!(sent.left());
    let wrong = sent.bytes[24..26].to_vec();
    let mut mended = sent.bytes;
    packets::refresh_ip_checksum(&mut mended);
    assert_ne!(mended[24..26], wrong[..], "still wrong");
}

// P-79: what a bridge shows us is its receiver's to judge.
#[test]
fn another_machines_packets_are_not_dropped_however_broken() {
    let end = (CLIENT, 40_000);
    let mut martian =
        packets::tcp((Ipv4Addr::LOCALHOST, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    let mut scan = packets::tcp(end, (VIP, world::NAT), Flags::default(), b"");
    let mut stray = packets::tcp(end, (VIP, world::NAT), Flags::ACK, b"");
    for frame in [&mut martian, &mut scan, &mut stray] {
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x77]);
        let sent = Bed::new(64).send(frame);
        assert_eq!(sent.verdict.slot(), PassReason::NotOurMac.slot(), "{:?}", sent.verdict);
        assert_eq!(sent.bytes, *frame, "untouched");
    }
}

// S-31: whoever is named as the source of datagrams gets nothing from here that the real server did not send, and where
// nobody serves no more errors than there is budget for.
#[test]
fn a_spoofed_victim_is_sent_no_more_than_the_budget() {
    let bed = Bed::new(64);
    for port in 40_000..40_050 {
        let frame = packets::udp((CLIENT, port), (VIP, world::DNS), b"question");
        let sent = bed.send(&frame);
        assert!(sent.left(), "{:?}", sent.verdict);
        assert_eq!(sent.bytes.len(), frame.len(), "as many bytes");
        assert_ne!(sent.bytes[..6], packets::CLIENT_MAC, "and not to the source");
    }
    bed.host.allow(Budget::Icmp, 3);
    let answered = (0..50_u16).filter(|port| {
        let syn = packets::tcp((CLIENT, 41_000 + port), (VIP, world::EMPTY), Flags::SYN, b"");
        bed.send(&syn).verdict.action() == Action::Redirect
    });
    assert_eq!(answered.count(), 3);
}
