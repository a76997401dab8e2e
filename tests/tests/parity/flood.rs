//! A flood of fragments turns over the table of first fragments and nothing else.

use lb_common::abi::{limits, program};
use lb_tests::capability::{Capability, have};
use lb_tests::kernel::{Kernel, xdp};
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, VIP, World};

use crate::CLIENT;

// P-21: RFC 4787 REQ-14a
#[test]
fn fragments_of_a_flood_push_one_another_out_and_nobody_else() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut kernel = Kernel::load(&World::new(64)).expect("the object loads");
    let leaves = |kernel: &mut Kernel, frame: &[u8]| {
        kernel.run(program::XDP, frame).expect("test run").0 == xdp::REDIRECT
    };
    let syn = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, b"");
    assert!(leaves(&mut kernel, &syn));
    let datagram = packets::udp((CLIENT, 40_000), (VIP, world::DNS), &[7; 64]);
    let mut first = packets::fragments(&datagram, 0, &[40])[0].clone();
    for id in 0..limits::FRAGMENTS + 4_096 {
        first[18..20].copy_from_slice(&(id as u16).to_be_bytes());
        // Identifications have 16 bits; addresses tell the rest apart.
        first[29] = (id >> 16) as u8;
        packets::refresh_ip_checksum(&mut first);
        assert!(leaves(&mut kernel, &first), "{id}");
    }
    let known = kernel.fragments().expect("readable");
    assert!(known <= limits::FRAGMENTS as usize, "{known}");
    assert!(known > limits::FRAGMENTS as usize / 2, "{known}");
    // Who is not in pieces notices nothing, and a new packet in pieces finds its place.
    assert!(leaves(
        &mut kernel,
        &packets::tcp((CLIENT, 40_001), (VIP, world::NAT), Flags::SYN, b"")
    ));
    assert!(leaves(&mut kernel, &syn), "the half-open flow is there");
    for piece in packets::fragments(&datagram, 0xfffe, &[40]) {
        assert!(leaves(&mut kernel, &piece));
    }
}
