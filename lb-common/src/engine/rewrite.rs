//! From a flow's entry to the frame that leaves: first all that can go wrong ([`way`]), then the bytes ([`send`]).

use super::{Egress, Family, PacketBytes, Seen, Step, Tables, Verdict};
use crate::abi::{DropReason, FlowKey, FlowRewrite, HopId, HopState, NextHop};
use crate::wire::checksum::Delta;
use crate::wire::eth::Ethernet;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;

/// The next hop of a flow, if the packet can take it.
#[inline(always)]
pub fn way<T: Tables>(tables: &T, id: HopId, ttl: u8, length: u16) -> Step<&NextHop> {
    let hop = tables.hop(id).ok_or(Verdict::drop(DropReason::BadMapValue))?;
    if hop.state != HopState::Valid as u8 {
        let gone = hop.state == HopState::Gone as u8;
        let reason = if gone { DropReason::RealGone } else { DropReason::NoNeighbour };
        return Err(Verdict::drop(reason));
    }
    if ttl <= 1 {
        return Err(Verdict::drop(DropReason::TtlExpired));
    }
    if length > hop.mtu {
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
    let cut = Verdict::drop(DropReason::TruncatedRewrite);
    if seen.is_tcp() {
        let Some(tcp) = packet.at_mut::<Tcp>(A::L4) else { return cut };
        tcp.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    } else {
        let Some(udp) = packet.at_mut::<Udp>(A::L4) else { return cut };
        udp.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
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
    let cut = Verdict::drop(DropReason::TruncatedRewrite);
    if seen.is_tcp() {
        let Some(tcp) = packet.far_mut::<Tcp>(l4) else { return cut };
        tcp.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    } else {
        let Some(udp) = packet.far_mut::<Udp>(l4) else { return cut };
        udp.forward(rewrite.sport, rewrite.dport, rewrite.l4_delta);
    }
    depart(packet, tables, rewrite, hop, seen)
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
    Verdict::forward(Egress { ifindex: hop.ifindex, bounce })
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
        0
    }
}
