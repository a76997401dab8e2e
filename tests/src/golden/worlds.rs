//! The worlds that scenes play in: [`World`] and what may be different about it.

use anyhow::{Result, bail};
use lb_common::abi::{HopState, NextHop, ServiceKey};
use lb_common::wire::{Addr4, Port};

use crate::world::World;

/// Room for flows, unless the world is about that.
const FLOWS: u32 = 512;

/// A world by its name.
pub fn named(name: &str) -> Result<World> {
    let mut world = World::new(FLOWS);
    match name {
        "plain" => {}
        "driver_can_tx" => {
            world.iface.flags = NextHop::TX;
            each_hop(&mut world, |hop| hop.flags = NextHop::TX);
        }
        "nobody_answers_arp" => each_hop(&mut world, |hop| hop.state = HopState::Unresolved as u8),
        "reals_removed" => each_hop(&mut world, |hop| hop.state = HopState::Gone as u8),
        "mtu_1400" => each_hop(&mut world, |hop| hop.mtu = 1_400),
        "room_for_one" => world.config.flow_limit = 1,
        "no_ports" => world.config.ports = 0,
        "two_ports" => world.config.ports = 2,
        "no_local_address" => {
            for (_, real) in &mut world.reals {
                real.locals_len = 0;
            }
        }
        "nowhere_to_speak_from" => world.iface.addr = Addr4::UNSPECIFIED,
        "no_icmp_budget" => world.config.budgets[0] = 0,
        "any_port" => any_port(&mut world),
        _ => bail!("no world `{name}`"),
    }
    Ok(world)
}

fn each_hop(world: &mut World, change: impl Fn(&mut NextHop)) {
    for (_, hop) in &mut world.hops {
        change(hop);
    }
}

/// The first service is for every port that no other has, and its real servers are spoken to on the client's port.
fn any_port(world: &mut World) {
    let any = ServiceKey { port: Port::ZERO, ..world.services[0].0 };
    world.services[0].0 = any;
    for (_, real) in &mut world.reals[..2] {
        real.service = any;
        real.port = Port::ZERO;
    }
}
