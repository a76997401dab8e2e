//! Reading and writing the tables.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lb_common::abi::{
    Config, ConnState, Flow, FlowFlags, FlowKey, FlowRewrite, HopId, HopState, NextHop, Real,
    RealFlags, RealId, Service, ServiceId, ServiceKey, Tick, Timeouts,
};
use lb_common::wire::{Addr4, Addr6, Mac, Port};
use xlb::dataplane::batch;
use xlb::dataplane::load::Options;
use xlb::dataplane::maps::Maps;
use xlb::dataplane::{Dataplane, MapOp};

use crate::host::on_host;

/// A client's tuple towards the virtual server.
pub(crate) fn key(client: u32) -> FlowKey {
    FlowKey {
        src: Addr4((0x0a00_0000 + (client >> 8)).to_be_bytes()),
        dst: Addr4([192, 0, 2, 1]),
        sport: Port::new(1024 + (client & 0xff) as u16),
        dport: Port::new(80),
        proto: 6,
        ..FlowKey::default()
    }
}

/// Both entries of a NAT flow with their keys.
pub(crate) fn pair(client: u32, state: ConnState, stamps: [Tick; 2]) -> [(FlowKey, Flow); 2] {
    let key = key(client);
    let real = (Addr4([198, 51, 100, 7]), Port::new(8080));
    let rewrite = FlowRewrite {
        src: key.src,
        sport: key.sport,
        dst: real.0,
        dport: real.1,
        proto: key.proto,
        real: RealId(3),
        hop: HopId(3),
        ..FlowRewrite::default()
    };
    let twin = rewrite.twin();
    let back = FlowRewrite {
        src: key.dst,
        sport: key.dport,
        dst: key.src,
        dport: key.sport,
        flags: FlowFlags::REPLY,
        ..rewrite
    };
    let entry = |rewrite, stamp| Flow { rewrite, stamp, state: state as u32 };
    [(key, entry(rewrite, stamps[0])), (twin, entry(back, stamps[1]))]
}

pub(crate) fn config(ticks_per_1024_s: u32) -> Config {
    let by_state = Timeouts::IPVS_SECONDS.map(|seconds| seconds * ticks_per_1024_s / 1024);
    Config {
        layout: lb_common::abi::LAYOUT,
        ticks_per_1024_s,
        timeouts: Timeouts { by_state },
        ..Config::default()
    }
}

#[test]
fn what_was_applied_is_read_back() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0"]);
        let service_key = ServiceKey {
            addr: Addr4([192, 0, 2, 1]).into(),
            port: Port::new(80),
            proto: 6,
            pad: 0,
        };
        let service =
            Service { id: ServiceId(5), slots_at: 40, slots_len: 3, ..Service::default() };
        let real = Real {
            addr: Addr4([198, 51, 100, 7]).into(),
            flags: RealFlags::USED | RealFlags::UP,
            locals_at: 2,
            locals_len: 1,
            mss: 0,
            ..Real::default()
        };
        let hop = NextHop {
            dst: Mac([2, 0, 0, 0, 0, 1]),
            state: HopState::Valid as u8,
            ..NextHop::default()
        };
        let slots = vec![RealId(3), RealId(3), RealId(3)];
        let config = config(dataplane.clock().ticks_per_1024_s());
        dataplane
            .apply(&[
                MapOp::PutConfig(Box::new(config)),
                MapOp::PutReal { id: RealId(3), real },
                MapOp::PutHop { id: HopId(3), hop },
                MapOp::PutLocals { at: 2, addresses: vec![Addr6::mapped(Addr4([203, 0, 113, 1]))] },
                MapOp::PutPorts { ports: vec![4000, 4001] },
                MapOp::PutSlots { at: 40, slots: slots.clone() },
                MapOp::PutService { key: service_key, service },
                MapOp::ResetReal { id: RealId(3) },
            ])
            .unwrap();
        let snapshot = dataplane.snapshot().unwrap();
        assert_eq!(snapshot.config, config);
        assert_eq!(snapshot.services, [(service_key, service)]);
        assert_eq!(snapshot.reals, [(RealId(3), real)]);
        assert_eq!(snapshot.hops, [(HopId(3), hop)]);
        assert_eq!(snapshot.slots, [(40, slots)]);
        assert_eq!(snapshot.locals[2], Addr6::mapped(Addr4([203, 0, 113, 1])));

        let remove = MapOp::RemoveService { key: service_key };
        dataplane.apply(&[remove.clone(), remove]).unwrap();
        assert!(dataplane.snapshot().unwrap().services.is_empty());
        let error = dataplane
            .apply(&[
                MapOp::PutReal { id: RealId(3), real },
                MapOp::PutReal { id: RealId(u32::MAX), real },
            ])
            .unwrap_err()
            .to_string();
        assert!(error.contains("operation 1 (REALS)"), "{error}");
    });
}

