//! What is known of each real server's health. The up/down logic is the checks' business; here it is only kept.

use std::collections::HashMap;
use std::time::Instant;

use super::effect::Initial;
use super::event::Status;
use super::ids::RealKey;

/// Health of a real server.
#[derive(Clone, Debug, PartialEq)]
pub struct RealHealth {
    /// `None`: its checks have not spoken yet.
    pub status: Option<Status>,
    /// What holds while they have not.
    pub initial: Initial,
    pub reason: String,
    pub since: Instant,
    pub weight_delta: i64,
}

/// Of all real servers.
pub type HealthMap = HashMap<RealKey, RealHealth>;

impl RealHealth {
    /// Before any check.
    pub fn assumed(initial: Initial, reason: &str, now: Instant) -> Self {
        Self { status: None, initial, reason: reason.to_owned(), since: now, weight_delta: 0 }
    }

    /// Whether it may serve.
    pub fn is_up(&self) -> bool {
        match self.status {
            Some(status) => status == Status::Up,
            None => self.initial == Initial::Up,
        }
    }
}
