//! The public keepalived.conf cases: files, the answers expected, and keepalived itself as an oracle.
//!
//! The cases are data under `conformance/keepalived`; the README there explains their fields.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use xlb::config::{LoadOptions, Loaded, json, load};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The configuration.
    pub path: PathBuf,
    /// The answer expected.
    pub expected: Value,
}

/// Diagnostics as compared: code and line, warnings all, errors only the first.
type Said = BTreeSet<(String, u64)>;

impl Case {
    /// All cases in the order of their names.
    pub fn all() -> io::Result<Vec<Self>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/keepalived/cases");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|end| end == "conf") && path.is_file());
        paths.sort();
        paths
            .into_iter()
            .map(|path| {
                let expected =
                    serde_json::from_slice(&std::fs::read(path.with_extension("json"))?)?;
                Ok(Self { path, expected })
            })
            .collect()
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn config_id(&self) -> &str {
        self.expected["config_id"].as_str().unwrap_or("")
    }

    /// Whether xlb means to agree with keepalived here.
    pub fn keepalived_agrees(&self) -> bool {
        self.expected["keepalived"]["agrees"] == Value::Bool(true)
    }

    /// Reads the case.
    pub fn load(&self) -> Loaded {
        load(&self.path, &LoadOptions { config_id: self.config_id().to_owned() })
    }

    /// Compares with the expected answer; differences in words. `strict` counts `not-built-yet` too.
    pub fn differences(&self, loaded: &Loaded, strict: bool) -> Vec<String> {
        let answer = json::render(loaded);
        let mut differences = Vec::new();
        let (said, verdict) = said(&answer, strict);
        let (wanted, _) = said_in(&self.expected["diagnostics"], true);
        if said != wanted {
            differences.push(format!("diagnostics: expected {wanted:?}, got {said:?}"));
        }
        let expected = self.expected["verdict"].as_str().unwrap_or("");
        if verdict != expected {
            differences.push(format!("verdict: expected {expected}, got {verdict}"));
        }
        compare(
            "",
            &self.expected["virtual_servers"],
            &answer["virtual_servers"],
            &mut differences,
        );
        differences
    }

    /// What `keepalived --config-test` ends with; `None` if it died by a signal.
    pub fn keepalived_exit(&self) -> io::Result<Option<i32>> {
        let status = Command::new("keepalived")
            .arg("--config-test")
            .arg("--use-file")
            .arg(&self.path)
            .args(["--config-id", self.config_id()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.code())
    }
}

fn said(answer: &Value, strict: bool) -> (Said, &'static str) {
    said_in(&answer["diagnostics"], strict)
}

fn said_in(diagnostics: &Value, strict: bool) -> (Said, &'static str) {
    let mut said = Said::new();
    let mut verdict = "accept";
    for diag in diagnostics.as_array().into_iter().flatten() {
        let code = diag["code"].as_str().unwrap_or("");
        let level = diag["level"].as_str().unwrap_or("");
        if level == "note" || (!strict && code == "not-built-yet") {
            continue;
        }
        if level == "error" {
            if verdict == "reject" {
                continue;
            }
            verdict = "reject";
        } else if verdict == "accept" {
            verdict = "warn";
        }
        said.insert((code.to_owned(), diag["line"].as_u64().unwrap_or(0)));
    }
    (said, verdict)
}

fn compare(place: &str, expected: &Value, got: &Value, differences: &mut Vec<String>) {
    match (expected, got) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{place}[{index}]"), a, b, differences);
            }
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(&format!("{place}.{key}"), a, b, differences),
                    (a, b) => differences.push(format!("{place}.{key}: expected {a:?}, got {b:?}")),
                }
            }
        }
        _ if expected == got => {}
        _ => differences.push(format!("{place}: expected {expected}, got {got}")),
    }
}
