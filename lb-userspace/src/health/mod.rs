//! Health of real servers: the up/down logic, the schedule and the sockets of the checks.
//!
//! Knows the configuration model; must not know maps, plans, netlink or what anybody does with a report.
//! The rules are those of keepalived's checkers: a server is up until a checker says otherwise (unless
//! alpha), `retry` failures in a row are forgiven, one success is enough to come back.
//!
//! * [`fsm`]: when a checker is up or down and when it checks next; pure.
//! * [`spec`]: from the model to the list of checks.
//! * [`check`]: the sockets.
//! * [`runner`]: one task for each checker.
//! * [`aggregate`]: from checkers to a real server; pure.

pub mod aggregate;
pub mod check;
pub mod fsm;
pub mod runner;
pub mod spec;

pub use aggregate::RealHealth;
pub use check::Outcome;
pub use fsm::{Fsm, Status, Timing};
pub use runner::{CheckReport, Runner};
pub use spec::{CheckId, CheckSpec, CheckerIdentity, specs};
