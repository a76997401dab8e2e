//! Whose answers are believed. Here every packet comes in by one interface, so it is the flows and next hops that differ.

use std::net::Ipv4Addr;

use lb_common::abi::{DropReason, Flow, FlowKey, FlowRewrite, NextHop, map};
use lb_common::engine::Flows;
use lb_common::engine::tables::Table;
use lb_tests::capability::{Capability, have};
use lb_tests::kernel::xdp;
use lb_tests::packets::{self, Flags};
use lb_tests::world::{self, IFINDEX, VIP};

use crate::Triplets;

const ELSEWHERE: u32 = 77;

impl Triplets {
    /// Changes every flow that is established.
    fn change_flows(&mut self, change: impl Fn(&mut Flow)) {
        let entries: Vec<(FlowKey, Flow)> = self.host.entries(Table::Flows);
        for (key, mut flow) in entries {
            change(&mut flow);
            self.host.remove(Table::Flows, &key);
            self.host.insert(Table::Flows, &key, &flow).expect("room");
            for kernel in [&mut self.xdp, &mut self.tc] {
                kernel.insert_flow(map::FLOWS4, &key, &flow).expect("writable");
            }
        }
    }

    /// All real servers are reached by this interface.
    fn move_to(&mut self, ifindex: u32) {
        for (real, hop) in &self.world.hops {
            let hop = NextHop { ifindex, ..*hop };
            self.host.set_hop(real.hop(), hop);
            for kernel in [&mut self.xdp, &mut self.tc] {
                kernel.set_hop(real.hop(), hop).expect("writable");
            }
        }
    }
}

// S-37
#[test]
fn answers_are_believed_or_not_by_all_the_same() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    for service in [world::NAT, world::FULL_NAT] {
        let mut triplets = Triplets::new(8);
        let (client, vip) = ((Ipv4Addr::new(10, 65, 0, 1), 40_000), (VIP, service));
        let (_, bytes) = triplets.send(&packets::tcp(client, vip, Flags::SYN, b""));
        let at_real = packets::take(&bytes);
        let answer = |flags| packets::tcp(at_real.to, at_real.from, flags, b"data");
        assert_eq!(triplets.send(&answer(Flags::SYN_ACK)).0, xdp::REDIRECT);
        triplets.send(&packets::tcp(client, vip, Flags::ACK, b""));
        triplets.compare();
        let is_marked = |flow: &Flow| {
            flow.rewrite.from == FlowRewrite::<lb_common::wire::Addr4>::mark_of(IFINDEX)
        };
        assert!(triplets.host.entries(Table::Flows).iter().all(|(_, flow)| is_marked(flow)));

        triplets.change_flows(|flow| {
            flow.rewrite.from = FlowRewrite::<lb_common::wire::Addr4>::mark_of(ELSEWHERE);
        });
        assert_eq!(triplets.send(&answer(Flags::ACK)).0, xdp::REDIRECT, "the hop leads here");
        triplets.move_to(ELSEWHERE);
        let mut dropped = 0;
        for bits in 0..16 {
            assert_eq!(triplets.send(&answer(Flags::from_bits(bits))).0, xdp::DROP);
            dropped += 1;
        }
        assert_eq!(triplets.host.reason(DropReason::SpoofedReply.slot()), dropped);
        triplets.change_flows(|flow| flow.rewrite.from = 0);
        assert_eq!(triplets.send(&answer(Flags::ACK)).0, xdp::REDIRECT, "an older version's flow");
        triplets.compare();
    }
}
