//! `xlb reload`: the running daemon reads its file again.

use std::process::ExitCode;

use super::instance::InstanceArgs;
use super::{exit, output, plan};

/// Ask the running daemon to read its configuration again, as SIGHUP does
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// Runs the command.
pub fn reload(args: &ReloadArgs) -> ExitCode {
    match args.instance.connect().and_then(|mut client| client.reload()) {
        Ok(done) => {
            eprint!("{}", done.diagnostics);
            output::print(|mut out| {
                plan::lines(&mut out, &done.changes)?;
                writeln!(out, "generation {} is in force", done.generation)
            })
        }
        Err(error) => exit::fail_client(&error),
    }
}
