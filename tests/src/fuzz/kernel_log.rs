//! The kernel's own complaints: whether it warned of something, or is tainted since.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// What a line of the kernel's log says when something is wrong with the kernel.
const COMPLAINTS: &[&str] = &[
    "cut here",
    "WARNING:",
    "BUG:",
    "Oops",
    "general protection fault",
    "RCU stall",
    "rcu: INFO",
    "KASAN",
    "UBSAN",
    "soft lockup",
    "hung_task",
];

/// The complaints so far, and the taint of the kernel. `None` for the log where it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints {
    pub lines: Option<Vec<String>>,
    pub tainted: String,
}

impl Complaints {
    /// Those of this moment.
    pub fn now() -> Self {
        let tainted = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
        Self { lines: lines(), tainted: tainted.trim().to_owned() }
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Self) -> Vec<String> {
        let old = before.lines.as_deref().unwrap_or_default();
        let lines = self.lines.iter().flatten().filter(|line| !old.contains(line)).cloned();
        let tainted = (self.tainted != before.tainted)
            .then(|| format!("tainted: {} before, now {}", before.tainted, self.tainted));
        lines.chain(tainted).collect()
    }
}

/// The lines of the log that complain, with their sequence numbers, by which they differ from one another.
fn lines() -> Option<Vec<String>> {
    let mut log =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
    let mut lines = Vec::new();
    let mut record = [0; 8_192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Some(lines),
            Ok(length) => {
                let line = String::from_utf8_lossy(&record[..length]).into_owned();
                if COMPLAINTS.iter().any(|complaint| line.contains(complaint)) {
                    lines.push(line);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(lines),
            // Overwritten while it was read; the next record is there.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => return None,
        }
    }
}
