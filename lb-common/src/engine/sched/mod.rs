//! Which real server takes a new flow. The daemon prepares slot tables; the choice is made here.

mod cycle;
mod hash;
pub mod least;

use super::{Family, Seen, Tables};
use crate::abi::{RealId, Scheduler, Service};

/// The scheduler's choice; `None`: nobody may take new flows.
#[inline(always)]
pub fn pick<A: Family, T: Tables>(tables: &T, service: &Service, seen: &Seen<A>) -> Option<RealId> {
    if service.slots_len == 0 {
        return None;
    }
    match Scheduler::from_raw(service.scheduler)? {
        Scheduler::Cycle => cycle::pick(tables, service),
        Scheduler::Lc => tables.least_loaded(service.slots_at, service.slots_len, 0),
        Scheduler::Wlc => tables.least_loaded(service.slots_at, service.slots_len, u32::MAX),
        Scheduler::SourceHash => hash::by_source(tables, service, seen),
        Scheduler::DestinationHash => hash::by_destination(tables, service, seen),
    }
}
