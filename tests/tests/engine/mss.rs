//! The MSS clamp (P-54): lowered in both directions, never raised, never added, and nothing else is touched.

use std::net::Ipv6Addr;

use lb_common::abi::RealId;
use lb_tests::golden::frames::{L4, TCP_OFFSET, made_right, with_options};
use lb_tests::packets::{self, End, Flags};
use lb_tests::packets6::{self, PAYLOAD};
use lb_tests::world::{self, VIP, VIP6, World};

use crate::bed::{Bed, CLIENT};

/// What the services of these tests are set to.
const MOST: u16 = 1_200;
const CLIENT6: packets6::End = (Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1), 40_000);
/// Where options begin.
const OPTIONS: usize = L4 + 20;
const OPTIONS6: usize = PAYLOAD + 20;

/// A world whose services are all set.
fn bed() -> Bed {
    let mut world = World::new(64);
    for (_, real) in &mut world.reals {
        real.mss = MOST;
    }
    Bed::of(world)
}

fn mss(bytes: u16) -> Vec<u8> {
    [&[2, 4], &bytes.to_be_bytes()[..]].concat()
}

/// A client's SYN with these options.
fn syn(client: End, service: u16, options: &[u8]) -> Vec<u8> {
    with_options(client, (VIP, service), Flags::SYN, options, b"")
}

/// The options of a frame that left, whose checksums are right.
#[track_caller]
fn left(bed: &Bed, frame: &[u8]) -> Vec<u8> {
    let sent = bed.send(frame);
    sent.taken();
    sent.bytes[OPTIONS..].to_vec()
}

// P-54
#[test]
fn both_ends_are_told_no_more_than_the_service_is_set_to() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = bed();
        let client = (CLIENT, 40_000);
        for what in ["the first", "once more"] {
            let sent = bed.send(&syn(client, service, &mss(1_460)));
            assert_eq!(sent.bytes[OPTIONS..], mss(MOST), "{what}");
            let at_real = sent.taken();
            let answer = with_options(at_real.to, at_real.from, Flags::SYN_ACK, &mss(8_960), b"");
            assert_eq!(left(&bed, &answer), mss(MOST), "{what}");
        }
        let conn = bed.establish((CLIENT, 40_001), service);
        let again = with_options(conn.real, conn.local, Flags::SYN_ACK, &mss(1_460), b"");
        assert_eq!(left(&bed, &again), mss(MOST), "the answer once more, of an established flow");
    }
}

// P-54
#[test]
fn ipv6_is_told_the_same() {
    for service in [world::NAT, world::FULL_NAT] {
        let bed = bed();
        let to = (VIP6, service);
        let sent = bed.send(&packets6::tcp_with_options(CLIENT6, to, Flags::SYN, &mss(1_440)));
        assert!(sent.left(), "{:?}", sent.verdict);
        assert_eq!(sent.bytes[OPTIONS6..], mss(MOST));
        let at_real = packets6::take(&sent.bytes);
        let answer = packets6::tcp_with_options(
            at_real.to,
            at_real.from,
            Flags::SYN_ACK,
            &[&[1], &mss(65_535)[..]].concat(),
        );
        let sent = bed.send(&answer);
        packets6::take(&sent.bytes);
        assert_eq!(sent.bytes[OPTIONS6..], [1, 2, 4, 4, 0xb0, 0, 0, 0]);
    }
}

// P-54
#[test]
fn it_is_neither_raised_nor_added() {
    let bed = bed();
    for (port, options) in (40_000..).zip([
        mss(MOST),
        mss(MOST - 1),
        mss(536),
        mss(0),
        vec![],
        vec![1, 3, 3, 7],
        vec![0; 4],
    ]) {
        assert_eq!(left(&bed, &syn((CLIENT, port), world::NAT, &options)), options);
    }
}

// P-54, P-60
#[test]
fn other_options_stand_before_and_behind_it_and_stay() {
    let bed = bed();
    let timestamps = [8, 10, 0, 1, 2, 3, 0, 0, 0, 0];
    for (port, (before, behind)) in (40_000..).zip([
        (vec![], vec![4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7]),
        (vec![1], vec![1, 1, 1]),
        (vec![1, 1], vec![4, 2]),
        (vec![3, 3, 7], vec![0]),
        (timestamps.to_vec(), vec![1, 1]),
        ([&timestamps[..], &[3, 3, 7, 4, 2]].concat(), vec![0]),
        (vec![1; 36], vec![]),
        (
            vec![253, 6, 0xf9, 0x89, 1, 2, 254, 3, 0xff, 30, 4, 0, 0],
            vec![2, 4, 0xff, 0xff, 1, 1, 1],
        ),
    ]) {
        let with = |bytes: u16| [&before[..], &mss(bytes), &behind].concat();
        let frame = syn((CLIENT, port), world::NAT, &with(1_460));
        assert_eq!(left(&bed, &frame), with(MOST), "{before:?}, {behind:?}");
    }
}

