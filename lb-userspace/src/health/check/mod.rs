//! The checks themselves: one file for each kind, `async fn(target) -> Outcome`, each with its own deadline.
//!
//! A check knows sockets and one target; it must not know what was the case before.

pub mod tcp;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The server's answer, or silence, in words: "connection refused".
    Failed(String),
    /// This host could not ask (no file descriptors, no such interface): nothing is learned about the server.
    NotRun(String),
}
