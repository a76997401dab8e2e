//! Schedulers by what clients see of them; the exact sequences are compared elsewhere.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, ensure};
use xlb::lab::Options;

use super::bed::{Arms, Bed, client_address, number, real};
use super::client::{Talk, VIP, ask};
use super::config::Service;

const FIRST: &str = "192.168.1.100";
const SECOND: &str = "192.168.1.101";

fn three_reals() -> anyhow::Result<Bed> {
    Bed::new(Arms::Two, &Options { reals: 3, ..Options::default() })
}

/// Asks `count` times from changing addresses; how often each server answered.
fn shares(bed: &Bed, count: usize) -> anyhow::Result<BTreeMap<String, usize>> {
    let client = bed.client()?;
    let mut shares = BTreeMap::new();
    for n in 0..count {
        let answer = ask(&client, client_address((n % 32) as u8), VIP)?;
        *shares.entry(answer.server).or_default() += 1;
    }
    Ok(shares)
}

fn expect(shares: &BTreeMap<String, usize>, wanted: &[(&str, usize)]) -> anyhow::Result<()> {
    let wanted: BTreeMap<String, usize> =
        wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    ensure!(*shares == wanted, "shares {shares:?}, not {wanted:?}");
    Ok(())
}

/// rr: both real servers get half, exactly.
pub fn rr_gives_halves() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("NAT").text())?;
    expect(&shares(&bed, 100)?, &[("real1", 50), ("real2", 50)])
}

/// wrr: shares are the weights, exactly.
pub fn wrr_follows_weights() -> anyhow::Result<()> {
    let bed = three_reals()?;
    let _daemon = bed.start(&Service::new("NAT").scheduler("wrr").weights(&[1, 2, 3]).text())?;
    expect(&shares(&bed, 60)?, &[("real1", 10), ("real2", 20), ("real3", 30)])
}

/// sh: a client address has its server, and the addresses are spread.
pub fn sh_binds_a_client_to_a_server() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("NAT").scheduler("sh").text())?;
    let client = bed.client()?;
    let mut spread = BTreeMap::<String, usize>::new();
    for n in 0..32 {
        let first = ask(&client, client_address(n), VIP)?.server;
        for _ in 0..3 {
            let again = ask(&client, client_address(n), VIP)?.server;
            ensure!(again == first, "{} moved from {first} to {again}", client_address(n));
        }
        *spread.entry(first).or_default() += 1;
    }
    ensure!(spread.len() == 2, "all clients on one server: {spread:?}");
    Ok(())
}

/// dh: the virtual address decides, so all clients are on one server.
pub fn dh_binds_a_virtual_address_to_a_server() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("NAT").scheduler("dh").text())?;
    ensure!(shares(&bed, 20)?.len() == 1);
    Ok(())
}

/// lc: held connections are spread evenly; when one server's are closed, it gets the next ones.
pub fn lc_fills_the_emptier_server() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").scheduler("lc").text())?;
    let (first, second) = hold(&bed, 20)?;
    ensure!(first.len() == 10 && second.len() == 10, "{} and {}", first.len(), second.len());
    drop(first);
    settle(&daemon, FIRST, 0)?;
    let (first, third) = hold(&bed, 8)?;
    ensure!(first.len() == 8 && third.is_empty(), "{} and {}", first.len(), third.len());
    drop(second);
    Ok(())
}

/// wlc: held connections are as the weights.
pub fn wlc_follows_weights() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").scheduler("wlc").weights(&[3, 1]).text())?;
    let (first, second) = hold(&bed, 40)?;
    ensure!(first.len() == 30 && second.len() == 10, "{} and {}", first.len(), second.len());
    let stats = daemon.stats()?;
    ensure!(number(&real(&stats, FIRST)?["active"])? == 30, "{stats}");
    ensure!(number(&real(&stats, SECOND)?["active"])? == 10, "{stats}");
    Ok(())
}

/// Weight 0 by reload: held connections go on, new ones go elsewhere; the weight back, they come back. // C-42
pub fn weight_0_quiesces() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let config = Service::new("NAT");
    let daemon = bed.start(&config.text())?;
    let (mut first, mut second) = hold(&bed, 10)?;
    daemon.reload(&config.clone().weights(&[0, 1]).text())?;
    expect(&shares(&bed, 20)?, &[("real2", 20)])?;
    for talk in first.iter_mut().chain(&mut second) {
        talk.who().context("a held connection after weight 0")?;
    }
    daemon.reload(&config.text())?;
    expect(&shares(&bed, 20)?, &[("real1", 10), ("real2", 10)])
}

/// Two virtual servers with the same real servers do not mix.
pub fn two_virtual_servers_count_apart() -> anyhow::Result<()> {
    let other = Ipv4Addr::new(10, 64, 1, 3);
    let options = Options { more_vips: vec![other], ..Options::default() };
    let bed = Bed::new(Arms::Two, &options)?;
    let both =
        [Service::new("NAT").weights(&[1]).text(), Service::new("FNAT").vip("10.64.1.3 80").text()];
    let daemon = bed.start(&both.concat())?;
    expect(&shares(&bed, 6)?, &[("real1", 6)])?;
    let client = bed.client()?;
    for n in 0..4 {
        let answer = ask(&client, client_address(n), SocketAddrV4::new(other, 80))?;
        ensure!(answer.seen.ip().to_string() == "192.168.1.1", "{answer:?}");
    }
    let stats = daemon.stats()?;
    let conns: Vec<_> = [0, 1].iter().map(|n| &stats["services"][n]["conns"]).collect();
    ensure!(conns == [6, 4], "{stats}");
    Ok(())
}

/// Opens connections that have spoken, so that they are established on both sides; those of real1, those of real2.
fn hold(bed: &Bed, count: usize) -> anyhow::Result<(Vec<Talk>, Vec<Talk>)> {
    let client = bed.client()?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for n in 0..count {
        let mut talk = Talk::open(&client, client_address((n % 32) as u8), VIP)?;
        let answer = talk.who()?;
        if answer.server == "real1" { first.push(talk) } else { second.push(talk) }
    }
    Ok((first, second))
}

/// Waits until a real server has this many active connections.
fn settle(daemon: &xlb::lab::Daemon, address: &str, active: u64) -> anyhow::Result<()> {
    super::watch(&format!("{active} active at {address}"), || {
        let stats = daemon.stats()?;
        let now = number(&real(&stats, address)?["active"])?;
        ensure!(now == active, "{now} active");
        Ok(())
    })
}
