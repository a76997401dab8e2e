//! Who gets the next connection.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use lb_common::abi::{Load, Real, RealId, Scheduler, Service, ServiceFlags, ServiceId, limits};
use lb_common::engine::tables::LoadChange;
use lb_common::engine::{Seen, Tables, sched};
use lb_common::host::HostTables;
use lb_tests::world;
use proptest::prelude::*;

use crate::bed::{Bed, CLIENT, tuple};

/// Tables that hold real servers with these weights and loads, in one slot table of each once.
fn tables(reals: &[(u32, Load)]) -> HostTables {
    let mut tables = HostTables::new(1);
    for (id, (weight, load)) in (0..).map(RealId).zip(reals) {
        tables.reals.insert(id, Real { weight: *weight, ..Real::default() });
        let (active, inactive) = (load.active.cast_signed(), load.inactive.cast_signed());
        tables.add_load(id, LoadChange { active, inactive, half_open: 0 });
        tables.slots.push(id);
    }
    tables
}

fn service(how: Scheduler, slots_len: usize) -> Service {
    Service {
        id: ServiceId(7),
        scheduler: how as u8,
        slots_len: slots_len as u32,
        ..Service::default()
    }
}

fn from(client: Ipv4Addr, port: u16) -> Seen {
    Seen { key: tuple((client, port), (world::VIP, 80), 6), ..Seen::default() }
}

const IDLE: Load = Load { active: 0, inactive: 0 };

// C-46: rr and wrr are the slot table in turn, one cursor for each service.
#[test]
fn rr_and_wrr_take_the_slots_in_turn() {
    let mut tables = tables(&[(1, IDLE), (1, IDLE), (1, IDLE)]);
    // IPVS's walk for weights 3, 2, 1.
    tables.slots = [0, 0, 1, 0, 1, 2].map(RealId).to_vec();
    let wrr = service(Scheduler::Cycle, 6);
    let other = Service { id: ServiceId(8), ..wrr };
    let seen = from(CLIENT, 1);
    for turn in 0..60 {
        assert_eq!(sched::pick(&tables, &wrr, &seen), Some(tables.slots[turn % 6]));
        if turn % 3 == 0 {
            assert_eq!(sched::pick(&tables, &other, &seen), Some(tables.slots[turn / 3 % 6]));
        }
    }
}

// C-46
#[test]
fn connections_of_rr_alternate() {
    let bed = Bed::new(64);
    for n in 0..20_u16 {
        assert_eq!(
            bed.open((CLIENT, 1_000 + n), world::NAT).real,
            world::REALS[usize::from(n % 2)]
        );
    }
}

// C-46: half-open connections count as inactive ones, so a burst of SYNs is spread too.
#[test]
fn connections_of_wlc_follow_the_weights() {
    let bed = Bed::new(64);
    let half_open: Vec<_> =
        (0..8).map(|n| bed.open((CLIENT, 1_000 + n), world::WLC).real).collect();
    assert_eq!(half_open.iter().filter(|real| **real == world::REALS[1]).count(), 6);
    let bed = Bed::new(64);
    let established: Vec<_> =
        (0..40).map(|n| bed.establish((CLIENT, 1_000 + n), world::WLC).real).collect();
    assert_eq!(established.iter().filter(|real| **real == world::REALS[1]).count(), 30);
}

// C-46
#[test]
fn an_empty_service_and_a_scheduler_that_does_not_exist_pick_nobody() {
    let tables = tables(&[(1, IDLE)]);
    for how in [
        Scheduler::Cycle,
        Scheduler::Lc,
        Scheduler::Wlc,
        Scheduler::SourceHash,
        Scheduler::DestinationHash,
    ] {
        assert_eq!(sched::pick(&tables, &service(how, 0), &from(CLIENT, 1)), None);
        assert_eq!(sched::pick(&tables, &service(how, 1), &from(CLIENT, 1)), Some(RealId(0)));
    }
    let unknown = Service { scheduler: 99, ..service(Scheduler::Cycle, 1) };
    assert_eq!(sched::pick(&tables, &unknown, &from(CLIENT, 1)), None);
}

