//! What is served and what is told about the rest.

use std::net::IpAddr;

use crate::config::model::{
    AddressRange, Granularity, Kind, Persistence, Protocol, RealServer, ReplyPath, Scheduler,
    ServiceMatch, SorryServer, Tunnel, TunnelChecksum,
};
use crate::control::testing::{World, key, model, real, real_ip, resolved, service};
use crate::control::{ControlError, Event, HopInfo};
use lb_common::abi::{HopState, NextHop, RealFlags, Scheduler as Raw, ServiceFlags};

#[test]
fn what_this_version_cannot_do_is_left_out_and_told() {
    let mut v6 = service(80, Scheduler::Rr, vec![real(1, 1)]);
    v6.service = ServiceMatch::Address { ip: "2001:db8::1".parse().unwrap(), port: 80 };
    let mut mark = service(80, Scheduler::Rr, vec![real(1, 1)]);
    mark.service = ServiceMatch::Fwmark { mark: 7, family: None };
    let mut sctp = service(80, Scheduler::Rr, vec![real(1, 1)]);
    sctp.protocol = Some(Protocol::Sctp);
    let far = RealServer { ip: "2001:db8::9".parse().unwrap(), ..real(2, 1) };
    let mixed = service(80, Scheduler::Lblc, vec![real(1, 1), far.clone()]);
    let again = service(80, Scheduler::Rr, vec![real(3, 1)]);
    let only_far = service(81, Scheduler::Rr, vec![far]);
    let world = World::serving(model(vec![v6, mark, sctp, mixed, again, only_far]));
    assert_eq!(world.fake.services.len(), 1);
    let served = world.fake.services[&key(80)];
    assert_eq!(served.scheduler, Raw::Wlc as u8);
    assert_eq!(world.table(80), [1]);
    let told: Vec<String> =
        world.state.skipped().iter().map(|s| format!("{}: {}", s.what, s.why)).collect();
    assert_eq!(told.len(), 9, "{told:#?}");
    assert!(told.iter().any(|line| line.contains("of another address family")));
    assert!(told.iter().any(|line| line.contains("no scheduler lblc: wlc is used")));
    assert!(told.iter().any(|line| line.contains("fwmark 7")));
}

#[test]
fn persistence_becomes_ticks_rounded_up_and_a_mask() {
    let mut sticky = service(80, Scheduler::Rr, vec![real(1, 1)]);
    sticky.persistence = Some(Persistence {
        timeout: std::time::Duration::from_secs(10),
        granularity: Granularity::Mask4([255, 255, 255, 0].into()),
        engine: None,
    });
    let world = World::serving(model(vec![sticky]));
    let service = world.fake.services[&key(80)];
    assert_eq!(service.sticky_ticks, 40); // 10 s * 4000 / 1024 = 39.06
    assert_eq!(service.sticky_mask.octets()[12..], [255, 255, 255, 0]);
}

#[test]
fn flags_of_sh_count() {
    let mut sh = service(80, Scheduler::Sh, vec![real(1, 1), real(2, 0)]);
    sh.flags = vec!["sh-port".to_owned()];
    let mut world = World::serving(model(vec![sh.clone()]));
    assert_eq!(world.fake.services[&key(80)].flags, ServiceFlags::HASH_PORT);
    let table = world.table(80);
    assert_eq!((table.len(), table[0], table[1]), (256, 0, 1));
    sh.flags = vec!["sh-fallback".to_owned()];
    world.configure(model(vec![sh])).unwrap();
    assert_eq!(world.fake.services[&key(80)].flags, 0);
    assert_eq!(world.table(80), [1; 256]);
}

#[test] // K-02
fn full_nat_takes_its_source_from_the_group_or_from_the_way_there() {
    let full_nat = RealServer { kind: Kind::FullNat, ..real(1, 1) };
    let mut config = service(80, Scheduler::Rr, vec![full_nat]);
    let mut world = World::serving(model(vec![config.clone()]));
    assert_eq!(world.fake.locals[0].to_string(), "192.0.2.254");

    let ip = |a, b| IpAddr::V4([198, 51, a, b].into());
    config.local_addresses = Some(vec![
        AddressRange { first: ip(100, 254), last: ip(101, 1) },
        AddressRange { first: ip(100, 255), last: ip(100, 255) },
    ]);
    world.configure(model(vec![config.clone()])).unwrap();
    let real = world.fake.reals[world.id(80, 1).0 as usize];
    let from = real.locals_at as usize;
    let list: Vec<_> = world.fake.locals[from..from + real.locals_len as usize].to_vec();
    assert_eq!(list.iter().map(|a| a.octets()[15]).collect::<Vec<_>>(), [254, 255, 0, 1]);

    config.local_addresses = Some(vec![AddressRange { first: ip(0, 0), last: ip(255, 255) }]);
    let error = world.configure(model(vec![config.clone()])).unwrap_err();
    assert!(matches!(error, ControlError::TooManyLocals { .. }));
    config.local_addresses = Some(vec![]);
    let error = world.configure(model(vec![config])).unwrap_err();
    assert!(matches!(error, ControlError::NoLocalAddress { .. }));
}

