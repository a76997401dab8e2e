//! Tunnels: IP in IP, GRE and GUE, decoded by what is written here and by etherparse alone.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket};
use lb_common::abi::{ConnState, DropReason, NextHop};
use lb_common::engine::{Action, Flows};
use lb_tests::packets::{self, Flags, icmp};
use lb_tests::packets6;
use lb_tests::world::{self, GUE_PORT, LOCAL, LOCAL6, REALS, REALS6, VIP, VIP6, World, real_mac};

use crate::bed::{Bed, CLIENT};

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

/// A packet that was in a tunnel.
#[derive(Debug)]
struct Unwrapped {
    from: IpAddr,
    to: IpAddr,
    traffic_class: u8,
    ttl: u8,
    dont_fragment: bool,
    /// Source and destination port of GUE.
    ports: Option<(u16, u16)>,
    has_sum: bool,
    /// The packet, padding left out.
    inside: Vec<u8>,
}

fn sum_is_right(parts: &[&[u8]]) -> bool {
    let all = parts.concat();
    Sum16BitWords::new().add_slice(&all).ones_complement() == 0
}

/// Takes the outer headers off and proves them.
fn unwrap(frame: &[u8]) -> Unwrapped {
    let sliced = SlicedPacket::from_ethernet(frame).expect("a frame");
    let net = sliced.net.expect("an IP packet");
    let (from, to, traffic_class, ttl, dont_fragment, protocol, body) = match &net {
        NetSlice::Ipv4(slice) => {
            let header = slice.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!(usize::from(header.total_len), frame.len() - 14, "no padding in these");
            let class = header.dscp.value() << 2 | header.ecn.value();
            let (from, to) = (header.source.into(), header.destination.into());
            let (ttl, df) = (header.time_to_live, header.dont_fragment);
            (from, to, class, ttl, df, header.protocol.0, slice.payload().payload)
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header().to_header();
            assert_eq!(usize::from(header.payload_length), frame.len() - 54);
            let (from, to) = (IpAddr::from(header.source), IpAddr::from(header.destination));
            let (class, limit) = (header.traffic_class, header.hop_limit);
            (from, to, class, limit, true, header.next_header.0, slice.payload().payload)
        }
        NetSlice::Arp(arp) => panic!("{arp:?}"),
    };
    let (mut ports, mut has_sum) = (None, false);
    let (number, inside) = match protocol {
        4 | 41 => (protocol, body),
        47 => {
            has_sum = body[0] & 0x80 != 0;
            assert_eq!((body[0] & 0x7f, body[1]), (0, 0), "no other option");
            if has_sum {
                assert!(sum_is_right(&[body]), "GRE's checksum");
            }
            let number = match [body[2], body[3]] {
                [8, 0] => 4,
                [0x86, 0xdd] => 41,
                other => panic!("GRE of {other:?}"),
            };
            (number, &body[if has_sum { 8 } else { 4 }..])
        }
        17 => {
            let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            ports = Some((word(0), word(2)));
            assert_eq!(usize::from(word(4)), body.len());
            has_sum = word(6) != 0;
            if has_sum {
                let (from, to) = match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        (from.octets().to_vec(), to.octets().to_vec())
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        (from.octets().to_vec(), to.octets().to_vec())
                    }
                    mixed => panic!("{mixed:?}"),
                };
                let length = (body.len() as u16).to_be_bytes();
                assert!(sum_is_right(&[&from, &to, &[0, 17], &length, body]), "UDP's checksum");
            }
            assert_eq!((body[8], &body[10..12]), (0, &[0, 0][..]), "GUE without options");
            (body[9], &body[12..])
        }
        other => panic!("protocol {other}"),
    };
    assert_eq!(inside[0] >> 4, if number == 4 { 4 } else { 6 });
    let inside = inside.to_vec();
    Unwrapped { from, to, traffic_class, ttl, dont_fragment, ports, has_sum, inside }
}

fn bed() -> Bed {
    Bed::of(World::with_outer_headers(64))
}

/// The IPv4 packet in a frame, one hop further.
fn further(frame: &[u8]) -> Vec<u8> {
    packets::ip_packet(&packets::with_ttl(frame.to_vec(), frame[22] - 1)).to_vec()
}

