//! ICMP errors about packets of flows: found by the packet they quote, translated outside and inside (RFC 5508, section
//! 4; `ip_vs_in_icmp` and `ip_vs_out_icmp` in `net/netfilter/ipvs/ip_vs_core.c`).
//!
//! A router quotes the packet as it left us, so the tuple of the quotation turned round is the key of the flow's *other*
//! direction, whose rewrite leads to whoever sent the packet:
//!
//! | the router is | quoted | entry found | the error goes to |
//! | --- | --- | --- | --- |
//! | on the clients' side | virtual → client | request | the real server |
//! | on the real servers' side | client or local → real | reply | the client |
//!
//! For both, what the sender once wrote is that entry's outgoing tuple turned round. Errors never change a flow: no
//! state, no stamp (RFC 5382 REQ-10, RFC 7857 section 8).

use super::family::Message;
use super::slow::Scratch;
use super::{Family, Flows, PacketBytes, Step, Tables, Verdict, parse, rewrite};
use crate::abi::{DropReason, FlowFlags, FlowKey, FlowRewrite, NextHop, PassReason};
use crate::wire::checksum::{self, Delta};
use crate::wire::icmp::IcmpError;
use crate::wire::{Addr4, Port};

/// Where TCP's checksum field lies in its header.
pub const TCP_CHECK: usize = 16;
/// The same of UDP.
pub const UDP_CHECK: usize = 6;

/// The quoted packet, as far as it says what flow it is of.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Quote<A = Addr4> {
    /// Its tuple, turned round: the key of the entry that leads back to its sender.
    pub key: FlowKey<A>,
    /// Where its IP header starts in the frame.
    pub at: u32,
    /// Where its transport header starts.
    pub l4: u32,
    /// Bytes of the ICMP message.
    pub message: u32,
    /// How packets get to its sender.
    pub rewrite: FlowRewrite<A>,
}

/// Decides and acts on an ICMP packet.
#[inline(always)]
pub fn walk<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch<A>,
) -> Verdict {
    let (Ok(verdict) | Err(verdict)) = translate(packet, tables, scratch);
    verdict
}

#[inline(always)]
fn translate<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch<A>,
) -> Step<Verdict> {
    read_quote(packet, scratch)?;
    if !find(tables, &mut scratch.quote) {
        return Err(Verdict::pass(PassReason::IcmpNoFlow));
    }
    scratch.refused()?;
    prove(packet, scratch)?;
    let seen = &scratch.seen;
    let hop = rewrite::way(tables, scratch.quote.rewrite.hop, seen)?;
    send(packet, tables, hop, scratch).ok_or(Verdict::drop(DropReason::TruncatedRewrite))
}

/// Fills `scratch.quote`, or says why the message is none about a flow.
#[inline(always)]
fn read_quote<A: Family, P: PacketBytes>(packet: &P, scratch: &mut Scratch<A>) -> Step<()> {
    let cut = Verdict::pass(PassReason::IcmpCutQuote);
    let outer = scratch.place.l4();
    let icmp: &IcmpError = packet.far(outer).ok_or(cut)?;
    if A::message(icmp) == Message::Query {
        return Err(Verdict::pass(PassReason::IcmpQuery));
    }
    let at = outer + IcmpError::LEN;
    let quote = &mut scratch.quote;
    let header = A::quoted(packet, at, &mut quote.key).ok_or(cut)?;
    if !matches!(quote.key.proto, parse::TCP | parse::UDP) {
        return Err(cut);
    }
    let l4 = at + header;
    let message = usize::from(scratch.seen.length).saturating_sub(outer - parse::IP);
    // Eight bytes of the transport header: ports and what identifies the segment (RFC 792).
    if message < IcmpError::LEN + header + 8 {
        return Err(cut);
    }
    let ports: &[u8; 4] = packet.far(l4).ok_or(cut)?;
    quote.key.sport = Port([ports[2], ports[3]]);
    quote.key.dport = Port([ports[0], ports[1]]);
    scratch.quote.at = at as u32;
    scratch.quote.l4 = l4 as u32;
    scratch.quote.message = message as u32;
    Ok(())
}

/// Looks for the flow of the quoted packet and takes a copy of what leads back to its sender: whichever table it comes
/// from, the verifier then walks on once.
#[inline(always)]
fn find<A: Family, T: Flows<A>>(tables: &T, quote: &mut Quote<A>) -> bool {
    if let Some(entry) = tables.flow(&quote.key) {
        quote.rewrite = *entry.rewrite();
        return true;
    }
    if let Some(entry) = tables.half_open(&quote.key) {
        quote.rewrite = *entry.rewrite();
        return true;
    }
    false
}

