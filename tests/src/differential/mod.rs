//! The same packets through xlb and through the kernel's IPVS, and whether the world sees the same (catalogue P-82).
//!
//! Two directors live in network namespaces, each between two TAP devices whose other ends are this process: one with
//! IPVS, one without. A packet goes to the first; it also goes through xlb's engine, and where that leaves it to the
//! kernel, to the second. TAP devices take and give frames within the call, so no frame has to be waited for; only where IPVS
//! ends a connection is that left to a timer.
//!
//! What comes out is compared frame by frame. A difference has to have a name in [`rules`], which
//! `docs/ipvs-differences.md` explains.

/// Whether two lists of frames are the same to whoever receives them.
pub mod compare;
/// How many connections IPVS has.
pub mod counts;
/// A director in a namespace between two TAP devices.
pub mod director;
/// What sequences came to.
pub mod report;
/// What is allowed to differ, by name.
pub mod rules;
/// Random sequences of packets.
pub mod sequence;
/// One sequence through both.
pub mod trial;
