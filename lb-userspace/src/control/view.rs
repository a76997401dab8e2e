//! The state as readers see it: a copy, taken at once, in the order of the configuration.

use std::time::Instant;

use lb_common::abi::{Real, RealId, ServiceId, ServiceKey};

use super::desired;
use super::event::{RealIdent, ServiceIdent, Status};
use super::state::{Hop, State};
use crate::config::model::{Kind, Persistence};

/// Everything there is to show.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub generation: u32,
    pub services: Vec<ServiceView>,
    /// Removed real servers whose flows may still be there.
    pub tombstones: Vec<(RealId, Real)>,
    /// Operations that did not take yet.
    pub unapplied: usize,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    pub key: ServiceKey,
    pub id: Option<ServiceId>,
    pub ident: ServiceIdent,
    /// As the configuration names it.
    pub scheduler: &'static str,
    pub flags: Vec<String>,
    pub kind: Kind,
    pub persistence: Option<Persistence>,
    pub quorum_up: bool,
    pub sorry_active: bool,
    pub reals: Vec<RealView>,
    /// The sorry server; its `effective_weight` is 0 while it is not active.
    pub sorry: Option<RealView>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq)]
pub struct RealView {
    pub id: Option<RealId>,
    pub ident: RealIdent,
    pub kind: Kind,
    pub weight: u32,
    /// 0 while it is down.
    pub effective_weight: u32,
    /// `None`: its checks have not spoken yet.
    pub health: Option<Status>,
    /// Whether it may serve; differs from `health` only while that is not known.
    pub up: bool,
    pub health_reason: String,
    pub since: Option<Instant>,
    pub draining: bool,
    /// Whether its neighbour answers.
    pub reachable: bool,
}

/// A copy for readers.
pub fn view(state: &State) -> View {
    let accepted = desired::accepted(&state.model, &mut Vec::new());
    let services = accepted.iter().map(|service| service_view(state, service)).collect();
    let tombstones = state.mirror.reals.iter().filter(|(id, _)| state.mirror.is_tombstone(**id));
    View {
        generation: state.generation,
        services,
        tombstones: tombstones.map(|(id, real)| (*id, *real)).collect(),
        unapplied: state.unapplied(),
    }
}

fn service_view(state: &State, service: &desired::Accepted<'_>) -> ServiceView {
    let quorum_up = state.quorums.get(&service.key).copied().unwrap_or(false);
    let sorry_active = !quorum_up && service.sorry.is_some();
    ServiceView {
        key: service.key,
        id: state.ids.find_service(&service.key),
        ident: service.ident.clone(),
        scheduler: service.server.scheduler.name(),
        flags: service.server.flags.clone(),
        kind: service.server.kind,
        persistence: service.server.persistence.clone(),
        quorum_up,
        sorry_active,
        reals: service.reals.iter().map(|real| real_view(state, real)).collect(),
        sorry: service.sorry.as_ref().map(|real| {
            let view = real_view(state, real);
            RealView { effective_weight: u32::from(sorry_active), ..view }
        }),
    }
}

fn real_view(state: &State, real: &desired::AcceptedReal<'_>) -> RealView {
    let health = state.health.get(&real.key);
    let up = health.is_none_or(super::health::RealHealth::is_up);
    let delta = health.map_or(0, |health| health.weight_delta);
    RealView {
        id: state.ids.find_real(&real.key),
        ident: real.ident,
        kind: real.kind,
        weight: real.weight,
        effective_weight: if up { desired::effective_weight(real.weight, delta) } else { 0 },
        health: health.and_then(|health| health.status),
        up,
        health_reason: health.map(|health| health.reason.clone()).unwrap_or_default(),
        since: health.map(|health| health.since),
        draining: false,
        reachable: matches!(state.hops.get(&real.addr), Some(Hop::Resolved(_))),
    }
}
