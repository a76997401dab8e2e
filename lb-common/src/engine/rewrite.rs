//! From a flow's entry to the frame that leaves: first all that can go wrong ([`way`]), then the bytes ([`send`]).

use super::parse::{IP, L4};
use super::{Egress, PacketBytes, Seen, Step, Tables, Verdict};
use crate::abi::{DropReason, FlowKey, FlowRewrite, HopId, HopState, NextHop};
use crate::wire::checksum::{self, Delta};
use crate::wire::eth::Ethernet;
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;
use crate::wire::{Addr4, Port};

/// The next hop of a flow, if the packet can take it.
#[inline(always)]
pub fn way<'t, T: Tables>(tables: &'t T, id: HopId, seen: &Seen) -> Step<&'t NextHop> {
    let hop = tables.hop(id).ok_or(Verdict::drop(DropReason::BadMapValue))?;
    if hop.state != HopState::Valid as u8 {
        let gone = hop.state == HopState::Gone as u8;
        let reason = if gone { DropReason::RealGone } else { DropReason::NoNeighbour };
        return Err(Verdict::drop(reason));
    }
    if seen.ttl <= 1 {
        return Err(Verdict::drop(DropReason::TtlExpired));
    }
    if seen.largest > hop.mtu {
        return Err(Verdict::drop(DropReason::MtuExceeded));
    }
    Ok(hop)
}

/// Writes the new addresses, ports and checksums, and counts. The frame was parsed, so its headers are there;
/// the verifier wants each access checked once more, and a failure would be counted.
#[inline(always)]
pub fn send<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    rewrite: &FlowRewrite,
    hop: &NextHop,
    seen: &Seen,
) -> Verdict {
    let cut = Verdict::drop(DropReason::TruncatedRewrite);
    if !packet.forward_transport(rewrite, seen.is_tcp()) {
        return cut;
    }
    let Some(ip) = packet.at_mut::<Ipv4>(IP) else { return cut };
    ip.forward(rewrite.src, rewrite.dst, rewrite.ip_delta);
    depart(packet, tables, rewrite, hop, seen)
}

/// Ports and transport checksum where the checksum in the frame is whole.
#[inline(always)]
pub(super) fn transport_in_place<P: PacketBytes + ?Sized>(
    packet: &mut P,
    rewrite: &FlowRewrite,
    is_tcp: bool,
) -> Option<()> {
    if is_tcp {
        packet.at_mut::<Tcp>(L4)?.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    } else {
        packet.at_mut::<Udp>(L4)?.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    }
    Some(())
}

/// The last of it: the frame's own addresses, the count, the way out.
#[inline(always)]
pub fn depart<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    rewrite: &FlowRewrite,
    hop: &NextHop,
    seen: &Seen,
) -> Verdict {
    let Some(eth) = packet.at_mut::<Ethernet>(0) else {
        return Verdict::drop(DropReason::TruncatedRewrite);
    };
    eth.set_addresses(hop.dst, hop.src);
    tables.count_packet(rewrite.real, rewrite.is_reply(), seen.length);
    let bounce = hop.ifindex == packet.ingress() && hop.flags & NextHop::TX != 0;
    Verdict::forward(Egress { ifindex: hop.ifindex, bounce })
}

/// The addresses and ports a packet leaves with.
#[derive(Clone, Copy)]
pub struct Tuple {
    /// Source address.
    pub src: Addr4,
    /// Destination address.
    pub dst: Addr4,
    /// Source port.
    pub sport: Port,
    /// Destination port.
    pub dport: Port,
}

impl FlowRewrite {
    /// Fills what follows from the two tuples: the packet arrives as `from`, leaves as `to`. The deltas are the
    /// same for every packet of the flow, so they are worked out once.
    #[inline(always)]
    pub fn set_tuple(&mut self, from: &FlowKey, to: &Tuple) {
        let addresses = Delta::new().addr(from.src, to.src).addr(from.dst, to.dst);
        let header = Ipv4::ONE_HOP.addr(from.src, to.src).addr(from.dst, to.dst);
        let transport = addresses.port(from.sport, to.sport).port(from.dport, to.dport);
        self.src = to.src;
        self.dst = to.dst;
        self.sport = to.sport;
        self.dport = to.dport;
        self.ip_delta = header.finish();
        self.l4_delta = transport.finish();
        self.proto = from.proto;
    }

    /// What the new addresses alone add to a sum: the part of [`l4_delta`](Self::l4_delta) that is of the
    /// pseudo-header.
    #[inline(always)]
    pub const fn address_delta(&self) -> u16 {
        checksum::without(self.ip_delta, Ipv4::ONE_HOP.finish())
    }

    /// What the new ports alone add to a sum.
    #[inline(always)]
    pub const fn port_delta(&self) -> u16 {
        checksum::without(self.l4_delta, self.address_delta())
    }
}
