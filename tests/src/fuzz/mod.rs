//! Malformed packets by the million: generators, tables in every condition, and what must hold after each packet
//! (catalogue S-28, S-29; the invariants are those of its section 2.6).
//!
//! Everything follows from one seed. A round is one world's tables and a row of packets; its number and the seed bring
//! the very same packets back.

/// Rounds on all processors, and a sample of them in the kernel.
pub mod campaign;
/// What generators draw from.
pub mod draw;
/// Whether what became of a packet may be.
pub mod judge;
/// The kernel's own complaints.
pub mod kernel_log;
/// Frames, good and bad.
pub mod source;
/// Tables in every condition.
pub mod tables;
