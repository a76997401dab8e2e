//! Fragments: all of a packet's go where its first one goes.

use lb_common::abi::{DropReason, PassReason, Tick};
use lb_common::engine::tables::Table;
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, VIP};

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

/// Bytes that no two positions share.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

fn question(service: u16) -> Vec<u8> {
    packets::udp((CLIENT, 40_000), (VIP, service), &payload(100))
}

// P-18, P-19: the first and what follows, both directions, both methods, a flow that is made by it.
#[test]
fn all_fragments_of_a_datagram_reach_the_same_end_with_a_right_checksum() {
    for service in [world::DNS, world::UDP_FULL_NAT] {
        let bed = Bed::new(64);
        let send = |frame: &[u8], id| -> Vec<u8> {
            let pieces = packets::fragments(frame, id, &[48, 80]);
            let left: Vec<_> = pieces
                .iter()
                .map(|piece| {
                    let sent = bed.send(piece);
                    assert!(sent.left(), "{:?}", sent.verdict);
                    assert_eq!(sent.bytes[20..22], piece[20..22], "offset and flag are kept");
                    sent.bytes
                })
                .collect();
            packets::reassembled(&left)
        };
        let at_real = packets::take(&send(&question(service), 7));
        assert_eq!((at_real.payload, at_real.ttl), (payload(100), 63));
        let answer = packets::udp(at_real.to, at_real.from, &payload(101));
        let at_client = packets::take(&send(&answer, 7));
        assert_eq!((at_client.from, at_client.to), ((VIP, service), (CLIENT, 40_000)));
        assert_eq!(at_client.payload, payload(101));
        assert_eq!(bed.host.entries(Table::Flows).len(), 2, "the answer established it");
    }
}

#[test]
fn a_segment_of_an_established_connection_may_come_in_pieces() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let pieces = packets::fragments(&conn.up(Flags::ACK, &payload(90)), 9, &[24, 64]);
    let left: Vec<_> = pieces.iter().map(|piece| bed.send(piece).bytes).collect();
    assert_eq!(packets::take(&packets::reassembled(&left)).payload, payload(90));
}

// P-20: XDP cannot hold what may be the host's.
#[test]
fn a_later_fragment_before_the_first_is_left_to_the_kernel() {
    let bed = Bed::new(64);
    let pieces = packets::fragments(&question(world::DNS), 7, &[48]);
    for _ in 0..2 {
        let sent = bed.send(&pieces[1]);
        assert_eq!(sent.verdict.slot(), PassReason::Fragment.slot());
        assert_eq!(sent.bytes, pieces[1], "untouched");
    }
    assert!(bed.send(&pieces[0]).left());
    assert!(bed.send(&pieces[1]).left());
}

// P-24: the same identification again is another packet.
#[test]
fn a_reused_identification_follows_the_latest_first_fragment() {
    let bed = Bed::new(64);
    let mut ends = Vec::new();
    for port in [40_000, 40_001] {
        let whole = packets::udp((CLIENT, port), (VIP, world::DNS), &payload(100));
        let pieces = packets::fragments(&whole, 7, &[48]);
        let left: Vec<_> = pieces.iter().map(|piece| bed.send(piece).bytes).collect();
        ends.push(packets::take(&packets::reassembled(&left)).to);
    }
    assert_ne!(ends[0], ends[1], "rr went on");
    assert_eq!(bed.host.fragments(), 1);
}

#[test]
fn what_differs_in_one_part_of_the_key_is_no_fragment_of_the_packet() {
    let bed = Bed::new(64);
    let pieces = packets::fragments(&question(world::DNS), 7, &[48]);
    assert!(bed.send(&pieces[0]).left());
    let changes: [(usize, u8); 4] = [(29, 9), (33, 9), (19, 8), (23, 6)];
    for (at, value) in changes {
        let mut other = pieces[1].clone();
        other[at] = value;
        packets::refresh_ip_checksum(&mut other);
        assert_eq!(bed.send(&other).verdict.slot(), PassReason::Fragment.slot(), "byte {at}");
    }
}

#[test]
fn a_first_fragment_is_forgotten_after_half_a_minute() {
    let bed = Bed::new(64);
    let pieces = packets::fragments(&question(world::DNS), 7, &[48]);
    assert!(bed.send(&pieces[0]).left());
    let life = bed.host.config.ticks_per_1024_s * 30 / 1024;
    bed.host.set_now(Tick(1_000 + life));
    assert!(bed.send(&pieces[1]).left());
    bed.host.set_now(Tick(1_001 + life));
    assert_eq!(bed.send(&pieces[1]).verdict.slot(), PassReason::Fragment.slot());
}

// P-23, and RFC 3128.
#[test]
fn nobodys_header_is_cut_or_overwritten() {
    let bed = Bed::new(64);
    let segment = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, &payload(60));
    let tiny = &packets::fragments(&segment, 7, &[16])[0];
    assert_eq!(bed.send(tiny).verdict.slot(), PassReason::TinyFragment.slot());

    let first = &packets::fragments(&segment, 7, &[24])[0];
    assert!(bed.send(first).left());
    for offset in [8, 16] {
        let over = &packets::fragments(&segment, 7, &[offset])[1];
        let before = Counts::of(&bed);
        let sent = bed.send(over);
        assert_eq!(sent.verdict.slot(), DropReason::FragmentOverlap.slot(), "at {offset}");
        let mut right = before;
        right.raise(DropReason::FragmentOverlap.name());
        assert_eq!(Counts::of(&bed), right);
    }
}

#[test]
fn a_refused_first_fragment_leads_nobody_anywhere() {
    let bed = Bed::new(64);
    let segment = packets::tcp((CLIENT, 40_000), (VIP, world::EMPTY), Flags::SYN, &payload(60));
    let pieces = packets::fragments(&segment, 7, &[40]);
    assert_eq!(bed.send(&pieces[0]).verdict.slot(), DropReason::NoUsableReal.slot());
    assert_eq!(bed.send(&pieces[1]).verdict.slot(), PassReason::Fragment.slot());
}

// P-09: offsets and ports aside, a fragment is a packet with a length like any other.
#[test]
fn a_later_fragment_that_is_no_longer_than_its_header_is_no_packet() {
    let bed = Bed::new(64);
    let pieces = packets::fragments(&question(world::DNS), 7, &[48]);
    assert!(bed.send(&pieces[0]).left());
    for length in [0_u16, 1, 19, 20, 21] {
        let mut short = pieces[1].clone();
        short[16..18].copy_from_slice(&length.to_be_bytes());
        packets::refresh_ip_checksum(&mut short);
        let sent = bed.send(&short);
        if length == 21 {
            assert!(sent.left(), "{:?}", sent.verdict);
        } else {
            assert_eq!(sent.verdict.slot(), PassReason::BadIpv4.slot(), "{length} bytes");
            assert_eq!(sent.bytes, short, "untouched");
        }
    }
}
