//! The data path in the kernel: operations on pinned maps, and what they hold.

use std::collections::HashSet;
use std::path::Path;

use lb_common::abi::{
    CaptureCounts, CaptureFilter, HopId, HopState, LastHopKey, Load, NextHop, RealFlags, RealId,
    map,
};
use lb_common::wire::{Addr6, Mac};

use super::attach::{self, AttachedMode, Attachment, attached_programs};
use super::capture::{CaptureBuffer, CaptureError, Capturing};
use super::clock::Clock;
use super::detach::{Removed, detach};
use super::error::{LoadError, Notice};
use super::held::Holding;
use super::link::TcHook;
use super::lock::InstanceLock;
use super::maps::Maps;
use super::pins::Pins;
use super::preflight::{self, InterfaceFacts};
use super::read::Reader;
use super::reaper::{Expire, Reaper};
use super::table::{TableError, possible_cpus};
use super::{Dataplane, MapOp, Snapshot};

/// An operation of a plan that failed; those before it are done.
#[derive(Debug, thiserror::Error)]
#[error("operation {index} ({operation}): {cause}")]
pub struct ApplyError {
    /// Index in the plan.
    pub index: usize,
    /// Which kind.
    pub operation: &'static str,
    pub cause: TableError,
}

/// What went wrong with the tables.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot read back: {0}")]
    Read(#[from] TableError),
}

/// A running instance. Holds its lock; dropping it leaves the data path forwarding.
pub struct BpfDataplane {
    pins: Pins,
    maps: Maps,
    clock: Clock,
    expire: Expire,
    hook: TcHook,
    attached: Vec<Attachment>,
    notices: Vec<Notice>,
    /// Programs of earlier daemons that this one replaced: the kernel tells nobody that a link has another program
    /// now, so those who follow the interfaces may still name them.
    replaced: HashSet<u32>,
    holding: Option<Holding>,
    capturing: Option<Capturing>,
    /// Whether the last plan broke off.
    failed: bool,
    _lock: InstanceLock,
}

impl BpfDataplane {
    pub(super) fn new(
        pins: Pins,
        tables: (Maps, Clock, Expire),
        (hook, attached): (TcHook, Vec<Attachment>),
        notices: Vec<Notice>,
        lock: InstanceLock,
    ) -> Self {
        let (maps, clock, expire) = tables;
        let replaced = HashSet::new();
        let (holding, capturing, failed) = (None, None, false);
        Self {
            pins,
            maps,
            clock,
            expire,
            hook,
            attached,
            notices,
            replaced,
            holding,
            capturing,
            failed,
            _lock: lock,
        }
    }

    /// Keeps both ends of the holding of frames until somebody takes them.
    pub(super) fn holding(self, holding: Option<Holding>) -> Self {
        Self { holding, ..self }
    }

    /// Keeps the object for captures.
    pub(super) fn capturing(self, capturing: Capturing) -> Self {
        Self { capturing: Some(capturing), ..self }
    }

    /// Whether a capture is under way.
    pub fn is_capturing(&self) -> bool {
        self.capturing.as_ref().is_some_and(Capturing::is_running)
    }

    /// Begins a capture: packets arrive in the buffers from now on. There is one at a time.
    pub fn begin_capture(
        &mut self,
        filter: CaptureFilter,
    ) -> Result<Vec<CaptureBuffer>, CaptureError> {
        let missing = CaptureError::Missing { what: map::CAPTURED };
        let capturing = self.capturing.as_mut().ok_or(missing)?;
        capturing.begin(&self.pins, filter, &mut self.replaced)
    }

    /// Ends it: the programs are those that were there before.
    pub fn end_capture(&mut self) -> Result<CaptureCounts, CaptureError> {
        let missing = CaptureError::Missing { what: map::CAPTURED };
        let capturing = self.capturing.as_mut().ok_or(missing)?;
        capturing.end(&self.pins, &mut self.replaced)
    }

    /// Where frames without a next hop arrive and how they are sent on; `None`: they are dropped, or were taken.
    pub fn take_holding(&mut self) -> Option<Holding> {
        self.holding.take()
    }

