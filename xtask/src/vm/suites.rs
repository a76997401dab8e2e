//! The tests that look at a kernel, built on the host and run in the guest.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::job::{Job, quoted, quoted_path};
use crate::process::{cargo, output, root, run, say};

/// A test target: its package, its name, and the folder where cargo would start it.
type Suite = (&'static str, &'static str, &'static str);

const END_TO_END: Suite = ("lb-tests", "e2e", "tests");

/// In the order in which they run: the shorter first.
const SUITES: &[Suite] = &[
    ("lb-tests", "parity", "tests"),
    ("lb-tests", "golden", "tests"),
    ("lb-tests", "differential", "tests"),
    ("xlb", "dataplane", "lb-userspace"),
    END_TO_END,
];

/// The data path loaded and attached, connections each way through NAT and full-NAT; at XDP, then at tc with offloads on.
const SMOKE: &[&str] = &[
    "tcp::nat_two_arm",
    "tcp::fullnat_two_arm",
    "offloads::nat_streams",
    "offloads::fullnat_streams",
];

/// Not run under emulation. Programs are replaced under load there, and with two emulated processors kernels 6.12 and
/// 7.3 die with `Oops: int3` in `bpf_dispatcher_xdp_func`, code that the kernel patches while it runs; most likely
/// qemu 7.2's threads see the patching in another order than processors would. With one processor they live, and the
/// daemon's start takes longer than the test waits.
const NOT_EMULATED: &str = "survival::a_gigabyte_survives_reloads_and_kills";

/// An emulated machine is slow enough: tests beside each other would only miss deadlines.
const THREADS: &str = "1";

/// A test program that is built.
struct Program {
    name: &'static str,
    path: PathBuf,
    folder: PathBuf,
}

/// All suites, or the tests in them whose names contain `only`.
pub(super) fn all(only: Option<&str>) -> Result<Job> {
    let mut script = format!(
        "failed=0\nset --\nif [ \"$XLB_VM\" = tcg ]; then\n\
         echo 'left out under emulation: {NOT_EMULATED}'\nset -- --skip {NOT_EMULATED}\nfi\n"
    );
    for program in build(SUITES)? {
        let arguments: Vec<&str> = only.into_iter().collect();
        script.push_str(&part(&program, &arguments));
    }
    script.push_str("exit $failed\n");
    job(script)
}

/// The smoke run.
pub(super) fn smoke() -> Result<Job> {
    let mut script = String::from("failed=0\n");
    let arguments = [SMOKE, &["--exact"]].concat();
    for program in build(&[END_TO_END])? {
        // A test that was given another name would otherwise be left out in silence.
        let listed = output(Command::new(&program.path).arg("--list").args(&arguments))?;
        let found = listed.lines().filter(|line| line.ends_with(": test")).count();
        ensure!(
            found == SMOKE.len(),
            "{} has {found} of the tests {}; hint: SMOKE in xtask/src/vm/suites.rs names them",
            program.name,
            SMOKE.join(", ")
        );
        script.push_str(&part(&program, &arguments));
    }
    script.push_str("exit $failed\n");
    job(script)
}

/// Sequences of packets through IPVS and through xlb, shared out among threads: a director is looked after by one.
pub(super) fn differential(sequences: u64, cpus: u8) -> Result<Job> {
    say("building the differential test");
    let program = "ipvs-differential";
    run(cargo().args(["build", "--package", "lb-tests", "--bin", program]))?;
    let path = root().join("target/debug").join(program);
    // A seed told by the caller or the clock.
    job(format!(
        "modprobe -a ip_vs ip_vs_rr tun || exit 1\n\
         exec {} {sequences} ${{XLB_DIFFERENTIAL_SEED:-$(date +%s)}} {cpus}\n",
        quoted_path(&path)
    ))
}

fn part(program: &Program, arguments: &[&str]) -> String {
    let mut words = vec![quoted_path(&program.path), "--test-threads".into(), THREADS.into()];
    words.extend(arguments.iter().map(|word| quoted(word)));
    format!(
        "echo '== {}'\ncd {} && {} \"$@\" || failed=1\n",
        program.name,
        quoted_path(&program.folder),
        words.join(" ")
    )
}

fn job(script: String) -> Result<Job> {
    let mut job = Job::here(vec!["sh".into(), "-c".into(), script])?;
    if !job.variables.iter().any(|(name, _)| name == "XLB_REQUIRE") {
        job.variables.push(("XLB_REQUIRE".into(), "bpf,netns".into()));
    }
    job.folder = root();
    Ok(job)
}

/// Builds the daemon and the test programs.
fn build(suites: &[Suite]) -> Result<Vec<Program>> {
    say("building the daemon and the tests");
    run(cargo().args(["build", "--package", "xlb", "--bins"]))?;
    let mut programs = Vec::new();
    for &(package, name, folder) in suites {
        let mut build: Command = cargo();
        build.args([
            "test",
            "--no-run",
            "--message-format=json",
            "--package",
            package,
            "--test",
            name,
        ]);
        let path = executable(&output(&mut build)?, name)
            .with_context(|| format!("cargo names no test program {name} of {package}"))?;
        programs.push(Program { name, path, folder: root().join(folder) });
    }
    Ok(programs)
}

/// The program of a test target in what `--message-format=json` writes.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(
        |message| {
            let target = &message["target"];
            let is_test = target["kind"].as_array()?.iter().any(|kind| kind == "test");
            let fits =
                message["reason"] == "compiler-artifact" && is_test && target["name"] == name;
            fits.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_that_of_the_test_and_not_of_a_library_or_binary() {
        let message = |kind: &str, name: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"{file}"}}"#
            )
        };
        let messages = [
            "not JSON".to_owned(),
            message("bin", "e2e", "/target/debug/e2e"),
            message("test", "parity", "/target/debug/deps/parity-1"),
            message("test", "e2e", "/target/debug/deps/e2e-1"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        assert_eq!(executable(&messages, "e2e"), Some("/target/debug/deps/e2e-1".into()));
        assert_eq!(executable(&messages, "fuzz"), None);
    }
}
