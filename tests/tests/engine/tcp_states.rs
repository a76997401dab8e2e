//! TCP's states against IPVS's table, written down again by rows as it stands in
//! `net/netfilter/ipvs/ip_vs_proto_tcp.c` (`tcp_states`).

use lb_common::abi::{ConnState, FlowFlags};
use lb_common::engine::tcp_state::{after, is_quiet, may_be_reused};
use lb_common::wire::tcp::TcpFlags;
use lb_tests::packets::Flags;
use lb_tests::world;

use crate::bed::{Bed, CLIENT};

/// The columns: the state before.
const BEFORE: &str = "NO ES SS SR FW TW CL CW LA LI SA";

/// Row, direction, the states after.
const IPVS: [(&str, &str, &str); 12] = [
    ("in", "syn", "SR ES ES SR SR SR SR SR SR SR SR"),
    ("in", "fin", "CL CW SS TW TW TW CL CW LA LI TW"),
    ("in", "ack", "ES ES SS ES FW TW CL CW CL LI ES"),
    ("in", "rst", "CL CL CL SR CL CL CL CL LA LI SR"),
    ("out", "syn", "SS ES SS SR SS SS SS SS SS LI SR"),
    ("out", "fin", "TW FW SS TW FW TW CL TW LA LI TW"),
    ("out", "ack", "ES ES SS ES FW TW CL CW LA ES ES"),
    ("out", "rst", "CL CL SS CL CL TW CL CL CL CL CL"),
    ("alone", "syn", "SR ES ES SR SR SR SR SR SR SR SR"),
    ("alone", "fin", "CL FW SS TW FW TW CL CW LA LI TW"),
    ("alone", "ack", "ES ES SS ES FW TW CL CW CL LI ES"),
    ("alone", "rst", "CL CL CL SR CL CL CL CL LA LI CL"),
];

fn state(short: &str) -> ConnState {
    match short {
        "NO" => ConnState::None,
        "ES" => ConnState::Established,
        "SS" => ConnState::SynSent,
        "SR" => ConnState::SynRecv,
        "FW" => ConnState::FinWait,
        "TW" => ConnState::TimeWait,
        "CL" => ConnState::Close,
        "CW" => ConnState::CloseWait,
        "LA" => ConnState::LastAck,
        "LI" => ConnState::Listen,
        "SA" => ConnState::SynAck,
        other => panic!("no state {other}"),
    }
}

/// The entry's flags of a direction.
fn entry(direction: &str) -> u8 {
    match direction {
        "in" => 0,
        "out" => FlowFlags::REPLY,
        "alone" => FlowFlags::DIRECT,
        other => panic!("no direction {other}"),
    }
}

/// The row of a segment: reset before SYN before FIN before ACK (`tcp_state_idx`).
fn row(flags: u8) -> Option<&'static str> {
    [("rst", TcpFlags::RST), ("syn", TcpFlags::SYN), ("fin", TcpFlags::FIN), ("ack", TcpFlags::ACK)]
        .into_iter()
        .find_map(|(row, bit)| (flags & bit != 0).then_some(row))
}

// P-63, P-66: every state, both directions, all 256 values of the flags.
#[test]
fn every_transition_is_that_of_ipvs() {
    for (direction, segment, states) in IPVS {
        for (short, next) in BEFORE.split(' ').zip(states.split(' ')) {
            for flags in (0..=u8::MAX).filter(|flags| row(*flags) == Some(segment)) {
                let got = after(state(short), TcpFlags(flags), entry(direction));
                assert_eq!(got, state(next), "{direction} {segment} ({flags:#010b}) in {short}");
            }
        }
    }
}

// P-58: IPVS would close the connection; no TCP sends such a segment, so here it changes nothing.
#[test]
fn a_segment_without_flags_that_matter_changes_nothing() {
    for short in BEFORE.split(' ') {
        for flags in (0..=u8::MAX).filter(|flags| row(*flags).is_none()) {
            for entry in [0, FlowFlags::REPLY, FlowFlags::DIRECT] {
                assert_eq!(after(state(short), TcpFlags(flags), entry), state(short));
            }
        }
    }
}

#[test]
fn udp_and_dead_never_change() {
    for flags in 0..=u8::MAX {
        for entry in [0, FlowFlags::REPLY, FlowFlags::DIRECT] {
            for fixed in [ConnState::Udp, ConnState::Dead] {
                assert_eq!(after(fixed, TcpFlags(flags), entry), fixed);
            }
        }
    }
}

