//! What the guest is to do, as a shell script: environment, folder, command.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A command for the guest.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Where it starts; the same path as on the host.
    pub(super) folder: PathBuf,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Variables beside those that are passed on.
    pub(super) variables: Vec<(String, String)>,
}

/// Beginnings of the names of variables that are passed on from the caller.
const PASSED: &[&str] = &["XLB_", "RUST_", "CARGO_TERM_", "PROPTEST_"];

impl Job {
    /// A command in the caller's folder, with what the caller's environment has for it.
    pub(super) fn here(command: Vec<String>) -> Result<Self> {
        let folder = std::env::current_dir().context("cannot find the current folder")?;
        let passed = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let wanted = PASSED.iter().any(|start| name.starts_with(start));
            wanted.then(|| value.into_string().ok().map(|value| (name, value))).flatten()
        });
        Ok(Self { folder, command, variables: passed.collect() })
    }

    /// The script. `XLB_VM` tells it who executes its instructions, `XLB_SCRATCH` where the host sees what it writes.
    pub(super) fn script(&self, accel: &str, scratch: &Path) -> String {
        let mut script = format!("export HOME=/root\nexport XLB_VM={accel}\n");
        let scratch = ("XLB_SCRATCH".to_owned(), scratch.to_string_lossy().into_owned());
        for (name, value) in self.variables.iter().chain([&scratch]) {
            // Writing to a String cannot fail.
            let _ = writeln!(script, "export {name}={}", quoted(value));
        }
        let _ = writeln!(script, "cd {} || exit 127", quoted_path(&self.folder));
        let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(script, "exec {}", words.join(" "));
        script
    }
}

/// A word that the shell takes as it is.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The same for a path.
pub(super) fn quoted_path(path: impl AsRef<OsStr>) -> String {
    quoted(&path.as_ref().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_guest_as_they_were_given() {
        let words = [
            "",
            "plain",
            "two words",
            "$HOME `id`",
            "it's",
            "a\nb",
            "*",
            "-n",
            "\\",
            "\"",
            "~",
            "a=b",
        ];
        let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let script = format!("for word in {command}; do printf '%s\\0' \"$word\"; done");
        let said = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        let expected = format!("{}\0", words.join("\0"));
        assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
    }

    #[test]
    fn a_script_sets_variables_and_folder_before_the_command() {
        let job = Job {
            folder: "/a b".into(),
            command: vec!["echo".into(), "it's".into()],
            variables: vec![("XLB_REQUIRE".into(), "bpf,netns".into())],
        };
        assert_eq!(
            job.script("tcg", Path::new("/s")),
            "export HOME=/root\nexport XLB_VM=tcg\nexport XLB_REQUIRE=bpf,netns\nexport XLB_SCRATCH=/s\n\
             cd '/a b' || exit 127\nexec echo 'it'\\''s'\n"
        );
    }
}
