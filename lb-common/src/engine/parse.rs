//! Headers to a [`Seen`]. What this version leaves to the kernel says why.

use super::family::Family;
use super::slow::Scratch;
use super::{PacketBytes, Step, Verdict, fragment};
use crate::abi::{FlowKey, PassReason};
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::{Tcp, TcpFlags};
use crate::wire::udp::Udp;
use crate::wire::{Addr4, Port, Wire};

/// Where the IP header starts.
pub const IP: usize = Ethernet::LEN;
/// The frame ends inside a header.
pub(super) const TRUNCATED: Verdict = Verdict::pass(PassReason::Truncated);
/// Protocol numbers that both families share.
pub const TCP: u8 = Ipv4::TCP;
/// As [`TCP`].
pub const UDP: u8 = Ipv4::UDP;

/// What the engine needs to know of a packet.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen<A = Addr4> {
    /// The tuple as it arrived.
    pub key: FlowKey<A>,
    /// Bytes of the IP packet, padding not counted; one that is longer than its header can say (BIG TCP) counts as 65,535.
    pub length: u16,
    /// Bytes of the largest IP packet that it leaves as: less than `length` where it is several in one.
    pub largest: u16,
    /// Time to live or hop limit as it arrived.
    pub ttl: u8,
    /// TCP's flags as far as they are of a state, none with UDP; and the marks of [`fragment`].
    pub tcp: TcpFlags,
}

impl<A: Family> Seen<A> {
    /// Whether the packet is ICMP of its family.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.key.proto == A::ICMP
    }

    /// Whether the packet is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.key.proto == TCP
    }
}

/// What the transport header says of the flow; nothing where a family has not looked yet. Aligned for the kernel program,
/// whose stack is accessed by aligned words only.
#[repr(C, align(4))]
#[derive(Clone, Copy, Default)]
pub(super) struct Transport {
    pub(super) sport: Port,
    pub(super) dport: Port,
    /// As [`Seen::tcp`].
    pub(super) tcp: u8,
}

/// The bytes at `off`, which is a constant unless `FAR`.
#[inline(always)]
fn read<T: Wire, P: PacketBytes, const FAR: bool>(packet: &P, off: usize) -> Option<&T> {
    if FAR { packet.far(off) } else { packet.at(off) }
}

/// Reads the transport header at `l4` of a packet of `length` bytes with the marks `piece`. `bad`: what becomes of it
/// if the packet ends inside.
#[inline(always)]
pub(super) fn transport<A: Family, P: PacketBytes, const FAR: bool>(
    packet: &P,
    l4: usize,
    proto: u8,
    piece: u8,
    length: u16,
    bad: PassReason,
) -> Step<Transport> {
    let carries = |least: usize| usize::from(length) >= l4 - IP + least;
    let none = Transport { tcp: piece, ..Transport::default() };
    let (first, later) = (piece & fragment::FIRST != 0, piece & fragment::LATER != 0);
    match proto {
        // Errors are never fragmented.
        _ if proto == A::ICMP && (first || later) => {
            return Err(Verdict::pass(PassReason::Fragment));
        }
        // Ports are in the first fragment alone. No flow has such a tuple, and the mark keeps it off the fast path.
        // IPv6's later ones need not say what they are of.
        TCP | UDP | 0 if later && carries(1) => return Ok(none),
        TCP | UDP | 0 if later => return Err(Verdict::pass(bad)),
        TCP => {
            if let Some(tcp) = read::<Tcp, P, FAR>(packet, l4)
                && carries(Tcp::LEN)
            {
                let tcp_flags = tcp.flags().0 & TcpFlags::OF_STATE | piece;
                return Ok(Transport { sport: tcp.src(), dport: tcp.dst(), tcp: tcp_flags });
            }
        }
        UDP => {
            if let Some(udp) = read::<Udp, P, FAR>(packet, l4)
                && carries(Udp::LEN)
            {
                return Ok(Transport { sport: udp.src(), dport: udp.dst(), tcp: piece });
            }
        }
        // No ports, so no flow has such a tuple.
        _ if proto == A::ICMP && carries(IcmpError::LEN) => return Ok(none),
        _ if proto == A::ICMP => {}
        _ => return Err(Verdict::pass(PassReason::NotTcpUdp)),
    }
    Err(Verdict::pass(if first && carries(0) { PassReason::TinyFragment } else { bad }))
}

/// Bytes of the IP packet, which says `length`. Frames of several packets that are too long for the field have 0 there
/// (`iph_set_totlen` in include/linux/ip.h, `ip6_tso_features` and the jumbo option's end in include/net/ipv6.h).
#[inline(always)]
pub(super) fn total_length<P: PacketBytes>(packet: &P, length: u16, none: u16) -> u16 {
    if length == none && packet.segment() != 0 {
        return (packet.len() - IP).min(usize::from(u16::MAX)) as u16;
    }
    length
}

/// Bytes of the largest IP packet that the kernel will make of a frame of `length` bytes whose transport header is at
/// `l4`, if nothing stands between it and the IP header.
#[inline(always)]
pub(super) fn largest<P: PacketBytes>(packet: &P, l4: usize, proto: u8, length: u16) -> u16 {
    let data = packet.segment();
    if data == 0 {
        return length;
    }
    let transport = match proto {
        TCP => packet.at::<Tcp>(l4).map_or(Tcp::LEN, Tcp::header_length),
        _ => Udp::LEN,
    };
    length.min(data.saturating_add((l4 - IP + transport) as u16))
}

/// Completes what is known of a packet whose transport header is behind options or extension headers.
#[inline(always)]
pub(super) fn behind_options<A: Family, P: PacketBytes>(
    packet: &P,
    scratch: &mut Scratch<A>,
) -> Step<()> {
    let place = A::place(packet);
    if let Some(verdict) = place.verdict() {
        return Err(verdict);
    }
    scratch.place = place;
    let (proto, marks) = (place.proto(), place.marks() | fragment::FAR);
    let seen = &mut scratch.seen;
    // What is refused anyway may lie about its length; whose it is is wanted all the same.
    let length = if place.refusal() == 0 { seen.length } else { u16::MAX };
    let transport =
        transport::<A, P, true>(packet, place.l4(), proto, marks, length, A::MALFORMED)?;
    seen.key.sport = transport.sport;
    seen.key.dport = transport.dport;
    seen.key.proto = proto;
    seen.largest = largest(packet, A::L4, proto, seen.length);
    seen.tcp = TcpFlags(transport.tcp);
    Ok(())
}
