//! What becomes of a packet's bytes.

use std::net::Ipv4Addr;

use lb_common::abi::{DropReason, PassReason, RealId};
use lb_common::engine::Verdict;
use lb_common::wire::Port;
use lb_tests::packets::{self, End, Flags};
use lb_tests::world::{self, LOCAL, REALS, VIP};

use crate::bed::{Bed, CLIENT, Sent};
use crate::counts::Counts;

const TOS: usize = 15;
const IP_LENGTH: usize = 16;
const UDP_CHECK: usize = 40;
const TCP_CHECK: usize = 50;

const DNS_CLIENT: End = (CLIENT, 5_353);

/// A datagram of a client to a service.
fn query(port: u16, payload: &[u8]) -> Vec<u8> {
    packets::udp(DNS_CLIENT, (VIP, port), payload)
}

// P-01, P-02: I-3, I-4, I-5
#[test]
fn both_directions_of_nat_and_full_nat_leave_with_right_checksums_and_counts() {
    for (service, local) in [(world::NAT, None), (world::FULL_NAT, Some(LOCAL))] {
        let bed = Bed::new(64);
        let conn = bed.establish((CLIENT, 40_000), service);
        let real = bed.real_of(&conn);
        for length in [0, 1, 2, 3, 1459, 1460] {
            let payload: Vec<u8> = (0..length).map(|n: u32| (n * 31) as u8).collect();
            let mut right = Counts::of(&bed);
            let up = bed.send(&conn.up(Flags::ACK, &payload)).taken();
            assert_eq!(up.to, REALS[0]);
            assert_eq!(up.from.0, local.unwrap_or(CLIENT));
            assert_eq!(up.dst_mac, world::real_mac(real).0);
            assert_eq!(up.src_mac, world::INNER_MAC.0);
            let down = bed.send(&conn.down(Flags::ACK, &payload)).taken();
            assert_eq!((down.from, down.to), (conn.vip, conn.client));
            assert_eq!(down.dst_mac, packets::CLIENT_MAC, "the way the client came");
            assert_eq!(down.src_mac, packets::OUR_MAC);
            assert_eq!((up.payload, down.payload), (payload.clone(), payload));
            right.packet(real, false, 40 + u64::from(length));
            right.packet(real, true, 40 + u64::from(length));
            assert_eq!(Counts::of(&bed), right);
        }
    }
}

// P-03: all sums there are, so also those that come out as 0.
#[test]
fn no_datagram_with_a_checksum_ever_leaves_without() {
    let bed = Bed::new(64);
    for service in [world::DNS, world::UDP_FULL_NAT] {
        let (mut ones, mut last) = (0, None);
        for word in 0..=u16::MAX {
            let sent = bed.send(&query(service, &word.to_be_bytes()));
            let check = &sent.bytes[UDP_CHECK..UDP_CHECK + 2];
            assert_ne!(check, [0, 0], "payload {word:#06x}");
            ones += u32::from(check == [0xff, 0xff]);
            if word % 256 == 0 || check == [0xff, 0xff] {
                last = Some(sent.taken());
            }
        }
        assert!(last.is_some());
        assert!(ones >= 1, "one of the sums is 0 and goes as 0xffff");
    }
}

// P-05
#[test]
fn a_datagram_without_checksum_stays_without_both_ways() {
    let bed = Bed::new(64);
    let bare = |mut frame: Vec<u8>| {
        frame[UDP_CHECK..UDP_CHECK + 2].fill(0);
        frame
    };
    for service in [world::DNS, world::UDP_FULL_NAT] {
        let up = bed.send(&bare(query(service, b"question")));
        assert_eq!(up.bytes[UDP_CHECK..UDP_CHECK + 2], [0, 0]);
        let at_real = up.taken();
        let down = bed.send(&bare(packets::udp(at_real.to, at_real.from, b"answer")));
        assert_eq!(down.bytes[UDP_CHECK..UDP_CHECK + 2], [0, 0]);
        assert_eq!(down.taken().to, DNS_CLIENT);
    }
}

/// How far a TCP checksum is off, as one's complement has it.
fn error_of(sent: &Sent) -> u16 {
    let mut mended = sent.bytes.clone();
    let (ip, rest) = etherparse::Ipv4Header::from_slice(&mended[14..]).expect("IPv4");
    let (tcp, payload) = etherparse::TcpHeader::from_slice(rest).expect("TCP");
    let right = tcp.calc_checksum_ipv4(&ip, payload).expect("length");
    mended[TCP_CHECK..TCP_CHECK + 2].copy_from_slice(&right.to_be_bytes());
    let error = i64::from(tcp.checksum) - i64::from(right);
    error.rem_euclid(0xffff) as u16
}

