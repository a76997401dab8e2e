//! IPv6 through the same engine: both methods, both directions, extension headers, fragments, ICMPv6.

use std::net::Ipv6Addr;

use lb_common::abi::{Budget, ConnState, DropReason, FlowKey, PassReason};
use lb_common::engine::tables::Table;
use lb_common::engine::{Action, Flows};
use lb_common::wire::{Addr6, Port};
use lb_tests::packets::Flags;
use lb_tests::packets6::{self, End, IP, PAYLOAD, icmp, next, padding};
use lb_tests::world::{self, LOCAL6, OUTER6, REALS6, VIP6};

use crate::bed::{Bed, Sent};

const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);
/// A router that something stopped at.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 9);

/// A connection as its ends see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Conn {
    client: End,
    vip: End,
    real: End,
    local: End,
}

impl Conn {
    fn up(&self, flags: Flags, payload: &[u8]) -> Vec<u8> {
        packets6::tcp(self.client, self.vip, flags, payload)
    }

    fn down(&self, flags: Flags, payload: &[u8]) -> Vec<u8> {
        packets6::tcp(self.real, self.local, flags, payload)
    }
}

#[track_caller]
fn left(sent: &Sent) -> packets6::Taken {
    assert!(sent.left(), "{:?}", sent.verdict);
    packets6::take(&sent.bytes)
}

fn key(from: End, to: End) -> FlowKey<Addr6> {
    let (sport, dport) = (Port::new(from.1), Port::new(to.1));
    FlowKey { src: from.0.into(), dst: to.0.into(), sport, dport, proto: 6, ..FlowKey::default() }
}

#[track_caller]
fn establish(bed: &Bed, client: End, service: u16) -> Conn {
    let vip = (VIP6, service);
    let at_real = left(&bed.send(&packets6::tcp(client, vip, Flags::SYN, b"")));
    let conn = Conn { client, vip, real: at_real.to, local: at_real.from };
    for frame in [conn.down(Flags::SYN_ACK, b""), conn.up(Flags::ACK, b"")] {
        left(&bed.send(&frame));
    }
    conn
}

#[track_caller]
fn ends(bed: &Bed, frame: &[u8], slot: u32) {
    let sent = bed.send(frame);
    assert_eq!((sent.verdict.slot(), &sent.bytes), (slot, &frame.to_vec()), "{:?}", sent.verdict);
}

// P-02, P-03, C-01, C-02 over IPv6: etherparse proves every checksum on the way.
#[test]
fn connections_of_nat_and_full_nat_go_both_ways_and_end() {
    for service in [world::NAT, world::FULL_NAT, world::SH] {
        let bed = Bed::new(64);
        let client = (CLIENT, 40_000);
        let conn = establish(&bed, client, service);
        assert!(REALS6.contains(&conn.real), "{conn:?}");
        let source = if service == world::FULL_NAT { LOCAL6 } else { CLIENT };
        assert_eq!(conn.local.0, source);
        let data = left(&bed.send(&conn.up(Flags::ACK, b"hello")));
        assert_eq!((data.from, data.to, data.hop_limit), (conn.local, conn.real, 63));
        assert_eq!(data.payload, b"hello");
        let reply = left(&bed.send(&conn.down(Flags::ACK, b"world")));
        assert_eq!((reply.from, reply.to, reply.hop_limit), (conn.vip, client, 63));
        assert_eq!(bed.host.entries_of::<Addr6>(Table::Flows).len(), 2);
        assert_eq!(bed.host.entries(Table::Flows), [], "nothing of it is IPv4's");
        bed.send(&conn.up(Flags::FIN_ACK, b""));
        bed.send(&conn.down(Flags::FIN_ACK, b""));
        let entry = Flows::<Addr6>::flow(&bed.host, &key(client, conn.vip)).expect("a flow");
        assert_eq!(ConnState::from_raw(entry.state()), Some(ConnState::TimeWait));
    }
}

#[test]
fn datagrams_go_both_ways() {
    let bed = Bed::new(64);
    let (client, vip) = ((CLIENT, 40_000), (VIP6, world::DNS));
    let question = left(&bed.send(&packets6::udp(client, vip, b"question")));
    assert!(REALS6.contains(&question.to));
    let answer = left(&bed.send(&packets6::udp(question.to, question.from, b"answer")));
    assert_eq!((answer.from, answer.to, &*answer.payload), (vip, client, &b"answer"[..]));
}

