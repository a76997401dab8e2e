//! Requests, answers and the line they travel in: `{"xlb":1,"body":...}`.

use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::PROTOCOL;
use crate::control::diff::PlanLine;
use crate::stats::capture;
use crate::stats::conn::{ConnFilter, ConnRow};
use crate::stats::listing::Listing;
use crate::stats::report::Report;

/// What a command asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// [`Answer::Stats`].
    Stats,
    /// [`Answer::List`].
    List,
    /// Any number of [`Answer::Conn`], then [`Answer::End`].
    Conns(ConnFilter),
    /// Read the configuration file again: [`Answer::Reload`], or a refusal if it is not accepted.
    Reload,
    /// What a reload of this file (absolute) would change: [`Answer::Plan`].
    Plan { path: PathBuf },
    /// [`Answer::Version`].
    Version,
    /// [`Answer::CaptureBegan`], any number of [`Answer::Captured`], [`Answer::CaptureEnded`]. The caller ends it by
    /// closing its writing half, or by going away.
    Capture(capture::Wish),
}

impl Request {
    /// Whether only root and the daemon's own user may ask: it changes something, opens a file by name or shows packets.
    pub const fn is_privileged(&self) -> bool {
        matches!(self, Self::Reload | Self::Plan { .. } | Self::Capture(_))
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Stats(Box<Report>),
    List(Listing),
    Conn(ConnRow),
    /// All rows have been sent.
    End {
        rows: u64,
    },
    Reload(Reloaded),
    Plan(Planned),
    Version(Version),
    CaptureBegan(capture::Began),
    Captured(Vec<capture::Packet>),
    CaptureEnded(capture::Ended),
    Refused(Refusal),
}

/// A configuration that was put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The generation in force now.
    pub generation: u32,
    pub changes: Vec<PlanLine>,
    /// Warnings, rendered for people; empty if there are none.
    pub diagnostics: String,
}

/// What a reload would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The generation that the file was compared with.
    pub generation: u32,
    pub changes: Vec<PlanLine>,
    /// Warnings, rendered for people; empty if there are none.
    pub diagnostics: String,
}

/// Which daemon this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub version: String,
    pub instance: String,
    pub pid: u32,
}

/// Why a request got no other answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    /// A sentence, or rendered diagnostics.
    pub message: String,
}

impl Refusal {
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request is not of this protocol, or of another version of it.
    Protocol,
    /// The caller may not ask this.
    Forbidden,
    /// The configuration is rejected; what was in force stays.
    Configuration,
    /// The kernel, a driver or a permission.
    Host,
    /// The daemon is stopping, or too many callers at once.
    Busy,
    /// Anything else that went wrong.
    Failed,
}

/// Why a line is no message of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The version comes first, so that a peer of any age can say what is wrong.
    #[error("the other side speaks version {theirs} of the protocol, this one version {PROTOCOL}")]
    OtherVersion { theirs: u32 },
    #[error("not a message of xlb's admin protocol: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    xlb: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    xlb: u32,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// `message` as a line, its end included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&Outgoing { xlb: PROTOCOL, body: message })?;
    line.push(b'\n');
    Ok(line)
}

/// The message in a line; its end may be there or not.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, DecodeError> {
    // The body is looked at only when the version is ours: another one may not even have it.
    let Incoming { xlb: theirs, body } = serde_json::from_slice(line)?;
    if theirs != PROTOCOL {
        return Err(DecodeError::OtherVersion { theirs });
    }
    let body = body.ok_or_else(|| serde_json::Error::missing_field("body"))?;
    Ok(serde_json::from_str(body.get())?)
}
