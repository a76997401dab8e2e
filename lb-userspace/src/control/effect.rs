//! What [`step`](super::step) asks others to do.

use std::net::IpAddr;

use lb_common::abi::RealId;
use lb_common::wire::Mac;

use super::desired::Skipped;
use super::diff::PlanLine;
use super::event::{RealIdent, ServiceIdent};
use crate::config::model::{Checker, Script};
use crate::dataplane::MapOp;

/// Something to do, in the order of the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Change the tables, then report [`Event::Applied`](super::Event::Applied). None follows before that report.
    Apply(Vec<MapOp>),
    /// All checks that should run; those of equal identity go on with their state.
    SetChecks(Vec<CheckWanted>),
    /// All destinations whose next hop should be known and kept alive.
    WatchHops(Vec<IpAddr>),
    /// Ways back to clients that the program learned: those to `from` on `ifindex` lead to `to` now.
    RewriteLearned { ifindex: u32, from: Mac, to: Mac },
    /// A virtual server has enough live real servers again, or no longer; `script` is `quorum_up` or `quorum_down`.
    Quorum { service: ServiceIdent, is_up: bool, sorry_active: bool, script: Option<Script> },
    /// Tell people.
    Log(LogEntry),
}

/// A real server to check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckWanted {
    pub service: ServiceIdent,
    pub real: RealIdent,
    /// Never empty.
    pub checkers: Vec<Checker>,
    /// What holds until the first result.
    pub initial: Initial,
}

/// What a real server is taken for before its checks have spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    Up,
    Down,
}

/// What happened, for the log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntry {
    RealUp {
        service: ServiceIdent,
        real: RealIdent,
        reason: String,
    },
    RealDown {
        service: ServiceIdent,
        real: RealIdent,
        reason: String,
    },
    /// A configuration is in force as soon as the operations are applied.
    ConfigAccepted {
        generation: u32,
        services: usize,
        reals: usize,
        changes: Vec<PlanLine>,
    },
    /// The configuration is the running one.
    ConfigUnchanged {
        generation: u32,
    },
    /// A configuration was refused; the running one stays.
    ConfigRefused {
        generation: u32,
        why: String,
    },
    /// Part of the configuration that this version cannot do.
    Skipped(Skipped),
    /// Operations that did not take and are tried again.
    ApplyFailed {
        at: usize,
        unapplied: usize,
    },
    /// All tables are as they should be again.
    ApplyRecovered,
    /// A change has to wait for memory that readers may still look at.
    Deferred {
        tables: usize,
    },
    /// A change of the host's ports that full-NAT cannot follow; the old list stays.
    PortsRefused {
        why: String,
    },
    /// A removed real server's last flow ended; its id is free.
    RealFreed {
        id: RealId,
    },
    /// The tables were not as we left them and are put right.
    TablesDiffered,
    /// Health asks for tables that are too large; they stay as they are.
    PlanRefused {
        why: String,
    },
}
