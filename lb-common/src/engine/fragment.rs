//! Fragments: the first takes its flow's way and is remembered, the others follow it (RFC 4787 REQ-14).
//!
//! A later fragment has no ports, so nobody can say whose it is before the first has come by; it is left to the kernel
//! then. Fragments are forwarded as they are and not put together: addresses change, the transport checksum lies in the
//! first alone and was mended there.

use super::slow::Scratch;
use super::{Family, Flows, PacketBytes, Step, Verdict, reply_path, rewrite};
use crate::abi::{DropReason, PassReason, limits};
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::{Tcp, TcpFlags};

/// Marks of fragments in [`Seen::tcp`], where they cost the established path nothing: it looks at those bits anyway.
/// They are no flags of a state (`ECE` and `CWR` on the wire, which are left out).
pub const FIRST: u8 = 0x40;
/// Any but the first.
pub const LATER: u8 = 0x80;
/// No fragment's mark (`URG` on the wire): the transport header is not where it usually is.
pub const FAR: u8 = 0x20;

const _: () = assert!((FIRST | LATER | FAR) & TcpFlags::OF_STATE == 0);

/// The mark of an IPv4 packet; 0: it is whole.
#[inline(always)]
pub fn mark(ip: &Ipv4) -> u8 {
    match (ip.is_fragment(), ip.is_later_fragment()) {
        (false, _) => 0,
        (_, false) => FIRST,
        (_, true) => LATER,
    }
}

/// Remembers where a first fragment goes. `scratch.fragmented.rewrite` is its flow's.
#[inline(always)]
pub fn remember<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch<A>,
) {
    scratch.fragmented.stamp = scratch.now;
    let Scratch { seen, place, fragment, .. } = scratch;
    if A::fragment(packet, seen, *place, fragment).is_some() {
        tables.put_fragment(&scratch.fragment, &scratch.fragmented);
    }
}

/// Sends a later fragment after the first.
#[inline(always)]
pub fn follow<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch<A>,
) -> Step<Verdict> {
    let unknown = Verdict::pass(PassReason::Fragment);
    let Scratch { seen, place, fragment, .. } = scratch;
    let piece = A::fragment(packet, seen, *place, fragment).ok_or(unknown)?;
    let first = tables.fragment(&scratch.fragment).ok_or(unknown)?;
    let config = tables.config().ok_or(Verdict::drop(DropReason::BadMapValue))?;
    let life = config.ticks_per_1024_s.wrapping_mul(limits::FRAGMENT_SECONDS) >> 10;
    if scratch.now.since(first.stamp) > life {
        return Err(unknown);
    }
    if piece.tcp && usize::from(piece.offset) < Tcp::LEN {
        return Err(Verdict::drop(DropReason::FragmentOverlap));
    }
    scratch.refused()?;
    reply_path::believe(tables, &first.rewrite, scratch.ifindex)?;
    let (rewrite, seen) = (&first.rewrite, &scratch.seen);
    let hop = rewrite::way(tables, rewrite.hop, seen)?;
    Ok(rewrite::depart(packet, tables, rewrite, hop, seen))
}
