//! A BPF file system of a test's own, for the maps that the object wants pinned.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounted while this lives; the pins go with it.
pub struct Pins(tempfile::TempDir);

impl Pins {
    /// Mounts one.
    pub fn mount() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        mount(Some("bpf"), dir.path(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("cannot mount a bpffs")?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // What is still open keeps the file system alive without its name.
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}
