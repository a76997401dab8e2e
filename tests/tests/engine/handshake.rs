//! From the first packet to an established flow, and how connections end.

use lb_common::abi::{ConnState, DropReason, Gauge, PassReason};
use lb_common::engine::tables::{InsertError, Table};
use lb_common::engine::{Flows, Tables};
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, REALS, VIP};

use crate::bed::{Bed, CLIENT, Conn, tuple};
use crate::counts::Counts;

// C-01
#[test]
fn the_first_syn_makes_one_record_with_both_directions() {
    let bed = Bed::new(64);
    let mut right = Counts::of(&bed);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    let real = bed.real_of(&conn);
    let after = Counts::of(&bed);
    let keys: Vec<_> = after.half_open.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&conn.key()) && keys.contains(&conn.reply_key()), "{keys:?}");
    assert_eq!(bed.half_open_state(&conn), Some(ConnState::SynRecv));
    right.half_open = after.half_open.clone();
    right.hop_cursor = 1;
    right.packet(real, false, 40);
    right.reals.get_mut(&real).expect("it").conns = 1;
    right.loads.insert(real, (0, 0, 1));
    assert_eq!(after, right);
    after.agree();
}

// C-02
#[test]
fn the_third_segment_establishes_and_replies_come_from_the_virtual_address() {
    let bed = Bed::new(64);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    let real = bed.real_of(&conn);
    let reply = bed.send(&conn.down(Flags::SYN_ACK, b"")).taken();
    assert_eq!((reply.from, reply.to), (conn.vip, conn.client));
    assert_eq!(bed.half_open_state(&conn), Some(ConnState::SynAck));
    assert_eq!(bed.pairs(Table::Flows), 0, "an answer alone promotes nobody");
    let mut right = Counts::of(&bed);
    bed.send(&conn.up(Flags::ACK, b"")).taken();
    let after = Counts::of(&bed);
    right.raise("promoted");
    right.packet(real, false, 40);
    right.loads.insert(real, (1, 0, 0));
    right.flows_gauge = 1;
    right.flows = after.flows.clone();
    right.half_open.clear();
    assert_eq!(after, right);
    after.agree();
    assert_eq!(bed.state(&conn), Some(ConnState::Established));
}

// C-20: who sends SYN and ACK blindly has not seen the real server's answer, and gets no place among the established.
#[test]
fn only_an_answer_and_an_acknowledgement_establish() {
    let bed = Bed::new(64);
    let blind = bed.open((CLIENT, 40_000), world::NAT);
    assert!(bed.send(&blind.up(Flags::ACK, b"data")).left());
    assert_eq!(bed.half_open_state(&blind), Some(ConnState::SynRecv));
    let answered = bed.open((CLIENT, 40_001), world::NAT);
    bed.send(&answered.down(Flags::SYN_ACK, b""));
    let nothing = Flags::default();
    for flags in [nothing, Flags::SYN, Flags::RST, Flags { fin: true, ..nothing }] {
        assert!(bed.send(&answered.up(flags, b"")).left());
        assert_eq!(bed.half_open_state(&answered), Some(ConnState::SynAck), "{flags:?}");
    }
    assert_eq!(bed.pairs(Table::Flows), 0);
    bed.send(&answered.up(Flags::FIN_ACK, b""));
    assert_eq!(bed.state(&answered), Some(ConnState::CloseWait), "established and closed in one");
    Counts::of(&bed).agree();
}

// P-68
#[test]
fn a_syn_sent_again_goes_to_the_same_real_server_and_makes_nothing() {
    let bed = Bed::new(64);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    let before = Counts::of(&bed);
    for _ in 0..5 {
        let again = bed.syn(conn.client, world::NAT).taken();
        assert_eq!((again.from, again.to), (conn.local, conn.real));
    }
    let mut right = before;
    for _ in 0..5 {
        right.packet(bed.real_of(&conn), false, 40);
    }
    assert_eq!(Counts::of(&bed), right);
}

// C-03: with both entries gone, with one gone.
#[test]
fn a_record_deleted_between_packets_leaves_no_half_entry_behind() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = Bed::new(64);
        let conn = bed.establish((CLIENT, 40_000), service);
        assert!(bed.remove(Table::Flows, &conn.key()));
        assert!(bed.remove(Table::Flows, &conn.reply_key()));
        let next = bed.send(&conn.up(Flags::ACK, b""));
        assert_eq!(next.verdict.slot(), PassReason::NoFlowNotSyn.slot());
        let reply = bed.send(&conn.down(Flags::ACK, b""));
        assert_eq!(reply.verdict.slot(), PassReason::NoService.slot());
        assert!(bed.host.entries(Table::Flows).is_empty());
        assert!(bed.host.entries(Table::HalfOpen).is_empty());
    }
}

