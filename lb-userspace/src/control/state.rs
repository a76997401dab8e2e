//! What the control plane knows. Changed by events only; see `step`.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;

use lb_common::abi::{Budget, RealId};

use super::desired::Skipped;
use super::error::ControlError;
use super::event::HopInfo;
use super::health::HealthMap;
use super::ids::Ids;
use super::mirror::Mirror;
use super::plan::Arenas;
use super::ports::{HostPorts, source_ports};
use super::quorum::Quorums;
use crate::config::model;
use crate::dataplane::MapOp;

/// What is fixed about this host while the daemon runs, but for its interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// How many interfaces are served: those that `--iface` names, in modes of XDP the VLANs on them, too.
    pub interfaces: usize,
    /// Whether tunnels can have checksums: not in mode tc, where what is inside may have a half-made one.
    pub tunnel_checksums: bool,
    /// Length of a tick, measured.
    pub ticks_per_1024_s: NonZeroU32,
    /// Flows that FLOWS4 may hold.
    pub flow_limit: u32,
    /// How often one CPU may do in a tick what [`Budget`] names.
    pub budgets: [u32; Budget::COUNT as usize],
    /// For the order of full-NAT's ports; from the kernel's random numbers.
    pub seed: u64,
}

/// What is known of the way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The neighbour never answered.
    Unresolved,
    Resolved(HopInfo),
    /// It answered once and no longer does.
    Lost,
}

/// The state; `view` is how others read it.
#[derive(Debug)]
pub struct State {
    pub(super) host: Host,
    pub(super) model: model::Config,
    pub(super) generation: u32,
    pub(super) skipped: Vec<Skipped>,
    pub(super) health: HealthMap,
    pub(super) quorums: Quorums,
    pub(super) hops: HashMap<IpAddr, Hop>,
    pub(super) host_ports: HostPorts,
    pub(super) ports: Result<Vec<u16>, ControlError>,
    pub(super) ids: Ids,
    pub(super) mirror: Mirror,
    pub(super) arenas: Arenas,
    /// Tombstones that nothing refers to any more.
    pub(super) emptied: BTreeSet<RealId>,
    /// Operations out for application.
    pub(super) in_flight: Option<Vec<MapOp>>,
    /// Operations of the last attempt that did not take.
    pub(super) unapplied: usize,
    /// Changes that had to wait for memory.
    pub(super) deferred: usize,
    /// Whether a configuration was put in force: before that, tables that were found stay as they are.
    pub(super) configured: bool,
    /// Whether something changed since the last plan.
    pub(super) dirty: bool,
}

impl State {
    /// Nothing configured, nothing in the tables.
    pub fn new(host: Host, host_ports: HostPorts) -> Self {
        Self {
            ports: source_ports(&host_ports, host.seed),
            host,
            host_ports,
            model: model::Config::default(),
            generation: 0,
            skipped: Vec::new(),
            health: HealthMap::new(),
            quorums: Quorums::new(),
            hops: HashMap::new(),
            ids: Ids::default(),
            mirror: Mirror::default(),
            arenas: Arenas::default(),
            emptied: BTreeSet::new(),
            in_flight: None,
            unapplied: 0,
            deferred: 0,
            configured: false,
            dirty: false,
        }
    }

    /// The running configuration.
    pub fn model(&self) -> &model::Config {
        &self.model
    }

    /// Counts the configurations that were put in force.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Operations that did not take yet, and changes that wait for memory.
    pub fn unapplied(&self) -> usize {
        self.unapplied + self.deferred
    }

    /// Whether the tables are as the configuration wants them.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_none() && !(self.configured && self.dirty) && self.unapplied() == 0
    }

    /// What of the running configuration this version does not do.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What the tables hold, as far as the control plane wrote it.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Removed real servers whose ids wait for their last flow: what the reaper should look for.
    pub fn tombstones(&self) -> impl Iterator<Item = RealId> {
        self.mirror.reals.keys().copied().filter(|id| self.mirror.is_tombstone(*id))
    }
}
