//! The built `xlb`, of the same profile as the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, ensure};

/// `target/<profile>/xlb`; built if it is not there.
pub fn xlb() -> anyhow::Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| find().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn find() -> anyhow::Result<PathBuf> {
    let test = env::current_exe().context("cannot find the test's own file")?;
    // target/<profile>/deps/<test>
    let folder = test.parent().context("the test is not in a target folder")?;
    // Tests lie in a folder of their own, this package's programs do not.
    let in_deps = folder.file_name().is_some_and(|name| name == "deps");
    let profile = if in_deps { folder.parent().unwrap_or(folder) } else { folder };
    let binary = profile.join("xlb");
    if !binary.is_file() {
        build(profile)?;
    }
    ensure!(binary.is_file(), "`{}` is missing after a build", binary.display());
    Ok(binary)
}

fn build(profile: &Path) -> anyhow::Result<()> {
    let target = profile.parent().context("the profile's folder has no parent")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "xlb"]);
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo build of xlb ended with {status}");
    Ok(())
}
