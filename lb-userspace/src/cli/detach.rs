//! `xlb detach`: removes what a dead or `--keep` daemon left in the kernel.

use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::instance::InstanceArgs;
use super::{exit, output};

/// Remove the programs, links and pins that a dead or `--keep` daemon left
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct DetachArgs {
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// Why nothing was touched.
#[derive(Debug, thiserror::Error)]
#[error("xlb instance `{instance}` is running and answers at {path}; stop it instead")]
struct StillRunning {
    instance: String,
    path: PathBuf,
}

/// Runs the command. `remove` is given the pin directory and the run directory (for the instance's lock); it takes
/// everything out of the kernel and says what that was.
pub fn detach<R: Display, E: Error>(
    args: &DetachArgs,
    remove: impl FnOnce(&Path, &Path) -> Result<R, E>,
) -> ExitCode {
    let (pin_dir, run_dir) = (args.instance.pin_dir(), args.instance.run_dir());
    match args.instance.connect() {
        Ok(_) => {
            let instance = args.instance.instance.clone();
            let path = run_dir.join(crate::api::SOCKET);
            return exit::fail(&StillRunning { instance, path }, exit::FAILED);
        }
        Err(error) if error.is_no_daemon() => {}
        // It cannot be known whether somebody relies on the data path.
        Err(error) => return exit::fail_client(&error),
    }
    match remove(&pin_dir, &run_dir) {
        Ok(removed) => output::print(|out| writeln!(out, "{removed}")),
        Err(error) => exit::fail(&error, exit::HOST),
    }
}
