//! IPv4: headers with options, their checksum, fragments, ICMP (RFC 791, 792, 1191).

use super::place::Place;
use super::{Complaint, Family, Message, Piece};
use crate::abi::{DropReason, FlowKey, FlowRewrite, FragmentKey, Iface, PassReason};
use crate::engine::parse::{self, IP, Transport};
use crate::engine::{PacketBytes, Seen, Step, Verdict, fragment, sum};
use crate::wire::Addr4;
use crate::wire::checksum::{self, Delta};
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::{Ipv4, option};
use crate::wire::tcp::TcpFlags;

impl Family for Addr4 {
    const HEADER: usize = Ipv4::LEN;
    const L4: usize = IP + Ipv4::LEN;
    const ICMP: u8 = Ipv4::ICMP;
    const ETHER_TYPE: u16 = Ethernet::IPV4;
    const MALFORMED: PassReason = PassReason::BadIpv4;
    /// RFC 1122: every host takes as much.
    const LEAST_MTU: u32 = 576;
    const MUST_CHECK_UDP: bool = false;
    const NOBODY: Complaint =
        Complaint { kind: IcmpError::UNREACHABLE, code: IcmpError::PORT, mtu: 0 };
    const TTL: Complaint =
        Complaint { kind: IcmpError::TIME_EXCEEDED, code: IcmpError::TTL, mtu: 0 };

    #[inline(always)]
    fn headers<P: PacketBytes>(packet: &P) -> Step<Seen> {
        let eth: &Ethernet = packet.at(0).ok_or(parse::TRUNCATED)?;
        if eth.ether_type() != Ethernet::IPV4 {
            return Err(Verdict::pass(PassReason::NotIpv4));
        }
        if eth.dst().is_group() {
            return Err(Verdict::pass(PassReason::GroupFrame));
        }
        let ip: &Ipv4 = packet.at(IP).ok_or(parse::TRUNCATED)?;
        let (length, proto) = (parse::total_length(packet, ip.total_length(), 0), ip.protocol());
        if IP + usize::from(length) > packet.len() {
            return Err(Verdict::pass(Self::MALFORMED));
        }
        let transport = if ip.version_and_length() == 0x45 {
            let piece = fragment::mark(ip);
            let l4 = Self::L4;
            parse::transport::<Self, P, false>(packet, l4, proto, piece, length, Self::MALFORMED)?
        } else if matches!(ip.version_and_length(), 0x46..=0x4f) {
            Transport { tcp: fragment::FAR, ..Transport::default() }
        } else {
            return Err(Verdict::pass(Self::MALFORMED));
        };
        let Transport { sport, dport, tcp } = transport;
        let (src, dst) = (ip.src(), ip.dst());
        Ok(Seen {
            key: FlowKey { src, dst, sport, dport, proto, zone: 0, pad: [0; 2] },
            length,
            largest: parse::largest(packet, Self::L4, proto, length),
            ttl: ip.ttl(),
            tcp: TcpFlags(tcp),
        })
    }

    #[inline(always)]
    fn place<P: PacketBytes>(packet: &P) -> Place {
        packet.ipv4_place()
    }

    #[inline(always)]
    fn fragment<P: PacketBytes>(
        packet: &P,
        seen: &Seen,
        _place: Place,
        key: &mut FragmentKey,
    ) -> Option<Piece> {
        let (ip, proto): (&Ipv4, u8) = (packet.at(IP)?, seen.key.proto);
        let [high, low] = ip.identification();
        key.src = seen.key.src;
        key.dst = seen.key.dst;
        key.id = [0, 0, high, low];
        key.proto = proto;
        Some(Piece { offset: ip.fragment_offset(), tcp: proto == Ipv4::TCP })
    }

    #[inline(always)]
    fn key<P: PacketBytes>(packet: &P, index: usize) -> Option<FlowKey<Self>> {
        const KEY: usize = size_of::<FlowKey<Addr4>>();
        packet.at::<[u8; KEY]>(index * KEY).map(|bytes| bytemuck::cast(*bytes))
    }

    #[inline(always)]
    fn forward<P: PacketBytes>(packet: &mut P, rewrite: &FlowRewrite) -> Option<()> {
        packet.at_mut::<Ipv4>(IP)?.forward(rewrite.src, rewrite.dst, rewrite.ip_delta);
        Some(())
    }

    #[inline(always)]
    fn header_delta(addresses: Delta) -> u16 {
        Ipv4::ONE_HOP.and(addresses).finish()
    }

    #[inline(always)]
    fn is_intact<P: PacketBytes>(packet: &P, l4: usize) -> Option<bool> {
        let sum = if l4 == Self::L4 {
            checksum::fold(checksum::sum(packet.at::<[u8; Ipv4::LEN]>(IP)?))
        } else {
            packet.sum(IP, l4 - IP)?
        };
        Some(sum == 0xffff)
    }

