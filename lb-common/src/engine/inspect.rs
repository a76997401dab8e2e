//! What a packet must not be that would begin a flow: forged, or broken in a way that its receiver would find anyway.
//!
//! Only such packets are looked at so closely. Those of known flows go on as they are: a wrong checksum stays wrong, and
//! whoever it is for finds it.

use super::parse::IP;
use super::slow::Scratch;
use super::{Family, PacketBytes, Step, Verdict, fragment};
use crate::abi::DropReason;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;

/// Says what is wrong with a packet for a virtual server.
#[inline(always)]
pub fn first_packet<A: Family, P: PacketBytes>(packet: &P, scratch: &Scratch<A>) -> Step<()> {
    let (seen, l4) = (&scratch.seen, scratch.place.l4());
    let bad = |reason| Err(Verdict::drop(reason));
    if !seen.key.src.may_be_a_source() {
        return bad(DropReason::MartianSource);
    }
    if seen.key.src == seen.key.dst {
        return bad(DropReason::Land);
    }
    let cut = Verdict::drop(DropReason::TruncatedRewrite);
    if !A::is_intact(packet, l4).ok_or(cut)? {
        return bad(DropReason::BadIpChecksum);
    }
    let carried = usize::from(seen.length).saturating_sub(l4 - IP);
    let whole = !seen.tcp.any(fragment::FIRST);
    if !seen.is_tcp() {
        let udp: &Udp = packet.far(l4).ok_or(cut)?;
        let length = usize::from(udp.length());
        if length < Udp::LEN || length > carried && whole {
            return bad(DropReason::BadUdpLength);
        }
        let unchecked = A::MUST_CHECK_UDP && !udp.has_checksum();
        return if unchecked { bad(DropReason::NoUdpChecksum) } else { Ok(()) };
    }
    let tcp: &Tcp = packet.far(l4).ok_or(cut)?;
    if tcp.header_length() < Tcp::LEN || tcp.header_length() > carried {
        return bad(DropReason::BadTcpHeader);
    }
    if tcp.flags().is_nonsense() { bad(DropReason::BadTcpFlags) } else { Ok(()) }
}
