//! Every event: what it changes and what follows from it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Instant;

use lb_common::abi::{HopState, NextHop, RealFlags, RealId, ServiceKey};

use super::desired::{self, Accepted, AcceptedReal, Desired, Inputs, Skipped};
use super::diff;
use super::effect::{CheckWanted, Effect, Initial, LogEntry};
use super::error::ControlError;
use super::event::{CheckStatus, Event, HopInfo, Status};
use super::health::{HealthMap, RealHealth};
use super::ids::Ids;
use super::mirror::Mirror;
use super::plan;
use super::ports::{HostPorts, source_ports};
use super::quorum;
use super::state::{Hop, State};
use crate::config::model;
use crate::dataplane::Snapshot;

const NO_CHECKS: &str = "no checks";

/// Takes an event in. A configuration that is refused is an effect for the log; see [`configure`].
pub fn step(state: &mut State, event: Event, now: Instant) -> Vec<Effect> {
    let mut effects = Vec::new();
    match event {
        Event::Config(model) => return config(state, *model, now),
        Event::Check(status) => check(state, status, now, &mut effects),
        Event::Hop { destination, hop } => self::hop(state, destination, hop),
        // What is in force stays so; the next configuration is judged by it.
        Event::Interfaces(interfaces) => state.host.interfaces = interfaces,
        Event::HostPorts(ports) => host_ports(state, ports, &mut effects),
        Event::RealsEmpty(ids) => reals_empty(state, &ids),
        Event::MacMoved { ifindex, from, to } => {
            effects.push(Effect::RewriteLearned { ifindex, from, to });
        }
        Event::Applied { failed } => applied(state, failed, now, &mut effects),
        Event::Restored(snapshot) => restored(state, &snapshot, now, &mut effects),
        Event::Tick => state.dirty |= state.unapplied() > 0,
    }
    replan(state, now, &mut effects);
    effects
}

/// Puts a configuration in force, or says why not and changes nothing.
pub fn configure(
    state: &mut State,
    model: model::Config,
    now: Instant,
) -> Result<Vec<Effect>, ControlError> {
    if state.configured && state.model == model {
        let generation = state.generation;
        return Ok(vec![Effect::Log(LogEntry::ConfigUnchanged { generation })]);
    }
    let health = carried_health(state, &model, now);
    let mut ids = state.ids.clone();
    let generation = state.generation.wrapping_add(1);
    let served = desired::accepted(&model, &mut Vec::new());
    let quorums = quorum::states(&served, &health, &state.quorums);
    let inputs =
        Inputs { model: &model, generation, health: &health, quorums: &quorums, ..inputs(state) };
    let (desired, skipped) = desired::build(&inputs, &mut ids)?;

    let quorum_changes = quorum::changes(&served, &state.quorums, &quorums);
    let changes = if state.configured { diff::between(&state.model, &model) } else { Vec::new() };
    state.ids = ids;
    state.health = health;
    state.quorums = quorums;
    state.generation = generation;
    state.model = model;
    state.configured = true;
    state.dirty = true;

    let accepted = desired::accepted(&state.model, &mut Vec::new());
    let destinations = destinations(&accepted);
    state.hops.retain(|destination, _| destinations.contains(destination));
    let mut effects = vec![
        Effect::WatchHops(destinations),
        Effect::SetChecks(checks(state, &accepted)),
        Effect::Log(LogEntry::ConfigAccepted {
            generation,
            services: desired.services.len(),
            reals: desired.services.iter().map(|service| service.reals.len()).sum(),
            changes,
        }),
    ];
    let told = |skip: &Skipped| Effect::Log(LogEntry::Skipped(skip.clone()));
    effects.extend(skipped.iter().filter(|skip| !state.skipped.contains(skip)).map(told));
    state.skipped = skipped;
    effects.extend(quorum_changes);
    plan_and_send(state, &desired, now, &mut effects);
    Ok(effects)
}

fn config(state: &mut State, model: model::Config, now: Instant) -> Vec<Effect> {
    configure(state, model, now).unwrap_or_else(|error| {
        let generation = state.generation;
        vec![Effect::Log(LogEntry::ConfigRefused { generation, why: error.to_string() })]
    })
}

