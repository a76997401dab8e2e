//! Whatever happens in whatever order, and wherever it breaks off: readers never see a half, and in the end the
//! tables are as desired. `World` looks at the tables after every operation.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::abi::{HopState, RealFlags};
use proptest::prelude::*;

use super::*;
use crate::config::model::{
    AddressRange, Config, Granularity, Kind, Persistence, RealServer, Scheduler, SorryServer,
    VirtualServer,
};
use crate::control::arena::GRACE;
use crate::control::event::{Event, Status};
use crate::control::ports::HostPorts;
use crate::control::testing::{Fault, World, check, model, real, real_ip, resolved, service};
use crate::control::{desired, step};
use crate::dataplane::Dataplane as _;

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a history has a few dozen of them")]
enum Act {
    Configure(Config),
    Check { port: u16, n: u8, up: bool },
    Hop { n: u8, resolved: bool },
    Bound(BTreeSet<u16>),
    Reap,
    Pass(u64),
    Fault(Fault),
    Restart,
}

fn a_real() -> impl Strategy<Value = RealServer> {
    (1..8u8, prop_oneof![Just(0u32), 1..4u32, Just(1000)], any::<(bool, bool, bool, bool)>())
        .prop_map(|(n, weight, (full_nat, inhibit, alpha, checked))| RealServer {
            kind: if full_nat { Kind::FullNat } else { Kind::Nat },
            inhibit_on_failure: inhibit,
            alpha,
            checkers: if checked { real(n, weight).checkers } else { Vec::new() },
            ..real(n, weight)
        })
}

fn a_service() -> impl Strategy<Value = VirtualServer> {
    let scheduler = prop::sample::select(Scheduler::ALL.as_slice());
    let reals = prop::collection::vec(a_real(), 1..6);
    (80..84u16, scheduler, reals, any::<(bool, bool)>(), proptest::option::of(1..8u8)).prop_map(
        |(port, scheduler, reals, (sticky, locals), sorry)| VirtualServer {
            sorry_server: sorry.map(|n| SorryServer {
                ip: IpAddr::V4(real_ip(n)),
                port: 80,
                kind: Kind::Nat,
                inhibit: n % 2 == 0,
            }),
            quorum: u32::from(sorry.unwrap_or(1)),
            persistence: sticky.then_some(Persistence {
                timeout: Duration::from_secs(10),
                granularity: Granularity::Mask4([255; 4].into()),
                engine: None,
            }),
            local_addresses: locals.then(|| {
                let ip = |last| IpAddr::V4([198, 51, 100, last].into());
                vec![AddressRange { first: ip(1), last: ip((port % 3) as u8 + 1) }]
            }),
            ..service(port, scheduler, reals)
        },
    )
}

fn an_act() -> impl Strategy<Value = Act> {
    let fault =
        prop_oneof![(0..30usize).prop_map(Fault::Crash), (0..30usize).prop_map(Fault::Fail)];
    prop_oneof![
        4 => prop::collection::vec(a_service(), 0..4).prop_map(|s| Act::Configure(model(s))),
        4 => (80..84u16, 1..8u8, any::<bool>()).prop_map(|(port, n, up)| Act::Check { port, n, up }),
        3 => (1..8u8, any::<bool>()).prop_map(|(n, resolved)| Act::Hop { n, resolved }),
        1 => prop::collection::btree_set(1024..1030u16, 0..3).prop_map(Act::Bound),
        1 => Just(Act::Reap),
        2 => (0..2000u64).prop_map(Act::Pass),
        2 => fault.prop_map(Act::Fault),
        1 => Just(Act::Restart),
    ]
}

/// Does it; a crash is followed by a restart with the configuration that was to be in force.
fn perform(world: &mut World, act: Act, latest: &mut Config) {
    let event = match act {
        Act::Configure(config) => {
            latest.clone_from(&config);
            Event::Config(Box::new(config))
        }
        Act::Check { port, n, up } => check(port, n, if up { Status::Up } else { Status::Down }),
        Act::Hop { n, resolved: known } => {
            Event::Hop { destination: real_ip(n).into(), hop: known.then(|| resolved(n)) }
        }
        Act::Bound(bound) => Event::HostPorts(HostPorts { bound, ..HostPorts::default() }),
        Act::Reap => Event::RealsEmpty(world.state.tombstones().collect()),
        Act::Pass(millis) => {
            world.now += Duration::from_millis(millis);
            Event::Tick
        }
        Act::Fault(fault) => {
            world.fault = Some(fault);
            return;
        }
        Act::Restart => return restart(world, latest),
    };
    if world.try_event(event).is_err() {
        restart(world, latest);
    }
}

