//! Ethernet, IPv4, TCP, UDP and ICMP headers to a [`Seen`]. What this version leaves to the kernel says why.

use super::{PacketBytes, Step, Verdict, fragment};
use crate::abi::{FlowKey, PassReason};
use crate::wire::Port;
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::{Tcp, TcpFlags};
use crate::wire::udp::Udp;

/// Where the IPv4 header starts.
pub const IP: usize = Ethernet::LEN;
/// Where TCP or UDP starts, behind an IPv4 header without options.
pub const L4: usize = IP + Ipv4::LEN;

/// What the engine needs to know of a packet.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    /// The tuple as it arrived.
    pub key: FlowKey,
    /// Bytes of the IP packet, padding not counted.
    pub length: u16,
    /// Time to live as it arrived.
    pub ttl: u8,
    /// TCP's flags as far as they are of a state, none with UDP; and the marks of [`fragment`].
    pub tcp: TcpFlags,
}

impl Seen {
    /// Whether the packet is ICMP.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.key.proto == Ipv4::ICMP
    }

    /// Whether the packet is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.key.proto == Ipv4::TCP
    }
}

/// What the headers say, or why the packet is none of ours.
///
/// By value: it is put together in registers and stored once. A `Seen` that begins as zeros costs the established path
/// a call of `memset`, which on this target writes byte by byte.
#[inline(always)]
pub fn headers<P: PacketBytes>(packet: &P) -> Step<Seen> {
    let truncated = Verdict::pass(PassReason::Truncated);
    let eth: &Ethernet = packet.at(0).ok_or(truncated)?;
    if eth.ether_type() != Ethernet::IPV4 {
        return Err(Verdict::pass(PassReason::NotIpv4));
    }
    if eth.dst().is_group() {
        return Err(Verdict::pass(PassReason::GroupFrame));
    }
    let ip: &Ipv4 = packet.at(IP).ok_or(truncated)?;
    if ip.version_and_length() != 0x45 {
        let good = ip.version_and_length() > 0x45 && ip.version_and_length() <= 0x4f;
        let reason = if good { PassReason::IpOptions } else { PassReason::BadIpv4 };
        return Err(Verdict::pass(reason));
    }
    let piece = fragment::mark(ip);
    let length = ip.total_length();
    if IP + usize::from(length) > packet.len() {
        return Err(Verdict::pass(PassReason::BadIpv4));
    }
    let carries = |least: usize| usize::from(length) >= Ipv4::LEN + least;
    let (sport, dport, flags) = match ip.protocol() {
        // Ports are in the first fragment alone. No flow has such a tuple, and the mark keeps it off the fast path.
        Ipv4::TCP | Ipv4::UDP if piece == fragment::LATER && carries(1) => {
            (Port::ZERO, Port::ZERO, 0)
        }
        Ipv4::TCP if carries(Tcp::LEN) => {
            let tcp: &Tcp = packet.at(L4).ok_or(truncated)?;
            (tcp.src(), tcp.dst(), tcp.flags().0 & TcpFlags::OF_STATE)
        }
        Ipv4::UDP if carries(Udp::LEN) => {
            let udp: &Udp = packet.at(L4).ok_or(truncated)?;
            (udp.src(), udp.dst(), 0)
        }
        // No ports, so no flow has such a tuple. Errors are never fragmented.
        Ipv4::ICMP if carries(IcmpError::LEN) && piece == 0 => (Port::ZERO, Port::ZERO, 0),
        Ipv4::TCP | Ipv4::UDP if piece == fragment::FIRST && carries(0) => {
            return Err(Verdict::pass(PassReason::TinyFragment));
        }
        Ipv4::ICMP if piece != 0 => return Err(Verdict::pass(PassReason::Fragment)),
        Ipv4::TCP | Ipv4::UDP | Ipv4::ICMP => return Err(Verdict::pass(PassReason::BadIpv4)),
        _ => return Err(Verdict::pass(PassReason::NotTcpUdp)),
    };
    let (src, dst, proto) = (ip.src(), ip.dst(), ip.protocol());
    Ok(Seen {
        key: FlowKey { src, dst, sport, dport, proto, zone: 0, pad: [0; 2] },
        length,
        ttl: ip.ttl(),
        tcp: TcpFlags(flags | piece),
    })
}
