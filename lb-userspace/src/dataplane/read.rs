//! What runs through the tables: counters summed over CPUs, loads, connections.
//!
//! A handle that is cheap to clone and usable on any thread, also in a process that only finds the pins.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use lb_common::abi::{
    Config, Flow, FlowKey, Gauge, Load, REASON_SLOTS, Real, RealCounters, RealId, ServiceKey,
    Sticky, StickyKey, Tick,
};
use lb_common::wire::{Addr6, Address};

use super::bpf::Capacity;
use super::clock::{self, Clock};
use super::error::LoadError;
use super::maps::Maps;
use super::pins::Pins;
use super::shape;
use super::table::{PerCpu, Table, TableError};

/// Reads the tables of an instance.
#[derive(Clone)]
pub struct Reader {
    maps: Maps,
    clock: Clock,
}

/// A connection: a primary entry and its twin, of either family.
#[derive(Clone, Copy, Debug)]
pub struct ConnRow {
    /// The client's tuple towards the virtual server.
    pub key: FlowKey<Addr6>,
    pub flow: Flow<Addr6>,
    /// The other direction; absent where the pair has lost it.
    pub twin: Option<Flow<Addr6>>,
    /// Whether the real server has not answered yet.
    pub half_open: bool,
    /// How long it lives without another packet.
    pub remaining: Duration,
}

/// A persistence template.
#[derive(Clone, Copy, Debug)]
pub struct TemplateRow {
    pub key: StickyKey,
    pub sticky: Sticky,
    /// The service; absent where it was removed.
    pub service: Option<ServiceKey>,
    pub remaining: Duration,
}

/// Connections of a real server now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealLoad {
    /// What IPVS counts as active.
    pub active: u32,
    /// Half-open ones apart.
    pub inactive: u32,
    pub half_open: u32,
}

impl Reader {
    pub(super) fn new(maps: Maps, clock: Clock) -> Self {
        Self { maps, clock }
    }

    /// Opens the pins of an instance that another process runs.
    pub fn open(pin_dir: &Path) -> Result<Self, LoadError> {
        let maps = Maps::open(pin_dir)?;
        let path = Pins::new(pin_dir).progs().join("clock");
        let program = shape::open_if_there(&path)?
            .ok_or_else(|| LoadError::file("open", &path)(std::io::ErrorKind::NotFound.into()))?;
        let config = maps.config()?;
        let clock =
            Clock::of_config(program, &config).map_err(|cause| LoadError::Clock { cause })?;
        Ok(Self { maps, clock })
    }

    pub(super) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// CONFIG.
    pub fn config(&self) -> Result<Config, TableError> {
        self.maps.config()
    }

    /// What the tables can hold.
    pub fn capacity(&self) -> Capacity {
        self.maps.capacity()
    }

    /// The programs' clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Counters of real servers, summed over the CPUs, in the order asked for.
    pub fn real_counters(&self, reals: &[RealId]) -> Result<Vec<RealCounters>, TableError> {
        reals.iter().map(|real| sum_counters(&self.maps.real_counters, real.0)).collect()
    }

    /// What removed real servers of a service had counted.
    pub fn retired_counters(&self, service: &ServiceKey) -> Result<RealCounters, TableError> {
        Ok(self.maps.retired.get(service)?.unwrap_or_default().sum)
    }

    /// Packets for each entry of REASONS.
    pub fn reasons(&self) -> Result<[u64; REASON_SLOTS as usize], TableError> {
        let mut sums = [0; REASON_SLOTS as usize];
        for (index, sum) in (0..REASON_SLOTS).zip(&mut sums) {
            *sum = self.maps.reasons.get(index)?.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
        }
        Ok(sums)
    }

    /// Connections of real servers now, in the order asked for.
    pub fn loads(&self, reals: &[RealId]) -> Result<Vec<RealLoad>, TableError> {
        reals
            .iter()
            .map(|real| {
                let Load { active, inactive } = self.maps.loads.get(&real.0)?.unwrap_or_default();
                let half_open = self.maps.half_loads.get(&real.0)?.unwrap_or(0);
                // Below zero between the sweep's correction and a promotion that had counted already.
                let half_open = if half_open > i32::MAX as u32 { 0 } else { half_open };
                Ok(RealLoad { active, inactive, half_open })
            })
            .collect()
    }

    /// An element of REALS.
    pub fn real(&self, id: RealId) -> Result<Option<Real>, TableError> {
        self.maps.reals.get(&id.0)
    }

    /// Connections in the flow tables now, by the program's own count.
    pub fn flows(&self) -> Result<u32, TableError> {
        self.maps.gauge(Gauge::Flows)
    }

