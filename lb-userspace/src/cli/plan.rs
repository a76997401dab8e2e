//! `xlb plan FILE`: what a reload of the file would change.
//!
//! The running daemon compares, for only it knows what is in force. Without one everything is new.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::instance::InstanceArgs;
use super::{exit, output};
use crate::api::{Refusal, RefusalKind};
use crate::config::model::Config;
use crate::control::diff::{self, PlanLine};

/// What a reload of FILE would change, as a diff; touches nothing
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct PlanArgs {
    /// The configuration to compare with the one in force
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// Runs the command. `read` reads a configuration, as the daemon would, into a model and its rendered warnings; it is
/// called only if no daemon answers.
pub fn plan(
    args: &PlanArgs,
    read: impl FnOnce(&Path) -> Result<(Config, String), Refusal>,
) -> ExitCode {
    // The daemon's working directory is not ours.
    let path = match std::path::absolute(&args.file) {
        Ok(path) => path,
        Err(error) => return exit::fail(&error, exit::FAILED),
    };
    match args.instance.connect().and_then(|mut client| client.plan(&path)) {
        Ok(planned) => {
            let against = format!("generation {}", planned.generation);
            show(&planned.changes, &planned.diagnostics, &against)
        }
        Err(error) if error.is_no_daemon() => match read(&path) {
            Ok((config, diagnostics)) => {
                let changes = diff::between(&Config::default(), &config);
                show(&changes, &diagnostics, "nothing: no daemon is running")
            }
            Err(refusal) => {
                eprintln!("{}", refusal.message.trim_end());
                ExitCode::from(match refusal.kind {
                    RefusalKind::Configuration => exit::CONFIGURATION,
                    RefusalKind::Host => exit::HOST,
                    _ => exit::FAILED,
                })
            }
        },
        Err(error) => exit::fail_client(&error),
    }
}

fn show(changes: &[PlanLine], diagnostics: &str, against: &str) -> ExitCode {
    eprint!("{diagnostics}");
    output::print(|mut out| {
        writeln!(out, "compared with {against}")?;
        lines(&mut out, changes)?;
        if changes.is_empty() {
            writeln!(out, "no change")?;
        }
        Ok(())
    })
}

/// A diff, a line for each change.
pub fn lines(out: &mut impl Write, changes: &[PlanLine]) -> io::Result<()> {
    for line in changes {
        writeln!(out, "{} {}", line.change.sign(), line.text)?;
    }
    Ok(())
}
