//! How configuration text reaches the lexer: a trait, the file system, and a map for tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Regular {
        /// Any execute bit: keepalived skips such includes.
        executable: bool,
    },
    Directory,
    /// Devices, pipes, sockets.
    Other,
}

/// Read access to files, as little as the language needs.
pub trait Reader {
    /// What `path` is, links followed.
    fn kind(&self, path: &Path) -> io::Result<FileKind>;

    /// The whole file; an error if it is longer than `limit` bytes or not a regular file.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Names in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// An environment variable, for `${_ENV NAME}`.
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsReader;

impl Reader for OsReader {
    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        Ok(kind_of(&fs::metadata(path)?))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // Non-blocking, so that a pipe without a writer can't hold us before we see what it is.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        if !matches!(kind_of(&file.metadata()?), FileKind::Regular { .. }) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {limit} bytes"),
            ));
        }
        Ok(bytes)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

fn kind_of(meta: &fs::Metadata) -> FileKind {
    if meta.is_file() {
        FileKind::Regular { executable: meta.permissions().mode() & 0o111 != 0 }
    } else if meta.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryReader {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl MemoryReader {
    /// Adds a file.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), bytes.into());
        self
    }
}

impl Reader for MemoryReader {
    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        if self.files.contains_key(path) {
            Ok(FileKind::Regular { executable: false })
        } else if self.files.keys().any(|file| file.starts_with(path)) {
            Ok(FileKind::Directory)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.clone())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(directory).ok()?.iter().next()?.to_str())
            .map(str::to_owned)
            .collect();
        names.dedup();
        Ok(names)
    }
}
