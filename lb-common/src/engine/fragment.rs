//! Fragments: the first takes its flow's way and is remembered, the others follow it (RFC 4787 REQ-14).
//!
//! A later fragment has no ports, so nobody can say whose it is before the first has come by; it is left to the kernel
//! then. Fragments are forwarded as they are and not put together: addresses change, the transport checksum lies in the
//! first alone and was mended there.

use super::parse::IP;
use super::slow::Scratch;
use super::{PacketBytes, Seen, Step, Tables, Verdict, rewrite};
use crate::abi::{DropReason, FragmentKey, Fragmented, PassReason, Tick, limits};
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::{Tcp, TcpFlags};

/// Marks of fragments in [`Seen::tcp`], where they cost the established path nothing: it looks at those bits anyway.
/// They are no flags of a state (`ECE` and `CWR` on the wire, which are left out).
pub const FIRST: u8 = 0x40;
/// Any but the first.
pub const LATER: u8 = 0x80;

const _: () = assert!((FIRST | LATER) & TcpFlags::OF_STATE == 0);

/// The mark of a packet; 0: it is whole.
#[inline(always)]
pub fn mark(ip: &Ipv4) -> u8 {
    match (ip.is_fragment(), ip.is_later_fragment()) {
        (false, _) => 0,
        (_, false) => FIRST,
        (_, true) => LATER,
    }
}

/// What a packet's fragments have in common.
#[inline(always)]
fn key<P: PacketBytes>(packet: &P, seen: &Seen) -> Option<FragmentKey> {
    let id = packet.at::<Ipv4>(IP)?.identification();
    Some(FragmentKey { src: seen.key.src, dst: seen.key.dst, id, proto: seen.key.proto, pad: 0 })
}

/// Remembers where a first fragment goes. `noted.rewrite` is its flow's.
#[inline(always)]
pub fn remember<P: PacketBytes, T: Tables>(
    packet: &P,
    tables: &T,
    seen: &Seen,
    noted: &mut Fragmented,
    now: Tick,
) {
    noted.stamp = now;
    if let Some(key) = key(packet, seen) {
        tables.put_fragment(&key, noted);
    }
}

/// Sends a later fragment after the first.
#[inline(always)]
pub fn follow<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &Scratch,
) -> Step<Verdict> {
    let (seen, unknown) = (&scratch.seen, Verdict::pass(PassReason::Fragment));
    let key = key(packet, seen).ok_or(unknown)?;
    let first = tables.fragment(&key).ok_or(unknown)?;
    let config = tables.config().ok_or(Verdict::drop(DropReason::BadMapValue))?;
    let life = config.ticks_per_1024_s.wrapping_mul(limits::FRAGMENT_SECONDS) >> 10;
    if scratch.now.since(first.stamp) > life {
        return Err(unknown);
    }
    let cut = Verdict::drop(DropReason::TruncatedRewrite);
    let offset = usize::from(packet.at::<Ipv4>(IP).ok_or(cut)?.fragment_offset());
    if seen.key.proto == Ipv4::TCP && offset < Tcp::LEN {
        return Err(Verdict::drop(DropReason::FragmentOverlap));
    }
    let rewrite = &first.rewrite;
    let hop = rewrite::way(tables, rewrite.hop, seen)?;
    let ip = packet.at_mut::<Ipv4>(IP).ok_or(cut)?;
    ip.forward(rewrite.src, rewrite.dst, rewrite.ip_delta);
    Ok(rewrite::depart(packet, tables, rewrite, hop, seen))
}
