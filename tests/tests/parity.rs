//! The same packets through the engine on the host and the programs in the kernel, at XDP and at tc: same bytes,
//! verdict, tables and counters. Whatever the host tests prove of the engine then holds for the kernel.

#[path = "parity/flood.rs"]
mod flood;
#[path = "parity/ipv6.rs"]
mod ipv6;
#[path = "parity/mss.rs"]
mod mss;
#[path = "parity/outer.rs"]
mod outer;
#[path = "parity/reply_path.rs"]
mod reply_path;

use std::cell::RefCell;
use std::net::Ipv4Addr;

use aya::maps::perf::PerfEvent;
use lb_common::abi::{
    DropReason, Flow, FlowKey, HeldHead, HopState, NextHop, Notice, PassReason, REASON_SLOTS, Tick,
    map, program,
};
use lb_common::engine::tables::Table;
use lb_common::engine::{Action, Verdict};
use lb_common::host::{Frame, HostTables, Kept};
use lb_common::wire::{Addr4, Addr6};
use lb_tests::capability::{Capability, have};
use lb_tests::kernel::{Kernel, tc, xdp};
use lb_tests::packets::{self, End, Flags};
use lb_tests::packets6;
use lb_tests::world::{self, REALS, VIP, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The three data paths over the same world.
struct Triplets {
    world: World,
    host: HostTables,
    xdp: Kernel,
    tc: Kernel,
    /// What tc was not given, by reason: `BPF_PROG_TEST_RUN` refuses buffers that end inside the IPv4 header.
    refused: Vec<u64>,
}

fn tc_code(verdict: Verdict) -> u32 {
    match verdict.action() {
        Action::Pass => tc::UNSPEC,
        Action::Drop => tc::SHOT,
        Action::Bounce | Action::Redirect => tc::REDIRECT,
    }
}

/// Entries without their times, which no two runs share.
fn timeless<A>(entries: Vec<(FlowKey<A>, Flow<A>)>) -> Vec<(FlowKey<A>, Flow<A>)> {
    let mut entries = entries;
    for (_, flow) in &mut entries {
        flow.stamp = Tick(0);
        flow.rewrite.opened = Tick(0);
    }
    entries
}

/// At tc an ICMPv6 error quotes less.
fn shorter_error(whole: &[u8], short: &[u8]) {
    let (whole, short) = (packets6::take_error(whole), packets6::take_error(short));
    assert_eq!((whole.head, whole.from, whole.to), (short.head, short.from, short.to));
    assert_eq!(short.quote, whole.quote[..96]);
}

/// The flow tables of one family on host and in a kernel's maps.
fn same_tables<A: Kept>(host: &HostTables, kernel: &mut Kernel, names: [&str; 2], hook: &str) {
    for (table, name) in [Table::Flows, Table::HalfOpen].into_iter().zip(names) {
        let entries = timeless(kernel.entries::<A>(name).expect("readable"));
        assert_eq!(timeless(host.entries_of(table)), entries, "{name} at {hook}");
    }
}

impl Triplets {
    fn new(flows: u32) -> Self {
        Self::of(World::new(flows))
    }

    fn of(world: World) -> Self {
        let load = || Kernel::load(&world).expect("the object loads");
        let (host, refused) = (world.on_host(), vec![0; REASON_SLOTS as usize]);
        Self { host, xdp: load(), tc: load(), refused, world }
    }

    /// One packet through all; what XDP said, and the bytes it became.
    fn send(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut copy = Frame::new(frame.to_vec());
        let verdict = self.host.run(&mut copy, world::IFINDEX);
        let (said, bytes) = self.xdp.run(program::XDP, frame).expect("test run");
        assert_eq!(xdp::code(verdict), said, "verdict of {frame:02x?}: host says {verdict:?}");
        assert_eq!(copy.bytes, bytes, "bytes after {verdict:?}");
        if frame.len() < tc::shortest(frame) {
            self.refused[verdict.slot() as usize] += 1;
            return (said, bytes);
        }
        let (at_tc, bytes_at_tc) = self.tc.run(program::TC, frame).expect("test run");
        assert_eq!(tc_code(verdict), at_tc, "tc on {frame:02x?}: host says {verdict:?}");
        if bytes_at_tc.len() < copy.bytes.len() && verdict.slot() != 0 {
            shorter_error(&copy.bytes, &bytes_at_tc);
        } else {
            assert_eq!(copy.bytes, bytes_at_tc, "bytes at tc after {verdict:?}");
        }
        (said, bytes)
    }

    /// Nothing has happened yet.
    fn reset(&mut self) {
        self.xdp.reset(&self.world).expect("writable");
        self.tc.reset(&self.world).expect("writable");
        self.refused.fill(0);
        self.host = self.world.on_host();
    }

    /// Tables and counters of all.
    fn compare(&mut self) {
        for (hook, kernel) in [("xdp", &mut self.xdp), ("tc", &mut self.tc)] {
            same_tables::<Addr4>(&self.host, kernel, [map::FLOWS4, map::HALF_OPEN4], hook);
            same_tables::<Addr6>(&self.host, kernel, [map::FLOWS6, map::HALF_OPEN6], hook);
            let mut reasons = kernel.reasons().expect("readable");
            if hook == "tc" {
                reasons.iter_mut().zip(&self.refused).for_each(|(count, more)| *count += more);
            }
            assert_eq!(self.host.reasons(), reasons, "reasons at {hook}");
            for (id, _) in &self.world.reals {
                let counters = kernel.counters(*id).expect("readable");
                assert_eq!(self.host.counters(*id), counters, "{id:?} at {hook}");
                let (active, inactive, half_open) = self.host.load_of(*id);
                assert_eq!(
                    (active, inactive, u32::try_from(half_open).expect("never below 0")),
                    kernel.load_of(*id).expect("readable"),
                    "load of {id:?} at {hook}"
                );
            }
        }
    }
}

/// Where the IPv4 protocol number lies in a frame.
const PROTOCOL: usize = 23;
const ICMP: u8 = 1;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 1);

