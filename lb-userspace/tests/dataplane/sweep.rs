//! The reaper.

use lb_common::abi::{
    ConnState, Gauge, HopState, LastHopKey, Load, NextHop, Real, RealFlags, RealId, Service,
    ServiceId, ServiceKey, Sticky, StickyKey, Tick, limits,
};
use lb_common::wire::{Addr4, Mac};
use xlb::dataplane::load::Options;
use xlb::dataplane::maps::Maps;
use xlb::dataplane::{Dataplane, MapOp};

use crate::host::on_host;
use crate::tables::{config, pair};

#[test]
fn a_million_expired_flows_go_and_no_live_one() {
    on_host(|host| {
        // C-68, C-09
        let (expired, live) = (1_000_000, 1_000);
        let mut dataplane =
            host.try_open(&Options { flows: expired + live, ..host.options(&["a0"]) }).unwrap();
        let config = config(dataplane.clock().ticks_per_1024_s());
        dataplane.apply(&[MapOp::PutConfig(Box::new(config))]).unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let now = dataplane.clock().now_tick().unwrap();
        let old = Tick(now.0.wrapping_sub(config.timeouts.of(ConnState::Established) + 2));
        for client in 0..expired {
            for (key, flow) in pair(client, ConnState::Established, [old, old]) {
                maps.ipv4.flows.put(&key, &flow).unwrap();
            }
        }
        for client in expired..expired + live {
            // Half of them are kept alive by the other direction only.
            let request = if client % 2 == 0 { now } else { old };
            for (key, flow) in pair(client, ConnState::Established, [request, now]) {
                maps.ipv4.flows.put(&key, &flow).unwrap();
            }
        }
        maps.gauges.put(&(Gauge::Flows as u32), &(expired + live)).unwrap();
        maps.loads.put(&3, &Load { active: expired + live, inactive: 0 }).unwrap();

        let mut reaper = dataplane.reaper();
        let report = reaper.sweep().unwrap();
        println!("{expired} expired connections of {} in {:?}", report.flows, report.took);
        assert_eq!((report.flows, report.expired), (expired + live, expired));
        assert_eq!(report.per_real, [(RealId(3), expired + live)].into());
        assert_eq!(dataplane.reader().flows().unwrap(), live);
        assert_eq!(dataplane.reader().loads(&[RealId(3)]).unwrap()[0].active, live);
        let report = reaper.sweep().unwrap();
        assert_eq!((report.flows, report.expired), (live, 0));
        let mut entries = 0;
        maps.ipv4.flows.for_each(|_, _| entries += 1).unwrap();
        assert_eq!(entries, 2 * live);
    });
}

#[test]
fn half_open_flows_expire_and_their_count_is_put_right() {
    on_host(|host| {
        // C-23
        let mut dataplane = host.open(&["a0"]);
        let config = config(dataplane.clock().ticks_per_1024_s());
        let real = Real { flags: RealFlags::USED, ..Real::default() };
        dataplane
            .apply(&[MapOp::PutConfig(Box::new(config)), MapOp::PutReal { id: RealId(3), real }])
            .unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let now = dataplane.clock().now_tick().unwrap();
        let old = Tick(now.0.wrapping_sub(config.timeouts.of(ConnState::SynRecv) + 2));
        for client in 0..30 {
            let stamp = if client < 20 { old } else { now };
            for (key, flow) in pair(client, ConnState::SynRecv, [stamp, stamp]) {
                maps.ipv4.half_open.put(&key, &flow).unwrap();
            }
        }
        // 30 counted, and 5 that the table threw out.
        maps.half_loads.put(&3, &35).unwrap();
        let half_open = || dataplane.reader().loads(&[RealId(3)]).unwrap()[0].half_open;
        let mut reaper = dataplane.reaper();
        let report = reaper.sweep().unwrap();
        assert_eq!((report.expired_half_open, report.half_open), (20, 10));
        assert_eq!(half_open(), 15, "wrong once may be a flow in the making");
        reaper.sweep().unwrap();
        assert_eq!(half_open(), 10);
        reaper.sweep().unwrap();
        assert_eq!(half_open(), 10);
    });
}

