//! Persistence: templates.

use std::net::Ipv4Addr;

use lb_common::abi::RealFlags;
use lb_common::wire::Addr6;
use lb_tests::packets::End;
use lb_tests::world::{self, STICKY_TICKS};

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

/// A client of another network.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 65, 1, 1);

/// The real server that each connection goes to.
fn reals(bed: &Bed, clients: impl IntoIterator<Item = (Ipv4Addr, u16)>) -> Vec<End> {
    clients.into_iter().map(|client| bed.open(client, world::STICKY).real).collect()
}

// C-60
#[test]
fn a_client_stays_with_its_real_server_until_the_template_ends() {
    let bed = Bed::new(256);
    let first = bed.open((CLIENT, 1_000), world::STICKY).real;
    let all = reals(&bed, (1_001..1_100).map(|port| (CLIENT, port)));
    assert!(all.iter().all(|real| *real == first));
    assert_eq!(bed.host.templates(), 1);
    // The scheduler was asked once; the next client gets the next real server.
    let other = bed.open((STRANGER, 1_000), world::STICKY).real;
    assert_ne!(other, first);
    // Each connection begins the template's time anew.
    for port in 2_000..2_005 {
        bed.wait(STICKY_TICKS - 1);
        assert_eq!(bed.open((CLIENT, port), world::STICKY).real, first);
    }
    bed.wait(STICKY_TICKS);
    let late = reals(&bed, [(CLIENT, 3_000), (STRANGER, 3_000)]);
    assert_eq!(late, [first, other], "scheduled anew, in turn");
    bed.wait(STICKY_TICKS);
    assert_eq!(
        reals(&bed, [(STRANGER, 3_001), (CLIENT, 3_001)]),
        [first, other],
        "whoever comes first"
    );
}

// C-61
#[test]
fn clients_of_one_network_share_a_template() {
    let bed = Bed::new(256);
    let first = bed.open((CLIENT, 1_000), world::STICKY).real;
    let network = (0..=255).map(|last| (Ipv4Addr::new(10, 65, 0, last), 2_000));
    assert!(reals(&bed, network).iter().all(|real| *real == first));
    assert_eq!(bed.host.templates(), 1);
    let mut bed = Bed::new(256);
    bed.service_mut(world::STICKY).sticky_mask = Addr6::ALL;
    let both = reals(&bed, [(CLIENT, 1_000), (Ipv4Addr::new(10, 65, 0, 2), 1_000)]);
    assert_ne!(both[0], both[1], "each address for itself");
    assert_eq!(bed.host.templates(), 2);
}

// C-62: weight 0 (expire_quiescent_template 0) keeps its clients; a real server that is down or gone does not.
#[test]
fn a_template_follows_a_drained_real_server_but_not_a_dead_one() {
    for (flags, weight, stays) in [
        (RealFlags::USED | RealFlags::UP, 0, true),
        (RealFlags::USED, 1, false),
        (RealFlags::USED | RealFlags::UP | RealFlags::REMOVED, 1, false),
        (0, 0, false),
    ] {
        let mut bed = Bed::new(64);
        let first = bed.open((CLIENT, 1_000), world::STICKY);
        let id = bed.real_of(&first);
        let slots_at = bed.service_mut(world::STICKY).slots_at as usize;
        bed.host.slots[slots_at] = bed.host.slots[slots_at + 1];
        bed.service_mut(world::STICKY).slots_len = 1;
        let real = bed.host.reals.get_mut(&id).expect("it");
        (real.flags, real.weight) = (flags, weight);
        let next = bed.open((CLIENT, 1_001), world::STICKY);
        assert_eq!(next.real == first.real, stays, "flags {flags:#b}, weight {weight}");
        let third = bed.open((CLIENT, 1_002), world::STICKY);
        assert_eq!(third.real, next.real, "and its template was rewritten");
    }
}

// C-60: an id that was given to another service's real server leads no client astray. I-7.
#[test]
fn a_template_never_leads_out_of_its_service() {
    let mut bed = Bed::new(64);
    let first = bed.open((CLIENT, 1_000), world::STICKY);
    let id = bed.real_of(&first);
    let other_service = bed.service_mut(world::NAT).id;
    bed.host.reals.get_mut(&id).expect("it").service_id = other_service;
    assert_ne!(bed.open((CLIENT, 1_001), world::STICKY).real, first.real);
}

// C-65
#[test]
fn without_room_for_a_template_clients_are_served_and_counted() {
    let bed = Bed::new(64);
    bed.sticky_full.set(true);
    let served = reals(&bed, (1_000..1_004).map(|port| (CLIENT, port)));
    assert_ne!(served[0], served[1], "scheduled without");
    let counts = Counts::of(&bed);
    assert_eq!(counts.reasons["template_table_full"], 4);
    assert_eq!(counts.templates, 0);
}
