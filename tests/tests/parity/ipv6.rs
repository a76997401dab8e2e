//! The same of IPv6.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use lb_tests::capability::{Capability, have};
use lb_tests::kernel::xdp;
use lb_tests::packets::Flags;
use lb_tests::packets6::{self, End, IP, PAYLOAD, next, padding};
use lb_tests::world::{self, REALS6, VIP6};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::Triplets;

const PORTS: [u16; 7] =
    [world::NAT, world::FULL_NAT, world::STICKY, world::SH, world::EMPTY, world::DNS, 9];

/// A router that errors come from.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 9);

#[derive(Clone, Debug)]
struct Packet {
    client: u8,
    service: usize,
    reply: bool,
    flags: u8,
    hop_limit: u8,
    payload: usize,
    /// Extension headers: which of some, in order.
    chain: Vec<u8>,
    /// An ICMPv6 error about the last packet that left: type, word, bytes quoted.
    error: Option<(u8, u32, usize)>,
    /// Only a piece of it: identification, and whether the first.
    piece: Option<(u32, bool)>,
    cut: Option<usize>,
    flip: Option<(usize, u8)>,
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let about = (0..3_u8, 0..PORTS.len(), any::<bool>(), 0..16_u8);
    let body = (
        prop_oneof![8 => Just(64_u8), 1 => 0..3_u8],
        prop_oneof![9 => 0..40_usize, 1 => 1_300..1_500_usize],
    );
    let chain = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(0..6_u8, 1..11)];
    let word = prop_oneof![Just(1_400), Just(68), any::<u32>()];
    let kind = (
        prop::option::weighted(0.2, (prop_oneof![0..6_u8, any::<u8>()], word, 0..120_usize)),
        prop::option::weighted(0.2, (0..2_u32, any::<bool>())),
    );
    let damage = (
        prop::option::weighted(0.05, 14..90_usize),
        prop::option::weighted(0.1, (0..110_usize, any::<u8>())),
    );
    (about, body, chain, kind, damage).prop_map(
        |(about, body, chain, (error, piece), (cut, flip))| {
            let ((client, service, reply, flags), (hop_limit, payload)) = (about, body);
            Packet {
                client,
                service,
                reply,
                flags,
                hop_limit,
                payload,
                chain,
                error,
                piece,
                cut,
                flip,
            }
        },
    )
}

fn header(number: u8) -> (u8, Vec<u8>) {
    match number {
        0 => padding(next::HOP_BY_HOP),
        1 => padding(next::DESTINATION),
        2 => (next::ROUTING, vec![0, 0, 4, 0, 0, 0, 0, 0]),
        3 => (next::ROUTING, [vec![0, 0, 0, 1], vec![0; 20]].concat()),
        4 => (next::FRAGMENT, vec![0, 0, 0, 0, 0, 0, 0, 7]),
        _ => (next::DESTINATION, [vec![0, 0, 1, 20], vec![0; 20]].concat()),
    }
}

/// What became of the last request of a client and service.
#[derive(Clone, Default)]
struct Last {
    answered: Option<(End, End)>,
    /// The last packet that left, and from whom.
    left: Option<(Ipv6Addr, Vec<u8>)>,
}

impl Packet {
    fn frame(&self, last: &Last) -> Vec<u8> {
        let client = (Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, self.client.into()), 40_000);
        let service = PORTS[self.service];
        let (from, to) = match last.answered {
            Some((at_real, from)) if self.reply => (at_real, from),
            _ => (client, (VIP6, service)),
        };
        let payload = vec![b'x'; self.payload];
        let frame = if service == world::DNS {
            packets6::udp(from, to, &payload)
        } else {
            packets6::tcp(from, to, Flags::from_bits(self.flags), &payload)
        };
        let frame = match (self.piece, &self.error, &last.left) {
            (_, Some((kind, word, bytes)), Some((sender, left))) => {
                let quote = &left[IP..][..(*bytes).min(left.len() - IP)];
                packets6::icmp(ROUTER, *sender, (*kind, 0, word.to_be_bytes()), quote)
            }
            (Some((id, first)), ..) if frame.len() > PAYLOAD + 32 => {
                let end = if self.payload.is_multiple_of(2) { 24 } else { 16 };
                packets6::fragments(&frame, id, &[end])[usize::from(!first)].clone()
            }
            _ => frame,
        };
        let chain: Vec<_> = self.chain.iter().map(|number| header(*number)).collect();
        let mut frame = packets6::with_extensions(&frame, &chain);
        frame[IP + 7] = self.hop_limit;
        if let Some((at, bits)) = self.flip
            && at < frame.len()
        {
            frame[at] ^= bits;
        }
        if let Some(cut) = self.cut {
            frame.truncate(cut);
        }
        frame
    }

    /// Whether what leaves can be taken apart.
    fn is_plain(&self) -> bool {
        self.flip.is_none()
            && self.cut.is_none()
            && self.piece.is_none()
            && self.chain.is_empty()
            && self.error.is_none()
    }
}

// P-02, P-03, P-25, P-27, P-48, S-28
#[test]
fn any_sequence_of_ipv6_packets_is_the_same_on_host_and_in_kernel() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut runner =
        TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let triplets = RefCell::new(Triplets::new(8));
    let sequences = prop::collection::vec(any_packet(), 10..120);
    runner
        .run(&sequences, |sequence| {
            let mut triplets = triplets.borrow_mut();
            triplets.reset();
            let mut last: HashMap<_, Last> = HashMap::new();
            for packet in sequence {
                let last = last.entry((packet.client, packet.service)).or_default();
                let frame = packet.frame(last);
                let (verdict, bytes) = triplets.send(&frame);
                prop_assert_ne!(verdict, xdp::ABORTED);
                if verdict == xdp::DROP || verdict == xdp::PASS {
                    prop_assert_eq!(&frame, &bytes, "untouched");
                }
                // An answer of our own is an error.
                if verdict != xdp::REDIRECT || !packet.is_plain() || bytes[IP + 6] == 58 {
                    continue;
                }
                let taken = packets6::take(&bytes);
                prop_assert_eq!(taken.hop_limit, packet.hop_limit - 1);
                if REALS6.contains(&taken.to) {
                    last.answered = Some((taken.to, taken.from));
                }
                last.left = Some((taken.from.0, bytes));
            }
            triplets.compare();
            Ok(())
        })
        .expect("both agree");
}