    /// Calls `visit` for each connection until it breaks, half-open ones last.
    pub fn conns(
        &self,
        mut visit: impl FnMut(ConnRow) -> ControlFlow<()>,
    ) -> Result<(), TableError> {
        let at = (self.maps.config()?, self.now()?);
        let Maps { ipv4, ipv6, .. } = &self.maps;
        let _ = walk_conns(&ipv4.flows, false, &at, &mut visit)?.is_continue()
            && walk_conns(&ipv6.flows, false, &at, &mut visit)?.is_continue()
            && walk_conns(&ipv4.half_open, true, &at, &mut visit)?.is_continue()
            && walk_conns(&ipv6.half_open, true, &at, &mut visit)?.is_continue();
        Ok(())
    }

    /// Calls `visit` for each persistence template until it breaks.
    pub fn templates(
        &self,
        mut visit: impl FnMut(TemplateRow) -> ControlFlow<()>,
    ) -> Result<(), TableError> {
        let (config, now) = (self.maps.config()?, self.now()?);
        let mut services = HashMap::new();
        self.maps.services.for_each(|key, service| {
            services.insert(service.id, (*key, service.sticky_ticks));
        })?;
        self.maps.sticky.walk(|key, sticky| {
            let service = services.get(&key.service);
            let ticks =
                service.map_or(0, |&(_, life)| life.saturating_sub(now.since(sticky.stamp)));
            visit(TemplateRow {
                key: *key,
                sticky: *sticky,
                service: service.map(|&(key, _)| key),
                remaining: clock::span(ticks, &config),
            })
        })
    }

    /// Templates there are; a walk.
    pub fn count_templates(&self) -> Result<u32, TableError> {
        count(&self.maps.sticky)
    }

    /// Fragmented packets that are remembered; a walk.
    pub fn count_fragments(&self) -> Result<u32, TableError> {
        Ok(count(&self.maps.ipv4.fragments)? + count(&self.maps.ipv6.fragments)?)
    }

    /// Half-open flows there are; a walk.
    pub fn count_half_open(&self) -> Result<u32, TableError> {
        let Maps { ipv4, ipv6, .. } = &self.maps;
        let mut primaries = 0;
        ipv4.half_open.for_each(|_, flow| primaries += u32::from(!flow.rewrite.is_reply()))?;
        ipv6.half_open.for_each(|_, flow| primaries += u32::from(!flow.rewrite.is_reply()))?;
        Ok(primaries)
    }

    pub(super) fn now(&self) -> Result<Tick, TableError> {
        self.clock.now_tick().map_err(|cause| TableError {
            map: lb_common::abi::program::CLOCK,
            action: "run",
            cause,
        })
    }
}

impl Clock {
    /// The clock that a daemon measured, for a process that only has the maps.
    fn of_config(program: std::os::fd::OwnedFd, config: &Config) -> std::io::Result<Self> {
        use std::os::fd::AsFd;
        let hz = clock::measure_hz(program.as_fd())?;
        let shift = (0..32)
            .find(|&shift| clock::ticks_per_1024_s(hz, shift) == config.ticks_per_1024_s)
            .unwrap_or_else(|| clock::shift_for(hz));
        Ok(Self::new(program, hz, shift))
    }
}

/// Ticks that a pair has left: it is as young as the younger of its two.
pub(super) fn ticks_left<A>(
    config: &Config,
    flow: &Flow<A>,
    twin: Option<&Flow<A>>,
    now: Tick,
) -> u32 {
    let life = flow.conn_state().map_or(0, |state| config.timeouts.of(state));
    let idle = |flow: &Flow<A>| now.since(flow.stamp);
    let idle = twin.map_or(idle(flow), |twin| idle(flow).min(idle(twin)));
    life.saturating_sub(idle)
}

/// Calls `visit` for each connection of one table until it breaks, and says whether it did. `at`: what tells how long it
/// lives.
fn walk_conns<A: Address>(
    table: &Table<FlowKey<A>, Flow<A>>,
    half_open: bool,
    at: &(Config, Tick),
    visit: &mut impl FnMut(ConnRow) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, TableError> {
    let (config, now) = at;
    let (mut failed, mut outcome) = (None, ControlFlow::Continue(()));
    table.walk(|key, flow| {
        if flow.rewrite.is_reply() {
            return ControlFlow::Continue(());
        }
        let twin = match table.get(&flow.rewrite.twin()) {
            Ok(twin) => twin,
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        outcome = visit(ConnRow {
            key: key.widened(),
            flow: flow.widened(),
            twin: twin.map(|twin| twin.widened()),
            half_open,
            remaining: clock::span(ticks_left(config, flow, twin.as_ref(), *now), config),
        });
        outcome
    })?;
    failed.map_or(Ok(outcome), Err)
}

fn count<K: bytemuck::Pod, V: bytemuck::Pod>(table: &Table<K, V>) -> Result<u32, TableError> {
    let mut entries = 0;
    table.for_each(|_, _| entries += 1)?;
    Ok(entries)
}

pub(super) fn sum_counters(
    counters: &PerCpu<RealCounters>,
    index: u32,
) -> Result<RealCounters, TableError> {
    let mut sum = RealCounters::default();
    for one in counters.get(index)? {
        sum += one;
    }
    Ok(sum)
}
