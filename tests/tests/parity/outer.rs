//! The same of what is put in front of packets: tunnels at XDP and at tc, tags at XDP alone.

use std::net::Ipv6Addr;

use lb_common::engine::Action;
use lb_common::host::Frame;
use lb_common::wire::vlan::Vlan;
use lb_tests::capability::{Capability, have};
use lb_tests::kernel::{Kernel, xdp};
use lb_tests::packets::{self, Flags};
use lb_tests::packets6;
use lb_tests::tags::tagged;
use lb_tests::world::{self, VIP, VIP6, World};

use crate::{CLIENT, Triplets};

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);
const PORTS: [u16; 5] = [world::DR, world::IPIP, world::GRE, world::GUE, world::ACROSS];

/// A connection of each service, seen from the client alone, and packets of many lengths.
fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (client_port, port) in (40_000..).zip(PORTS.into_iter().cycle().take(20)) {
        let (client, vip) = ((CLIENT, client_port), (VIP, port));
        let (client6, vip6) = ((CLIENT6, client_port), (VIP6, port));
        for (flags, length) in [
            (Flags::SYN, 0),
            (Flags::ACK, 0),
            (Flags::ACK, usize::from(client_port - 40_000)),
            (Flags::ACK, 1_300),
            (Flags::ACK, 1_411),
            (Flags::ACK, 1_428),
            (Flags::ACK, 1_431),
            (Flags::ACK, 1_432),
            (Flags::ACK, 1_460),
            (Flags::FIN_ACK, 3),
            (Flags::ACK, 0),
            (Flags::RST, 0),
        ] {
            let payload = vec![0xa5; length];
            frames.push(packets::tcp(client, vip, flags, &payload));
            frames.push(packets6::tcp(client6, vip6, flags, &payload));
        }
        frames.push(packets::with_ttl(packets::tcp(client, vip, Flags::ACK, b""), 1));
        let udp = packets::udp(client, (VIP, world::DR_UDP), b"datagram");
        frames.extend([udp.clone(), udp]);
    }
    frames
}

// P-05, C-01
#[test]
fn packets_leave_as_they_are_and_in_tunnels_the_same_on_host_and_in_kernel() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut triplets = Triplets::of(World::with_outer_headers(64));
    for frame in frames() {
        triplets.send(&frame);
    }
    triplets.compare();
}

// P-14, P-15, P-16
#[test]
fn tagged_frames_become_the_same_on_host_and_in_kernel() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut world = World::with_outer_headers(64);
    world.move_to_vlan(world::NAT, world::VLAN);
    world.move_to_vlan(world::IPIP, world::QINQ);
    let (host, mut kernel) = (world.on_host(), Kernel::load(&world).expect("the object loads"));
    let (c, p) = (Vlan::CUSTOMER, Vlan::PROVIDER);
    let stacks: [&[([u8; 2], u16)]; 9] = [
        &[],
        &[(c, 100)],
        &[(c, 0x6064)],
        &[(c, 0x2000)],
        &[(p, 200), (c, 7)],
        &[(p, 200)],
        &[(c, 0), (c, 100)],
        &[(c, 99)],
        &[(p, 200), (c, 7), (c, 7)],
    ];
    let mut all = frames();
    all.push(packets::icmp(CLIENT, VIP, (8, 0, [0; 4]), b"echo"));
    all.push(packets::tcp((CLIENT, 1), (VIP, 9), Flags::SYN, b"of nobody"));
    all.push(packets::tcp((CLIENT, 41_000), (VIP, world::NAT), Flags::SYN, b""));
    all.push(packets::tcp((CLIENT, 41_001), (VIP, world::EMPTY), Flags::SYN, b""));
    for (frame, tags) in all.iter().flat_map(|frame| stacks.map(|tags| (frame, tags))) {
        let frame = tagged(frame, tags);
        let mut copy = Frame::new(frame.clone());
        let verdict = host.run(&mut copy, world::IFINDEX);
        let (said, bytes) = kernel.run(lb_common::abi::program::XDP, &frame).expect("test run");
        assert_eq!(xdp::code(verdict), said, "{tags:?}, {frame:02x?}: host says {verdict:?}");
        assert_eq!(copy.bytes, bytes, "{tags:?} after {verdict:?}");
        if verdict.action() == Action::Pass {
            assert_eq!(bytes, frame, "{tags:?}: untouched after {verdict:?}");
        }
    }
    assert_eq!(host.reasons(), kernel.reasons().expect("readable"));
}