// P-54: broken options end the search without harm
#[test]
fn what_stands_behind_a_broken_option_is_not_touched() {
    let bed = bed();
    for (port, head) in (40_000..).zip([
        vec![3, 0],
        vec![3, 1],
        vec![3, 41],
        vec![3, 255],
        vec![0, 0],
        vec![2, 0],
        vec![2, 3, 0xff, 0],
        vec![2, 6, 0xff, 0xff, 0, 0],
        vec![2, 2],
    ]) {
        let mut options = [&head[..], &mss(1_460)].concat();
        options.resize(options.len().next_multiple_of(4), 0);
        assert_eq!(left(&bed, &syn((CLIENT, port), world::NAT, &options)), options, "{head:?}");
    }
    // The header's last bytes are an option's first.
    for options in [vec![1, 1, 1, 2], vec![1, 1, 2, 4], [vec![1; 38], vec![2, 4]].concat()] {
        let frame = syn((CLIENT, 41_000), world::NAT, &options);
        assert_eq!(left(&bed, &frame), options, "{options:?}");
    }
}

// P-54: a real server's answer whose header is longer than its packet
#[test]
fn bytes_behind_the_packet_are_no_option() {
    let bed = bed();
    let conn = bed.open((CLIENT, 40_000), world::NAT);
    let mut frame = made_right(conn.down(Flags::SYN_ACK, b""), TCP_OFFSET, &[15 << 4]);
    frame.extend(mss(1_460));
    frame.resize(L4 + 60, 0);
    let sent = bed.send(&frame);
    assert!(sent.left(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes[OPTIONS..], frame[OPTIONS..]);
}

// P-54
#[test]
fn segments_of_no_handshake_are_not_looked_into() {
    let bed = bed();
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    for flags in [Flags::ACK, Flags::FIN_ACK, Flags::RST] {
        for (from, to) in [(conn.client, conn.vip), (conn.real, conn.local)] {
            let frame = with_options(from, to, flags, &mss(1_460), b"data");
            assert_eq!(left(&bed, &frame)[..4], mss(1_460), "{flags:?}");
        }
    }
}

// P-54, P-11
#[test]
fn it_is_found_behind_ipv4_options_and_extension_headers() {
    let bed = bed();
    let frame =
        packets::with_options(&syn((CLIENT, 40_000), world::NAT, &mss(1_460)), &[148, 4, 0, 0]);
    let sent = bed.send(&frame);
    assert!(sent.left(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes[OPTIONS + 4..], mss(MOST));
    let frame = packets6::with_extensions(
        &packets6::tcp_with_options(CLIENT6, (VIP6, world::NAT), Flags::SYN, &mss(1_460)),
        &vec![packets6::padding(packets6::next::DESTINATION); 3],
    );
    let sent = bed.send(&frame);
    assert!(sent.left(), "{:?}", sent.verdict);
    assert_eq!(sent.bytes[sent.bytes.len() - 4..], mss(MOST));
}

// P-54: every value, at even and odd places; `taken` adds all of the checksum up anew
#[test]
fn checksums_are_right_whatever_the_value() {
    for most in [88, 255, 256, 536, 1_460, 65_495] {
        let mut world = World::new(64);
        for (_, real) in &mut world.reals {
            real.mss = most;
        }
        let bed = Bed::of(world);
        for said in (0..=u16::MAX).step_by(97).chain([most - 1, most, most + 1, u16::MAX]) {
            for before in [&[][..], &[1]] {
                let options = [before, &mss(said), &[0; 3][before.len()..]].concat();
                let expected = [before, &mss(said.min(most))].concat();
                let out = left(&bed, &syn((CLIENT, 40_000), world::NAT, &options));
                assert_eq!(out[..expected.len()], expected, "{said} to {most}");
            }
        }
    }
}

// P-54: the same flow, another setting
#[test]
fn a_reload_holds_for_the_next_syn() {
    let mut bed = bed();
    let frame = syn((CLIENT, 40_000), world::NAT, &mss(1_460));
    assert_eq!(left(&bed, &frame), mss(MOST));
    for (setting, expected) in [(1_000, 1_000), (0, 1_460), (1_459, 1_459)] {
        for id in 0..2 {
            bed.host.reals.get_mut(&RealId(id)).expect("a real server").mss = setting;
        }
        assert_eq!(left(&bed, &frame), mss(expected));
    }
}
