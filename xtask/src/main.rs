//! `cargo xtask`: what a developer of xlb runs. One file per command; nothing has to be installed by hand before.

mod apt;
mod coverage;
mod demo;
mod docs;
mod ebpf;
mod golden;
mod packages;
mod process;
mod rust_src;
mod rustc_wrapper;
#[path = "../../lb-userspace/build/source_hash.rs"]
mod source_hash;
mod sources;
mod strip;
mod test;
mod tidy;
mod tools;
mod versions;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a developer of xlb runs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the eBPF object and record the hash of its sources.
    Ebpf {
        /// Build it apart and compare with the committed one.
        #[arg(long)]
        check: bool,
    },
    /// Everything a change has to pass: formatting, rules of the house, lints, tests.
    Test {
        /// Only tests whose names contain this.
        only: Option<String>,
    },
    /// Hold the golden packets of tests/golden against every data path.
    Golden {
        /// Write them anew first; `git diff tests/golden` is the review.
        #[arg(long)]
        write: bool,
    },
    /// Build the daemon and run its demo.
    Demo {
        /// Passed on to `xlb demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Which cases of the test catalogue have a test.
    Coverage {
        /// Write docs/coverage.md.
        #[arg(long, conflicts_with = "check")]
        write: bool,
        /// See that docs/coverage.md is fresh.
        #[arg(long)]
        check: bool,
    },
    /// The pages generated from the source, such as docs/reasons.md.
    Docs {
        #[command(flatten)]
        what: WriteOrCheck,
    },
    /// The rules of the house that no compiler checks.
    Tidy,
    /// Run a command, or the tests, on one of Debian's kernels in a virtual machine.
    Vm(vm::Arguments),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct WriteOrCheck {
    /// Write them.
    #[arg(long)]
    write: bool,
    /// See that they are fresh.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    if std::env::var_os(rustc_wrapper::SWITCH).is_some() {
        return rustc_wrapper::exec();
    }
    let outcome = match Arguments::parse().command {
        Command::Ebpf { check: false } => ebpf::build(),
        Command::Ebpf { check: true } => ebpf::check(),
        Command::Test { only } => test::test(only.as_deref()),
        Command::Golden { write } => golden::golden(write),
        Command::Demo { arguments } => demo::demo(&arguments),
        Command::Coverage { write, check } => coverage::coverage(write, check),
        Command::Docs { what: WriteOrCheck { write: true, .. } } => docs::write(),
        Command::Docs { .. } => docs::check(),
        Command::Tidy => tidy::tidy(),
        Command::Vm(arguments) => return ended(vm::vm(&arguments)),
    };
    ended(outcome.map(|()| ExitCode::SUCCESS))
}

fn ended(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
