//! A machine: starts qemu, passes the job's output on as it comes, and finds out how the job ended.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::job::{Job, quoted_path};
use super::{fetch, initramfs};
use crate::process::which;

const PROGRAM: &str = "qemu-system-x86_64";
const SCRIPT: &str = include_str!("stage2.sh");

/// The guest's memory: the largest test wants a data path of 300 MiB and a few daemons, changes to files live in it.
const MEMORY: &str = "4096";

/// How long the guest may take until it starts the job; emulated kernels need 10 to 20 s on an idle host.
const BOOT_LIMIT: Duration = Duration::from_mins(3);
/// How long the guest may take until its first program, when the processor runs it.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Who executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// The processor.
    Kvm,
    /// qemu, in software: works everywhere, ten times slower.
    Tcg,
}

impl Accel {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            // Page tables of five levels only make emulation slower.
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
        }
    }
}

/// How a machine is made, and how long it may live.
pub(super) struct Spec {
    pub(super) accel: Accel,
    pub(super) cpus: u8,
    pub(super) limit: Duration,
}

/// Runs a job on a kernel; the exit status of its command.
pub(super) fn run(kernel: &fetch::Kernel, spec: &Spec, job: &Job) -> Result<u8> {
    let run = Run::new(kernel, "run")?;
    fs::write(run.folder.join("stage2.sh"), SCRIPT).context("cannot write stage2.sh")?;
    fs::write(run.folder.join("job.sh"), job.script(spec.accel.name(), &run.scratch))
        .context("cannot write job.sh")?;
    let mut machine = run.start(spec.accel, spec.cpus)?;

    let start = Instant::now();
    let mut started = false;
    while machine.is_running()? {
        started = started || run.folder.join("started").exists();
        if !started && start.elapsed() > BOOT_LIMIT {
            drop(machine);
            bail!("the guest did not start within {}; {}", seconds(BOOT_LIMIT), run.console());
        }
        if start.elapsed() > spec.limit {
            drop(machine);
            let limit = seconds(spec.limit);
            bail!("the guest was stopped after {limit}; hint: allow more by --timeout");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    machine.drain();
    let written = fs::read_to_string(run.folder.join("status")).unwrap_or_default();
    let Ok(status) = written.trim().parse() else {
        bail!("the guest ended before its job did; {}", run.console());
    };
    Ok(status)
}

/// What the last job on a kernel wrote.
pub(super) fn output_of(kernel: &fetch::Kernel) -> PathBuf {
    fetch::home().join("log").join(format!("{}.output", kernel.release))
}

/// The fastest way that works here. Whether the processor can run guests shows only when it is tried: inside a virtual
/// machine `/dev/kvm` may exist, and guests never start.
pub(super) fn accel(kernel: &fetch::Kernel) -> Result<Accel> {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let host = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let memory = fetch::home().join("kvm");
    if let Ok(tried) = fs::read_to_string(&memory)
        && let Some(works) = tried.strip_prefix(&host)
    {
        return Ok(if works == "works" { Accel::Kvm } else { Accel::Tcg });
    }
    let works = probe(kernel)?;
    eprintln!("   {}", if works { "KVM works" } else { "KVM does not work here; emulating" });
    let outcome = if works { "works" } else { "fails" };
    fs::write(&memory, format!("{host}{outcome}"))
        .with_context(|| format!("cannot write {}", memory.display()))?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn probe(kernel: &fetch::Kernel) -> Result<bool> {
    let run = Run::new(kernel, "probe")?;
    let mut machine = run.start(Accel::Kvm, 1)?;
    let start = Instant::now();
    while machine.is_running()? && start.elapsed() < PROBE_LIMIT {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(machine);
    let console = fs::read(run.log("console")).unwrap_or_default();
    Ok(String::from_utf8_lossy(&console).contains("xlb-vm: alive"))
}

/// The files of one run.
struct Run {
    kernel: fetch::Kernel,
    /// Shared with the guest, for writing.
    scratch: PathBuf,
    /// In it, and gone with this value.
    folder: PathBuf,
    output: PathBuf,
    settings: String,
}

impl Run {
    fn new(kernel: &fetch::Kernel, mode: &str) -> Result<Self> {
        let home = fetch::home();
        let scratch = home.join("scratch");
        let folder = scratch.join(format!(".run-{}-{mode}", std::process::id()));
        let logs = home.join("log");
        sweep(&scratch);
        for folder in [&folder, &logs] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        // The guest's first program sees the host's root elsewhere, where absolute links lead astray.
        let [modules, scratch, folder] = [&kernel.modules, &scratch, &folder].map(fs::canonicalize);
        let (scratch, folder) = (scratch?, folder?);
        let settings = format!(
            "MODE={mode}\nMODULES={}\nSCRATCH={}\nRUN={}\n",
            quoted_path(modules?),
            quoted_path(&scratch),
            quoted_path(&folder),
        );
        let output = output_of(kernel);
        // What an earlier run wrote is not this one's.
        let _ = fs::remove_file(&output);
        Ok(Self { kernel: kernel.clone(), scratch, folder, output, settings })
    }

    fn start(&self, accel: Accel, cpus: u8) -> Result<Machine> {
        let initramfs = self.folder.join("initramfs");
        fs::write(&initramfs, initramfs::build(&self.kernel, &fetch::busybox()?, &self.settings)?)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        let program = which(PROGRAM)
            .with_context(|| format!("no {PROGRAM} here; hint: install qemu-system-x86"))?;
        // A guest must not outlive us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command.args(["-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(accel.arguments()).args([
            "-m",
            MEMORY,
            "-smp",
            &cpus.to_string(),
            "-no-reboot",
        ]);
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(&initramfs);
        // A kernel that complains of itself ends the run; see `Run::console`.
        command.args([
            "-append",
            "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic random.trust_cpu=on",
        ]);
        command
            .args(["-chardev", &format!("file,id=console,path={}", comma(&self.log("console")))]);
        command.args(["-serial", "chardev:console"]);
        command.args(["-chardev", "stdio,id=wire,signal=off", "-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=wire,name=xlb-vm"]);
        let root = Path::new("/");
        for (name, path, way) in [("host", root, ",readonly=on"), ("scratch", &self.scratch, "")] {
            let share = format!(
                "local,id={name},security_model=none,multidevs=remap{way},path={}",
                comma(path)
            );
            command.args(["-fsdev", &share]);
            command.args(["-device", &format!("virtio-9p-pci,fsdev={name},mount_tag={name}")]);
        }
        let monitor = self.log("qemu");
        let complaints = File::create(&monitor)
            .with_context(|| format!("cannot write {}", monitor.display()))?;
        // Standard input stays open: at its end qemu would take the wire for cut, and the guest's writes would wait.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints);
        let child = command.spawn().context("cannot run setpriv; hint: install util-linux")?;
        Machine::new(child, &self.output)
    }

    fn log(&self, what: &str) -> PathBuf {
        self.output.with_file_name(format!("{}.{what}", self.kernel.release))
    }

    /// The last words of qemu and of the guest's kernel, for an error.
    fn console(&self) -> String {
        let mut said = String::new();
        for what in ["qemu", "console"] {
            let text = fs::read(self.log(what)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\r', "");
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            for line in &lines[lines.len().saturating_sub(15)..] {
                said.push_str("\n   | ");
                said.push_str(line);
            }
        }
        format!("its last words (all in {}):{said}", self.log("console").display())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The logs are elsewhere.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Takes away what runs left that were killed.
fn sweep(scratch: &Path) {
    let Ok(listed) = fs::read_dir(scratch) else { return };
    for entry in listed.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(".run-")?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another run may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A running qemu; ended when this goes.
struct Machine {
    child: Child,
    pump: Option<std::thread::JoinHandle<()>>,
}

impl Machine {
    fn new(mut child: Child, output: &Path) -> Result<Self> {
        let mut wire = child.stdout.take().context("qemu has no standard output")?;
        let mut copy =
            File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
        let pump = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = wire.read(&mut buffer) {
                let _ = copy.write_all(&buffer[..length]);
                let mut out = std::io::stdout().lock();
                // Whoever closed our output does not want to hear more.
                let _ = out.write_all(&buffer[..length]).and_then(|()| out.flush());
            }
        });
        Ok(Self { child, pump: Some(pump) })
    }

    fn is_running(&mut self) -> Result<bool> {
        let ended = self.child.try_wait().context("cannot wait for qemu")?;
        Ok(ended.is_none())
    }

    /// Waits until all output is passed on.
    fn drain(&mut self) {
        if let Some(pump) = self.pump.take() {
            let _ = pump.join();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ended already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.drain();
    }
}

/// A path as qemu's options take it.
fn comma(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

/// What has to hold before any machine is started.
pub(super) fn fits_here() -> Result<()> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the kernels of this table are for x86_64, this machine is {}",
        std::env::consts::ARCH
    );
    Ok(())
}
