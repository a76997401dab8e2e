//! `cargo xtask demo`: builds the daemon and runs its demo as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};

use crate::packages;
use crate::process::{as_root, cargo, is_root, run, say, target_dir};

/// Ends as the demo ends: this process becomes it, so that an interrupt reaches it alone.
pub(crate) fn demo(arguments: &[OsString]) -> Result<()> {
    packages::ensure(&[packages::DEMO])?;
    say("building the daemon");
    run(cargo().args(["build", "--release", "--package", "xlb"]))?;
    let program = target_dir().join("release/xlb");
    say(if is_root() { "starting the demo" } else { "starting the demo, as root through sudo" });
    let mut command = as_root(&program)?;
    command.arg("demo").args(arguments);
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}
