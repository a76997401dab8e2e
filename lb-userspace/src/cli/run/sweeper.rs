//! The reaper's thread: a sweep every two seconds, away from the tasks that must answer at once.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dataplane::reaper::{Reaper, SweepReport};

/// Pause between two sweeps. Timeouts are then at most this much late.
const PAUSE: Duration = Duration::from_secs(2);

/// Sweeps until `stop`; each report is sent, the latest dropped if the owner is behind.
pub(super) fn start(reaper: Reaper, stop: CancellationToken) -> mpsc::Receiver<SweepReport> {
    let (reports, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut reaper = reaper;
        // At once, too: a daemon that is killed again and again must still get round to it.
        while !stop.is_cancelled() {
            let swept = tokio::task::spawn_blocking(move || {
                let report = reaper.sweep();
                (reaper, report)
            });
            // A panic of the sweep ends the sweeping, loudly: the panic hook has said why.
            let Ok((back, report)) = swept.await else { return };
            reaper = back;
            match report {
                // A full channel means the owner has not looked at the last one; the next will do.
                Ok(report) => drop(reports.try_send(report)),
                Err(error) => tracing::error!("the sweep over the flow table stopped: {error}"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    });
    receiver
}
