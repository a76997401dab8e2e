//! DR: real servers that hold the virtual address get the client's packets as they are, and answer past the director.

use std::net::SocketAddrV4;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xlb::lab::{Daemon, Offloads, real_address};

use super::answering::{Answering, own_address, service};
use super::bed::{Arms, client_address, number, real};
use super::client::{Talk, VIP, ask};
use super::config::Service;
use super::neighbours::a_silent_server_gets_its_packet;
use super::server::UdpServer;
use super::watch;

/// A source port outside the range that the client's kernel gives out.
const PORT: u16 = 9_000;

/// Over two interfaces. // C-01 P-07 P-63
pub fn two_arm() -> anyhow::Result<()> {
    both_serve(Arms::Two)
}

/// Over one. // C-01 P-07 P-63 P-81
pub fn one_arm() -> anyhow::Result<()> {
    both_serve(Arms::One)
}

fn both_serve(arms: Arms) -> anyhow::Result<()> {
    let bed = Answering::new(arms, Offloads::Wire)?;
    let daemon = bed.start(&service("DR").text())?;
    let client = bed.client()?;
    let list = daemon.xlb(&["list", "-n"])?;
    ensure!(list.matches("  Route  ").count() == 2, "{list}");
    let mut talks = Vec::new();
    for n in 0..6 {
        let mut talk = Talk::open(client, client_address(n), VIP)?;
        let answer = talk.who()?;
        ensure!(answer.seen == talk.local()?, "the client's own address: {answer:?}");
        let turn = talks.last().map(|(_, server): &(Talk, String)| server.clone());
        ensure!(turn != Some(answer.server.clone()), "rr took {} twice", answer.server);
        talks.push((talk, answer.server));
    }
    for (talk, server) in &talks {
        let row = conn(&daemon, &talk.local()?.to_string())?;
        ensure!(row["real"] == own_address(server)?.to_string(), "{row}");
        ensure!(row["virtual"] == VIP.to_string() && row["state"] == "ESTABLISHED", "{row}");
        ensure!(row["local"].is_null(), "{row}");
    }
    let stats = daemon.stats()?;
    for n in 0..2 {
        let real = real(&stats, &real_address(n).to_string())?;
        ensure!(number(&real["conns"])? == 3, "{real}");
        // SYN, ACK, the question, the answer's ACK; the answers themselves do not come by.
        ensure!((9..=15).contains(&number(&real["in_packets"])?), "{real}");
        ensure!(number(&real["out_packets"])? == 0, "{real}");
        ensure!(number(&real["active"])? == 3, "{real}");
    }
    let (talk, _) = talks.pop().context("six")?;
    let local = talk.local()?.to_string();
    drop(talk);
    watch("the client's FIN", || {
        let row = conn(&daemon, &local)?;
        ensure!(row["state"] == "FIN_WAIT", "{row}");
        Ok(())
    })
}

/// The row of a client's connection.
fn conn(daemon: &Daemon, client: &str) -> anyhow::Result<Value> {
    let rows = daemon.conns()?;
    let row = rows.iter().find(|row| row["client"] == client);
    row.cloned().with_context(|| format!("no connection of {client} in {rows:?}"))
}

/// The packet that waits for its real server's address keeps the virtual one, and goes the real server's way. // K-36
pub fn a_packet_waits_for_a_silent_server() -> anyhow::Result<()> {
    for arms in [Arms::Two, Arms::One] {
        let bed = Answering::new(arms, Offloads::Wire)?;
        let mut servers = Vec::new();
        for n in 1..=2 {
            let real = bed.lab.real(n)?;
            servers.push(UdpServer::start(real, real.name(), VIP)?);
        }
        let config = service("DR").udp().text();
        let daemon = Daemon::prepare(&bed.lab, &bed.spec()?, &config)?;
        a_silent_server_gets_its_packet(&bed.lab, daemon).with_context(|| format!("{arms:?}"))?;
    }
    Ok(())
}

/// Ten megabytes each way, and a page by HTTP. // C-01
pub fn streams() -> anyhow::Result<()> {
    let bed = Answering::new(Arms::Two, Offloads::Wire)?;
    let _daemon = bed.start(&service("DR").text())?;
    let client = bed.client()?;
    Talk::open(client, client_address(0), VIP)?.download(|seen| seen > 10_000_000)?;
    Talk::open(client, client_address(1), VIP)?.upload(|sent| sent > 10_000_000)?;
    Ok(())
}

/// `xlb why` names the real server that gets the connection, and says what is written into the packet: nothing.
pub fn why_is_right() -> anyhow::Result<()> {
    let bed = Answering::new(Arms::Two, Offloads::Wire)?;
    let daemon = bed.start(&service("DR").text())?;
    for n in 0..4 {
        let from = SocketAddrV4::new(client_address(n), PORT);
        let said = why(&daemon, from, &[])?;
        ensure!(said["verdict"] == "forward" && said["reason"] == "new_flow", "{said}");
        let mut talk = bed.client()?.enter(|| Talk::open_here(from, VIP))??;
        let server = talk.who()?.server;
        ensure!(said["real"] == own_address(&server)?.to_string(), "{server}: {said}");
        let known = why(&daemon, from, &["--flags", "ack"])?;
        ensure!(known["reason"] == "known_flow" && known["real"] == said["real"], "{known}");
        ensure!(known["steps"].to_string().contains(" by DR"), "{known}");
        for said in [said, known] {
            let rewrite = &said["rewrite"];
            ensure!(rewrite["new_source"] == from.to_string(), "{said}");
            ensure!(rewrite["new_destination"] == VIP.to_string(), "{said}");
            ensure!(rewrite["tunnel"].is_null(), "{said}");
            ensure!(said["steps"].to_string().contains("kept as it is: "), "{said}");
        }
    }
    Ok(())
}

/// What `xlb why --json` says of a client's packet to the virtual server.
pub(super) fn why(daemon: &Daemon, from: SocketAddrV4, more: &[&str]) -> anyhow::Result<Value> {
    let (from, to) = (from.to_string(), VIP.to_string());
    let words = [&["why", &from, &to, "--json"], more].concat();
    let said: Value = serde_json::from_str(&daemon.xlb(&words)?)?;
    ensure!(!said["steps"].to_string().contains("note: "), "{said}");
    Ok(said)
}

/// Nobody is left of the NAT real servers: the sorry server serves by a method of its own. // C-01 C-30
pub fn a_sorry_server_answers_itself() -> anyhow::Result<()> {
    let bed = Answering::new(Arms::Two, Offloads::Wire)?;
    // Nobody listens there.
    let reals = vec![(
        format!("{} 8089", real_address(0)),
        1,
        "TCP_CHECK { connect_timeout 1 retry 0 }".to_owned(),
    )];
    let sorry = format!(
        "delay_loop 1\nsorry_server {} {}\nsorry_server_lvs_method DR",
        real_address(1),
        VIP.port()
    );
    let service = Service { reals, ..Service::new("NAT") }.more(&sorry);
    let daemon = bed.start(&service.text())?;
    watch("the sorry server", || {
        let answer = ask(bed.client()?, client_address(0), VIP)?;
        ensure!(answer.server == "real2", "{answer:?}");
        Ok(())
    })?;
    let list = daemon.xlb(&["list", "-n"])?;
    ensure!(list.contains("Route"), "{list}");
    Ok(())
}
