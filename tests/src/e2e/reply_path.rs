//! A host on the clients' side that speaks as if it were a real server.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xlb::lab::{Daemon, real_address};

use super::bed::{Bed, PORTS, client_address, number};
use super::client::{Talk, VIP};
use super::config::Service;
use super::raw;
use crate::packets::{self, Flags};

const FORGED: u64 = 40;

/// Forgeries of every kind: an end, a reset, data, another SYN.
const KINDS: [Flags; 4] = [Flags::FIN_ACK, Flags::RST, Flags::ACK, Flags::SYN_ACK];

/// Who the real server of the only connection is, and whom it talks to.
fn ends(
    bed: &Bed,
    daemon: &Daemon,
    talk: &mut Talk,
) -> anyhow::Result<(SocketAddrV4, SocketAddrV4)> {
    let answer = talk.who()?;
    let n = bed.lab.real(1)?.name() != answer.server;
    let real = SocketAddrV4::new(real_address(n.into()), PORTS[usize::from(n)]);
    let SocketAddr::V4(seen) = answer.seen else { unreachable!("the sample is of IPv4") };
    let state = state(daemon)?;
    ensure!(state == "ESTABLISHED", "{state}");
    Ok((real, seen))
}

fn state(daemon: &Daemon) -> anyhow::Result<String> {
    let conns = daemon.conns()?;
    let [only] = &conns[..] else { anyhow::bail!("not one connection: {conns:?}") };
    Ok(only["state"].as_str().context("no state")?.to_owned())
}

/// Sends what the real server might, from the client's host; the answer of `xlb stats --json` after that.
fn forge(bed: &Bed, daemon: &Daemon, ends: (SocketAddrV4, SocketAddrV4)) -> anyhow::Result<Value> {
    let (client, director) = (bed.client()?, bed.lab.director()?);
    let (real, seen) = ends;
    let (from, to) = ((*real.ip(), real.port()), (*seen.ip(), seen.port()));
    let own = raw::mac(director, "eth0")?;
    for flags in KINDS.into_iter().cycle().take(FORGED as usize) {
        let mut frame = packets::tcp(from, to, flags, b"not from there");
        frame[..6].copy_from_slice(&own);
        raw::send(&client, "eth0", &frame)?;
    }
    Ok(daemon.stats()?)
}

/// It goes on unharmed, and the forgeries are counted; `xlb why` says where they should come from. // S-37
pub fn a_forged_answer_ends_nothing() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let bed = Bed::two_arm()?;
        let daemon = bed.start(&Service::new(kind).text())?;
        let mut talk = Talk::open(&bed.client()?, client_address(0), VIP)?;
        let ends = ends(&bed, &daemon, &mut talk)?;
        let stats = forge(&bed, &daemon, ends)?;
        let counted = number(&stats["drops"]["spoofed_reply"])?;
        ensure!(counted == FORGED, "{kind}: {}", stats["drops"]);
        ensure!(state(&daemon)? == "ESTABLISHED", "{kind}: {}", state(&daemon)?);
        talk.who().context("the connection goes on")?;
        let (from, to) = (ends.0.to_string(), ends.1.to_string());
        let why = |iface| daemon.xlb(&["why", &from, &to, "--flags", "ack", "--iface", iface]);
        let told = why("eth0")?;
        ensure!(
            told.contains("eth1 leads to that real server, and this came in by eth0"),
            "{told}"
        );
        ensure!(!why("eth1")?.contains("spoofed_reply"));
        talk.download(|seen| seen > 20_000_000)?;
    }
    Ok(())
}

/// With `xlb_reply_path any` they are taken for answers, of connections that were open before, too. // S-37
pub fn any_path_lets_answers_in() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let service = Service::new("NAT").text();
    let daemon = bed.start(&service)?;
    let mut talk = Talk::open(&bed.client()?, client_address(0), VIP)?;
    let ends = ends(&bed, &daemon, &mut talk)?;
    daemon.reload(&format!("global_defs {{\nxlb_reply_path any\n}}\n{service}"))?;
    let stats = forge(&bed, &daemon, ends)?;
    ensure!(stats["drops"]["spoofed_reply"].as_u64().unwrap_or(0) == 0, "{}", stats["drops"]);
    ensure!(state(&daemon)? != "ESTABLISHED", "nobody took them");
    Ok(())
}
