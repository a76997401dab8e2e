//! The data path as the control plane sees it: a set of tables that operations change.
//!
//! Only this tree names aya. [`Dataplane`] has a real implementation over pinned maps and a fake one for tests.

pub mod attach;
pub mod batch;
pub mod bpf;
pub mod capture;
pub mod clock;
mod clsact;
pub mod detach;
pub mod error;
pub mod fake;
pub mod faulty;
mod half_made;
pub mod held;
mod hops;
mod ifaces;
pub mod link;
pub mod load;
mod loads;
pub mod lock;
pub mod maps;
mod next;
pub mod object;
pub mod pins;
pub mod preflight;
pub mod read;
pub mod reaper;
pub mod rehearsal;
mod retire;
mod sample;
mod shape;
mod sys;
pub mod table;
mod test_run;
pub mod vlans;

use lb_common::abi::{Config, HopId, NextHop, Real, RealId, Service, ServiceKey};
use lb_common::wire::Addr6;

/// Whether frames may leave an interface of this driver by `XDP_TX`. veth swallows them unless its peer runs an XDP
/// program: they leave it through DEVICES always.
pub fn bounces(driver: &str) -> bool {
    driver != "veth"
}

/// One idempotent change of the tables. A plan is a list of them, ordered so that no reader ever follows an
/// index to something that is not there yet.
#[derive(Clone, Debug, PartialEq)]
pub enum MapOp {
    /// Writes an element of REALS.
    PutReal { id: RealId, real: Real },
    /// Writes an element of `NEXT_HOPS`.
    PutHop { id: HopId, hop: NextHop },
    /// Writes elements of LOCALS from `at` on.
    PutLocals { at: u32, addresses: Vec<Addr6> },
    /// Writes elements of SLOTS from `at` on.
    PutSlots { at: u32, slots: Vec<RealId> },
    /// Inserts or replaces a service, whole.
    PutService { key: ServiceKey, service: Service },
    /// Removes a service and what it keeps of removed real servers; its flows go on.
    RemoveService { key: ServiceKey },
    /// Zeroes LOADS, `HALF_LOADS` and `COUNT_REAL` of an id that is about to be given to another real server.
    ResetReal { id: RealId },
    /// Moves the counters of a removed real server to those that its service keeps of such.
    RetireReal { id: RealId, service: ServiceKey },
    /// Writes PORTS from 0 on; `Config::ports` says how many count.
    PutPorts { ports: Vec<u16> },
    /// Writes CONFIG.
    PutConfig(Box<Config>),
}

/// What the tables hold now, as far as the control plane wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub config: Config,
    pub services: Vec<(ServiceKey, Service)>,
    /// Elements with `RealFlags::USED`.
    pub reals: Vec<(RealId, Real)>,
    /// Elements whose state is not `Unresolved`, learned ones included.
    pub hops: Vec<(HopId, NextHop)>,
    /// All of SLOTS that a service refers to.
    pub slots: Vec<(u32, Vec<RealId>)>,
    /// LOCALS up to the last index a real refers to.
    pub locals: Vec<Addr6>,
}

/// Tables that can be changed and read back.
pub trait Dataplane {
    type Error: std::error::Error + Send + Sync + 'static;

    /// Applies the operations in order; stops at the first that fails and says which.
    fn apply(&mut self, ops: &[MapOp]) -> Result<(), Self::Error>;

    /// Reads back what the tables hold.
    fn snapshot(&self) -> Result<Snapshot, Self::Error>;
}
