//! Events, case by case.

use std::net::IpAddr;
use std::time::Duration;

use lb_common::abi::{RealFlags, Timeouts};

use super::*;
use crate::config::model::{Kind, RealServer, Scheduler};
use crate::control::testing::{
    Fault, World, check, ident, model, real, real_ip, resolved, service,
};
use crate::control::view::view;
use crate::dataplane::{Dataplane, MapOp};

fn three() -> model::Config {
    model(vec![service(80, Scheduler::Rr, vec![real(1, 1), real(2, 1), real(3, 1)])])
}

fn flags(world: &World, n: u8) -> u8 {
    world.fake.reals[world.id(80, n).0 as usize].flags
}

#[test]
fn real_server_that_fails_leaves_the_table_and_returns() {
    let mut world = World::serving(three());
    world.event(check(80, 2, Status::Down));
    assert_eq!(world.table(80), [3, 1]);
    assert_eq!(flags(&world, 2), RealFlags::USED);
    assert!(world.logged(|entry| matches!(entry, LogEntry::RealDown { .. })));
    world.event(check(80, 2, Status::Up));
    assert_eq!(world.table(80), [3, 2, 1]);
    assert_eq!(flags(&world, 2), RealFlags::USED | RealFlags::UP);
}

#[test] // K-48
fn inhibited_real_server_stays_up_for_its_clients_with_weight_0() {
    let inhibited = RealServer { inhibit_on_failure: true, ..real(1, 5) };
    let list = vec![inhibited, real(2, 1)];
    let mut world = World::serving(model(vec![service(80, Scheduler::Wlc, list)]));
    world.event(check(80, 1, Status::Down));
    assert_eq!(world.table(80), [2]);
    assert_eq!(flags(&world, 1), RealFlags::USED | RealFlags::UP);
    assert_eq!(world.fake.reals[world.id(80, 1).0 as usize].weight, 0);
    // Found so after a restart: down until a check passes.
    let config = world.state.model().clone();
    world.restart();
    world.configure(config).unwrap();
    assert_eq!(world.table(80), [2]);
}

#[test]
fn weight_0_is_quiesced_but_up() {
    let mut world = World::serving(three());
    let list = vec![real(1, 1), real(2, 0), real(3, 1)];
    world.configure(model(vec![service(80, Scheduler::Rr, list)])).unwrap();
    assert_eq!(world.table(80), [3, 1]);
    assert_eq!(flags(&world, 2), RealFlags::USED | RealFlags::UP);
}

#[test] // K-48
fn alpha_starts_down_and_enters_when_its_checks_pass() {
    let alpha = RealServer { alpha: true, ..real(1, 1) };
    let mut world =
        World::serving(model(vec![service(80, Scheduler::Rr, vec![alpha, real(2, 1)])]));
    assert_eq!(world.table(80), [2]);
    world.event(check(80, 1, Status::Up));
    assert_eq!(world.table(80), [2, 1]);
}

#[test] // K-08, K-09
fn failed_real_server_stays_down_over_reloads_even_with_another_checker() {
    let mut world = World::serving(three());
    world.event(check(80, 2, Status::Down));
    let mut changed = three();
    changed.virtual_servers[0].real_servers[1].checkers[0].retry = 7;
    changed.virtual_servers[0].real_servers[0].weight = 2;
    world.effects.clear();
    world.configure(changed).unwrap();
    assert_eq!(world.table(80), [3, 1]);
    let wanted = world.effects.iter().find_map(|effect| match effect {
        Effect::SetChecks(checks) => Some(checks.iter().map(|check| check.initial).collect()),
        _ => None,
    });
    assert_eq!(wanted, Some(vec![Initial::Up, Initial::Down, Initial::Up]));
    world.event(check(80, 2, Status::Up));
    assert_eq!(world.table(80), [3, 2, 1]);
}

#[test]
fn real_server_whose_last_checker_goes_comes_up() {
    let mut world = World::serving(three());
    world.event(check(80, 2, Status::Down));
    let mut changed = three();
    changed.virtual_servers[0].real_servers[1].checkers.clear();
    world.configure(changed).unwrap();
    assert_eq!(world.table(80), [3, 2, 1]);
}

