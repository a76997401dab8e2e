//! Everything but the established path: handshakes, changes of state, the first packet of a flow.
//!
//! HALF_OPEN holds a flow from its first packet until the *client* has spoken twice with the real server's
//! answer between: TCP's third segment, for UDP the answer or the second datagram. A flood of first packets
//! therefore turns over that small table only, even where the real servers answer every SYN. Under DR and in tunnels
//! answers do not come by here, and the client's second segment has to do.

use super::family::place::Place;
use super::icmp::Quote;
use super::pair::{self, Pair};
use super::tables::{InsertError, LoadChange, Table};
use super::{
    Family, Flows, PacketBytes, Seen, Step, Tables, Verdict, admit, fragment, mss, refuse,
    reply_path, rewrite, tcp_state,
};
use crate::abi::{
    ConnState, DropReason, FlowFlags, FlowKey, FlowRef, FragmentKey, Fragmented, HopId, NextHop,
    Notice, ServiceKey, StickyKey, Tags, Tick,
};
use crate::wire::Addr4;
use crate::wire::tcp::TcpFlags;

/// The next hop that a packet may not be able to take.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Blocked {
    /// Which.
    pub hop: HopId,
    /// Bits of `FlowFlags`: of the flow, and in which direction.
    pub flags: u8,
    /// 0.
    pub pad: [u8; 3],
}

impl Blocked {
    /// [`rewrite::way`]; remembers what is in it.
    #[inline(always)]
    pub(super) fn way<'t, A: Family, T: Tables>(
        &mut self,
        tables: &'t T,
        hop: HopId,
        flags: u8,
        seen: &Seen<A>,
    ) -> Step<&'t NextHop> {
        *self = Self { hop, flags, pad: [0; 3] };
        rewrite::way(tables, hop, seen)
    }
}

/// A packet on the slow path and room to work on it. Lives in a per-CPU map: the stack has 512 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Scratch<A = Addr4> {
    /// Where its transport header is.
    pub place: Place,
    /// Its headers.
    pub seen: Seen<A>,
    /// The VLAN tags that were taken off it.
    pub tags: Tags,
    /// The time of its arrival.
    pub now: Tick,
    /// The interface it came in by.
    pub ifindex: u32,
    /// Not 0: the shell shows somebody what becomes of it (`xlb capture`).
    pub shown: u32,
    /// The flow that is being made.
    pub pair: Pair<A>,
    /// What may be in its way.
    pub blocked: Blocked,
    /// Where a first fragment goes.
    pub fragmented: Fragmented<A>,
    /// What it has in common with the other fragments.
    pub fragment: FragmentKey<A>,
    /// What an ICMP error quotes.
    pub quote: Quote<A>,
    /// Key of the other direction of a flow that was found.
    pub twin: FlowKey<A>,
    /// Whom an error of our own is from.
    pub speaker: A,
    /// The way back that is being learned.
    pub hop: NextHop,
    /// The service that was found. Its element in the map may be given to another service under our eyes (a map's
    /// memory is reused at once), so the real server that comes of it must be of this one.
    pub service: ServiceKey,
    /// The client at the service, where the service is persistent.
    pub client: StickyKey,
}

impl<A: Family> Scratch<A> {
    /// Takes up a packet.
    #[inline(always)]
    pub fn begin(&mut self, seen: &Seen<A>, now: Tick, ifindex: u32) {
        self.place = Place::at(A::L4, 0, 0);
        self.seen = *seen;
        self.now = now;
        self.ifindex = ifindex;
    }

    /// Whether the packet, which is of a flow or for a virtual server, must not go on for what was found before its
    /// transport header.
    #[inline(always)]
    pub(super) fn refused(&self) -> Step<()> {
        match DropReason::from_number(self.place.refusal()) {
            Some(reason) => Err(Verdict::drop(reason)),
            None => Ok(()),
        }
    }
}

/// Decides and acts.
#[inline(always)]
pub fn walk<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch<A>,
) -> Verdict {
    if scratch.seen.tcp.any(fragment::LATER) {
        let (Ok(verdict) | Err(verdict)) = fragment::follow(packet, tables, scratch);
        return verdict;
    }
    let gone = decide(packet, tables, scratch)
        .and_then(|found| leave(packet, tables, found.as_ref(), scratch));
    gone.unwrap_or_else(|verdict| refuse::answer(verdict, packet, tables, scratch))
}

/// Sends the packet: the way its entry says, or by the pair in `scratch` that was made for it.
#[inline(always)]
fn leave<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
    found: Option<&FlowRef<'_, A>>,
    scratch: &mut Scratch<A>,
) -> Step<Verdict> {
    let Scratch { pair, seen, blocked, .. } = scratch;
    let rewrite = found.map_or(&pair.request.rewrite, FlowRef::rewrite);
    let hop = blocked.way(tables, rewrite.hop, rewrite.flags, seen)?;
    if let Some(entry) = found {
        entry.touch(scratch.now);
    }
    if scratch.seen.tcp.any(fragment::FIRST) {
        scratch.fragmented.rewrite = *rewrite;
        fragment::remember(packet, tables, scratch);
    }
    let Scratch { pair, seen, place, .. } = scratch;
    let rewrite = found.map_or(&pair.request.rewrite, FlowRef::rewrite);
    mss::clamp(packet, tables, rewrite.real, seen, place.l4());
    Ok(rewrite::send_far(packet, tables, rewrite, hop, seen, place.l4()))
}