    /// Remembers the programs that were on the links before.
    pub(super) fn replacing(self, replaced: HashSet<u32>) -> Self {
        Self { replaced, ..self }
    }

    /// Puts the program back where somebody took it off, or where an interface was deleted and made again; replaces
    /// nothing that is in order. Interfaces that are not there now are waited for. K-12, K-32
    pub fn reattach(&mut self, there: &[InterfaceFacts]) -> Result<Vec<Notice>, LoadError> {
        let names = self.attached.iter().map(|link| link.interface.clone()).collect::<Vec<_>>();
        let present = names
            .into_iter()
            .filter(|name| there.iter().any(|facts| &facts.name == name && facts.up))
            .collect::<Vec<_>>();
        if present.is_empty() {
            return Ok(Vec::new());
        }
        let mut ours = attached_programs(self.pins.root());
        ours.extend(&self.replaced);
        // The mode was settled at the start.
        let Some(mode) = self.attached.first().map(|link| link.mode) else {
            return Ok(Vec::new());
        };
        // Those that are down keep their place, and one that is unfit now is no other's business.
        let known =
            |facts: &&InterfaceFacts| self.attached.iter().any(|link| link.interface == facts.name);
        let below = there.iter().filter(known).cloned().collect::<Vec<_>>();
        let beside = if mode == AttachedMode::Tc { &[][..] } else { there };
        self.maps.put_vlans(&below, beside)?;
        let wanted = preflight::interfaces(&present, there, mode.into(), |id| ours.contains(&id))?;
        for facts in &wanted {
            self.maps.put_interface(facts)?;
        }
        let mut notices = Vec::new();
        for now in attach::attach_pinned(&self.pins, self.hook, &wanted, mode, &mut notices)? {
            if let Some(link) =
                self.attached.iter_mut().find(|link| link.interface == now.interface)
            {
                *link = now;
            }
        }
        Ok(notices)
    }

    /// How many interfaces are served: those that run the program, and the VLANs on them.
    pub fn served(&self) -> Result<usize, TableError> {
        let mut count = 0;
        self.maps.ifaces.for_each(|_, _| count += 1)?;
        Ok(count)
    }

    /// Bits of [`NextHop`] for hops by an interface.
    pub fn hop_flags(&self, facts: &InterfaceFacts) -> u8 {
        let own = self.attached.iter().any(|link| link.ifindex == facts.ifindex);
        let tc = self.attached.iter().any(|link| link.mode == AttachedMode::Tc);
        match facts.vlan.filter(|_| !own && !tc) {
            // The driver is that of the interface below; what is further below is asked for by nobody.
            Some(vlan) => {
                let below = self.maps.ifaces.get(&vlan.on).ok().flatten();
                below.map_or(0, |iface| iface.flags & NextHop::TX) | NextHop::TAGGED
            }
            None if super::bounces(&facts.driver) => NextHop::TX,
            None => 0,
        }
    }

    /// Bytes of the largest IP packet that the program sends out of an interface; `None`: it is none of those served.
    pub fn largest(&self, ifindex: u32) -> Option<u16> {
        self.maps.ifaces.get(&ifindex).ok().flatten().map(|iface| iface.mtu)
    }

    /// Takes everything out of the kernel: a clean stop without `--keep`.
    pub fn shut_down(self) -> Result<Removed, LoadError> {
        detach(self.pins.root())
    }

    /// Which interfaces forward, and where the program runs.
    pub fn attached(&self) -> &[Attachment] {
        &self.attached
    }

    /// What the operator should know about the start.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The programs' clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The pin directory.
    pub fn pin_dir(&self) -> &Path {
        self.pins.root()
    }

    /// What the tables can hold; adopted ones may differ from what was asked for.
    pub fn capacity(&self) -> Capacity {
        self.maps.capacity()
    }

    /// Bytes of kernel memory that the tables take.
    pub fn memory(&self) -> u64 {
        self.maps.memory()
    }

    /// Takes note of an interface's new MTU. The interface must be one of those attached.
    pub fn put_interface(&self, facts: &InterfaceFacts) -> Result<(), TableError> {
        self.maps.put_interface(facts)
    }

