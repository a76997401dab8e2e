//! Timeouts, what makes a flow younger, and counters that end where they began.

use std::net::Ipv4Addr;

use lb_common::abi::{ConnState, FlowKey, Gauge, Tick, Timeouts};
use lb_common::engine::tables::Table;
use lb_common::engine::{Flows, Tables};
use lb_tests::packets::{self, End, Flags};
use lb_tests::world::{self, VIP};
use proptest::prelude::*;

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

// C-50: IPVS's seconds (`tcp_timeouts`, `udp_timeouts`) in the world's ticks of a quarter.
#[test]
fn every_state_of_an_established_flow_lasts_its_timeout_and_not_a_tick_longer() {
    let seconds = [
        (ConnState::Established, 15 * 60),
        (ConnState::SynSent, 2 * 60),
        (ConnState::SynRecv, 60),
        (ConnState::FinWait, 2 * 60),
        (ConnState::TimeWait, 2 * 60),
        (ConnState::Close, 10),
        (ConnState::CloseWait, 60),
        (ConnState::LastAck, 30),
        (ConnState::Listen, 2 * 60),
        (ConnState::SynAck, 2 * 60),
        (ConnState::Udp, 5 * 60),
        (ConnState::None, 2),
    ];
    assert_eq!(Timeouts::IPVS_SECONDS.len(), seconds.len() + 1, "all but DEAD");
    for (state, seconds) in seconds {
        for wrap in [false, true] {
            let bed = Bed::new(8);
            if wrap {
                bed.host.set_now(Tick(u32::MAX - 3));
            }
            let conn = bed.establish((CLIENT, 40_000), world::NAT);
            for key in [conn.key(), conn.reply_key()] {
                bed.host.flow(&key).expect("established").set_state(state);
            }
            if !state.is_active() {
                let change =
                    lb_common::engine::tables::LoadChange { active: -1, inactive: 1, half_open: 0 };
                bed.host.add_load(bed.real_of(&conn), change);
            }
            bed.wait(4 * seconds);
            assert_eq!(bed.sweep(), 0, "{state:?} at its timeout");
            bed.wait(1);
            assert_eq!(bed.sweep(), 1, "{state:?} a tick later");
            assert_eq!(bed.pairs(Table::Flows), 0);
            Counts::of(&bed).agree();
        }
    }
}