// P-02, P-05, C-01, C-02
#[test]
fn a_connection_of_every_service_is_the_same_on_host_and_in_kernel() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut triplets = Triplets::new(64);
    let services =
        [world::NAT, world::FULL_NAT, world::WLC, world::STICKY, world::SH, world::EMPTY];
    for (client_port, service) in (40_000..).zip(services.into_iter().cycle().take(24)) {
        let (client, vip) = ((CLIENT, client_port), (VIP, service));
        let (verdict, request) = triplets.send(&packets::tcp(client, vip, Flags::SYN, b""));
        if service == world::EMPTY {
            assert_eq!(verdict, xdp::REDIRECT, "the refusal leaves");
            continue;
        }
        let at_real = packets::take(&request);
        assert!(REALS.contains(&at_real.to), "{at_real:?}");
        for flags in [Flags::SYN_ACK, Flags::ACK] {
            let (_, reply) = triplets.send(&packets::tcp(at_real.to, at_real.from, flags, b""));
            let at_client = packets::take(&reply);
            assert_eq!((at_client.from, at_client.to), (vip, client));
            triplets.send(&packets::tcp(client, vip, Flags::ACK, b"hello"));
        }
        triplets.send(&packets::tcp(client, vip, Flags::FIN_ACK, b""));
        triplets.send(&packets::tcp(at_real.to, at_real.from, Flags::FIN_ACK, b""));
        triplets.send(&packets::tcp(client, vip, Flags::SYN, b""));
    }
    triplets.compare();
}