#[test]
fn clients_of_one_network_stay_with_one_real_server() {
    let bed = Bed::new(64);
    let real = |client: Ipv6Addr, port| {
        left(&bed.send(&packets6::tcp((client, port), (VIP6, world::STICKY), Flags::SYN, b""))).to
    };
    let first = real(CLIENT, 1_000);
    // The mask of the service keeps the first 120 bits.
    let near = Ipv6Addr::from(u128::from(CLIENT) ^ 0xf0);
    let far = Ipv6Addr::from(u128::from(CLIENT) ^ 0x100);
    assert_eq!([real(CLIENT, 1_001), real(near, 1_002)], [first, first]);
    assert_ne!(real(far, 1_003), first);
    assert_eq!(bed.host.templates(), 2);
}

// P-27
#[test]
fn extension_headers_are_skipped_and_kept() {
    let chains = [
        vec![padding(next::HOP_BY_HOP)],
        vec![padding(next::DESTINATION)],
        vec![padding(next::HOP_BY_HOP), padding(next::DESTINATION)],
        vec![(next::DESTINATION, [vec![0, 0, 1, 20], vec![0; 20]].concat())],
        // Nobody is left to be visited.
        vec![(next::ROUTING, vec![0, 0, 4, 0, 0, 0, 0, 0])],
        [vec![padding(next::HOP_BY_HOP)], vec![padding(next::DESTINATION); 7]].concat(),
        // A packet that is its only fragment (RFC 6946). P-25
        vec![(next::FRAGMENT, vec![0, 0, 0, 0, 0, 0, 0, 7])],
    ];
    for chain in chains {
        let bed = Bed::new(64);
        let size: usize = chain.iter().map(|(_, body)| body.len()).sum();
        let (client, vip) = ((CLIENT, 40_000), (VIP6, world::FULL_NAT));
        let without = |bytes: &[u8]| {
            let mut plain = bytes.to_vec();
            let carried = plain[PAYLOAD..][..size].to_vec();
            plain.drain(PAYLOAD..PAYLOAD + size);
            plain[IP + 6] = 6;
            let length = (plain.len() - PAYLOAD) as u16;
            plain[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
            (packets6::take(&plain), carried)
        };
        let syn = packets6::with_extensions(&packets6::tcp(client, vip, Flags::SYN, b""), &chain);
        let sent = bed.send(&syn);
        assert!(sent.left(), "{chain:?}: {:?}", sent.verdict);
        let (at_real, kept) = without(&sent.bytes);
        assert_eq!(kept, syn[PAYLOAD..][..size], "headers are not touched");
        let conn = Conn { client, vip, real: at_real.to, local: at_real.from };
        for frame in [conn.down(Flags::SYN_ACK, b""), conn.up(Flags::ACK, b"")] {
            left(&bed.send(&frame));
        }
        // On an established connection too.
        let sent = bed.send(&packets6::with_extensions(&conn.up(Flags::ACK, b"data"), &chain));
        assert!(sent.left(), "{chain:?}: {:?}", sent.verdict);
        assert_eq!(without(&sent.bytes).0.to, conn.real);
    }
}

// P-26, P-28, P-29, P-30, P-06
#[test]
fn headers_that_cannot_be_followed_end_with_a_reason() {
    let bed = Bed::new(64);
    let syn = packets6::tcp((CLIENT, 40_000), (VIP6, world::NAT), Flags::SYN, b"");
    let with = |headers: &[(u8, Vec<u8>)]| packets6::with_extensions(&syn, headers);
    let mut none = syn.clone();
    none[IP + 6] = next::NONE;
    ends(&bed, &none, PassReason::NotTcpUdp.slot());
    ends(&bed, &with(&[padding(next::ESP)]), PassReason::NotTcpUdp.slot());
    ends(&bed, &with(&vec![padding(next::DESTINATION); 9]), PassReason::HeaderChain.slot());
    let visits = (next::ROUTING, vec![0, 0, 4, 1, 0, 0, 0, 0]);
    ends(&bed, &with(&[visits]), PassReason::NotTcpUdp.slot());
    let source_route = (next::ROUTING, [vec![0, 0, 0, 1], vec![0; 20]].concat());
    ends(&bed, &with(std::slice::from_ref(&source_route)), DropReason::SourceRoute.slot());
    let mut jumbo = with(&[padding(next::HOP_BY_HOP)]);
    jumbo[IP + 4..IP + 6].fill(0);
    ends(&bed, &jumbo, DropReason::Jumbogram.slot());
    let pieces = packets6::fragments(&syn, 7, &[8]);
    ends(&bed, &pieces[0], PassReason::TinyFragment.slot());
    let mut unchecked = packets6::udp((CLIENT, 40_000), (VIP6, world::DNS), b"x");
    unchecked[PAYLOAD + 6..PAYLOAD + 8].fill(0);
    ends(&bed, &unchecked, DropReason::NoUdpChecksum.slot());
    // What is for others is the host's business, whatever its headers.
    let elsewhere = packets6::tcp((CLIENT, 40_000), (VIP6, 9), Flags::SYN, b"");
    let elsewhere = packets6::with_extensions(&elsewhere, &[source_route]);
    ends(&bed, &elsewhere, PassReason::NoService.slot());
    assert_eq!(bed.host.entries_of::<Addr6>(Table::HalfOpen), []);
}

// P-25, P-19
#[test]
fn later_fragments_follow_their_first() {
    let bed = Bed::new(64);
    let client = (CLIENT, 40_000);
    let payload: Vec<u8> = (0..=255).cycle().take(2_000).collect();
    let whole = packets6::udp(client, (VIP6, world::DNS), &payload);
    let pieces = packets6::fragments(&whole, 77, &[800, 1_600]);
    ends(&bed, &pieces[1], PassReason::Fragment.slot());
    let out: Vec<Vec<u8>> = pieces.iter().map(|piece| bed.send(piece).bytes).collect();
    let mut again = out[0][..PAYLOAD].to_vec();
    for piece in &out {
        assert_eq!(piece[IP + 8..IP + 40], out[0][IP + 8..IP + 40], "the same addresses");
        again.extend(&piece[PAYLOAD + 8..]);
    }
    again[IP + 6] = 17;
    let length = (again.len() - PAYLOAD) as u16;
    again[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
    let taken = packets6::take(&again);
    assert!(REALS6.contains(&taken.to));
    assert_eq!(taken.payload, payload);
    // Another packet's have another identification.
    ends(&bed, &packets6::fragments(&whole, 78, &[800])[1], PassReason::Fragment.slot());
    let segment = packets6::tcp(client, (VIP6, world::NAT), Flags::SYN, &[0; 40]);
    bed.send(&packets6::fragments(&segment, 5, &[24])[0]);
    let overlap = packets6::fragments(&segment, 5, &[8])[1].clone();
    ends(&bed, &overlap, DropReason::FragmentOverlap.slot());
}

// P-48: from routers on either side, for NAT and full-NAT.
#[test]
fn icmp_errors_reach_the_sender_and_quote_what_it_wrote() {
    let kinds = [
        (icmp::UNREACHABLE, 0, [0; 4]),
        (icmp::TOO_BIG, 0, 1_400_u32.to_be_bytes()),
        (icmp::TIME_EXCEEDED, 0, [0; 4]),
    ];
    for service in [world::NAT, world::FULL_NAT] {
        for (reply, head) in kinds.into_iter().flat_map(|kind| [(false, kind), (true, kind)]) {
            let bed = Bed::new(64);
            let conn = establish(&bed, (CLIENT, 40_000), service);
            let payload = [7; 100];
            let written =
                if reply { conn.down(Flags::ACK, &payload) } else { conn.up(Flags::ACK, &payload) };
            let passed = bed.send(&written).bytes;
            let error = packets6::icmp(ROUTER, packets6::take(&passed).from.0, head, &passed[IP..]);
            let sent = bed.send(&error);
            assert!(sent.left(), "{:?}", sent.verdict);
            let heard = packets6::take_error(&sent.bytes);
            let mut right = written[IP..].to_vec();
            right[7] = 63;
            assert_eq!(heard.quote, right, "the packet as written");
            assert_eq!(heard.head, head);
            let ends = match (reply, service) {
                (true, world::FULL_NAT) => (conn.real.0, LOCAL6),
                (true, _) => (conn.real.0, ROUTER),
                (false, _) => (CLIENT, VIP6),
            };
            assert_eq!((heard.to, heard.from), ends);
            // It goes on as if nothing had happened. P-50
            left(&bed.send(&conn.up(Flags::ACK, b"more")));
        }
    }
}

#[test]
fn icmp_errors_that_cannot_be_believed_end_with_a_reason() {
    let bed = Bed::new(64);
    let conn = establish(&bed, (CLIENT, 40_000), world::NAT);
    let passed = bed.send(&conn.up(Flags::ACK, b"data")).bytes;
    let about = |to, head| packets6::icmp(ROUTER, to, head, &passed[IP..]);
    let mut wrong = about(CLIENT, (icmp::UNREACHABLE, 0, [0; 4]));
    wrong[PAYLOAD + 2] ^= 1;
    ends(&bed, &wrong, DropReason::IcmpBadChecksum.slot());
    let small = about(CLIENT, (icmp::TOO_BIG, 0, 1_279_u32.to_be_bytes()));
    ends(&bed, &small, DropReason::IcmpSmallMtu.slot());
    let forged = about(LOCAL6, (icmp::UNREACHABLE, 0, [0; 4]));
    ends(&bed, &forged, DropReason::IcmpForged.slot());
    let problem = about(CLIENT, (icmp::PARAMETER_PROBLEM, 0, [0; 4]));
    ends(&bed, &problem, DropReason::IcmpType.slot());
    let nobodys = packets6::tcp((CLIENT, 1), (VIP6, 2), Flags::ACK, b"");
    let nobodys = packets6::icmp(ROUTER, CLIENT, (icmp::UNREACHABLE, 0, [0; 4]), &nobodys[IP..]);
    ends(&bed, &nobodys, PassReason::IcmpNoFlow.slot());
    // P-55: the host answers; and neighbours find each other.
    for kind in [icmp::ECHO, 135, 136] {
        let query = packets6::icmp(CLIENT, VIP6, (kind, 0, [0; 4]), &[0; 16]);
        ends(&bed, &query, PassReason::IcmpQuery.slot());
    }
}

// P-33, P-52
#[test]
fn what_ends_here_is_answered_with_the_packet_that_was_sent() {
    let bed = Bed::new(64);
    let conn = establish(&bed, (CLIENT, 40_000), world::NAT);
    let refused = packets6::tcp((CLIENT, 41_000), (VIP6, world::EMPTY), Flags::SYN, b"");
    let mut last_hop = conn.up(Flags::ACK, b"data");
    last_hop[IP + 7] = 1;
    let mut last_hop_back = conn.down(Flags::ACK, b"data");
    last_hop_back[IP + 7] = 1;
    let large = conn.up(Flags::ACK, &[9; 1_480]);
    let cases = [
        (refused, (icmp::UNREACHABLE, 4, [0; 4]), (CLIENT, VIP6)),
        (last_hop, (icmp::TIME_EXCEEDED, 0, [0; 4]), (CLIENT, VIP6)),
        (last_hop_back, (icmp::TIME_EXCEEDED, 0, [0; 4]), (conn.real.0, OUTER6)),
        (large, (icmp::TOO_BIG, 0, 1_500_u32.to_be_bytes()), (CLIENT, VIP6)),
    ];
    for (frame, head, (to, from)) in cases {
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.action(), Action::Redirect, "{:?}", sent.verdict);
        let error = packets6::take_error(&sent.bytes);
        assert_eq!((error.head, error.to, error.from, error.hop_limit), (head, to, from, 64));
        // As much as fits in the least MTU (RFC 4443, 2.4 (c)).
        assert_eq!(error.quote, frame[IP..][..(frame.len() - IP).min(1_280 - 48)]);
        assert!(sent.bytes.len() - IP <= 1_280);
    }
    bed.host.allow(Budget::Icmp, 0);
    let mut quiet = conn.up(Flags::ACK, b"data");
    quiet[IP + 7] = 1;
    ends(&bed, &quiet, DropReason::TtlExpired.slot());
}

// S-38, S-39
#[test]
fn sources_that_no_network_has_begin_nothing() {
    let bed = Bed::new(64);
    let from = |ip: &str| {
        let ip: Ipv6Addr = ip.parse().expect("an address");
        packets6::tcp((ip, 40_000), (VIP6, world::NAT), Flags::SYN, b"")
    };
    for martian in ["::", "::1", "::ffff:10.0.0.1", "ff02::1", "ff0e::7"] {
        ends(&bed, &from(martian), DropReason::MartianSource.slot());
    }
    ends(&bed, &from(&VIP6.to_string()), DropReason::Land.slot());
    left(&bed.send(&from("fd00::1")));
}

#[test]
fn idle_connections_end_and_half_open_ones_too() {
    let bed = Bed::new(64);
    establish(&bed, (CLIENT, 40_000), world::FULL_NAT);
    bed.send(&packets6::tcp((CLIENT, 40_001), (VIP6, world::NAT), Flags::SYN, b""));
    let keys: Vec<FlowKey<Addr6>> = [Table::Flows, Table::HalfOpen]
        .into_iter()
        .flat_map(|table| bed.host.entries_of(table))
        .map(|(key, _)| key)
        .collect();
    assert_eq!((keys.len(), bed.expire6(&keys)), (4, 0), "not yet");
    bed.wait(bed.world.timeout(ConnState::SynRecv) + 1);
    assert_eq!(bed.expire6(&keys), 1);
    bed.wait(bed.world.timeout(ConnState::Established) + 1);
    assert_eq!(bed.expire6(&keys), 1);
    assert_eq!(bed.host.gauge(lb_common::abi::Gauge::Flows), 0);
}