// P-07
#[test]
fn a_wrong_checksum_leaves_exactly_as_wrong() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = Bed::new(64);
        let conn = bed.establish((CLIENT, 40_000), service);
        for error in [1, 2, 0x0100, 0x7fff, 0xfffe] {
            for mut frame in [conn.up(Flags::ACK, b"data"), conn.down(Flags::ACK, b"data")] {
                let check = u16::from_be_bytes([frame[TCP_CHECK], frame[TCP_CHECK + 1]]);
                let wrong = ((u32::from(check) + error) % 0xffff) as u16;
                frame[TCP_CHECK..TCP_CHECK + 2].copy_from_slice(&wrong.to_be_bytes());
                let sent = bed.send(&frame);
                assert!(sent.left());
                assert_eq!(
                    u32::from(error_of(&sent)),
                    error,
                    "the error is neither hidden nor mended"
                );
            }
        }
    }
}

// P-09: this version leaves such packets to the kernel, which drops them; nothing is read past the end.
#[test]
fn a_header_that_contradicts_the_frame_is_not_ours() {
    let bed = Bed::new(64);
    let whole = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    for first in 0..=u8::MAX {
        let mut frame = whole.clone();
        frame[14] = first;
        let right = match first {
            0x45 => continue,
            _ => PassReason::BadIpv4,
        };
        assert_eq!(bed.send(&frame).verdict.slot(), right.slot(), "{first:#04x}");
    }
    for length in 0..=u16::MAX {
        let mut frame = whole.clone();
        frame[IP_LENGTH..IP_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
        if length != 40 {
            assert_eq!(bed.send(&frame).verdict.slot(), PassReason::BadIpv4.slot(), "{length}");
        }
    }
    for end in 0..whole.len() {
        let slot = bed.send(&whole[..end]).verdict.slot();
        let right = if end < 34 { PassReason::Truncated } else { PassReason::BadIpv4 };
        assert_eq!(slot, right.slot(), "cut to {end}");
    }
    assert_eq!(bed.host.entries(lb_common::engine::tables::Table::HalfOpen), []);
}

// P-10
#[test]
fn padding_behind_the_packet_is_kept_and_not_counted() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let real = bed.real_of(&conn);
    let mut right = Counts::of(&bed);
    for frame in [conn.up(Flags::ACK, b""), conn.down(Flags::ACK, b"")] {
        let mut padded = frame.clone();
        padded.extend([0xaa; 6]);
        let sent = bed.send(&padded);
        sent.taken();
        assert_eq!(sent.bytes.len(), 60);
        assert_eq!(sent.bytes[54..], [0xaa; 6]);
        assert_eq!(sent.bytes[..54], bed.send(&frame).bytes);
    }
    for reply in [false, false, true, true] {
        right.packet(real, reply, 40);
    }
    assert_eq!(Counts::of(&bed), right);
}

// P-31, P-32: this version drops without an ICMP answer.
#[test]
fn each_direction_costs_one_hop_and_the_last_is_not_spent() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    for frame in [conn.up(Flags::ACK, b"x"), conn.down(Flags::ACK, b"x")] {
        for ttl in 0..=255_u8 {
            let sent = bed.send(&packets::with_ttl(frame.clone(), ttl));
            if ttl >= 2 {
                assert_eq!(sent.taken().ttl, ttl - 1);
            } else {
                assert_eq!(sent.verdict.slot(), lb_common::abi::DropReason::TtlExpired.slot());
            }
        }
    }
}

// P-32: nor does a SYN make a flow that could not send it.
#[test]
fn a_syn_on_its_last_hop_makes_no_flow() {
    let bed = Bed::new(64);
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    let mut right = Counts::of(&bed);
    for ttl in [0, 1] {
        assert!(!bed.send(&packets::with_ttl(syn.clone(), ttl)).left());
        right.raise("ttl_expired");
    }
    assert_eq!(Counts::of(&bed), right);
}

// P-35
#[test]
fn all_256_values_of_tos_are_kept() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::FULL_NAT);
    for frame in [conn.up(Flags::ACK, b"x"), conn.down(Flags::ACK, b"x")] {
        for tos in 0..=255 {
            let mut marked = frame.clone();
            marked[TOS] = tos;
            packets::refresh_ip_checksum(&mut marked);
            let sent = bed.send(&marked);
            sent.taken();
            assert_eq!(sent.bytes[TOS], tos);
        }
    }
}

/// A service for any port of the address, with real servers that listen on the port the client wrote.
fn any_port(bed: &mut Bed, address: Ipv4Addr) {
    let (mut key, mut service) = *bed
        .world
        .services
        .iter()
        .find(|(key, _)| key.port.get() == world::TWIN)
        .expect("a service of this world");
    (key.addr, key.port) = (address.into(), Port::ZERO);
    service.id.0 += 100;
    let id = RealId(500);
    let mut real = bed.host.reals[&bed.host.slots[service.slots_at as usize]];
    let hop = *bed.world.hops.first().map(|(_, hop)| hop).expect("a hop");
    (real.port, real.service, real.service_id) = (Port::ZERO, key, service.id);
    bed.host.reals.insert(id, real);
    bed.host.set_hop(id.hop(), hop);
    service.slots_at = bed.host.slots.len() as u32;
    service.slots_len = 1;
    bed.host.slots.push(id);
    bed.host.services.insert(key, service);
}

