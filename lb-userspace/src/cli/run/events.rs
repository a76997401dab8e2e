//! The event loop: everything that can wake the daemon, one at a time.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::capture::Over;
use super::owner::Owner;
use super::{StartError, answers};
use crate::api::Ask;
use crate::config::model;
use crate::dataplane::held::HeldFrame;
use crate::dataplane::reaper::SweepReport;
use crate::health::CheckReport;
use crate::node::{HopChanged, NodeEvent};

/// Where events come from.
pub(super) struct Inputs {
    pub(super) node: mpsc::Receiver<NodeEvent>,
    pub(super) hops: mpsc::Receiver<HopChanged>,
    pub(super) checks: mpsc::Receiver<CheckReport>,
    pub(super) sweeps: mpsc::Receiver<SweepReport>,
    pub(super) held: mpsc::Receiver<HeldFrame>,
    pub(super) requests: mpsc::Receiver<Ask>,
    pub(super) captures: mpsc::Receiver<Over>,
    pub(super) signals: Signals,
}

/// The signals that mean something here. Caught from the start on: one that comes before `ready` waits.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on.
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Puts the configuration in force, says `ready`, and serves until told to stop. `adopted`: the tables held
/// services before, so a failed start must not take them away.
pub(super) async fn serve(
    mut owner: Owner,
    mut inputs: Inputs,
    model: model::Config,
    adopted: bool,
) -> Result<(), StartError> {
    if let Err(error) = owner.begin(model).await {
        owner.args.keep |= adopted;
        owner.end().await?;
        return Err(error);
    }
    ready(&owner);

    let mut seconds = 0_u64;
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = inputs.signals.terminate.recv() => break,
            _ = inputs.signals.interrupt.recv() => break,
            _ = inputs.signals.hangup.recv() => reload(&mut owner).await,
            Some(event) = inputs.node.recv() => owner.node_changed(&event),
            Some(change) = inputs.hops.recv() => {
                tracing::debug!(address = %change.destination, "next hop: {}", change.reason);
                owner.hop_changed(change.destination);
            }
            Some(report) = inputs.checks.recv() => owner.check_ended(report),
            Some(ask) = inputs.requests.recv() => answers::answer(&mut owner, ask).await,
            Some(over) = inputs.captures.recv() => owner.capture_over(over),
            Some(report) = inputs.sweeps.recv() => owner.swept(report),
            _ = clock.tick() => {
                seconds += 1;
                owner.tick(seconds);
            }
            // Last: a flood towards a dead neighbour must not keep the daemon from anything else.
            Some(frame) = inputs.held.recv() => owner.frame_held(frame, Instant::now()),
        }
    }
    while let Ok(frame) = inputs.held.try_recv() {
        owner.frame_held(frame, Instant::now());
    }
    // Nobody is there to notify outside systemd; that is no error.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    owner.end().await
}

async fn reload(owner: &mut Owner) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
    match owner.reload().await {
        Ok(reloaded) => eprint!("{}", reloaded.diagnostics),
        Err(refusal) => eprintln!("{}", refusal.message),
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

fn ready(owner: &Owner) {
    for attachment in owner.dataplane.attached() {
        tracing::info!(
            interface = attachment.interface,
            "forwarding in mode {}",
            attachment.mode.name()
        );
    }
    // A closed standard output is the caller's choice.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
