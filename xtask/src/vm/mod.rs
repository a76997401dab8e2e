//! `cargo xtask vm`: runs a command, or the tests, on Debian's kernels in a virtual machine.
//!
//! The guest's files are the host's own, read-only by 9p, with its changes in memory above them: whatever is installed
//! and built here is there at the same path. Only the kernel and its modules come from elsewhere ([`fetch`]). One folder,
//! `$XLB_SCRATCH`, is shared for writing.

mod fetch;
mod initramfs;
mod job;
mod kernels;
mod machine;
mod modules;
mod suites;
mod summary;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use self::fetch::Found;
use self::job::Job;
use self::kernels::{KERNELS, Wanted};
use self::machine::Accel;
use self::summary::{Outcome, Row};
use crate::packages;
use crate::process::say;

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Arguments {
    /// The kernel: a name of --list, or the beginning of a version; may be given again.
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// Every kernel of --list.
    #[arg(long, conflicts_with_all = ["kernel", "list"])]
    all: bool,
    /// List the kernels known, and whether they are here.
    #[arg(long)]
    list: bool,
    /// Load, attach, and pass connections through NAT and full-NAT; on the two most used kernels unless others are named.
    #[arg(long, conflicts_with = "command")]
    smoke: bool,
    /// So many random sequences of packets through the kernel's IPVS and through xlb, compared frame by frame.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["command", "smoke"])]
    differential: Option<u64>,
    /// Without a command: only tests whose names contain this.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["command", "smoke"])]
    only: Option<String>,
    /// Look for newer kernels than those that are here.
    #[arg(long)]
    refresh: bool,
    /// Who executes the guest's instructions; KVM where it works unless this says otherwise.
    #[arg(long, value_name = "HOW")]
    accel: Option<Accel>,
    /// Processors of the guest.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    cpus: u8,
    /// Minutes until a guest is stopped.
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    timeout: u64,
    /// What to run as root in the guest; the tests if there is none.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Ends as the command in the guest ends where there is one kernel, else by whether all ended well.
pub(crate) fn vm(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        print!("{}", summary::list());
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = wanted(arguments)?;
    machine::fits_here()?;
    packages::ensure(&[packages::DEMO, packages::TESTS, packages::VM])?;
    let job = if arguments.smoke {
        suites::smoke()?
    } else if let Some(sequences) = arguments.differential {
        suites::differential(sequences, arguments.cpus)?
    } else if arguments.command.is_empty() {
        suites::all(arguments.only.as_deref())?
    } else {
        Job::here(arguments.command.clone())?
    };
    let rows: Vec<Row> = wanted.iter().map(|wanted| on(wanted, arguments, &job)).collect();
    if let ([row], false) = (&rows[..], arguments.all || arguments.smoke) {
        return Ok(row.alone());
    }
    print!("{}", summary::table(&rows));
    let all_well = rows.iter().all(|row| row.outcome.is_well());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wanted(arguments: &Arguments) -> Result<Vec<Wanted>> {
    if !arguments.kernel.is_empty() {
        return arguments.kernel.iter().map(|name| Wanted::parse(name)).collect();
    }
    ensure!(
        arguments.all || arguments.smoke,
        "which kernel? hint: --kernel 6.12, or --all; --list shows what there is"
    );
    let chosen = KERNELS.iter().filter(|kernel| arguments.all || kernel.smoke);
    Ok(chosen.map(Wanted::from).collect())
}

/// Whether `XLB_REQUIRE` (a list with commas) wants kernels that cannot be fetched to be failures.
fn required() -> bool {
    let required = std::env::var("XLB_REQUIRE").unwrap_or_default();
    required.split(',').any(|word| word.trim() == "vm")
}

/// The job on one kernel; what goes wrong becomes the row's outcome.
fn on(wanted: &Wanted, arguments: &Arguments, job: &Job) -> Row {
    let start = Instant::now();
    let mut row = Row::new(&wanted.name);
    row.outcome = match fetch::kernel(wanted, arguments.refresh) {
        Ok(Found::NotOffered(reason)) => Outcome::Skipped(reason),
        // A mirror that is away says nothing about xlb; the smoke run is part of every change.
        Err(error) if arguments.smoke && !required() => {
            Outcome::Skipped(format!("not fetched: {error:#}"))
        }
        Err(error) => Outcome::Unavailable(format!("{error:#}")),
        Ok(Found::Here(kernel)) => {
            row.release.clone_from(&kernel.release);
            boot(&kernel, arguments, job)
        }
    };
    row.took = start.elapsed();
    row
}

fn boot(kernel: &fetch::Kernel, arguments: &Arguments, job: &Job) -> Outcome {
    let accel = match arguments.accel.map_or_else(|| machine::accel(kernel), Ok) {
        Ok(accel) => accel,
        Err(error) => return Outcome::Broken { reason: format!("{error:#}"), failures: vec![] },
    };
    say(&format!("kernel {} ({})", kernel.release, accel.name()));
    let spec = machine::Spec {
        accel,
        cpus: arguments.cpus,
        limit: Duration::from_mins(arguments.timeout),
    };
    let status = machine::run(kernel, &spec, job);
    let failures = summary::failures(&machine::output_of(kernel));
    match status {
        Ok(status) => Outcome::Ended { status, failures },
        Err(error) => Outcome::Broken { reason: format!("{error:#}"), failures },
    }
}
