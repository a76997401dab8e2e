//! One sweep over the tables: what has outlived its timeout goes.
//!
//! Flows are judged and ended by a program in the kernel, which sees both directions and settles the counters;
//! here only candidates are found. Templates and learned next hops are removed from here.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::{
    Config, ConnState, Flow, FlowFlags, FlowKey, Gauge, RealId, ServiceId, StickyKey, Tick, limits,
    program,
};
use lb_common::engine::expire;
use lb_common::wire::{Addr4, Addr6, Address};

use super::clock::Clock;
use super::hops::LearnedHops;
use super::loads::HalfOpenLoads;
use super::maps::{Family, FamilyMaps, Maps};
use super::table::{Table, TableError};
use super::{sys, test_run};

/// Every so many sweeps the rare cases are looked at too: reply entries that lost their primary, which neither
/// GAUGES nor the primaries tell of.
const THOROUGH: u32 = 16;

/// What a sweep saw and did.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Connections in the flow tables before anything was removed.
    pub flows: u32,
    /// Half-open connections that remain.
    pub half_open: u32,
    /// Templates that remain.
    pub templates: u32,
    /// Connections removed.
    pub expired: u32,
    /// Half-open connections removed.
    pub expired_half_open: u32,
    /// Templates removed.
    pub expired_templates: u32,
    /// Learned next hops freed.
    pub freed_hops: u32,
    /// Connections of each real server, half-open ones not counted. A removed real without any may be forgotten.
    pub per_real: HashMap<RealId, u32>,
    /// Full-NAT connections for each index in LOCALS.
    pub locals_used: HashMap<u32, u32>,
    /// Next hops that a flow refers to.
    pub hops_used: HashSet<u32>,
    /// How long it took.
    pub took: Duration,
}

/// The programs that judge.
#[derive(Clone)]
pub(super) struct Expire {
    pub(super) ipv4: Arc<OwnedFd>,
    pub(super) ipv6: Arc<OwnedFd>,
}

/// Sweeps the tables; remembers what it saw the last time. Runs on a thread where it may block.
pub struct Reaper {
    maps: Maps,
    clock: Clock,
    expire: Expire,
    hops: LearnedHops,
    loads: HalfOpenLoads,
    sweeps: u32,
}

impl Reaper {
    pub(super) fn new(maps: Maps, clock: Clock, expire: Expire) -> Self {
        let (hops, loads) = (LearnedHops::default(), HalfOpenLoads::default());
        Self { maps, clock, expire, hops, loads, sweeps: 1 }
    }

    /// One sweep.
    pub fn sweep(&mut self) -> Result<SweepReport, TableError> {
        let start = sys::monotonic();
        let config = self.maps.config()?;
        let now = self.clock.now_tick().map_err(|cause| failed(program::CLOCK, cause))?;
        let mut report = SweepReport::default();
        let thorough = self.sweeps.is_multiple_of(THOROUGH);
        self.sweeps = self.sweeps.wrapping_add(1);
        if thorough || self.maps.gauge(Gauge::Flows)? > 0 {
            self.ipv4().flows(&config, now, thorough, &mut report)?;
            self.ipv6().flows(&config, now, thorough, &mut report)?;
        }
        let mut half_open = HashMap::new();
        self.ipv4().half_open(&config, now, &mut half_open, &mut report)?;
        self.ipv6().half_open(&config, now, &mut half_open, &mut report)?;
        report.half_open = half_open.values().sum();
        self.loads.correct(&self.maps, &half_open)?;
        self.sweep_templates(now, &mut report)?;
        report.freed_hops = self.hops.sweep(&self.maps, &report.hops_used)?;
        report.took = sys::monotonic().saturating_sub(start);
        Ok(report)
    }

    fn ipv4(&self) -> FamilySweep<'_, Addr4> {
        FamilySweep { maps: &self.maps.ipv4, program: self.expire.ipv4.as_fd() }
    }

    fn ipv6(&self) -> FamilySweep<'_, Addr6> {
        FamilySweep { maps: &self.maps.ipv6, program: self.expire.ipv6.as_fd() }
    }

    /// Removes templates that no connection was made by for the service's persistence time.
    fn sweep_templates(&self, now: Tick, report: &mut SweepReport) -> Result<(), TableError> {
        let mut lives: HashMap<ServiceId, u32> = HashMap::new();
        self.maps.services.for_each(|_, service| {
            // Services of one id differ in nothing that matters here.
            lives.insert(service.id, service.sticky_ticks);
        })?;
        let expired = |key: &StickyKey, stamp: Tick| {
            lives.get(&key.service).is_none_or(|&life| now.since(stamp) >= life)
        };
        let mut old = Vec::new();
        self.maps.sticky.for_each(|key, sticky| {
            if expired(key, sticky.stamp) {
                old.push(*key);
            } else {
                report.templates += 1;
            }
        })?;
        for key in old {
            // A connection may have been made by it since the walk.
            let Some(sticky) = self.maps.sticky.get(&key)? else { continue };
            if expired(&key, sticky.stamp) {
                report.expired_templates += u32::from(self.maps.sticky.remove(&key)?);
            } else {
                report.templates += 1;
            }
        }
        Ok(())
    }
}