/// How a flow begins, and the seconds it then lasts.
type Opening = (&'static str, fn(&Bed), u32);

// C-50, C-53
#[test]
fn half_open_flows_last_as_long_as_syn_recv_and_datagrams_as_long_as_udp() {
    let openings: [Opening; 4] = [
        (
            "asked",
            |bed| {
                bed.open((CLIENT, 40_000), world::NAT);
            },
            60,
        ),
        (
            "answered",
            |bed| {
                let conn = bed.open((CLIENT, 40_000), world::NAT);
                bed.send(&conn.down(Flags::SYN_ACK, b""));
            },
            60,
        ),
        (
            "refused",
            |bed| {
                let conn = bed.open((CLIENT, 40_000), world::NAT);
                bed.send(&conn.down(Flags::RST, b""));
            },
            10,
        ),
        (
            "a datagram",
            |bed| {
                bed.send(&packets::udp((CLIENT, 53), (VIP, world::DNS), b""));
            },
            300,
        ),
    ];
    for (what, open, seconds) in openings {
        let bed = Bed::new(8);
        open(&bed);
        bed.wait(4 * seconds);
        assert_eq!(bed.sweep(), 0, "{what}");
        bed.wait(1);
        assert_eq!(bed.sweep(), 1, "{what}");
        assert_eq!(bed.pairs(Table::HalfOpen), 0, "{what}");
        Counts::of(&bed).agree();
    }
}

// C-52: forwarded packets of either direction; not those that are dropped, nor ICMP errors about the flow.
#[test]
fn what_is_forwarded_keeps_a_flow_alive_and_nothing_else_does() {
    let timeout = 900 * 4;
    let bed = Bed::new(8);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    for frame in [conn.up(Flags::ACK, b"x"), conn.down(Flags::ACK, b"x")] {
        for _ in 0..3 {
            bed.wait(timeout);
            assert_eq!(bed.sweep(), 0);
            assert!(bed.send(&frame).left());
        }
    }
    bed.wait(timeout);
    let mut icmp = conn.up(Flags::ACK, b"");
    icmp[23] = 1;
    for frame in [packets::with_ttl(conn.up(Flags::ACK, b""), 1), icmp] {
        assert!(!bed.send(&frame).left());
    }
    bed.wait(1);
    assert_eq!(bed.sweep(), 1);
}

// C-52: so do segments that change the state, and those of half-open flows.
#[test]
fn a_change_of_state_begins_its_timeout_anew() {
    let bed = Bed::new(8);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    bed.wait(899 * 4);
    assert!(bed.send(&conn.up(Flags::FIN_ACK, b"")).left());
    bed.wait(60 * 4);
    assert_eq!(bed.sweep(), 0);
    assert!(bed.send(&conn.down(Flags::FIN_ACK, b"")).left());
    bed.wait(120 * 4);
    assert_eq!(bed.sweep(), 0);
    bed.wait(1);
    assert_eq!(bed.sweep(), 1);

    let half = bed.open((CLIENT, 40_001), world::NAT);
    for _ in 0..3 {
        bed.wait(60 * 4);
        assert_eq!(bed.sweep(), 0);
        assert!(bed.syn(half.client, world::NAT).left());
    }
    bed.wait(60 * 4 + 1);
    assert_eq!(bed.sweep(), 1);
}

// C-68: an entry that only looks old is not offered to the program again and again.
#[test]
fn a_sweep_makes_the_silent_direction_as_young_as_the_other() {
    let bed = Bed::new(8);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    bed.wait(1_000);
    bed.send(&conn.up(Flags::ACK, b""));
    bed.sweep();
    let stamps = [conn.key(), conn.reply_key()].map(|key| bed.host.flow(&key).expect("it").stamp());
    assert_eq!(stamps, [bed.host.now(); 2]);
}

// C-50: one direction alone keeps both entries, whichever of them the sweep is shown.
#[test]
fn a_pair_is_as_young_as_the_younger_of_its_two() {
    let timeout = 900 * 4;
    for reply in [false, true] {
        let bed = Bed::new(8);
        let conn = bed.establish((CLIENT, 40_000), world::NAT);
        bed.wait(timeout);
        let frame = if reply { conn.down(Flags::ACK, b"") } else { conn.up(Flags::ACK, b"") };
        bed.send(&frame);
        bed.wait(timeout);
        for key in [conn.key(), conn.reply_key()] {
            assert_eq!(bed.expire(&[key]), 0);
        }
        bed.wait(1);
        let key = if reply { conn.key() } else { conn.reply_key() };
        assert_eq!(bed.expire(&[key]), 1);
        assert!(bed.host.entries(Table::Flows).is_empty());
        assert_eq!(bed.host.gauge(Gauge::Flows), 0);
    }
}

// C-48: keys that no entry has, an empty list, a list cut short, the same key twice.
#[test]
fn odd_lists_of_keys_end_nothing_twice() {
    let bed = Bed::new(8);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    bed.wait(100_000);
    assert_eq!(bed.expire(&[]), 0);
    assert_eq!(bed.expire(&[FlowKey::default(), conn.key()]), 0, "an all-zero key ends the list");
    let stranger = FlowKey { proto: 6, ..FlowKey::default() };
    assert_eq!(bed.expire(&[stranger, conn.reply_key(), conn.key(), conn.key()]), 1);
    Counts::of(&bed).agree();
}

// C-09, C-68
#[test]
fn a_sweep_ends_all_that_is_over_and_nothing_else() {
    let bed = Bed::new(2_000);
    for port in 1..=1_000 {
        let conn = bed.establish((CLIENT, port), world::NAT);
        if port % 2 == 0 {
            bed.send(&conn.up(Flags::RST, b""));
        }
    }
    bed.wait(bed.world.timeout(ConnState::Close) + 1);
    assert_eq!(bed.sweep(), 500);
    assert_eq!(bed.host.gauge(Gauge::Flows), 500);
    assert_eq!(bed.pairs(Table::Flows), 500);
    let rest = bed.host.entries(Table::Flows);
    assert!(rest.iter().all(|(_, flow)| flow.conn_state() == Some(ConnState::Established)));
    Counts::of(&bed).agree();
}

/// Something that happens to one of a few clients.
#[derive(Clone, Debug)]
enum Event {
    /// The client speaks.
    Up { client: u8, service: usize, flags: u8 },
    /// The real server of the client's last packet speaks.
    Down { client: u8, service: usize, flags: u8 },
    /// Ticks pass and the sweep runs.
    Wait(u32),
}

const SERVICES: [u16; 8] = [
    world::NAT,
    world::FULL_NAT,
    world::WLC,
    world::STICKY,
    world::SH,
    world::TWIN,
    world::DNS,
    world::UDP_FULL_NAT,
];

fn any_event() -> impl Strategy<Value = Event> {
    let who = || (0..4_u8, 0..SERVICES.len());
    // Mostly what connections really do: SYN, ACK, FIN+ACK.
    let flags = || prop_oneof![3 => Just(1_u8), 3 => Just(2_u8), 2 => Just(6_u8), 1 => 0..16_u8];
    let answer = || prop_oneof![3 => Just(3_u8), 3 => Just(2_u8), 2 => Just(6_u8), 1 => 0..16_u8];
    prop_oneof![
        6 => (who(), flags()).prop_map(|((client, service), flags)| Event::Up { client, service, flags }),
        5 => (who(), answer()).prop_map(|((client, service), flags)| Event::Down { client, service, flags }),
        1 => (0..300_u32).prop_map(Event::Wait),
    ]
}

fn frame(service: usize, from: End, to: End, flags: u8) -> Vec<u8> {
    match SERVICES[service] {
        world::DNS | world::UDP_FULL_NAT => packets::udp(from, to, b"datagram"),
        _ => packets::tcp(from, to, Flags::from_bits(flags), b""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    // C-48, X-20: I-7, I-8 after every event, I-9 by the tables' own keys, and all counters at 0 in the end.
    #[test]
    fn counters_agree_with_the_tables_always_and_are_0_at_the_end(
        events in prop::collection::vec(any_event(), 1..250),
    ) {
        let bed = Bed::new(12);
        let mut last = std::collections::HashMap::new();
        for event in events {
            match event {
                Event::Up { client, service, flags } => {
                    let from = (Ipv4Addr::new(10, 65, 0, client), 40_000);
                    let sent = bed.send(&frame(service, from, (VIP, SERVICES[service]), flags));
                    if sent.left() {
                        let taken = sent.taken();
                        last.insert((client, service), (taken.to, taken.from));
                    }
                }
                Event::Down { client, service, flags } => {
                    if let Some((real, local)) = last.get(&(client, service)) {
                        bed.send(&frame(service, *real, *local, flags));
                    }
                }
                Event::Wait(ticks) => {
                    bed.wait(ticks);
                    bed.sweep();
                }
            }
            let counts = Counts::of(&bed);
            counts.agree();
            for (_, flow) in counts.flows.iter().chain(&counts.half_open) {
                let real = bed.host.reals[&flow.rewrite.real];
                prop_assert_eq!(real.service_id, flow.rewrite.service, "of the flow's own service");
                prop_assert!(flow.conn_state().is_some());
            }
        }
        bed.wait(1_000_000);
        bed.sweep();
        let end = Counts::of(&bed);
        prop_assert!(end.flows.is_empty() && end.half_open.is_empty());
        prop_assert_eq!(end.flows_gauge, 0);
        prop_assert!(end.loads.values().all(|load| *load == (0, 0, 0)), "{:?}", end.loads);
    }
}
