//! From the command line to the command.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::command::{Cli, Command};
use super::{
    capture, check, conns, demo, detach, exit, list, plan, reload, run as daemon, run_args, stats,
    why,
};
use crate::dataplane::detach::detach_dead;

/// Parses `args`, the program's name first, and runs what they ask for.
pub fn dispatch(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::try_parse_from(args) {
        Ok(cli) => run(&cli.command),
        Err(error) => {
            // Help and version come this way too, for standard output. Code 2 is for configurations.
            let code = if error.use_stderr() { exit::FAILED } else { exit::OK };
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

fn run(command: &Command) -> ExitCode {
    match command {
        Command::Run(args) => daemon::run(args),
        Command::Check(args) => check::check(args),
        Command::Plan(args) => {
            plan::plan(args, |path| daemon::read_file(path, &run_args::host_id()))
        }
        Command::Reload(args) => reload::reload(args),
        Command::Stats(args) => stats::stats(args),
        Command::List(args) => list::list(args),
        Command::Conns(args) => conns::conns(args),
        Command::Why(args) => why::why(args),
        Command::Capture(args) => capture::capture(args),
        Command::Demo(args) => demo::run(args),
        Command::Detach(args) => detach::detach(args, detach_dead),
    }
}
