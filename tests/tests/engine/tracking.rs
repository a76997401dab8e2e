//! The flow tables when they fill, and flows whose real server changes underneath them.

use std::net::Ipv4Addr;

use lb_common::abi::{ConnState, DropReason, Gauge, HopState, limits};
use lb_common::engine::Action;
use lb_common::engine::tables::{InsertError, Table};
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, REALS, VIP, World};

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

// C-06: as many flows as a client has ports, each found again in both directions.
#[test]
fn every_port_of_a_client_is_a_flow_of_its_own() {
    let bed = Bed::new(1 << 16);
    let conns: Vec<_> =
        (0..=u16::MAX).map(|port| bed.establish((CLIENT, port), world::NAT)).collect();
    assert_eq!(bed.host.gauge(Gauge::Flows), 1 << 16);
    assert_eq!(bed.pairs(Table::Flows), 1 << 16);
    for (number, conn) in conns.iter().enumerate() {
        assert_eq!(conn.real, REALS[number % 2]);
        let up = bed.send(&conn.up(Flags::ACK, b""));
        let down = bed.send(&conn.down(Flags::ACK, b""));
        assert!(up.left() && down.left());
        assert_eq!(up.bytes[34..36], conn.client.1.to_be_bytes());
        assert_eq!(down.bytes[36..38], conn.client.1.to_be_bytes());
    }
}

// C-07
#[test]
fn a_full_flow_table_refuses_new_flows_and_throws_nobody_out() {
    let bed = Bed::new(100);
    let conns: Vec<_> = (0..100).map(|n| bed.establish((CLIENT, 1_000 + n), world::NAT)).collect();
    let before = bed.host.entries(Table::Flows);
    for port in 2_000..2_100 {
        let refused = bed.syn((CLIENT, port), world::NAT);
        assert_eq!(refused.verdict.slot(), DropReason::FlowTableFull.slot());
    }
    assert_eq!(bed.host.entries(Table::Flows), before);
    assert!(bed.host.entries(Table::HalfOpen).is_empty());
    for conn in &conns {
        assert!(bed.send(&conn.up(Flags::ACK, b"")).left());
    }
    bed.send(&conns[0].up(Flags::RST, b""));
    bed.wait(bed.world.timeout(ConnState::Close) + 1);
    assert_eq!(bed.sweep(), 1);
    assert!(bed.syn((CLIENT, 2_000), world::NAT).left(), "there is room again");
}

// C-07: handshakes that were under way when the table filled wait; they are not lost.
#[test]
fn a_handshake_that_finds_the_table_full_ends_when_there_is_room() {
    let bed = Bed::new(4);
    let conns: Vec<_> = (0..6).map(|n| bed.open((CLIENT, 1_000 + n), world::NAT)).collect();
    let mut left = 0;
    for conn in &conns {
        assert!(bed.send(&conn.down(Flags::SYN_ACK, b"")).left());
        let third = bed.send(&conn.up(Flags::ACK, b""));
        if !third.left() {
            assert_eq!(third.verdict.slot(), DropReason::FlowTableFull.slot());
        }
        left += usize::from(third.left());
        Counts::of(&bed).agree();
    }
    assert_eq!(left, 4);
    bed.send(&conns[0].up(Flags::RST, b""));
    bed.wait(bed.world.timeout(ConnState::Close) + 1);
    assert_eq!(bed.sweep(), 1);
    assert!(bed.send(&conns[4].up(Flags::ACK, b"")).left());
    assert_eq!(bed.state(&conns[4]), Some(ConnState::Established));
    Counts::of(&bed).agree();
}

// C-07: room for one of the two entries is no room.
#[test]
fn a_pair_that_fits_only_by_half_is_not_promoted() {
    let bed = Bed::new(4);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    bed.send(&conn.down(Flags::SYN_ACK, b""));
    bed.obstacle.set(Some(|_, table, key| {
        (table == Table::Flows && key.dst == VIP.into()).then_some(InsertError::Full)
    }));
    let mut right = Counts::of(&bed);
    assert!(!bed.send(&conn.up(Flags::ACK, b"")).left());
    right.raise("flow_table_full");
    assert_eq!(Counts::of(&bed), right);
    bed.obstacle.set(None);
    assert!(bed.send(&conn.up(Flags::ACK, b"")).left());
    Counts::of(&bed).agree();
}