// P-70
#[test]
fn port_0_in_a_packet_is_a_port_like_any_other() {
    let mut bed = Bed::new(64);
    let zero = packets::tcp((CLIENT, 40_000), (VIP, 0), Flags::SYN, b"");
    assert_eq!(bed.send(&zero).verdict.slot(), PassReason::NoService.slot());
    let from_zero = bed.establish((CLIENT, 0), world::NAT);
    assert_eq!(bed.send(&from_zero.up(Flags::ACK, b"x")).taken().to, from_zero.real);

    any_port(&mut bed, VIP);
    let sent = bed.send(&zero).taken();
    assert_eq!(sent.to, (REALS[0].0, 0), "the port that the client wrote");
    let other = bed.send(&packets::tcp((CLIENT, 40_001), (VIP, 7), Flags::SYN, b"")).taken();
    assert_eq!(other.to, (REALS[0].0, 7), "any port");
    let exact = bed.open((CLIENT, 40_002), world::NAT);
    assert!(REALS.contains(&exact.real), "the exact port comes first: {exact:?}");
}

// P-78, P-79: byte for byte.
#[test]
fn what_is_not_for_a_virtual_server_is_left_untouched() {
    let bed = Bed::new(64);
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    let with_type = |kind: u16| {
        let mut frame = syn.clone();
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frame
    };
    let to = |mac: [u8; 6]| {
        let mut frame = syn.clone();
        frame[..6].copy_from_slice(&mac);
        frame
    };
    let elsewhere =
        packets::tcp((CLIENT, 40_000), (Ipv4Addr::new(10, 64, 1, 3), world::NAT), Flags::SYN, b"");
    let cases = [
        ("another machine's", to([2, 0, 0, 0, 0, 0x77]), PassReason::NotOurMac),
        ("ARP", with_type(0x0806), PassReason::NotIpv4),
        ("LLDP", with_type(0x88cc), PassReason::NotIpv4),
        ("IPv6 by its type alone", with_type(0x86dd), PassReason::BadIpv6),
        ("a VLAN tag", with_type(0x8100), PassReason::NotIpv4),
        ("two VLAN tags", with_type(0x88a8), PassReason::NotIpv4),
        ("STP: a length", with_type(0x0026), PassReason::NotIpv4),
        ("broadcast", to([0xff; 6]), PassReason::GroupFrame),
        ("IPv4 multicast", to([1, 0, 0x5e, 0, 0, 1]), PassReason::GroupFrame),
        ("another address", elsewhere, PassReason::NoService),
    ];
    let mut right = Counts::of(&bed);
    for (what, frame, reason) in cases {
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.slot(), reason.slot(), "{what}");
        assert_eq!(sent.bytes, frame, "{what}");
        right.raise(reason.name());
    }
    assert_eq!(Counts::of(&bed), right);
}

// P-32: whose header is broken may not even have sent it (RFC 1812, 4.3.2.7).
#[test]
fn nobody_is_told_of_a_packet_whose_header_is_broken() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let mut last_hop = packets::with_ttl(conn.up(Flags::ACK, b""), 1);
    assert_eq!(bed.send(&last_hop).bytes.len(), 70, "answered");
    last_hop[25] ^= 1;
    let mut right = Counts::of(&bed);
    let sent = bed.send(&last_hop);
    assert_eq!(sent.verdict, Verdict::drop(DropReason::TtlExpired));
    assert_eq!(sent.bytes, last_hop, "untouched");
    right.raise("ttl_expired");
    right.raise("icmp_suppressed");
    assert_eq!(Counts::of(&bed), right);
}

// P-79: keepalived's use_vmac has the virtual address answered for by a virtual router's Ethernet address.
#[test]
fn a_virtual_routers_address_is_ours() {
    let bed = Bed::new(64);
    let mut syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    syn[..6].copy_from_slice(&[0, 0, 0x5e, 0, 1, 51]);
    assert!(bed.send(&syn).left());
}

// P-80
#[test]
fn other_ports_and_protocols_of_a_virtual_address_are_the_hosts() {
    let bed = Bed::new(64);
    for frame in [
        packets::tcp((CLIENT, 40_000), (VIP, 22), Flags::SYN, b""),
        packets::udp((CLIENT, 40_000), (VIP, world::NAT), b""),
        packets::tcp((CLIENT, 40_000), (VIP, world::DNS), Flags::SYN, b""),
    ] {
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.slot(), PassReason::NoService.slot());
        assert_eq!(sent.bytes, frame);
    }
}
