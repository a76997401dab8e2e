//! The end: links, programs and maps of an instance leave the kernel.

use std::fmt;
use std::path::Path;

use super::attach;
use super::error::LoadError;
use super::lock::InstanceLock;
use super::pins::{self, Pins};

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Interfaces that no longer run the program.
    pub interfaces: Vec<String>,
    /// Pins of programs.
    pub programs: Vec<String>,
    /// Pins of maps.
    pub maps: Vec<String>,
}

impl Removed {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing was attached or pinned");
        }
        let list = |names: &[String]| {
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        writeln!(f, "detached from: {}", list(&self.interfaces))?;
        writeln!(f, "programs removed: {}", list(&self.programs))?;
        write!(f, "maps removed: {}", list(&self.maps))
    }
}

/// [`detach`] for who is not the daemon: refuses while one holds the instance's lock in `run_dir`.
pub fn detach_dead(pin_dir: &Path, run_dir: &Path) -> Result<Removed, LoadError> {
    let _lock = InstanceLock::acquire(run_dir)?;
    detach(pin_dir)
}

/// Removes everything under `pin_dir`: links first, so that no packet meets half a set of tables. Does nothing, and
/// says so, where nothing is. Whoever calls it holds the instance's lock. K-25
pub fn detach(pin_dir: &Path) -> Result<Removed, LoadError> {
    let pins = Pins::new(pin_dir);
    let removed = Removed {
        interfaces: attach::detach_all(&pins)?,
        programs: empty(&pins.progs())?,
        maps: empty(&pins.maps())?,
    };
    // Left by a start or an `xlb why` that was killed.
    let aside = pins.aside().map_err(LoadError::file("list", pin_dir))?;
    for folder in &aside {
        empty(folder)?;
    }
    let own = [pins.links(), pins.progs(), pins.maps()];
    let root = pin_dir.to_owned();
    for folder in own.iter().chain(&aside).chain([&root]) {
        match std::fs::remove_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // The operator's own: a mount point, or files that are not ours.
            Err(_) if *folder == root => {}
            Err(error) => return Err(LoadError::file("remove", folder)(error)),
        }
    }
    Ok(removed)
}

/// Removes the files of a folder; their names.
fn empty(folder: &Path) -> Result<Vec<String>, LoadError> {
    pins::entries(folder)
        .map_err(LoadError::file("list", folder))?
        .into_iter()
        .map(|path| {
            std::fs::remove_file(&path).map_err(LoadError::file("remove", &path))?;
            Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        })
        .collect()
}