#[test] // K-08, K-16
fn restart_changes_nothing_that_forwards_and_keeps_the_failed_out() {
    let mut world = World::serving(three());
    world.event(check(80, 2, Status::Down));
    let before = world.fake.snapshot().unwrap();
    let writes = world.fake.log.len();
    world.restart();
    world.configure(three()).unwrap();
    let after = world.fake.snapshot().unwrap();
    assert_eq!(before.services, after.services);
    assert_eq!(before.reals, after.reals);
    assert_eq!(before.hops, after.hops);
    assert_eq!(before.config.generation + 1, after.config.generation);
    let only_config = |op: &MapOp| matches!(op, MapOp::PutConfig(_));
    assert!(world.fake.log[writes..].iter().all(only_config), "{:?}", &world.fake.log[writes..]);
    world.event(check(80, 2, Status::Up));
    assert_eq!(world.table(80), [3, 2, 1]);
}

#[test] // K-03
fn refused_configuration_changes_nothing() {
    let mut world = World::serving(three());
    let before = view(&world.state);
    let too_many = (0..257u16).map(|n| RealServer {
        ip: IpAddr::V4([198, 51, (100 + n / 256) as u8, n as u8].into()),
        ..real(1, 1)
    });
    let error =
        world.configure(model(vec![service(80, Scheduler::Lc, too_many.collect())])).unwrap_err();
    assert!(matches!(error, ControlError::Slots { .. }), "{error}");
    assert_eq!(view(&world.state), before);
    world.event(Event::Config(Box::new(model(vec![service(
        80,
        Scheduler::Rr,
        vec![RealServer { kind: Kind::FullNat, ..real(1, 1) }],
    )]))));
    assert!(!world.logged(|entry| matches!(entry, LogEntry::ConfigRefused { .. })));
}

#[test]
fn nat_on_one_arm_is_refused_with_the_reason() {
    let one_arm = super::super::Host { interfaces: 1, ..crate::control::testing::host() };
    let mut state = State::new(one_arm, HostPorts::default());
    let now = Instant::now();
    let error = configure(&mut state, three(), now).unwrap_err();
    assert!(matches!(error, ControlError::NatOnOneArm { .. }));
    assert!(error.to_string().contains("lb_kind FNAT"));
    assert!(!state.configured);
    let full_nat = RealServer { kind: Kind::FullNat, ..real(1, 1) };
    configure(&mut state, model(vec![service(80, Scheduler::Rr, vec![full_nat])]), now).unwrap();
}

#[test]
fn full_nat_without_a_free_port_is_refused_and_names_the_sysctl() {
    let ports = HostPorts { ephemeral: 1024..=65_535, ..HostPorts::default() };
    let mut state = State::new(crate::control::testing::host(), ports);
    let full_nat = RealServer { kind: Kind::FullNat, ..real(1, 1) };
    let config = model(vec![service(80, Scheduler::Rr, vec![full_nat])]);
    let error = configure(&mut state, config, Instant::now()).unwrap_err();
    assert!(error.to_string().contains("ip_local_port_range"));
    // NAT needs none.
    configure(&mut state, three(), Instant::now()).unwrap();
}

#[test]
fn unresolved_real_server_waits_while_another_can_be_reached() {
    let mut world = World::new();
    world.configure(three()).unwrap();
    assert_eq!(world.table(80), [3, 2, 1], "nobody is resolved: all are tried");
    world.event(Event::Hop { destination: real_ip(1).into(), hop: Some(resolved(1)) });
    assert_eq!(world.table(80), [1]);
    world.event(Event::Hop { destination: real_ip(2).into(), hop: None });
    assert_eq!(world.table(80), [1]);
    world.event(Event::Hop { destination: real_ip(2).into(), hop: Some(resolved(2)) });
    assert_eq!(world.table(80), [2, 1]);
}

#[test] // K-36
fn lost_neighbour_is_not_sent_to_but_its_checks_decide() {
    let mut world = World::serving(three());
    world.event(Event::Hop { destination: real_ip(2).into(), hop: None });
    assert_eq!(world.table(80), [3, 2, 1]);
    let id = world.id(80, 2);
    assert_eq!(world.fake.hops[id.0 as usize], NextHop::default());
}

