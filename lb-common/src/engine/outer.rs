//! What is in front of a packet: VLAN tags where it comes in and where it leaves, the headers of a tunnel to its real
//! server (`ip_vs_tunnel_xmit` in `net/netfilter/ipvs/ip_vs_xmit.c`).
//!
//! The rest of the engine sees packets without either. Tags come off first ([`take_off`]), and go back on a packet that is
//! passed ([`put_back`]): it is untouched. What leaves by a tunnel or a VLAN has a *bare* verdict until [`put_on`].

use super::parse::IP;
use super::{PacketBytes, Step, Tables, Verdict, sum};
use crate::abi::{DropReason, Method, NextHop, PassReason, Real, RealFlags, Tag, Tags, VlanKey};
use crate::wire::checksum;
use crate::wire::eth::Ethernet;
use crate::wire::ipv4::{Around, Ipv4};
use crate::wire::ipv6::Ipv6;
use crate::wire::tunnel::{Gre, GreSum, Gue};
use crate::wire::udp::Udp;
use crate::wire::vlan::Vlan;
use crate::wire::{Addr4, Addr6, Address, Port};

/// Protocol number of an IPv4 packet inside another.
const IPV4_INSIDE: u8 = 4;
/// The same of an IPv6 packet.
const IPV6_INSIDE: u8 = 41;

const CUT: Verdict = Verdict::drop(DropReason::TruncatedRewrite);
const NO_ROOM: Verdict = Verdict::drop(DropReason::NoRoomInFront);
const UNKNOWN: Verdict = Verdict::pass(PassReason::UnknownVlan);

/// Takes the tags off a frame, and notes by which VLAN it came. A tag without a number is a priority and nothing more.
/// Frames of other VLANs and of other protocols are left alone.
#[inline(always)]
pub fn take_off<P: PacketBytes, T: Tables>(packet: &mut P, tables: &T) -> Step<Tags> {
    let cut = Verdict::pass(PassReason::Truncated);
    let none = Tags::default();
    let eth: &Ethernet = packet.at(0).ok_or(cut)?;
    let first = eth.ether_type().to_ne_bytes();
    if !Vlan::follows(first) {
        return Ok(none);
    }
    let outer: Vlan = *packet.at(IP).ok_or(cut)?;
    let (mut tags, mut inside) = (none, outer.ether_type);
    tags.0[0] = Tag::new(first, outer.control);
    if Vlan::follows(outer.ether_type) {
        let inner: Vlan = *packet.at(IP + Vlan::LEN).ok_or(cut)?;
        inside = inner.ether_type;
        tags.0[1] = Tag::new(outer.ether_type, inner.control);
    }
    if Vlan::follows(inside) {
        return Err(UNKNOWN);
    }
    if !matches!(u16::from_ne_bytes(inside), Ethernet::IPV4 | Ethernet::IPV6) {
        return Err(Verdict::pass(PassReason::NotIpv4));
    }
    let mut numbered = Tags([tags.0[0].vlan(), tags.0[1].vlan()]);
    if numbered.0[0].0 == 0 {
        numbered = Tags([numbered.0[1], Tag::default()]);
    }
    if !numbered.is_empty() {
        let vlan = VlanKey { tags: numbered, ifindex: packet.ingress(), pad: 0 };
        packet.came_by(tables.vlan(&vlan).ok_or(UNKNOWN)?);
    }
    let done = if tags.are_two() { packet.close(2 * Vlan::LEN) } else { packet.close(Vlan::LEN) };
    let eth = if done { packet.at_mut::<Ethernet>(0) } else { None };
    eth.ok_or(CUT)?.set_ether_type(inside);
    Ok(tags)
}

/// What becomes of a packet whose tags were taken off: if it is passed they go on again.
#[inline(always)]
pub fn put_back<P: PacketBytes>(packet: &mut P, tags: Tags, verdict: Verdict) -> Verdict {
    if tags.is_empty() || verdict.action() != super::Action::Pass {
        return verdict;
    }
    match tag(packet, &tags) {
        Ok(()) => verdict,
        Err(verdict) => verdict,
    }
}

/// Puts what its way wants in front of a packet with a bare verdict, and says where it leaves.
#[inline(always)]
pub fn put_on<P: PacketBytes, T: Tables>(packet: &mut P, tables: &T, verdict: Verdict) -> Verdict {
    match dress(packet, tables, verdict) {
        Ok(()) => verdict.dressed(),
        Err(verdict) => verdict,
    }
}

