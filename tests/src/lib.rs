//! Tests of xlb in the kernel and in namespaces: what they share.

/// What this machine can do, and the rule for skipping what it cannot.
pub mod capability;
/// The longest chain of calls in an object's program.
pub mod chain;
/// The cases of the configuration language, and keepalived's own opinion of them.
pub mod conformance;
/// The same packets through xlb and through the kernel's IPVS.
pub mod differential;
/// End to end: client, director and real servers in namespaces, real sockets.
pub mod e2e;
/// Malformed packets by the million, and what must hold after each.
pub mod fuzz;
/// Packets and all that becomes of them, as committed text.
pub mod golden;
/// The committed object, loaded into the kernel and run by BPF_PROG_TEST_RUN.
pub mod kernel;
/// Frames by a builder over etherparse, and checksums worked out without xlb's code.
pub mod packets;
pub mod packets6;
/// A BPF file system of a test's own.
pub mod pins;
/// A small set of services and real servers, to be put into the engine's host tables and into maps.
pub mod tags;
pub mod world;
