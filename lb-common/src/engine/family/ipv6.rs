//! IPv6: extension headers, fragments, ICMPv6 (RFC 8200, 4443, 5095).

use core::hint::black_box;

use super::place::Place;
use super::{Complaint, Family, Message, Piece};
use crate::abi::{DropReason, FlowKey, FlowRewrite, FragmentKey, Iface, PassReason};
use crate::engine::parse::{self, IP, TCP, Transport, UDP};
use crate::engine::{PacketBytes, Seen, Step, Verdict, fragment};
use crate::wire::checksum::{self, Delta};
use crate::wire::eth::Ethernet;
use crate::wire::icmp::{IcmpError, v6};
use crate::wire::ipv6::{Fragment, Ipv6};
use crate::wire::tcp::TcpFlags;
use crate::wire::{Addr6, Address};

/// Bytes of the largest packet that an error may be, so that it arrives whatever the path (RFC 4443, 2.4 (c)).
const LARGEST_ERROR: usize = 1_280;

impl Family for Addr6 {
    const HEADER: usize = Ipv6::LEN;
    const L4: usize = IP + Ipv6::LEN;
    const ICMP: u8 = Ipv6::ICMP;
    const ETHER_TYPE: u16 = Ethernet::IPV6;
    const MALFORMED: PassReason = PassReason::BadIpv6;
    /// RFC 8200, 5: every link takes as much.
    const LEAST_MTU: u32 = 1_280;
    const MUST_CHECK_UDP: bool = true;
    const NOBODY: Complaint = Complaint { kind: v6::UNREACHABLE, code: v6::PORT, mtu: 0 };
    const TTL: Complaint = Complaint { kind: v6::TIME_EXCEEDED, code: v6::HOP_LIMIT, mtu: 0 };

    #[inline(always)]
    fn headers<P: PacketBytes>(packet: &P) -> Step<Seen<Self>> {
        let eth: &Ethernet = packet.at(0).ok_or(parse::TRUNCATED)?;
        if eth.ether_type() != Ethernet::IPV6 {
            return Err(Verdict::pass(PassReason::NotIpv4));
        }
        if eth.dst().is_group() {
            return Err(Verdict::pass(PassReason::GroupFrame));
        }
        let ip: &Ipv6 = packet.at(IP).ok_or(parse::TRUNCATED)?;
        let header = Ipv6::LEN as u16;
        let length =
            parse::total_length(packet, ip.payload_length().saturating_add(header), header);
        if ip.version() != 6 || IP + usize::from(length) > packet.len() {
            return Err(Verdict::pass(Self::MALFORMED));
        }
        let proto = ip.next_header();
        let transport = if matches!(proto, TCP | UDP | Ipv6::ICMP) {
            let l4 = Self::L4;
            parse::transport::<Self, P, false>(packet, l4, proto, 0, length, Self::MALFORMED)?
        } else {
            Transport { tcp: fragment::FAR, ..Transport::default() }
        };
        let Transport { sport, dport, tcp } = transport;
        let (src, dst) = (ip.src(), ip.dst());
        Ok(Seen {
            key: FlowKey { src, dst, sport, dport, proto, zone: 0, pad: [0; 2] },
            length,
            largest: parse::largest(packet, Self::L4, proto, length),
            ttl: ip.hop_limit(),
            tcp: TcpFlags(tcp),
        })
    }

    #[inline(always)]
    fn place<P: PacketBytes>(packet: &P) -> Place {
        packet.ipv6_place()
    }

    #[inline(always)]
    fn fragment<P: PacketBytes>(
        packet: &P,
        seen: &Seen<Self>,
        place: Place,
        key: &mut FragmentKey<Self>,
    ) -> Option<Piece> {
        let header: &Fragment = packet.far(place.fragment_header())?;
        key.src = seen.key.src;
        key.dst = seen.key.dst;
        key.id = header.id;
        Some(Piece { offset: header.offset(), tcp: header.next_header == TCP })
    }

    #[inline(always)]
    fn key<P: PacketBytes>(packet: &P, index: usize) -> Option<FlowKey<Self>> {
        const KEY: usize = size_of::<FlowKey<Addr6>>();
        packet.at::<[u8; KEY]>(index * KEY).map(|bytes| bytemuck::cast(*bytes))
    }

    #[inline(always)]
    fn forward<P: PacketBytes>(packet: &mut P, rewrite: &FlowRewrite<Self>) -> Option<()> {
        packet.at_mut::<Ipv6>(IP)?.forward(rewrite.src, rewrite.dst);
        Some(())
    }

    #[inline(always)]
    fn header_delta(addresses: Delta) -> u16 {
        addresses.finish()
    }

    #[inline(always)]
    fn is_intact<P: PacketBytes>(_packet: &P, _l4: usize) -> Option<bool> {
        Some(true)
    }

    #[inline(always)]
    fn of_iface(iface: &Iface) -> &Self {
        &iface.addr6
    }