// C-08: HALF_OPEN4 turned over more than once; established flows, idle ones too, are untouched.
#[test]
fn a_flood_of_syns_pushes_out_the_oldest_half_open_flows_only() {
    let bed = Bed::new(100);
    let idle: Vec<_> = (0..50).map(|n| bed.establish((CLIENT, 1_000 + n), world::NAT)).collect();
    let before = bed.host.entries(Table::Flows);
    let first = bed.open((CLIENT, 2_000), world::NAT);
    let capacity = 65_536;
    for n in 0..capacity + 100_u32 {
        let source = Ipv4Addr::from(0x0b00_0000 + n);
        assert!(bed.syn((source, 1_024), world::NAT).left());
    }
    assert_eq!(bed.host.entries(Table::HalfOpen).len(), 2 * capacity as usize);
    assert_eq!(bed.half_open_state(&first), None, "the oldest went");
    let newest = Ipv4Addr::from(0x0b00_0000 + capacity + 99);
    let again = bed.syn((newest, 1_024), world::NAT);
    assert!(again.left());
    assert_eq!(
        bed.host.entries(Table::HalfOpen).len(),
        2 * capacity as usize,
        "the newest was there"
    );
    assert_eq!(bed.host.entries(Table::Flows), before);
    for conn in &idle {
        assert!(bed.send(&conn.down(Flags::ACK, b"")).left());
    }
    let back = bed.syn(first.client, world::NAT);
    assert!(back.left(), "who was pushed out begins again");
}

// C-20, C-22: real servers answer every SYN, and still nothing reaches FLOWS4.
#[test]
fn an_answered_syn_flood_stays_out_of_the_flow_table() {
    let bed = Bed::new(10);
    let alive: Vec<_> = (0..5).map(|n| bed.establish((CLIENT, 1_000 + n), world::NAT)).collect();
    for n in 0..2_000_u32 {
        let source = (Ipv4Addr::from(0x0b00_0000 + n), 1_024);
        let conn = bed.open(source, world::NAT);
        assert!(bed.send(&conn.down(Flags::SYN_ACK, b"")).left());
        assert!(bed.send(&conn.down(Flags::SYN_ACK, b"")).left());
    }
    assert_eq!(bed.host.gauge(Gauge::Flows), 5);
    assert_eq!(bed.pairs(Table::Flows), 5);
    assert_eq!(bed.pairs(Table::HalfOpen), 2_000);
    for conn in &alive {
        assert!(bed.send(&conn.up(Flags::ACK, b"")).left());
    }
    bed.establish((CLIENT, 2_000), world::NAT);
    // C-23: the flood is over, and with it its flows.
    bed.wait(bed.world.timeout(ConnState::SynRecv) + 1);
    assert_eq!(bed.sweep(), 2_000);
    Counts::of(&bed).agree();
}

// C-21: datagrams from everywhere, one each.
#[test]
fn a_flood_of_datagrams_stays_out_of_the_flow_table() {
    let bed = Bed::new(10);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    for n in 0..2_000_u32 {
        let frame = packets::udp((Ipv4Addr::from(0x0b00_0000 + n), 1_024), (VIP, world::DNS), b"x");
        assert!(bed.send(&frame).left());
    }
    assert_eq!(bed.host.gauge(Gauge::Flows), 1);
    assert!(bed.send(&conn.up(Flags::ACK, b"")).left());
}

// C-42
#[test]
fn a_drained_real_server_keeps_its_flows_and_gets_no_new_ones() {
    let mut bed = Bed::new(64);
    let conns: Vec<_> = (0..10).map(|n| bed.establish((CLIENT, 1_000 + n), world::NAT)).collect();
    let half_open = bed.open((CLIENT, 1_999), world::NAT);
    assert_eq!(half_open.real, REALS[0]);
    // What the daemon writes for weight 0: the slot table without it, the weight in REALS.
    let slots_at = bed.service_mut(world::NAT).slots_at as usize;
    let drained = bed.host.slots[slots_at];
    bed.host.slots[slots_at] = bed.host.slots[slots_at + 1];
    bed.service_mut(world::NAT).slots_len = 1;
    bed.host.reals.get_mut(&drained).expect("it").weight = 0;
    for conn in &conns {
        assert!(bed.send(&conn.up(Flags::ACK, b"")).left());
        assert!(bed.send(&conn.down(Flags::ACK, b"")).left());
    }
    assert!(bed.send(&half_open.down(Flags::SYN_ACK, b"")).left());
    assert!(bed.send(&half_open.up(Flags::ACK, b"")).left(), "a handshake under way ends well");
    for port in 3_000..3_010 {
        assert_eq!(bed.establish((CLIENT, port), world::NAT).real, REALS[1]);
    }
    assert_eq!(bed.host.load_of(drained), (6, 0, 0));
}

