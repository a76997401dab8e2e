//! What the kernel's verifier says about the programs of an eBPF object, and whether it is within the budget.
//!
//! Prints per program: verified instructions, stack depth, size after the JIT. Without the right to load programs it
//! says which is missing and ends well.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use lb_tests::chain;
use lb_tests::pins::Pins;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Of the million that the kernel allows (case X-14).
const MOST_INSTRUCTIONS: u32 = 250_000;
/// Of the 512 bytes that the kernel allows (case X-14).
const MOST_STACK: u32 = 400;

/// Lines of the verifier's log that are shown of a program it refuses.
const LOG_LINES: usize = 60;

/// One program as the kernel took it.
struct Measured {
    name: String,
    instructions: u32,
    /// Of the program and each function it calls.
    stack: Vec<u32>,
    /// Of the deepest chain of calls.
    deepest: u32,
    jitted: u32,
}

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<()> {
    let path = std::env::args_os().nth(1).map_or_else(committed_object, PathBuf::from);
    let object = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(missing) = missing_capability()? {
        println!("skipped: {missing}");
        return Ok(());
    }
    let measured = measure(&object)?;
    println!(
        "{:<24} {:>12} {:>6} {:>10}  stack of each function",
        "program", "instructions", "stack", "JIT bytes"
    );
    for program in &measured {
        println!("{program}");
    }
    let over: Vec<String> = measured.iter().filter_map(Measured::over_budget).collect();
    if !over.is_empty() {
        bail!("{}", over.join("; "));
    }
    Ok(())
}

fn committed_object() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-ebpf/prebuilt/xlb.bpf.o")
}

fn measure(object: &[u8]) -> Result<Vec<Measured>> {
    let file = object::File::parse(object)?;
    let mut measured = Vec::new();
    for (name, program) in with_log(object, VerifierLogLevel::STATS)?.programs_mut() {
        let Ok(log) = verifier_log(program)? else { bail!(refusal(object, name)?) };
        load(program).with_context(|| format!("the kernel refuses `{name}`"))?;
        let info =
            program.info().with_context(|| format!("the kernel tells nothing of `{name}`"))?;
        let stack = stack_depths(&log)
            .with_context(|| format!("no stack depth in the verifier's log: {log}"))?;
        measured.push(Measured {
            deepest: chain::deepest(&file, name, &stack)?,
            name: name.to_owned(),
            instructions: info
                .verified_instruction_count()
                .context("this kernel does not tell the number of verified instructions")?,
            stack,
            jitted: info.size_jitted(),
        });
    }
    measured.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(measured)
}

fn with_log(object: &[u8], level: VerifierLogLevel) -> Result<Ebpf> {
    let pins = Pins::mount()?;
    EbpfLoader::new()
        .default_map_pin_directory(pins.path())
        .verifier_log_level(level)
        .load(object)
        .context("the kernel refuses the maps of the object")
}

/// Why the kernel refuses a program: the end of what its verifier says when asked for every step.
fn refusal(object: &[u8], name: &str) -> Result<String> {
    let mut ebpf = with_log(object, VerifierLogLevel::VERBOSE | VerifierLogLevel::STATS)?;
    let program = ebpf.program_mut(name).with_context(|| format!("no program `{name}`"))?;
    let log = match load(program) {
        Err(ProgramError::LoadError { verifier_log, .. }) => verifier_log.to_string(),
        Err(other) => other.to_string(),
        Ok(()) => "now it takes it".to_owned(),
    };
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    Ok(format!("the kernel refuses `{name}`; the end of the verifier's log:\n{end}"))
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The verifier's log of a program that it accepts; `Err` for one that it refuses.
///
/// The loader hands a log out only when the load fails. So it is made to fail after the verifier has done its work: at
/// the file descriptor for the program, for which no number is left.
fn verifier_log(program: &mut Program) -> Result<Result<String, ProgramError>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard)?;
    let outcome = load(program);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    match outcome {
        Err(ProgramError::LoadError { io_error, verifier_log })
            if io_error.raw_os_error() == Some(Errno::EMFILE as i32) =>
        {
            Ok(Ok(verifier_log.to_string()))
        }
        Err(error) => Ok(Err(error)),
        Ok(()) => bail!("the kernel gave out a file descriptor although none was left"),
    }
}

/// The numbers in `stack depth 240+16`.
fn stack_depths(log: &str) -> Option<Vec<u32>> {
    let line = log.lines().find_map(|line| line.trim().strip_prefix("stack depth "))?;
    line.split_whitespace().next()?.split('+').map(|depth| depth.parse().ok()).collect()
}

impl Measured {
    fn over_budget(&self) -> Option<String> {
        if self.instructions > MOST_INSTRUCTIONS {
            return Some(format!(
                "`{}` takes {} verified instructions, more than {MOST_INSTRUCTIONS}",
                self.name, self.instructions
            ));
        }
        (self.deepest > MOST_STACK).then(|| {
            format!("`{}` takes {} bytes of stack, more than {MOST_STACK}", self.name, self.deepest)
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stack: Vec<String> = self.stack.iter().map(u32::to_string).collect();
        let Self { name, instructions, deepest, jitted, .. } = self;
        write!(f, "{name:<24} {instructions:>12} {deepest:>6} {jitted:>10}  {}", stack.join(" "))
    }
}

/// The first capability that loading needs and this process has not.
fn missing_capability() -> Result<Option<&'static str>> {
    /// Bits of the mask in /proc/self/status (linux/capability.h).
    const NEEDED: &[(u32, &str)] = &[(39, "CAP_BPF"), (12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON")];
    let status =
        std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .context("no CapEff in /proc/self/status")?;
    Ok(NEEDED.iter().find(|(bit, _)| mask & (1 << bit) == 0).map(|&(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn committed_programs_are_within_the_budget() {
        if let Some(missing) = missing_capability().unwrap() {
            let required = std::env::var("XLB_REQUIRE").unwrap_or_default();
            assert!(!required.contains("bpf"), "missing: {missing}");
            println!("skipped: {missing}");
            return;
        }
        let object = std::fs::read(committed_object()).unwrap();
        let measured = measure(&object).unwrap();
        assert!(!measured.is_empty());
        for program in measured {
            assert_eq!(program.over_budget(), None);
        }
    }

    #[test]
    fn stack_depths_of_all_functions_are_read() {
        let log = "func#0 @0\nverification time 120 usec\nstack depth 240+16\nprocessed 12 insns";
        assert_eq!(stack_depths(log), Some(vec![240, 16]));
    }

    #[test]
    fn a_log_without_statistics_gives_no_stack_depth() {
        assert_eq!(stack_depths("processed 12 insns"), None);
    }
}
