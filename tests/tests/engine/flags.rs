//! TCP flags on tuples that no flow has, and in the wrong direction.

use lb_common::abi::{DropReason, PassReason};
use lb_common::engine::tables::Table;
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, REALS, VIP};

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

/// Where the flags are in a frame.
const FLAGS: usize = 47;

// P-57: the 64 combinations, and ECN's two bits with each. I-6.
#[test]
fn only_a_pure_syn_makes_a_flow() {
    for flags in 0..=u8::MAX {
        let bed = Bed::new(64);
        let mut frame = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
        frame[FLAGS] = flags;
        let sent = bed.send(&frame);
        let pure = flags & (FIN | SYN | RST | ACK) == SYN;
        assert_eq!(sent.left(), pure, "flags {flags:#010b}");
        assert_eq!(bed.pairs(Table::HalfOpen), usize::from(pure), "flags {flags:#010b}");
        if !pure {
            // P-58: null, SYN with FIN or RST, and FIN, PSH and URG alone, which is called Xmas.
            let bits = flags & (FIN | SYN | RST | PSH | ACK | URG);
            let nonsense = bits == 0
                || bits & SYN != 0 && bits & (FIN | RST) != 0
                || bits & (FIN | PSH | URG | ACK) == FIN | PSH | URG;
            let reason = if nonsense {
                DropReason::BadTcpFlags.slot()
            } else {
                PassReason::NoFlowNotSyn.slot()
            };
            assert_eq!(sent.verdict.slot(), reason, "flags {flags:#010b}");
            assert_eq!(sent.bytes, frame);
        }
    }
}

// C-10, C-22: however many there are.
#[test]
fn segments_of_unknown_connections_make_no_state() {
    let bed = Bed::new(64);
    let mut right = Counts::of(&bed);
    for port in 1..=2_000 {
        let frame = packets::tcp((CLIENT, port), (VIP, world::NAT), Flags::ACK, b"data");
        let sent = bed.send(&frame);
        assert_eq!(sent.bytes, frame);
        right.raise("no_flow_not_syn");
    }
    assert_eq!(Counts::of(&bed), right);
}

// C-11
#[test]
fn a_reply_without_a_record_is_left_to_the_kernel() {
    let bed = Bed::new(64);
    let mut right = Counts::of(&bed);
    for flags in [Flags::SYN_ACK, Flags::ACK, Flags::RST, Flags::SYN] {
        let frame = packets::tcp(REALS[0], (CLIENT, 40_000), flags, b"");
        assert_eq!(bed.send(&frame).bytes, frame);
        right.raise("no_service");
    }
    assert_eq!(Counts::of(&bed), right);
}

// C-12
#[test]
fn late_segments_after_the_end_make_no_new_record() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    bed.send(&conn.up(Flags::FIN_ACK, b""));
    bed.send(&conn.down(Flags::FIN_ACK, b""));
    bed.wait(world::World::new(1).timeout(lb_common::abi::ConnState::TimeWait) + 1);
    assert_eq!(bed.sweep(), 1);
    let mut right = Counts::of(&bed);
    assert_eq!((right.flows.len(), right.half_open.len()), (0, 0));
    for (frame, reason) in [
        (conn.up(Flags::FIN_ACK, b""), "no_flow_not_syn"),
        (conn.up(Flags::ACK, b""), "no_flow_not_syn"),
        (conn.up(Flags::RST, b""), "no_flow_not_syn"),
        (conn.down(Flags::FIN_ACK, b""), "no_service"),
    ] {
        bed.send(&frame);
        right.raise(reason);
    }
    assert_eq!(Counts::of(&bed), right);
}

// C-13: only the real server's own tuple is the reply direction, only the client's the request.
#[test]
fn each_direction_is_told_by_its_tuple_alone() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let other_real = REALS.into_iter().find(|real| *real != conn.real).expect("two of them");
    for forged in [
        packets::tcp(other_real, conn.local, Flags::ACK, b""),
        packets::tcp((conn.real.0, conn.real.1 + 1), conn.local, Flags::ACK, b""),
        packets::tcp(conn.vip, conn.client, Flags::ACK, b""),
    ] {
        assert_eq!(bed.send(&forged).verdict.slot(), PassReason::NoService.slot());
    }
}
