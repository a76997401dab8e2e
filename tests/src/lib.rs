//! Tests of xlb in the kernel and in namespaces: what they share.
//!
//! - [`packets`]: frames by a builder over etherparse, and checksums worked out without xlb's code.
//! - [`world`]: a small set of services and real servers, to be put into the engine's host tables and into maps.
//! - [`kernel`]: the committed object, loaded into the kernel and run by BPF_PROG_TEST_RUN.
//! - [`e2e`]: client, director and real servers in namespaces, real sockets.
//! - [`require`]: skipping, and when not to.

pub mod e2e;
pub mod kernel;
pub mod packets;
pub mod require;
pub mod world;
