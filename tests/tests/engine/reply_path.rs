//! Whose answers are believed (S-37): the clients are on one interface, the real servers on another.

use std::net::Ipv6Addr;

use lb_common::abi::{ConnState, DropReason, Flow, FlowKey, RealFlags};
use lb_common::engine::Flows;
use lb_common::engine::tables::Table;
use lb_common::wire::Addr6;
use lb_tests::packets::{self, End, Flags};
use lb_tests::packets6;
use lb_tests::world::{self, VIP, VIP6, World};

use crate::bed::{Bed, CLIENT, Conn};

/// Where clients are, and whoever forges.
const OUTSIDE: u32 = world::IFINDEX;
/// Where the real servers are.
const INSIDE: u32 = 2;
/// Where they are later.
const ELSEWHERE: u32 = 3;

fn world() -> World {
    let mut world = World::new(64);
    for (_, hop) in &mut world.hops {
        hop.ifindex = INSIDE;
    }
    world
}

/// All real servers are reached by another interface from now on.
fn move_to(bed: &Bed, ifindex: u32) {
    for (id, _) in &bed.world.reals {
        bed.change_hop(id.hop(), |hop| hop.ifindex = ifindex);
    }
}

fn establish(bed: &Bed, client: End, service: u16) -> Conn {
    let conn = bed.open(client, service);
    assert!(bed.send_by(&conn.down(Flags::SYN_ACK, b""), INSIDE).left());
    assert!(bed.send_by(&conn.up(Flags::ACK, b""), OUTSIDE).left());
    assert_eq!(bed.state(&conn), Some(ConnState::Established));
    conn
}

/// Every entry of both tables.
fn tables(bed: &Bed) -> Vec<(FlowKey, Flow)> {
    [Table::Flows, Table::HalfOpen].into_iter().flat_map(|table| bed.host.entries(table)).collect()
}

/// The frame ends, untouched, and nothing but the reason is counted.
#[track_caller]
fn is_not_believed(bed: &Bed, frame: &[u8], ifindex: u32) {
    let all = |bed: &Bed| bed.world.reals.iter().map(|(id, _)| bed.host.counters(*id)).collect();
    let (mut reasons, counters): (_, Vec<_>) = (bed.reasons(), all(bed));
    let entries = tables(bed);
    let sent = bed.send_by(frame, ifindex);
    assert_eq!(sent.verdict.slot(), DropReason::SpoofedReply.slot(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes, frame, "untouched");
    reasons[DropReason::SpoofedReply.slot() as usize] += 1;
    assert_eq!((bed.reasons(), all(bed), tables(bed)), (reasons, counters, entries));
}

// S-37
#[test]
fn an_answer_from_the_clients_side_ends_and_changes_nothing() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = Bed::of(world());
        let half_open = bed.open((CLIENT, 40_000), service);
        let conn = establish(&bed, (CLIENT, 40_001), service);
        for bits in 0..16 {
            let flags = Flags::from_bits(bits);
            is_not_believed(&bed, &half_open.down(flags, b""), OUTSIDE);
            is_not_believed(&bed, &conn.down(flags, b"data"), OUTSIDE);
            is_not_believed(&bed, &conn.down(flags, b"data"), ELSEWHERE);
        }
        assert!(bed.send_by(&half_open.down(Flags::SYN_ACK, b""), INSIDE).left());
        for (flags, state) in [
            (Flags::ACK, ConnState::Established),
            (Flags::FIN_ACK, ConnState::FinWait),
            (Flags::RST, ConnState::Close),
        ] {
            assert!(bed.send_by(&conn.down(flags, b""), INSIDE).left());
            assert_eq!(bed.state(&conn), Some(state));
            is_not_believed(&bed, &conn.down(Flags::ACK, b""), OUTSIDE);
        }
    }
}

// S-37
#[test]
fn datagrams_and_ipv6_are_held_to_the_same() {
    let bed = Bed::of(world());
    let at_real = bed.send(&packets::udp((CLIENT, 40_000), (VIP, world::DNS), b"question")).taken();
    let answer = packets::udp(at_real.to, at_real.from, b"answer");
    is_not_believed(&bed, &answer, OUTSIDE);
    assert!(bed.send_by(&answer, INSIDE).left());
    is_not_believed(&bed, &answer, OUTSIDE);

    let client = (Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1), 40_000);
    let syn = bed.send(&packets6::tcp(client, (VIP6, world::NAT), Flags::SYN, b""));
    let at_real = packets6::take(&syn.bytes);
    let answer = |flags| packets6::tcp(at_real.to, at_real.from, flags, b"");
    is_not_believed(&bed, &answer(Flags::SYN_ACK), OUTSIDE);
    assert!(bed.send_by(&answer(Flags::SYN_ACK), INSIDE).left());
    assert!(bed.send(&packets6::tcp(client, (VIP6, world::NAT), Flags::ACK, b"")).left());
    assert_eq!(bed.host.entries_of::<Addr6>(Table::Flows).len(), 2);
    is_not_believed(&bed, &answer(Flags::ACK), OUTSIDE);
    assert!(bed.send_by(&answer(Flags::ACK), INSIDE).left());
}

