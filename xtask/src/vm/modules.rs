//! Which modules the guest needs before it sees the host's files, and in which order they are loaded.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// By name; what the index does not know is built in.
const EARLY: &[&str] = &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

/// The early modules and all they need, as paths below the modules' folder, each after those it needs.
pub(super) fn early(index: &str) -> Vec<String> {
    let mut ordered: Vec<String> = Vec::new();
    for name in EARLY {
        let Some((path, needs)) =
            index.lines().filter_map(entry).find(|(path, _)| name_of(path) == *name)
        else {
            continue;
        };
        // The index lists what is needed with the deepest last.
        for path in needs.split_whitespace().rev().chain([path]) {
            if !ordered.iter().any(|known| known == path) {
                ordered.push(path.to_owned());
            }
        }
    }
    ordered
}

/// `path: needs` of a line of `modules.dep`.
fn entry(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')
}

/// A module's name as the kernel writes it, from its path.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// A module's content, unpacked: the guest's first program may not know how.
pub(super) fn content(path: &Path) -> Result<Vec<u8>> {
    let unpacker = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => {
            return std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        }
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is packed in a way unknown here", path.display()),
    };
    let mut command = Command::new(unpacker);
    let answer = command.arg("-dc").arg(path).output().with_context(|| {
        format!("cannot run {unpacker} on {}; hint: install its package", path.display())
    })?;
    ensure!(answer.status.success(), "{unpacker} cannot unpack {}", path.display());
    Ok(answer.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "kernel/net/9p/9pnet.ko.xz:\n\
                         kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz\n\
                         kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n\
                         kernel/fs/netfs/netfs.ko.xz:\n\
                         kernel/fs/overlayfs/overlay.ko.xz:\n\
                         kernel/drivers/gpu/9p-like.ko.xz: kernel/x.ko.xz\n";

    #[test]
    fn a_module_comes_after_what_it_needs_and_once() {
        assert_eq!(
            early(INDEX),
            [
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/net/9p/9pnet_virtio.ko.xz",
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
                "kernel/fs/overlayfs/overlay.ko.xz",
            ]
        );
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(name_of("kernel/net/sched/sch-netem.ko.zst"), "sch_netem");
        assert_eq!(name_of("kernel/fs/9p/9p.ko"), "9p");
    }
}