#[test]
fn templates_live_as_long_as_their_service_says() {
    on_host(|host| {
        // C-60
        let mut dataplane = host.open(&["a0"]);
        let config = config(dataplane.clock().ticks_per_1024_s());
        let service = Service { id: ServiceId(1), sticky_ticks: 40, ..Service::default() };
        dataplane
            .apply(&[
                MapOp::PutConfig(Box::new(config)),
                MapOp::PutService { key: ServiceKey::default(), service },
            ])
            .unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let now = dataplane.clock().now_tick().unwrap();
        let put = |client: u8, service, ago: u32| {
            let key =
                StickyKey { client: Addr4([10, 0, 0, client]).into(), service: ServiceId(service) };
            let stamp = Tick(now.0.wrapping_sub(ago));
            maps.sticky.put(&key, &Sticky { real: RealId(3), stamp }).unwrap();
            key
        };
        let kept = put(1, 1, 5);
        put(2, 1, 41);
        put(3, 9, 0);
        let report = dataplane.reaper().sweep().unwrap();
        assert_eq!((report.templates, report.expired_templates), (1, 2));
        assert!(maps.sticky.get(&kept).unwrap().is_some());
    });
}

#[test]
fn learned_hop_without_flows_is_freed_step_by_step() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0"]);
        let config = config(dataplane.clock().ticks_per_1024_s());
        dataplane.apply(&[MapOp::PutConfig(Box::new(config))]).unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let now = dataplane.clock().now_tick().unwrap();
        let learn = |at: u32| {
            let mac = Mac([2, 0, 0, 0, 0, at as u8]);
            let hop = NextHop {
                dst: mac,
                state: HopState::Valid as u8,
                flags: NextHop::LEARNED,
                ..NextHop::default()
            };
            let id = limits::REALS + at;
            maps.next_hops.put(&id, &hop).unwrap();
            let key = LastHopKey { ifindex: 1, mac, pad: [0; 2] };
            maps.last_hops.put(&key, &id).unwrap();
            (key, id)
        };
        let (idle_key, idle) = learn(0);
        let (used_key, used) = learn(1);
        maps.gauges.put(&(Gauge::HopCursor as u32), &2).unwrap();
        let mut flows = pair(1, ConnState::Established, [now, now]);
        flows[1].1.rewrite.hop = lb_common::abi::HopId(used);
        for (key, flow) in flows {
            maps.ipv4.flows.put(&key, &flow).unwrap();
        }
        maps.gauges.put(&(Gauge::Flows as u32), &1).unwrap();

        let mut reaper = dataplane.reaper();
        let there = |key: &LastHopKey, id: u32| {
            let hop = maps.next_hops.get(&id).unwrap().unwrap();
            (maps.last_hops.get(key).unwrap().is_some(), hop.state == HopState::Valid as u8)
        };
        for expected in [(true, true), (false, true), (false, false)] {
            reaper.sweep().unwrap();
            assert_eq!(there(&idle_key, idle), expected);
            assert_eq!(there(&used_key, used), (true, true));
        }
    });
}

#[test]
fn reply_entry_without_its_primary_is_found_now_and_then() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0"]);
        let config = config(dataplane.clock().ticks_per_1024_s());
        dataplane.apply(&[MapOp::PutConfig(Box::new(config))]).unwrap();
        let maps = Maps::open(&host.pin_dir).unwrap();
        let mut reaper = dataplane.reaper();
        reaper.sweep().unwrap();
        let now = dataplane.clock().now_tick().unwrap();
        let old = Tick(now.0.wrapping_sub(config.timeouts.of(ConnState::Established) + 2));
        let [_, (orphan, flow)] = pair(1, ConnState::Established, [old, old]);
        maps.ipv4.flows.put(&orphan, &flow).unwrap();
        let gone = (0..16).any(|_| {
            reaper.sweep().unwrap();
            maps.ipv4.flows.get(&orphan).unwrap().is_none()
        });
        assert!(gone);
    });
}
