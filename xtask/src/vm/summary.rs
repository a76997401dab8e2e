//! What is printed at the end, and `--list`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::fetch;
use super::kernels::{KERNELS, Wanted};

/// What came of one kernel.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) release: String,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

pub(super) enum Outcome {
    /// The job ran to its end.
    Ended { status: u8, failures: Vec<String> },
    /// The mirror has no such kernel, or, in a smoke run, is away.
    Skipped(String),
    /// The kernel exists and could not be fetched.
    Unavailable(String),
    /// The guest did not start, or died, and what had failed before that.
    Broken { reason: String, failures: Vec<String> },
}

impl Row {
    pub(super) fn new(name: &str) -> Self {
        let outcome = Outcome::Skipped("not tried".into());
        Self { name: name.to_owned(), release: "-".into(), outcome, took: Duration::ZERO }
    }

    /// How this program ends where this was the only kernel.
    pub(super) fn alone(&self) -> ExitCode {
        match &self.outcome {
            Outcome::Ended { status, .. } => ExitCode::from(*status),
            Outcome::Skipped(reason) => {
                eprintln!("error: {reason}; hint: `cargo xtask vm --list` shows the kernels known");
                ExitCode::FAILURE
            }
            Outcome::Unavailable(reason) | Outcome::Broken { reason, .. } => {
                eprintln!("error: {reason}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Outcome {
    pub(super) fn is_well(&self) -> bool {
        matches!(self, Self::Ended { status: 0, .. } | Self::Skipped(_))
    }

    fn sentence(&self) -> String {
        match self {
            Self::Ended { status: 0, .. } => "passed".into(),
            Self::Ended { status, .. } => format!("FAILED, exit status {status}"),
            Self::Skipped(reason) => format!("skipped: {reason}"),
            Self::Unavailable(reason) => format!("FAILED, not fetched: {reason}"),
            Self::Broken { reason, .. } => format!("FAILED: {reason}"),
        }
    }
}

/// One line a kernel, and the names of tests that failed below it.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!("\n{:<8} {:<26} {:>6}  result\n", "kernel", "release", "time");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<8} {:<26} {:>4} s  {}",
            row.name,
            row.release,
            row.took.as_secs(),
            row.outcome.sentence()
        );
        if let Outcome::Ended { failures, .. } | Outcome::Broken { failures, .. } = &row.outcome {
            for failure in failures {
                let _ = writeln!(text, "{:<43}  - {failure}", "");
            }
        }
    }
    text
}

/// `--list`.
pub(super) fn list() -> String {
    let mut text = format!("{:<8} {:<26} suites of Debian\n", "kernel", "here");
    for kernel in KERNELS {
        let release = fetch::here(kernel.name).map_or_else(|| "-".into(), |kernel| kernel.release);
        let suites = Wanted::from(kernel).suites.join(", ");
        let _ = writeln!(text, "{:<8} {release:<26} {suites}", kernel.name);
    }
    text
}

/// Names of the tests that failed, from a job's output.
pub(super) fn failures(output: &Path) -> Vec<String> {
    let text = std::fs::read(output).unwrap_or_default();
    failed_tests(&String::from_utf8_lossy(&text))
}

/// From the lines `test NAME ... FAILED` of the harness, which are all there is where the guest died, and from the list
/// at its end, because what a test prints itself may stand between its name and that word.
fn failed_tests(text: &str) -> Vec<String> {
    let mut failed: Vec<String> = Vec::new();
    let mut listing = false;
    for line in text.lines() {
        let told = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        let listed = line.strip_prefix("    ").filter(|_| listing);
        listing = line == "failures:" || (listing && (line.is_empty() || listed.is_some()));
        let Some(name) = told.or(listed).filter(|name| !name.contains(char::is_whitespace)) else {
            continue;
        };
        if !failed.iter().any(|known| known == name) {
            failed.push(name.to_owned());
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome) -> Row {
        Row {
            name: "6.1".into(),
            release: "6.1.0-50-amd64".into(),
            outcome,
            took: Duration::from_secs(7),
        }
    }

    #[test]
    fn what_the_mirror_does_not_offer_is_no_failure_and_what_could_not_be_fetched_is() {
        assert!(Outcome::Skipped("x".into()).is_well());
        assert!(Outcome::Ended { status: 0, failures: vec![] }.is_well());
        assert!(!Outcome::Unavailable("x".into()).is_well());
        assert!(!Outcome::Ended { status: 3, failures: vec![] }.is_well());
        assert!(!Outcome::Broken { reason: "x".into(), failures: vec![] }.is_well());
    }

    #[test]
    fn the_table_names_kernel_time_result_and_failures() {
        let text = table(&[row(Outcome::Ended { status: 1, failures: vec!["tcp::nat".into()] })]);
        for part in ["6.1 ", "6.1.0-50-amd64", "7 s", "FAILED, exit status 1", "- tcp::nat"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn failed_tests_are_those_of_the_harness_list() {
        let text = "test a ... ok\ntest b::c ... FAILED\n\nfailures:\n\n---- b::c stdout ----\n    indented words\n\n\
                    failures:\n    b::c\n    d\n\ntest result: FAILED.\n    e\n";
        assert_eq!(failed_tests(text), ["b::c", "d"]);
    }

    #[test]
    fn a_guest_that_died_has_told_of_failures_before() {
        let text = "test a ... FAILED\ntest b ... ok\ntest c ... ";
        assert_eq!(failed_tests(text), ["a"]);
    }
}