#[derive(Clone, Debug)]
struct Packet {
    client: u8,
    client_port: u16,
    service: usize,
    reply: bool,
    flags: u8,
    ttl: u8,
    payload: usize,
    /// An ICMP error about the last packet of this client and service that left: kind, code, word, bytes quoted.
    error: Option<(u8, u8, [u8; 4], usize)>,
    /// Only a piece of it: the packet's identification, and whether the first.
    piece: Option<(u16, bool)>,
    cut: Option<usize>,
    flip: Option<(usize, u8)>,
    /// IPv4 options, a multiple of four bytes.
    options: Vec<u8>,
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let about = (0..3_u8, 40_000..40_003_u16, 0..10_usize, any::<bool>(), 0..16_u8);
    let body = (prop_oneof![8 => Just(64_u8), 1 => 0..3_u8], 0..40_usize);
    let kind = (
        prop::option::weighted(0.2, any_error()),
        prop::option::weighted(0.2, (0..2_u16, any::<bool>())),
    );
    let damage = (
        prop::option::weighted(0.05, 14..60_usize),
        prop::option::weighted(0.1, (0..80_usize, any::<u8>())),
        prop_oneof![5 => Just(vec![]), 1 => any_options()],
    );
    (about, body, kind, damage).prop_map(|(about, body, (error, piece), (cut, flip, options))| {
        let (client, client_port, service, reply, flags) = about;
        let (ttl, payload) = body;
        Packet {
            client,
            client_port,
            service,
            reply,
            flags,
            ttl,
            payload,
            error,
            piece,
            cut,
            flip,
            options,
        }
    })
}

/// Up to forty bytes of options that mean something, or nothing.
fn any_options() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![0..2_u8, Just(7), Just(131), Just(148), any::<u8>()];
    prop::collection::vec((kind, 0..9_u8), 1..14).prop_map(|pairs| {
        let mut bytes: Vec<u8> = pairs.into_iter().flat_map(|(a, b)| [a, b, 4]).collect();
        bytes.truncate((bytes.len() / 4 * 4).min(40));
        bytes
    })
}

/// All kinds of ICMP message, errors or not; sizes from too little to more than there is.
fn any_error() -> impl Strategy<Value = (u8, u8, [u8; 4], usize)> {
    let kind = prop_oneof![4 => Just(3_u8), 2 => Just(11_u8), 1 => 0..20_u8];
    let word = prop_oneof![Just([0, 0, 5, 120]), Just([0, 0, 0, 68]), any::<[u8; 4]>()];
    (kind, 0..6_u8, word, 0..90_usize)
}

/// What became of the last request of a client and service.
#[derive(Clone, Default)]
struct Last {
    /// Where it went, and from where.
    answered: Option<(End, End)>,
    /// The last packet that left, in either direction.
    left: Vec<u8>,
}

const PORTS: [u16; 10] = [
    world::NAT,
    world::FULL_NAT,
    world::WLC,
    world::STICKY,
    world::EMPTY,
    world::SH,
    world::TWIN,
    world::DNS,
    world::UDP_FULL_NAT,
    9,
];

