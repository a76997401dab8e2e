//! Tables in every condition that packets may find them in.

use std::net::Ipv4Addr;

use lb_common::abi::{
    Budget, ConnState, Flow, FlowFlags, FlowKey, HopId, HopState, RealFlags, RealId, limits,
};
use lb_common::engine::Flows;
use lb_common::engine::tables::Table;
use lb_common::host::HostTables;
use lb_common::wire::{Addr4, Addr6, Port};

use crate::packets::End;
use crate::world::{self, REALS, VIP, World};

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As the daemon fills them.
    Normal,
    /// Nothing configured: no service, no interface, no next hop.
    Empty,
    /// Room for two flows, two ports, one remembered client, no budget for ICMP.
    Full,
    /// Numbers that lead nowhere, or to what another has.
    Stale,
}

impl Condition {
    pub const ALL: [Self; 4] = [Self::Normal, Self::Empty, Self::Full, Self::Stale];

    /// The world in this condition.
    pub fn world(self) -> World {
        let mut world = World::new(if self == Self::Full { 2 } else { 4_096 });
        // Time is another in the kernel than here: nothing shall depend on it.
        for (_, service) in &mut world.services {
            service.sticky_ticks = if service.sticky_ticks == 0 { 0 } else { u32::MAX / 4 };
        }
        world.config.budgets = [u32::MAX; Budget::COUNT as usize];
        match self {
            Self::Normal => {}
            Self::Empty => {
                world.services.clear();
                world.slots.clear();
                world.reals.clear();
                world.hops.clear();
                world.locals.clear();
                world.ports.clear();
                world.config.ports = 0;
            }
            Self::Full => {
                world.config.ports = 2;
                world.config.budgets[Budget::Icmp as usize] = 0;
            }
            Self::Stale => stale(&mut world),
        }
        world
    }

    /// Flows that are there before the first packet.
    pub fn flows(self) -> Vec<(Table, FlowKey, Flow)> {
        if self == Self::Stale { stale_flows() } else { Vec::new() }
    }

    /// The tables of the engine on the host in this condition.
    pub fn on_host(self, world: &World) -> HostTables {
        let tables = world.on_host();
        for budget in [Budget::Icmp, Budget::Held] {
            tables.allow(budget, world.config.budgets[budget as usize]);
        }
        for (table, key, flow) in self.flows() {
            let _ = tables.insert(table, &key, &flow);
        }
        tables
    }
}

/// One thing wrong with each service.
fn stale(world: &mut World) {
    let beyond = world.slots.len() as u32;
    for (at, (_, service)) in world.services.iter_mut().enumerate() {
        match at {
            // Slots that nobody filled lead to the first real server, which is another's.
            0 => service.slots_at = beyond + 100,
            1 => service.scheduler = 200,
            2 => service.slots_len = 10_000,
            3 => service.slots_at = u32::MAX / 2,
            _ => {}
        }
    }
    for (at, (_, real)) in world.reals.iter_mut().enumerate() {
        match at {
            8 => real.method = 77,
            10 => real.flags = RealFlags::USED | RealFlags::REMOVED,
            12 => real.locals_at = 100_000,
            13 => real.locals_len = u32::MAX,
            _ => {}
        }
    }
    for (at, (_, hop)) in world.hops.iter_mut().enumerate() {
        match at {
            11 => hop.state = 99,
            14 => hop.state = HopState::Gone as u8,
            15 => hop.mtu = 0,
            _ => {}
        }
    }
    world.slots[0] = RealId(1 << 20);
    world.slots[1] = RealId::NOBODY;
    // An element that nobody filled is all zeroes in the kernel, and has to be there to be that on the host.
    world.slots.resize(12_000, RealId(0));
    world.locals.resize(limits::LOCALS as usize, Addr6::UNSPECIFIED);
    world.config.ports = 1_000;
    world.ports.resize(1_000, 0);
}

/// Flows that name things that are not there, in states that are none.
fn stale_flows() -> Vec<(Table, FlowKey, Flow)> {
    let client = |port| (Ipv4Addr::new(10, 65, 0, 1), port);
    let mut all = Vec::new();
    let cases: [(Table, u16, u8, u32, HopId, RealId); 7] = [
        (Table::Flows, 53, 17, ConnState::Udp as u32, HopId(70_000), RealId(10)),
        (Table::Flows, 53, 17, ConnState::Udp as u32, HopId(65_000), RealId(10)),
        (Table::Flows, 53, 17, ConnState::Udp as u32, HopId(10), RealId(20_000)),
        (Table::Flows, world::NAT, 6, 200, HopId(0), RealId(0)),
        (Table::Flows, world::NAT, 6, ConnState::Dead as u32, HopId(0), RealId(0)),
        (Table::HalfOpen, world::WLC, 6, 200, HopId(4), RealId(4)),
        (Table::HalfOpen, world::NAT, 6, ConnState::Dead as u32, HopId(70_000), RealId(0)),
    ];
    for (port, (table, service, proto, state, hop, real)) in (40_000..).zip(cases) {
        let (from, to): (End, End) = (client(port), (VIP, service));
        let key = FlowKey {
            src: from.0.into(),
            dst: to.0.into(),
            sport: Port::new(from.1),
            dport: Port::new(to.1),
            proto,
            ..FlowKey::default()
        };
        let answer = FlowKey {
            src: Addr4::from(REALS[0].0),
            dst: key.src,
            sport: Port::new(REALS[0].1),
            dport: key.sport,
            ..key
        };
        let mut flow = Flow { state, ..Flow::default() };
        flow.rewrite.set_tuple(&key, &answer);
        (flow.rewrite.hop, flow.rewrite.real) = (hop, real);
        all.push((table, key, flow));
        // Its answers' entry, which may lack the first's.
        let back = flow.rewrite.twin();
        flow.rewrite.set_tuple(&back, &key);
        flow.rewrite.flags = FlowFlags::REPLY;
        if port % 2 == 0 {
            all.push((table, back, flow));
        }
    }
    all
}
