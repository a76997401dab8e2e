//! What xlb must refuse, leaving everything as it was.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use xlb::lab::{Daemon, DaemonSpec, Options};

use super::bed::{Arms, Bed, client_address};
use super::client::{VIP, ask};
use super::config::{SAMPLE, Service};
use super::foreign;

const START_LIMIT: Duration = Duration::from_secs(10);

/// A file with errors is refused on reload; the old configuration stays in force, word for word. // K-03
pub fn a_bad_reload_changes_nothing() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(SAMPLE)?;
    let before = table(&daemon)?;
    let generation = daemon.stats()?["generation"].clone();
    let broken = [
        ("virtual_server 10.64.1.2 10000 {\nprotocol TCP\n", "config::missing-close"),
        ("virtual_server 10.64.1.2 10000 {\n}\n}\n", "config::extra-close"),
        ("virtual_server 10.64.1.2 10000 {\nlb_algo\n}\n", "config::missing-parameter"),
    ];
    for (text, reason) in broken {
        daemon.write_config(text)?;
        let output = daemon.command(&["reload"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{} with `{said}` for {text}", output.status);
        ensure!(said.contains(reason), "no `{reason}` in `{said}`");
        ensure!(table(&daemon)? == before, "{text} changed the table");
        ensure!(daemon.stats()?["generation"] == generation);
        ask(&bed.client()?, client_address(0), VIP)?;
    }
    daemon.running()?.check_alive()?;
    daemon.reload(SAMPLE)?;
    Ok(())
}

/// A bad file at start: exit code 2, nothing attached.
pub fn a_bad_start_attaches_nothing() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    start_must_fail(&bed, "virtual_server 10.64.1.2 10000 {\n", 2, "config::missing-close")
}

/// An interface that is not there: exit code 3, and the message names it. // K-28
pub fn a_missing_interface_is_named() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut spec = bed.spec()?;
    spec.interfaces = vec!["eth0".into(), "eth7".into()];
    let daemon = Daemon::prepare(&bed.lab, &spec, SAMPLE)?;
    let mut process = daemon.spawn()?;
    let code = process.exit_code(START_LIMIT)?;
    ensure!(code == Some(3) && process.log().contains("eth7"), "{code:?}: {}", process.log());
    nothing_attached(&bed, &["eth0", "eth1"])
}

/// NAT on one interface cannot work: refused with the reason.
pub fn nat_on_one_arm_is_refused() -> anyhow::Result<()> {
    let bed = Bed::new(Arms::One, &Options::default())?;
    start_must_fail(&bed, &Service::new("NAT").text(), 2, "NAT")
}

/// A start that is refused, here for want of the second interface, takes nothing from a data path that a dead daemon
/// left. // K-27
pub fn a_refused_start_leaves_a_living_data_path() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(SAMPLE)?;
    ask(&bed.client()?, client_address(0), VIP)?;
    daemon.kill()?;
    let mut process = daemon.spawn_on(&["eth0"])?;
    let code = process.exit_code(START_LIMIT)?;
    ensure!(code == Some(2) && process.log().contains("NAT"), "{code:?}: {}", process.log());
    ask(&bed.client()?, client_address(1), VIP)?;
    Ok(())
}

/// Another program on the interface: refused, and that program stays. // K-24
pub fn a_foreign_program_stays() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let director = bed.lab.director()?;
    let _foreign = director.enter(|| foreign::attach("eth1"))??;
    let before = director.ip("-details link show dev eth1")?;
    ensure!(before.contains("prog/xdp"), "{before}");
    for mode in ["xdp", "auto"] {
        let spec = DaemonSpec { mode: mode.to_owned(), ..bed.spec()? };
        let daemon = Daemon::prepare(&bed.lab, &spec, SAMPLE)?;
        let mut process = daemon.spawn()?;
        let code = process.exit_code(START_LIMIT)?;
        ensure!(code == Some(3) && process.log().contains("eth1"), "{code:?}: {}", process.log());
        ensure!(director.ip("-details link show dev eth1")? == before);
        nothing_attached(&bed, &["eth0"])?;
    }
    Ok(())
}

/// At tc it is not in the way: what it lets through is forwarded. // K-24
pub fn a_foreign_program_may_run_before_tc() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let director = bed.lab.director()?;
    let _foreign = director.enter(|| foreign::attach("eth1"))??;
    let spec = DaemonSpec { mode: "tc".to_owned(), ..bed.spec()? };
    let mut daemon = Daemon::start(&bed.lab, &spec, SAMPLE)?;
    ask(&bed.client()?, client_address(0), VIP)?;
    daemon.stop()?;
    ensure!(attached(&bed, "eth1")? == ["xdp"]);
    nothing_attached(&bed, &["eth0"])
}

/// The admin socket cannot be made: refused, and the data path that was opened for it is taken away again. // K-27
pub fn a_socket_that_cannot_be_made_leaves_nothing() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.prepare(SAMPLE)?;
    let run_dir = bed.lab.folder().join("run");
    std::fs::create_dir_all(&run_dir)?;
    std::fs::write(run_dir.join("admin.sock"), "somebody's file")?;
    let mut process = daemon.spawn()?;
    let code = process.exit_code(START_LIMIT)?;
    ensure!(code == Some(3) && process.log().contains("admin.sock"), "{code:?}: {}", process.log());
    nothing_attached(&bed, &["eth0", "eth1"])
}

/// A second daemon of the same instance: refused while the first one lives, which goes on. // K-22
pub fn a_second_daemon_is_refused() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(SAMPLE)?;
    let mut second = daemon.spawn()?;
    let code = second.exit_code(START_LIMIT)?.context("the second daemon was ended by a signal")?;
    ensure!(code != 0, "{}", second.log());
    daemon.stats()?;
    ask(&bed.client()?, client_address(0), VIP)?;
    Ok(())
}

/// Virtual servers, real servers, weights; without the connections that come and go.
fn table(daemon: &Daemon) -> anyhow::Result<Vec<String>> {
    let columns = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    Ok(daemon.xlb(&["list", "-n"])?.lines().map(columns).collect())
}

fn start_must_fail(bed: &Bed, config: &str, code: i32, word: &str) -> anyhow::Result<()> {
    let daemon = bed.prepare(config)?;
    let mut process = daemon.spawn()?;
    let seen = process.exit_code(START_LIMIT)?;
    ensure!(seen == Some(code), "{seen:?} instead of {code}: {}", process.log());
    ensure!(process.log().contains(word), "no `{word}` in: {}", process.log());
    nothing_attached(bed, &["eth0"])
}

/// No XDP program and no tc program on these interfaces of the director.
pub fn nothing_attached(bed: &Bed, interfaces: &[&str]) -> anyhow::Result<()> {
    for interface in interfaces {
        let found = attached(bed, interface)?;
        ensure!(found.is_empty(), "{interface}: {found:?}");
    }
    Ok(())
}

/// The places of the director's interface where a program is.
pub fn attached(bed: &Bed, interface: &str) -> anyhow::Result<Vec<&'static str>> {
    let director = bed.lab.director()?;
    let mut found = Vec::new();
    if director.ip(&format!("-details link show dev {interface}"))?.contains("prog/xdp") {
        found.push("xdp");
    }
    if director.enter(|| foreign::at_tcx(interface))?? > 0 {
        found.push("tcx");
    }
    if director.run("tc", &["qdisc", "show", "dev", interface])?.contains("clsact") {
        found.push("clsact");
    }
    Ok(found)
}