    /// The ways back to clients behind `from` lead to `to` now: how many. Flows follow without being touched.
    pub fn move_sender(&self, ifindex: u32, from: Mac, to: Mac) -> Result<usize, TableError> {
        let behind = |hop: &NextHop| hop.ifindex == ifindex && hop.dst == from;
        let moved = self.maps.rewrite_learned(behind, |hop| NextHop { dst: to, ..hop })?;
        // What is heard from `from` later is somebody else's; what is heard from `to` may go the same way.
        let key = |mac| LastHopKey { ifindex, mac, pad: [0; 2] };
        if let Some(id) = self.maps.last_hops.get(&key(from))? {
            self.maps.last_hops.remove(&key(from))?;
            if self.maps.last_hops.get(&key(to))?.is_none() {
                self.maps.last_hops.put(&key(to), &id)?;
            }
        }
        Ok(moved)
    }

    /// A handle for reading on other threads.
    pub fn reader(&self) -> Reader {
        Reader::new(self.maps.clone(), self.clock.clone())
    }

    /// A reaper for a thread of its own.
    pub fn reaper(&self) -> Reaper {
        Reaper::new(self.maps.clone(), self.clock.clone(), self.expire.clone())
    }
}

/// Capacities in flows and templates, not in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// `Config::flow_limit`: half of FLOWS4, and of FLOWS6.
    pub flows: u32,
    pub half_open: u32,
    pub templates: u32,
    /// Fragmented packets.
    pub fragments: u32,
}

