//! Whose answers are believed: a packet with a reply's tuple has to come in by the interface that leads to its real server
//! (strict reverse path of RFC 3704, 2.2). Else anybody on the clients' side could end a connection or speak in it.
//!
//! The flow remembers that interface, so that the established path compares two numbers; only where they differ are today's
//! next hop and the setting looked at. A real server that moved to another interface thus breaks no flow, it only takes
//! the flow off the established path. ICMP errors are exempt: routers anywhere may send them, and they change no flow.

use super::slow::Scratch;
use super::{Family, Step, Tables, Verdict};
use crate::abi::{DropReason, FlowRewrite, Real, RealFlags};

/// Notes in the pair that is being made by which interface its real server is reached.
#[inline(always)]
pub(super) fn note<A: Family>(real: &Real, ifindex: u32, scratch: &mut Scratch<A>) {
    let any = real.flags & RealFlags::ANY_PATH != 0;
    let from = if any { 0 } else { FlowRewrite::<A>::mark_of(ifindex) };
    scratch.pair.request.rewrite.from = from;
    scratch.pair.reply.rewrite.from = from;
}

/// Whether a packet of the flow with `rewrite` may come in by `ifindex`.
#[inline(always)]
pub(super) fn believe<A: Family, T: Tables>(
    tables: &T,
    rewrite: &FlowRewrite<A>,
    ifindex: u32,
) -> Step<()> {
    if rewrite.comes_by(ifindex) {
        return Ok(());
    }
    let leads_there = tables.hop(rewrite.real.hop()).is_some_and(|hop| hop.ifindex == ifindex);
    let any = |real: &Real| real.flags & RealFlags::ANY_PATH != 0;
    if leads_there || tables.real(rewrite.real).is_some_and(any) {
        return Ok(());
    }
    Err(Verdict::drop(DropReason::SpoofedReply))
}
