//! Direct routing: frames go to the real server as they came, but for their Ethernet addresses and a hop.

use lb_common::abi::{ConnState, DropReason, FlowFlags};
use lb_common::engine::tables::Table;
use lb_common::engine::{Action, Flows};
use lb_tests::packets::{self, Flags, icmp};
use lb_tests::world::{self, INNER_MAC, VIP, World, real_mac};

use crate::bed::{Bed, CLIENT, Conn, tuple};

fn bed() -> Bed {
    Bed::of(World::with_outer_headers(64))
}

/// A connection of which only the client's side comes by.
fn conn(port: u16, service: u16) -> Conn {
    let (client, vip) = ((CLIENT, port), (VIP, service));
    Conn { client, vip, real: vip, local: client }
}

/// What the real server gets: the same packet, one hop further.
fn a_hop_further(frame: &[u8]) -> Vec<u8> {
    let ttl = frame[22] - 1;
    packets::with_ttl(frame.to_vec(), ttl)
}

// C-01, P-07
#[test]
fn packets_reach_the_real_server_as_they_were() {
    let bed = bed();
    for (port, index) in [(40_000, 0), (40_001, 1), (40_002, 0)] {
        let conn = conn(port, world::DR);
        for (flags, data) in
            [(Flags::SYN, ""), (Flags::ACK, ""), (Flags::ACK, "hello"), (Flags::FIN_ACK, "")]
        {
            let frame = conn.up(flags, data.as_bytes());
            let sent = bed.send(&frame);
            assert!(sent.left(), "{:?}", sent.verdict);
            let real = bed.world.real(world::DR, index);
            assert_eq!(sent.bytes[..12], [real_mac(real).0, INNER_MAC.0].concat());
            assert_eq!(sent.bytes[12..], a_hop_further(&frame)[12..], "{flags:?}");
            assert_eq!(bed.real_of(&conn), real, "the connection stays there");
        }
    }
}

// C-04: a checksum of ~0 stays that, and a wrong one stays wrong.
#[test]
fn no_byte_of_the_transport_changes_whatever_its_checksum() {
    let bed = bed();
    let conn = conn(40_000, world::DR);
    for flags in [Flags::SYN, Flags::ACK] {
        assert!(bed.send(&conn.up(flags, b"")).left());
    }
    for check in [[0xff, 0xff], [0, 0], [0x12, 0x34]] {
        let mut frame = conn.up(Flags::ACK, b"data");
        frame[50..52].copy_from_slice(&check);
        assert_eq!(bed.send(&frame).bytes[34..], frame[34..], "{check:?}");
    }
    let mut datagram = packets::udp((CLIENT, 40_000), (VIP, world::DR_UDP), b"x");
    datagram[40..42].fill(0);
    assert_eq!(bed.send(&datagram).bytes[34..], datagram[34..], "none stays none");
}

// P-63: IPVS's INPUT-ONLY rows.
#[test]
fn the_clients_side_alone_makes_the_states() {
    let bed = bed();
    let conn = conn(40_000, world::DR);
    assert!(bed.send(&conn.up(Flags::SYN, b"")).left());
    assert_eq!(bed.half_open_state(&conn), Some(ConnState::SynRecv));
    assert_eq!(bed.host.load_of(bed.real_of(&conn)), (0, 0, 1));
    bed.send(&conn.up(Flags::ACK, b""));
    assert_eq!(bed.state(&conn), Some(ConnState::Established));
    assert_eq!(bed.host.load_of(bed.real_of(&conn)), (1, 0, 0));
    bed.send(&conn.up(Flags::FIN_ACK, b""));
    assert_eq!(bed.state(&conn), Some(ConnState::FinWait));
    assert_eq!(bed.host.load_of(bed.real_of(&conn)), (0, 1, 0));
    bed.wait(bed.world.timeout(ConnState::FinWait) + 1);
    assert_eq!(bed.sweep(), 1);
    assert_eq!(bed.pairs(Table::Flows), 0);
}

