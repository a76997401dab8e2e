//! ICMP errors that xlb sends itself, in the place of a packet that ends here.
//!
//! | reason | error | from |
//! | --- | --- | --- |
//! | no real server may take it | port unreachable, as `ip_vs_leave` in `net/netfilter/ipvs/ip_vs_core.c` sends | the virtual address |
//! | its TTL ends | time exceeded (RFC 1812, 5.3.1; RFC 4443, 3.3) | where it was sent to, if that is ours, else the interface |
//! | too large, and not to be fragmented | fragmentation needed or packet too big, with the MTU (RFC 1191, 4443) | the same |
//!
//! The frame becomes the error in place: more in front, the quotation cut, everything else off the end. It quotes the
//! packet as it arrived, and goes back by where it came from.

use core::hint::black_box;

use super::family::Complaint;
use super::slow::Scratch;
use super::{Egress, Family, PacketBytes, Tables, Verdict, hold};
use crate::abi::{Budget, DropReason, FlowFlags, Iface, NextHop, Notice};
use crate::wire::checksum;
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;

/// What becomes of a packet that `verdict` would drop: it ends with the error that its sender is owed, or waits for a
/// neighbour, or just ends. One place for all of them: the verifier walks it once for each way that leads here.
#[inline(always)]
pub fn answer<A: Family, P: PacketBytes, T: Tables>(
    verdict: Verdict,
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch<A>,
) -> Verdict {
    const NOBODY: Verdict = Verdict::drop(DropReason::NoUsableReal);
    const TTL: Verdict = Verdict::drop(DropReason::TtlExpired);
    const TOO_LARGE: Verdict = Verdict::drop(DropReason::MtuExceeded);
    let complaint = match verdict {
        NOBODY => Some(A::NOBODY),
        TTL => Some(A::TTL),
        TOO_LARGE => {
            let mtu = tables.hop(scratch.blocked.hop).map_or(0, |hop| hop.mtu);
            A::too_big(packet, mtu)
        }
        _ => None,
    };
    let Some(complaint) = complaint else { return hold::or(verdict, packet, tables, scratch) };
    match complain(packet, tables, scratch, &complaint) {
        Some((egress, false)) => verdict.answered(egress),
        Some((egress, true)) => verdict.answered(egress).bare(None),
        None if verdict == NOBODY => Verdict::drop(DropReason::NoUsableRealQuiet),
        None => {
            tables.notice(Notice::IcmpSuppressed);
            verdict
        }
    }
}

/// Whom the error is from, into `scratch.speaker`. A real server under NAT writes to the client, whose address is not ours
/// to speak with.
#[inline(always)]
fn find_speaker<A: Family>(iface: &Iface, scratch: &mut Scratch<A>) {
    let foreign = scratch.blocked.flags & (FlowFlags::REPLY | FlowFlags::FULL_NAT);
    if foreign == FlowFlags::REPLY {
        scratch.speaker = *A::of_iface(iface);
    } else {
        scratch.speaker = scratch.seen.key.dst;
    }
}

/// Turns the frame into the error; where it leaves, and whether with a tag. `None`: over the limit, nowhere to speak from, no room, or nothing to be answered.
#[inline(always)]
fn complain<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch<A>,
    complaint: &Complaint,
) -> Option<(Egress, bool)> {
    let iface = tables.iface(scratch.ifindex)?;
    // About a packet whose header is broken nobody is told (RFC 1812, 4.3.2.7): its source may be, too. New flows' were
    // looked at before, those of known flows were not.
    if !A::is_intact(packet, scratch.place.l4())? {
        return None;
    }
    find_speaker(iface, scratch);
    // Read again wherever it is needed: in the kernel program the stack has no room for it.
    let from = black_box(&scratch.speaker);
    let eth = packet.at::<Ethernet>(0)?;
    let (sender, ours) = (eth.src(), eth.dst());
    let front = A::HEADER + IcmpError::LEN;
    let quoted = A::quotes(&scratch.seen, scratch.place.l4()).min(packet.quotable());
    if from.is_unspecified()
        || !tables.take(Budget::Icmp, scratch.now)
        // From here on the old frame is gone, whatever happens.
        || !packet.make_quotation(front, quoted, scratch.place.l4())
    {
        return None;
    }
    let message = IcmpError::LEN + quoted;
    packet.at_mut::<Ethernet>(0)?.set(sender, ours, A::ETHER_TYPE);
    let pseudo = A::fill(packet, black_box(from), &scratch.seen.key.src, message as u16)?;
    let Complaint { kind, code, mtu } = *complaint;
    let rest = mtu.to_be_bytes();
    *packet.at_mut::<IcmpError>(A::L4)? = IcmpError { kind, code, check: [0; 2], rest };
    let sum = u32::from(packet.sum(A::L4, message)?);
    packet.at_mut::<IcmpError>(A::L4)?.check = (!checksum::fold(sum + pseudo)).to_ne_bytes();
    let bounce = iface.flags & NextHop::TX != 0;
    Some((Egress { ifindex: scratch.ifindex, bounce }, iface.flags & NextHop::TAGGED != 0))
}
