//! The tracked files of the checkout, and Rust sources taken apart as far as the rules of the house need it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{output, root};

/// A Rust file: its path in the checkout and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Paths of all files that are tracked or about to be, sorted; ignored ones apart.
pub(crate) fn tracked() -> Result<Vec<String>> {
    let listed = output(Command::new("git").current_dir(root()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut paths: Vec<String> = listed
        .split('\0')
        .filter(|path| !path.is_empty() && root().join(path).is_file())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// All Rust files of the checkout.
pub(crate) fn rust() -> Result<Vec<Source>> {
    let is_rust = |path: &String| Path::new(path).extension().is_some_and(|e| e == "rs");
    tracked()?
        .into_iter()
        .filter(is_rust)
        .map(|path| {
            let text = fs::read_to_string(root().join(&path))
                .with_context(|| format!("cannot read {path}"))?;
            Ok(Source { path, text })
        })
        .collect()
}

impl Source {
    /// Compiled for tests only, by the habits of this project.
    pub(crate) fn is_test_file(&self) -> bool {
        let stem = Path::new(&self.path).file_stem();
        self.path.starts_with("tests/")
            || self.path.split('/').any(|part| part == "tests")
            || stem.is_some_and(|stem| stem == "tests" || stem == "proptests" || stem == "testing")
    }

    /// Numbered lines of the product: comments are cut off, the tests at the end left out.
    pub(crate) fn product_lines(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        if self.is_test_file() {
            return lines;
        }
        let all: Vec<&str> = self.text.lines().collect();
        for (at, line) in all.iter().enumerate() {
            // Tests stand last; `mod tests;` in another file is one line.
            let tests_follow =
                *line == "#[cfg(test)]" && all.get(at + 1).is_some_and(|next| next.ends_with('{'));
            if tests_follow {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            if !code.trim().is_empty() {
                lines.push((at + 1, code));
            }
        }
        lines
    }
}
