//! What must not break live connections: reloads, `kill -9`, restarts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use xlb::lab::Daemon;

use super::bed::{Bed, client_address, number};
use super::churn::hammer;
use super::client::{Talk, VIP, ask, ask_udp};
use super::config::{SAMPLE, Service};

const GIGABYTE: u64 = 1_000_000_000;
const RELOADS: u32 = 50;
const KILLS: u32 = 10;
/// Enough for several kills while they are made.
const CONNECTIONS: usize = 40_000;

/// A transfer of at least 1 GB through the sample's virtual server, every byte compared, while the configuration is
/// reloaded 50 times and the daemon killed ten times; connections that were open before are open after. // K-05 K-15
pub fn a_gigabyte_survives_reloads_and_kills() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(SAMPLE)?;
    let client = bed.client()?;
    let mut held = Vec::new();
    for n in 2..12 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        let answer = talk.who()?;
        held.push((talk, answer));
    }
    let bulk = Talk::open(&client, client_address(0), VIP)?;
    let (seen, quiet) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let received = std::thread::scope(|scope| {
        let transfer = scope.spawn(|| {
            bulk.download(|bytes| {
                seen.store(bytes, Ordering::Relaxed);
                bytes >= GIGABYTE && quiet.load(Ordering::Relaxed)
            })
        });
        let trouble = disturb(&mut daemon, &mut held);
        // Also on failure, or the transfer would never end.
        quiet.store(true, Ordering::Relaxed);
        let received = transfer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        trouble?;
        received.with_context(|| {
            format!("the transfer broke after {} bytes", seen.load(Ordering::Relaxed))
        })
    })?;
    eprintln!("{received} bytes in {:?}, {RELOADS} reloads, {KILLS} kills", start.elapsed());
    ensure!(received >= GIGABYTE);
    Ok(())
}

/// Reloads with alternating weights and a kill and restart after every fifth, every held connection asked each time.
fn disturb(daemon: &mut Daemon, held: &mut [(Talk, super::client::Answer)]) -> anyhow::Result<()> {
    for n in 1..=RELOADS {
        let text =
            if n % 2 == 0 { SAMPLE.to_owned() } else { SAMPLE.replace("weight 1", "weight 2") };
        daemon.reload(&text).with_context(|| format!("reload {n}"))?;
        if n % (RELOADS / KILLS) == 0 {
            daemon.kill()?;
            ask_held(held).context("after kill -9")?;
            daemon.run().with_context(|| format!("restart after reload {n}"))?;
        }
        ask_held(held).with_context(|| format!("after reload {n}"))?;
    }
    Ok(())
}

fn ask_held(held: &mut [(Talk, super::client::Answer)]) -> anyhow::Result<()> {
    for (talk, before) in held {
        ensure!(talk.who()? == *before, "a connection changed its server");
    }
    Ok(())
}

/// Forty thousand short connections while the daemon is killed and started again and the configuration reloaded: none
/// fails. // K-05 K-15
pub fn new_connections_survive_reloads_and_kills() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let text = Service::new("FNAT").text();
    let mut daemon = bed.start(&text)?;
    let (client, done) = (bed.client()?, AtomicBool::new(false));
    let (outcome, rounds) = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let outcome = hammer(&client, VIP, CONNECTIONS);
            done.store(true, Ordering::Relaxed);
            outcome
        });
        let mut rounds = 0;
        let mut trouble = || -> anyhow::Result<()> {
            while !done.load(Ordering::Relaxed) {
                daemon.reload(&text.replace("weight 1", "weight 2"))?;
                daemon.reload(&text)?;
                daemon.kill()?;
                daemon.run()?;
                rounds += 1;
            }
            Ok(())
        };
        let trouble = trouble();
        let outcome = clients.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        trouble?;
        anyhow::Ok((outcome, rounds))
    })?;
    eprintln!("{rounds} rounds of two reloads and a kill; slowest {:?}", outcome.slowest);
    ensure!(rounds >= 2, "only {rounds} rounds");
    ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    ensure!(outcome.shares.iter().sum::<usize>() == CONNECTIONS);
    Ok(())
}

/// After `kill -9` new connections are served without a daemon; the next run adopts flows, templates and counters. // K-16
pub fn the_next_run_adopts_what_kill_9_left() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(&Service::new("FNAT").more("persistence_timeout 50").text())?;
    let client = bed.client()?;
    let mut held = Talk::open(&client, client_address(0), VIP)?;
    let before = held.who()?;
    let conns = number(&daemon.stats()?["services"][0]["conns"])?;

    daemon.kill()?;
    ensure!(held.who()? == before);
    let meanwhile =
        ask(&client, client_address(1), VIP).context("a new client without a daemon")?;
    let again = ask(&client, client_address(0), VIP)?;
    ensure!(again.server == before.server, "persistence was lost");

    daemon.run()?;
    ensure!(held.who()? == before);
    let stats = daemon.stats()?;
    ensure!(number(&stats["services"][0]["conns"])? == conns + 2, "{stats}");
    ensure!(daemon.conns()?.iter().any(|flow| flow["state"] == "ESTABLISHED"));
    let after = ask(&client, client_address(1), VIP)?;
    ensure!(after.server == meanwhile.server, "persistence was lost");
    Ok(())
}

/// A removed real server's counts stay in its service's sums: while its id waits for its flows to end, after the id is
/// free, and through `kill -9`. // K-16
pub fn sums_keep_what_removed_servers_counted() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(&Service::new("NAT").udp().text())?;
    let client = bed.client()?;
    for n in 0..8 {
        ask_udp(&client, client_address(n), VIP)?;
    }
    let sums = |daemon: &Daemon| -> anyhow::Result<[u64; 5]> {
        let service = &daemon.stats()?["services"][0];
        let names = ["conns", "in_packets", "out_packets", "in_bytes", "out_bytes"];
        let mut sums = [0; 5];
        for (sum, name) in sums.iter_mut().zip(names) {
            *sum = number(&service[name])?;
        }
        Ok(sums)
    };
    let before = sums(&daemon)?;
    ensure!(before[0] == 8, "{before:?}");
    // Flows that would hold the id for five minutes end now.
    let only_one = Service::new("NAT").udp().weights(&[1]);
    daemon.reload(&format!("global_defs {{ lvs_timeouts udp 1 }}\n{}", only_one.text()))?;
    ensure!(sums(&daemon)? == before);
    super::watch("the removed server's id is free", || {
        ensure!(daemon.log().contains("is free again"));
        Ok(())
    })?;
    ensure!(sums(&daemon)? == before);
    daemon.kill()?;
    daemon.run()?;
    ensure!(sums(&daemon)? == before);
    Ok(())
}

/// `--keep`: a clean stop leaves the data path, as a crash does; the next run adopts it. // K-25
pub fn keep_leaves_the_data_path() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut spec = bed.spec()?;
    spec.more.push("--keep".into());
    let mut daemon = Daemon::start(&bed.lab, &spec, SAMPLE)?;
    let client = bed.client()?;
    let mut held = Talk::open(&client, client_address(0), VIP)?;
    let before = held.who()?;
    daemon.stop()?;
    ensure!(held.who()? == before);
    daemon.run()?;
    ensure!(held.who()? == before);
    Ok(())
}