// P-54
#[test]
fn every_server_of_a_pool_has_its_mss_and_a_reload_changes_it() {
    let sorry = SorryServer {
        ip: IpAddr::V4(real_ip(3)),
        port: 80,
        kind: Kind::Nat,
        tunnel: None,
        inhibit: false,
    };
    let mut config = service(80, Scheduler::Rr, vec![real(1, 1), real(2, 1)]);
    config.sorry_server = Some(sorry);
    config.mss = Some(1_400);
    let other = service(81, Scheduler::Rr, vec![real(1, 1)]);
    let mut world = World::serving(model(vec![config.clone(), other.clone()]));
    let of = |world: &World, port, n| world.fake.reals[world.id(port, n).0 as usize].mss;
    for n in 1..=3 {
        assert_eq!(of(&world, 80, n), 1_400);
    }
    assert_eq!(of(&world, 81, 1), 0, "the same server of another service");
    config.mss = None;
    world.configure(model(vec![config, other])).unwrap();
    assert_eq!(of(&world, 80, 1), 0);
}

// S-37
#[test]
fn the_reply_path_is_every_real_servers_and_a_reload_changes_it() {
    let mut config = model(vec![service(80, Scheduler::Rr, vec![real(1, 1), real(2, 1)])]);
    let mut world = World::serving(config.clone());
    let flags = |world: &World, n| world.fake.reals[world.id(80, n).0 as usize].flags;
    let strict = [flags(&world, 1), flags(&world, 2)];
    assert_eq!(strict.map(|flags| flags & RealFlags::ANY_PATH), [0, 0]);
    config.globals.reply_path = ReplyPath::Any;
    world.configure(config.clone()).unwrap();
    assert_eq!([flags(&world, 1), flags(&world, 2)], strict.map(|f| f | RealFlags::ANY_PATH));
    config.globals.reply_path = ReplyPath::Strict;
    world.configure(config).unwrap();
    assert_eq!([flags(&world, 1), flags(&world, 2)], strict);
}

/// A hop of real server 1 that leads by a gateway, or not.
fn by_gateway(world: &mut World, gateway: bool) {
    let hop = Some(HopInfo { gateway, ..resolved(1) });
    world.event(Event::Hop { destination: real_ip(1).into(), hop });
}

// A router would send a packet for the virtual address back here, again and again.
#[test]
fn direct_routing_by_a_gateway_has_no_hop_even_where_nobody_else_serves() {
    let direct = RealServer { kind: Kind::Dr, ..real(1, 1) };
    let mut world = World::serving(model(vec![service(80, Scheduler::Rr, vec![direct])]));
    let state = |world: &World| world.fake.hops[world.id(80, 1).0 as usize].state;
    assert_eq!(state(&world), HopState::Valid as u8);
    by_gateway(&mut world, true);
    assert_eq!(state(&world), HopState::Unresolved as u8, "new flows, live ones and templates");
    by_gateway(&mut world, false);
    assert_eq!(state(&world), HopState::Valid as u8);
}

#[test]
fn a_tunnel_with_checksums_has_no_hop_where_they_are_not_made() {
    let tunnel = Some(Tunnel::Gre { checksum: TunnelChecksum::Full });
    let far = RealServer { kind: Kind::Tun, tunnel, ..real(1, 1) };
    let of = |checksums| {
        let mut world = World::new();
        world.state.host.tunnel_checksums = checksums;
        world.configure(model(vec![service(80, Scheduler::Rr, vec![far.clone()])])).unwrap();
        by_gateway(&mut world, true);
        let told = world.state.skipped().iter().any(|skip| skip.why.contains("write nocsum"));
        let hop = world.fake.hops.get(world.id(80, 1).0 as usize).copied().unwrap_or_default();
        (hop.state, told)
    };
    assert_eq!(of(true), (HopState::Valid as u8, false), "a gateway is no obstacle");
    assert_eq!(of(false), (HopState::Unresolved as u8, true));
}

#[test]
fn a_tunnels_hop_takes_what_fits_into_it() {
    let far = RealServer { kind: Kind::Tun, tunnel: Some(Tunnel::Ipip), ..real(1, 1) };
    let world = World::serving(model(vec![service(80, Scheduler::Rr, vec![far])]));
    let hop = world.fake.hops[world.id(80, 1).0 as usize];
    assert_eq!((hop.mtu, hop.flags & NextHop::TUNNEL), (1_480, NextHop::TUNNEL));
}

// A VLAN that comes later is an arm, too.
#[test]
fn nat_wants_as_many_arms_as_there_are_now() {
    let nat = model(vec![service(80, Scheduler::Rr, vec![real(1, 1)])]);
    let mut world = World::new();
    world.event(Event::Interfaces(1));
    assert!(matches!(world.configure(nat.clone()), Err(ControlError::NatOnOneArm { .. })));
    world.event(Event::Interfaces(2));
    world.configure(nat).unwrap();
}