// The established path takes only what would change nothing.
#[test]
fn what_is_quiet_changes_no_state() {
    for raw in 0..ConnState::COUNT as u32 {
        let before = ConnState::from_raw(raw).expect("a state");
        for flags in 0..=u8::MAX {
            if is_quiet(raw, TcpFlags(flags)) {
                assert_ne!(before, ConnState::Dead, "an ended flow forwards nothing");
                for entry in [0, FlowFlags::REPLY, FlowFlags::DIRECT] {
                    assert_eq!(after(before, TcpFlags(flags), entry), before, "{flags:#010b}");
                }
            }
        }
    }
    assert!(!is_quiet(99, TcpFlags(TcpFlags::ACK)), "a number of no state");
}

// C-31: `is_new_conn_expected` with conn_reuse_mode 1.
#[test]
fn time_wait_and_close_may_be_used_again() {
    let reusable: Vec<ConnState> = (0..ConnState::COUNT as u32)
        .filter_map(ConnState::from_raw)
        .filter(|state| may_be_reused(*state))
        .collect();
    assert_eq!(reusable, [ConnState::TimeWait, ConnState::Close]);
}

/// One step: who speaks and what, and where the connection then is.
type Walk = (&'static str, &'static [(bool, Flags, ConnState)]);

const CLIENT_SPEAKS: bool = false;
const REAL_SPEAKS: bool = true;

// P-62, P-63, P-67: through the tables, counters of active and inactive included.
#[test]
fn connections_walk_through_the_states_as_under_ipvs() {
    use ConnState::{Close, CloseWait, Established, FinWait, SynRecv, SynSent, TimeWait};
    let walks: [Walk; 8] = [
        (
            "the client closes first",
            &[
                (CLIENT_SPEAKS, Flags::FIN_ACK, CloseWait),
                (REAL_SPEAKS, Flags::ACK, CloseWait),
                (REAL_SPEAKS, Flags::FIN_ACK, TimeWait),
                (CLIENT_SPEAKS, Flags::ACK, TimeWait),
            ],
        ),
        (
            "the real server closes first",
            &[
                (REAL_SPEAKS, Flags::FIN_ACK, FinWait),
                (CLIENT_SPEAKS, Flags::ACK, FinWait),
                (CLIENT_SPEAKS, Flags::FIN_ACK, TimeWait),
                (REAL_SPEAKS, Flags::ACK, TimeWait),
            ],
        ),
        (
            "both at once",
            &[(CLIENT_SPEAKS, Flags::FIN_ACK, CloseWait), (REAL_SPEAKS, Flags::FIN_ACK, TimeWait)],
        ),
        (
            "half closed, data still flowing",
            &[
                (CLIENT_SPEAKS, Flags::FIN_ACK, CloseWait),
                (REAL_SPEAKS, Flags::ACK, CloseWait),
                (CLIENT_SPEAKS, Flags::ACK, CloseWait),
                (REAL_SPEAKS, Flags::ACK, CloseWait),
            ],
        ),
        ("a reset by the real server", &[(REAL_SPEAKS, Flags::RST, Close)]),
        (
            "a reset by the real server after the end",
            &[
                (CLIENT_SPEAKS, Flags::FIN_ACK, CloseWait),
                (REAL_SPEAKS, Flags::FIN_ACK, TimeWait),
                (REAL_SPEAKS, Flags::RST, TimeWait),
            ],
        ),
        (
            "a SYN on an established tuple, the real server's challenge, the client's reset",
            &[
                (CLIENT_SPEAKS, Flags::SYN, Established),
                (REAL_SPEAKS, Flags::ACK, Established),
                (CLIENT_SPEAKS, Flags::RST, Close),
            ],
        ),
        (
            "opened again while half closed",
            &[
                (REAL_SPEAKS, Flags::FIN_ACK, FinWait),
                (REAL_SPEAKS, Flags::SYN, SynSent),
                (CLIENT_SPEAKS, Flags::SYN, Established),
                (CLIENT_SPEAKS, Flags::FIN_ACK, CloseWait),
                (CLIENT_SPEAKS, Flags::SYN, SynRecv),
                (REAL_SPEAKS, Flags::SYN_ACK, SynRecv),
                (CLIENT_SPEAKS, Flags::ACK, Established),
            ],
        ),
    ];
    for service in [world::NAT, world::FULL_NAT] {
        for (what, steps) in walks {
            let bed = Bed::new(8);
            let conn = bed.establish((CLIENT, 40_000), service);
            let real = bed.real_of(&conn);
            for (number, &(who, flags, state)) in steps.iter().enumerate() {
                let frame =
                    if who == REAL_SPEAKS { conn.down(flags, b"") } else { conn.up(flags, b"") };
                bed.send(&frame).taken();
                assert_eq!(bed.state(&conn), Some(state), "{what}, step {number}");
                let active = u32::from(state == Established);
                assert_eq!(
                    bed.host.load_of(real),
                    (active, 1 - active, 0),
                    "{what}, step {number}"
                );
            }
        }
    }
}