/// Everything that makes an error about a flow worth believing.
#[inline(always)]
fn prove<A: Family, P: PacketBytes>(packet: &P, scratch: &Scratch<A>) -> Step<()> {
    let too_long = Verdict::drop(DropReason::IcmpTooLong);
    let Scratch { quote, seen, place, .. } = scratch;
    let (message, at) = (quote.message as usize, quote.at as usize);
    if seen.key.dst != quote.key.dst {
        return Err(Verdict::drop(DropReason::IcmpForged));
    }
    // No route check comes before us that would stop it, and a real server under NAT would see that source.
    if !seen.key.src.may_be_a_source() {
        return Err(Verdict::drop(DropReason::MartianSource));
    }
    let sum = u32::from(packet.sum(place.l4(), message).ok_or(too_long)?);
    if checksum::fold(sum + A::pseudo(&seen.key.src, &seen.key.dst, message)) != 0xffff {
        return Err(Verdict::drop(DropReason::IcmpBadChecksum));
    }
    if !A::quote_is_intact(packet, at, quote.l4 as usize - at).ok_or(too_long)? {
        return Err(Verdict::drop(DropReason::IcmpBadQuote));
    }
    let icmp: &IcmpError = packet.far(place.l4()).ok_or(too_long)?;
    match A::message(icmp) {
        Message::Translated => Ok(()),
        Message::TooBig(mtu) if mtu >= A::LEAST_MTU => Ok(()),
        Message::TooBig(_) => Err(Verdict::drop(DropReason::IcmpSmallMtu)),
        Message::Query | Message::Refused => Err(Verdict::drop(DropReason::IcmpType)),
    }
}

/// Rewrites the quotation, the message's checksum and the packet around it.
#[inline(always)]
fn send<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    hop: &NextHop,
    scratch: &mut Scratch<A>,
) -> Option<Verdict> {
    if scratch.quote.rewrite.is_direct() {
        // What is quoted is what the sender wrote.
        let rewrite = &mut scratch.quote.rewrite;
        rewrite.src = scratch.seen.key.src;
        return Some(rewrite::depart(packet, tables, &scratch.quote.rewrite, hop, &scratch.seen));
    }
    let rewrite = &scratch.quote.rewrite;
    let l4 = scratch.quote.l4 as usize;
    // What the sender wrote: our outgoing tuple the other way round. The sender's own is our key turned round.
    let key = &scratch.quote.key;
    let pseudo = Delta::new().addr(key.dst, rewrite.dst).addr(key.src, rewrite.src);
    let header = A::requote(packet, scratch.quote.at as usize, rewrite, pseudo)?;
    let ports = packet.far_mut::<[u8; 4]>(l4)?;
    let port = |old: [u8; 2], new: Port| Delta::new().port(Port(old), new);
    let moved =
        port([ports[0], ports[1]], rewrite.dport).and(port([ports[2], ports[3]], rewrite.sport));
    let [a, b] = rewrite.dport.0;
    let [c, d] = rewrite.sport.0;
    *ports = [a, b, c, d];
    let check = transport_check(packet, scratch, pseudo.and(moved).finish());
    let inside = header.and(moved).and(check);

    let addresses = hide_router(scratch);
    let around = A::outer_delta(addresses);
    scratch.quote.rewrite.ip_delta = A::header_delta(addresses);
    let icmp = packet.far_mut::<IcmpError>(scratch.place.l4())?;
    icmp.check = checksum::update(icmp.check, inside.and(around).finish());
    Some(rewrite::depart(packet, tables, &scratch.quote.rewrite, hop, &scratch.seen))
}

/// Turns the rewrite into that of the packet around the message, and says what this does to a sum over the addresses.
///
/// Clients know the virtual address only; a full-NAT real server may have no way to the clients' side, and would take a
/// packet from there for a forgery. Any other sees who the router is.
#[inline(always)]
fn hide_router<A: Family>(scratch: &mut Scratch<A>) -> Delta {
    let Scratch { quote, seen, .. } = scratch;
    let rewrite = &mut quote.rewrite;
    if rewrite.flags & (FlowFlags::REPLY | FlowFlags::FULL_NAT) == 0 {
        rewrite.src = seen.key.src;
    }
    Delta::new().addr(seen.key.src, rewrite.src).addr(seen.key.dst, rewrite.dst)
}

/// The transport checksum in the quotation, where it is quoted: what it was moved by `delta`, as a change of its own.
#[inline(always)]
fn transport_check<A: Family, P: PacketBytes>(
    packet: &mut P,
    scratch: &Scratch<A>,
    delta: u16,
) -> Delta {
    let quote = &scratch.quote;
    let tcp = quote.key.proto == parse::TCP;
    let offset = if tcp { TCP_CHECK } else { UDP_CHECK };
    let at = quote.l4 as usize + offset;
    if at + 2 > scratch.place.l4() + quote.message as usize {
        return Delta::new();
    }
    let Some(check) = packet.far_mut::<[u8; 2]>(at) else { return Delta::new() };
    let old = *check;
    *check = if tcp { checksum::update(old, delta) } else { checksum::update_udp(old, delta) };
    Delta::new().word(old, *check)
}
