//! A flow is two entries, one for each direction. Making, promoting and ending them together.
//!
//! The *primary* is the request direction's entry. Its state word is the truth: whoever changes it by
//! compare-and-swap settles the counters of that change, so they are exact whichever CPU saw which packet. The
//! reply entry's state is a copy that spares the established path a second look-up.
//!
//! Making: the reply key first, if absent; then the request key; if that fails, the first is taken back.

use super::parse::TCP;
use super::tables::{InsertError, LoadChange, Table};
use super::{Family, Flows, Seen, Tables, tcp_state};
use crate::abi::{
    ConnState, Flow, FlowFlags, FlowKey, FlowRef, Gauge, HopId, Notice, RealId, Tick,
};
use crate::wire::Addr4;

/// Both entries of a flow and their keys, while they are being made.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Pair<A = Addr4> {
    /// Key of the request direction: the client's packet as it arrives.
    pub request_key: FlowKey<A>,
    /// Key of the reply direction: the real server's packet as it arrives.
    pub reply_key: FlowKey<A>,
    /// The primary.
    pub request: Flow<A>,
    /// The copy.
    pub reply: Flow<A>,
}

impl<A: Family> Pair<A> {
    /// Fills everything that follows from the two keys. The rest of the two rewrites stays.
    #[inline(always)]
    pub fn follow_keys(&mut self) {
        self.request.rewrite.set_tuple(&self.request_key, &self.reply_key);
        self.reply.rewrite.set_tuple(&self.reply_key, &self.request_key);
    }

    /// Fills a pair from one of its entries, found under `key` in a table, and the other direction's hop.
    #[inline(always)]
    pub fn complete_from(&mut self, key: &FlowKey<A>, entry: &FlowRef<'_, A>, other_hop: HopId) {
        let known = entry.rewrite();
        let (mine, mine_key, other, other_key) = if known.is_reply() {
            (&mut self.reply, &mut self.reply_key, &mut self.request, &mut self.request_key)
        } else {
            (&mut self.request, &mut self.request_key, &mut self.reply, &mut self.reply_key)
        };
        *mine_key = *key;
        mine.rewrite = *known;
        *other_key = known.twin();
        other.rewrite = *known;
        other.rewrite.flags = known.flags ^ FlowFlags::REPLY;
        other.rewrite.hop = other_hop;
        other.rewrite.set_tuple(other_key, key);
    }

    /// Gives both entries the same state and stamp.
    #[inline(always)]
    fn set_life(&mut self, state: ConnState, now: Tick) {
        for entry in [&mut self.request, &mut self.reply] {
            entry.state = state as u32;
            entry.stamp = now;
        }
    }

    /// The state a flow of this protocol begins in.
    #[inline(always)]
    fn first_state(&self) -> ConnState {
        let tcp = self.request.rewrite.proto == TCP;
        if tcp { ConnState::SynRecv } else { ConnState::Udp }
    }
}

/// Inserts the reply entry into HALF_OPEN: the claim on the tuple. A tuple that lives in FLOWS is taken too;
/// looking there *after* the insert leaves no gap, for promotion inserts there before it removes here.
#[inline(always)]
pub fn claim_reply<A: Family, T: Flows<A>>(
    tables: &T,
    pair: &mut Pair<A>,
    now: Tick,
) -> Result<(), InsertError> {
    pair.set_life(pair.first_state(), now);
    tables.insert(Table::HalfOpen, &pair.reply_key, &pair.reply)?;
    if tables.flow(&pair.reply_key).is_some() {
        tables.remove(Table::HalfOpen, &pair.reply_key);
        return Err(InsertError::Exists);
    }
    Ok(())
}

/// Inserts the request entry beside a claimed reply entry; on failure the claim is taken back.
#[inline(always)]
pub fn complete<A: Family, T: Flows<A>>(tables: &T, pair: &Pair<A>) -> Result<(), InsertError> {
    let done = tables.insert(Table::HalfOpen, &pair.request_key, &pair.request);
    if done.is_err() {
        tables.remove(Table::HalfOpen, &pair.reply_key);
    }
    done
}

