//! TUN: packets reach the real servers inside ipip, GRE and GUE, and the answers go past the director.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::{Context as _, ensure};
use xlb::lab::{Daemon, Offloads, Tool, real_address};

use super::answering::{Answering, own_address, service};
use super::bed::{Arms, client_address, number, real};
use super::client::{Talk, VIP, ask};
use super::config::Service;
use super::direct::why;
use super::http::PAGE;
use super::server::pattern;
use super::tunnel_end::{Kind, TunnelEnd};
use super::watch;

const GUE_PORT: u16 = 6080;
const BYTES: u64 = 10_000_000;

struct Tunnelled {
    ends: Vec<TunnelEnd>,
    bed: Answering,
    daemon: Daemon,
}

fn start(
    arms: Arms,
    wires: Offloads,
    mode: Option<&str>,
    (kind, words): (Kind, &'static str),
) -> anyhow::Result<Tunnelled> {
    let bed = Answering::new(arms, wires)?;
    let ends = ends(&bed, kind)?;
    let mut spec = bed.spec()?;
    if let Some(mode) = mode {
        mode.clone_into(&mut spec.mode);
    }
    let daemon = Daemon::start(&bed.lab, &spec, &service(words).text())?;
    Ok(Tunnelled { ends, bed, daemon })
}

fn ends(bed: &Answering, kind: Kind) -> anyhow::Result<Vec<TunnelEnd>> {
    (1..=2).map(|n| TunnelEnd::start(bed.lab.real(n)?, kind)).collect()
}

/// Both real servers serve; a page and a post of a megabyte arrive whole. The client's packets are too large for the tunnel
/// at first: xlb tells it. // P-51 P-52
fn serves(tunnelled: &Tunnelled) -> anyhow::Result<()> {
    let Tunnelled { ends, bed, daemon } = tunnelled;
    let client = bed.client()?;
    let list = daemon.xlb(&["list", "-n"])?;
    ensure!(list.matches("  Tunnel  ").count() == 2, "{list}");
    let mut talks = Vec::new();
    for n in 0..4 {
        let mut talk = Talk::open(client, client_address(n), VIP)?;
        let answer = talk.who()?;
        ensure!(answer.seen == talk.local()?, "the client's own address: {answer:?}");
        talks.push((talk, answer.server));
    }
    let to_first = talks.iter().filter(|(_, server)| server == "real1").count();
    ensure!(to_first == 2, "{to_first} of 4 by rr");
    for row in daemon.conns()? {
        let (_, server) = talks
            .iter()
            .find(|(talk, _)| talk.local().is_ok_and(|local| row["client"] == local.to_string()))
            .with_context(|| format!("nobody's: {row}"))?;
        ensure!(row["real"] == own_address(server)?.to_string(), "{server}: {row}");
        ensure!(row["state"] == "ESTABLISHED", "{row}");
    }
    drop(talks);
    pages(bed)?;
    Talk::open(client, client_address(5), VIP)?.download(|seen| seen > BYTES)?;
    Talk::open(client, client_address(6), VIP)?.upload(|sent| sent > BYTES)?;
    ensure!(ends.iter().all(|end| end.taken() > 10), "{ends:?}");
    let stats = daemon.stats()?;
    ensure!(number(&stats["drops"]["mtu_exceeded"])? >= 1, "{}", stats["drops"]);
    for n in 0..2 {
        let real = real(&stats, &real_address(n).to_string())?;
        ensure!(number(&real["conns"])? >= 3 && number(&real["out_packets"])? == 0, "{real}");
    }
    Ok(())
}

/// By curl, to each real server.
fn pages(bed: &Answering) -> anyhow::Result<()> {
    if Tool::CURL.find().is_none() {
        eprintln!("skipped in part: curl is missing");
        return Ok(());
    }
    let (page, url) = (bed.lab.folder().join("page"), format!("http://{VIP}/"));
    let (post, got) = (page.display().to_string(), bed.lab.folder().join("got"));
    fs::write(&page, &pattern()[..PAGE])?;
    let (post, to) = (format!("@{post}"), got.display().to_string());
    let options = ["-q", "-sS", "--max-time", "30"];
    for _ in 0..2 {
        let fetch = [&options[..], &["-o", &to, &url]].concat();
        bed.client()?.run("curl", &fetch)?;
        ensure!(fs::read(&got)? == pattern()[..PAGE], "the page arrived changed");
        let send = [&options[..], &["-H", "Expect:", "--data-binary", &post, &url]].concat();
        let said = bed.client()?.run("curl", &send)?;
        ensure!(said.trim_end() == PAGE.to_string(), "{said}");
    }
    Ok(())
}

fn in_the_modes_there_are(kind: Kind, words: &'static str) -> anyhow::Result<()> {
    for arms in [Arms::Two, Arms::One] {
        let tunnelled = start(arms, Offloads::Wire, None, (kind, words))?;
        serves(&tunnelled).with_context(|| format!("{words}, {arms:?}"))?;
        if kind == Kind::Gre && words.ends_with(" csum") {
            ensure!(tunnelled.ends.iter().all(|end| end.proven() > 10), "{:?}", tunnelled.ends);
        }
    }
    Ok(())
}

/// Whether the scenarios run in mode tc.
fn in_tc() -> bool {
    std::env::var("XLB_TEST_MODE").is_ok_and(|mode| mode == "tc")
}

/// IP in IP. // C-01 P-51
pub fn ipip() -> anyhow::Result<()> {
    in_the_modes_there_are(Kind::Ipip, "TUN type ipip")
}

/// GRE without a checksum. // C-01 P-51
pub fn gre() -> anyhow::Result<()> {
    in_the_modes_there_are(Kind::Gre, "TUN type gre nocsum")
}

/// GUE without a checksum. // C-01 P-51
pub fn gue() -> anyhow::Result<()> {
    in_the_modes_there_are(Kind::Gue(GUE_PORT), "TUN type gue port 6080 nocsum")
}

/// GRE with a checksum that the other end looks at. // C-01 P-51
pub fn gre_with_checksums() -> anyhow::Result<()> {
    if in_tc() {
        return a_checksum_is_refused_in_tc();
    }
    in_the_modes_there_are(Kind::Gre, "TUN type gre csum")
}

/// GUE with a checksum that the other end's kernel looks at. // C-01 P-51
pub fn gue_with_checksums() -> anyhow::Result<()> {
    if in_tc() {
        return a_checksum_is_refused_in_tc();
    }
    in_the_modes_there_are(Kind::Gue(GUE_PORT), "TUN type gue port 6080 csum")
}

/// Packets of 64 KiB with half-made checksums go into the tunnel as they are. // P-04 P-77
pub fn large_packets_go_through() -> anyhow::Result<()> {
    for wires in [Offloads::Usual, Offloads::All] {
        for tunnel in [
            (Kind::Ipip, "TUN type ipip"),
            (Kind::Gre, "TUN type gre nocsum"),
            (Kind::Gue(GUE_PORT), "TUN type gue port 6080 nocsum"),
        ] {
            let tunnelled = start(Arms::Two, wires, Some("tc"), tunnel)?;
            serves(&tunnelled).with_context(|| format!("{}, {wires:?}", tunnel.1))?;
            let stats = tunnelled.daemon.stats()?;
            let service = &stats["services"][0];
            let (bytes, packets) = (number(&service["in_bytes"])?, number(&service["in_packets"])?);
            ensure!(bytes / packets > 1_600, "{wires:?}: {bytes} bytes in {packets} packets");
        }
    }
    Ok(())
}

/// A tunnel with checksums gets nothing in mode tc, and the log says why; the other real server serves.
pub fn a_checksum_is_refused_in_tc() -> anyhow::Result<()> {
    let bed = Answering::new(Arms::Two, Offloads::Wire)?;
    let _ends = ends(&bed, Kind::Gre)?;
    let with = |method: &str| format!("lvs_method TUN type gre {method}");
    let mut service: Service = service("NAT");
    service.reals[0].2 = with("csum");
    service.reals[1].2 = with("nocsum");
    let mut spec = bed.spec()?;
    spec.mode = "tc".into();
    let daemon = Daemon::start(&bed.lab, &spec, &service.text())?;
    for n in 0..4 {
        let answer = ask(bed.client()?, client_address(n), VIP)?;
        ensure!(answer.server == "real2", "{answer:?}");
    }
    watch("the reason", || {
        let log = daemon.log();
        ensure!(log.contains("(csum) need mode xdp"), "{log}");
        Ok(())
    })
}

/// The real servers are NAT; when they are down the sorry server is reached by a tunnel. // C-01
pub fn a_sorry_server_has_a_tunnel_of_its_own() -> anyhow::Result<()> {
    let bed = Answering::new(Arms::Two, Offloads::Wire)?;
    let _ends = ends(&bed, Kind::Ipip)?;
    // Nobody listens there.
    let checked = "TCP_CHECK { connect_timeout 1 retry 0 }".to_owned();
    let reals = vec![(format!("{} 8089", real_address(0)), 1, checked)];
    let sorry = format!(
        "delay_loop 1\nsorry_server {} {}\nsorry_server_lvs_method TUN",
        real_address(1),
        VIP.port()
    );
    let daemon = bed.start(&Service { reals, ..Service::new("NAT") }.more(&sorry).text())?;
    watch("the sorry server", || {
        let answer = ask(bed.client()?, client_address(0), VIP)?;
        ensure!(answer.server == "real2", "{answer:?}");
        Ok(())
    })?;
    let list = daemon.xlb(&["list", "-n"])?;
    ensure!(list.contains("Tunnel"), "{list}");
    Ok(())
}

/// `xlb why` names the tunnel, its ends, and what is inside. // C-01
pub fn why_is_right() -> anyhow::Result<()> {
    for (kind, words, name) in [
        (Kind::Ipip, "TUN type ipip", "ipip"),
        (Kind::Gre, "TUN type gre", "gre"),
        (Kind::Gue(GUE_PORT), "TUN type gue port 6080", "gue"),
    ] {
        let Tunnelled { ends: _ends, bed, daemon } =
            start(Arms::Two, Offloads::Wire, None, (kind, words))?;
        for n in 0..2 {
            let from = SocketAddrV4::new(client_address(n), 9_000);
            let said = why(&daemon, from, &[])?;
            ensure!(said["verdict"] == "forward" && said["reason"] == "new_flow", "{said}");
            let mut talk = bed.client()?.enter(|| Talk::open_here(from, VIP))??;
            let own = own_address(&talk.who()?.server)?;
            ensure!(said["real"] == own.to_string(), "{own}: {said}");
            let known = why(&daemon, from, &["--flags", "ack"])?;
            ensure!(known["reason"] == "known_flow", "{known}");
            ensure!(known["steps"].to_string().contains(&format!("TUN ({name})")), "{known}");
            for said in [said, known] {
                let rewrite = &said["rewrite"];
                ensure!(rewrite["new_destination"] == VIP.to_string(), "{said}");
                ensure!(rewrite["tunnel"]["kind"] == name, "{said}");
                ensure!(rewrite["tunnel"]["destination"] == own.ip().to_string(), "{said}");
                ensure!(rewrite["tunnel"]["source"] == "192.168.1.1", "{said}");
            }
        }
    }
    Ok(())
}