#[test] // K-35
fn new_link_layer_address_of_a_real_server_is_one_write() {
    let mut world = World::serving(three());
    let writes = world.fake.log.len();
    world.event(Event::Hop { destination: real_ip(2).into(), hop: Some(resolved(99)) });
    let hop = resolved(99).next_hop();
    assert_eq!(world.fake.log[writes..], [MapOp::PutHop { id: world.id(80, 2).hop(), hop }]);
}

#[test]
fn failed_operation_is_told_and_tried_again() {
    let mut world = World::serving(three());
    world.fault = Some(Fault::Fail(1));
    world.event(check(80, 2, Status::Down));
    assert_eq!(world.table(80), [3, 2, 1]);
    assert!(world.state.unapplied() > 0);
    assert!(world.logged(|entry| matches!(entry, LogEntry::ApplyFailed { at: 1, .. })));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.table(80), [3, 1]);
    assert_eq!(world.state.unapplied(), 0);
    assert!(world.logged(|entry| *entry == LogEntry::ApplyRecovered));
}

#[test] // K-10
fn events_while_operations_are_out_are_planned_together() {
    let mut world = World::serving(three());
    let now = world.now;
    let first = step(&mut world.state, check(80, 1, Status::Down), now);
    assert!(first.iter().any(|effect| matches!(effect, Effect::Apply(_))));
    for event in [check(80, 2, Status::Down), check(80, 1, Status::Up)] {
        let effects = step(&mut world.state, event, now);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Apply(_))));
    }
    let Some(Effect::Apply(ops)) = first.last() else { panic!("{first:?}") };
    world.fake.apply(ops).unwrap();
    world.event(Event::Applied { failed: None });
    assert_eq!(world.table(80), [3, 1]);
}

#[test] // K-12
fn tables_edited_behind_our_back_are_put_right() {
    let mut world = World::serving(three());
    let wanted = world.fake.snapshot().unwrap();
    world.fake.services.clear();
    let id = world.id(80, 1);
    world.fake.reals[id.0 as usize].flags = 0;
    let found = world.fake.snapshot().unwrap();
    world.event(Event::Restored(Box::new(found)));
    assert!(world.logged(|entry| *entry == LogEntry::TablesDiffered));
    let mended = world.fake.snapshot().unwrap();
    assert_eq!(mended.reals, wanted.reals);
    assert_eq!(world.table(80), [3, 2, 1]);
}

#[test]
fn moved_neighbour_is_passed_on_for_learned_hops() {
    let mut world = World::serving(three());
    let (from, to) = (resolved(1).dst, resolved(2).dst);
    world.event(Event::MacMoved { ifindex: 2, from, to });
    assert_eq!(world.effects, [Effect::RewriteLearned { ifindex: 2, from, to }]);
}

#[test]
fn changed_ports_are_written_only_when_the_set_changes() {
    let full_nat = RealServer { kind: Kind::FullNat, ..real(1, 1) };
    let mut world = World::serving(model(vec![service(80, Scheduler::Rr, vec![full_nat])]));
    let writes = world.fake.log.len();
    // Outside of what full-NAT uses anyway.
    let bound = |port| HostPorts { bound: [port].into(), ..HostPorts::default() };
    world.event(Event::HostPorts(bound(22)));
    assert_eq!(world.fake.log.len(), writes);
    world.event(Event::HostPorts(bound(5432)));
    assert_eq!(world.fake.log.len(), writes + 2);
    assert!(!world.fake.ports[..world.fake.config.ports as usize].contains(&5432));
    world.event(Event::HostPorts(HostPorts { ephemeral: 1024..=65_535, ..bound(1) }));
    assert!(world.logged(|entry| matches!(entry, LogEntry::PortsRefused { .. })));
    assert_eq!(world.fake.log.len(), writes + 2);
}

