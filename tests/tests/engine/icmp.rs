//! ICMP errors about packets of flows: who gets them, and what they quote then.

use std::net::Ipv4Addr;

use lb_common::abi::{ConnState, DropReason, PassReason, Tick};
use lb_common::engine::tables::Table;
use lb_tests::packets::{self, Flags, TakenError, icmp};
use lb_tests::world::{self, LOCAL, VIP};

use crate::bed::{Bed, CLIENT, Conn};
use crate::counts::Counts;

/// A router that something stopped at.
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Kind, code and word of fragmentation needed for 1,400 bytes.
const NEEDS_1400: (u8, u8, [u8; 4]) =
    (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, 0x05, 0x78]);

/// A packet of a connection, as its sender wrote it and as it left the director.
struct Passage {
    conn: Conn,
    service: u16,
    reply: bool,
    written: Vec<u8>,
    left: Vec<u8>,
}

impl Passage {
    /// A segment with data through a new connection.
    fn of(bed: &Bed, service: u16, reply: bool) -> Self {
        let conn = bed.establish((CLIENT, 40_000), service);
        let payload: Vec<u8> = (0..200).collect();
        let written =
            if reply { conn.down(Flags::ACK, &payload) } else { conn.up(Flags::ACK, &payload) };
        let left = bed.send(&written).bytes;
        Self { conn, service, reply, written, left }
    }

    /// The error that a router sends about it, quoting so many bytes of the packet.
    fn error(&self, head: (u8, u8, [u8; 4]), bytes: usize) -> Vec<u8> {
        let quote = &packets::ip_packet(&self.left)[..bytes];
        packets::icmp(ROUTER, packets::take(&self.left).from.0, head, quote)
    }

    /// What its sender should hear: the packet as written, but for the hop that it went.
    fn quoted(&self) -> Vec<u8> {
        packets::ip_packet(&packets::with_ttl(self.written.clone(), 63)).to_vec()
    }

    /// The end that wrote it, and whom that end should hear the error from.
    fn ends(&self) -> (Ipv4Addr, Ipv4Addr) {
        match (self.reply, self.service) {
            (true, world::FULL_NAT) => (self.conn.real.0, LOCAL),
            (true, _) => (self.conn.real.0, ROUTER),
            (false, _) => (CLIENT, VIP),
        }
    }
}

/// Each service in each direction.
fn passages() -> impl Iterator<Item = (Bed, Passage)> {
    [world::NAT, world::FULL_NAT].into_iter().flat_map(|service| {
        [false, true].into_iter().map(move |reply| {
            let bed = Bed::new(64);
            let passage = Passage::of(&bed, service, reply);
            (bed, passage)
        })
    })
}

#[track_caller]
fn heard(bed: &Bed, error: &[u8]) -> TakenError {
    let sent = bed.send(error);
    assert!(sent.left(), "{:?}", sent.verdict);
    packets::take_error(&sent.bytes)
}

// P-36, P-37, P-38, P-41, P-42
#[test]
fn errors_reach_the_sender_and_quote_what_it_wrote() {
    for (bed, passage) in passages() {
        let whole = packets::ip_packet(&passage.left).len();
        for bytes in [28, 29, 38, 40, 41, whole - 1, whole] {
            let error = heard(&bed, &passage.error(NEEDS_1400, bytes));
            let (to, from) = passage.ends();
            assert_eq!((error.to, error.from, error.ttl), (to, from, 63));
            assert_eq!(error.head, NEEDS_1400, "the MTU is kept");
            let mut right = passage.quoted()[..bytes].to_vec();
            if bytes < 38 {
                // No checksum to be mended, so none is.
                right.truncate(28);
            }
            assert_eq!(error.quote[..right.len()], right, "{bytes} bytes");
        }
    }
}

// P-42: extensions behind the quotation (RFC 4884) are none of ours.
#[test]
fn extensions_are_left_as_they_are() {
    for (bed, passage) in passages() {
        let mut quote = packets::ip_packet(&passage.left).to_vec();
        quote.truncate(128);
        let extension = [0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 0, 1, 2, 0x3f];
        quote.extend(extension);
        let to = packets::take(&passage.left).from.0;
        let head = (icmp::TIME_EXCEEDED, 0, [0, 32, 0, 0]);
        let error = heard(&bed, &packets::icmp(ROUTER, to, head, &quote));
        assert_eq!(error.head, head);
        assert_eq!(error.quote[..128], passage.quoted()[..128]);
        assert_eq!(error.quote[128..], extension);
    }
}

// P-40
#[test]
fn every_kind_of_unreachable_and_time_exceeded_passes() {
    for (bed, passage) in passages() {
        let kinds = (0..16)
            .filter(|code| *code != icmp::FRAGMENTATION_NEEDED)
            .map(|code| (icmp::UNREACHABLE, code))
            .chain([(icmp::TIME_EXCEEDED, 0), (icmp::TIME_EXCEEDED, 1)]);
        for (kind, code) in kinds {
            let error = heard(&bed, &passage.error((kind, code, [0; 4]), 28));
            assert_eq!((error.head.0, error.head.1), (kind, code));
        }
    }
}

