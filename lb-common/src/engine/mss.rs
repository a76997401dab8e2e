//! The MSS clamp: what an end of a connection says it can take in one segment is lowered to what the service is set to.
//!
//! The option stands in a SYN and its answer alone (RFC 9293, 3.7.1), so nothing but the slow path looks. It is never raised
//! and never added: an end that says nothing is sent 536 bytes, or 1,220 with IPv6.

use super::parse::IP;
use super::{Family, PacketBytes, Seen, Tables, icmp, sum};
use crate::abi::RealId;
use crate::wire::checksum::{self, Delta};
use crate::wire::tcp::{Tcp, TcpFlags, option};

/// Options that fit into a header: each is a byte at least.
const MOST_OPTIONS: u32 = 40;

/// Lowers what a handshake's segment says, whose TCP header starts at `l4`, to what its real server is set to.
#[inline(always)]
pub(super) fn clamp<A: Family, P: PacketBytes, T: Tables>(
    packet: &mut P,
    tables: &T,
    real: RealId,
    seen: &Seen<A>,
    l4: usize,
) {
    if !seen.tcp.any(TcpFlags::SYN) {
        return;
    }
    let most = tables.real(real).map_or(0, |real| real.mss);
    if most == 0 {
        return;
    }
    let at = packet.mss_place(l4);
    // What a real server sends was not inspected: its header may say that it is longer than the packet.
    if at == 0 || at + 2 > IP + usize::from(seen.length) {
        return;
    }
    let Some(&old) = packet.far::<[u8; 2]>(at) else { return };
    if u16::from_be_bytes(old) > most {
        packet.replace_in_tcp(l4, at, old, most.to_be_bytes());
    }
}

/// Where the value of the MSS option lies in a segment whose header starts at `l4`; 0: it has none, or one before it
/// is broken.
#[inline(always)]
pub fn find<P: PacketBytes + ?Sized>(packet: &P, l4: usize) -> usize {
    let header = packet.far::<Tcp>(l4).map_or(0, Tcp::header_length);
    let (mut at, mut options) = (Tcp::LEN, 0);
    // Counted as well, for verifiers up to kernel 6.1.
    while options < MOST_OPTIONS && at < header {
        options += 1;
        let Some([kind]) = packet.far::<[u8; 1]>(l4 + at) else { return 0 };
        match *kind {
            option::END => return 0,
            option::NO_OPERATION => {
                at = sum::hidden(at + 1);
                continue;
            }
            _ => {}
        }
        let length = packet.far::<[u8; 2]>(l4 + at).map_or(0, |option| usize::from(option[1]));
        if length < 2 || at + length > header {
            return 0;
        }
        if *kind == option::MSS {
            return if length == option::MSS_LENGTH { l4 + at + 2 } else { 0 };
        }
        at = sum::hidden(at + length);
    }
    0
}

/// What other bytes at `at` do to the sum of the segment that starts at `l4`. At an odd place they are halves of two words,
/// which count as those of one do the other way round (RFC 1071, section 2 (B)).
#[inline(always)]
pub fn delta(l4: usize, at: usize, old: [u8; 2], new: [u8; 2]) -> u16 {
    let turned = |[a, b]: [u8; 2]| if (at - l4) & 1 == 0 { [a, b] } else { [b, a] };
    Delta::new().word(turned(old), turned(new)).finish()
}

/// [`PacketBytes::replace_in_tcp`] where the checksum in the frame is whole. `None`: the frame ends before.
#[inline(always)]
pub(super) fn replace_in_place<P: PacketBytes + ?Sized>(
    packet: &mut P,
    l4: usize,
    at: usize,
    old: [u8; 2],
    new: [u8; 2],
) -> Option<()> {
    packet.far::<[u8; 2]>(at)?;
    let check = packet.far_mut::<[u8; 2]>(l4 + icmp::TCP_CHECK)?;
    *check = checksum::update(*check, delta(l4, at, old, new));
    *packet.far_mut::<[u8; 2]>(at)? = new;
    Some(())
}