// S-37: a later fragment has no tuple of its own
#[test]
fn fragments_are_held_to_it_too() {
    let bed = Bed::of(world());
    let question = packets::udp((CLIENT, 40_000), (VIP, world::DNS), b"question");
    let at_real = bed.send(&question).taken();
    let answer = packets::udp(at_real.to, at_real.from, &[7; 64]);
    let pieces = packets::fragments(&answer, 9, &[16, 32]);
    is_not_believed(&bed, &pieces[0], OUTSIDE);
    assert_eq!(bed.host.fragments(), 0, "nothing follows it");
    assert!(bed.send_by(&pieces[0], INSIDE).left());
    is_not_believed(&bed, &pieces[1], OUTSIDE);
    assert!(bed.send_by(&pieces[1], INSIDE).left());
}

// S-37: routes change under live connections
#[test]
fn a_real_server_that_moved_to_another_interface_is_believed_from_there() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = Bed::of(world());
        let conn = establish(&bed, (CLIENT, 40_000), service);
        let half_open = bed.open((CLIENT, 40_001), service);
        is_not_believed(&bed, &conn.down(Flags::ACK, b""), ELSEWHERE);
        move_to(&bed, ELSEWHERE);
        for ifindex in [ELSEWHERE, INSIDE] {
            assert!(bed.send_by(&half_open.down(Flags::SYN_ACK, b""), ifindex).left());
            assert!(bed.send_by(&conn.down(Flags::ACK, b"data"), ifindex).left());
        }
        is_not_believed(&bed, &conn.down(Flags::ACK, b"data"), OUTSIDE);
        assert!(bed.send(&half_open.up(Flags::ACK, b"")).left());
        assert_eq!(bed.state(&half_open), Some(ConnState::Established));
        assert!(bed.send_by(&half_open.down(Flags::FIN_ACK, b""), ELSEWHERE).left());
        assert_eq!(bed.state(&half_open), Some(ConnState::FinWait));
        let new = bed.open((CLIENT, 40_002), service);
        is_not_believed(&bed, &new.down(Flags::SYN_ACK, b""), INSIDE);
        assert!(bed.send_by(&new.down(Flags::SYN_ACK, b""), ELSEWHERE).left());
    }
}

// S-37
#[test]
fn any_path_holds_for_old_flows_and_new_ones() {
    let mut bed = Bed::of(world());
    let old = establish(&bed, (CLIENT, 40_000), world::NAT);
    let set = |bed: &mut Bed, bits: u8| {
        bed.host.reals.values_mut().for_each(|real| real.flags = bits);
    };
    set(&mut bed, RealFlags::USED | RealFlags::UP | RealFlags::ANY_PATH);
    let new = bed.open((CLIENT, 40_001), world::NAT);
    for (conn, flags) in [(&old, Flags::ACK), (&old, Flags::FIN_ACK), (&new, Flags::SYN_ACK)] {
        for ifindex in [OUTSIDE, INSIDE, ELSEWHERE] {
            assert!(bed.send_by(&conn.down(flags, b""), ifindex).left());
        }
    }
    set(&mut bed, RealFlags::USED | RealFlags::UP);
    is_not_believed(&bed, &old.down(Flags::ACK, b""), OUTSIDE);
    assert!(bed.send_by(&new.down(Flags::SYN_ACK, b""), OUTSIDE).left(), "made while any held");
}

// S-37: what an older version left in the tables
#[test]
fn flows_that_remember_no_interface_go_on() {
    let bed = Bed::of(world());
    let conn = establish(&bed, (CLIENT, 40_000), world::NAT);
    for (key, mut flow) in bed.host.entries(Table::Flows) {
        flow.rewrite.from = 0;
        assert!(bed.host.remove(Table::Flows, &key));
        bed.host.insert(Table::Flows, &key, &flow).expect("room");
    }
    for ifindex in [OUTSIDE, INSIDE, ELSEWHERE] {
        assert!(bed.send_by(&conn.down(Flags::ACK, b"data"), ifindex).left());
    }
    assert!(bed.send_by(&conn.down(Flags::FIN_ACK, b""), INSIDE).left());
    assert_eq!(bed.state(&conn), Some(ConnState::FinWait));
}

// S-37: routers on any way may say that a packet cannot go on
#[test]
fn icmp_errors_are_exempt() {
    let bed = Bed::of(world());
    let conn = establish(&bed, (CLIENT, 40_000), world::NAT);
    let up = bed.send(&conn.up(Flags::ACK, b"data"));
    let quote = &packets::ip_packet(&up.bytes)[..28];
    let error = packets::icmp(conn.real.0, CLIENT, (3, 1, [0; 4]), quote);
    for ifindex in [OUTSIDE, INSIDE] {
        assert!(bed.send_by(&error, ifindex).left());
    }
}

// S-37: the number of the interface need not fit
#[test]
fn interfaces_with_large_numbers_are_told_apart() {
    let mut world = world();
    for (_, hop) in &mut world.hops {
        hop.ifindex = 0x1_0000;
    }
    let bed = Bed::of(world);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    is_not_believed(&bed, &conn.down(Flags::SYN_ACK, b""), OUTSIDE);
    assert!(bed.send_by(&conn.down(Flags::SYN_ACK, b""), 0x1_0000).left());
}