/// The same of IPv6, where nothing has to be padded.
fn further6(frame: &[u8]) -> Vec<u8> {
    let mut packet = frame[14..].to_vec();
    packet[7] -= 1;
    packet
}

/// A segment to a service of IPv4, with a traffic class of its own.
fn segment(port: u16, service: u16, flags: Flags, data: &[u8]) -> Vec<u8> {
    let mut frame = packets::tcp((CLIENT, port), (VIP, service), flags, data);
    frame[15] = 0xb9;
    packets::refresh_ip_checksum(&mut frame);
    frame
}

// C-01
#[test]
fn ipv4_packets_arrive_whole_through_every_tunnel() {
    for service in [world::IPIP, world::GRE, world::GUE] {
        let bed = bed();
        for (port, index) in [(40_000, 0), (40_001, 1)] {
            let lengths = [(Flags::SYN, 0), (Flags::ACK, 0), (Flags::ACK, 1), (Flags::ACK, 1_399)];
            for (flags, length) in lengths {
                let frame = segment(port, service, flags, &vec![0x5a; length]);
                let sent = bed.send(&frame);
                assert!(sent.left(), "{:?}", sent.verdict);
                let real = bed.world.real(service, index);
                assert_eq!(sent.bytes[..6], real_mac(real).0);
                let unwrapped = unwrap(&sent.bytes);
                assert_eq!(unwrapped.inside, further(&frame), "{service}");
                assert_eq!(unwrapped.from, IpAddr::V4(LOCAL));
                assert_eq!(unwrapped.to, IpAddr::V4(REALS[index].0));
                // RFC 2003, 3.1; the kernel's tunnels take the lifetime along, too.
                assert_eq!((unwrapped.traffic_class, unwrapped.ttl), (0xb9, 63));
                assert!(unwrapped.dont_fragment, "as inside");
                assert_eq!(unwrapped.has_sum, index == 1 && service != world::IPIP);
                if let Some((from, to)) = unwrapped.ports {
                    assert_eq!((service, to), (world::GUE, GUE_PORT));
                    assert!(from >= 0xc000, "{from}");
                }
            }
        }
    }
}

#[test]
fn ipv6_packets_arrive_whole_through_every_tunnel() {
    for service in [world::IPIP, world::GRE, world::GUE] {
        let bed = bed();
        for (port, index) in [(40_000, 0), (40_001, 1)] {
            for (flags, length) in [(Flags::SYN, 0), (Flags::ACK, 0), (Flags::ACK, 1_299)] {
                let data = vec![0x5a; length];
                let frame = packets6::tcp((CLIENT6, port), (VIP6, service), flags, &data);
                let sent = bed.send(&frame);
                assert!(sent.left(), "{:?}", sent.verdict);
                let unwrapped = unwrap(&sent.bytes);
                assert_eq!(unwrapped.inside, further6(&frame), "{service}");
                assert_eq!(unwrapped.from, IpAddr::V6(LOCAL6));
                assert_eq!(unwrapped.to, IpAddr::V6(REALS6[index].0));
                assert_eq!(unwrapped.has_sum, index == 1 && service != world::IPIP);
            }
        }
    }
}

#[test]
fn tunnels_bridge_the_families() {
    let bed = bed();
    let frame = segment(40_000, world::ACROSS, Flags::SYN, b"");
    let unwrapped = unwrap(&bed.send(&frame).bytes);
    assert_eq!(unwrapped.to, IpAddr::V6(REALS6[0].0));
    assert_eq!((unwrapped.inside, unwrapped.traffic_class), (further(&frame), 0xb9));
    let frame = packets6::tcp((CLIENT6, 40_000), (VIP6, world::ACROSS), Flags::SYN, b"");
    let unwrapped = unwrap(&bed.send(&frame).bytes);
    assert_eq!(unwrapped.to, IpAddr::V4(REALS[0].0));
    assert_eq!(unwrapped.inside, further6(&frame));
}

