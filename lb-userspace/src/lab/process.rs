//! A process that a laboratory has started: its log, signals to it, and its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::remains::Remains;
use super::{LabError, until};

/// How long a process that got SIGKILL may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How much of a log goes into an error message.
const LOG_TAIL: usize = 2000;

/// A child in a process group of its own. Dropping it kills the group and reaps the child.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    remains: Arc<Remains>,
    ended: Option<WaitStatus>,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    pub(super) fn start(
        name: &str,
        mut command: Command,
        log: &Path,
        remains: &Arc<Remains>,
    ) -> Result<Self, LabError> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(LabError::path("open", log))?;
        let twin = file.try_clone().map_err(LabError::path("open", log))?;
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let child = command.spawn().map_err(LabError::io("start", name))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        remains.add_child(pid);
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            remains: Arc::clone(remains),
            ended: None,
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a signal to the process (not to its group); false if it has ended.
    pub fn signal(&mut self, signal: Signal) -> bool {
        self.ended().is_none() && kill(self.pid, signal).is_ok()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<WaitStatus> {
        if self.ended.is_none() {
            let seen = self.remains.with_child(self.pid, || {
                match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => (None, false),
                    Ok(status) => (Some(status), true),
                    Err(_) => (Some(self.killed()), true),
                }
            });
            // Not known any more: the laboratory was cleared, which kills and reaps.
            self.ended = seen.unwrap_or_else(|| Some(self.killed()));
        }
        self.ended
    }

    fn killed(&self) -> WaitStatus {
        WaitStatus::Signaled(self.pid, Signal::SIGKILL, false)
    }

    /// An error with the log's tail if it has ended.
    pub fn check_alive(&mut self) -> Result<(), LabError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                let (name, log) = (self.name.clone(), tail(&self.log()));
                Err(LabError::Ended { name, status: describe(status), log })
            }
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<WaitStatus, LabError> {
        let what = format!("the end of `{}`", self.name);
        until(&what, limit, || self.ended().ok_or_else(|| format!("pid {} is alive", self.pid)))
    }

    /// The exit code it ended with.
    pub fn exit_code(&mut self, limit: Duration) -> Result<Option<i32>, LabError> {
        Ok(match self.wait(limit)? {
            WaitStatus::Exited(_, code) => Some(code),
            _ => None,
        })
    }

    /// SIGKILL to the whole group, and the end of the child awaited.
    pub fn kill(&mut self) -> Result<(), LabError> {
        if self.ended().is_none() {
            let _ = killpg(self.pid, Signal::SIGKILL);
            self.wait(KILL_LIMIT)?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal {signal}"),
        other => format!("{other:?}"),
    }
}

fn tail(text: &str) -> String {
    let mut start = text.len().saturating_sub(LOG_TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].trim().to_owned()
}
