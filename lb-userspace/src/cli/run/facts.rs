//! What the node knows, in the words of the data path and of the control plane.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::abi::NextHop;
use lb_common::wire::{Addr4, Addr6};

use crate::control::{HopInfo, HostPorts};
use crate::dataplane::preflight::{InterfaceFacts, VlanOf};
use crate::dataplane::vlans;
use crate::node::{Link, Node, Resolved, Vlan, host};

/// Every interface here.
pub(super) fn interfaces(node: &Node) -> Vec<InterfaceFacts> {
    node.links().iter().map(|link| interface(node, link)).collect()
}

/// One interface. A driver that does not say its name or its offloads is one like any other.
pub(super) fn interface(node: &Node, link: &Link) -> InterfaceFacts {
    InterfaceFacts {
        name: link.name.clone(),
        ifindex: link.ifindex,
        mtu: link.mtu,
        address: node.primary_ipv4(link.ifindex).map_or(Addr4::UNSPECIFIED, Addr4::from),
        address6: node.primary_ipv6(link.ifindex).map_or(Addr6::UNSPECIFIED, Addr6::from),
        mac: link.mac.unwrap_or_default(),
        up: link.enabled,
        driver: host::driver_name(&link.name).unwrap_or_default(),
        lro: host::lro_enabled(&link.name).unwrap_or(false),
        tx_checksum: host::tx_checksum_enabled(&link.name).unwrap_or(false),
        xdp_prog_id: link.xdp.map(|program| program.id),
        xdp_generic: link.xdp.is_some_and(|program| program.generic),
        master: link.master,
        vlan: link
            .vlan
            .map(|Vlan { on, number, provider }| VlanOf { on, tag: vlans::tag(number, provider) }),
    }
}

/// A next hop as the control plane wants it. `flags`: the data path's of the interface, bits of [`NextHop`]; `largest`: the
/// packet that it sends out there.
pub(super) fn hop(destination: IpAddr, resolved: &Resolved, flags: u8, largest: u16) -> HopInfo {
    HopInfo {
        ifindex: resolved.ifindex,
        dst: resolved.dst_mac,
        src: resolved.src_mac,
        mtu: u16::try_from(resolved.mtu).map_or(largest, |mtu| mtu.min(largest)),
        source: resolved.source,
        tx: flags & NextHop::TX != 0,
        tagged: flags & NextHop::TAGGED != 0,
        gateway: resolved.address != destination,
    }
}

/// The ports that full-NAT must leave alone. Those in the ephemeral range are excluded as a whole, so sockets in
/// it need not be listed, and their coming and going changes nothing.
pub(super) fn host_ports() -> Result<HostPorts, host::HostError> {
    let ephemeral = host::ip_local_port_range()?;
    let used = host::bound_ports()?;
    let bound: BTreeSet<u16> = used
        .tcp
        .into_iter()
        .chain(used.udp)
        .filter(|port| *port >= 1024 && !ephemeral.contains(port))
        .collect();
    let reserved = host::ip_local_reserved_ports()?.into_iter().flatten().collect();
    Ok(HostPorts { ephemeral, reserved, bound })
}
