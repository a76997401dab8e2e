//! IPv4 options: kept, and looked behind.

use lb_common::abi::{ConnState, DropReason, PassReason};
use lb_tests::packets::{self, Flags, icmp};
use lb_tests::world::{self, VIP};

use crate::bed::{Bed, CLIENT};

/// Options that only routers read: padding, record route, timestamp, router alert, and as many bytes as there may be.
fn harmless() -> Vec<Vec<u8>> {
    vec![
        vec![1, 1, 1, 0],
        vec![0, 0, 0, 0],
        vec![7, 7, 4, 0, 0, 0, 0, 1],
        vec![68, 8, 5, 0, 0, 0, 0, 0],
        vec![148, 4, 0, 0],
        [vec![7, 39, 4], vec![0; 37]].concat(),
        // As many options as there may be, each a byte.
        vec![1; 40],
    ]
}

/// Takes the options out again.
fn without(frame: &[u8], options: &[u8]) -> Vec<u8> {
    assert_eq!(frame[34..34 + options.len()], *options, "they are kept");
    packets::with_ttl(
        {
            let mut plain = frame.to_vec();
            plain.drain(34..34 + options.len());
            plain[14] = 0x45;
            let length = (plain.len() - 14) as u16;
            plain[16..18].copy_from_slice(&length.to_be_bytes());
            plain
        },
        63,
    )
}

// P-11
#[test]
fn packets_with_options_are_forwarded_with_them() {
    for options in harmless() {
        for service in [world::NAT, world::FULL_NAT] {
            let bed = Bed::new(64);
            let conn = bed.establish((CLIENT, 40_000), service);
            let frame = packets::with_options(&conn.up(Flags::ACK, b"data"), &options);
            let sent = bed.send(&frame);
            assert!(sent.left(), "{options:?}: {:?}", sent.verdict);
            // The whole header's sum is right: etherparse reads it with its options.
            let mut check = sent.bytes.clone();
            packets::refresh_ip_checksum(&mut check);
            assert_eq!(check, sent.bytes, "IPv4 header checksum");
            let at_real = packets::take(&without(&sent.bytes, &options));
            assert_eq!((at_real.to, at_real.from), (conn.real, conn.local));
            assert_eq!(at_real.payload, b"data");
            assert_eq!(bed.state(&conn), Some(ConnState::Established));
        }
    }
}

#[test]
fn a_connection_may_begin_and_end_with_options() {
    let bed = Bed::new(64);
    let options = [148, 4, 0, 0];
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    let sent = bed.send(&packets::with_options(&syn, &options));
    assert!(sent.left(), "{:?}", sent.verdict);
    let at_real = packets::take(&without(&sent.bytes, &options));
    assert!(world::REALS.contains(&at_real.to));
    let mut broken = packets::with_options(&syn, &options);
    broken[24] ^= 1;
    broken[37] ^= 0;
    assert_eq!(
        Bed::new(64).send(&broken).verdict.slot(),
        DropReason::BadIpChecksum.slot(),
        "the checksum is over the options too"
    );
}

// P-12, P-13
#[test]
fn source_routes_and_broken_options_end_what_is_for_us_and_nothing_else() {
    let cases = [
        (vec![131, 7, 4, 10, 0, 0, 1, 0], DropReason::SourceRoute),
        (vec![137, 7, 4, 10, 0, 0, 1, 0], DropReason::SourceRoute),
        (vec![1, 131, 3, 4], DropReason::SourceRoute),
        (vec![7, 0, 0, 0], DropReason::BadIpOption),
        (vec![7, 1, 0, 0], DropReason::BadIpOption),
        (vec![7, 5, 0, 0], DropReason::BadIpOption),
        (vec![1, 1, 1, 7], DropReason::BadIpOption),
    ];
    for (options, reason) in cases {
        let bed = Bed::new(64);
        let conn = bed.establish((CLIENT, 40_000), world::NAT);
        let syn = |port| packets::tcp((CLIENT, 40_001), (VIP, port), Flags::SYN, b"");
        for (frame, slot) in [
            (syn(world::NAT), reason.slot()),
            (conn.up(Flags::ACK, b"data"), reason.slot()),
            (conn.down(Flags::ACK, b"data"), reason.slot()),
            (syn(9), PassReason::NoService.slot()),
        ] {
            let frame = packets::with_options(&frame, &options);
            let sent = bed.send(&frame);
            assert_eq!(sent.verdict.slot(), slot, "{options:?}");
            assert_eq!(sent.bytes, frame, "untouched");
        }
    }
}

// P-45 from outside: the error's own header has options.
#[test]
fn an_icmp_error_with_options_is_translated() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let left = bed.send(&conn.down(Flags::ACK, b"data")).bytes;
    let head = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, 5, 120]);
    let error = packets::icmp(CLIENT, VIP, head, packets::ip_packet(&left));
    let options = [148, 4, 0, 0];
    let sent = bed.send(&packets::with_options(&error, &options));
    assert!(sent.left(), "{:?}", sent.verdict);
    let answer = packets::take_error(&without(&sent.bytes, &options));
    assert_eq!((answer.to, answer.head), (conn.real.0, head));
}

// A time to live that ends here is answered whatever stands before the ports.
#[test]
fn an_error_quotes_the_options_too() {
    let bed = Bed::new(64);
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    let options = [148, 4, 0, 0];
    let frame =
        packets::with_options(&packets::with_ttl(conn.up(Flags::ACK, b"data"), 1), &options);
    let sent = bed.send(&frame);
    let error = packets::take_error(&sent.bytes);
    assert_eq!(error.quote, packets::ip_packet(&frame)[..32]);
}