// C-44
#[test]
fn flows_of_a_removed_real_server_go_on_when_it_is_back() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = Bed::new(64);
        let conn = bed.establish((CLIENT, 40_000), service);
        let hop = bed.real_of(&conn).hop();
        let before = bed.host.entries(Table::Flows);
        bed.change_hop(hop, |hop| hop.state = HopState::Gone as u8);
        let mut right = Counts::of(&bed);
        for flags in [Flags::ACK, Flags::ACK] {
            let frame = conn.up(flags, b"lost");
            let sent = bed.send(&frame);
            assert_eq!(sent.verdict.slot(), DropReason::RealGone.slot());
            assert_eq!(sent.bytes, frame);
            right.raise("real_gone");
        }
        assert_eq!(Counts::of(&bed), right, "silent, and the flow is kept");
        bed.change_hop(hop, |hop| hop.state = HopState::Valid as u8);
        assert!(bed.send(&conn.up(Flags::ACK, b"again")).left());
        assert!(bed.send(&conn.down(Flags::ACK, b"again")).left());
        assert_eq!(bed.host.entries(Table::Flows), before);
    }
}

// The neighbour's address changed: existing flows go to the new one with the next packet.
#[test]
fn a_moved_neighbour_is_followed_at_once() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let new = lb_common::wire::Mac([2, 0, 0, 0, 9, 9]);
    bed.change_hop(bed.real_of(&conn).hop(), |hop| hop.dst = new);
    assert_eq!(bed.send(&conn.up(Flags::ACK, b"")).taken().dst_mac, new.0);
}

// Replies go back to the router that the client's packet came from, each to its own.
#[test]
fn each_client_is_answered_through_its_own_router() {
    let bed = Bed::new(64);
    for router in 101..=120_u8 {
        let client = (CLIENT, 1_000 + u16::from(router));
        let mut syn = packets::tcp(client, (VIP, world::NAT), Flags::SYN, b"");
        syn[11] = router;
        let at_real = bed.send(&syn).taken();
        let reply = bed.send(&packets::tcp(at_real.to, at_real.from, Flags::SYN_ACK, b"")).taken();
        assert_eq!(reply.dst_mac, [2, 0, 0, 0, 0, router]);
        assert_eq!(reply.src_mac, packets::OUR_MAC);
    }
    assert_eq!(bed.host.gauge(Gauge::HopCursor), 20, "learned once each");
    bed.open((CLIENT, 2_000), world::NAT);
    bed.open((CLIENT, 2_001), world::NAT);
    assert_eq!(bed.host.gauge(Gauge::HopCursor), 21);
    assert!(bed.host.gauge(Gauge::HopCursor) < limits::HOPS);
}

// P-52, P-72: a packet of exactly the MTU passes; a larger one does not, whoever is told.
#[test]
fn the_mtu_of_the_way_out_is_the_limit() {
    let bed = Bed::of(World::new(64));
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    for (payload, passes) in [(1_460, true), (1_461, false)] {
        for frame in
            [conn.up(Flags::ACK, &vec![b'x'; payload]), conn.down(Flags::ACK, &vec![b'x'; payload])]
        {
            let sent = bed.send(&frame);
            assert_eq!(sent.left(), passes, "{payload}");
            if !passes {
                assert_eq!(sent.verdict.slot(), DropReason::MtuExceeded.slot());
            }
        }
    }
    bed.change_hop(bed.real_of(&conn).hop(), |hop| hop.mtu = 9_000);
    assert!(bed.send(&conn.up(Flags::ACK, &[b'x'; 8_960])).left());
}

// P-53: nobody fragments it, and nobody is told: only a sender that forbids fragmentation listens.
#[test]
fn a_large_packet_that_may_be_fragmented_ends_here() {
    let bed = Bed::of(World::new(64));
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let mut frame = conn.up(Flags::ACK, &[b'x'; 1_461]);
    frame[20] = 0;
    packets::refresh_ip_checksum(&mut frame);
    let sent = bed.send(&frame);
    assert_eq!(sent.verdict.slot(), DropReason::MtuExceeded.slot());
    assert_eq!((sent.verdict.action(), sent.bytes), (Action::Drop, frame));
}

// P-61
#[test]
fn data_in_a_syn_is_delivered_with_it() {
    let bed = Bed::of(World::new(64));
    for service in [world::NAT, world::FULL_NAT] {
        let request = b"GET / HTTP/1.1";
        let syn = packets::tcp((CLIENT, 40_000), (VIP, service), Flags::SYN, request);
        let at_real = bed.send(&syn).taken();
        assert_eq!(at_real.payload, request);
        assert_eq!(bed.send(&syn).taken(), at_real, "sent again, it goes where it went");
        let reply = packets::tcp(at_real.to, at_real.from, Flags::SYN_ACK, b"HTTP/1.1 200 OK");
        assert_eq!(bed.send(&reply).taken().payload, b"HTTP/1.1 200 OK");
    }
}
