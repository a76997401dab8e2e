//! The one owner of state: events in, effects out. Pure: no clock, no socket, no map.
//!
//! An [`Event`] changes the [`State`]; [`step`](step::step) answers with [`Effect`]s for others to carry out. The
//! tables are never edited ad hoc: [`desired`] says what they should hold, [`plan`] compares that with the
//! [`mirror`] of what they do hold, and the difference is a list of `MapOp`s.

pub mod arena;
pub mod desired;
pub mod diff;
pub mod effect;
pub mod error;
pub mod event;
pub mod health;
pub mod ids;
pub mod mirror;
pub mod plan;
pub mod ports;
pub mod quorum;
pub mod slots;
pub mod state;
pub mod step;
pub mod view;

#[cfg(test)]
mod testing;

pub use effect::{CheckWanted, Effect, Initial, LogEntry};
pub use error::ControlError;
pub use event::{CheckStatus, Event, HopInfo, RealIdent, ServiceIdent, Status};
pub use ports::HostPorts;
pub use state::{Host, State};
pub use step::{configure, step};