#[test]
fn timeouts_are_in_ticks_and_lvs_timeouts_count() {
    let mut config = three();
    config.globals.timeout_tcp_fin = Some(Duration::from_secs(30));
    config.globals.timeout_udp = Some(Duration::ZERO);
    let world = World::serving(config);
    let timeouts = world.fake.config.timeouts.by_state;
    let ticks = |seconds: u32| (seconds * 4000).div_ceil(1024);
    assert_eq!(timeouts[1], ticks(900));
    assert_eq!(timeouts[4], ticks(30));
    assert_eq!(timeouts[11], ticks(Timeouts::IPVS_SECONDS[11]));
}

#[test]
fn view_shows_health_reason_and_tombstones() {
    let mut world = World::serving(three());
    world.event(check(80, 2, Status::Down));
    world.configure(model(vec![service(80, Scheduler::Rr, vec![real(2, 4)])])).unwrap();
    let view = view(&world.state);
    assert_eq!(view.generation, 2);
    assert_eq!(view.services[0].ident, ident(80));
    let real = &view.services[0].reals[0];
    assert_eq!((real.health, real.weight, real.effective_weight), (Some(Status::Down), 4, 0));
    assert_eq!(real.health_reason, "test");
    assert_eq!(view.tombstones.len(), 2);
}

fn with_sorry(kind: Kind) -> model::Config {
    let mut config = three();
    config.virtual_servers[0].sorry_server = Some(model::SorryServer {
        ip: IpAddr::V4(real_ip(7)),
        port: 80,
        kind,
        tunnel: None,
        inhibit: false,
    });
    config
}

#[test] // K-46
fn sorry_server_takes_over_when_all_are_down_and_leaves_again() {
    let mut world = World::serving(with_sorry(Kind::Nat));
    assert_eq!(world.table(80), [3, 2, 1]);
    assert_eq!(flags(&world, 7), RealFlags::USED);
    for n in 1..=3 {
        world.event(check(80, n, Status::Down));
    }
    assert_eq!(world.table(80), [7]);
    assert_eq!(flags(&world, 7), RealFlags::USED | RealFlags::UP);
    assert!(view(&world.state).services[0].sorry_active);
    world.event(check(80, 2, Status::Up));
    assert_eq!(world.table(80), [2]);
    let quorum = |effect: &Effect| match effect {
        Effect::Quorum { is_up, sorry_active, .. } => Some((*is_up, *sorry_active)),
        _ => None,
    };
    let changes: Vec<_> = world.effects.iter().filter_map(quorum).collect();
    assert_eq!(changes, [(false, true), (true, false)]);
}

#[test] // K-46, K-47
fn live_real_servers_wait_while_the_sorry_server_is_active() {
    let mut config = with_sorry(Kind::Nat);
    config.virtual_servers[0].quorum = 3;
    config.virtual_servers[0].real_servers[0].inhibit_on_failure = true;
    let mut world = World::serving(config);
    assert_eq!(world.table(80), [3, 2, 1]);
    world.event(check(80, 2, Status::Down));
    assert_eq!(world.table(80), [7]);
    assert_eq!(flags(&world, 1), RealFlags::USED | RealFlags::UP);
    assert_eq!(flags(&world, 3), RealFlags::USED);
    world.event(check(80, 2, Status::Up));
    assert_eq!(world.table(80), [3, 2, 1]);
}

#[test]
fn quorum_without_a_sorry_server_leaves_the_rest_serving() {
    let mut config = three();
    config.virtual_servers[0].quorum = 3;
    let mut world = World::serving(config);
    world.event(check(80, 2, Status::Down));
    assert_eq!(world.table(80), [3, 1]);
    assert!(!view(&world.state).services[0].quorum_up);
}

#[test]
fn real_server_that_is_also_the_sorry_server_serves_as_such() {
    let mut config = with_sorry(Kind::Nat);
    config.virtual_servers[0].real_servers.push(real(7, 3));
    let mut world = World::serving(config);
    for n in [1, 2, 3, 7] {
        world.event(check(80, n, Status::Down));
    }
    assert_eq!(world.table(80), [7]);
    world.event(check(80, 1, Status::Up));
    assert_eq!(world.table(80), [1]);
}