    #[inline(always)]
    fn too_big<P: PacketBytes>(_packet: &P, mtu: u16) -> Option<Complaint> {
        Some(Complaint { kind: v6::TOO_BIG, code: 0, mtu: mtu.into() })
    }

    /// As much as fits.
    #[inline(always)]
    fn quotes(seen: &Seen<Self>, _l4: usize) -> usize {
        usize::from(seen.length).min(LARGEST_ERROR - Ipv6::LEN - IcmpError::LEN)
    }

    #[inline(always)]
    fn fill<P: PacketBytes>(packet: &mut P, src: &Self, dst: &Self, payload: u16) -> Option<u32> {
        packet.at_mut::<Ipv6>(IP)?.set(*src, *dst, Ipv6::ICMP, payload);
        Some(Self::pseudo(src, dst, payload.into()))
    }

    #[inline(always)]
    fn message(icmp: &IcmpError) -> Message {
        match icmp.kind {
            v6::TOO_BIG => Message::TooBig(icmp.mtu()),
            v6::UNREACHABLE | v6::TIME_EXCEEDED => Message::Translated,
            // All below 128 are errors (RFC 4443, 2.1).
            0..128 => Message::Refused,
            _ => Message::Query,
        }
    }

    /// RFC 8200, 8.1.
    #[inline(always)]
    fn pseudo(src: &Self, dst: &Self, length: usize) -> u32 {
        let length = (length as u16).to_be_bytes();
        src.sum() + dst.sum() + checksum::sum(&length) + checksum::sum(&[0, Ipv6::ICMP])
    }

    #[inline(always)]
    fn outer_delta(addresses: Delta) -> Delta {
        addresses
    }

    #[inline(always)]
    fn quoted<P: PacketBytes>(packet: &P, at: usize, key: &mut FlowKey<Self>) -> Option<usize> {
        let ip: &Ipv6 = packet.far(at)?;
        if ip.version() != 6 {
            return None;
        }
        key.src = ip.dst();
        key.dst = ip.src();
        key.proto = ip.next_header();
        Some(Ipv6::LEN)
    }

    #[inline(always)]
    fn quote_is_intact<P: PacketBytes>(_packet: &P, _at: usize, _header: usize) -> Option<bool> {
        Some(true)
    }

    #[inline(always)]
    fn requote<P: PacketBytes>(
        packet: &mut P,
        at: usize,
        rewrite: &FlowRewrite<Self>,
        addresses: Delta,
    ) -> Option<Delta> {
        packet.far_mut::<Ipv6>(at)?.readdress(rewrite.dst, rewrite.src);
        Some(addresses)
    }
}

/// Extension headers that are skipped to reach the transport header.
const MOST_HEADERS: u32 = 8;

/// Where the transport header is behind extension headers (RFC 8200, 4).
#[inline(always)]
pub fn behind_extensions<P: PacketBytes + ?Sized>(packet: &P) -> Place {
    let truncated = Place::nowhere(parse::TRUNCATED);
    let pass = |reason| Place::nowhere(Verdict::pass(reason));
    let Some(ip) = packet.at::<Ipv6>(IP) else { return truncated };
    let mut next = ip.next_header();
    let jumbo = next == Ipv6::HOP_BY_HOP && ip.payload_length() == 0;
    let mut found = Place::at(IP + Ipv6::LEN, 0, 0).refused(jumbo.then_some(DropReason::Jumbogram));
    let mut headers = 0;
    while headers < MOST_HEADERS {
        headers += 1;
        let at = found.l4();
        let Some(header) = packet.far::<[u8; 4]>(at) else {
            return if found.marks() == 0 { truncated } else { pass(PassReason::TinyFragment) };
        };
        let mut length = 8 * (usize::from(header[1]) + 1);
        match next {
            Ipv6::HOP_BY_HOP if headers == 1 => {}
            Ipv6::DESTINATION => {}
            // Type 0 with segments left makes packets go round (RFC 5095); others are for the host that is named.
            Ipv6::ROUTING if header[2] == 0 => {
                found = found.refused(Some(DropReason::SourceRoute));
            }
            Ipv6::ROUTING if header[3] == 0 => {}
            Ipv6::FRAGMENT => {
                let Some(piece) = packet.far::<Fragment>(at) else { return truncated };
                length = Fragment::LEN;
                if piece.offset() != 0 {
                    return found.with_fragment_header(at).marked(fragment::LATER).behind(length);
                }
                // One that is its packet's only piece is a packet like any other (RFC 6946).
                if piece.more_follow() {
                    found = found.with_fragment_header(at).marked(fragment::FIRST);
                }
            }
            _ => return pass(PassReason::NotTcpUdp),
        }
        next = header[0];
        // Hidden: else the verifier goes on from each kind of header on its own, and again from each behind those.
        found = Place(black_box(found.behind(length).0));
        if matches!(next, TCP | UDP | Ipv6::ICMP) {
            return found.carrying(next);
        }
    }
    pass(PassReason::HeaderChain)
}
