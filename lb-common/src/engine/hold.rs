//! A packet whose next hop has no link-layer address yet is not lost: the daemon holds it, as a router's neighbour queue
//! would (RFC 1122, 2.3.2.2), and sends it through the program again when the neighbour answers.
//!
//! Decided before a byte is written, and before a new flow is recorded: nothing but the scheduler's turn is spent on it. A
//! known flow's state has moved as the packet says, and moves no further when it comes back.

use super::slow::Scratch;
use super::{Family, PacketBytes, Tables, Verdict};
use crate::abi::{Budget, DropReason, HeldHead, limits};

/// The verdict on a packet that is to be dropped: held if its next hop lacks only the address, and there is room for
/// it, else what it was.
#[inline(always)]
pub fn or<A: Family, P: PacketBytes, T: Tables>(
    verdict: Verdict,
    packet: &P,
    tables: &T,
    scratch: &Scratch<A>,
) -> Verdict {
    let (len, hop) = (packet.len() as u32, scratch.blocked.hop);
    // Ways back to clients are learned from their frames: nobody could be asked for a missing one.
    let waits = verdict == Verdict::drop(DropReason::NoNeighbour) && hop.0 < limits::REALS;
    if !waits || len > limits::HELD_FRAME || !tables.take(Budget::Held, scratch.now) {
        return verdict;
    }
    let head = HeldHead { hop, ifindex: scratch.ifindex, len, pad: 0 };
    if packet.hand_over(&head) { Verdict::held() } else { verdict }
}
