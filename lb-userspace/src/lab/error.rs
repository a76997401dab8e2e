//! What can go wrong in a laboratory.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Why a laboratory could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("a laboratory makes network namespaces, which needs root; hint: run it with sudo")]
    NotRoot,
    #[error("cannot find {missing}; hint: apt-get install {packages}")]
    MissingTools { missing: String, packages: String },
    #[error("`{command}` ended with {status}: {output}")]
    Command { command: String, status: String, output: String },
    #[error("cannot {action} `{object}`")]
    Io {
        action: &'static str,
        object: String,
        #[source]
        source: io::Error,
    },
    #[error("{what}: not within {} ms; last seen: {seen}", .limit.as_millis())]
    Late { what: String, limit: Duration, seen: String },
    #[error("the laboratory has no host `{name}`")]
    NoSuchHost { name: String },
    #[error("`{name}` has ended with {status}; its log: {log}")]
    Ended { name: String, status: String, log: String },
    #[error("the answer of `{command}` is not JSON: {text}")]
    NotJson {
        command: String,
        text: String,
        #[source]
        source: serde_json::Error,
    },
}

impl LabError {
    /// For `map_err` on file and socket operations.
    pub(super) fn io(
        action: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io { action, object, source }
    }

    /// The same for a path.
    pub(super) fn path(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(action, path.display().to_string())
    }
}
