//! The sources of the compiler's own library, which the eBPF target needs because nobody ships it built.
//!
//! First rustup is asked. Where it cannot reach its server, Debian's package of exactly the compiler's version serves:
//! it is fetched through an apt configuration of its own (own lists, cache and sources; the system's stay as they
//! are), unpacked into `.tools` and linked to the place where cargo looks.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{output, root, run, say, tools_dir, which};
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
    for program in ["apt-get", "dpkg"] {
        ensure!(which(program).is_some(), "no {program} here");
    }
    let home = tools_dir().join(format!("rust-src-{}", wanted.version));
    let library = home.join(wanted.library);
    if !complete(&library) {
        let config = private_apt(&home.join("apt"), wanted.suite)?;
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("APT_CONFIG", &config).current_dir(&home).args(["-qq"]).args(arguments);
            run(&mut command)
        };
        apt(&["update"])?;
        apt(&["download", &format!("{}={}", wanted.package, wanted.version)])?;
        let package = downloaded(&home)?;
        run(Command::new("dpkg").arg("-x").arg(&package).arg(&home))?;
        fs::remove_file(&package)
            .with_context(|| format!("cannot remove {}", package.display()))?;
    }
    ensure!(complete(&library), "the package has no {}", wanted.library);
    link(&library, place)
}

/// Writes an apt configuration that knows `suite` alone and keeps everything under `home`.
fn private_apt(home: &Path, suite: &str) -> Result<PathBuf> {
    for folder in ["lists/partial", "cache/archives/partial", "sources.d", "preferences.d"] {
        let folder = home.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mirror = mirror()?;
    write(
        &home.join("sources.list"),
        &format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"),
    )?;
    let mut text = String::new();
    for (key, value) in [
        ("Dir::Etc::SourceList", "sources.list"),
        ("Dir::Etc::SourceParts", "sources.d"),
        ("Dir::Etc::Preferences", "preferences"),
        ("Dir::Etc::PreferencesParts", "preferences.d"),
        ("Dir::State::Lists", "lists"),
        ("Dir::Cache", "cache"),
    ] {
        let value = home.join(value);
        let _ = writeln!(text, "{key} \"{}\";", value.display());
    }
    // apt's own unprivileged user may not reach into a home folder.
    text.push_str("APT::Sandbox::User \"root\";\n");
    let config = home.join("apt.conf");
    write(&config, &text)?;
    Ok(config)
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The Debian mirror that this machine's own apt uses.
fn mirror() -> Result<String> {
    let listed = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(CREATED_BY) $(ORIGIN) $(REPO_URI)",
    ]))?;
    pick_mirror(&listed).context("this machine's apt has no Debian mirror to take the package from")
}

/// The first package index of Debian itself, its security archive apart.
fn pick_mirror(listed: &str) -> Option<String> {
    let mut uris = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (Some("Packages"), Some("Debian"), Some(uri)) =
            (words.next(), words.next(), words.next())
        else {
            return None;
        };
        (!uri.contains("security")).then(|| uri.to_owned())
    });
    uris.next()
}

fn downloaded(folder: &Path) -> Result<PathBuf> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get download left no package in {}", folder.display())
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

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debian_and_not_its_security_archive() {
        let listed = "Packages Other http://other.example/apt/\n\
                      Contents-deb Debian http://mirror.example/debian/\n\
                      Packages Debian http://mirror.example/debian-security/\n\
                      Packages Debian http://mirror.example/debian/\n";
        assert_eq!(pick_mirror(listed).as_deref(), Some("http://mirror.example/debian/"));
    }

    #[test]
    fn a_machine_without_debian_has_no_mirror() {
        assert_eq!(pick_mirror("Packages Ubuntu http://mirror.example/ubuntu/\n"), None);
    }
}
