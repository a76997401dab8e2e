//! Golden packets: bytes in, verdict, bytes out, counters and tables changed, as text under `tests/golden`.
//!
//! A topic's file is made by a generator here ([`topics`]) and the engine on the host, and is then held against every
//! data path ([`shells`]) and against arithmetic that shares no code with xlb ([`recompute`], [`model`]). A change of
//! behaviour is a change of those files, to be read before it is committed: `cargo xtask golden --write`, `git diff`.

/// Builders of frames that say what is unusual about them.
pub mod frames;
/// Bytes as hexadecimal numbers, parted where fields part.
pub mod layout;
/// What a NAT does, worked out beside xlb: who is sent where, and back.
pub mod model;
/// Checksums by full sums.
pub mod recompute;
/// Makes topics by the engine on the host.
pub mod scribe;
/// The data paths that goldens are held against.
pub mod shells;
/// Counters and tables as lines of text, and what changed in them.
pub mod state;
/// The format of the files.
pub mod text;
/// What the goldens are about.
pub mod topics;
/// The worlds that scenes play in.
pub mod worlds;

use std::path::PathBuf;

/// The file of a topic.
pub fn file(topic: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", &format!("{topic}.golden")].iter().collect()
}
