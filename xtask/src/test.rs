//! `cargo xtask test`: everything a change has to pass. Formatting, rules of the house, lints, then tests; those that
//! load programs and make namespaces run as root, through sudo where we are not.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{as_root, cargo, is_root, output, root, run, say, succeeds, which};
use crate::{packages, tidy, tools};

/// The crate whose tests need a kernel's favour.
const PRIVILEGED: &str = "lb-tests";

/// Namespaces and the kernel's verifier are shared; more tests at once only make deadlines pass.
const PRIVILEGED_THREADS: &str = "2";

/// Runs all of it; `only` restricts the tests to those whose names contain it.
pub(crate) fn test(only: Option<&str>) -> Result<()> {
    tools::component("rustfmt", "rustfmt")?;
    tools::component("cargo-clippy", "clippy")?;
    packages::ensure(&[packages::DEMO, packages::TESTS])?;

    say("formatting");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["fmt", "--manifest-path", "lb-ebpf/Cargo.toml", "--check"]))?;

    say("rules of the house");
    tidy::tidy()?;

    say("lints");
    let lint = ["--all-targets", "--", "-D", "warnings"];
    run(cargo().args(["clippy", "--workspace", "--all-features"]).args(lint))?;
    // As the kernel side sees it: without std.
    run(cargo().args(["clippy", "--package", "lb-common", "--", "-D", "warnings"]))?;

    say("unit and property tests");
    let runner = Runner::pick();
    run(runner.command(only).args(["--workspace", "--exclude", PRIVILEGED]))?;

    say("parity, conformance and end-to-end tests");
    privileged(&runner, only)?;

    if only.is_none() {
        say(&format!("{FUZZ_PACKETS} malformed packets"));
        fuzz()?;
    }
    Ok(())
}

/// Malformed packets that each change is tried with: under a minute on two processors. Not beside other tests, whose
/// deadlines would pass.
const FUZZ_PACKETS: &str = "20_000_000";

fn fuzz() -> Result<()> {
    let test =
        ["--package", "lb-tests", "--test", "fuzz", "no_malformed_packet_breaks_an_invariant"];
    let mut command = cargo();
    command.arg("test").args(test).args(["--", "--exact", "--nocapture"]);
    run(command.env("XLB_FUZZ_PACKETS", FUZZ_PACKETS))
}

fn privileged(runner: &Runner, only: Option<&str>) -> Result<()> {
    // The tests start the daemon as a program of its own.
    run(cargo().args(["build", "--package", "xlb", "--bins"]))?;
    let mut command = runner.command(only);
    command.args(["--package", PRIVILEGED]);
    if !is_root() {
        if which("sudo").is_none() {
            if std::env::var_os("XLB_REQUIRE").is_some_and(|required| !required.is_empty()) {
                bail!("XLB_REQUIRE asks for tests that need root, and there is no sudo here");
            }
            println!("skipped: parity, conformance and end-to-end tests; missing: root, or sudo");
            return Ok(());
        }
        // Only the test programs run as root: what cargo builds stays the user's.
        command.arg("--config").arg(run_as_root()?);
    }
    runner.limit(&mut command);
    run(&mut command)
}

/// Cargo configuration that puts sudo before each test program.
fn run_as_root() -> Result<OsString> {
    let version = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    // `env` with nothing after it but the test program that cargo appends.
    let sudo = as_root("env")?;
    let words: Vec<String> = std::iter::once(sudo.get_program())
        .chain(sudo.get_args())
        .map(|word| format!("{:?}", word.to_string_lossy()))
        .collect();
    Ok(format!("target.{host}.runner=[{}]", words.join(",")).into())
}

/// Who runs the tests: nextest where it is installed, else cargo itself.
enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    fn pick() -> Self {
        if succeeds(cargo().args(["nextest", "--version"])) { Self::Nextest } else { Self::Cargo }
    }

    fn command(&self, only: Option<&str>) -> Command {
        let mut command = cargo();
        match self {
            Self::Nextest => command.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass"]),
            Self::Cargo => command.args(["test", "--no-fail-fast"]),
        };
        command.args(only);
        command
    }

    /// Restricts how many tests run at once; has to come last, as cargo's own options end here.
    fn limit(&self, command: &mut Command) {
        match self {
            Self::Nextest => command.args(["--test-threads", PRIVILEGED_THREADS]),
            Self::Cargo => command.args(["--", "--test-threads", PRIVILEGED_THREADS]),
        };
    }
}
