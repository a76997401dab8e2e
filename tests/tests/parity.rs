//! The same packets through the engine on the host and the program in the kernel: same bytes, verdict, tables
//! and counters. Whatever the host tests prove of the engine then holds for the kernel.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use aya::maps::perf::PerfEvent;
use lb_common::abi::{
    DropReason, Flow, FlowKey, HeldHead, HopState, NextHop, Notice, Tick, map, program,
};
use lb_common::engine::tables::Table;
use lb_common::host::{Frame, HostTables};
use lb_tests::capability::{Capability, have};
use lb_tests::kernel::{Kernel, xdp};
use lb_tests::packets::{self, End, Flags};
use lb_tests::world::{self, REALS, VIP, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Both data paths over the same world.
struct Twins {
    world: World,
    host: HostTables,
    kernel: Kernel,
}

/// Entries without their times, which no two runs share.
fn timeless(entries: Vec<(FlowKey, Flow)>) -> Vec<(FlowKey, Flow)> {
    let mut entries = entries;
    for (_, flow) in &mut entries {
        flow.stamp = Tick(0);
        flow.rewrite.opened = Tick(0);
    }
    entries
}

impl Twins {
    fn new(flows: u32) -> Self {
        let world = World::new(flows);
        let kernel = Kernel::load(&world).expect("the object loads");
        Self { host: world.on_host(), world, kernel }
    }

    /// One packet through both; the bytes it became.
    fn send(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut copy = Frame::new(frame.to_vec());
        let verdict = self.host.run(&mut copy, world::IFINDEX);
        let (kernel_verdict, kernel_bytes) =
            self.kernel.run(program::XDP, frame).expect("test run");
        assert_eq!(
            xdp::code(verdict),
            kernel_verdict,
            "verdict of {frame:02x?}: host says {verdict:?}"
        );
        assert_eq!(copy.bytes, kernel_bytes, "bytes after {verdict:?}");
        (kernel_verdict, kernel_bytes)
    }

    /// Nothing has happened yet.
    fn reset(&mut self) {
        self.kernel.reset(&self.world).expect("writable");
        self.host = self.world.on_host();
    }

    /// Tables and counters of both.
    fn compare(&mut self) {
        for (table, name) in [(Table::Flows, map::FLOWS4), (Table::HalfOpen, map::HALF_OPEN4)] {
            let kernel = timeless(self.kernel.entries(name).expect("readable"));
            assert_eq!(timeless(self.host.entries(table)), kernel, "{name}");
        }
        assert_eq!(self.host.reasons(), self.kernel.reasons().expect("readable"), "reasons");
        for (id, _) in &self.world.reals {
            assert_eq!(self.host.counters(*id), self.kernel.counters(*id).expect("readable"));
            let (active, inactive, half_open) = self.host.load_of(*id);
            let kernel = self.kernel.load_of(*id).expect("readable");
            assert_eq!(
                (active, inactive, u32::try_from(half_open).expect("never below 0")),
                kernel,
                "load of {id:?}"
            );
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
    let mut twins = Twins::new(64);
    let services =
        [world::NAT, world::FULL_NAT, world::WLC, world::STICKY, world::SH, world::EMPTY];
    for (client_port, service) in (40_000..).zip(services.into_iter().cycle().take(24)) {
        let (client, vip) = ((CLIENT, client_port), (VIP, service));
        let (verdict, request) = twins.send(&packets::tcp(client, vip, Flags::SYN, b""));
        if service == world::EMPTY {
            assert_eq!(verdict, xdp::REDIRECT, "the refusal leaves");
            continue;
        }
        let at_real = packets::take(&request);
        assert!(REALS.contains(&at_real.to), "{at_real:?}");
        for flags in [Flags::SYN_ACK, Flags::ACK] {
            let (_, reply) = twins.send(&packets::tcp(at_real.to, at_real.from, flags, b""));
            let at_client = packets::take(&reply);
            assert_eq!((at_client.from, at_client.to), (vip, client));
            twins.send(&packets::tcp(client, vip, Flags::ACK, b"hello"));
        }
        twins.send(&packets::tcp(client, vip, Flags::FIN_ACK, b""));
        twins.send(&packets::tcp(at_real.to, at_real.from, Flags::FIN_ACK, b""));
        twins.send(&packets::tcp(client, vip, Flags::SYN, b""));
    }
    twins.compare();
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
    );
    (about, body, kind, damage).prop_map(|(about, (ttl, payload), (error, piece), (cut, flip))| {
        let (client, client_port, service, reply, flags) = about;
        Packet { client, client_port, service, reply, flags, ttl, payload, error, piece, cut, flip }
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
        let mut frame = packets::with_ttl(frame, self.ttl);
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
    let twins = RefCell::new(Twins::new(8));
    let sequences = prop::collection::vec(any_packet(), 10..120);
    runner
        .run(&sequences, |sequence| {
            let mut twins = twins.borrow_mut();
            twins.reset();
            let mut last: std::collections::HashMap<_, Last> = std::collections::HashMap::new();
            for packet in sequence {
                let last =
                    last.entry((packet.client, packet.client_port, packet.service)).or_default();
                let frame = packet.frame(last);
                let (verdict, bytes) = twins.send(&frame);
                prop_assert_ne!(verdict, xdp::ABORTED);
                if verdict == xdp::DROP || verdict == xdp::PASS {
                    prop_assert_eq!(&frame, &bytes, "untouched");
                }
                let whole = packet.piece.is_none();
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
            twins.compare();
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
    let mut twins = Twins::new(8);
    let (client, vip) = ((CLIENT, 40_000), (VIP, world::NAT));
    let frame = packets::tcp(client, vip, Flags::SYN, b"");
    let hops = twins.world.hops.clone();
    for (real, hop) in &hops {
        let unresolved = NextHop { state: HopState::Unresolved as u8, ..*hop };
        twins.host.set_hop(real.hop(), unresolved);
        twins.kernel.set_hop(real.hop(), unresolved).expect("writable");
    }
    twins.send(&frame);
    twins.compare();
    assert_eq!(twins.host.reason(DropReason::NoNeighbour.slot()), 1, "nobody listens");

    let mut buffers = twins.kernel.take_held().expect("buffers");
    let mut copy = Frame { may_wait: true, ..Frame::new(frame.clone()) };
    let waits = twins.host.run(&mut copy, world::IFINDEX);
    assert_eq!(waits.slot(), Notice::Held.slot());
    let (verdict, left) = twins.kernel.run(program::XDP, &frame).expect("test run");
    assert_eq!((verdict, &left), (xdp::DROP, &frame));
    twins.compare();
    let mut samples = Vec::new();
    for buffer in &mut buffers {
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
    assert_eq!(kernel.entries(map::FLOWS4).expect("readable").len(), 20, "ten pairs established");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !kernel.entries(map::HALF_OPEN4).expect("readable").is_empty() {
        assert!(std::time::Instant::now() < deadline, "half-open flows are over after a tick");
        let keys: Vec<_> = [map::FLOWS4, map::HALF_OPEN4]
            .into_iter()
            .flat_map(|name| kernel.entries(name).expect("readable"))
            .map(|(key, _)| key)
            .collect();
        kernel.expire(&keys).expect("run");
    }
    assert_eq!(kernel.entries(map::FLOWS4).expect("readable").len(), 20, "established flows stay");
    let loads: Vec<_> = (0..2)
        .map(|index| kernel.load_of(world.real(world::NAT, index)).expect("readable"))
        .collect();
    assert_eq!(loads, [(10, 0, 0), (0, 0, 0)], "every other connection, so all of one real server");
}