#[test]
fn a_reset_closes_and_the_next_syn_begins_anew() {
    let bed = bed();
    let conn = conn(40_000, world::DR);
    for flags in [Flags::SYN, Flags::ACK, Flags::RST] {
        bed.send(&conn.up(flags, b""));
    }
    assert_eq!(bed.state(&conn), Some(ConnState::Close));
    let first = bed.real_of(&conn);
    assert!(bed.send(&conn.up(Flags::SYN, b"")).left());
    assert_ne!(bed.real_of(&conn), first, "scheduled again");
}

#[test]
fn the_second_datagram_makes_a_flow() {
    let bed = bed();
    let frame = packets::udp((CLIENT, 40_000), (VIP, world::DR_UDP), b"x");
    let key = tuple((CLIENT, 40_000), (VIP, world::DR_UDP), 17);
    for known in [false, true, true] {
        assert!(bed.send(&frame).left());
        assert_eq!(bed.host.flow(&key).is_some(), known);
    }
}

// Where the director is the real servers' gateway, answers come by after all: they go on, and count.
#[test]
fn an_answer_that_comes_by_goes_to_the_client() {
    let bed = bed();
    let conn = conn(40_000, world::DR);
    bed.send(&conn.up(Flags::SYN, b""));
    let answer = bed.send(&conn.down(Flags::SYN_ACK, b""));
    let at_client = answer.taken();
    assert_eq!((at_client.from, at_client.to), (conn.vip, conn.client));
    assert_eq!(at_client.dst_mac, packets::CLIENT_MAC);
    bed.send(&conn.up(Flags::ACK, b""));
    bed.send(&conn.down(Flags::ACK, b"page"));
    assert_eq!(bed.host.counters(bed.real_of(&conn)).out_packets, 2);
    let entry = bed.host.flow(&conn.reply_key()).expect("a flow").rewrite();
    assert_eq!(entry.flags, FlowFlags::REPLY | FlowFlags::DIRECT);
}

// P-36: a router on the way to the client complains to the address that the answer came from.
#[test]
fn icmp_errors_about_answers_reach_the_real_server_as_they_were() {
    let bed = bed();
    let conn = conn(40_000, world::DR);
    for flags in [Flags::SYN, Flags::ACK] {
        bed.send(&conn.up(flags, b""));
    }
    let quoted = conn.down(Flags::ACK, b"too much");
    let head = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, 5, 120]);
    let router = std::net::Ipv4Addr::new(10, 70, 0, 9);
    let error = packets::icmp(router, VIP, head, &packets::ip_packet(&quoted)[..28]);
    let sent = bed.send(&error);
    assert!(sent.left(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes[..6], real_mac(bed.real_of(&conn)).0);
    assert_eq!(sent.bytes[12..], a_hop_further(&error)[12..]);
    assert_eq!(bed.state(&conn), Some(ConnState::Established), "RFC 5382 REQ-10");
}

#[test]
fn its_own_errors_come_from_the_virtual_address() {
    let bed = bed();
    let conn = conn(40_000, world::DR);
    for flags in [Flags::SYN, Flags::ACK] {
        bed.send(&conn.up(flags, b""));
    }
    let sent = bed.send(&packets::with_ttl(conn.up(Flags::ACK, b"last"), 1));
    assert_eq!(sent.verdict.slot(), DropReason::TtlExpired.slot());
    assert_eq!(sent.verdict.action(), Action::Redirect);
    let error = packets::take_error(&sent.bytes);
    assert_eq!((error.from, error.to, error.head.0), (VIP, CLIENT, icmp::TIME_EXCEEDED));
}

// P-18: fragments follow the first.
#[test]
fn fragments_go_the_same_way() {
    let bed = bed();
    let frame = packets::udp((CLIENT, 40_000), (VIP, world::DR_UDP), &[7; 96]);
    let pieces = packets::fragments(&frame, 9, &[32, 64]);
    let macs = pieces.iter().map(|piece| {
        let sent = bed.send(piece);
        assert!(sent.left(), "{:?}", sent.verdict);
        assert_eq!(sent.bytes[34..], piece[34..]);
        sent.bytes[..6].to_vec()
    });
    let macs: Vec<_> = macs.collect();
    assert!(macs.iter().all(|mac| *mac == macs[0]), "{macs:?}");
}
