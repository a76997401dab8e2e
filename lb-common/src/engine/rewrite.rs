//! From a flow's entry to the frame that leaves: first all that can go wrong ([`way`]), then the bytes ([`send`]).

use super::{Egress, Family, PacketBytes, Seen, Step, Tables, Verdict};
use crate::abi::{DropReason, FlowFlags, FlowKey, FlowRewrite, HopId, HopState, NextHop};
use crate::wire::checksum::{self, Delta};
use crate::wire::eth::Ethernet;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;

/// The next hop of a flow, if the packet can take it.
#[inline(always)]
pub fn way<'t, A: Family, T: Tables>(
    tables: &'t T,
    id: HopId,
    seen: &Seen<A>,
) -> Step<&'t NextHop> {
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
pub fn send<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    rewrite: &FlowRewrite<A>,
    hop: &NextHop,
    seen: &Seen<A>,
) -> Verdict {
    if !rewrite.is_direct() && !packet.forward_transport::<A, false>(rewrite, A::L4, seen.is_tcp())
    {
        return Verdict::drop(DropReason::TruncatedRewrite);
    }
    depart(packet, tables, rewrite, hop, seen)
}

/// The same where the transport header starts at `l4`, behind options or extension headers.
#[inline(always)]
pub fn send_far<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    rewrite: &FlowRewrite<A>,
    hop: &NextHop,
    seen: &Seen<A>,
    l4: usize,
) -> Verdict {
    if !rewrite.is_direct() && !packet.forward_transport::<A, true>(rewrite, l4, seen.is_tcp()) {
        return Verdict::drop(DropReason::TruncatedRewrite);
    }
    depart(packet, tables, rewrite, hop, seen)
}

/// Ports and transport checksum where the checksum in the frame is whole.
#[inline(always)]
pub(super) fn transport_in_place<A: Family, P: PacketBytes + ?Sized, const FAR: bool>(
    packet: &mut P,
    rewrite: &FlowRewrite<A>,
    l4: usize,
    is_tcp: bool,
) -> Option<()> {
    if is_tcp {
        let tcp: &mut Tcp = if FAR { packet.far_mut(l4)? } else { packet.at_mut(l4)? };
        tcp.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    } else {
        let udp: &mut Udp = if FAR { packet.far_mut(l4)? } else { packet.at_mut(l4)? };
        udp.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    }
    Some(())
}

/// The IP header, and the last of it. All there is to do with a packet without a transport header.
#[inline(always)]
pub fn depart<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    rewrite: &FlowRewrite<A>,
    hop: &NextHop,
    seen: &Seen<A>,
) -> Verdict {
    if rewrite.is_tunnelled() && hop.flags & NextHop::TUNNEL == 0 {
        // Of before a reload: on the bare wire it might come back here.
        return Verdict::drop(DropReason::RealGone);
    }
    if A::forward(packet, rewrite).is_none() {
        return Verdict::drop(DropReason::TruncatedRewrite);
    }
    leave(packet, tables, rewrite, hop, seen.length)
}

/// The last of it: the frame's own addresses, the count of a packet of `length` bytes, the way out.
#[inline(always)]
pub fn leave<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    rewrite: &FlowRewrite<A>,
    hop: &NextHop,
    length: u16,
) -> Verdict {
    let Some(eth) = packet.at_mut::<Ethernet>(0) else {
        return Verdict::drop(DropReason::TruncatedRewrite);
    };
    eth.set_addresses(hop.dst, hop.src);
    tables.count_packet(rewrite.real, rewrite.is_reply(), length);
    let bounce = hop.ifindex == packet.ingress() && hop.flags & NextHop::TX != 0;
    let egress = Egress { ifindex: hop.ifindex, bounce };
    if hop.flags & NextHop::DRESSED == 0 {
        return Verdict::forward(egress);
    }
    let tunnel = rewrite.is_tunnelled().then_some(rewrite.real);
    Verdict::forward(egress).bare(tunnel)
}

impl<A: Family> FlowRewrite<A> {
    /// Fills what follows from the tuples: packets arrive as `from`, what answers them as `answer`. The deltas are the
    /// same for every packet of the flow, so they are worked out once. A function of its own in the kernel program, which
    /// has no stack for so many addresses at a time. Always 0: it must return something.
    #[inline(never)]
    pub fn set_tuple(&mut self, from: &FlowKey<A>, answer: &FlowKey<A>) -> u32 {
        let addresses = Delta::new().addr(from.src, answer.dst).addr(from.dst, answer.src);
        let transport = addresses.port(from.sport, answer.dport).port(from.dport, answer.sport);
        self.src = answer.dst;
        self.dst = answer.src;
        self.sport = answer.dport;
        self.dport = answer.sport;
        self.ip_delta = A::header_delta(addresses);
        self.l4_delta = transport.finish();
        self.proto = from.proto;
        if self.flags & FlowFlags::DIRECT != 0 {
            // Nothing becomes anything: not even a checksum that was 0xffff, to 0.
            self.ip_delta = A::header_delta(Delta::new());
            self.l4_delta = 0;
        }
        0
    }

    /// What the new addresses alone add to a sum: the part of [`l4_delta`](Self::l4_delta) that is of the
    /// pseudo-header.
    #[inline(always)]
    pub fn address_delta(&self) -> u16 {
        checksum::without(self.ip_delta, A::header_delta(Delta::new()))
    }

    /// What the new ports alone add to a sum.
    #[inline(always)]
    pub fn port_delta(&self) -> u16 {
        checksum::without(self.l4_delta, self.address_delta())
    }
}