impl Maps {
    /// What the tables can hold.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            flows: self.ipv4.flows.capacity() / 2,
            half_open: self.ipv4.half_open.capacity() / 2,
            templates: self.sticky.capacity(),
            fragments: self.ipv4.fragments.capacity(),
        }
    }

    /// Bytes by the kernel's account, measured: a hash entry takes 48 bytes, its key and value, and a bucket head
    /// of 16; an array its values alone.
    pub fn memory(&self) -> u64 {
        let hash = |entries: u32, key: u64, value: u64| {
            u64::from(entries) * (48 + key.next_multiple_of(8) + value.next_multiple_of(8) + 16)
        };
        let array = |entries: u32, value: u64| u64::from(entries) * value.next_multiple_of(8);
        // A machine that does not tell its CPUs has at least one.
        let cpus = possible_cpus().unwrap_or(1) as u64;
        hash(self.ipv4.flows.capacity(), 16, 48)
            + hash(self.ipv4.half_open.capacity(), 16, 48)
            + hash(self.ipv4.fragments.capacity(), 16, 48)
            // Entries are allocated as they come: the bucket heads alone.
            + u64::from(self.ipv6.flows.capacity()) * 16
            + hash(self.ipv6.half_open.capacity(), 40, 72)
            + hash(self.ipv6.fragments.capacity(), 40, 72)
            + hash(self.sticky.capacity(), 20, 8)
            + hash(self.services.capacity(), 20, 36)
            + hash(self.last_hops.capacity(), 12, 4)
            + array(self.slots.capacity(), 4)
            + array(self.reals.capacity(), 60)
            + array(self.loads.capacity(), 8)
            + array(self.half_loads.capacity(), 4)
            + array(self.next_hops.capacity(), 24)
            + array(self.locals.capacity(), 16)
            + array(self.ports.capacity(), 4)
            + cpus * array(self.reasons.capacity(), 8)
            + cpus * array(self.real_counters.capacity(), 40)
            // As above.
            + u64::from(self.retired.capacity()) * 16
    }

    fn apply_one(&self, op: &MapOp) -> Result<(), TableError> {
        match op {
            MapOp::PutReal { id, real } => self.reals.put(&id.0, real),
            MapOp::PutHop { id, hop } => self.next_hops.put(&id.0, hop),
            MapOp::PutLocals { at, addresses } => {
                put_run(*at, addresses, |index, address| self.locals.put(&index, address))
            }
            MapOp::PutSlots { at, slots } => {
                put_run(*at, slots, |index, real| self.slots.put(&index, &real.0))
            }
            // One update: slot table, scheduler and flags change together.
            MapOp::PutService { key, service } => self.services.put(key, service),
            MapOp::RemoveService { key } => {
                self.retired.remove(key)?;
                self.services.remove(key).map(drop)
            }
            MapOp::ResetReal { id } => {
                self.loads.put(&id.0, &Load::default())?;
                self.half_loads.put(&id.0, &0)?;
                self.real_counters.reset(id.0)
            }
            MapOp::RetireReal { id, service } => self.retire(*id, *service),
            MapOp::PutPorts { ports } => {
                put_run(0, ports, |index, port| self.ports.put(&index, &u32::from(*port)))
            }
            MapOp::PutConfig(config) => self.config.put(&0, config),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, TableError> {
        let mut snapshot = Snapshot { config: self.config()?, ..Snapshot::default() };
        self.services.for_each(|key, service| snapshot.services.push((*key, *service)))?;
        self.reals.for_each(|&id, real| {
            if real.flags & RealFlags::USED != 0 {
                snapshot.reals.push((RealId(id), *real));
            }
        })?;
        self.next_hops.for_each(|&id, hop| {
            if hop.state != HopState::Unresolved as u8 {
                snapshot.hops.push((HopId(id), *hop));
            }
        })?;
        let mut tables = snapshot
            .services
            .iter()
            .map(|(_, service)| (service.slots_at, service.slots_len))
            .filter(|&(_, len)| len > 0)
            .collect::<Vec<_>>();
        tables.sort_unstable();
        tables.dedup();
        for (at, len) in tables {
            // Indices past the end of SLOTS were never written by us; they end the table.
            let slots = (at..at.saturating_add(len))
                .map_while(|index| self.slots.get(&index).transpose())
                .map(|slot| slot.map(RealId))
                .collect::<Result<Vec<_>, _>>()?;
            snapshot.slots.push((at, slots));
        }
        let locals_end = snapshot
            .reals
            .iter()
            .filter(|(_, real)| real.locals_len > 0)
            .map(|(_, real)| real.locals_at.saturating_add(real.locals_len))
            .max()
            .unwrap_or(0);
        snapshot.locals = (0..locals_end.min(self.locals.capacity()))
            .map_while(|index| self.locals.get(&index).transpose())
            .collect::<Result<Vec<Addr6>, _>>()?;
        Ok(snapshot)
    }
}

/// Writes a run of array elements from `at` on.
fn put_run<T>(
    at: u32,
    values: &[T],
    put: impl Fn(u32, &T) -> Result<(), TableError>,
) -> Result<(), TableError> {
    (at..=u32::MAX).zip(values).try_for_each(|(index, value)| put(index, value))
}

/// The word for an operation in messages.
fn name(op: &MapOp) -> &'static str {
    match op {
        MapOp::PutReal { .. } => map::REALS,
        MapOp::PutHop { .. } => map::NEXT_HOPS,
        MapOp::PutLocals { .. } => map::LOCALS,
        MapOp::PutSlots { .. } => map::SLOTS,
        MapOp::PutService { .. } => "put in SERVICES",
        MapOp::RemoveService { .. } => "remove from SERVICES",
        MapOp::ResetReal { .. } => "reset of LOADS, HALF_LOADS and COUNT_REAL",
        MapOp::RetireReal { .. } => "move from COUNT_REAL to COUNT_RETIRED",
        MapOp::PutPorts { .. } => map::PORTS,
        MapOp::PutConfig(_) => map::CONFIG,
    }
}

impl Dataplane for BpfDataplane {
    type Error = DataplaneError;

    fn apply(&mut self, ops: &[MapOp]) -> Result<(), DataplaneError> {
        // A retirement that broke off must be ended before its real server counts again.
        if std::mem::take(&mut self.failed) {
            self.maps.finish_retirements()?;
        }
        for (index, op) in ops.iter().enumerate() {
            if let Err(cause) = self.maps.apply_one(op) {
                self.failed = true;
                return Err(ApplyError { index, operation: name(op), cause }.into());
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot, DataplaneError> {
        Ok(self.maps.snapshot()?)
    }
}