// C-03: a reply entry without its primary serves nobody and goes at the next sweep; then the tuple is free again.
#[test]
fn an_orphaned_reply_entry_is_swept() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::TWIN);
    assert!(bed.remove(Table::Flows, &conn.key()));
    let clash = bed.syn(conn.client, world::TWIN);
    assert_eq!(clash.verdict.slot(), DropReason::TupleClash.slot());
    assert_eq!(bed.sweep(), 0, "it was no flow any more");
    assert!(bed.host.entries(Table::Flows).is_empty());
    assert!(bed.syn(conn.client, world::TWIN).left());
}

// C-03: a flood took the reply half of a half-open flow; the client's retransmission brings it back.
#[test]
fn a_lost_reply_half_is_repaired_by_the_client() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = Bed::new(64);
        let conn = bed.open((CLIENT, 40_000), service);
        assert!(bed.remove(Table::HalfOpen, &conn.reply_key()));
        let mut right = Counts::of(&bed);
        let again = bed.syn(conn.client, service).taken();
        assert_eq!((again.from, again.to), (conn.local, conn.real));
        right.raise("repaired");
        right.packet(bed.real_of(&conn), false, 40);
        right.half_open = bed.host.entries(Table::HalfOpen);
        assert_eq!(right.half_open.len(), 2);
        assert_eq!(Counts::of(&bed), right);
        assert!(bed.send(&conn.down(Flags::SYN_ACK, b"")).left());
        assert!(bed.send(&conn.up(Flags::ACK, b"")).left());
        assert_eq!(bed.state(&conn), Some(ConnState::Established));
        Counts::of(&bed).agree();
    }
}

// C-03: meanwhile another flow has taken the reply tuple; the client starts over, with another real server.
#[test]
fn a_lost_reply_half_whose_tuple_is_taken_starts_over() {
    let bed = Bed::new(64);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    assert!(bed.remove(Table::HalfOpen, &conn.reply_key()));
    let other = bed.establish(conn.client, world::TWIN);
    assert_eq!(other.reply_key(), conn.reply_key());
    let again = bed.syn(conn.client, world::NAT).taken();
    assert_ne!(again.to, conn.real, "that tuple is the other flow's");
    assert_eq!(bed.pairs(Table::HalfOpen), 1);
    assert_eq!(bed.state(&other), Some(ConnState::Established));
    Counts::of(&bed).agree();
}

// C-03, I-9: the tuple went to another flow between the answer and the third segment.
#[test]
fn a_third_segment_whose_reply_tuple_is_anothers_is_refused() {
    let bed = Bed::new(64);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    bed.send(&conn.down(Flags::SYN_ACK, b""));
    bed.obstacle.set(Some(|_, table, _| (table == Table::Flows).then_some(InsertError::Exists)));
    let mut right = Counts::of(&bed);
    let refused = bed.send(&conn.up(Flags::ACK, b""));
    assert_eq!(refused.verdict.slot(), DropReason::TupleClash.slot());
    right.raise("tuple_clash");
    assert_eq!(Counts::of(&bed), right);
}

// C-03: the request half of a half-open flow is gone; its SYN makes way for itself.
#[test]
fn a_lost_request_half_does_not_lock_the_client_out() {
    let bed = Bed::new(64);
    let conn = bed.open((CLIENT, 40_000), world::TWIN);
    assert!(bed.remove(Table::HalfOpen, &conn.key()));
    let again = bed.syn(conn.client, world::TWIN).taken();
    assert_eq!(again.to, conn.real);
    assert_eq!(bed.pairs(Table::HalfOpen), 1);
}

