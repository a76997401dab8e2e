//! Health checks as clients feel them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use xlb::lab::Daemon;

use super::bed::{Bed, client_address, number, real};
use super::client::{Talk, VIP, ask};
use super::config::Service;

/// `TCP_CHECK` takes a real server out when it refuses and puts it back when it answers again.
pub fn tcp_check_takes_out_and_puts_back() -> anyhow::Result<()> {
    let mut bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").checked().text())?;
    await_health(&daemon, &["up", "up"])?;
    ensure!(servers(&bed)?.len() == 2);

    bed.tcp[0] = None;
    await_health(&daemon, &["down", "up"])?;
    ensure!(servers(&bed)? == BTreeSet::from(["real2".to_owned()]));
    let stats = daemon.stats()?;
    let reason = &real(&stats, "192.168.1.100")?["health_reason"];
    ensure!(reason.as_str().is_some_and(|reason| !reason.is_empty()), "{stats}");

    bed.tcp[0] = Some(bed.serve_tcp(1)?);
    await_health(&daemon, &["up", "up"])?;
    ensure!(servers(&bed)?.len() == 2);
    Ok(())
}

/// With every real server down, a client is refused at once, and the refusal is counted. // K-46
pub fn all_down_refuses_at_once() -> anyhow::Result<()> {
    let mut bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").checked().text())?;
    await_health(&daemon, &["up", "up"])?;
    bed.tcp.iter_mut().for_each(|server| *server = None);
    await_health(&daemon, &["down", "down"])?;
    let before = drops(&daemon)?;

    let source = SocketAddrV4::new(client_address(3), 0);
    let start = Instant::now();
    match bed.client()?.enter(|| Talk::open_here(source, VIP))? {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        other => bail!("{other:?} instead of a refusal"),
    }
    ensure!(start.elapsed() < Duration::from_millis(900), "refused after {:?}", start.elapsed());
    ensure!(drops(&daemon)? == before + 1, "{}", daemon.stats()?);
    Ok(())
}

/// A live connection to a server that is taken out goes on; only new ones go elsewhere.
pub fn a_live_connection_outlives_its_health() -> anyhow::Result<()> {
    let mut bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").checked().text())?;
    await_health(&daemon, &["up", "up"])?;
    let mut talks = Vec::new();
    for n in 0..2 {
        let mut talk = Talk::open(&bed.client()?, client_address(n), VIP)?;
        talk.who()?;
        talks.push(talk);
    }
    // The listener alone goes: connections that it has accepted stay.
    if let Some(server) = &mut bed.tcp[0] {
        server.stop_listening();
    }
    await_health(&daemon, &["down", "up"])?;
    for talk in &mut talks {
        talk.who()?;
    }
    Ok(())
}

fn drops(daemon: &Daemon) -> anyhow::Result<u64> {
    let stats = daemon.stats()?;
    match &stats["drops"]["no_usable_real"] {
        serde_json::Value::Null => Ok(0),
        count => number(count),
    }
}

fn servers(bed: &Bed) -> anyhow::Result<BTreeSet<String>> {
    let client = bed.client()?;
    (0..8).map(|n| Ok(ask(&client, client_address(n), VIP)?.server)).collect()
}

/// Waits for the health of real1, real2.
pub fn await_health(daemon: &Daemon, wanted: &[&str]) -> anyhow::Result<()> {
    super::watch(&format!("health {wanted:?}"), || {
        let stats = daemon.stats()?;
        for (address, health) in ["192.168.1.100", "192.168.1.101"].iter().zip(wanted) {
            let seen = &real(&stats, address)?["health"];
            ensure!(seen == health, "{address} is {seen}");
        }
        Ok(())
    })
}