fn restart(world: &mut World, latest: &Config) {
    world.fault = None;
    world.restart();
    world.event(Event::Config(Box::new(latest.clone())));
}

/// The tables, read back, are what the state asks for.
fn assert_as_desired(world: &mut World) {
    let mut ids = world.state.ids.clone();
    let (desired, _) = desired::build(&step::inputs(&world.state), &mut ids).unwrap();
    let fake = &world.fake;
    assert_eq!(fake.config, desired.config);
    if let Some(ports) = &desired.ports {
        assert_eq!(fake.ports[..ports.len()], *ports);
    }
    assert_eq!(fake.services.len(), desired.services.len());
    let mut wanted = BTreeSet::new();
    for service in &desired.services {
        let actual = fake.services[&service.key];
        let from = actual.slots_at as usize;
        assert_eq!(fake.slots[from..from + actual.slots_len as usize], service.slots);
        assert_eq!(actual, super::service(service, actual.slots_at));
        for real in &service.reals {
            let actual = fake.reals[real.id.0 as usize];
            let from = actual.locals_at as usize;
            assert_eq!(fake.locals[from..from + usize::from(actual.locals_len)], real.locals);
            let (locals_at, locals_len) = (actual.locals_at, actual.locals_len);
            assert_eq!(actual, Real { locals_at, locals_len, ..real.real });
            let hop = fake.hops.get(real.id.0 as usize).copied().unwrap_or_default();
            assert_eq!(hop, real.hop);
            wanted.insert(real.id.0);
        }
    }
    for (id, real) in (0..).zip(&fake.reals).filter(|(id, _)| !wanted.contains(id)) {
        let gone = fake.hops.get(id as usize).map_or(0, |hop| hop.state);
        match real.flags {
            0 => assert_eq!(gone, HopState::Unresolved as u8),
            flags => {
                assert_eq!(flags, RealFlags::USED | RealFlags::REMOVED);
                assert_eq!(gone, HopState::Gone as u8);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test] // K-05, K-06, K-10, K-13
    fn any_history_converges_and_no_reader_sees_a_half(
        acts in prop::collection::vec(an_act(), 1..24)
    ) {
        let mut world = World::new();
        let mut latest = Config::default();
        for act in acts {
            perform(&mut world, act, &mut latest);
        }
        world.fault = None;
        for _ in 0..3 {
            world.pass(GRACE);
        }
        prop_assert!(world.state.is_settled());
        if world.state.configured {
            assert_as_desired(&mut world);
        }
        let writes = world.fake.log.len();
        world.pass(GRACE);
        let seen = world.fake.snapshot().unwrap();
        world.event(Event::Restored(Box::new(seen)));
        prop_assert_eq!(world.fake.log.len(), writes);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test] // K-17
    fn crash_after_any_operation_is_mended_by_a_restart(
        before in prop::collection::vec(a_service(), 0..4),
        after in prop::collection::vec(a_service(), 0..4),
    ) {
        let operations = {
            let mut world = World::serving(model(before.clone()));
            let start = world.fake.log.len();
            world.event(Event::Config(Box::new(model(after.clone()))));
            world.fake.log.len() - start
        };
        for crash in 0..operations {
            let mut world = World::serving(model(before.clone()));
            let kept = |world: &World| -> Vec<_> {
                let mut list: Vec<_> = world.fake.reals.iter().enumerate()
                    .filter(|(_, real)| real.flags != 0)
                    .map(|(id, real)| (crate::control::ids::RealKey::of(real), id))
                    .collect();
                list.sort_by_key(|(_, id)| *id);
                list
            };
            let old = kept(&world);
            world.fault = Some(Fault::Crash(crash));
            let _ = world.try_event(Event::Config(Box::new(model(after.clone()))));
            restart(&mut world, &model(after.clone()));
            world.pass(GRACE);
            assert_as_desired(&mut world);
            // Nobody lost its id.
            prop_assert_eq!(&kept(&world)[..old.len()], &old[..]);
        }
    }
}