impl Packet {
    /// The frame; a reply answers what the last request of the same client and service became.
    fn frame(&self, last: &Last) -> Vec<u8> {
        let client = (Ipv4Addr::new(10, 65, 0, self.client), self.client_port);
        let service = PORTS[self.service];
        let (from, to) = match last.answered {
            Some((at_real, from)) if self.reply => (at_real, from),
            _ => (client, (VIP, service)),
        };
        let payload = vec![b'x'; self.payload];
        let udp = matches!(service, world::DNS | world::UDP_FULL_NAT);
        let frame = if udp {
            packets::udp(from, to, &payload)
        } else {
            packets::tcp(from, to, Flags::from_bits(self.flags), &payload)
        };
        let frame = match self.piece {
            // A UDP header is whole in 16 bytes, a TCP header is not: such a piece is nobody's.
            Some((id, first)) if packets::ip_packet(&frame).len() > 20 + 32 => {
                let end = if self.payload.is_multiple_of(2) { 24 } else { 16 };
                packets::fragments(&frame, id, &[end])[usize::from(!first)].clone()
            }
            _ => frame,
        };
        let frame = match self.error {
            Some((kind, code, word, bytes)) if !last.left.is_empty() => {
                let packet = packets::ip_packet(&last.left);
                let quote = &packet[..bytes.min(packet.len())];
                packets::icmp(CLIENT, packets::take(&last.left).from.0, (kind, code, word), quote)
            }
            _ => frame,
        };
        let mut frame = packets::with_ttl(packets::with_options(&frame, &self.options), self.ttl);
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
}

// P-01, P-02, P-03, P-09, P-57, S-28, X-20, I-1 to I-5
#[test]
fn any_sequence_of_packets_is_the_same_on_host_and_in_kernel() {
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
            let mut last: std::collections::HashMap<_, Last> = std::collections::HashMap::new();
            for packet in sequence {
                let last =
                    last.entry((packet.client, packet.client_port, packet.service)).or_default();
                let frame = packet.frame(last);
                let (verdict, bytes) = triplets.send(&frame);
                prop_assert_ne!(verdict, xdp::ABORTED);
                if verdict == xdp::DROP || verdict == xdp::PASS {
                    prop_assert_eq!(&frame, &bytes, "untouched");
                }
                let whole = packet.piece.is_none() && packet.options.is_empty();
                let clean = packet.flip.is_none() && packet.cut.is_none() && whole;
                if verdict != xdp::REDIRECT || !clean {
                    continue;
                }
                if bytes[PROTOCOL] == ICMP {
                    packets::take_error(&bytes);
                    continue;
                }
                let taken = packets::take(&bytes);
                prop_assert_eq!(taken.ttl, packet.ttl - 1);
                if REALS.contains(&taken.to) {
                    last.answered = Some((taken.to, taken.from));
                }
                last.left = bytes;
            }
            triplets.compare();
            Ok(())
        })
        .expect("both agree");
}

// K-36
#[test]
fn a_frame_without_a_neighbour_is_handed_over_whole() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut triplets = Triplets::new(8);
    let (client, vip) = ((CLIENT, 40_000), (VIP, world::NAT));
    let frame = packets::tcp(client, vip, Flags::SYN, b"");
    let hops = triplets.world.hops.clone();
    for (real, hop) in &hops {
        let unresolved = NextHop { state: HopState::Unresolved as u8, ..*hop };
        triplets.host.set_hop(real.hop(), unresolved);
        triplets.xdp.set_hop(real.hop(), unresolved).expect("writable");
        triplets.tc.set_hop(real.hop(), unresolved).expect("writable");
    }
    triplets.send(&frame);
    triplets.compare();
    assert_eq!(triplets.host.reason(DropReason::NoNeighbour.slot()), 1, "nobody listens");

    let mut at_xdp = triplets.xdp.take_held().expect("buffers");
    let mut at_tc = triplets.tc.take_held().expect("buffers");
    let mut copy = Frame { may_wait: true, ..Frame::new(frame.clone()) };
    let waits = triplets.host.run(&mut copy, world::IFINDEX);
    assert_eq!(waits.slot(), Notice::Held.slot());
    let (verdict, left) = triplets.xdp.run(program::XDP, &frame).expect("test run");
    assert_eq!((verdict, &left), (xdp::DROP, &frame));
    let (verdict, left) = triplets.tc.run(program::TC, &frame).expect("test run");
    assert_eq!((verdict, &left), (tc::SHOT, &frame));
    triplets.compare();
    for buffers in [&mut at_xdp, &mut at_tc] {
        let mut samples = Vec::new();
        for buffer in buffers {
            buffer.for_each(|event| {
                if let PerfEvent::Sample { head, tail } = event {
                    samples.push([head, tail].concat());
                }
            });
        }
        let [sample] = &samples[..] else { panic!("{} samples", samples.len()) };
        let (head, bytes) = sample.split_at(size_of::<HeldHead>());
        assert_eq!(Some(bytemuck::pod_read_unaligned::<HeldHead>(head)), copy.held.get());
        assert_eq!(bytes[..frame.len()], frame);
    }
}