/// The entry of the packet's flow; `None`: the pair in `scratch` is its flow, just made.
#[inline(always)]
fn decide<'t, A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &'t T,
    scratch: &mut Scratch<A>,
) -> Step<Option<FlowRef<'t, A>>> {
    if let Some(entry) = tables.flow(&scratch.seen.key) {
        scratch.refused()?;
        reply_path::believe(tables, entry.rewrite(), scratch.ifindex)?;
        let seen = &scratch.seen;
        scratch.twin = entry.rewrite().twin();
        match ConnState::from_raw(entry.state()) {
            None => return Err(Verdict::drop(DropReason::BadMapValue)),
            Some(ConnState::Dead) => {}
            Some(state) if opens_again(&entry, seen, state) => {
                pair::end(tables, &seen.key, &scratch.twin, &entry, state);
            }
            Some(_) => {
                pair::advance(tables, &entry, &scratch.twin, seen);
                return Ok(Some(entry));
            }
        }
    } else if let Some(entry) = tables.half_open(&scratch.seen.key) {
        scratch.refused()?;
        reply_path::believe(tables, entry.rewrite(), scratch.ifindex)?;
        scratch.twin = entry.rewrite().twin();
        let state = ConnState::from_raw(entry.state()).unwrap_or(ConnState::None);
        if opens_again(&entry, &scratch.seen, state) {
            tables.remove(Table::HalfOpen, &scratch.twin);
            forget(tables, &entry, scratch);
        } else {
            let known = if entry.rewrite().is_reply() {
                answered(tables, &entry, scratch)?
            } else {
                asked_again(packet, tables, &entry, scratch)?
            };
            if known {
                return Ok(Some(entry));
            }
            forget(tables, &entry, scratch);
        }
    }
    admit::new_flow(packet, tables, scratch)
}

/// Whether a packet on a known tuple is a new connection of the client's.
#[inline(always)]
fn opens_again<A: Family>(entry: &FlowRef<'_, A>, seen: &Seen<A>, state: ConnState) -> bool {
    seen.tcp.opens() && !entry.rewrite().is_reply() && tcp_state::may_be_reused(state)
}

/// Removes a half-open flow's request entry.
#[inline(always)]
fn forget<A: Family, T: Flows<A>>(tables: &T, entry: &FlowRef<'_, A>, scratch: &Scratch<A>) {
    let real = entry.rewrite().real;
    if tables.remove(Table::HalfOpen, &scratch.seen.key) {
        tables.add_load(real, LoadChange { active: 0, inactive: 0, half_open: -1 });
    }
}

/// The real server speaks on a half-open flow. Always `true`: the flow is good.
#[inline(always)]
fn answered<A: Family, T: Flows<A>>(
    tables: &T,
    entry: &FlowRef<'_, A>,
    scratch: &mut Scratch<A>,
) -> Step<bool> {
    let (flags, reply) = (scratch.seen.tcp, entry.rewrite());
    if !scratch.seen.is_tcp() {
        scratch.pair.complete_from(&scratch.seen.key, entry, reply.real.hop());
        return establish(tables, scratch, ConnState::Udp);
    }
    let state = if flags.any(TcpFlags::RST) {
        ConnState::Close
    } else if flags.any(TcpFlags::SYN) {
        ConnState::SynAck
    } else {
        return Ok(true);
    };
    entry.set_state(state);
    if let Some(twin) = tables.half_open(&scratch.twin) {
        twin.set_state(state);
        twin.touch(scratch.now);
    }
    Ok(true)
}

/// The client speaks again on a half-open flow. `false`: a flood took the reply half, and its tuple is another
/// flow's by now; the client has to start over.
#[inline(always)]
fn asked_again<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &P,
    tables: &T,
    entry: &FlowRef<'_, A>,
    scratch: &mut Scratch<A>,
) -> Step<bool> {
    let (flags, direct) = (scratch.seen.tcp, entry.rewrite().flags & FlowFlags::DIRECT != 0);
    let third = (direct || entry.state() == ConnState::SynAck as u32)
        && flags.any(TcpFlags::ACK)
        && !flags.any(TcpFlags::SYN | TcpFlags::RST);
    let twin = tables.half_open(&scratch.twin);
    if scratch.seen.is_tcp() && !third && twin.is_some() {
        return Ok(true);
    }
    let hop = match twin {
        Some(twin) => twin.rewrite().hop,
        None => admit::client_hop(packet, tables, scratch)?,
    };
    scratch.pair.complete_from(&scratch.seen.key, entry, hop);
    if !scratch.seen.is_tcp() {
        return establish(tables, scratch, ConnState::Udp);
    }
    if third {
        let known = entry.rewrite().flags;
        return establish(tables, scratch, tcp_state::after(ConnState::Established, flags, known));
    }
    // The client's retransmission brings back what the flood took.
    let repaired = pair::claim_reply(tables, &mut scratch.pair, scratch.now).is_ok();
    if repaired {
        tables.notice(Notice::Repaired);
    }
    Ok(repaired)
}

#[inline(always)]
fn establish<A: Family, T: Flows<A>>(
    tables: &T,
    scratch: &mut Scratch<A>,
    state: ConnState,
) -> Step<bool> {
    let done = pair::promote(tables, &mut scratch.pair, state, scratch.now);
    done.map(|()| true).map_err(|error| match error {
        InsertError::Exists => Verdict::drop(DropReason::TupleClash),
        InsertError::Full => Verdict::drop(DropReason::FlowTableFull),
    })
}
