//! Whatever bytes arrive: a verdict, one reason, and nothing changed that is not said.

use std::net::Ipv4Addr;

use lb_common::abi::DropReason;
use lb_common::engine::Action;
use lb_tests::packets::{self, End, Flags};
use lb_tests::world::{self, VIP};
use proptest::prelude::*;

use crate::bed::{Bed, CLIENT, Sent};

/// Bytes of a frame that a rewrite may change: link addresses, TTL and header checksum, addresses, ports, and the
/// transport's checksum.
fn may_change(at: usize, udp: bool) -> bool {
    let check = if udp { 40..42 } else { 50..52 };
    (0..12).contains(&at) || at == 22 || (24..38).contains(&at) || check.contains(&at)
}

/// What holds for every packet.
fn check(bed: &Bed, frame: &[u8]) -> Result<Sent, TestCaseError> {
    let before = bed.reasons();
    let sent = bed.send(frame);
    let raised: Vec<usize> = before
        .iter()
        .zip(&bed.reasons())
        .enumerate()
        .filter(|(slot, _)| *slot < 224)
        .flat_map(|(slot, (before, after))| std::iter::repeat_n(slot, (after - before) as usize))
        .collect();
    let slot = sent.verdict.slot();
    match sent.verdict.action() {
        Action::Pass | Action::Drop => {
            prop_assert_eq!(&raised, &[slot as usize], "one reason, counted once");
            prop_assert_eq!(&sent.bytes[..], frame, "untouched");
        }
        Action::Redirect if slot == 0 => {
            prop_assert!(raised.is_empty());
            prop_assert_eq!(sent.bytes.len(), frame.len());
            let udp = frame[23] == 17;
            for (at, (old, new)) in frame.iter().zip(&sent.bytes).enumerate() {
                prop_assert!(old == new || may_change(at, udp), "byte {} changed", at);
            }
            prop_assert_eq!(sent.bytes[22], frame[22] - 1);
        }
        Action::Redirect => {
            let answered =
                [DropReason::NoUsableReal, DropReason::TtlExpired, DropReason::MtuExceeded];
            prop_assert!(answered.iter().any(|reason| reason.slot() == slot), "slot {}", slot);
            prop_assert_eq!(&raised, &[slot as usize]);
            prop_assert_eq!(sent.bytes.len(), 14 + 56);
            prop_assert_eq!(&sent.bytes[42..], &frame[14..42], "the quotation");
        }
        Action::Bounce => prop_assert!(false, "no interface here allows it"),
    }
    Ok(sent)
}

/// A bed with flows of all kinds, so that random packets may hit something.
fn lived_in() -> (Bed, Vec<Vec<u8>>) {
    let bed = Bed::new(64);
    let mut frames = Vec::new();
    for (port, service) in (1_000..).zip([world::NAT, world::FULL_NAT, world::WLC, world::STICKY]) {
        let conn = bed.establish((CLIENT, port), service);
        frames.extend([conn.up(Flags::ACK, b"data"), conn.down(Flags::FIN_ACK, b"data")]);
        let half = bed.open((CLIENT, port + 100), service);
        frames.extend([half.up(Flags::ACK, b""), half.down(Flags::SYN_ACK, b"")]);
    }
    for service in [world::DNS, world::UDP_FULL_NAT, 9] {
        frames.push(packets::udp((CLIENT, 53), (VIP, service), b"query"));
    }
    frames.push(packets::tcp((CLIENT, 2_000), (VIP, world::EMPTY), Flags::SYN, b""));
    frames.push(packets::tcp((CLIENT, 2_000), (VIP, world::SH), Flags::SYN, b"early data"));
    (bed, frames)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    // S-28: I-1, I-2, I-3, I-10 over raw random bytes of any length.
    #[test]
    fn random_bytes_are_left_alone(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&Bed::new(4), &frame)?;
    }

    // S-28: random bytes behind an Ethernet header that says IPv4, and one that begins well.
    #[test]
    fn random_headers_are_judged_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        proto in prop_oneof![Just(6_u8), Just(17), any::<u8>()],
        to in prop_oneof![Just(VIP), any::<u32>().prop_map(Ipv4Addr::from)],
        port in prop_oneof![Just(world::NAT), Just(world::EMPTY), any::<u16>()],
    ) {
        let mut frame = [&packets::OUR_MAC[..], &packets::CLIENT_MAC, &[8, 0, 0x45], &bytes].concat();
        if frame.len() >= 38 {
            let length = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            frame[20..22].copy_from_slice(&[0x40, 0]);
            frame[23] = proto;
            frame[30..34].copy_from_slice(&to.octets());
            frame[36..38].copy_from_slice(&port.to_be_bytes());
        }
        check(&Bed::new(4), &frame)?;
    }

    // S-28: real packets of live flows with bits flipped, lengths lied about, ends cut off or added.
    #[test]
    fn damaged_packets_of_live_flows_do_no_harm(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((0..70_usize, any::<u8>()), 0..4),
        cut in prop::option::weighted(0.3, 0..80_usize),
        more in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let (bed, frames) = lived_in();
        let mut frame = which.get(&frames).clone();
        for (at, bits) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= bits;
            }
        }
        frame.extend(more);
        frame.truncate(cut.unwrap_or(usize::MAX));
        check(&bed, &frame)?;
    }

    // P-02, P-03: I-4, I-5: whatever the request became, its mirror image comes back as the request's mirror image.
    #[test]
    fn the_way_back_undoes_the_way_there(
        client in (0x0a41_0000_u32..0x0a42_0000, any::<u16>()),
        service in prop::sample::select(&[world::NAT, world::FULL_NAT, world::WLC, world::STICKY,
            world::SH, world::DNS, world::UDP_FULL_NAT][..]),
        payload in prop::collection::vec(any::<u8>(), 0..100),
        ttl in 2..=255_u8,
    ) {
        let bed = Bed::new(8);
        let client: End = (Ipv4Addr::from(client.0), client.1);
        let udp = matches!(service, world::DNS | world::UDP_FULL_NAT);
        let frame = |from, to, flags| {
            let frame = if udp { packets::udp(from, to, &payload) } else { packets::tcp(from, to, flags, &payload) };
            packets::with_ttl(frame, ttl)
        };
        let request = frame(client, (VIP, service), Flags::SYN);
        let there = check(&bed, &request)?.taken();
        prop_assert_eq!(there.ttl, ttl - 1);
        prop_assert_eq!(&there.payload, &payload);
        let reply = frame(there.to, there.from, Flags::SYN_ACK);
        let back = check(&bed, &reply)?.taken();
        prop_assert_eq!((back.from, back.to), ((VIP, service), client));
        prop_assert_eq!(back.dst_mac, packets::CLIENT_MAC);
        prop_assert_eq!(&back.payload, &payload);
        // And the first packet again is rewritten to the same bytes.
        prop_assert_eq!(check(&bed, &request)?.taken(), there);
    }
}
