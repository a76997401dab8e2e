//! What the tables should hold: the configuration, seen with health and next hops.
//!
//! Knows ids, nothing of where slot tables and address lists lie; that is the plan's business.

mod accepted;
mod real;
mod service;
mod sorry;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use lb_common::abi::{
    Config, ConnState, NextHop, Real, RealId, ServiceId, ServiceKey, Timeouts, limits,
};
use lb_common::wire::Addr6;

use super::error::ControlError;
use super::health::HealthMap;
use super::ids::Ids;
use super::mirror::Mirror;
use super::quorum::Quorums;
use super::slots::Layout;
use super::state::{Hop, Host};
use crate::config::model;

/// Half of an array, because a change needs the old and the new beside each other.
pub const SLOTS_MAX: u32 = limits::SLOTS / 2;
/// As [`SLOTS_MAX`].
pub const LOCALS_MAX: u32 = limits::LOCALS / 2;

/// A part of the configuration that this version does not do, or does otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where in the configuration.
    pub what: String,
    /// Why, and what happens instead.
    pub why: String,
}

/// All tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// In the order of the configuration.
    pub services: Vec<DesiredService>,
    pub config: Config,
    /// `None`: nothing needs them.
    pub ports: Option<Vec<u16>>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredService {
    pub key: ServiceKey,
    pub id: ServiceId,
    pub scheduler: lb_common::abi::Scheduler,
    pub flags: u8,
    pub sticky_ticks: u32,
    pub sticky_mask: Addr6,
    pub slots: Vec<RealId>,
    /// In the order of the configuration.
    pub reals: Vec<DesiredReal>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredReal {
    pub id: RealId,
    /// Without `locals_at` and `locals_len`.
    pub real: Real,
    pub locals: Vec<Addr6>,
    pub hop: NextHop,
}

/// Everything the tables depend on.
pub struct Inputs<'a> {
    pub model: &'a model::Config,
    pub generation: u32,
    pub host: &'a Host,
    /// The list for PORTS, or why there is none.
    pub ports: &'a Result<Vec<u16>, ControlError>,
    pub hops: &'a HashMap<IpAddr, Hop>,
    pub health: &'a HealthMap,
    pub quorums: &'a Quorums,
    pub mirror: &'a Mirror,
}

/// The tables that `inputs` ask for; new ids are taken from `ids`.
pub fn build(inputs: &Inputs<'_>, ids: &mut Ids) -> Result<(Desired, Vec<Skipped>), ControlError> {
    let mut skipped = Vec::new();
    let accepted = accepted(inputs.model, &mut skipped);
    if accepted.len() > limits::SERVICES as usize {
        return Err(ControlError::TooManyServices {
            wanted: accepted.len(),
            limit: limits::SERVICES,
        });
    }
    let mut desired = Desired { config: config(inputs), ..Desired::default() };
    for accepted in &accepted {
        for real in accepted.reals.iter().chain(&accepted.sorry) {
            if let Some(why) = real::obstacle(inputs, real) {
                let what = format!("real server {} of {}", real.ident, accepted.ident);
                skipped.push(Skipped { what, why: why.to_owned() });
            }
        }
        desired.services.push(service::build(inputs, accepted, ids)?);
    }
    check_sizes(&desired)?;
    let full_nat = lb_common::abi::Method::FullNat as u8;
    if desired.services.iter().flat_map(|s| &s.reals).any(|r| r.real.method == full_nat) {
        let ports = inputs.ports.clone()?;
        desired.config.ports = ports.len() as u32;
        desired.ports = Some(ports);
    }
    Ok((desired, skipped))
}

pub use accepted::{Accepted, AcceptedReal, accepted};
pub(super) use real::effective_weight;

/// A number of seconds in ticks, rounded up.
pub fn ticks(duration: std::time::Duration, host: &Host) -> u32 {
    let ticks = duration.as_millis() * u128::from(host.ticks_per_1024_s.get());
    u32::try_from(ticks.div_ceil(1024 * 1000)).unwrap_or(u32::MAX)
}

fn config(inputs: &Inputs<'_>) -> Config {
    let host = inputs.host;
    Config {
        layout: lb_common::abi::LAYOUT,
        generation: inputs.generation,
        flow_limit: host.flow_limit,
        // As it is while nothing needs them.
        ports: inputs.mirror.config.ports,
        ticks_per_1024_s: host.ticks_per_1024_s.get(),
        budgets: host.budgets,
        timeouts: timeouts(&inputs.model.globals, host),
    }
}

/// IPVS's timeouts, three of which `lvs_timeouts` may change; 0 leaves one as it is (`ip_vs_set_timeout`).
fn timeouts(globals: &model::Globals, host: &Host) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (state, seconds) in timeouts.by_state.iter_mut().zip(Timeouts::IPVS_SECONDS) {
        *state = ticks(std::time::Duration::from_secs(seconds.into()), host);
    }
    let changes = [
        (ConnState::Established, globals.timeout_tcp),
        (ConnState::FinWait, globals.timeout_tcp_fin),
        (ConnState::Udp, globals.timeout_udp),
    ];
    for (state, timeout) in changes {
        if let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) {
            timeouts.by_state[state as usize] = ticks(timeout, host);
        }
    }
    timeouts
}

fn check_sizes(desired: &Desired) -> Result<(), ControlError> {
    let slots: u64 = desired.services.iter().map(|s| s.slots.len() as u64).sum();
    if slots > u64::from(SLOTS_MAX) {
        return Err(ControlError::TooManySlots { wanted: slots, limit: SLOTS_MAX });
    }
    let reals = desired.services.iter().flat_map(|s| &s.reals);
    let lists: BTreeSet<&[Addr6]> = reals.map(|real| real.locals.as_slice()).collect();
    let locals: u64 = lists.iter().map(|list| list.len() as u64).sum();
    if locals > u64::from(LOCALS_MAX) {
        return Err(ControlError::TooManyLocals { wanted: locals, limit: LOCALS_MAX });
    }
    Ok(())
}

/// The slot-table layout of a scheduler.
pub(super) fn layout(scheduler: model::Scheduler, flags: &[String]) -> Layout {
    match scheduler {
        model::Scheduler::Rr => Layout::Cycle,
        model::Scheduler::Wrr => Layout::WeightedCycle,
        model::Scheduler::Sh => {
            Layout::SourceHash { fallback: flags.iter().any(|flag| flag == "sh-fallback") }
        }
        model::Scheduler::Dh => Layout::DestinationHash,
        _ => Layout::Scan,
    }
}

#[cfg(test)]
mod tests;