#[test]
fn walk_beside_churn_sees_what_stays_exactly_once() {
    on_host(|host| {
        // C-14
        let options = Options { flows: 40_000, ..host.options(&["a0"]) };
        let dataplane = host.try_open(&options).unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let stays = 20_000;
        for client in 0..stays {
            maps.ipv4.flows.put(&key(client), &Flow::default()).unwrap();
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for client in stays..stays + 5_000 {
                        maps.ipv4.flows.put(&key(client), &Flow::default()).unwrap();
                    }
                    for client in stays..stays + 5_000 {
                        maps.ipv4.flows.remove(&key(client)).unwrap();
                    }
                }
            });
            for _ in 0..10 {
                let mut seen: HashMap<FlowKey, u32> = HashMap::new();
                maps.ipv4.flows.for_each(|key, _| *seen.entry(*key).or_default() += 1).unwrap();
                let missed =
                    (0..stays).filter(|&client| seen.get(&key(client)) != Some(&1)).count();
                if missed > 0 {
                    stop.store(true, Ordering::Relaxed);
                }
                assert_eq!(missed, 0, "of {}", seen.len());
            }
            stop.store(true, Ordering::Relaxed);
        });
        drop(dataplane);
    });
}

#[test]
fn walks_agree_whatever_the_batch_and_stop_when_told() {
    on_host(|host| {
        let dataplane = host.open(&["a0"]);
        let maps = Maps::open(&host.pin_dir).unwrap();
        for client in 0..500 {
            maps.ipv4.half_open.put(&key(client), &Flow::default()).unwrap();
            maps.ipv4.flows.put(&key(client), &Flow::default()).unwrap();
        }
        for table in [&maps.ipv4.flows, &maps.ipv4.half_open] {
            let mut counts = Vec::new();
            // 1: smaller than most buckets, so the walk must grow its buffers.
            for batch_size in [1, 7, 4096] {
                let mut keys = std::collections::HashSet::new();
                batch::walk(table.as_fd(), batch_size, |key: &FlowKey, _: &Flow| {
                    assert!(keys.insert(*key));
                    ControlFlow::Continue(())
                })
                .unwrap();
                counts.push(keys.len());
            }
            let mut one_by_one = 0;
            batch::walk_one_by_one(table.as_fd(), table.capacity(), |_: &FlowKey, _: &Flow| {
                one_by_one += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!((counts, one_by_one), (vec![500; 3], 500));
            let mut seen = 0;
            table
                .walk(|_, _| {
                    seen += 1;
                    if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .unwrap();
            assert_eq!(seen, 3);
        }
        drop(dataplane);
    });
}

#[test]
fn map_of_other_types_is_not_walked() {
    on_host(|host| {
        let dataplane = host.open(&["a0"]);
        let maps = Maps::open(&host.pin_dir).unwrap();
        let refused =
            batch::walk(maps.ipv4.flows.as_fd(), 16, |_: &u32, _: &u32| ControlFlow::Continue(()));
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        drop(dataplane);
    });
}

#[test]
fn connections_are_listed_with_what_is_left_of_their_younger_direction() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0"]);
        let config = config(dataplane.clock().ticks_per_1024_s());
        dataplane.apply(&[MapOp::PutConfig(Box::new(config))]).unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let now = dataplane.clock().now_tick().unwrap();
        let earlier = Tick(now.0.wrapping_sub(100));
        for (key, flow) in pair(1, ConnState::Established, [earlier, now]) {
            maps.ipv4.flows.put(&key, &flow).unwrap();
        }
        for (key, flow) in pair(2, ConnState::SynRecv, [now, now]) {
            maps.ipv4.half_open.put(&key, &flow).unwrap();
        }
        // Another process has only the pins.
        let reader = xlb::dataplane::read::Reader::open(&host.pin_dir).unwrap();
        let mut rows = Vec::new();
        reader
            .conns(|row| {
                rows.push(row);
                ControlFlow::Continue(())
            })
            .unwrap();
        let [first, second] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((first.key, first.half_open), (key(1).widened(), false));
        assert!(first.twin.is_some_and(|twin| twin.rewrite.is_reply()));
        assert!((898..=900).contains(&first.remaining.as_secs()), "{:?}", first.remaining);
        assert_eq!((second.key, second.half_open), (key(2).widened(), true));
        assert!((58..=60).contains(&second.remaining.as_secs()), "{:?}", second.remaining);
    });
}

#[test]
fn clock_runs_at_the_rate_it_says() {
    on_host(|host| {
        let dataplane = host.open(&["a0"]);
        let clock = dataplane.clock();
        assert!([100, 250, 300, 1000].contains(&clock.hz()), "{}", clock.hz());
        let reader = xlb::dataplane::read::Reader::open(&host.pin_dir).unwrap();
        assert_eq!((reader.clock().hz(), reader.clock().shift()), (clock.hz(), clock.shift()));
        let tick =
            std::time::Duration::from_millis(1_024_000 / u64::from(clock.ticks_per_1024_s()));
        let start = clock.now_tick().unwrap();
        thread::sleep(tick * 4);
        let ticks = clock.now_tick().unwrap().since(start);
        // Sleeps end late on a busy machine, never early.
        assert!((4..20).contains(&ticks), "{ticks} at {} Hz", clock.hz());
        println!("HZ {}, a tick is {tick:?}", clock.hz());
    });
}

#[test]
fn memory_told_is_what_the_kernel_accounts() {
    on_host(|host| {
        let options = Options { flows: 100_000, half_open: 50_000, ..host.options(&["a0"]) };
        let dataplane = host.try_open(&options).unwrap();
        let accounted = |table: &dyn AsFd| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&table.as_fd());
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        let maps = Maps::open(&host.pin_dir).unwrap();
        let tables: [&dyn AsFd; 20] = [
            &maps.ipv4.flows,
            &maps.ipv4.half_open,
            &maps.ipv4.fragments,
            &maps.ipv6.flows,
            &maps.ipv6.half_open,
            &maps.ipv6.fragments,
            &maps.retired,
            &maps.services,
            &maps.slots,
            &maps.reals,
            &maps.loads,
            &maps.half_loads,
            &maps.next_hops,
            &maps.last_hops,
            &maps.sticky,
            &maps.locals,
            &maps.ports,
            &maps.gauges,
            &maps.reasons,
            &maps.real_counters,
        ];
        let (told, accounted) =
            (dataplane.memory(), tables.into_iter().map(accounted).sum::<u64>());
        println!("{told} bytes told, {accounted} accounted");
        assert!(told.abs_diff(accounted) * 10 < accounted, "{told} told, {accounted} accounted");
    });
}

#[test]
fn handles_may_be_used_on_other_threads() {
    fn any_thread<T: Send + Sync>() {}
    fn its_thread<T: Send>() {}
    any_thread::<xlb::dataplane::read::Reader>();
    its_thread::<xlb::dataplane::reaper::Reaper>();
    its_thread::<xlb::dataplane::bpf::BpfDataplane>();
}
