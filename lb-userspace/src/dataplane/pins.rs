//! Where the pins of an instance are, and how names become file names there.
//!
//! `<pin-dir>/maps/<NAME>`, `<pin-dir>/progs/<xdp|tc_ingress|expire|clock>`, `<pin-dir>/links/<interface>`.

use std::io;
use std::path::{Path, PathBuf};

/// The folders of an instance's pins.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Pins under `pin_dir`.
    pub fn new(pin_dir: &Path) -> Self {
        Self { root: pin_dir.to_owned() }
    }

    /// The pin directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the maps.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Folder of the programs.
    pub fn progs(&self) -> PathBuf {
        self.root.join("progs")
    }

    /// Folder of the links.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Pin of the link of `interface`.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.links().join(file_name(interface))
    }

    /// Folders of maps that were looked at beside the instance's, and should be gone.
    pub fn aside(&self) -> io::Result<Vec<PathBuf>> {
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == "probe" || name.starts_with("why-")
        };
        Ok(entries(&self.root)?.into_iter().filter(ours).collect())
    }

    /// Every pin there is, programs and links included. A folder that is not there has none.
    pub fn all(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        // Links first: whoever removes the pins in this order stops the traffic before the tables go.
        for folder in [self.links(), self.progs(), self.maps()] {
            found.extend(entries(&folder)?);
        }
        Ok(found)
    }
}

/// Files in a folder, sorted; none if it is not there.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths =
        listed.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// An interface's name as a file name: bpffs refuses dots (kernel/bpf/inode.c, `bpf_lookup`), and `eth0.100` has one.
pub fn file_name(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

/// The interface that a file name stands for.
pub fn interface_name(file: &str) -> String {
    file.replace("%2e", ".").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_survive_the_way_through_file_names() {
        for name in ["eth0", "eth0.100", "a%2eb", "%", "veth%.7"] {
            let file = file_name(name);
            assert!(!file.contains('.'), "{file}");
            assert_eq!(interface_name(&file), name);
        }
    }
}