// P-07: padding is the frame's, not the packet's.
#[test]
fn padding_stays_outside() {
    let bed = bed();
    let mut frame = segment(40_000, world::IPIP, Flags::SYN, b"");
    let packet = further(&frame);
    frame.resize(60, 0xee);
    let sent = bed.send(&frame);
    let outer = Ipv4Header::from_slice(&sent.bytes[14..]).expect("a header").0;
    assert_eq!(usize::from(outer.total_len), 20 + packet.len());
    assert_eq!(sent.bytes[34..34 + packet.len()], packet);
    assert_eq!(sent.bytes.len(), 80);
}

// Checksums of every length and of content that carries over.
#[test]
fn sums_are_right_whatever_they_are_of() {
    for service in [world::GRE, world::GUE] {
        let bed = bed();
        for port in [40_000, 40_001] {
            for flags in [Flags::SYN, Flags::ACK] {
                bed.send(&segment(port, service, flags, b""));
            }
        }
        for length in 0..=1_420_usize {
            let data: Vec<u8> = (0..length).map(|n| (n * 7 + length * 13) as u8 | 0xc0).collect();
            let frame = segment(40_001, service, Flags::ACK, &data);
            let unwrapped = unwrap(&bed.send(&frame).bytes);
            assert!(unwrapped.has_sum, "{service}, {length}");
            assert_eq!(unwrapped.inside, further(&frame), "{length}");
        }
    }
}

// One flow takes one path, two flows take two where routers spread by ports.
#[test]
fn a_flow_has_one_source_port_in_gue() {
    let bed = bed();
    let ports = |port: u16| {
        let sent = [(Flags::SYN, &b""[..]), (Flags::ACK, b""), (Flags::ACK, b"data")]
            .map(|(flags, data)| bed.send(&segment(port, world::GUE, flags, data)));
        sent.map(|sent| unwrap(&sent.bytes).ports.expect("UDP").0)
    };
    let (one, other) = (ports(40_000), ports(40_001));
    assert!(one.iter().all(|port| *port == one[0]), "{one:?}");
    assert_ne!(one[0], other[0]);
}

// P-43, P-51: what does not fit into the tunnel is told what does.
#[test]
fn a_packet_too_large_for_the_tunnel_is_told_its_mtu() {
    for (service, index, mtu) in [
        (world::IPIP, 0, 1_480_u16),
        (world::GRE, 0, 1_476),
        (world::GRE, 1, 1_472),
        (world::GUE, 0, 1_468),
        (world::GUE, 1, 1_468),
    ] {
        let bed = bed();
        let port = 40_000 + index;
        for warm in 0..=index {
            for flags in [Flags::SYN, Flags::ACK] {
                bed.send(&segment(40_000 + warm, service, flags, b""));
            }
        }
        let fits = usize::from(mtu) - 40;
        let sent = bed.send(&segment(port, service, Flags::ACK, &vec![1; fits]));
        assert!(sent.left(), "{service}: {:?}", sent.verdict);
        assert!(sent.bytes.len() <= 1_514, "{}", sent.bytes.len());
        let sent = bed.send(&segment(port, service, Flags::ACK, &vec![1; fits + 1]));
        assert_eq!(sent.verdict.slot(), DropReason::MtuExceeded.slot());
        assert_eq!(sent.verdict.action(), Action::Redirect, "and told");
        let error = packets::take_error(&sent.bytes);
        let [high, low] = mtu.to_be_bytes();
        assert_eq!(error.head.1, icmp::FRAGMENTATION_NEEDED);
        assert_eq!((error.from, error.head.2), (VIP, [0, 0, high, low]), "{service}");
    }
}

// P-36
#[test]
fn icmp_errors_about_answers_go_through_the_tunnel() {
    let bed = bed();
    for flags in [Flags::SYN, Flags::ACK] {
        bed.send(&segment(40_000, world::IPIP, flags, b""));
    }
    let answer = packets::tcp((VIP, world::IPIP), (CLIENT, 40_000), Flags::ACK, b"too much");
    let head = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, 5, 120]);
    let router = std::net::Ipv4Addr::new(10, 70, 0, 9);
    let error = packets::icmp(router, VIP, head, &packets::ip_packet(&answer)[..28]);
    let unwrapped = unwrap(&bed.send(&error).bytes);
    assert_eq!(unwrapped.inside, further(&error));
    assert_eq!(unwrapped.to, IpAddr::V4(REALS[0].0));
}

