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

use super::parse::{IP, L4};
use super::slow::Scratch;
use super::{PacketBytes, Step, Tables, Verdict, rewrite};
use crate::abi::{DropReason, FlowFlags, FlowKey, FlowRewrite, NextHop, PassReason};
use crate::wire::checksum::{self, Delta};
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;
use crate::wire::{Addr4, Port};

/// Where the quoted IPv4 header starts.
const QUOTE: usize = L4 + IcmpError::LEN;
/// The least MTU that a router may ask a sender for (RFC 1122: every host takes 576; smaller ones are an attack, RFC
/// 5927, section 7.2).
const LEAST_MTU: u16 = 576;
/// Where TCP's and UDP's checksum fields lie.
const TCP_CHECK: usize = 16;
const UDP_CHECK: usize = 6;

/// The quoted packet, as far as it says what flow it is of.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Quote {
    /// Its tuple, turned round: the key of the entry that leads back to its sender.
    pub key: FlowKey,
    /// Where its transport header starts in the frame.
    pub l4: u32,
    /// Bytes of the ICMP message.
    pub message: u32,
    /// How packets get to its sender.
    pub rewrite: FlowRewrite,
}

/// Decides and acts on an ICMP packet; the first word of the verdict. A function of its own in the kernel program.
#[inline(never)]
pub fn walk<P: PacketBytes, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch) -> u32 {
    let (Ok(verdict) | Err(verdict)) = translate(packet, tables, scratch);
    verdict.into_word(&mut scratch.leaves_by)
}

#[inline(always)]
fn translate<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Step<Verdict> {
    read_quote(packet, scratch)?;
    if !find(tables, &mut scratch.quote) {
        return Err(Verdict::pass(PassReason::IcmpNoFlow));
    }
    prove(packet, scratch)?;
    let hop = rewrite::way(tables, scratch.quote.rewrite.hop, &scratch.seen)?;
    send(packet, tables, hop, scratch).ok_or(Verdict::drop(DropReason::TruncatedRewrite))
}

/// Fills `scratch.quote`, or says why the message is none about a flow.
#[inline(always)]
fn read_quote<P: PacketBytes>(packet: &P, scratch: &mut Scratch) -> Step<()> {
    let cut = Verdict::pass(PassReason::IcmpCutQuote);
    let icmp: &IcmpError = packet.at(L4).ok_or(cut)?;
    if !icmp.is_error() {
        return Err(Verdict::pass(PassReason::IcmpQuery));
    }
    let ip: &Ipv4 = packet.at(QUOTE).ok_or(cut)?;
    let header = 4 * usize::from(ip.version_and_length() & 0xf);
    let known = matches!(ip.protocol(), Ipv4::TCP | Ipv4::UDP) && !ip.is_later_fragment();
    if ip.version_and_length() >> 4 != 4 || header < Ipv4::LEN || !known {
        return Err(cut);
    }
    let l4 = QUOTE + header;
    let message = usize::from(scratch.seen.length) - Ipv4::LEN;
    // Eight bytes of the transport header: ports and what identifies the segment (RFC 792).
    if message < IcmpError::LEN + header + 8 {
        return Err(cut);
    }
    let ports: &[u8; 4] = packet.far(l4).ok_or(cut)?;
    scratch.quote.key = FlowKey {
        src: ip.dst(),
        dst: ip.src(),
        sport: Port([ports[2], ports[3]]),
        dport: Port([ports[0], ports[1]]),
        proto: ip.protocol(),
        zone: 0,
        pad: [0; 2],
    };
    scratch.quote.l4 = l4 as u32;
    scratch.quote.message = message as u32;
    Ok(())
}

