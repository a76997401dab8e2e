//! The guest's first file system: a static busybox, the early modules and a script, as a cpio archive in the layout that
//! the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` calls `newc`.

use std::path::Path;

use anyhow::{Context, Result};

use super::{fetch, modules};

const SCRIPT: &str = include_str!("stage1.sh");

/// Builds it for a kernel. `settings` is what the script reads: shell assignments.
pub(super) fn build(kernel: &fetch::Kernel, busybox: &Path, settings: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "modules", "lower", "upper", "root"] {
        archive.folder(folder);
    }
    let program =
        std::fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.file("bin/busybox", 0o755, &program);
    archive.file("init", 0o755, SCRIPT.as_bytes());
    archive.file("settings", 0o644, settings.as_bytes());
    let index = kernel.modules.join("modules.dep");
    let index = std::fs::read_to_string(&index)
        .with_context(|| format!("cannot read {}", index.display()))?;
    for (at, path) in modules::early(&index).iter().enumerate() {
        let content = modules::content(&kernel.modules.join(path))?;
        archive.file(&format!("modules/{at:02}.ko"), 0o644, &content);
    }
    Ok(archive.finish())
}

/// An archive that grows.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | permissions, content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = content.len() as u32;
        // inode, mode, uid, gid, links, mtime, size, device, special device, length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_kernels_layout() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"abcde");
        let bytes = archive.finish();
        assert!(bytes.starts_with(b"070701000000010000"));
        // mode and size
        assert_eq!(&bytes[14..22], b"000081ed");
        assert_eq!(&bytes[54..62], b"00000005");
        // The head is 110 bytes; name with its zero, padded to 116; content padded to 124.
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..124], b"abcde\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