#[inline(always)]
fn dress<P: PacketBytes, T: Tables>(packet: &mut P, tables: &T, verdict: Verdict) -> Step<()> {
    let unknown = Verdict::drop(DropReason::BadMapValue);
    if let Some(id) = verdict.tunnel() {
        let real = tables.real(id).ok_or(unknown)?;
        let source = if real.locals_len == 0 { None } else { tables.local(real.locals_at) };
        encapsulate(packet, real, source.ok_or(Verdict::drop(DropReason::NoLocalAddress))?)?;
    }
    let iface = tables.iface(verdict.ifindex()).ok_or(unknown)?;
    if iface.flags & NextHop::TAGGED == 0 { Ok(()) } else { tag(packet, &iface.tags) }
}

/// Puts tags in front of what the Ethernet header carries.
#[inline(always)]
fn tag<P: PacketBytes>(packet: &mut P, tags: &Tags) -> Step<()> {
    let two = tags.are_two();
    let done = if two { packet.open(2 * Vlan::LEN, None) } else { packet.open(Vlan::LEN, None) };
    if !done {
        return Err(NO_ROOM);
    }
    let eth: &mut Ethernet = packet.at_mut(0).ok_or(CUT)?;
    let inside = eth.ether_type().to_ne_bytes();
    let (ether_type, control) = tags.0[0].bytes();
    eth.set_ether_type(ether_type);
    let (second, inner_control) = tags.0[1].bytes();
    let after = if two { second } else { inside };
    *packet.at_mut::<Vlan>(IP).ok_or(CUT)? = Vlan { control, ether_type: after };
    if two {
        let inner = Vlan { control: inner_control, ether_type: inside };
        *packet.at_mut::<Vlan>(IP + Vlan::LEN).ok_or(CUT)? = inner;
    }
    Ok(())
}

/// The packet that goes into the tunnel.
#[derive(Clone, Copy)]
struct Inside {
    /// Bytes, padding of the frame not counted.
    length: u16,
    protocol: u8,
    ether_type: [u8; 2],
    around: Around,
    /// Something that the packets of a flow have in common, for routers that spread flows over paths.
    entropy: u16,
}

/// Bytes that a tunnel adds to a packet: outer header, its own, a checksum where that is a header.
pub const fn overhead(method: Method, flags: u8, ipv6: bool) -> usize {
    let outer = if ipv6 { Ipv6::LEN } else { Ipv4::LEN };
    outer
        + match method {
            Method::Gre if flags & RealFlags::CHECKSUM != 0 => Gre::LEN + GreSum::LEN,
            Method::Gre => Gre::LEN,
            Method::Gue => Udp::LEN + Gue::LEN,
            _ => 0,
        }
}

/// Bytes of the largest packet for a tunnel out of an interface that takes packets of `mtu` bytes.
pub const fn mtu(mtu: u16, method: Method, flags: u8, ipv6: bool) -> u16 {
    let room = (mtu as usize).saturating_sub(overhead(method, flags, ipv6));
    let own = overhead(method, flags, false) - Ipv4::LEN;
    // What is not longer than this can be summed.
    let most = if flags & RealFlags::CHECKSUM == 0 { u16::MAX as usize } else { sum::MOST - own };
    if room < most { room as u16 } else { most as u16 }
}