    #[inline(always)]
    fn of_iface(iface: &Iface) -> &Self {
        &iface.addr
    }

    #[inline(always)]
    fn too_big<P: PacketBytes>(packet: &P, mtu: u16) -> Option<Complaint> {
        let code = IcmpError::FRAGMENTATION_NEEDED;
        let complaint = Complaint { kind: IcmpError::UNREACHABLE, code, mtu: mtu.into() };
        packet.at::<Ipv4>(IP)?.dont_fragment().then_some(complaint)
    }

    /// The header and eight bytes of what it carries (RFC 792).
    #[inline(always)]
    fn quotes(_seen: &Seen, l4: usize) -> usize {
        l4 - IP + 8
    }

    #[inline(always)]
    fn fill<P: PacketBytes>(packet: &mut P, src: &Self, dst: &Self, payload: u16) -> Option<u32> {
        let length = payload + Ipv4::LEN as u16;
        packet.at_mut::<Ipv4>(IP)?.set(*src, *dst, Ipv4::ICMP, length);
        Some(0)
    }

    #[inline(always)]
    fn message(icmp: &IcmpError) -> Message {
        let too_big = icmp.code == IcmpError::FRAGMENTATION_NEEDED;
        match icmp.kind {
            IcmpError::UNREACHABLE if too_big => Message::TooBig(icmp.mtu() & 0xffff),
            IcmpError::UNREACHABLE | IcmpError::TIME_EXCEEDED => Message::Translated,
            IcmpError::SOURCE_QUENCH | IcmpError::REDIRECT | IcmpError::PARAMETER_PROBLEM => {
                Message::Refused
            }
            _ => Message::Query,
        }
    }

    #[inline(always)]
    fn pseudo(_src: &Self, _dst: &Self, _length: usize) -> u32 {
        0
    }

    #[inline(always)]
    fn outer_delta(_addresses: Delta) -> Delta {
        Delta::new()
    }

    #[inline(always)]
    fn quoted<P: PacketBytes>(packet: &P, at: usize, key: &mut FlowKey) -> Option<usize> {
        let ip: &Ipv4 = packet.far(at)?;
        let header = ip.header_length();
        if ip.version_and_length() >> 4 != 4 || header < Ipv4::LEN || ip.is_later_fragment() {
            return None;
        }
        key.src = ip.dst();
        key.dst = ip.src();
        key.proto = ip.protocol();
        Some(header)
    }

    #[inline(always)]
    fn quote_is_intact<P: PacketBytes>(packet: &P, at: usize, header: usize) -> Option<bool> {
        Some(packet.sum(at, header)? == 0xffff)
    }

    #[inline(always)]
    fn requote<P: PacketBytes>(
        packet: &mut P,
        at: usize,
        rewrite: &FlowRewrite,
        _addresses: Delta,
    ) -> Option<Delta> {
        Some(packet.far_mut::<Ipv4>(at)?.readdress(rewrite.dst, rewrite.src))
    }
}

/// Options that fit into a header: each is a byte at least.
const MOST_OPTIONS: u32 = 40;

/// Where the transport header is behind options, which are checked on the way (RFC 791, 3.1; RFC 7126).
#[inline(always)]
pub fn behind_options<P: PacketBytes + ?Sized>(packet: &P) -> Place {
    let truncated = Place::nowhere(parse::TRUNCATED);
    let Some(ip) = packet.at::<Ipv4>(IP) else { return truncated };
    let (header, proto, marks) = (ip.header_length(), ip.protocol(), fragment::mark(ip));
    if header < Ipv4::LEN || header > usize::from(ip.total_length()) {
        return Place::nowhere(Verdict::pass(PassReason::BadIpv4));
    }
    let (mut at, mut refusal, mut options) = (Ipv4::LEN, None, 0);
    // Counted as well: verifiers up to kernel 6.1 do not see that the place goes towards the header's end.
    while options < MOST_OPTIONS && at < header {
        options += 1;
        let Some([kind]) = packet.far::<[u8; 1]>(IP + at) else { return truncated };
        match *kind {
            option::END => break,
            option::NO_OPERATION => {
                at = sum::hidden(at + 1);
                continue;
            }
            option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => {
                refusal = Some(DropReason::SourceRoute);
            }
            _ => {}
        }
        let length = packet.far::<[u8; 2]>(IP + at).map_or(0, |option| usize::from(option[1]));
        if length < 2 || at + length > header {
            refusal = Some(DropReason::BadIpOption);
            break;
        }
        at = sum::hidden(at + length);
    }
    Place::at(IP + header, proto, marks).refused(refusal)
}
