//! Brings a kernel: finds it in Debian, unpacks it under `.tools/vm/kernels/<name>`, and the static busybox that is the
//! guest's first program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::kernels::{PARTS, Wanted, numbers_of, parts_of};
use crate::apt::{Apt, Suite};
use crate::process::{run, say, tools_dir};

/// A kernel that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The image that the machine starts.
    pub(super) image: PathBuf,
    /// `lib/modules/<release>`, with its index.
    pub(super) modules: PathBuf,
}

/// What came of looking for one.
pub(super) enum Found {
    Here(Kernel),
    /// The mirror answers and has none; the sentence says where it was looked for.
    NotOffered(String),
}

/// How long a suite's lists are taken for fresh.
const LISTS_LIVE: Duration = Duration::from_hours(24);

/// Everything this command keeps.
pub(super) fn home() -> PathBuf {
    tools_dir().join("vm")
}

/// The kernel of this name, if it was brought before.
pub(super) fn here(name: &str) -> Option<Kernel> {
    installed(&home().join("kernels").join(name)).ok()
}

/// The kernel, brought first where it is missing, or brought again where `refresh` asks for what is newest now.
pub(super) fn kernel(wanted: &Wanted, refresh: bool) -> Result<Found> {
    let present = here(&wanted.name);
    if let (Some(kernel), false) = (&present, refresh) {
        return Ok(Found::Here(kernel.clone()));
    }
    say(&format!("looking for kernel {} in {}", wanted.name, wanted.suites.join(", ")));
    let Some((release, apt, packages)) = newest(wanted, refresh)? else {
        let reason =
            format!("the mirror has no kernel {} in {}", wanted.name, wanted.suites.join(", "));
        return Ok(Found::NotOffered(reason));
    };
    if let Some(kernel) = present.filter(|kernel| kernel.release == release) {
        return Ok(Found::Here(kernel));
    }
    let place = home().join("kernels").join(&wanted.name);
    let part = place.with_file_name(format!("{}.part", wanted.name));
    remove(&part)?;
    say(&format!("bringing kernel {release} (about 100 MB)"));
    apt.unpack(&parts_of(&release, &packages)?, &part)?;
    index(&part, &release)?;
    installed(&part).context("the kernel's packages lack something")?;
    remove(&place)?;
    fs::rename(&part, &place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(Found::Here(installed(&place)?))
}

/// The newest release that fits, the apt of its suite and that suite's packages.
fn newest(wanted: &Wanted, refresh: bool) -> Result<Option<(String, Apt, Vec<String>)>> {
    let mut best: Option<(String, Apt, Vec<String>)> = None;
    let mut unreachable = None;
    for suite in &wanted.suites {
        let (apt, packages) = match listed(suite, refresh) {
            Ok(Some(found)) => found,
            Ok(None) => {
                eprintln!("   the mirror does not offer {suite}");
                continue;
            }
            Err(error) => {
                eprintln!("   {error:#}");
                unreachable = Some(error);
                continue;
            }
        };
        let Some(release) = wanted.pick(&packages) else { continue };
        let newer = |(old, ..): &(String, Apt, Vec<String>)| numbers_of(old) < numbers_of(&release);
        if best.as_ref().is_none_or(newer) {
            best = Some((release, apt, packages));
        }
    }
    match (best, unreachable) {
        (None, Some(error)) => {
            Err(error.context(format!("cannot look for kernel {}", wanted.name)))
        }
        (best, _) => Ok(best),
    }
}

/// The suite's kernel packages; `None` where the mirror has no such suite.
fn listed(suite: &str, refresh: bool) -> Result<Option<(Apt, Vec<String>)>> {
    let home = home().join("apt").join(suite);
    let apt = Apt::new(&home, suite)?;
    let stamp = home.join("updated");
    if refresh || !fresh(&stamp) {
        if let Suite::NotOffered = apt.update()? {
            return Ok(None);
        }
        fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    let mut packages = Vec::new();
    for part in PARTS {
        packages.extend(apt.names(part)?);
    }
    Ok(Some((apt, packages)))
}

fn fresh(stamp: &Path) -> bool {
    let written = fs::metadata(stamp).and_then(|data| data.modified());
    written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < LISTS_LIVE))
}

/// Writes what a package's installation would: the index of modules.
fn index(place: &Path, release: &str) -> Result<()> {
    // New packages have `/usr/lib`; the index's program looks in `/lib`.
    if !place.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", place.join("lib"))
            .with_context(|| format!("cannot make {}/lib", place.display()))?;
    }
    let depmod = crate::process::which("depmod").context("no depmod here; hint: install kmod")?;
    run(Command::new(depmod).arg("-b").arg(place).arg(release))
}

/// The kernel that lies in a folder.
fn installed(place: &Path) -> Result<Kernel> {
    let folder = place.join("lib/modules");
    let listed =
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut releases = Vec::new();
    for entry in listed {
        releases.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let [release] = &releases[..] else {
        bail!("{} has {} kernels, not one", folder.display(), releases.len());
    };
    let modules = folder.join(release);
    ensure!(modules.join("modules.dep").is_file(), "{} has no index", modules.display());
    let places = [place.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = places.into_iter().find(|image| image.is_file());
    let image = image.with_context(|| format!("{} has no image of the kernel", place.display()))?;
    Ok(Kernel { release: release.clone(), image, modules })
}

/// The static busybox, from any suite that has one.
pub(super) fn busybox() -> Result<PathBuf> {
    let place = home().join("busybox");
    let find = || {
        ["bin/busybox", "usr/bin/busybox"]
            .map(|name| place.join(name))
            .into_iter()
            .find(|path| path.is_file())
    };
    if let Some(program) = find() {
        return Ok(program);
    }
    let mut reasons = Vec::new();
    for suite in ["trixie", "bookworm", "sid"] {
        let fetched = listed(suite, false).and_then(|found| match found {
            Some((apt, _)) => apt.unpack(&["busybox-static".into()], &place),
            None => bail!("the mirror does not offer {suite}"),
        });
        match fetched {
            Ok(()) => break,
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    find().with_context(|| format!("cannot bring busybox-static: {}", reasons.join("; ")))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
