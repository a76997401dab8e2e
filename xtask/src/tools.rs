//! Brings the build tools that are missing: the BPF linker and parts of the compiler.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cargo, output, root, run, say, succeeds, tools_dir, which};
use crate::versions::BPF_LINKER;

/// The folder with exactly the linker we want, installed there first where it is missing.
pub(crate) fn bpf_linker() -> Result<PathBuf> {
    let home = tools_dir().join(format!("bpf-linker-{BPF_LINKER}"));
    let folder = home.join("bin");
    let asked = Command::new(folder.join("bpf-linker")).arg("--version").output();
    if asked.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(BPF_LINKER)) {
        return Ok(folder);
    }
    say(&format!("installing bpf-linker {BPF_LINKER} (about two minutes, once)"));
    let mut install = cargo();
    install.args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"]);
    install.arg("--root").arg(&home).arg("--target-dir").arg(home.join("build"));
    own_flags_only(&mut install);
    run(&mut install).context("cannot install bpf-linker")?;
    // Only the program is wanted; what it was built from is large.
    std::fs::remove_dir_all(home.join("build"))
        .context("cannot remove bpf-linker's build folder")?;
    Ok(folder)
}

/// The folder of the compiler that `rust-toolchain.toml` names.
pub(crate) fn sysroot() -> Result<PathBuf> {
    let path = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()))?;
    Ok(PathBuf::from(path.trim()))
}

/// The compiler, where this machine has rustup but not yet the toolchain that `rust-toolchain.toml` names.
pub(crate) fn component(program: &str, component: &str) -> Result<()> {
    let asked = succeeds(Command::new(program).arg("--version").current_dir(root()));
    if asked || which("rustup").is_none() {
        return Ok(());
    }
    say(&format!("adding {component} to the compiler"));
    run(Command::new("rustup").args(["component", "add", component]).current_dir(root()))
}

/// Takes away what the caller's environment would add to a build whose outcome must not depend on it.
pub(crate) fn own_flags_only(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let foreign = name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_TARGET_")
            || name.starts_with("CARGO_UNSTABLE_")
            || name.starts_with("CARGO_PKG_")
            || matches!(
                name,
                "RUSTFLAGS"
                    | "CARGO_ENCODED_RUSTFLAGS"
                    | "CARGO_INCREMENTAL"
                    | "CARGO_MANIFEST_DIR"
                    | "CARGO_MANIFEST_PATH"
                    | "RUSTC"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "RUSTC_BOOTSTRAP"
                    | "SOURCE_DATE_EPOCH"
            );
        if foreign {
            command.env_remove(name);
        }
    }
}
