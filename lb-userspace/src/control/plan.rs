//! Desired less actual: the operations that lead from what the tables hold to what they should hold.
//!
//! Order, so that a reader never follows an index to something that is not there, whichever operation is the
//! last before a crash: source addresses, ports, config; next hops and real servers that become more usable; slot
//! tables into free memory; services, each switched in one operation; then what becomes less usable, and what
//! goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use lb_common::abi::{HopState, NextHop, Real, RealFlags, RealId, Service, ServiceKey, limits};
use lb_common::wire::Addr6;

use super::arena::Arena;
use super::desired::{Desired, DesiredReal, DesiredService};
use super::ids::order;
use super::mirror::Mirror;
use crate::dataplane::MapOp;

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

/// Who has which part of SLOTS and LOCALS.
#[derive(Clone, Debug)]
pub struct Arenas {
    pub slots: Arena,
    pub locals: Arena,
}

impl Default for Arenas {
    fn default() -> Self {
        Self { slots: Arena::new(limits::SLOTS), locals: Arena::new(limits::LOCALS) }
    }
}

impl Arenas {
    /// Keeps what the tables refer to; the rest is free after a while.
    pub fn retain(&mut self, mirror: &Mirror, now: Instant) {
        self.slots.retain(mirror.slots_in_use(), now);
        self.locals.retain(mirror.locals_in_use(), now);
    }
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub ops: Vec<MapOp>,
    /// Changes left out because memory is not free yet: plan again later.
    pub deferred: usize,
}

/// The way from `mirror` to `desired`. `emptied`: removed real servers that nothing refers to any more.
pub fn plan(
    desired: &Desired,
    mirror: &Mirror,
    arenas: &mut Arenas,
    emptied: &BTreeSet<RealId>,
    now: Instant,
) -> Plan {
    let mut planner = Planner { mirror, arenas, now, ops: Vec::new(), deferred: 0 };
    let placed = planner.locals(desired);
    planner.ports_and_config(desired);
    let lowered = planner.reals(desired, &placed);
    planner.services(desired, &placed);
    planner.ops.extend(lowered.into_iter().map(|(id, real)| MapOp::PutReal { id, real }));
    planner.removals(desired);
    planner.orphaned_hops(desired);
    planner.emptied(desired, emptied);
    Plan { ops: planner.ops, deferred: planner.deferred }
}

struct Planner<'a> {
    mirror: &'a Mirror,
    arenas: &'a mut Arenas,
    now: Instant,
    ops: Vec<MapOp>,
    deferred: usize,
}

/// Where the source addresses of each real server lie; those missing could not be placed yet.
type Placed = HashMap<RealId, (u32, u16)>;

