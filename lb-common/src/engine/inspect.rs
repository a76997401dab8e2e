//! What a packet must not be that would begin a flow: forged, or broken in a way that its receiver would find anyway.
//!
//! Only such packets are looked at so closely. Those of known flows go on as they are: a wrong checksum stays wrong, and
//! whoever it is for finds it.

use super::parse::{IP, L4};
use super::{PacketBytes, Seen, Step, Verdict, fragment};
use crate::abi::DropReason;
use crate::wire::checksum;
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;

/// Says what is wrong with a packet for a virtual server.
#[inline(always)]
pub fn first_packet<P: PacketBytes>(packet: &P, seen: &Seen) -> Step<()> {
    let bad = |reason| Err(Verdict::drop(reason));
    if !seen.key.src.may_be_a_source() {
        return bad(DropReason::MartianSource);
    }
    if seen.key.src == seen.key.dst {
        return bad(DropReason::Land);
    }
    let cut = Verdict::drop(DropReason::TruncatedRewrite);
    let header: &[u8; Ipv4::LEN] = packet.at(IP).ok_or(cut)?;
    if checksum::fold(checksum::sum(header)) != 0xffff {
        return bad(DropReason::BadIpChecksum);
    }
    let carried = usize::from(seen.length) - Ipv4::LEN;
    let whole = !seen.tcp.any(fragment::FIRST);
    if !seen.is_tcp() {
        let length = usize::from(packet.at::<Udp>(L4).ok_or(cut)?.length());
        let fits = length >= Udp::LEN && (length <= carried || !whole);
        return if fits { Ok(()) } else { bad(DropReason::BadUdpLength) };
    }
    let tcp: &Tcp = packet.at(L4).ok_or(cut)?;
    if tcp.header_length() < Tcp::LEN || tcp.header_length() > carried {
        return bad(DropReason::BadTcpHeader);
    }
    if tcp.flags().is_nonsense() { bad(DropReason::BadTcpFlags) } else { Ok(()) }
}
