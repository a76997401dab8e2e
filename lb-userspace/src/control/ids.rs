//! Stable ids: the same virtual server and the same real server keep their numbers across reloads and restarts.
//!
//! Flows, templates and counters are indexed by id, so an id is given to another only when nothing refers to it.
//! Ids are handed out round the array, which leaves a freed one alone for as long as possible.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::abi::{Real, RealFlags, RealId, Service, ServiceId, ServiceKey, limits};
use lb_common::wire::{Addr6, Port};

/// Which real server: one of one virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealKey {
    pub service: ServiceKey,
    pub addr: Addr6,
    pub port: Port,
}

impl RealKey {
    /// Of an element of REALS.
    pub fn of(real: &Real) -> Self {
        Self { service: real.service, addr: real.addr, port: real.port }
    }
}

/// No id is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// Who has which id.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    services: HashMap<ServiceKey, ServiceId>,
    reals: HashMap<RealKey, RealId>,
    taken_services: BTreeSet<u32>,
    taken_reals: BTreeSet<u32>,
    next_service: u32,
    next_real: u32,
}

impl Ids {
    /// From what the tables hold.
    pub fn restore(
        services: &HashMap<ServiceKey, Service>,
        reals: &BTreeMap<RealId, Real>,
    ) -> Self {
        let mut ids = Self::default();
        for (key, service) in services {
            ids.services.insert(*key, service.id);
            ids.taken_services.insert(service.id.0);
        }
        for (&id, real) in reals {
            ids.taken_reals.insert(id.0);
            // A service that is gone keeps its id as long as one of its real servers has flows.
            if ids.taken_services.insert(real.service_id.0) {
                ids.services.entry(real.service).or_insert(real.service_id);
            }
            let key = RealKey::of(real);
            let removed = real.flags & RealFlags::REMOVED != 0;
            if !removed || !ids.reals.contains_key(&key) {
                ids.reals.insert(key, id);
            }
        }
        ids.next_service = ids.taken_services.last().map_or(0, |last| last + 1);
        ids.next_real = ids.taken_reals.last().map_or(0, |last| last + 1);
        ids
    }

    /// The id of a virtual server, a new one if it has none.
    pub fn service(&mut self, key: ServiceKey) -> Result<ServiceId, Exhausted> {
        if let Some(id) = self.services.get(&key) {
            return Ok(*id);
        }
        let id = take(&mut self.taken_services, &mut self.next_service, limits::SERVICES)?;
        self.services.insert(key, ServiceId(id));
        Ok(ServiceId(id))
    }

    /// The id of a real server, a new one if it has none.
    pub fn real(&mut self, key: RealKey) -> Result<RealId, Exhausted> {
        if let Some(id) = self.reals.get(&key) {
            return Ok(*id);
        }
        let id = take(&mut self.taken_reals, &mut self.next_real, limits::REALS)?;
        self.reals.insert(key, RealId(id));
        Ok(RealId(id))
    }

    /// Never gives these away while they are in the tables, whoever put them there.
    pub fn hold(&mut self, reals: impl IntoIterator<Item = RealId>) {
        self.taken_reals.extend(reals.into_iter().map(|id| id.0));
    }

    /// The id of a real server that has one.
    pub fn find_real(&self, key: &RealKey) -> Option<RealId> {
        self.reals.get(key).copied()
    }

    /// The id of a virtual server that has one.
    pub fn find_service(&self, key: &ServiceKey) -> Option<ServiceId> {
        self.services.get(key).copied()
    }

    /// Gives back what is neither wanted nor in the tables. A service's id lives as long as its real servers'.
    pub fn retain(
        &mut self,
        keep_service: impl Fn(&ServiceKey) -> bool,
        keep_real: impl Fn(RealId) -> bool,
    ) {
        self.reals.retain(|_, id| keep_real(*id));
        self.taken_reals.retain(|id| keep_real(RealId(*id)));
        let held: BTreeSet<ServiceOrder> =
            self.reals.keys().map(|key| order(&key.service)).collect();
        self.services.retain(|key, _| keep_service(key) || held.contains(&order(key)));
        self.taken_services = self.services.values().map(|id| id.0).collect();
    }
}

/// A service key in the order of addresses, for output that must not depend on hashing.
pub type ServiceOrder = (Addr6, Port, u8);

/// The sort key of a service.
pub fn order(key: &ServiceKey) -> ServiceOrder {
    (key.addr, key.port, key.proto)
}

fn take(taken: &mut BTreeSet<u32>, next: &mut u32, limit: u32) -> Result<u32, Exhausted> {
    if taken.len() >= limit as usize {
        return Err(Exhausted);
    }
    let from = *next % limit;
    let id = (from..limit).chain(0..from).find(|id| !taken.contains(id)).ok_or(Exhausted)?;
    taken.insert(id);
    *next = id + 1;
    Ok(id)
}
