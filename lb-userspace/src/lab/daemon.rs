//! A director's daemon: `xlb run` and the commands that talk to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::host::checked;
use super::{Host, Lab, LabError, Process, until};

/// How long a start may take until `ready`.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a clean stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How to start it.
#[derive(Clone, Debug)]
pub struct DaemonSpec {
    /// The binary `xlb`.
    pub binary: PathBuf,
    pub interfaces: Vec<String>,
    /// `--mode`.
    pub mode: String,
    /// `--flows`.
    pub flows: u32,
    /// Further arguments of `run`.
    pub more: Vec<String>,
}

impl DaemonSpec {
    /// Both interfaces of a two-armed director, native XDP, a small flow table.
    pub fn two_arm(binary: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            interfaces: vec!["eth0".into(), "eth1".into()],
            mode: "xdp".into(),
            flows: 65_536,
            more: Vec::new(),
        }
    }

    /// The one interface of a one-armed director.
    pub fn one_arm(binary: &Path) -> Self {
        Self { interfaces: vec!["eth0".into()], ..Self::two_arm(binary) }
    }
}

/// A daemon on a laboratory's director. Dropping it kills it, as `kill -9` would.
#[derive(Debug)]
pub struct Daemon {
    spec: DaemonSpec,
    director: Host,
    process: Option<Process>,
    config: PathBuf,
    run_dir: PathBuf,
    pin_dir: PathBuf,
}

impl Daemon {
    /// Writes the configuration; starts nothing.
    pub fn prepare(lab: &Lab, spec: &DaemonSpec, config: &str) -> Result<Self, LabError> {
        let daemon = Self {
            spec: spec.clone(),
            director: lab.director()?.clone(),
            process: None,
            config: lab.folder().join("xlb.conf"),
            run_dir: lab.folder().join("run"),
            pin_dir: lab.bpffs().join("xlb"),
        };
        daemon.write_config(config)?;
        Ok(daemon)
    }

    /// Writes the configuration, starts the daemon, waits for `ready`.
    pub fn start(lab: &Lab, spec: &DaemonSpec, config: &str) -> Result<Self, LabError> {
        let mut daemon = Self::prepare(lab, spec, config)?;
        daemon.run()?;
        Ok(daemon)
    }

    /// Starts the prepared or ended daemon and waits for `ready`.
    pub fn run(&mut self) -> Result<(), LabError> {
        let mut process = self.spawn()?;
        until("`ready` of the daemon", START_LIMIT, || {
            if process.log().lines().any(|line| line == "ready") {
                return Ok(Ok(()));
            }
            match process.check_alive() {
                Ok(()) => Err(process.log()),
                Err(ended) => Ok(Err(ended)),
            }
        })??;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it without waiting: for starts that must fail.
    pub fn spawn(&self) -> Result<Process, LabError> {
        let interfaces: Vec<&str> = self.spec.interfaces.iter().map(String::as_str).collect();
        self.spawn_on(&interfaces)
    }

    /// The same on other interfaces than it was prepared for.
    pub fn spawn_on(&self, interfaces: &[&str]) -> Result<Process, LabError> {
        let mut command = self.director.command(&self.spec.binary);
        command.arg("run").args(["--iface", &interfaces.join(",")]);
        command.arg("--config").arg(&self.config);
        command.args(["--mode", &self.spec.mode, "--flows", &self.spec.flows.to_string()]);
        self.add_instance(&mut command);
        command.args(&self.spec.more);
        self.director.spawn("xlb", command)
    }

    fn add_instance(&self, command: &mut Command) {
        command.args(["--instance", "lab"]);
        command.arg("--run-dir").arg(&self.run_dir).arg("--pin-dir").arg(&self.pin_dir);
    }

    /// Replaces the configuration file; the daemon reads it at the next reload or start.
    pub fn write_config(&self, text: &str) -> Result<(), LabError> {
        fs::write(&self.config, text).map_err(LabError::path("write", &self.config))
    }

    /// `xlb <words>` for this instance.
    fn prepared(&self, words: &[&str]) -> Command {
        let (verb, rest) = words.split_first().unwrap_or((&"help", &[]));
        let mut command = self.director.command(&self.spec.binary);
        command.arg(verb);
        self.add_instance(&mut command);
        command.args(rest);
        command
    }

    /// Runs `xlb <words>` for this instance, whatever its exit code.
    pub fn command(&self, words: &[&str]) -> Result<Output, LabError> {
        self.prepared(words).output().map_err(LabError::io("start", "xlb"))
    }

    /// Starts `xlb <words>` for this instance; it goes on running.
    pub fn begin(&self, words: &[&str]) -> Result<Process, LabError> {
        let name = words.first().copied().unwrap_or("help");
        self.director.spawn(name, self.prepared(words))
    }

    /// Runs it; it must succeed. Its standard output.
    pub fn xlb(&self, words: &[&str]) -> Result<String, LabError> {
        checked(&format!("xlb {}", words.join(" ")), &self.command(words)?)
    }

    /// `xlb stats --json`.
    pub fn stats(&self) -> Result<serde_json::Value, LabError> {
        parse("xlb stats --json", &self.xlb(&["stats", "--json"])?)
    }

    /// `xlb conns --json`: one object a line.
    pub fn conns(&self) -> Result<Vec<serde_json::Value>, LabError> {
        let text = self.xlb(&["conns", "--json"])?;
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| parse("xlb conns --json", line))
            .collect()
    }

    /// Writes a new configuration and has it read; fails if the daemon refuses it.
    pub fn reload(&self, text: &str) -> Result<(), LabError> {
        self.write_config(text)?;
        self.xlb(&["reload"]).map(drop)
    }

    /// SIGTERM and its end; the exit code, if it has one.
    pub fn stop(&mut self) -> Result<Option<i32>, LabError> {
        let process = self.running()?;
        process.signal(Signal::SIGTERM);
        let code = process.exit_code(STOP_LIMIT)?;
        self.process = None;
        Ok(code)
    }

    /// `kill -9`; the data path goes on.
    pub fn kill(&mut self) -> Result<(), LabError> {
        let process = self.running()?;
        process.signal(Signal::SIGKILL);
        process.wait(STOP_LIMIT)?;
        self.process = None;
        Ok(())
    }

    /// The process, if it has been started and not stopped.
    pub fn running(&mut self) -> Result<&mut Process, LabError> {
        let (name, status) = ("xlb run".to_owned(), "no start".to_owned());
        self.process.as_mut().ok_or(LabError::Ended { name, status, log: String::new() })
    }

    /// What the daemon has written since its last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    pub fn config(&self) -> &Path {
        &self.config
    }
}

fn parse(command: &str, text: &str) -> Result<serde_json::Value, LabError> {
    serde_json::from_str(text).map_err(|source| LabError::NotJson {
        command: command.to_owned(),
        text: text.trim().to_owned(),
        source,
    })
}
