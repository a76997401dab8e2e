//! The MSS clamp: whatever the options are, the same bytes leave.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};

use lb_tests::capability::{Capability, have};
use lb_tests::golden::frames::with_options;
use lb_tests::kernel::xdp;
use lb_tests::packets::{self, Flags};
use lb_tests::packets6;
use lb_tests::world::{self, VIP, VIP6, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::Triplets;

/// Options that mean something, or nothing, or are broken; in any order.
fn any_options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        4 => any::<u16>().prop_map(|mss| [&[2, 4], &mss.to_be_bytes()[..]].concat()),
        4 => Just(vec![1]),
        1 => Just(vec![0]),
        2 => Just(vec![3, 3, 7]),
        2 => Just(vec![4, 2]),
        2 => Just(vec![8, 10, 0, 1, 2, 3, 0, 0, 0, 0]),
        1 => (any::<u8>(), 0..12_u8, any::<u16>()).prop_map(|(kind, length, rest)| {
            [&[kind, length], &rest.to_be_bytes()[..]].concat()
        }),
    ];
    prop::collection::vec(option, 0..16).prop_map(|all| {
        let mut bytes = all.concat();
        bytes.truncate(40);
        bytes
    })
}

// P-54
#[test]
fn any_options_of_a_handshake_leave_the_same_on_host_and_in_kernel() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let mut world = World::new(64);
    for (_, real) in &mut world.reals {
        real.mss = 1_200;
    }
    let triplets = RefCell::new(Triplets::of(world));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let all = (any_options(), any_options(), any::<bool>(), any::<bool>());
    TestRunner::new(config)
        .run(&all, |(up, down, full_nat, ipv6)| {
            let mut triplets = triplets.borrow_mut();
            let service = if full_nat { world::FULL_NAT } else { world::NAT };
            if ipv6 {
                let client = (Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1), 40_000);
                let to = (VIP6, service);
                let syn = packets6::tcp_with_options(client, to, Flags::SYN, &up);
                let (verdict, bytes) = triplets.send(&syn);
                prop_assert_eq!(verdict, xdp::REDIRECT);
                let at_real = packets6::take(&bytes);
                let (from, to) = (at_real.to, at_real.from);
                let answer = packets6::tcp_with_options(from, to, Flags::SYN_ACK, &down);
                packets6::take(&triplets.send(&answer).1);
            } else {
                let client = (Ipv4Addr::new(10, 65, 0, 1), 40_000);
                let syn = with_options(client, (VIP, service), Flags::SYN, &up, b"");
                let (verdict, bytes) = triplets.send(&syn);
                prop_assert_eq!(verdict, xdp::REDIRECT);
                let at_real = packets::take(&bytes);
                let answer = with_options(at_real.to, at_real.from, Flags::SYN_ACK, &down, b"");
                packets::take(&triplets.send(&answer).1);
            }
            Ok(())
        })
        .expect("all agree");
    triplets.borrow_mut().compare();
}