// P-45
#[test]
fn the_transport_is_found_behind_quoted_options() {
    for (bed, passage) in passages() {
        for words in [1_usize, 10] {
            let mut quote = packets::ip_packet(&passage.left).to_vec();
            quote[0] += words as u8;
            quote.splice(20..20, vec![1; 4 * words]);
            let mut frame = vec![0; 14];
            frame.extend(&quote);
            packets::refresh_ip_checksum(&mut frame);
            let to = packets::take(&passage.left).from.0;
            let error = heard(&bed, &packets::icmp(ROUTER, to, NEEDS_1400, &frame[14..]));
            assert_eq!(error.quote[12..20], passage.quoted()[12..20], "addresses");
            assert_eq!(error.quote[20..20 + 4 * words], vec![1; 4 * words], "options");
            assert_eq!(error.quote[20 + 4 * words..], passage.quoted()[20..], "transport");
        }
    }
}

// P-39: one-way UDP flows are half-open still.
#[test]
fn errors_about_datagrams_reach_the_client_with_and_without_a_checksum() {
    for service in [world::DNS, world::UDP_FULL_NAT] {
        for checked in [true, false] {
            let bed = Bed::new(64);
            let mut written = packets::udp((CLIENT, 40_000), (VIP, service), b"question");
            if !checked {
                written[40..42].fill(0);
            }
            let left = bed.send(&written).bytes;
            let taken = packets::take(&left);
            let head = (icmp::UNREACHABLE, 3, [0; 4]);
            let quote = packets::ip_packet(&left);
            let error = heard(&bed, &packets::icmp(taken.to.0, taken.from.0, head, quote));
            assert_eq!((error.to, error.from), (CLIENT, VIP));
            assert_eq!(error.quote, packets::ip_packet(&packets::with_ttl(written, 63)));
        }
    }
}

// P-50, S-35, C-52
#[test]
fn errors_are_counted_and_change_no_flow() {
    for (bed, passage) in passages() {
        let real = bed.real_of(&passage.conn);
        bed.host.set_now(Tick(1_100));
        for head in [(icmp::UNREACHABLE, 1, [0; 4]), (icmp::UNREACHABLE, 3, [0; 4]), NEEDS_1400] {
            let before = Counts::of(&bed);
            let frame = passage.error(head, 28);
            heard(&bed, &frame);
            let mut right = before;
            // Towards the real server if the real server wrote what stopped.
            right.packet(real, !passage.reply, packets::ip_packet(&frame).len() as u64);
            assert_eq!(Counts::of(&bed), right, "no state, no stamp");
        }
        let primary =
            bed.host.entries(Table::Flows).into_iter().find(|(key, _)| *key == passage.conn.key());
        let state = primary.and_then(|(_, flow)| flow.conn_state());
        assert_eq!(state, Some(ConnState::Established));
    }
}

// P-47, P-56, S-33: an echo is the host's, whatever serves; xlb sends nothing.
#[test]
fn queries_and_errors_about_others_are_the_hosts() {
    let bed = Bed::new(64);
    let passage = Passage::of(&bed, world::NAT, false);
    let echo = (icmp::ECHO, 0, [0, 7, 0, 1]);
    let query = packets::icmp(CLIENT, VIP, echo, &[b'x'; 56]);
    let about =
        |frame: &[u8]| packets::icmp(ROUTER, VIP, NEEDS_1400, &packets::ip_packet(frame)[..28]);
    let stranger = packets::tcp((VIP, 4_000), (CLIENT, 80), Flags::ACK, b"");
    let mut later = passage.left.clone();
    later[20..22].copy_from_slice(&[0x20, 0xb9]);
    packets::refresh_ip_checksum(&mut later);
    let cases = [
        (PassReason::IcmpQuery, query.clone()),
        (PassReason::IcmpQuery, packets::icmp(CLIENT, VIP, (icmp::ECHO_REPLY, 0, [0; 4]), b"")),
        (PassReason::IcmpNoFlow, about(&stranger)),
        (PassReason::IcmpCutQuote, about(&query)),
        // P-46
        (PassReason::IcmpCutQuote, about(&later)),
        (PassReason::IcmpCutQuote, passage.error(NEEDS_1400, 27)),
        (PassReason::IcmpCutQuote, packets::icmp(ROUTER, VIP, NEEDS_1400, b"")),
    ];
    for (reason, frame) in cases {
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.slot(), reason.slot(), "{:?}", sent.verdict);
        assert_eq!(sent.bytes, frame, "untouched");
    }
}

// S-38: no host on a network has such an address, and nobody shall hear of us from it.
#[test]
fn errors_from_nowhere_end_here() {
    for (bed, passage) in passages() {
        let to = packets::take(&passage.left).from.0;
        let quote = &packets::ip_packet(&passage.left)[..28];
        for first in [0, 127, 224, 255] {
            let error = packets::icmp(Ipv4Addr::new(first, 1, 2, 3), to, NEEDS_1400, quote);
            let sent = bed.send(&error);
            assert_eq!(sent.verdict.slot(), DropReason::MartianSource.slot(), "{first}/8");
            assert_eq!(sent.bytes, error, "untouched");
        }
    }
}
