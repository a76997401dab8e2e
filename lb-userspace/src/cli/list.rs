//! `xlb list`: the table `ipvsadm -Ln` prints.

use std::process::ExitCode;

use super::instance::InstanceArgs;
use super::{exit, output};
use crate::stats::text;

/// The table `ipvsadm -Ln` prints: services and the real servers in their pools
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ListArgs {
    /// Accepted as in `ipvsadm -Ln`; addresses and ports are always numbers
    #[arg(short = 'n', long)]
    pub numeric: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// Runs the command.
pub fn list(args: &ListArgs) -> ExitCode {
    match args.instance.connect().and_then(|mut client| client.list()) {
        Ok(listing) if args.json => output::print_json(&listing),
        Ok(listing) => output::print(|mut out| text::list(&mut out, &listing)),
        Err(error) => exit::fail_client(&error),
    }
}
