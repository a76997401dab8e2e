//! Packets whose next hop has no link-layer address yet: held by the daemon, and as good as new when they come back.

use lb_common::abi::{Budget, DropReason, HeldHead, HopId, HopState, Notice, limits};
use lb_common::engine::Action;
use lb_common::engine::tables::Table;
use lb_common::host::Frame;
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, IFINDEX, VIP};

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

/// Runs a packet that somebody would hold; what it was handed over with.
#[track_caller]
fn hold(bed: &Bed, bytes: &[u8]) -> (u32, Option<HeldHead>) {
    let mut frame = Frame { may_wait: true, ifindex: IFINDEX, ..Frame::new(bytes.to_vec()) };
    let verdict = bed.walk(&mut frame);
    assert_eq!(verdict.action(), Action::Drop, "{verdict:?}");
    assert_eq!(frame.bytes, bytes, "untouched");
    (verdict.slot(), frame.held.get())
}

/// Takes the address of every real server's next hop away, or gives it back.
fn all_hops(bed: &Bed, state: HopState) {
    for (real, _) in &bed.world.hops {
        bed.change_hop(real.hop(), |hop| hop.state = state as u8);
    }
}

fn syn(port: u16) -> Vec<u8> {
    packets::tcp((CLIENT, 40_000), (VIP, port), Flags::SYN, b"")
}

// K-36
#[test]
fn a_first_packet_is_held_without_a_trace_and_makes_its_flow_when_it_comes_back() {
    for port in [world::NAT, world::FULL_NAT, world::STICKY] {
        let bed = Bed::new(64);
        all_hops(&bed, HopState::Unresolved);
        let before = Counts::of(&bed);
        let (slot, head) = hold(&bed, &syn(port));
        assert_eq!(slot, Notice::Held.slot());
        let head = head.expect("handed over");
        assert!(bed.world.hops.iter().any(|(real, _)| real.hop() == head.hop), "{head:?}");
        assert_eq!((head.ifindex, head.len), (IFINDEX, syn(port).len() as u32));
        let mut right = before;
        right.raise(Notice::Held.name());
        assert_eq!(Counts::of(&bed), right, "no flow, no template, no connection counted");

        all_hops(&bed, HopState::Valid);
        assert!(bed.send(&syn(port)).left());
        assert_eq!(bed.host.entries(Table::HalfOpen).len(), 2);
    }
}

#[test]
fn a_packet_of_a_known_flow_is_held_too() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let hop = bed.real_of(&conn).hop();
    bed.change_hop(hop, |hop| hop.state = HopState::Unresolved as u8);
    let (slot, head) = hold(&bed, &conn.up(Flags::ACK, b"more"));
    assert_eq!((slot, head.map(|head| head.hop)), (Notice::Held.slot(), Some(hop)));
}

#[test]
fn what_cannot_wait_is_dropped_as_what_it_is() {
    let no_neighbour = DropReason::NoNeighbour.slot();
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    all_hops(&bed, HopState::Unresolved);

    bed.host.allow(Budget::Held, 0);
    assert_eq!(hold(&bed, &conn.up(Flags::ACK, b"")), (no_neighbour, None), "over the limit");
    bed.host.allow(Budget::Held, 9);

    all_hops(&bed, HopState::Gone);
    let gone = DropReason::RealGone.slot();
    assert_eq!(hold(&bed, &conn.up(Flags::ACK, b"")), (gone, None), "nobody will answer");

    // The way back to the client, which was learned.
    let back = HopId(limits::REALS);
    bed.change_hop(back, |hop| hop.state = HopState::Unresolved as u8);
    assert_eq!(hold(&bed, &conn.down(Flags::ACK, b"")), (no_neighbour, None), "a learned hop");
}

#[test]
fn a_frame_too_large_to_be_run_again_is_not_held() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    for (real, _) in &bed.world.hops {
        bed.change_hop(real.hop(), |hop| {
            hop.state = HopState::Unresolved as u8;
            hop.mtu = 9_000;
        });
    }
    let large = conn.up(Flags::ACK, &vec![b'x'; limits::HELD_FRAME as usize]);
    assert_eq!(hold(&bed, &large), (DropReason::NoNeighbour.slot(), None));
}
