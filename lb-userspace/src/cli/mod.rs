//! One file per command, and what they share: arguments, output, exit codes.
//!
//! [`command`] is the command line as data, [`dispatch`] calls what was asked for. Nothing outside imports this tree
//! but the binary.

pub mod capture;
pub mod check;
pub mod command;
pub mod conns;
pub mod demo;
pub mod detach;
pub mod dispatch;
pub mod exit;
pub mod instance;
pub mod list;
pub mod output;
pub mod plan;
pub mod reload;
pub mod run;
pub mod run_args;
pub mod stats;
pub mod why;
