//! A laboratory in network namespaces: clients, a director, real servers and an origin on this one machine.
//!
//! Used by `xlb demo` and by the tests. Everything a laboratory makes (namespaces, interfaces, processes, a private
//! bpffs, a directory) is removed when its [`Lab`] is dropped, on SIGINT, SIGTERM and SIGHUP, and, if even that failed,
//! by the next laboratory. The host's own interfaces are never touched.
//!
//! It must not know what xlb does: a director is a host on which a program is started ([`Daemon`]), no more.

mod build;
mod daemon;
mod error;
mod gateway;
mod host;
mod nic;
mod origin;
mod process;
mod remains;
mod signals;
mod tools;
mod topology;
mod wait;

pub use build::Lab;
pub use daemon::{Daemon, DaemonSpec};
pub use error::LabError;
pub use gateway::Gateway;
pub use host::Host;
pub use origin::Origin;
pub use process::Process;
pub use tools::{Tool, require};
pub use topology::{
    HostSpec, NicSpec, ORIGIN, Offloads, Options, Topology, VIP, one_arm, real_address, two_arm,
};
pub use wait::until;
