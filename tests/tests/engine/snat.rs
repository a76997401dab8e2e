//! Full-NAT's source addresses and ports.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use lb_common::abi::{DropReason, limits};
use lb_common::wire::Addr6;
use lb_tests::packets::Flags;
use lb_tests::world::{self, LOCAL, World};

use crate::bed::{Bed, CLIENT, Conn};
use crate::counts::Counts;

/// A bed whose full-NAT service has one real server, so that its ports are all that is scarce.
fn with_one_real(world: World) -> Bed {
    let mut bed = Bed::of(world);
    bed.service_mut(world::FULL_NAT).slots_len = 1;
    bed
}

fn establish_all(bed: &Bed, count: u16) -> Vec<Conn> {
    (0..count).map(|n| bed.establish((CLIENT, 10_000 + n), world::FULL_NAT)).collect()
}

// C-24: scaled to the world's 64 ports. I-9.
#[test]
fn every_port_of_the_pool_is_used_once_and_then_the_pool_is_exhausted() {
    let bed = with_one_real(World::new(256));
    let conns = establish_all(&bed, 64);
    let locals: HashSet<_> = conns.iter().map(|conn| conn.local).collect();
    assert_eq!(locals.len(), 64, "no two flows share a source");
    assert!(
        locals.iter().all(|(address, port)| *address == LOCAL && bed.world.ports.contains(port))
    );
    for port in 11_000..11_010 {
        let refused = bed.syn((CLIENT, port), world::FULL_NAT);
        assert_eq!(refused.verdict.slot(), DropReason::SnatPortsExhausted.slot());
    }
    for conn in &conns {
        let reply = bed.send(&conn.down(Flags::ACK, b"")).taken();
        assert_eq!((reply.from, reply.to), (conn.vip, conn.client), "replies are not mixed");
    }
    Counts::of(&bed).agree();
}

// C-24: nothing is left behind by the refusals.
#[test]
fn a_freed_port_serves_the_next_flow() {
    let bed = with_one_real(World::new(256));
    let conns = establish_all(&bed, 64);
    assert!(!bed.syn((CLIENT, 11_000), world::FULL_NAT).left());
    bed.send(&conns[10].up(Flags::RST, b""));
    bed.wait(bed.world.timeout(lb_common::abi::ConnState::Close) + 1);
    assert_eq!(bed.sweep(), 1);
    // The search is bounded, so it may take a second SYN to come around to the one free port.
    let tries = 64 / limits::PORT_TRIES;
    let new = (0..tries).find_map(|_| {
        let sent = bed.syn((CLIENT, 11_000), world::FULL_NAT);
        sent.left().then(|| sent.taken())
    });
    assert_eq!(new.expect("a port is free").from, conns[10].local);
}

// C-25: with room, the first try is good.
#[test]
fn a_pool_with_room_is_searched_once() {
    let bed = with_one_real(World::new(256));
    establish_all(&bed, 32);
    let before = Counts::of(&bed).port_cursor;
    bed.open((CLIENT, 11_000), world::FULL_NAT);
    assert_eq!(Counts::of(&bed).port_cursor, before + 1);
}

// C-26: I-9, the tuple towards the real server is unique, the port alone need not be.
#[test]
fn one_local_port_serves_two_real_servers_without_mixing_replies() {
    let mut world = World::new(256);
    world.ports.truncate(4);
    world.config.ports = 4;
    let bed = Bed::of(world);
    let conns = establish_all(&bed, 8);
    let tuples: HashSet<_> = conns.iter().map(|conn| (conn.local, conn.real)).collect();
    let ports: HashSet<_> = conns.iter().map(|conn| conn.local).collect();
    assert_eq!((tuples.len(), ports.len()), (8, 4));
    for conn in &conns {
        let reply = bed.send(&conn.down(Flags::ACK, b"")).taken();
        assert_eq!((reply.from, reply.to), (conn.vip, conn.client));
    }
}

// C-28: the order is the daemon's shuffle (PORTS), walked from wherever the last flow left off; the clients' own ports
// play no part.
#[test]
fn ports_are_taken_in_the_shuffled_order_whatever_the_client() {
    let bed = with_one_real(World::new(256));
    let conns = establish_all(&bed, 64);
    let taken: Vec<u16> = conns.iter().map(|conn| conn.local.1).collect();
    assert_eq!(taken, bed.world.ports);
    assert!(taken.windows(2).all(|two| two[0].abs_diff(two[1]) != 1), "not sequential");
}

// C-29: a port that was just freed comes last.
#[test]
fn a_port_just_freed_is_not_the_next_one_taken() {
    let bed = with_one_real(World::new(256));
    let first = bed.establish((CLIENT, 10_000), world::FULL_NAT);
    bed.send(&first.up(Flags::RST, b""));
    bed.wait(bed.world.timeout(lb_common::abi::ConnState::Close) + 1);
    assert_eq!(bed.sweep(), 1);
    for n in 1..64 {
        assert_ne!(bed.open((CLIENT, 10_000 + n), world::FULL_NAT).local, first.local);
    }
    assert_eq!(bed.open((CLIENT, 10_500), world::FULL_NAT).local, first.local);
}

// C-24: several source addresses multiply the ports.
#[test]
fn all_addresses_of_a_group_are_used() {
    let mut world = World::new(256);
    world.locals = (2..5).map(|n| Addr6::from(Ipv4Addr::new(192, 168, 1, n))).collect();
    world.ports.truncate(8);
    world.config.ports = 8;
    for (_, real) in &mut world.reals {
        real.locals_len = 3;
    }
    let bed = with_one_real(world);
    let mut locals = HashSet::new();
    for n in 0..200 {
        let sent = bed.syn((CLIENT, 10_000 + n), world::FULL_NAT);
        if sent.left() {
            assert!(locals.insert(sent.taken().from), "twice");
        }
    }
    assert_eq!(locals.len(), 24, "3 addresses of 8 ports");
    Counts::of(&bed).agree();
}

// C-24: no ports at all, or addresses that are not there.
#[test]
fn a_pool_that_is_not_there_is_exhausted_from_the_start() {
    for damage in [
        (|bed: &mut Bed| bed.host.config.ports = 0) as fn(&mut Bed),
        |bed| bed.host.ports.clear(),
        |bed| bed.host.locals.clear(),
    ] {
        let mut bed = with_one_real(World::new(256));
        damage(&mut bed);
        let refused = bed.syn((CLIENT, 10_000), world::FULL_NAT);
        assert_eq!(refused.verdict.slot(), DropReason::SnatPortsExhausted.slot());
    }
}