// A reload gave the real server another method: what lives goes on as it was, or ends, but never on the bare wire.
#[test]
fn flows_keep_the_method_that_they_began_with() {
    let bed = bed();
    for flags in [Flags::SYN, Flags::ACK] {
        bed.send(&segment(40_000, world::IPIP, flags, b""));
    }
    let tunnelled = bed.world.real(world::IPIP, 0).hop();
    bed.change_hop(tunnelled, |hop| hop.flags &= !NextHop::TUNNEL);
    let frame = segment(40_000, world::IPIP, Flags::ACK, b"data");
    let sent = bed.send(&frame);
    assert_eq!(sent.verdict.slot(), DropReason::RealGone.slot(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes, frame, "untouched");

    let conn = bed.establish((CLIENT, 41_000), world::NAT);
    bed.change_hop(bed.real_of(&conn).hop(), |hop| hop.flags |= NextHop::TUNNEL);
    let at_real = bed.send(&conn.up(Flags::ACK, b"data")).taken();
    assert_eq!((at_real.to, at_real.payload), (conn.real, b"data".to_vec()), "translated");
}

// RFC 6864: where a router may cut packets, no two that are on the way have one identification.
#[test]
fn what_may_be_fragmented_has_identifications_of_its_own() {
    let bed = bed();
    let id = |bytes: &[u8]| [bytes[18], bytes[19]];
    let mut seen = std::collections::BTreeSet::new();
    for port in [40_000, 40_002] {
        let mut frame = segment(port, world::IPIP, Flags::SYN, b"");
        // Don't fragment, off; the same identification from both.
        (frame[18], frame[19], frame[20]) = (0x12, 0x34, 0);
        packets::refresh_ip_checksum(&mut frame);
        let sent = bed.send(&frame);
        assert!(!unwrap(&sent.bytes).dont_fragment);
        assert!(seen.insert(id(&sent.bytes)), "{seen:?}");
    }
}

#[test]
fn the_states_are_those_of_the_clients_side() {
    let bed = bed();
    for flags in [Flags::SYN, Flags::ACK, Flags::FIN_ACK] {
        bed.send(&segment(40_000, world::GRE, flags, b""));
    }
    let key = crate::bed::tuple((CLIENT, 40_000), (VIP, world::GRE), 6);
    let state = bed.host.flow(&key).expect("a flow").state();
    assert_eq!(ConnState::from_raw(state), Some(ConnState::FinWait));
}

#[test]
fn without_a_source_address_nothing_goes_into_a_tunnel() {
    let mut bed = bed();
    for flags in [Flags::SYN, Flags::ACK] {
        bed.send(&segment(40_000, world::IPIP, flags, b""));
    }
    for real in bed.host.reals.values_mut() {
        real.locals_len = 0;
    }
    let sent = bed.send(&segment(40_000, world::IPIP, Flags::ACK, b"data"));
    assert_eq!(sent.verdict.slot(), DropReason::NoLocalAddress.slot());
    assert_eq!(sent.verdict.action(), Action::Drop);
}

/// Headers that etherparse knows are those that were written: this file's own reading is held against it.
#[test]
fn what_is_inside_is_a_packet_by_etherparse_too() {
    let bed = bed();
    let sent = bed.send(&segment(40_000, world::IPIP, Flags::SYN, b""));
    let (headers, ..) = IpHeaders::from_slice(&unwrap(&sent.bytes).inside).expect("a packet");
    let IpHeaders::Ipv4(header, _) = headers else { panic!("{headers:?}") };
    assert_eq!(header.destination, VIP.octets());
    let sent = bed.send(&packets6::tcp((CLIENT6, 1), (VIP6, world::IPIP), Flags::SYN, b""));
    let inside = unwrap(&sent.bytes).inside;
    assert_eq!(Ipv6Header::from_slice(&inside).expect("a header").0.destination, VIP6.octets());
}