/// Health under a new configuration: kept real servers keep theirs, new ones follow `alpha`, those found down in
/// the tables after a restart stay down until a check says otherwise.
fn carried_health(state: &State, model: &model::Config, now: Instant) -> HealthMap {
    let mut health = HealthMap::new();
    for service in desired::accepted(model, &mut Vec::new()) {
        for real in &service.reals {
            let known = state.health.get(&real.key);
            let unchecked = known.filter(|known| known.reason == NO_CHECKS);
            let entry = if real.checkers.is_empty() {
                unchecked
                    .cloned()
                    .unwrap_or_else(|| RealHealth::assumed(Initial::Up, NO_CHECKS, now))
            } else if unchecked.is_some() {
                RealHealth::assumed(Initial::Up, "not checked yet", now)
            } else if let Some(known) = known {
                known.clone()
            } else {
                match found(state, real) {
                    Some(Initial::Down) => {
                        RealHealth::assumed(Initial::Down, "down before the restart", now)
                    }
                    Some(Initial::Up) => {
                        RealHealth::assumed(Initial::Up, "up before the restart", now)
                    }
                    None if real.alpha => {
                        RealHealth::assumed(Initial::Down, "alpha: not checked yet", now)
                    }
                    None => RealHealth::assumed(Initial::Up, "not checked yet", now),
                }
            };
            health.insert(real.key, entry);
        }
    }
    health
}

/// How a restart finds a real server in the tables; `None`: not, or only as a tombstone.
fn found(state: &State, wanted: &AcceptedReal<'_>) -> Option<Initial> {
    if state.configured {
        return None;
    }
    let real = state.mirror.reals.get(&state.ids.find_real(&wanted.key)?)?;
    if real.flags & RealFlags::REMOVED != 0 {
        return None;
    }
    // Kept in the list with weight 0 by inhibit_on_failure.
    let inhibited = wanted.inhibit && real.weight == 0 && wanted.weight > 0;
    let up = real.flags & RealFlags::UP != 0 && !inhibited;
    Some(if up { Initial::Up } else { Initial::Down })
}

