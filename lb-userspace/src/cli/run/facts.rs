//! What the node knows, in the words of the data path and of the control plane.

use std::collections::BTreeSet;

use lb_common::wire::{Addr4, Addr6};

use crate::control::{HopInfo, HostPorts};
use crate::dataplane::preflight::InterfaceFacts;
use crate::node::{Link, Node, Resolved, host};

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
    }
}

/// A next hop as the control plane wants it. `bounces`: whether XDP_TX works on the interface.
pub(super) fn hop(resolved: &Resolved, bounces: bool) -> HopInfo {
    HopInfo {
        ifindex: resolved.ifindex,
        dst: resolved.dst_mac,
        src: resolved.src_mac,
        mtu: u16::try_from(resolved.mtu).unwrap_or(u16::MAX),
        source: resolved.source,
        tx: bounces,
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