/// Moves a pair from HALF_OPEN to FLOWS, in `state`. On an error nothing has changed; `Exists`: a flood threw our
/// half-open reply entry out, and the tuple is another flow's by now.
#[inline(always)]
pub fn promote<A: Family, T: Flows<A>>(
    tables: &T,
    pair: &mut Pair<A>,
    state: ConnState,
    now: Tick,
) -> Result<(), InsertError> {
    pair.set_life(state, now);
    if let Err(error) = tables.insert(Table::Flows, &pair.reply_key, &pair.reply) {
        return match tables.flow(&pair.reply_key) {
            // Another CPU promotes the same pair at this moment; it will finish.
            Some(there) if there.rewrite().twin() == pair.request_key => Ok(()),
            _ => Err(error),
        };
    }
    if let Err(error) = tables.insert(Table::Flows, &pair.request_key, &pair.request) {
        tables.remove(Table::Flows, &pair.reply_key);
        return Err(error);
    }
    tables.remove(Table::HalfOpen, &pair.request_key);
    tables.remove(Table::HalfOpen, &pair.reply_key);
    tables.add_gauge(Gauge::Flows, 1);
    let active = i32::from(state.is_active());
    let change = LoadChange { active, inactive: 1 - active, half_open: -1 };
    tables.add_load(pair.request.rewrite.real, change);
    tables.notice(Notice::Promoted);
    Ok(())
}

/// What a change of state does to the counts of active and inactive connections.
#[inline(always)]
fn settle<T: Tables>(tables: &T, real: RealId, before: ConnState, after: ConnState) {
    let counts = |state: ConnState| match state {
        ConnState::Dead => (0, 0),
        state if state.is_active() => (1, 0),
        _ => (0, 1),
    };
    let ((was_active, was_inactive), (active, inactive)) = (counts(before), counts(after));
    let change =
        LoadChange { active: active - was_active, inactive: inactive - was_inactive, half_open: 0 };
    if change.active != 0 || change.inactive != 0 {
        tables.add_load(real, change);
    }
}

/// How often a compare-and-swap is tried before the packet goes on without it: the other CPU's change stands.
const SWAPS: u32 = 3;

/// Brings the pair of `entry` (in FLOWS) to the state after a segment. `twin_key`: the other direction's key. A
/// primary that has vanished is left to the daemon's sweep.
#[inline(always)]
pub fn advance<A: Family, T: Flows<A>>(
    tables: &T,
    entry: &FlowRef<'_, A>,
    twin_key: &FlowKey<A>,
    seen: &Seen<A>,
) {
    let rewrite = entry.rewrite();
    let reply = rewrite.is_reply();
    let twin = tables.flow(twin_key);
    let primary = if reply { twin } else { Some(*entry) };
    let copy = if reply { Some(*entry) } else { twin };
    let Some(primary) = primary else { return };
    let mut tries = 0;
    while tries < SWAPS {
        tries += 1;
        let Some(before) = ConnState::from_raw(primary.state()) else { return };
        let after = tcp_state::after(before, seen.tcp, rewrite.flags);
        if before != after {
            if !tables.swap_state(&primary, before as u32, after) {
                continue;
            }
            settle(tables, rewrite.real, before, after);
        }
        if let Some(copy) = copy {
            copy.set_state(after);
        }
        return;
    }
}

/// Ends a pair of FLOWS by its primary: claims it, settles the counters, removes both entries. `false`: another
/// did, or its state moved on meanwhile.
#[inline(always)]
pub fn end<A: Family, T: Flows<A>>(
    tables: &T,
    request_key: &FlowKey<A>,
    reply_key: &FlowKey<A>,
    primary: &FlowRef<'_, A>,
    from: ConnState,
) -> bool {
    if !tables.swap_state(primary, from as u32, ConnState::Dead) {
        return false;
    }
    settle(tables, primary.rewrite().real, from, ConnState::Dead);
    tables.add_gauge(Gauge::Flows, -1);
    tables.remove(Table::Flows, reply_key);
    tables.remove(Table::Flows, request_key);
    true
}