thread_local! {
    static THEIRS: std::cell::RefCell<Vec<(lb_common::abi::FlowKey, lb_common::abi::Flow)>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

// C-04: between this CPU's claim of the reply tuple and its record the other CPU's flow appears.
#[test]
fn two_cpus_that_admit_one_tuple_agree_on_one_record() {
    let bed = Bed::new(64);
    // What the other CPU makes of it, in tables of its own.
    let other = Bed::new(64);
    let theirs = other.open((CLIENT, 40_000), world::NAT);
    THEIRS.with(|theirs| theirs.replace(other.host.entries(Table::HalfOpen)));
    bed.obstacle.set(Some(|bed, table, key| {
        if table != Table::HalfOpen || *key != tuple((CLIENT, 40_000), (VIP, world::NAT), 6) {
            return None;
        }
        bed.obstacle.set(None);
        for (key, flow) in THEIRS.with(|theirs| theirs.borrow().clone()) {
            bed.host
                .insert(Table::HalfOpen, &key, &flow)
                .expect("another real server, so another tuple");
        }
        Some(InsertError::Exists)
    }));
    // Ours begins at the second real server.
    bed.host.next_pick(bed.world.services[0].1.id);
    let sent = bed.syn((CLIENT, 40_000), world::NAT).taken();
    assert_eq!(sent.to, theirs.real, "the first record is the flow");
    assert_eq!(bed.pairs(Table::HalfOpen), 1, "and our claim is taken back");
    assert!(bed.host.half_open(&theirs.reply_key()).is_some());
    let conns: u64 = bed.world.reals.iter().map(|(id, _)| bed.host.counters(*id).conns).sum();
    assert_eq!(conns, 0, "counted by the CPU that made it");
    let loads: i64 = bed.world.reals.iter().map(|(id, _)| bed.host.load_of(*id).2).sum();
    assert_eq!(loads, 0);
}

// C-04: another CPU promotes the pair at this moment; this packet is forwarded, the counters are the other's.
#[test]
fn a_pair_that_another_cpu_promotes_is_left_to_it() {
    let bed = Bed::new(64);
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    bed.send(&conn.down(Flags::SYN_ACK, b""));
    bed.obstacle.set(Some(|bed, table, key| {
        if table != Table::Flows {
            return None;
        }
        let half_open = bed.host.entries(Table::HalfOpen);
        let (_, theirs) = half_open.iter().find(|(there, _)| there == key)?;
        bed.host.insert(Table::Flows, key, theirs).expect("the other CPU was first");
        Some(InsertError::Exists)
    }));
    let mut right = Counts::of(&bed);
    bed.send(&conn.up(Flags::ACK, b"")).taken();
    right.packet(bed.real_of(&conn), false, 40);
    right.flows = bed.host.entries(Table::Flows);
    assert_eq!(right.flows.len(), 1, "the other CPU's, so far");
    assert_eq!(Counts::of(&bed), right);
}

// C-08: no room for the second of two entries; the first is taken back.
#[test]
fn a_claim_is_taken_back_where_the_record_finds_no_room() {
    let bed = Bed::new(64);
    bed.obstacle.set(Some(|_, _, key| (key.dst == VIP.into()).then_some(InsertError::Full)));
    let mut right = Counts::of(&bed);
    let refused = bed.syn((CLIENT, 40_000), world::NAT);
    assert_eq!(refused.verdict.slot(), DropReason::HalfOpenFull.slot());
    right.raise("half_open_full");
    right.hop_cursor += 1;
    assert_eq!(Counts::of(&bed), right);
}

/// How a connection ends: the packets, and its state then.
type Ending = (&'static str, fn(&Conn) -> Vec<Vec<u8>>, ConnState);

// C-31: a new connection on a tuple in TIME_WAIT or CLOSE is scheduled anew, its first SYN already.
#[test]
fn a_port_used_again_after_the_end_is_scheduled_anew() {
    let endings: [Ending; 3] = [
        (
            "the client closes",
            |conn| vec![conn.up(Flags::FIN_ACK, b""), conn.down(Flags::FIN_ACK, b"")],
            ConnState::TimeWait,
        ),
        (
            "the real server closes",
            |conn| vec![conn.down(Flags::FIN_ACK, b""), conn.up(Flags::FIN_ACK, b"")],
            ConnState::TimeWait,
        ),
        ("reset", |conn| vec![conn.up(Flags::RST, b"")], ConnState::Close),
    ];
    for service in [world::NAT, world::FULL_NAT] {
        for (what, ending, state) in endings {
            let bed = Bed::new(64);
            let old = bed.establish((CLIENT, 40_000), service);
            for frame in ending(&old) {
                assert!(bed.send(&frame).left(), "{what}");
            }
            assert_eq!(bed.state(&old), Some(state), "{what}");
            let new = bed.establish(old.client, service);
            assert_ne!(new.real, old.real, "{what}: round robin went on");
            assert_eq!(bed.pairs(Table::Flows), 1, "{what}: the old flow is gone");
            Counts::of(&bed).agree();
        }
    }
}

// C-32
#[test]
fn a_port_used_again_does_not_go_to_a_drained_real_server() {
    let mut bed = Bed::new(64);
    let old = bed.establish((CLIENT, 40_000), world::NAT);
    bed.send(&old.up(Flags::FIN_ACK, b""));
    bed.send(&old.down(Flags::FIN_ACK, b""));
    let drained = bed.real_of(&old);
    let slots_at = bed.service_mut(world::NAT).slots_at as usize;
    let left =
        *bed.host.slots[slots_at..slots_at + 2].iter().find(|id| **id != drained).expect("one");
    bed.host.slots[slots_at] = left;
    bed.service_mut(world::NAT).slots_len = 1;
    let new = bed.open(old.client, world::NAT);
    assert_ne!(new.real, old.real);
}

// C-31: where the same real server is chosen again the reply tuple is the old one.
#[test]
fn a_port_used_again_may_meet_the_same_real_server() {
    let bed = Bed::new(64);
    for _ in 0..5 {
        let conn = bed.establish((CLIENT, 40_000), world::TWIN);
        assert_eq!(conn.real, REALS[0]);
        bed.send(&conn.down(Flags::FIN_ACK, b""));
        bed.send(&conn.up(Flags::FIN_ACK, b""));
        assert_eq!(bed.pairs(Table::Flows), 1);
        Counts::of(&bed).agree();
    }
}

// C-31: the ended connection of another virtual server makes way for the same reply tuple.
#[test]
fn an_ended_connection_of_another_service_makes_way() {
    let bed = Bed::new(64);
    let old = bed.establish((CLIENT, 40_000), world::NAT);
    assert_eq!(old.real, REALS[0]);
    let clash = bed.syn(old.client, world::TWIN);
    assert_eq!(clash.verdict.slot(), DropReason::TupleClash.slot());
    bed.send(&old.up(Flags::RST, b""));
    let new = bed.establish(old.client, world::TWIN);
    assert_eq!(new.real, old.real);
    let reply = bed.send(&new.down(Flags::ACK, b"")).taken();
    assert_eq!(reply.from, (VIP, world::TWIN));
    assert_eq!(bed.pairs(Table::Flows), 1);
    Counts::of(&bed).agree();
}

// P-64, P-65: sequence numbers are not looked at, so every reset may be a blind one: the flow stays usable and lives
// on for the CLOSE timeout.
#[test]
fn a_reset_is_forwarded_and_the_entry_stays_usable() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    assert!(bed.send(&conn.up(Flags::RST, b"")).left());
    assert_eq!(bed.state(&conn), Some(ConnState::Close));
    let timeout = bed.world.timeout(ConnState::Close);
    for _ in 0..5 {
        bed.wait(timeout);
        assert_eq!(bed.sweep(), 0);
        assert!(bed.send(&conn.up(Flags::ACK, b"still here")).left());
        assert!(bed.send(&conn.down(Flags::ACK, b"so am I")).left());
    }
    bed.wait(timeout + 1);
    assert_eq!(bed.sweep(), 1);
}

// P-64: a connection refused by the real server, and tried again.
#[test]
fn a_refused_connection_is_closed_and_the_next_syn_is_a_new_one() {
    let bed = Bed::new(64);
    let refused = bed.open((CLIENT, 40_000), world::NAT);
    let reset = bed.send(&refused.down(Flags::RST, b"")).taken();
    assert_eq!((reset.from, reset.to), (refused.vip, refused.client));
    assert_eq!(bed.half_open_state(&refused), Some(ConnState::Close));
    let next = bed.open(refused.client, world::NAT);
    assert_ne!(next.real, refused.real);
    assert_eq!(bed.pairs(Table::HalfOpen), 1);
    Counts::of(&bed).agree();
}

// UDP is established by the answer or by the second datagram.
#[test]
fn a_datagram_establishes_once_it_is_answered_or_followed() {
    for service in [world::DNS, world::UDP_FULL_NAT] {
        for answered in [true, false] {
            let bed = Bed::new(64);
            let client = (CLIENT, 5_353);
            let query = packets::udp(client, (VIP, service), b"q");
            let at_real = bed.send(&query).taken();
            assert_eq!((bed.pairs(Table::HalfOpen), bed.pairs(Table::Flows)), (1, 0));
            let second =
                if answered { packets::udp(at_real.to, at_real.from, b"a") } else { query };
            let sent = bed.send(&second).taken();
            if answered {
                assert_eq!((sent.from, sent.to), ((VIP, service), client));
            } else {
                assert_eq!((sent.from, sent.to), (at_real.from, at_real.to));
            }
            assert_eq!((bed.pairs(Table::HalfOpen), bed.pairs(Table::Flows)), (0, 1));
            assert_eq!(bed.host.gauge(Gauge::Flows), 1);
            Counts::of(&bed).agree();
        }
    }
}
