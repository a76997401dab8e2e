//! Rules about files as such: their length, and that nothing in them belongs to one machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::root;
use crate::sources::Source;

/// The hard stop; about 500 is the habit.
const MOST_LINES: usize = 800;

/// Files longer than the hard stop.
pub(super) fn too_long(rust: &[Source]) -> Vec<String> {
    let lines = |source: &Source| source.text.lines().count();
    rust.iter()
        .filter(|source| lines(source) > MOST_LINES)
        .map(|source| {
            format!(
                "{}: {} lines, more than {MOST_LINES}; hint: split it",
                source.path,
                lines(source)
            )
        })
        .collect()
}

/// Tracked files that name a folder of this machine, or packages from elsewhere than the public registry.
pub(super) fn of_this_machine(tracked: &[String]) -> Result<Vec<String>> {
    let folders = machine_folders();
    let mut broken = Vec::new();
    for path in tracked {
        let content = fs::read(root().join(path)).with_context(|| format!("cannot read {path}"))?;
        for folder in &folders {
            if contains(&content, folder.as_bytes()) {
                broken.push(format!("{path}: names the folder {folder} of this machine"));
            }
        }
        if path.ends_with("Cargo.lock") {
            broken.extend(foreign_registries(path, &String::from_utf8_lossy(&content)));
        }
    }
    Ok(broken)
}

/// The checkout, cargo's and rustup's homes; short names that occur by chance apart.
fn machine_folders() -> Vec<String> {
    let home = std::env::home_dir();
    let home_of = |variable: &str, folder: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(folder)))
    };
    [Some(root()), home_of("CARGO_HOME", ".cargo"), home_of("RUSTUP_HOME", ".rustup")]
        .into_iter()
        .flatten()
        .filter(|folder| folder.components().count() > 2)
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect()
}

fn foreign_registries(path: &str, lock: &str) -> Vec<String> {
    const PUBLIC: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    lock.lines()
        .filter(|line| line.starts_with("source = ") && *line != PUBLIC)
        .map(|line| format!("{path}: {line} is not the public registry"))
        .collect()
}

fn contains(content: &[u8], wanted: &[u8]) -> bool {
    content.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_hard_stop_is_told() {
        let source = |lines| Source { path: "a.rs".into(), text: "x\n".repeat(lines) };
        assert!(too_long(&[source(MOST_LINES)]).is_empty());
        assert_eq!(too_long(&[source(MOST_LINES + 1)]).len(), 1);
    }

    #[test]
    fn a_package_from_another_registry_is_told() {
        let lock = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                    source = \"git+https://example.org/x\"\n";
        let told = foreign_registries("Cargo.lock", lock);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("example.org"));
    }
}
