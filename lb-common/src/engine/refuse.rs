//! ICMP errors that xlb sends itself, in the place of a packet that ends here.
//!
//! | reason | error | from |
//! | --- | --- | --- |
//! | no real server may take it | port unreachable, as `ip_vs_leave` in `net/netfilter/ipvs/ip_vs_core.c` sends | the virtual address |
//! | its TTL ends | time exceeded (RFC 1812, 5.3.1) | where it was sent to, if that is ours, else the interface |
//! | too large, and not to be fragmented | fragmentation needed with the MTU (RFC 1191) | the same |
//!
//! The frame becomes the error in place: 28 bytes more in front, the quotation cut to the IPv4 header and eight bytes
//! (RFC 792), everything else off the end. It quotes the packet as it arrived, and goes back by where it came from.

use super::parse::IP;
use super::slow::Scratch;
use super::{Egress, PacketBytes, Tables, Verdict, hold};
use crate::abi::{Budget, DropReason, FlowFlags, NextHop, Notice};
use crate::wire::Addr4;
use crate::wire::checksum;
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;

/// Bytes in front of the quotation, Ethernet not counted.
const FRONT: usize = Ipv4::LEN + IcmpError::LEN;
/// Where the quotation starts in the finished frame.
const QUOTE: usize = IP + FRONT;

/// What the error says.
struct Complaint {
    kind: u8,
    code: u8,
    /// The MTU of fragmentation needed, else 0.
    mtu: u16,
    from: Addr4,
}

/// What becomes of a packet that `verdict` would drop: it ends with the error that its sender is owed, or waits for a
/// neighbour, or just ends. One place for all of them: the verifier walks it once for each way that leads here.
#[inline(always)]
pub fn answer<P: PacketBytes, T: Tables>(
    verdict: Verdict,
    packet: &mut P,
    tables: &T,
    scratch: &Scratch,
) -> Verdict {
    const NOBODY: Verdict = Verdict::drop(DropReason::NoUsableReal);
    const TTL: Verdict = Verdict::drop(DropReason::TtlExpired);
    const TOO_LARGE: Verdict = Verdict::drop(DropReason::MtuExceeded);
    let (kind, code, mtu) = match verdict {
        NOBODY => (IcmpError::UNREACHABLE, IcmpError::PORT, 0),
        TTL => (IcmpError::TIME_EXCEEDED, IcmpError::TTL, 0),
        TOO_LARGE if must_stay_whole(packet) => {
            let mtu = tables.hop(scratch.blocked.hop).map_or(0, |hop| hop.mtu);
            (IcmpError::UNREACHABLE, IcmpError::FRAGMENTATION_NEEDED, mtu)
        }
        _ => return hold::or(verdict, packet, tables, scratch),
    };
    // A real server under NAT writes to the client, whose address is not ours to speak with.
    let foreign = scratch.blocked.flags & (FlowFlags::REPLY | FlowFlags::FULL_NAT);
    let from = if foreign == FlowFlags::REPLY {
        tables.iface(scratch.ifindex).map_or(Addr4::UNSPECIFIED, |iface| iface.addr)
    } else {
        scratch.seen.key.dst
    };
    match complain(packet, tables, scratch, &Complaint { kind, code, mtu, from }) {
        Some(egress) => verdict.answered(egress),
        None if verdict == NOBODY => Verdict::drop(DropReason::NoUsableRealQuiet),
        None => {
            tables.notice(Notice::IcmpSuppressed);
            verdict
        }
    }
}

#[inline(always)]
fn must_stay_whole<P: PacketBytes>(packet: &P) -> bool {
    packet.at::<Ipv4>(IP).is_some_and(Ipv4::dont_fragment)
}

/// Turns the frame into the error. `None`: over the limit, nowhere to speak from, no room, or nothing to be answered.
#[inline(always)]
fn complain<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &Scratch,
    complaint: &Complaint,
) -> Option<Egress> {
    let iface = tables.iface(scratch.ifindex)?;
    let eth = packet.at::<Ethernet>(0)?;
    let (sender, ours) = (eth.src(), eth.dst());
    // About a packet whose header is broken nobody is told (RFC 1812, 4.3.2.7): its source may be, too. New flows' were
    // looked at before, those of known flows were not.
    if checksum::fold(checksum::sum(packet.at::<[u8; Ipv4::LEN]>(IP)?)) != 0xffff {
        return None;
    }
    if complaint.from == Addr4::UNSPECIFIED
        || !tables.take(Budget::Icmp, scratch.now)
        || !packet.grow_front(FRONT)
    {
        return None;
    }
    // From here on the old frame is gone, whatever happens.
    if !packet.truncate(QUOTE + IcmpError::QUOTE) {
        return None;
    }
    let quoted = checksum::sum(packet.at::<[u8; IcmpError::QUOTE]>(QUOTE)?);
    let first = [complaint.kind, complaint.code];
    let mtu = complaint.mtu.to_be_bytes();
    let words = u32::from(u16::from_ne_bytes(first)) + u32::from(u16::from_ne_bytes(mtu));
    let check = !checksum::fold(quoted + words);
    *packet.at_mut::<IcmpError>(IP + Ipv4::LEN)? = IcmpError {
        kind: complaint.kind,
        code: complaint.code,
        check: check.to_ne_bytes(),
        rest: [0, 0, mtu[0], mtu[1]],
    };
    let length = (FRONT + IcmpError::QUOTE) as u16;
    packet.at_mut::<Ipv4>(IP)?.set(complaint.from, scratch.seen.key.src, Ipv4::ICMP, length);
    packet.at_mut::<Ethernet>(0)?.set(sender, ours, Ethernet::IPV4);
    Some(Egress { ifindex: scratch.ifindex, bounce: iface.flags & NextHop::TX != 0 })
}
