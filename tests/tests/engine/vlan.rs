//! VLAN tags: taken off, put on, and back where a packet is passed.

use lb_common::abi::{DropReason, LastHopKey, PassReason};
use lb_common::engine::{Action, Tables};
use lb_common::wire::Mac;
use lb_common::wire::vlan::Vlan;
use lb_tests::packets::{self, Flags};
use lb_tests::tags::tagged;
use lb_tests::world::{self, IFINDEX, QINQ, VIP, VLAN, World};

use crate::bed::{Bed, CLIENT, Conn};

const C: [u8; 2] = Vlan::CUSTOMER;
const P: [u8; 2] = Vlan::PROVIDER;

type Tags<'t> = &'t [([u8; 2], u16)];

/// Takes the tags off a frame; they must be these.
#[track_caller]
fn untagged(frame: &[u8], tags: Tags<'_>) -> Vec<u8> {
    let plain = [&frame[..12], &frame[12 + 4 * tags.len()..]].concat();
    assert_eq!(frame, tagged(&plain, tags));
    plain
}

/// A connection whose client is behind `near` and whose real servers are behind `far`, all its packets both ways.
fn talk(bed: &Bed, port: u16, near: Tags<'_>, far: Tags<'_>, sent_near: Tags<'_>) {
    let syn = packets::tcp((CLIENT, port), (VIP, world::NAT), Flags::SYN, b"");
    let at_real = packets::take(&untagged(&bed.send(&tagged(&syn, near)).bytes, far));
    let conn = Conn {
        client: (CLIENT, port),
        vip: (VIP, world::NAT),
        real: at_real.to,
        local: at_real.from,
    };
    for _ in 0..3 {
        let answer = bed.send(&tagged(&conn.down(Flags::SYN_ACK, b""), far));
        let at_client = packets::take(&untagged(&answer.bytes, sent_near));
        assert_eq!((at_client.from, at_client.to), (conn.vip, conn.client));
        assert_eq!(answer.verdict.ifindex(), if sent_near.is_empty() { IFINDEX } else { VLAN });
        let sent = bed.send(&tagged(&conn.up(Flags::ACK, b"hello"), near));
        assert_eq!(packets::take(&untagged(&sent.bytes, far)).payload, b"hello");
    }
    assert!(bed.state(&conn).is_some(), "established");
}

// P-14
#[test]
fn a_tag_comes_off_and_the_way_back_has_it_again() {
    let bed = Bed::of(World::with_outer_headers(64));
    talk(&bed, 40_000, &[(C, 100)], &[], &[(C, 100)]);
}

// P-14: the virtual address in one VLAN, the real servers in another.
#[test]
fn packets_change_from_one_vlan_to_another() {
    let mut world = World::with_outer_headers(64);
    world.move_to_vlan(world::NAT, QINQ);
    let bed = Bed::of(world);
    talk(&bed, 40_000, &[(C, 100)], &[(P, 200), (C, 7)], &[(C, 100)]);
    talk(&bed, 40_001, &[], &[(P, 200), (C, 7)], &[]);
}

// P-16: a priority is no VLAN; it is not passed on, and the answer has none.
#[test]
fn a_priority_tag_is_no_tag() {
    let bed = Bed::of(World::with_outer_headers(64));
    talk(&bed, 40_000, &[(C, 0xa000)], &[], &[]);
    talk(&bed, 40_001, &[(C, 0), (C, 100)], &[], &[(C, 100)]);
    // The number counts and not the priority.
    talk(&bed, 40_002, &[(C, 0xe064)], &[], &[(C, 100)]);
}

// P-14, P-15: also what is passed goes on as it came.
#[test]
fn what_is_not_ours_keeps_its_tags() {
    let bed = Bed::of(World::with_outer_headers(64));
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    let mut arp = syn.clone();
    arp[13] = 6;
    let other = packets::tcp((CLIENT, 40_000), (VIP, 9), Flags::SYN, b"");
    let ping = packets::icmp(CLIENT, VIP, (8, 0, [0; 4]), b"echo");
    let cases: [(&[u8], Tags<'_>, PassReason); 8] = [
        (&syn, &[(C, 99)], PassReason::UnknownVlan),
        (&syn, &[(P, 100)], PassReason::UnknownVlan),
        (&syn, &[(C, 200), (C, 7)], PassReason::UnknownVlan),
        (&syn, &[(P, 200), (C, 7), (C, 1)], PassReason::UnknownVlan),
        (&arp, &[(C, 100)], PassReason::NotIpv4),
        (&other, &[(C, 100)], PassReason::NoService),
        (&other, &[(P, 200), (C, 0x2007)], PassReason::NoService),
        (&ping, &[(C, 0x8000)], PassReason::IcmpQuery),
    ];
    for (frame, tags, reason) in cases {
        let frame = tagged(frame, tags);
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.slot(), reason.slot(), "{tags:?}: {:?}", sent.verdict);
        assert_eq!((sent.verdict.action(), sent.bytes), (Action::Pass, frame), "{tags:?}");
    }
    assert!(bed.send(&tagged(&syn, &[(C, 100)])[..16]).verdict.action() == Action::Pass, "cut");
}

// P-14: a refusal is for whoever is in that VLAN.
#[test]
fn errors_of_our_own_have_the_tag_of_what_they_are_about() {
    let bed = Bed::of(World::with_outer_headers(64));
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::EMPTY), Flags::SYN, b"");
    let sent = bed.send(&tagged(&syn, &[(C, 0x6064)]));
    assert_eq!(sent.verdict.slot(), DropReason::NoUsableReal.slot());
    assert_eq!((sent.verdict.action(), sent.verdict.ifindex()), (Action::Redirect, VLAN));
    let error = packets::take_error(&untagged(&sent.bytes, &[(C, 100)]));
    assert_eq!((error.from, error.to), (VIP, CLIENT));
}

// The same address in two VLANs is two senders.
#[test]
fn ways_back_are_learned_by_vlan() {
    let bed = Bed::of(World::with_outer_headers(64));
    let syn = |port| packets::tcp((CLIENT, port), (VIP, world::NAT), Flags::SYN, b"");
    bed.send(&syn(40_000));
    bed.send(&tagged(&syn(40_001), &[(C, 100)]));
    let hop = |ifindex| {
        let key = LastHopKey { ifindex, mac: Mac(packets::CLIENT_MAC), pad: [0; 2] };
        bed.last_hop(&key).expect("learned")
    };
    assert_ne!(hop(IFINDEX), hop(VLAN));
}

// A tunnel out of a VLAN: the tag is outermost.
#[test]
fn a_tunnel_leaves_by_a_vlan() {
    let mut world = World::with_outer_headers(64);
    world.move_to_vlan(world::IPIP, VLAN);
    let bed = Bed::of(world);
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::IPIP), Flags::SYN, b"");
    let plain = untagged(&bed.send(&syn).bytes, &[(C, 100)]);
    assert_eq!(plain[12..14], [8, 0]);
    assert_eq!((plain[23], &plain[34..36]), (4, &[0x45, 0][..]), "IP in IP");
}
