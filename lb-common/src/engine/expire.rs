//! Ageing. The daemon walks the tables and hands over the keys of entries that look old; here each is judged
//! again, with both directions in view, and ended as the data path itself would end it, so counters stay exact.

use super::pair;
use super::tables::{LoadChange, Table};
use super::{Family, Flows, PacketBytes};
use crate::abi::{Config, ConnState, FlowKey, FlowRef, Tick, limits};

/// Whether an entry last seen at `stamp` in `state` has outlived its timeout. The daemon's filter and the
/// program's judgement are this one function.
#[inline(always)]
pub fn is_over(config: &Config, state: ConnState, stamp: Tick, now: Tick) -> bool {
    now.since(stamp) > config.timeouts.of(state)
}

/// Judges the keys that lie packed in `packet` (an all-zero key ends the list). Returns how many flows ended.
#[inline(always)]
pub fn run<A: Family, P: PacketBytes, T: Flows<A>>(packet: &P, tables: &T) -> u32 {
    let now = tables.now();
    let Some(config) = tables.config() else { return 0 };
    let (mut ended, mut at) = (0, 0);
    while at < limits::EXPIRE_BATCH as usize {
        let Some(key) = A::key(packet, at) else { break };
        if key.proto == 0 {
            break;
        }
        ended += u32::from(judge(tables, config, &key, now));
        at += 1;
    }
    ended
}

/// One key, in whichever table it is.
#[inline(always)]
fn judge<A: Family, T: Flows<A>>(tables: &T, config: &Config, key: &FlowKey<A>, now: Tick) -> bool {
    if let Some(entry) = tables.flow(key) {
        return judge_flow(tables, config, key, &entry, now);
    }
    let Some(entry) = tables.half_open(key) else { return false };
    let rewrite = entry.rewrite();
    let twin = rewrite.twin();
    let stamp = later(entry.stamp(), tables.half_open(&twin).map(|other| other.stamp()));
    let Some(state) = ConnState::from_raw(entry.state()) else { return false };
    if !is_over(config, listed(state), stamp, now) {
        return false;
    }
    let (real, reply) = (rewrite.real, rewrite.is_reply());
    let (request_key, reply_key) = if reply { (&twin, key) } else { (key, &twin) };
    tables.remove(Table::HalfOpen, reply_key);
    if tables.remove(Table::HalfOpen, request_key) {
        tables.add_load(real, LoadChange { active: 0, inactive: 0, half_open: -1 });
        return true;
    }
    false
}

#[inline(always)]
fn judge_flow<A: Family, T: Flows<A>>(
    tables: &T,
    config: &Config,
    key: &FlowKey<A>,
    entry: &FlowRef<'_, A>,
    now: Tick,
) -> bool {
    let rewrite = entry.rewrite();
    let twin_key = rewrite.twin();
    let twin = tables.flow(&twin_key);
    let reply = rewrite.is_reply();
    let (request_key, reply_key) = if reply { (&twin_key, key) } else { (key, &twin_key) };
    let primary = if reply { twin } else { Some(*entry) };
    let Some(primary) = primary else {
        // A reply entry whose primary is gone serves nobody.
        tables.remove(Table::Flows, key);
        return false;
    };
    let Some(state) = ConnState::from_raw(primary.state()) else { return false };
    if matches!(state, ConnState::Dead) {
        // Whoever claimed it is about to remove it, and has settled its counters.
        return false;
    }
    let stamp = later(entry.stamp(), twin.map(|other| other.stamp()));
    if is_over(config, state, stamp, now) {
        return pair::end(tables, request_key, reply_key, &primary, state);
    }
    // The other direction is alive: this entry is as young as it, and need not be looked at again so soon.
    entry.touch(stamp);
    false
}

/// The later of two stamps.
#[inline(always)]
fn later(one: Tick, other: Option<Tick>) -> Tick {
    match other {
        Some(other) if other.since(one) > 0 => other,
        _ => one,
    }
}

/// Half-open flows that were answered are still in SYN_RECV to IPVS's users.
#[inline(always)]
pub fn listed(state: ConnState) -> ConnState {
    if matches!(state, ConnState::SynAck) { ConnState::SynRecv } else { state }
}
