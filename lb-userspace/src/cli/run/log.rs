//! The daemon's log: one line for each change, with its cause, on standard error.

use tracing_subscriber::EnvFilter;

use crate::control::LogEntry;

/// Starts logging; `XLB_LOG` sets the level (`info`).
pub(super) fn start() {
    let filter = EnvFilter::try_from_env("XLB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start in one process (tests) keeps the first's.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .try_init();
}

/// Writes what happened.
pub(super) fn write(entry: &LogEntry) {
    match entry {
        LogEntry::RealUp { service, real, reason } => {
            tracing::info!(%service, %real, "real server is up: {reason}");
        }
        LogEntry::RealDown { service, real, reason } => {
            tracing::warn!(%service, %real, "real server is down: {reason}");
        }
        LogEntry::ConfigAccepted { generation, services, reals, changes } => {
            tracing::info!(generation, services, reals, "configuration in force");
            for change in changes {
                tracing::info!(generation, "{} {}", change.change.sign(), change.text);
            }
        }
        LogEntry::ConfigUnchanged { generation } => {
            tracing::info!(generation, "the configuration is the running one");
        }
        LogEntry::ConfigRefused { generation, why } => {
            tracing::error!("configuration refused: {why}; generation {generation} stays in force");
        }
        LogEntry::Skipped(skipped) => tracing::warn!("{}: {}", skipped.what, skipped.why),
        LogEntry::ApplyFailed { at, unapplied } => {
            tracing::error!(at, unapplied, "a change of the tables failed and is tried again");
        }
        LogEntry::ApplyRecovered => tracing::info!("the tables are as they should be again"),
        LogEntry::Deferred { tables } => {
            tracing::info!(tables, "a change waits for memory that packets may still look at");
        }
        LogEntry::PortsRefused { why } => tracing::error!("full-NAT ports unchanged: {why}"),
        LogEntry::RealFreed { id } => {
            tracing::info!(
                id = id.0,
                "a removed real server has no connections left: its id is free again"
            );
        }
        LogEntry::TablesDiffered => {
            tracing::warn!("somebody changed the tables; they are put right");
        }
        LogEntry::PlanRefused { why } => tracing::error!("the tables stay as they are: {why}"),
    }
}