/// `hash_32(value, 8)` of include/linux/hash.h, by its definition: the top 8 of the low 32 bits of the product.
fn hash_of_the_kernel(value: u64) -> usize {
    let product = (value & 0xffff_ffff) as u128 * 0x61C8_8647;
    ((product & 0xffff_ffff) >> 24) as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    // C-46: ip_vs_lc.c and ip_vs_wlc.c, by exact fractions; the first of equals wins.
    #[test]
    fn lc_and_wlc_pick_the_least_loaded(
        reals in prop::collection::vec((1..65_536_u32, 0..100_000_u32, 0..100_000_u32), 1..40),
        few in any::<bool>(),
    ) {
        // Few different values, so that there are ties.
        let cut = |value: u32, most: u32| if few { value % most } else { value };
        let reals: Vec<_> = reals
            .into_iter()
            .map(|(weight, active, inactive)| {
                let load = Load { active: cut(active, 3), inactive: cut(inactive, 2) };
                (cut(weight, 3).max(1), load)
            })
            .collect();
        let tables = tables(&reals);
        for (how, weighted) in [(Scheduler::Lc, false), (Scheduler::Wlc, true)] {
            let cost = |(weight, load): &(u32, Load)| {
                let overhead = 256 * u128::from(load.active) + u128::from(load.inactive);
                (overhead, if weighted { u128::from(*weight) } else { 1 })
            };
            let mut best = 0;
            for (at, real) in reals.iter().enumerate() {
                let ((mine, weight), (least, its_weight)) = (cost(real), cost(&reals[best]));
                if mine * its_weight < least * weight {
                    best = at;
                }
            }
            let picked = sched::pick(&tables, &service(how, reals.len()), &from(CLIENT, 1));
            prop_assert_eq!(picked, Some(RealId(best as u32)), "{:?} of {:?}", how, reals);
        }
    }

    // C-46: ip_vs_sh.c and ip_vs_dh.c, whose tables have 256 buckets.
    #[test]
    fn sh_and_dh_look_where_ipvs_looks(client in any::<u32>(), port in any::<u16>()) {
        let mut tables = tables(&[]);
        tables.slots = (0..256).map(RealId).collect();
        let seen = from(Ipv4Addr::from(client), port);
        let by_source = service(Scheduler::SourceHash, 256);
        let with_port = Service { flags: ServiceFlags::HASH_PORT, ..by_source };
        let by_destination = service(Scheduler::DestinationHash, 256);
        let vip = u64::from(u32::from(world::VIP));
        for (service, hashed) in [
            (by_source, u64::from(client)),
            (with_port, u64::from(client) + u64::from(port)),
            (by_destination, vip),
        ] {
            let right = RealId(hash_of_the_kernel(hashed) as u32);
            prop_assert_eq!(sched::pick(&tables, &service, &seen), Some(right));
        }
    }
}

// C-46: the scan is bounded; more real servers than that the daemon refuses.
#[test]
fn lc_looks_at_256_real_servers_and_no_further() {
    let busy = Load { active: 1, inactive: 0 };
    let mut reals = vec![(1, busy); limits::SCAN as usize];
    reals.push((1, IDLE));
    let tables = tables(&reals);
    let lc = service(Scheduler::Lc, reals.len());
    assert_eq!(sched::pick(&tables, &lc, &from(CLIENT, 1)), Some(RealId(0)));
    reals[255].1 = IDLE;
    let tables = self::tables(&reals);
    assert_eq!(sched::pick(&tables, &lc, &from(CLIENT, 1)), Some(RealId(255)));
}

// C-46: the bucket of a quiesced server is nobody's, as under IPVS without sh-fallback.
#[test]
fn a_hash_that_meets_nobody_is_refused() {
    let mut bed = Bed::new(64);
    let slots_at = bed.service_mut(world::SH).slots_at as usize;
    bed.host.slots[slots_at..slots_at + 256].fill(RealId::NOBODY);
    let refused = bed.syn((CLIENT, 1_000), world::SH);
    assert_eq!(refused.verdict.slot(), lb_common::abi::DropReason::NoUsableReal.slot());
}

// C-46: sh keeps a client with its real server.
#[test]
fn sh_sends_a_client_always_to_the_same_real_server() {
    let bed = Bed::new(600);
    let mut met = HashMap::new();
    for port in 1_000..1_020 {
        for last in 0..20 {
            let client = Ipv4Addr::new(10, 65, 0, last);
            let real = bed.open((client, port), world::SH).real;
            assert_eq!(*met.entry(client).or_insert(real), real);
        }
    }
    let distinct: std::collections::HashSet<_> = met.values().collect();
    assert_eq!(distinct.len(), 2, "and different clients to different ones");
}