/// Looks for the flow of the quoted packet and takes a copy of what leads back to its sender: whichever table it comes
/// from, the verifier then walks on once.
#[inline(always)]
fn find<T: Tables>(tables: &T, quote: &mut Quote) -> bool {
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
fn prove<P: PacketBytes>(packet: &P, scratch: &Scratch) -> Step<()> {
    let too_long = Verdict::drop(DropReason::IcmpTooLong);
    let message = scratch.quote.message as usize;
    if scratch.seen.key.dst != scratch.quote.key.dst {
        return Err(Verdict::drop(DropReason::IcmpForged));
    }
    // No route check comes before us that would stop it, and a real server under NAT would see that source.
    if !scratch.seen.key.src.may_be_a_source() {
        return Err(Verdict::drop(DropReason::MartianSource));
    }
    if packet.sum(L4, message).ok_or(too_long)? != 0xffff {
        return Err(Verdict::drop(DropReason::IcmpBadChecksum));
    }
    let header = scratch.quote.l4 as usize - QUOTE;
    if packet.sum(QUOTE, header).ok_or(too_long)? != 0xffff {
        return Err(Verdict::drop(DropReason::IcmpBadQuote));
    }
    let icmp: &IcmpError = packet.at(L4).ok_or(too_long)?;
    if !matches!(icmp.kind, IcmpError::UNREACHABLE | IcmpError::TIME_EXCEEDED) {
        return Err(Verdict::drop(DropReason::IcmpType));
    }
    match icmp.mtu() {
        Some(mtu) if mtu < LEAST_MTU => Err(Verdict::drop(DropReason::IcmpSmallMtu)),
        _ => Ok(()),
    }
}

/// Rewrites the quotation, the message's checksum and the packet around it.
#[inline(always)]
fn send<P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    hop: &NextHop,
    scratch: &Scratch,
) -> Option<Verdict> {
    let rewrite = &scratch.quote.rewrite;
    let l4 = scratch.quote.l4 as usize;
    // What the sender wrote: our outgoing tuple the other way round.
    let quoted = packet.at_mut::<Ipv4>(QUOTE)?;
    let pseudo = Delta::new().addr(quoted.src(), rewrite.dst).addr(quoted.dst(), rewrite.src);
    let header = quoted.readdress(rewrite.dst, rewrite.src);
    let ports = packet.far_mut::<[u8; 4]>(l4)?;
    let port = |old: [u8; 2], new: Port| Delta::new().port(Port(old), new);
    let moved =
        port([ports[0], ports[1]], rewrite.dport).and(port([ports[2], ports[3]], rewrite.sport));
    let [a, b] = rewrite.dport.0;
    let [c, d] = rewrite.sport.0;
    *ports = [a, b, c, d];
    let check = transport_check(packet, scratch, pseudo.and(moved).finish());
    let icmp = packet.at_mut::<IcmpError>(L4)?;
    icmp.check = checksum::update(icmp.check, header.and(moved).and(check).finish());

    let src = outer_source(rewrite, scratch.seen.key.src);
    let outer =
        Ipv4::ONE_HOP.addr(scratch.seen.key.src, src).addr(scratch.seen.key.dst, rewrite.dst);
    packet.at_mut::<Ipv4>(IP)?.forward(src, rewrite.dst, outer.finish());
    Some(rewrite::depart(packet, tables, rewrite, hop, &scratch.seen))
}

/// The transport checksum in the quotation, where it is quoted: what it was moved by `delta`, as a change of its own.
#[inline(always)]
fn transport_check<P: PacketBytes>(packet: &mut P, scratch: &Scratch, delta: u16) -> Delta {
    let quote = &scratch.quote;
    let tcp = quote.key.proto == Ipv4::TCP;
    let offset = if tcp { TCP_CHECK } else { UDP_CHECK };
    let at = quote.l4 as usize + offset;
    if at + 2 > L4 + quote.message as usize {
        return Delta::new();
    }
    let Some(check) = packet.far_mut::<[u8; 2]>(at) else { return Delta::new() };
    let old = *check;
    *check = if tcp { checksum::update(old, delta) } else { checksum::update_udp(old, delta) };
    Delta::new().word(old, *check)
}

/// Whom the error comes from. Clients know the virtual address only; a full-NAT real server may have no way to the
/// clients' side, and would take a packet from there for a forgery.
#[inline(always)]
fn outer_source(rewrite: &FlowRewrite, router: Addr4) -> Addr4 {
    let hidden = rewrite.flags & (FlowFlags::REPLY | FlowFlags::FULL_NAT) != 0;
    if hidden { rewrite.src } else { router }
}
