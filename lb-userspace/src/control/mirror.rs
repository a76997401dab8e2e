//! What the tables hold, as far as the control plane wrote it: every applied operation is folded in here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::abi::{Config, NextHop, Real, RealFlags, RealId, Service, ServiceKey, limits};
use lb_common::wire::Addr6;

use crate::dataplane::{MapOp, Snapshot};

/// A copy of the tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirror {
    pub config: Config,
    /// `None`: not known, nobody reads them back.
    pub ports: Option<Vec<u16>>,
    pub services: HashMap<ServiceKey, Service>,
    /// Elements in use.
    pub reals: BTreeMap<RealId, Real>,
    /// Those of real servers; what is not here is unresolved.
    pub hops: BTreeMap<RealId, NextHop>,
    /// Tables by where they start.
    pub slots: BTreeMap<u32, Vec<RealId>>,
    /// Lists of full-NAT source addresses by where they start.
    pub locals: BTreeMap<u32, Vec<Addr6>>,
}

impl Mirror {
    /// From what was read back.
    pub fn restore(snapshot: &Snapshot) -> Self {
        let mut mirror = Self {
            config: snapshot.config,
            ports: None,
            services: snapshot.services.iter().copied().collect(),
            reals: snapshot.reals.iter().copied().collect(),
            slots: snapshot.slots.iter().cloned().collect(),
            ..Self::default()
        };
        for (id, hop) in &snapshot.hops {
            if id.0 < limits::REALS {
                mirror.hops.insert(RealId(id.0), *hop);
            }
        }
        for real in mirror.reals.values() {
            let (from, to) =
                (real.locals_at as usize, real.locals_at as usize + real.locals_len as usize);
            if let Some(list) = snapshot.locals.get(from..to).filter(|list| !list.is_empty()) {
                mirror.locals.insert(real.locals_at, list.to_vec());
            }
        }
        mirror
    }

    /// Folds an operation in that took effect.
    pub fn absorb(&mut self, op: &MapOp) {
        match op {
            MapOp::PutReal { id, real } if real.flags & RealFlags::USED == 0 => {
                self.reals.remove(id);
            }
            MapOp::PutReal { id, real } => {
                self.reals.insert(*id, *real);
            }
            MapOp::PutHop { id, hop } if *hop == NextHop::default() => {
                self.hops.remove(&RealId(id.0));
            }
            MapOp::PutHop { id, hop } => {
                self.hops.insert(RealId(id.0), *hop);
            }
            MapOp::PutLocals { at, addresses } => overwrite(&mut self.locals, *at, addresses),
            MapOp::PutSlots { at, slots } => overwrite(&mut self.slots, *at, slots),
            MapOp::PutService { key, service } => {
                self.services.insert(*key, *service);
            }
            MapOp::RemoveService { key } => {
                self.services.remove(key);
            }
            MapOp::ResetReal { .. } | MapOp::RetireReal { .. } => {}
            MapOp::PutPorts { ports } => self.ports = Some(ports.clone()),
            MapOp::PutConfig(config) => self.config = **config,
        }
    }

    /// Forgets tables and lists that nothing refers to.
    pub fn forget_unreferenced(&mut self) {
        let slots: BTreeSet<u32> = self.slots_in_use().map(|(at, _)| at).collect();
        self.slots.retain(|at, _| slots.contains(at));
        let locals: BTreeSet<u32> = self.locals_in_use().map(|(at, _)| at).collect();
        self.locals.retain(|at, _| locals.contains(at));
    }

    /// The slot table of a service; empty when it has none.
    pub fn table(&self, service: &Service) -> &[RealId] {
        part(&self.slots, service.slots_at, service.slots_len)
    }

    /// The source addresses of a real server.
    pub fn locals_of(&self, real: &Real) -> &[Addr6] {
        part(&self.locals, real.locals_at, real.locals_len)
    }

    /// Whether `id` is of a removed real server whose flows may still be there.
    pub fn is_tombstone(&self, id: RealId) -> bool {
        self.reals.get(&id).is_some_and(|real| real.flags & RealFlags::REMOVED != 0)
    }

    /// `(start, length)` of every slot table a service refers to.
    pub fn slots_in_use(&self) -> impl Iterator<Item = (u32, u32)> {
        self.services.values().filter(|s| s.slots_len > 0).map(|s| (s.slots_at, s.slots_len))
    }

    /// `(start, length)` of every list of source addresses a real server refers to.
    pub fn locals_in_use(&self) -> impl Iterator<Item = (u32, u32)> {
        self.reals.values().filter(|r| r.locals_len > 0).map(|r| (r.locals_at, r.locals_len))
    }
}

/// Replaces what overlaps.
fn overwrite<T: Clone>(regions: &mut BTreeMap<u32, Vec<T>>, at: u32, new: &[T]) {
    let end = at + new.len() as u32;
    // Regions never overlap, so those that do with the new one are the last before its end.
    let overlaps = |(start, old): &(&u32, &Vec<T>)| **start + old.len() as u32 > at;
    let stale: Vec<u32> =
        regions.range(..end).rev().take_while(overlaps).map(|(start, _)| *start).collect();
    for start in stale {
        regions.remove(&start);
    }
    if !new.is_empty() {
        regions.insert(at, new.to_vec());
    }
}

fn part<T>(regions: &BTreeMap<u32, Vec<T>>, at: u32, len: u32) -> &[T] {
    regions.get(&at).and_then(|region| region.get(..len as usize)).unwrap_or_default()
}
