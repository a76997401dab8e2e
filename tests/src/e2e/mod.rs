//! Scenarios: each builds a laboratory of its own, starts the built `xlb` in it and looks from outside.
//!
//! A scenario is a function that returns `anyhow::Result<()>`; `tests/tests/e2e.rs` lists them all.

/// A laboratory with servers and a daemon: what every scenario starts from.
pub mod bed;
/// The built binary.
pub mod binary;
/// Clients: threads in the client's namespace.
pub mod client;
/// Configuration text.
pub mod config;
/// Servers on the real servers that tell who they are and whom they see.
pub mod server;

pub mod laboratory;
