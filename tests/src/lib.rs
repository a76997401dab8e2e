//! Tests of xlb in the kernel and in namespaces.

/// What this machine can do, and the rule for skipping what it cannot.
pub mod capability;
/// End to end: client, director and real servers in namespaces, real sockets.
pub mod e2e;
