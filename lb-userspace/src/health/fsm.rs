//! The up/down logic of one checker, without sockets and without a clock.
//!
//! Follows keepalived's checkers (`check_tcp.c`, `check_api.c`):
//!
//! ```text
//!            success                                failure, retries left
//!        +-------------+                          +----------------------+
//!        v             |                          v                      |
//!      (up) -- failure, no retries left, or --> (down) -- failure -->  (down)
//!        ^     the very first check               |
//!        +---------------- success ---------------+
//! ```
//!
//! Next check: `delay_before_retry` after a forgiven failure, else `delay_loop`. While a checker is down it
//! checks every `delay_loop`, HTTP every `delay_before_retry` if that is longer.
// keepalived differs: its TCP_CHECK alternates `retry` quick checks and one `delay_loop` while a server is
// down (check_tcp.c); here one rule holds for all but HTTP.

use std::time::{Duration, Instant};

use crate::config::model::{CheckKind, Checker};

use super::check::Outcome;

/// What a checker, or a real server, is held to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Up,
    Down,
}

/// The timers of a checker that may change while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the end of one check to the start of the next.
    pub delay_loop: Duration,
    /// Failures in a row that are forgiven.
    pub retry: u32,
    /// As `delay_loop`, after a failure that was forgiven.
    pub delay_before_retry: Duration,
    /// As `delay_loop`, while down.
    pub delay_down: Duration,
}

impl From<&Checker> for Timing {
    fn from(checker: &Checker) -> Self {
        let delay_down = match checker.kind {
            CheckKind::Http(_) => checker.delay_loop.max(checker.delay_before_retry),
            _ => checker.delay_loop,
        };
        Self {
            delay_loop: checker.delay_loop,
            retry: checker.retry,
            delay_before_retry: checker.delay_before_retry,
            delay_down,
        }
    }
}

/// What one outcome did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub status: Status,
    /// The status differs from the one before.
    pub changed: bool,
    /// No check had been conclusive before this one.
    pub first: bool,
    /// When the next check is due.
    pub next: Instant,
}

/// State of one checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fsm {
    status: Status,
    has_run: bool,
    /// Failures in a row that were forgiven.
    retries: u32,
    timing: Timing,
}

impl Fsm {
    /// A checker that has not run yet. `initial` is up for a real server that takes traffic unchecked.
    pub const fn new(initial: Status, timing: Timing) -> Self {
        Self { status: initial, has_run: false, retries: 0, timing }
    }

    /// What the checker is held to be.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether a check has been conclusive.
    pub const fn has_run(&self) -> bool {
        self.has_run
    }

    /// Failures in a row that were forgiven so far.
    pub const fn retries(&self) -> u32 {
        self.retries
    }

    /// How long after the end of a check that said nothing new the next one starts.
    pub const fn pause(&self) -> Duration {
        match self.status {
            Status::Up if self.retries > 0 => self.timing.delay_before_retry,
            Status::Up => self.timing.delay_loop,
            Status::Down => self.timing.delay_down,
        }
    }

    /// Takes new timers on a reload; up/down, has-run and the retry count stay, the count limited to the new
    /// `retry`.
    pub fn retime(&mut self, timing: Timing) {
        self.timing = timing;
        self.retries = self.retries.min(timing.retry);
    }