#[inline(always)]
fn encapsulate<P: PacketBytes>(packet: &mut P, real: &Real, source: &Addr6) -> Step<()> {
    let method = Method::from_raw(real.method).filter(|method| method.is_tunnel());
    let method = method.ok_or(Verdict::drop(DropReason::BadMapValue))?;
    let summed = real.flags & RealFlags::CHECKSUM != 0 && !matches!(method, Method::Ipip);
    let ipv6 = real.addr.is_ipv6();
    let inside = look_inside(packet).ok_or(CUT)?;
    let bytes = overhead(method, real.flags, ipv6);
    if !packet.open(bytes, Some((method, if ipv6 { 6 } else { 4 }))) {
        return Err(NO_ROOM);
    }
    let outer = if ipv6 { Ipv6::LEN } else { Ipv4::LEN };
    let carried = inside.length.wrapping_add((bytes - outer) as u16);
    let at = IP + outer;
    let protocol = match method {
        Method::Gre => Ipv4::GRE,
        Method::Gue => Ipv4::UDP,
        _ => inside.protocol,
    };
    write_outer(packet, real, source, protocol, carried, &inside).ok_or(CUT)?;
    if matches!(method, Method::Gre) {
        *packet.far_mut::<Gre>(at).ok_or(CUT)? = Gre::new(inside.ether_type, summed);
        if summed {
            *packet.far_mut::<GreSum>(at + Gre::LEN).ok_or(CUT)? = GreSum::new([0; 2]);
        }
    } else if matches!(method, Method::Gue) {
        let from = Port::new(0xc000 | inside.entropy & 0x3fff);
        let udp = Udp::without_checksum(from, real.tunnel_port, carried);
        *packet.far_mut::<Udp>(at).ok_or(CUT)? = udp;
        *packet.far_mut::<Gue>(at + Udp::LEN).ok_or(CUT)? = Gue::new(inside.protocol);
    }
    if summed {
        // No longer than what can be summed: `mtu` sees to that.
        let unknown = Verdict::drop(DropReason::BadMapValue);
        let sum = u32::from(packet.sum(at, usize::from(carried)).ok_or(unknown)?);
        if matches!(method, Method::Gre) {
            let check = (!checksum::fold(sum)).to_ne_bytes();
            *packet.far_mut::<GreSum>(at + Gre::LEN).ok_or(CUT)? = GreSum::new(check);
        } else {
            let addresses = if ipv6 {
                source.sum() + real.addr.sum()
            } else {
                Addr4::narrowed(*source).sum() + Addr4::narrowed(real.addr).sum()
            };
            let rest = u32::from(carried.to_be()) + u32::from(u16::from(Ipv4::UDP).to_be());
            let check = !checksum::fold(u32::from(checksum::fold(addresses + rest)) + sum);
            packet.far_mut::<Udp>(at).ok_or(CUT)?.set_checksum(check);
        }
    }
    Ok(())
}

/// What the headers around a packet take from it.
#[inline(always)]
fn look_inside<P: PacketBytes>(packet: &P) -> Option<Inside> {
    let eth: &Ethernet = packet.at(0)?;
    let ether_type = eth.ether_type().to_ne_bytes();
    if eth.ether_type() == Ethernet::IPV6 {
        let ip: &Ipv6 = packet.at(IP)?;
        let length = ip.payload_length().wrapping_add(Ipv6::LEN as u16);
        let ports: &[u8; 4] = packet.at(IP + Ipv6::LEN)?;
        let entropy = entropy(ip.src().sum() + ip.dst().sum(), *ports);
        let around = ip.around();
        return Some(Inside { length, protocol: IPV6_INSIDE, ether_type, around, entropy });
    }
    let ip: &Ipv4 = packet.at(IP)?;
    // A fragment's ports are in the first alone.
    let ports = match packet.far::<[u8; 4]>(IP + ip.header_length()) {
        Some(ports) if !ip.is_fragment() => *ports,
        _ => [0; 4],
    };
    let entropy = entropy(ip.src().sum() + ip.dst().sum(), ports);
    let (length, mut around) = (ip.total_length(), ip.around());
    if !around.dont_fragment {
        // Outside, packets of all clients are of one pair of addresses, and so are the pieces of one packet.
        let [a, b] = (entropy ^ ip.fragment_offset()).to_ne_bytes();
        let [c, d] = around.identification;
        around.identification = [a ^ c, b ^ d];
    }
    Some(Inside { length, protocol: IPV4_INSIDE, ether_type, around, entropy })
}

#[inline(always)]
fn entropy(addresses: u32, [a, b, c, d]: [u8; 4]) -> u16 {
    let ports = u32::from(u16::from_ne_bytes([a, b])) + u32::from(u16::from_ne_bytes([c, d]));
    checksum::fold(u32::from(checksum::fold(addresses)) + ports)
}

/// Writes the outer IP header and announces it.
#[inline(always)]
fn write_outer<P: PacketBytes>(
    packet: &mut P,
    real: &Real,
    source: &Addr6,
    protocol: u8,
    carried: u16,
    inside: &Inside,
) -> Option<()> {
    let eth = packet.at_mut::<Ethernet>(0)?;
    if real.addr.is_ipv6() {
        eth.set_ether_type(Ethernet::IPV6.to_ne_bytes());
        let ip: &mut Ipv6 = packet.at_mut(IP)?;
        ip.set_around(*source, real.addr, protocol, carried, &inside.around);
    } else {
        eth.set_ether_type(Ethernet::IPV4.to_ne_bytes());
        let (source, real) = (Addr4::narrowed(*source), Addr4::narrowed(real.addr));
        let length = carried.wrapping_add(Ipv4::LEN as u16);
        packet.at_mut::<Ipv4>(IP)?.set_around(source, real, protocol, length, &inside.around);
    }
    Some(())
}