impl Planner<'_> {
    /// Equal lists are stored once.
    fn locals(&mut self, desired: &Desired) -> Placed {
        let mut lists: BTreeMap<&[Addr6], Option<u32>> =
            self.mirror.locals.iter().map(|(at, list)| (list.as_slice(), Some(*at))).collect();
        let mut placed = Placed::new();
        for real in reals(desired) {
            let list = real.locals.as_slice();
            if list.is_empty() {
                placed.insert(real.id, (0, 0));
                continue;
            }
            let len = list.len() as u32;
            let at = *lists.entry(list).or_insert_with(|| {
                let at = self.arenas.locals.alloc(len, self.now);
                match at {
                    Some(at) => self.ops.push(MapOp::PutLocals { at, addresses: list.to_vec() }),
                    None => self.deferred += 1,
                }
                at
            });
            if let Some(at) = at {
                // `desired` refuses more than fit.
                placed.insert(real.id, (at, len as u16));
            }
        }
        placed
    }

    fn ports_and_config(&mut self, desired: &Desired) {
        if let Some(ports) = &desired.ports
            && self.mirror.ports.as_ref() != Some(ports)
        {
            self.ops.push(MapOp::PutPorts { ports: ports.clone() });
        }
        if self.mirror.config != desired.config {
            self.ops.push(MapOp::PutConfig(Box::new(desired.config)));
        }
    }

    /// Next hops, then the real servers that are new or become more usable. Returns those that become less usable:
    /// their turn is after the slot tables no longer name them.
    fn reals(&mut self, desired: &Desired, placed: &Placed) -> Vec<(RealId, Real)> {
        let mut lowered = Vec::new();
        for wanted in reals(desired) {
            let Some(&(locals_at, locals_len)) = placed.get(&wanted.id) else { continue };
            let real = Real { locals_at, locals_len, ..wanted.real };
            let old = self.mirror.reals.get(&wanted.id);
            if old.is_none() {
                self.ops.push(MapOp::ResetReal { id: wanted.id });
            }
            if self.mirror.hops.get(&wanted.id).copied().unwrap_or_default() != wanted.hop {
                self.ops.push(MapOp::PutHop { id: wanted.id.hop(), hop: wanted.hop });
            }
            match old {
                Some(old) if *old == real => {}
                Some(old) if is_less_usable(&real, old) => lowered.push((wanted.id, real)),
                _ => self.ops.push(MapOp::PutReal { id: wanted.id, real }),
            }
        }
        lowered
    }

    fn services(&mut self, desired: &Desired, placed: &Placed) {
        let mut switches = Vec::new();
        for wanted in &desired.services {
            let known = |id: &RealId| placed.contains_key(id) || self.mirror.reals.contains_key(id);
            if !wanted.slots.iter().filter(|id| **id != super::slots::NOBODY).all(known) {
                self.deferred += 1;
                continue;
            }
            let old = self.mirror.services.get(&wanted.key);
            let at = match old {
                _ if wanted.slots.is_empty() => Some(0),
                Some(old) if self.mirror.table(old) == wanted.slots => Some(old.slots_at),
                _ => self.place_table(&wanted.slots),
            };
            let Some(at) = at else { continue };
            let service = service(wanted, at);
            if old != Some(&service) {
                switches.push(MapOp::PutService { key: wanted.key, service });
            }
        }
        self.ops.append(&mut switches);
    }

    fn place_table(&mut self, slots: &[RealId]) -> Option<u32> {
        let at = self.arenas.slots.alloc(slots.len() as u32, self.now);
        match at {
            Some(at) => self.ops.push(MapOp::PutSlots { at, slots: slots.to_vec() }),
            None => self.deferred += 1,
        }
        at
    }

    /// Services that go, then real servers that go: they stay as tombstones until their flows are gone.
    fn removals(&mut self, desired: &Desired) {
        let kept: HashSet<ServiceKey> =
            desired.services.iter().map(|service| service.key).collect();
        let mut gone: Vec<_> =
            self.mirror.services.keys().filter(|key| !kept.contains(key)).copied().collect();
        gone.sort_by_key(order);
        self.ops.extend(gone.iter().map(|key| MapOp::RemoveService { key: *key }));

        let wanted: HashSet<RealId> = reals(desired).map(|real| real.id).collect();
        let still_named = self.named_by_deferred(desired);
        for (&id, real) in &self.mirror.reals {
            if wanted.contains(&id) {
                continue;
            }
            if still_named.contains(&id) {
                self.deferred += 1;
                continue;
            }
            let tombstone = Real {
                flags: RealFlags::USED | RealFlags::REMOVED,
                weight: 0,
                locals_at: 0,
                locals_len: 0,
                ..*real
            };
            if *real != tombstone {
                self.ops.push(MapOp::PutReal { id, real: tombstone });
            }
            if self.mirror.hops.get(&id).is_none_or(|hop| hop.state != HopState::Gone as u8) {
                let hop = NextHop { state: HopState::Gone as u8, ..NextHop::default() };
                self.ops.push(MapOp::PutHop { id: id.hop(), hop });
            }
        }
    }

    /// Next hops whose real server was never written: something broke off in between.
    fn orphaned_hops(&mut self, desired: &Desired) {
        let wanted: HashSet<RealId> = reals(desired).map(|real| real.id).collect();
        for &id in self.mirror.hops.keys() {
            if !wanted.contains(&id) && !self.mirror.reals.contains_key(&id) {
                self.ops.push(MapOp::PutHop { id: id.hop(), hop: NextHop::default() });
            }
        }
    }

    /// Real servers in tables of services whose switch had to wait.
    fn named_by_deferred(&self, desired: &Desired) -> HashSet<RealId> {
        if self.deferred == 0 {
            return HashSet::new();
        }
        let switched: HashSet<ServiceKey> = self
            .ops
            .iter()
            .filter_map(|op| match op {
                MapOp::PutService { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        let waiting = desired.services.iter().filter(|service| !switched.contains(&service.key));
        let tables = waiting.filter_map(|service| self.mirror.services.get(&service.key));
        tables.flat_map(|service| self.mirror.table(service)).copied().collect()
    }

    /// Tombstones that nothing refers to: their counters first, for the entry says whose they are; the entry last, so
    /// that a crash between leaves a tombstone.
    fn emptied(&mut self, desired: &Desired, emptied: &BTreeSet<RealId>) {
        if emptied.is_empty() {
            return;
        }
        let wanted: HashSet<RealId> = reals(desired).map(|real| real.id).collect();
        for &id in emptied {
            let Some(real) = self.mirror.reals.get(&id) else { continue };
            if self.mirror.is_tombstone(id) && !wanted.contains(&id) {
                self.ops.push(MapOp::RetireReal { id, service: real.service });
                self.ops.push(MapOp::PutHop { id: id.hop(), hop: NextHop::default() });
                self.ops.push(MapOp::PutReal { id, real: Real::default() });
            }
        }
    }
}

fn reals(desired: &Desired) -> impl Iterator<Item = &DesiredReal> {
    desired.services.iter().flat_map(|service| &service.reals)
}

fn service(wanted: &DesiredService, slots_at: u32) -> Service {
    Service {
        id: wanted.id,
        scheduler: wanted.scheduler as u8,
        flags: wanted.flags,
        pad: [0; 2],
        slots_at,
        slots_len: wanted.slots.len() as u32,
        sticky_ticks: wanted.sticky_ticks,
        sticky_mask: wanted.sticky_mask,
    }
}

/// Whether a table that still names the real server would send flows into the void.
fn is_less_usable(new: &Real, old: &Real) -> bool {
    let is_up = |real: &Real| real.flags & RealFlags::UP != 0;
    (is_up(old) && !is_up(new)) || (old.weight > 0 && new.weight == 0)
}
