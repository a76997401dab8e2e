//! `xlb stats`: services, real servers, counters, reasons.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::instance::InstanceArgs;
use super::{exit, output};
use crate::api::ClientError;
use crate::stats::report::Report;
use crate::stats::{rates, text};

/// How far apart the two samples of `--rate` are.
const SAMPLE: Duration = Duration::from_secs(1);

/// Services, real servers, counters, as `ipvsadm -Ln --stats` shows them
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct StatsArgs {
    /// Everything, as JSON
    #[arg(long, conflicts_with = "rate")]
    pub json: bool,
    /// Per second, measured over one second, as `ipvsadm -Ln --rate`
    #[arg(long, conflicts_with = "drops")]
    pub rate: bool,
    /// Why packets were dropped or left to the kernel
    #[arg(long)]
    pub drops: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// Runs the command.
pub fn stats(args: &StatsArgs) -> ExitCode {
    match fetch(args) {
        // The JSON has the reasons anyway.
        Ok(report) if args.json => output::print_json(&report),
        Ok(report) => output::print(|mut out| {
            if args.drops {
                text::reasons(&mut out, &report)
            } else if args.rate {
                text::rate(&mut out, &report)
            } else {
                text::stats(&mut out, &report)
            }
        }),
        Err(error) => exit::fail_client(&error),
    }
}

fn fetch(args: &StatsArgs) -> Result<Report, ClientError> {
    let mut client = args.instance.connect()?;
    let first = client.stats()?;
    if !args.rate {
        return Ok(first);
    }
    let from = Instant::now();
    thread::sleep(SAMPLE);
    let second = client.stats()?;
    Ok(rates::between(&first, &second, from.elapsed()))
}
