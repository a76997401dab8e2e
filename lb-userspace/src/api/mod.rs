//! The admin socket: how the commands talk to the daemon of their host.
//!
//! One JSON object a line, each with the protocol's version, over a Unix socket in the instance's run directory.
//! [`server`] serves it and hands requests to a [`handler::Handler`]; [`client`] asks. Nothing here knows what the
//! daemon is made of.

pub mod client;
pub mod handler;
pub mod message;
mod peer;
pub mod server;

pub use client::{Client, ClientError};
pub use handler::{Ask, Handler, Reply, Sender, channel};
pub use message::{Answer, Planned, Refusal, RefusalKind, Reloaded, Request, Version};
pub use server::{BindError, Server};

/// Version of the protocol; raised when a request or an answer changes so that an older peer would misread it.
pub const PROTOCOL: u32 = 1;

/// Name of the socket in the run directory.
pub const SOCKET: &str = "admin.sock";

/// Longest request in bytes, its line end included.
pub const MAX_REQUEST: usize = 16 * 1024;

/// Longest answer in bytes that a client reads: 8,192 services with 16,384 real servers stay below.
pub const MAX_ANSWER: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
