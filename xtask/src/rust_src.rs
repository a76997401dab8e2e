//! The sources of the compiler's own library, which the eBPF target needs because nobody ships it built.
//!
//! First rustup is asked. Where it cannot reach its server, Debian's package of exactly the compiler's version serves:
//! it is fetched through an apt of our own ([`crate::apt`]), unpacked into `.tools` and linked to the place where cargo
//! looks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{Apt, Suite};
use crate::process::{root, run, say, tools_dir, which};
use crate::tools::sysroot;
use crate::versions::{DEBIAN_RUST_SRC, DebianRustSrc};

/// Where cargo's `build-std` looks, inside the sysroot.
const PLACE: &str = "lib/rustlib/src/rust/library";

/// The folder `library`, brought first where it is missing.
pub(crate) fn ensure() -> Result<PathBuf> {
    let place = sysroot()?.join(PLACE);
    if complete(&place) {
        return Ok(place);
    }
    say("bringing rust-src, the sources of the compiler's own library");
    let by_rustup = from_rustup(&place);
    let Err(no_rustup) = by_rustup else { return Ok(place) };
    eprintln!("   rustup has none for us ({no_rustup:#}); trying Debian's package");
    from_debian(&DEBIAN_RUST_SRC, &place).with_context(|| {
        format!("neither rustup ({no_rustup:#}) nor Debian could bring rust-src")
    })?;
    Ok(place)
}

fn complete(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

fn from_rustup(place: &Path) -> Result<()> {
    ensure!(which("rustup").is_some(), "no rustup here");
    // A link that leads nowhere, left by a checkout that is gone, would stop rustup.
    if place.is_symlink() {
        fs::remove_file(place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    run(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(root()))?;
    ensure!(complete(place), "rustup added rust-src, yet {} is not there", place.display());
    Ok(())
}

fn from_debian(wanted: &DebianRustSrc, place: &Path) -> Result<()> {
    let home = tools_dir().join(format!("rust-src-{}", wanted.version));
    let library = home.join(wanted.library);
    if !complete(&library) {
        let apt = Apt::new(&home.join("apt"), wanted.suite)?;
        if let Suite::NotOffered = apt.update()? {
            bail!("the mirror does not offer {}", wanted.suite);
        }
        apt.unpack(&[format!("{}={}", wanted.package, wanted.version)], &home)?;
    }
    ensure!(complete(&library), "the package has no {}", wanted.library);
    link(&library, place)
}

fn link(library: &Path, place: &Path) -> Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    if place.is_symlink() {
        fs::remove_file(place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    symlink(library, place).with_context(|| format!("cannot link {}", place.display()))
}