fn checks(state: &State, accepted: &[Accepted<'_>]) -> Vec<CheckWanted> {
    let mut checks = Vec::new();
    for service in accepted {
        for real in service.reals.iter().filter(|real| !real.checkers.is_empty()) {
            let up = state.health.get(&real.key).is_none_or(RealHealth::is_up);
            checks.push(CheckWanted {
                service: service.ident.clone(),
                real: real.ident,
                checkers: real.checkers.iter().copied().cloned().collect(),
                initial: if up { Initial::Up } else { Initial::Down },
            });
        }
    }
    checks
}

fn destinations(accepted: &[Accepted<'_>]) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    let all = accepted.iter().flat_map(|service| service.reals.iter().chain(&service.sorry));
    all.map(|real| real.addr).filter(|addr| seen.insert(*addr)).collect()
}

fn check(state: &mut State, status: CheckStatus, now: Instant, effects: &mut Vec<Effect>) {
    let key = status.service.key().map(|service| status.real.key(service));
    let Some(known) = key.and_then(|key| state.health.get_mut(&key)) else {
        return; // Its configuration is gone; the report was on its way.
    };
    let (was_up, was_delta) = (known.is_up(), known.weight_delta);
    if known.status != Some(status.status) {
        known.since = now;
    }
    known.status = Some(status.status);
    known.reason.clone_from(&status.reason);
    known.weight_delta = status.weight_delta;
    let is_up = known.is_up();
    state.dirty |= is_up != was_up || known.weight_delta != was_delta;
    if is_up != was_up {
        let CheckStatus { service, real, status, reason, .. } = status;
        effects.push(Effect::Log(match status {
            Status::Up => LogEntry::RealUp { service, real, reason },
            Status::Down => LogEntry::RealDown { service, real, reason },
        }));
    }
}

fn hop(state: &mut State, destination: IpAddr, hop: Option<HopInfo>) {
    let old = state.hops.get(&destination);
    let known_once = || match old {
        Some(Hop::Resolved(_) | Hop::Lost) => true,
        Some(Hop::Unresolved) => false,
        // After a restart: as the tables have it.
        None => state.mirror.reals.iter().any(|(id, real)| {
            let valid = |hop: &NextHop| hop.state == HopState::Valid as u8;
            IpAddr::from(real.addr) == destination && state.mirror.hops.get(id).is_some_and(valid)
        }),
    };
    let new = match hop {
        Some(info) => Hop::Resolved(info),
        None if known_once() => Hop::Lost,
        None => Hop::Unresolved,
    };
    state.dirty |= old != Some(&new);
    state.hops.insert(destination, new);
}

fn host_ports(state: &mut State, ports: HostPorts, effects: &mut Vec<Effect>) {
    if state.host_ports == ports {
        return;
    }
    let list = source_ports(&ports, state.host.seed);
    if let (Err(error), Ok(_)) = (&list, &state.ports) {
        effects.push(Effect::Log(LogEntry::PortsRefused { why: error.to_string() }));
        return;
    }
    state.host_ports = ports;
    state.dirty |= list != state.ports;
    state.ports = list;
}

fn reals_empty(state: &mut State, ids: &[RealId]) {
    for id in ids {
        if state.mirror.is_tombstone(*id) {
            state.dirty |= state.emptied.insert(*id);
        }
    }
}

fn applied(state: &mut State, failed: Option<usize>, now: Instant, effects: &mut Vec<Effect>) {
    let Some(ops) = state.in_flight.take() else { return };
    let done = failed.unwrap_or(ops.len()).min(ops.len());
    for op in &ops[..done] {
        state.mirror.absorb(op);
    }
    state.mirror.forget_unreferenced();
    state.arenas.retain(&state.mirror, now);
    let had_failed = state.unapplied > 0;
    state.unapplied = ops.len() - done;
    if state.unapplied > 0 {
        let unapplied = state.unapplied;
        effects.push(Effect::Log(LogEntry::ApplyFailed { at: done, unapplied }));
    } else if had_failed {
        effects.push(Effect::Log(LogEntry::ApplyRecovered));
    }
    let State { emptied, mirror, .. } = state;
    emptied.retain(|id| {
        let stays = mirror.is_tombstone(*id);
        if !stays && !mirror.reals.contains_key(id) {
            effects.push(Effect::Log(LogEntry::RealFreed { id: *id }));
        }
        stays
    });
}

fn restored(state: &mut State, snapshot: &Snapshot, now: Instant, effects: &mut Vec<Effect>) {
    if state.in_flight.is_some() {
        return; // It may be older than what is being written; the next look will tell.
    }
    let mut mirror = Mirror::restore(snapshot);
    if state.configured {
        // Nobody reads PORTS back.
        mirror.ports.clone_from(&state.mirror.ports);
        mirror.forget_unreferenced();
        if mirror == state.mirror {
            return;
        }
    } else {
        state.generation = mirror.config.generation;
        state.ids = Ids::restore(&mirror.services, &mirror.reals);
    }
    state.mirror = mirror;
    state.arenas.retain(&state.mirror, now);
    if state.configured {
        state.ids.hold(state.mirror.reals.keys().copied());
        state.dirty = true;
        effects.push(Effect::Log(LogEntry::TablesDiffered));
    }
}

/// Plans when something changed and nothing is on its way.
fn replan(state: &mut State, now: Instant, effects: &mut Vec<Effect>) {
    if !state.dirty || !state.configured || state.in_flight.is_some() {
        return;
    }
    follow_quorum(state, effects);
    // Events change no id of what was accepted.
    let mut ids = state.ids.clone();
    match desired::build(&inputs(state), &mut ids) {
        Ok((desired, _)) => {
            state.ids = ids;
            plan_and_send(state, &desired, now, effects);
        }
        Err(error) => {
            state.dirty = false;
            effects.push(Effect::Log(LogEntry::PlanRefused { why: error.to_string() }));
        }
    }
}

fn follow_quorum(state: &mut State, effects: &mut Vec<Effect>) {
    let accepted = desired::accepted(&state.model, &mut Vec::new());
    let quorums = quorum::states(&accepted, &state.health, &state.quorums);
    effects.extend(quorum::changes(&accepted, &state.quorums, &quorums));
    state.quorums = quorums;
}

pub(super) fn inputs(state: &State) -> Inputs<'_> {
    Inputs {
        model: &state.model,
        generation: state.generation,
        host: &state.host,
        ports: &state.ports,
        hops: &state.hops,
        health: &state.health,
        quorums: &state.quorums,
        mirror: &state.mirror,
    }
}

fn plan_and_send(state: &mut State, desired: &Desired, now: Instant, effects: &mut Vec<Effect>) {
    if state.in_flight.is_some() {
        return; // Stays dirty: planned when the report comes.
    }
    release_ids(state, desired);
    let plan = plan::plan(desired, &state.mirror, &mut state.arenas, &state.emptied, now);
    state.dirty = false;
    if plan.deferred > 0 && plan.deferred != state.deferred {
        effects.push(Effect::Log(LogEntry::Deferred { tables: plan.deferred }));
    }
    state.deferred = plan.deferred;
    if plan.ops.is_empty() {
        state.unapplied = 0;
    } else {
        effects.push(Effect::Apply(plan.ops.clone()));
        state.in_flight = Some(plan.ops);
    }
}

/// Ids live while they are wanted or in the tables.
fn release_ids(state: &mut State, desired: &Desired) {
    let State { ids, mirror, .. } = state;
    let services: HashSet<ServiceKey> = desired.services.iter().map(|s| s.key).collect();
    let reals: HashSet<RealId> =
        desired.services.iter().flat_map(|s| &s.reals).map(|real| real.id).collect();
    ids.retain(
        |key| services.contains(key) || mirror.services.contains_key(key),
        |id| reals.contains(&id) || mirror.reals.contains_key(&id),
    );
}

#[cfg(test)]
mod tests;
