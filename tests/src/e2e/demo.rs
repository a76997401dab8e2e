//! `xlb demo` as a user runs it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xlb::lab::Tool;

use super::{binary, watch};

fn tools_are_here() -> bool {
    let here = Tool::CURL.find().is_some() && Tool::TINYPROXY.find().is_some();
    if !here {
        eprintln!("skipped: tinyproxy or curl is missing");
    }
    here
}

/// It succeeds in under 20 s and shows who answered; nothing is left.
pub fn the_demo_succeeds() -> anyhow::Result<()> {
    if !tools_are_here() {
        return Ok(());
    }
    let start = Instant::now();
    let demo = demo()?;
    let pid = demo.id();
    let output = demo.wait_with_output()?;
    let (shown, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{shown}");
    ensure!(output.status.success(), "{}: {said}", output.status);
    ensure!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    ensure!(shown.contains("gw1") && shown.contains("gw2") && shown.contains("192.168.1.1"));
    nothing_of(pid)
}

/// Ctrl-C in the middle: it ends by that signal and nothing is left.
pub fn an_interrupted_demo_cleans_up() -> anyhow::Result<()> {
    if !tools_are_here() {
        return Ok(());
    }
    let mut demo = demo()?;
    let pid = demo.id();
    watch("the demo's namespaces", || {
        ensure!(left_by(pid)?.len() >= 5, "{:?}", left_by(pid)?);
        Ok(())
    })?;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)?;
    let status = demo.wait()?;
    ensure!(!status.success(), "{status}");
    nothing_of(pid)
}

fn demo() -> anyhow::Result<Child> {
    Command::new(binary::xlb()?)
        .arg("demo")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start xlb demo")
}

fn nothing_of(pid: u32) -> anyhow::Result<()> {
    let left = left_by(pid)?;
    ensure!(left.is_empty(), "{left:?} are left");
    Ok(())
}

/// Namespaces and folders of a laboratory of process `pid`.
fn left_by(pid: u32) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    for (folder, prefix) in
        [("/run/netns", format!("xlb-{pid}-")), ("/run/xlb-lab", format!("{pid}-"))]
    {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                left.push(name);
            }
        }
    }
    Ok(left)
}
