//! Order and contents of plans, case by case. The general claims are in `proptests`.

use std::time::Duration;

use lb_common::abi::{HopState, RealFlags, limits};

use super::*;
use crate::config::model::{Kind, Scheduler};
use crate::control::arena::GRACE;
use crate::control::event::Event;
use crate::control::testing::{Fault, World, key, model, real, service};

fn two() -> crate::config::model::Config {
    model(vec![service(80, Scheduler::Rr, vec![real(1, 1), real(2, 1)])])
}

#[test]
fn new_service_comes_after_all_it_refers_to() {
    let world = World::serving(two());
    let kinds: Vec<&str> = world
        .fake
        .log
        .iter()
        .take(7)
        .map(|op| match op {
            MapOp::PutConfig(_) => "config",
            MapOp::ResetReal { .. } => "reset",
            MapOp::PutReal { .. } => "real",
            MapOp::PutSlots { .. } => "slots",
            MapOp::PutService { .. } => "service",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["config", "reset", "real", "reset", "real", "slots", "service"]);
}

#[test] // K-04
fn same_configuration_again_writes_nothing() {
    let mut world = World::serving(two());
    let before = world.fake.log.len();
    world.configure(two()).unwrap();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.fake.log.len(), before);
    assert_eq!(world.effects.len(), 1, "{:?}", world.effects);
}

#[test] // K-05
fn removed_real_server_becomes_a_tombstone_and_comes_back_with_its_id() {
    let mut world = World::serving(two());
    let id = world.id(80, 1);
    let hop = world.fake.hops[id.0 as usize];
    world.configure(model(vec![service(80, Scheduler::Rr, vec![real(2, 1)])])).unwrap();
    let tombstone = world.fake.reals[id.0 as usize];
    assert_eq!(tombstone.flags, RealFlags::USED | RealFlags::REMOVED);
    assert_eq!(world.fake.hops[id.0 as usize].state, HopState::Gone as u8);
    assert_eq!(world.table(80), [2]);

    world.configure(two()).unwrap();
    assert_eq!(world.id(80, 1), id);
    assert_eq!(world.fake.reals[id.0 as usize].flags, RealFlags::USED | RealFlags::UP);
    // Its neighbour is asked for anew; the address is known as soon as it is reported.
    world.event(Event::Hop {
        destination: crate::control::testing::real_ip(1).into(),
        hop: Some(crate::control::testing::resolved(1)),
    });
    assert_eq!(world.fake.hops[id.0 as usize], hop);
    assert_eq!(world.table(80), [2, 1]);
    let resets = |op: &&MapOp| **op == MapOp::ResetReal { id };
    assert_eq!(world.fake.log.iter().filter(resets).count(), 1);
}

#[test]
fn id_of_an_emptied_tombstone_is_free_and_reset_before_its_next_use() {
    let mut world = World::serving(two());
    let id = world.id(80, 1);
    world.configure(model(vec![service(80, Scheduler::Rr, vec![real(2, 1)])])).unwrap();
    world.event(Event::RealsEmpty(vec![id, world.id(80, 2)]));
    assert_eq!(world.fake.reals[id.0 as usize], Real::default());
    assert_eq!(world.fake.hops[id.0 as usize], NextHop::default());
    // Its counts are moved while its entry still says whose they are.
    let at = |wanted: &MapOp| world.fake.log.iter().position(|op| op == wanted);
    let retired = at(&MapOp::RetireReal { id, service: key(80) });
    assert!(retired.is_some() && retired < at(&MapOp::PutReal { id, real: Real::default() }));
    // Only tombstones are freed.
    assert_eq!(world.table(80), [2]);
    assert!(world.state.tombstones().next().is_none());

    // Ids go round: the freed one is the last to be taken.
    let many = (1..=limits::SCAN).map(|n| (n % 250) as u8);
    let mut seen = 0;
    for n in many {
        let list = vec![real(2, 1), real(n.max(3), 1)];
        world.configure(model(vec![service(80, Scheduler::Rr, list)])).unwrap();
        let tombstones: Vec<_> = world.state.tombstones().collect();
        world.event(Event::RealsEmpty(tombstones));
        seen += 1;
    }
    assert_eq!(seen, limits::SCAN);
    assert_ne!(world.id(80, 6), id);
}

