//! TCP through the sample's virtual server: who answers, whom they see, and that streams stay intact.

use std::collections::BTreeSet;

use anyhow::ensure;
use xlb::lab::Options;

use super::bed::{Arms, Bed, client_address, number};
use super::client::{Talk, VIP};
use super::config::{SAMPLE, Service};

const STREAM: u64 = 20_000_000;

/// The sample word for word: the real servers see the client's own address and port.
pub fn nat_two_arm() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(SAMPLE)?;
    let client = bed.client()?;
    let mut servers = BTreeSet::new();
    for n in 0..8 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        let answer = talk.who()?;
        ensure!(answer.seen == talk.local()?, "{answer:?}");
        ensure!(talk.who()? == answer, "a connection stays where it is");
        servers.insert(answer.server);
    }
    ensure!(servers.len() == 2, "only {servers:?} answered");
    streams(&bed)?;
    let stats = daemon.stats()?;
    let service = &stats["services"][0];
    ensure!(number(&service["conns"])? == 10, "{service}");
    ensure!(number(&service["in_bytes"])? > STREAM && number(&service["out_bytes"])? > STREAM);
    ensure!(number(&service["in_packets"])? > 0 && number(&service["out_packets"])? > 0);
    Ok(())
}

/// Full-NAT with two interfaces: the real servers see the director's inner address and need no route to clients.
pub fn fullnat_two_arm() -> anyhow::Result<()> {
    fullnat(Arms::Two)
}

/// Full-NAT with one interface: clients and real servers on the same wire. // P-81
pub fn fullnat_one_arm() -> anyhow::Result<()> {
    fullnat(Arms::One)
}

fn fullnat(arms: Arms) -> anyhow::Result<()> {
    let bed = Bed::new(arms, &Options { real_gateway: false, ..Options::default() })?;
    let daemon = bed.start(&Service::new("FNAT").text())?;
    let client = bed.client()?;
    let mut servers = BTreeSet::new();
    let mut sources = BTreeSet::new();
    let mut talks = Vec::new();
    for n in 0..8 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        let answer = talk.who()?;
        ensure!(answer.seen.ip().to_string() == "192.168.1.1", "{answer:?}");
        sources.insert((answer.server.clone(), answer.seen));
        servers.insert(answer.server);
        talks.push(talk);
    }
    ensure!(servers.len() == 2, "only {servers:?} answered");
    ensure!(sources.len() == talks.len(), "two live connections share a source: {sources:?}");
    let flows = daemon.conns()?;
    ensure!(
        flows.iter().filter(|flow| flow["local"].as_str().is_some()).count() >= talks.len(),
        "{flows:?}"
    );
    for talk in &mut talks {
        talk.who()?;
    }
    streams(&bed)
}

/// Bulk in both directions through the virtual server; the upload ends by a half-close. // P-63 P-72
fn streams(bed: &Bed) -> anyhow::Result<()> {
    let client = bed.client()?;
    Talk::open(&client, client_address(0), VIP)?.download(|seen| seen > STREAM)?;
    Talk::open(&client, client_address(1), VIP)?.upload(|sent| sent > STREAM)?;
    Ok(())
}
