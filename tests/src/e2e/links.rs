//! Interfaces and servers that go and come back under live connections.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::bed::{Bed, client_address};
use super::client::{Talk, VIP, ask};
use super::config::Service;

/// An interface goes down and up: connections go on, new ones are made within a second. // K-29
pub fn flows_resume_after_down_and_up() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("FNAT").text())?;
    let client = bed.client()?;
    let mut talk = Talk::open(&client, client_address(0), VIP)?;
    let before = talk.who()?;
    let director = bed.lab.director()?;
    for interface in ["eth0", "eth1"] {
        director.ip(&format!("link set {interface} down"))?;
        director.ip(&format!("link set {interface} up"))?;
        super::watch("a new connection", || {
            // A try that is lost must not take the whole time.
            let start = Instant::now();
            ask(&client, client_address(1), VIP)?;
            ensure!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
            Ok(())
        })?;
        ensure!(talk.who().with_context(|| format!("after {interface}"))? == before);
    }
    Ok(())
}

/// A real server is removed and added again by reloads: its connections go on. // C-44
pub fn a_server_added_again_keeps_its_connections() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let config = Service::new("NAT");
    let daemon = bed.start(&config.text())?;
    let client = bed.client()?;
    let mut talks = Vec::new();
    for n in 0..4 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        talks.push((talk.who()?, talk));
    }
    daemon.reload(&config.clone().weights(&[1]).text())?;
    for n in 0..4 {
        ensure!(ask(&client, client_address(n), VIP)?.server == "real1");
    }
    daemon.reload(&config.text())?;
    for (before, talk) in &mut talks {
        ensure!(talk.who().with_context(|| format!("{before:?}"))? == *before);
    }
    Ok(())
}
