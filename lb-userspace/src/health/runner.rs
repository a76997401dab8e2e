//! Runs checks: one task for each checker, so that a stuck one delays nobody.
//!
//! The only place in this module that reads a clock. A check that is overdue (the process was stopped, the
//! machine paused) runs once: the next one is timed from the end of the last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant as Tick, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::model::CheckKind;

use super::check::{self, Outcome};
use super::fsm::{Fsm, Status, Timing};
use super::spec::{CheckId, CheckSpec};

/// Checks in flight at most. 10,000 checks a second of which all hang for a few seconds stay below it for the
/// first of those seconds, and each takes one file descriptor.
const IN_FLIGHT: usize = 16_384;

/// File descriptors that checks leave to the rest of the process.
const DESCRIPTORS_KEPT: u64 = 128;

/// The first check starts this long after the checker was set, plus the random part.
const FIRST_CHECK: Duration = Duration::from_secs(1);

/// A check that took this much longer than it may means that the process, or the machine, stood still: the
/// server had no chance to be heard, so its silence says nothing.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Shortest pause between two checks, whatever the configuration says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// One finished check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    pub id: CheckId,
    /// What the checker is held to be now: a failure that is forgiven leaves it up.
    pub status: Status,
    /// Why, for people: "connection refused", "connect timed out after 5s", "connected in 0.4 ms".
    pub reason: String,
    /// From the start of the check to its end.
    pub latency: Duration,
    /// When the check ended.
    pub at: Instant,
    /// The status differs from the one before.
    pub changed: bool,
    /// The checker's first check that said anything about the server.
    pub first: bool,
}

struct Running {
    spec: watch::Sender<Arc<CheckSpec>>,
    cancel: CancellationToken,
}

/// The checks that run. Dropping it ends them; [`Runner::stop`] also waits for their end.
pub struct Runner {
    reports: mpsc::Sender<CheckReport>,
    jitter: Jitter,
    running: HashMap<CheckId, Running>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Runner {
    /// Nothing runs yet. `seed` decides the random part of the first checks' times.
    pub fn new(reports: mpsc::Sender<CheckReport>, seed: u64) -> Self {
        Self {
            reports,
            jitter: Jitter(seed),
            running: HashMap::new(),
            permits: Arc::new(Semaphore::new(in_flight())),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        }
    }

    /// Replaces the whole set. Checkers that were there before (see [`CheckId::across_reloads`]) keep up/down,
    /// has-run and retry count and take the new timers; others start after 1 s and a random part of their
    /// `warmup`, from [`CheckSpec::initial`]; those that are not named end and report nothing more (a report may
    /// still be in the channel). Must be called within a tokio runtime.
    pub fn set(&mut self, specs: Vec<CheckSpec>) {
        let mut before = std::mem::take(&mut self.running);
        for spec in specs {
            let key = spec.id.across_reloads();
            let spec = Arc::new(spec);
            let running = match before.remove(&key) {
                Some(running) => {
                    running.spec.send_replace(spec);
                    running
                }
                None => self.start(spec),
            };
            if let Some(twin) = self.running.insert(key, running) {
                twin.cancel.cancel();
            }
        }
        for gone in before.into_values() {
            gone.cancel.cancel();
        }
    }

    /// How many checkers run.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Ends all checks and waits until their tasks are gone.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn start(&mut self, spec: Arc<CheckSpec>) -> Running {
        let due = Tick::now() + FIRST_CHECK + self.jitter.below(spec.checker.warmup);
        let cancel = self.cancel.child_token();
        let fsm = Fsm::new(spec.initial, Timing::from(&spec.checker));
        let (sender, spec) = watch::channel(spec);
        let task = Task {
            fsm,
            due,
            spec,
            permits: Arc::clone(&self.permits),
            reports: self.reports.clone(),
        };
        let token = cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = task.run() => {}
            }
        });
        Running { spec: sender, cancel }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// One checker. May be dropped at any await: no state outlives it.
struct Task {
    fsm: Fsm,
    due: Tick,
    spec: watch::Receiver<Arc<CheckSpec>>,
    permits: Arc<Semaphore>,
    reports: mpsc::Sender<CheckReport>,
}

impl Task {
    /// Ends when the runner or the receiver of reports is gone.
    async fn run(mut self) {
        loop {
            tokio::select! {
                changed = self.spec.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_timers();
                    // A shorter delay_loop counts from now; a longer one leaves the check that is due alone.
                    self.due = self.due.min(Tick::now() + self.fsm.pause());
                }
                () = sleep_until(self.due) => {
                    if self.check().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn take_timers(&mut self) {
        let timing = Timing::from(&self.spec.borrow_and_update().checker);
        self.fsm.retime(timing);
    }

    async fn check(&mut self) -> Result<(), mpsc::error::SendError<CheckReport>> {
        let spec = Arc::clone(&self.spec.borrow());
        let (outcome, latency) = {
            // The semaphore is never closed; if it were, running unlimited would be right.
            let _permit = self.permits.acquire().await;
            let start = Tick::now();
            let outcome = attempt(&spec).await;
            let latency = start.elapsed();
            (believable(outcome, latency, &spec), latency)
        };
        // A reload during the check: its timers count from here on, its id is the one to report under.
        if self.spec.has_changed().unwrap_or(false) {
            self.take_timers();
        }
        let now = Tick::now();
        let step = self.fsm.on(&outcome, now.into_std());
        self.due = Tick::from_std(step.next).max(now + SHORTEST_PAUSE);
        let id = self.spec.borrow().id.clone();
        let report = CheckReport {
            id,
            status: step.status,
            reason: reason(outcome, latency),
            latency,
            at: now.into_std(),
            changed: step.changed,
            first: step.first,
        };
        self.reports.send(report).await
    }
}

async fn attempt(spec: &CheckSpec) -> Outcome {
    match (&spec.checker.kind, &spec.checker.target) {
        (CheckKind::Tcp, Some(target)) => check::tcp::check(target).await,
        // `specs` makes no such check; one made by hand says so and changes nothing.
        _ => Outcome::NotRun("this kind of check is not run".into()),
    }
}

/// What was missed while nobody listened is not held against the server.
fn believable(outcome: Outcome, latency: Duration, spec: &CheckSpec) -> Outcome {
    let limit = spec.checker.target.as_ref().map(|target| target.connect_timeout + STOOD_STILL);
    match outcome {
        Outcome::Failed(_) if limit.is_some_and(|limit| latency > limit) => {
            Outcome::NotRun("xlb stood still while it waited for the answer".into())
        }
        other => other,
    }
}

fn reason(outcome: Outcome, latency: Duration) -> String {
    match outcome {
        Outcome::Passed => format!("connected in {:.1} ms", latency.as_secs_f64() * 1e3),
        Outcome::Failed(reason) | Outcome::NotRun(reason) => reason,
    }
}

/// As many as wanted, or as the process may have file descriptors for.
fn in_flight() -> usize {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return IN_FLIGHT };
    let spare = limit.saturating_sub(DESCRIPTORS_KEPT).max(limit / 2).max(1);
    usize::try_from(spare).unwrap_or(IN_FLIGHT).min(IN_FLIGHT)
}

/// `SplitMix64` (Steele, Lea, Flood 2014): even enough to spread checks, and the same for the same seed.
struct Jitter(u64);

impl Jitter {
    /// Somewhere in `0..bound`; 0 if that is empty.
    fn below(&mut self, bound: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The product of two numbers below 2^64, shifted by 64, is below the second.
        let nanos = (u128::from(z) * bound.as_nanos()) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