/// The sweep over the tables of one family.
struct FamilySweep<'a, A: Family> {
    maps: &'a FamilyMaps<A>,
    program: BorrowedFd<'a>,
}

impl<A: Family> FamilySweep<'_, A> {
    /// Hands every connection that looks expired to the program. C-68
    fn flows(
        &self,
        config: &Config,
        now: Tick,
        orphans: bool,
        report: &mut SweepReport,
    ) -> Result<(), TableError> {
        let mut batch = ExpireBatch::new(self.program);
        let mut outcome = Ok(());
        self.maps.flows.walk(|key, flow| {
            count(flow, report);
            if is_over(config, flow, now) {
                outcome = match flow.rewrite.is_reply() {
                    false => batch.push(*key),
                    true if orphans => is_there(&self.maps.flows, &flow.rewrite.twin())
                        .and_then(|paired| if paired { Ok(()) } else { batch.push(*key) }),
                    true => Ok(()),
                };
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome?;
        report.expired += batch.finish()?;
        Ok(())
    }

    /// The same for half-open flows; adds to `remaining` how many do of each real server.
    fn half_open(
        &self,
        config: &Config,
        now: Tick,
        remaining: &mut HashMap<RealId, u32>,
        report: &mut SweepReport,
    ) -> Result<(), TableError> {
        let table = &self.maps.half_open;
        let mut old = Vec::new();
        table.for_each(|key, flow| {
            report.hops_used.insert(flow.rewrite.hop.0);
            if is_over(config, flow, now) {
                old.push((*key, flow.rewrite.real, flow.rewrite.is_reply()));
            } else if !flow.rewrite.is_reply() {
                *remaining.entry(flow.rewrite.real).or_default() += 1;
            }
        })?;
        let mut batch = ExpireBatch::new(self.program);
        for (key, ..) in &old {
            batch.push(*key)?;
        }
        report.expired_half_open += batch.finish()?;
        for (key, real, reply) in old {
            // Kept alive by its other direction.
            if !reply && is_there(table, &key)? {
                *remaining.entry(real).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Takes an entry of a flow table into the report's sums.
fn count<A: Address>(flow: &Flow<A>, report: &mut SweepReport) {
    let rewrite = &flow.rewrite;
    report.hops_used.insert(rewrite.hop.0);
    if rewrite.is_reply() {
        return;
    }
    report.flows += 1;
    *report.per_real.entry(rewrite.real).or_default() += 1;
    if rewrite.flags & FlowFlags::FULL_NAT != 0 {
        *report.locals_used.entry(rewrite.local).or_default() += 1;
    }
}

/// Whether an entry looks expired, its twin aside: the program's own rule. Unknown states are the program's to judge.
fn is_over<A>(config: &Config, flow: &Flow<A>, now: Tick) -> bool {
    let state = flow.conn_state().map_or(ConnState::Dead, expire::listed);
    expire::is_over(config, state, flow.stamp, now)
}

fn is_there<A: Address>(
    table: &Table<FlowKey<A>, Flow<A>>,
    key: &FlowKey<A>,
) -> Result<bool, TableError> {
    table.get(key).map(|entry| entry.is_some())
}

/// Keys on their way to the expiry program: its packet is an array of them.
struct ExpireBatch<'a, A> {
    program: BorrowedFd<'a>,
    keys: [FlowKey<A>; limits::EXPIRE_BATCH as usize],
    filled: usize,
    /// Connections that the program ended.
    ended: u32,
}

impl<'a, A: Address> ExpireBatch<'a, A> {
    fn new(program: BorrowedFd<'a>) -> Self {
        let keys = [FlowKey::default(); limits::EXPIRE_BATCH as usize];
        Self { program, keys, filled: 0, ended: 0 }
    }

    fn push(&mut self, key: FlowKey<A>) -> Result<(), TableError> {
        self.keys[self.filled] = key;
        self.filled += 1;
        if self.filled == self.keys.len() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TableError> {
        if self.filled == 0 {
            return Ok(());
        }
        // Zero is no tuple that a packet has: it ends the list.
        self.keys[self.filled..].fill(FlowKey::default());
        self.ended += test_run::run(self.program, bytemuck::cast_slice(&self.keys), &mut [])
            .map_err(|cause| failed(program::EXPIRE, cause))?;
        self.filled = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<u32, TableError> {
        self.flush()?;
        Ok(self.ended)
    }
}

fn failed(program: &'static str, cause: io::Error) -> TableError {
    TableError { map: program, action: "run", cause }
}

const _: () = assert!(size_of::<FlowKey>() * limits::EXPIRE_BATCH as usize >= 14);
