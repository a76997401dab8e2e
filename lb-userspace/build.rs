//! Embeds the eBPF object in the daemon, after checking that it was built from the sources beside it.
//!
//! Needs no LLVM, no linker and no rust-src: those are for `cargo xtask ebpf`, which writes the object that is
//! committed. The daemon includes it with
//! `aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb.bpf.o"))`.

#[path = "build/source_hash.rs"]
mod source_hash;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use source_hash::{FILES, OBJECT, RECORDED, TREES, digest, recorded};

/// Where a package of this crate alone, without the checkout around it, carries the object.
const PACKAGED: &str = "prebuilt/xlb.bpf.o";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // Cargo shows these lines above the rest of a failed build script's output.
            println!("cargo::error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("cargo did not set {name}"));
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = manifest.parent().unwrap_or(&manifest);

    let object = if root.join("lb-ebpf").is_dir() {
        for watched in FILES.iter().chain(TREES).chain(&[OBJECT, RECORDED]) {
            println!("cargo::rerun-if-changed={}", root.join(watched).display());
        }
        fresh(root)?;
        root.join(OBJECT)
    } else {
        // No sources to compare with: who made the package answers for it.
        println!("cargo::rerun-if-changed={PACKAGED}");
        manifest.join(PACKAGED)
    };
    fs::copy(&object, out.join("xlb.bpf.o"))
        .map_err(|error| format!("cannot copy {}: {error}", object.display()))?;
    Ok(())
}

/// The committed object is there and belongs to the sources.
fn fresh(root: &Path) -> Result<(), String> {
    let hash =
        digest(root).map_err(|error| format!("cannot hash the sources of {OBJECT}: {error}"))?;
    match recorded(root) {
        _ if !root.join(OBJECT).is_file() => {
            Err(format!("{OBJECT} is missing; hint: run `cargo xtask ebpf`"))
        }
        Some(recorded) if recorded == hash => Ok(()),
        Some(_) => Err(format!(
            "{OBJECT} is stale: the sources of the kernel side have changed since it was built; hint: run `cargo xtask ebpf`"
        )),
        None => Err(format!("{RECORDED} is missing; hint: run `cargo xtask ebpf`")),
    }
}