#[test] // K-11
fn all_virtual_servers_gone_leaves_tombstones_only() {
    let mut world = World::serving(two());
    world.configure(model(vec![])).unwrap();
    assert!(world.fake.services.is_empty());
    let tombstones: Vec<_> = world.state.tombstones().collect();
    assert_eq!(tombstones.len(), 2);
    world.event(Event::RealsEmpty(tombstones));
    assert!(world.fake.reals.iter().all(|real| *real == Real::default()));
    assert!(world.state.is_settled());
}

#[test]
fn old_slot_table_is_not_overwritten_within_the_grace_period() {
    let mut world = World::serving(two());
    let first = world.fake.services[&key(80)].slots_at;
    let three = vec![real(1, 1), real(2, 1), real(3, 1)];
    world.configure(model(vec![service(80, Scheduler::Rr, three)])).unwrap();
    let second = world.fake.services[&key(80)].slots_at;
    world.configure(two()).unwrap();
    let third = world.fake.services[&key(80)].slots_at;
    assert!(first != second && second != third && first != third);
    assert!(third > second && second > first);
    world.pass(GRACE);
    world.configure(model(vec![service(80, Scheduler::Rr, vec![real(1, 1)])])).unwrap();
    assert!(world.fake.services[&key(80)].slots_at <= first);
}

#[test]
fn equal_lists_of_local_addresses_are_stored_once() {
    let full_nat = |n| crate::config::model::RealServer { kind: Kind::FullNat, ..real(n, 1) };
    let world = World::serving(model(vec![
        service(80, Scheduler::Rr, vec![full_nat(1), full_nat(2)]),
        service(81, Scheduler::Rr, vec![full_nat(1)]),
    ]));
    let puts = world.fake.log.iter().filter(|op| matches!(op, MapOp::PutLocals { .. }));
    assert_eq!(puts.count(), 1);
    assert_eq!(world.fake.reals[world.id(81, 1).0 as usize].locals_len, 1);
    assert_eq!(world.fake.config.ports, 64_512 - 28_232);
    assert!(world.fake.ports[0] >= 1024);
}

#[test]
fn next_hop_whose_real_server_was_never_written_is_taken_back() {
    let mut world = World::serving(two());
    let three = vec![real(1, 1), real(2, 1), real(3, 1)];
    // Reset, next hop; the real server itself does not take.
    world.fault = Some(Fault::Fail(3));
    world.configure(model(vec![service(80, Scheduler::Rr, three)])).unwrap();
    let id = world.id(80, 3);
    assert!(world.fake.hops[id.0 as usize] != NextHop::default());
    assert!(world.fake.reals.get(id.0 as usize).is_none_or(|real| real.flags == 0));
    world.configure(two()).unwrap();
    assert_eq!(world.fake.hops[id.0 as usize], NextHop::default());
}

#[test]
fn switch_waits_when_slots_are_short_and_is_made_up_for() {
    let mut world = World::serving(two());
    // Everything but a little is taken.
    world.pass(GRACE);
    world.state.arenas.slots.alloc(limits::SLOTS - 10, world.now).unwrap();
    let more: Vec<_> = [2, 3, 4, 5, 6, 7].into_iter().cycle().take(60).collect();
    let more = (0u8..).zip(more).map(|(n, weight)| real(n.saturating_add(2), weight)).collect();
    world.configure(model(vec![service(80, Scheduler::Wrr, more)])).unwrap();
    assert_eq!(world.table(80), [2, 1], "the old table stays, and with it the removed real server");
    assert!(world.state.unapplied() > 0);
    let gone = world.id(80, 1);
    assert_eq!(world.fake.reals[gone.0 as usize].flags & RealFlags::REMOVED, 0);
    world.pass(GRACE);
    assert!(world.table(80).len() > 10);
    assert_eq!(world.state.unapplied(), 0);
    assert_ne!(world.fake.reals[gone.0 as usize].flags & RealFlags::REMOVED, 0);
}
