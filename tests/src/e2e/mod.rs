//! Scenarios: each builds a laboratory of its own, starts the built `xlb` in it and looks from outside.
//!
//! A scenario is a function that returns `anyhow::Result<()>`; `tests/tests/e2e.rs` lists them all.

/// Real servers that answer past the director.
pub mod answering;
/// A laboratory with servers and a daemon: what every scenario starts from.
pub mod bed;
/// The built binary.
pub mod binary;
/// Clients: threads in the client's namespace.
pub mod client;
/// Configuration text.
pub mod config;
/// What curl is answered.
pub mod http;
/// A laboratory with routers in it.
pub mod routed;
/// Servers on the real servers that tell who they are and whom they see.
pub mod server;
/// Where tunnels end.
pub mod tunnel_end;

pub mod ipv6;
pub mod laboratory;

pub mod bare_host;
pub mod capture;
pub mod churn;
pub mod demo;
pub mod direct;
pub mod ending;
pub mod fragments;
pub mod health;
pub mod icmp;
pub mod links;
pub mod modes;
pub mod mss;
pub mod neighbours;
pub mod offloads;
pub mod persistence;
pub mod port_reuse;
pub mod refusal;
pub mod reply_path;
pub mod scheduling;
pub mod survival;
pub mod tcp;
pub mod tunnels;
pub mod udp;
pub mod why;

mod foreign;
mod pcapng;
mod raw;

/// Repeats a check until it passes; its last complaint if it does not within a time that is long for all of them.
fn watch(what: &str, mut check: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
    Ok(xlb::lab::until(what, LIMIT, || check().map_err(|error| format!("{error:#}")))?)
}