    /// Folds the outcome of a check that ended `now`.
    pub fn on(&mut self, outcome: &Outcome, now: Instant) -> Step {
        let before = self.status;
        let first = !self.has_run;
        match outcome {
            Outcome::Passed => {
                self.status = Status::Up;
                self.retries = 0;
                self.has_run = true;
            }
            Outcome::Failed(_) => {
                if before == Status::Up && self.has_run && self.retries < self.timing.retry {
                    self.retries += 1;
                } else {
                    self.status = Status::Down;
                    self.retries = 0;
                }
                self.has_run = true;
            }
            // Not the server's fault: nothing is learned about it, the rhythm stays.
            Outcome::NotRun(_) => {}
        }
        Step {
            status: self.status,
            changed: self.status != before,
            first: first && self.has_run,
            next: now + self.pause(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn timing(retry: u32) -> Timing {
        Timing { delay_loop: secs(6), retry, delay_before_retry: secs(2), delay_down: secs(6) }
    }

    /// Plays outcomes (`+` pass, `-` fail, `?` not run) in virtual time and writes down, for each, the status
    /// (`U`/`D`, with `!` at a change) and the seconds to the next check.
    fn play(fsm: &mut Fsm, outcomes: &str) -> String {
        let mut now = Instant::now();
        let mut line = Vec::new();
        for outcome in outcomes.chars() {
            let outcome = match outcome {
                '+' => Outcome::Passed,
                '-' => Outcome::Failed("connection refused".into()),
                _ => Outcome::NotRun("too many open files".into()),
            };
            let step = fsm.on(&outcome, now);
            line.push(format!(
                "{}{}{}",
                if step.status == Status::Up { "U" } else { "D" },
                if step.changed { "!" } else { "" },
                (step.next - now).as_secs(),
            ));
            now = step.next;
        }
        line.join(" ")
    }

    #[test]
    fn outcomes_give_the_states_and_delays_of_keepalived() {
        // (initial, retry, outcomes, expected)
        let cases = [
            // The very first check has no retries.
            (Status::Up, 3, "-", "D!6"),
            (Status::Up, 3, "+", "U6"),
            // Up to down takes retry + 1 failures in a row, the forgiven ones in quick succession.
            (Status::Up, 2, "+---", "U6 U2 U2 D!6"),
            (Status::Up, 0, "+-", "U6 D!6"),
            // A success resets the count.
            (Status::Up, 1, "+-+-+--", "U6 U2 U6 U2 U6 U2 D!6"),
            // Down checks every delay_loop, one success is enough.
            (Status::Up, 2, "----+---", "D!6 D6 D6 D6 U!6 U2 U2 D!6"),
            // Alpha: down until a check passes.
            (Status::Down, 2, "--+", "D6 D6 U!6"),
            (Status::Down, 2, "+-", "U!6 U2"),
            // Nothing learned: no state, no count, no has-run; the rhythm stays.
            (Status::Up, 2, "?-", "U6 D!6"),
            (Status::Up, 1, "+-?-", "U6 U2 U2 D!6"),
        ];
        for (initial, retry, outcomes, expected) in cases {
            let mut fsm = Fsm::new(initial, timing(retry));
            assert_eq!(play(&mut fsm, outcomes), expected, "{initial:?} retry {retry} {outcomes}");
        }
    }

    // K-45
    #[test]
    fn flapping_server_with_retries_never_goes_down() {
        let mut fsm = Fsm::new(Status::Up, timing(1));
        let line = play(&mut fsm, &"+-".repeat(500));
        assert!(!line.contains('D'));
    }

    // K-08
    #[test]
    fn reload_keeps_a_failed_checker_down_and_limits_its_count() {
        let mut fsm = Fsm::new(Status::Up, timing(5));
        play(&mut fsm, "+---");
        assert_eq!(fsm.retries(), 3);
        fsm.retime(timing(2));
        assert_eq!((fsm.retries(), fsm.status(), fsm.has_run()), (2, Status::Up, true));
        assert_eq!(play(&mut fsm, "-"), "D!6");
        fsm.retime(timing(7));
        assert_eq!(fsm.status(), Status::Down);
        assert_eq!(play(&mut fsm, "-+"), "D6 U!6");
    }

    #[test]
    fn first_is_said_once() {
        let mut fsm = Fsm::new(Status::Up, timing(1));
        let now = Instant::now();
        assert!(!fsm.on(&Outcome::NotRun(String::new()), now).first);
        assert!(fsm.on(&Outcome::Passed, now).first);
        assert!(!fsm.on(&Outcome::Passed, now).first);
    }
}
