//! One hash over everything the eBPF object is made from.
//!
//! Used by `build.rs`, which refuses a stale object, and by `cargo xtask ebpf`, which writes the hash beside the object;
//! this file is compiled into both and therefore knows nothing of either. Paths count relative to the checkout, so that
//! the hash is the same wherever it lies.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The object that is committed, relative to the checkout.
pub(crate) const OBJECT: &str = "lb-ebpf/prebuilt/xlb.bpf.o";

/// The hash of the sources the committed object was built from.
pub(crate) const RECORDED: &str = "lb-ebpf/prebuilt/xlb.bpf.sources.sha256";

/// Folders whose Rust files count, test-only files apart.
pub(crate) const TREES: &[&str] = &["lb-common/src", "lb-ebpf/src"];

/// Single files that count. The root manifest is not among them: what it decides about dependencies of the kernel
/// side is in that side's own lock file.
pub(crate) const FILES: &[&str] = &[
    "lb-common/Cargo.toml",
    "lb-ebpf/Cargo.lock",
    "lb-ebpf/Cargo.toml",
    "rust-toolchain.toml",
    "xtask/src/versions.rs",
];

/// All files that count, relative to `root`, sorted.
pub(crate) fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    for tree in TREES {
        collect(root, Path::new(tree), &mut found)?;
    }
    found.sort();
    Ok(found)
}

/// The hash in hexadecimal: over path, length and content of each file in order. Line ends count as `\n`, so that a
/// checkout with `autocrlf` has the same hash.
pub(crate) fn digest(root: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for file in files(root)? {
        let content = fs::read(root.join(&file)).map_err(|error| named(&file, &error))?;
        let content: Vec<u8> = content.into_iter().filter(|&byte| byte != b'\r').collect();
        let path = file.to_string_lossy().replace('\\', "/");
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path.as_bytes());
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The hash that was recorded with the object; `None` where there is none.
pub(crate) fn recorded(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join(RECORDED)).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder)).map_err(|error| named(folder, &error))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if test_only(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Files that by the habits of this project are compiled for tests only.
fn test_only(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "proptests")
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
