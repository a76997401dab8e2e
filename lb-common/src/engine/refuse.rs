//! The answer to a packet that no real server may take: ICMP port unreachable from the virtual address, which is
//! what IPVS sends (`ip_vs_leave` in `net/netfilter/ipvs/ip_vs_core.c`).
//!
//! The frame becomes the error in place: 28 bytes more in front, the quotation cut to the IPv4 header and eight
//! bytes (RFC 792), everything else off the end.

use super::parse::IP;
use super::slow::Scratch;
use super::{Egress, PacketBytes, Tables, Verdict};
use crate::abi::{Budget, DropReason, NextHop};
use crate::wire::checksum;
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;

/// Bytes in front of the quotation, Ethernet not counted.
const FRONT: usize = Ipv4::LEN + IcmpError::LEN;
/// Where the quotation starts in the finished frame.
const QUOTE: usize = IP + FRONT;

/// Turns the frame into the error, or drops it quietly where that is over the limit or has no room.
#[inline(always)]
pub fn port_unreachable<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &Scratch,
) -> Verdict {
    let quiet = Verdict::drop(DropReason::NoUsableRealQuiet);
    let Some(iface) = tables.iface(scratch.ifindex) else { return quiet };
    let Some(eth) = packet.at::<Ethernet>(0) else { return quiet };
    let (client, ours) = (eth.src(), eth.dst());
    if !tables.take(Budget::Icmp, scratch.now) || !packet.grow_front(FRONT) {
        return quiet;
    }
    // From here on the old frame is gone, whatever happens.
    if !packet.truncate(QUOTE + IcmpError::QUOTE) {
        return quiet;
    }
    let Some(quote) = packet.at::<[u8; IcmpError::QUOTE]>(QUOTE) else { return quiet };
    let quoted = checksum::sum(quote);
    let Some(icmp) = packet.at_mut::<IcmpError>(IP + Ipv4::LEN) else { return quiet };
    let kind = [IcmpError::UNREACHABLE, IcmpError::PORT];
    let check = !checksum::fold(quoted + u32::from(u16::from_ne_bytes(kind)));
    *icmp = IcmpError { kind: kind[0], code: kind[1], check: check.to_ne_bytes(), rest: [0; 4] };
    let Some(ip) = packet.at_mut::<Ipv4>(IP) else { return quiet };
    let key = &scratch.seen.key;
    ip.set(key.dst, key.src, Ipv4::ICMP, (FRONT + IcmpError::QUOTE) as u16);
    let Some(eth) = packet.at_mut::<Ethernet>(0) else { return quiet };
    eth.set(client, ours, Ethernet::IPV4);
    let bounce = iface.flags & NextHop::TX != 0;
    Verdict::answer(DropReason::NoUsableReal, Egress { ifindex: scratch.ifindex, bounce })
}
