//! A host of a laboratory: a network namespace to run code and programs in.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::remains::Remains;
use super::{LabError, Process};

/// Cheap to clone. Outlives its laboratory only as a name.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    namespace: String,
    handle: File,
    folder: PathBuf,
    remains: Arc<Remains>,
    logs: AtomicU32,
}

impl Host {
    pub(super) fn open(
        name: &str,
        namespace: &str,
        folder: &Path,
        remains: &Arc<Remains>,
    ) -> Result<Self, LabError> {
        let path = Path::new(super::remains::NAMESPACES).join(namespace);
        let handle = File::open(&path).map_err(LabError::path("open", &path))?;
        let inner = Inner {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            handle,
            folder: folder.to_owned(),
            remains: Arc::clone(remains),
            logs: AtomicU32::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name in the topology, such as `director`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The name that `ip netns` knows.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// Runs `work` in a thread inside the namespace. Sockets made there stay there wherever they are used later.
    ///
    /// Only the network namespace changes: `/proc/sys/net` is the host's, `/sys` is not.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let inside = || -> io::Result<T> {
            setns(self.inner.handle.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        let outcome = std::thread::scope(|scope| {
            scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        outcome.map_err(LabError::io("enter the namespace", self.namespace()))
    }

    /// A command that will run inside, in a process group of its own, with a `/sys` that shows this host's interfaces.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let inner = Arc::clone(&self.inner);
        command.process_group(0);
        // SAFETY: between fork and exec only system calls are made; nothing allocates or locks.
        unsafe {
            command.pre_exec(move || {
                const NOTHING: Option<&str> = None;
                setns(inner.handle.as_fd(), CloneFlags::CLONE_NEWNET)?;
                unshare(CloneFlags::CLONE_NEWNS)?;
                mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)?;
                mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NOTHING)?;
                Ok(())
            });
        }
        command
    }

    /// Runs a command to its end, whatever its exit code.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<Output, LabError> {
        self.command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(LabError::io("start", program))
    }

    /// Runs a command that must succeed; its standard output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        let output = self.output(program, arguments)?;
        checked(&format!("{program} {}", arguments.join(" ")), &output)
    }

    /// `ip` with the words of `arguments`, inside.
    pub fn ip(&self, arguments: &str) -> Result<String, LabError> {
        self.run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Writes `/proc/sys/<name with dots as slashes>`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        let path = sysctl_path(name);
        self.enter(|| std::fs::write(&path, value).map_err(LabError::path("write", &path)))?
    }

    /// Reads it.
    pub fn sysctl(&self, name: &str) -> Result<String, LabError> {
        let path = sysctl_path(name);
        let text =
            self.enter(|| std::fs::read_to_string(&path).map_err(LabError::path("read", &path)))??;
        Ok(text.trim().to_owned())
    }

    /// Starts a command that goes on running; its log is a new file of the laboratory.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process, LabError> {
        let number = self.inner.logs.fetch_add(1, Ordering::Relaxed);
        let log = self.inner.folder.join(format!("{}-{name}-{number}.log", self.name()));
        Process::start(name, command, &log, &self.inner.remains)
    }

    /// Where files for programs on this host may be put.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// Standard output of a command that has succeeded, else an error that shows what it said.
pub(super) fn checked(command: &str, output: &Output) -> Result<String, LabError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [text(&output.stderr), text(&output.stdout)].join(" ").trim().to_owned();
    Err(LabError::Command {
        command: command.to_owned(),
        status: output.status.to_string(),
        output: said,
    })
}