// P-52, P-77: what counts is the largest packet that the kernel makes of it.
#[test]
fn a_frame_of_many_segments_is_measured_by_one() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut triplets = Triplets::new(8);
    let (client, vip) = ((CLIENT, 40_000), (VIP, world::NAT));
    triplets.send(&packets::tcp(client, vip, Flags::SYN, b""));
    let many = packets::tcp(client, vip, Flags::ACK, &[b'x'; 2_920]);
    let mut both = |frame: &[u8], segment: u16| {
        let mut copy = Frame { segment, ..Frame::new(frame.to_vec()) };
        let verdict = triplets.host.run(&mut copy, world::IFINDEX);
        let (said, bytes) =
            triplets.tc.run_segments(program::TC, frame, segment).expect("test run");
        assert_eq!((tc_code(verdict), &copy.bytes), (said, &bytes), "segments of {segment}");
        verdict.slot()
    };
    // 1,500 bytes with both headers; then one more; then as one packet.
    assert_eq!(both(&many, 1_460), 0);
    assert_eq!(both(&many, 1_461), DropReason::MtuExceeded.slot());
    assert_eq!(both(&many, 0), DropReason::MtuExceeded.slot());
    // Longer than the header can say: the kernel writes 0 there.
    let mut big = many.clone();
    big[16..18].copy_from_slice(&[0, 0]);
    packets::refresh_ip_checksum(&mut big);
    assert_eq!(both(&big, 1_460), 0);
    assert_eq!(both(&big, 0), PassReason::BadIpv4.slot());
}

// A way that leads by an interface which is none of the instance's ends with a reason, and not silently.
#[test]
fn a_way_out_that_is_not_served_is_counted() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let world = World::new(8);
    let mut kernel = Kernel::load(&world).expect("the object loads");
    for (real, hop) in &world.hops {
        kernel.set_hop(real.hop(), NextHop { ifindex: 77, ..*hop }).expect("writable");
    }
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    let (verdict, _) = kernel.run(program::XDP, &syn).expect("test run");
    assert_eq!(verdict, xdp::DROP);
    let counted = kernel.reasons().expect("readable")[DropReason::BadMapValue.slot() as usize];
    assert_eq!(counted, 1);
}

// C-48, C-50: expiry by the program settles the counters of both directions.
#[test]
fn expiry_ends_what_is_over_and_nothing_else() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut world = World::new(64);
    // Every timeout is over the moment a tick has passed, but for established flows.
    world.config.timeouts.by_state = [0; lb_common::abi::ConnState::COUNT];
    world.config.timeouts.by_state[lb_common::abi::ConnState::Established as usize] = u32::MAX / 4;
    let mut kernel = Kernel::load(&world).expect("the object loads");
    for port in 0..20 {
        let (client, vip) = ((CLIENT, 41_000 + port), (VIP, world::NAT));
        let syn =
            kernel.run(program::XDP, &packets::tcp(client, vip, Flags::SYN, b"")).expect("run").1;
        let at_real = packets::take(&syn);
        let answer = packets::tcp(at_real.to, at_real.from, Flags::SYN_ACK, b"");
        kernel.run(program::XDP, &answer).expect("run");
        if port % 2 == 0 {
            kernel.run(program::XDP, &packets::tcp(client, vip, Flags::ACK, b"")).expect("run");
        }
    }
    assert_eq!(
        kernel.entries::<Addr4>(map::FLOWS4).expect("readable").len(),
        20,
        "ten pairs established"
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !kernel.entries::<Addr4>(map::HALF_OPEN4).expect("readable").is_empty() {
        assert!(std::time::Instant::now() < deadline, "half-open flows are over after a tick");
        let keys: Vec<_> = [map::FLOWS4, map::HALF_OPEN4]
            .into_iter()
            .flat_map(|name| kernel.entries::<Addr4>(name).expect("readable"))
            .map(|(key, _)| key)
            .collect();
        kernel.expire(&keys).expect("run");
    }
    assert_eq!(
        kernel.entries::<Addr4>(map::FLOWS4).expect("readable").len(),
        20,
        "established flows stay"
    );
    let loads: Vec<_> = (0..2)
        .map(|index| kernel.load_of(world.real(world::NAT, index)).expect("readable"))
        .collect();
    assert_eq!(loads, [(10, 0, 0), (0, 0, 0)], "every other connection, so all of one real server");
}
