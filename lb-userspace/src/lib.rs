//! The daemon and tools of xlb, as a library that the thin binary `xlb` and the tests use.
//!
//! Who may import whom is in `docs/architecture.md`; `cargo xtask tidy` checks it.

/// The admin socket: requests, answers, server and client.
pub mod api;
/// One file per command.
pub mod cli;
/// keepalived.conf: text to typed model, with diagnostics as data. Imports no sibling.
pub mod config;
/// The one owner of state: events in, effects out; pure.
pub mod control;
/// The only user of aya: programs, maps, pins.
pub mod dataplane;
/// Checks of real servers: the up/down logic and the sockets. Knows the model, nothing of maps.
pub mod health;
/// A laboratory in network namespaces: used by `xlb demo` and by the tests.
pub mod lab;
/// The only user of netlink: links, addresses, routes, neighbours.
pub mod node;
/// Counters read from the maps, summed and rendered.
pub mod stats;
