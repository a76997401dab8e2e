//! `xlb why` says beforehand what happens, and changes nothing.

use std::net::SocketAddrV4;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xlb::lab::{Daemon, Options};

use super::bed::{Arms, Bed, client_address};
use super::client::{Talk, VIP, ask_here, ask_udp_on};
use super::config::Service;

/// A source port outside the range that the client's kernel gives out.
const PORT: u16 = 20_000;

/// NAT: the real server that it names is the one that a real connection gets, turn after turn.
pub fn nat_is_foretold() -> anyhow::Result<()> {
    foretold(&Service::new("NAT").text(), Arms::Two, true)
}

/// wrr: the turns of an unequal table, too.
pub fn weights_are_foretold() -> anyhow::Result<()> {
    foretold(&Service::new("NAT").scheduler("wrr").weights(&[3, 1]).text(), Arms::Two, true)
}

/// wlc: by the connections there are.
pub fn loads_are_foretold() -> anyhow::Result<()> {
    foretold(&Service::new("NAT").scheduler("wlc").weights(&[3, 1]).text(), Arms::Two, true)
}

/// Full-NAT: real server, source address and source port.
pub fn fullnat_is_foretold() -> anyhow::Result<()> {
    foretold(&Service::new("FNAT").text(), Arms::One, false)
}

fn foretold(config: &str, arms: Arms, sees_clients: bool) -> anyhow::Result<()> {
    let options = Options { real_gateway: sees_clients, ..Options::default() };
    let bed = Bed::new(arms, &options)?;
    let daemon = bed.start(config)?;
    let client = bed.client()?;
    let mut talks = Vec::new();
    for n in 0..8 {
        let from = SocketAddrV4::new(client_address(n), PORT);
        let before = state(&daemon)?;
        // Asked twice: the first question moved nothing.
        ensure!(why(&daemon, from, VIP, &[])? == why(&daemon, from, VIP, &[])?);
        let said = why(&daemon, from, VIP, &[])?;
        ensure!(state(&daemon)? == before, "`xlb why` changed {before}");
        ensure!(said["verdict"] == "forward" && said["reason"] == "new_flow", "{said}");
        let mut talk = client.enter(|| Talk::open_here(from, VIP))??;
        let answer = talk.who()?;
        let real = server_at(&said["real"])?;
        ensure!(answer.server == real, "{} answered; {said}", answer.server);
        let seen = answer.seen.to_string();
        ensure!(said["rewrite"]["new_source"] == *seen, "the server saw {seen}; {said}");
        talks.push(talk);
    }
    Ok(())
}

/// UDP, and a client that persistence binds.
pub fn templates_are_foretold() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").udp().more("persistence_timeout 50").text())?;
    let from = SocketAddrV4::new(client_address(0), PORT);
    let udp = |from| why(&daemon, from, VIP, &["--proto", "udp"]);
    let said = udp(from)?;
    ensure!(steps(&said).contains("no template for client"), "{said}");
    let bind = |from: SocketAddrV4| std::net::UdpSocket::bind(from);
    let socket = bed.client()?.enter(|| bind(from))??;
    let first = ask_udp_on(&socket, VIP)?;
    ensure!(first.server == server_at(&said["real"])?, "{first:?}; {said}");
    for port in 1..4 {
        let from = SocketAddrV4::new(client_address(0), PORT + port);
        let said = udp(from)?;
        ensure!(steps(&said).contains("is kept to"), "{said}");
        let socket = bed.client()?.enter(|| bind(from))??;
        ensure!(ask_udp_on(&socket, VIP)?.server == server_at(&said["real"])?);
    }
    Ok(())
}

/// A connection that is open is told as one, from both sides; also when the daemon is dead.
pub fn a_known_flow_is_told() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(&Service::new("NAT").text())?;
    let from = SocketAddrV4::new(client_address(0), PORT);
    let mut talk = bed.client()?.enter(|| Talk::open_here(from, VIP))??;
    let server = talk.who()?.server;
    daemon.kill()?;
    let said = why(&daemon, from, VIP, &["--flags", "ack,psh"])?;
    ensure!(said["verdict"] == "forward" && said["reason"] == "known_flow", "{said}");
    ensure!(server_at(&said["real"])? == server, "{said}");
    ensure!(steps(&said).contains("state ESTABLISHED, expires in "), "{said}");
    let real: SocketAddrV4 = said["real"].as_str().context("no real server")?.parse()?;
    let back = why(&daemon, real, from, &["--flags", "ack"])?;
    ensure!(back["reason"] == "known_flow", "{back}");
    ensure!(back["rewrite"]["new_source"] == *VIP.to_string(), "{back}");
    ensure!(steps(&back).contains("the real server's answers"), "{back}");
    talk.who()?;
    Ok(())
}

/// What no virtual server claims is the kernel's.
pub fn what_is_not_ours_is_told() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").text())?;
    let from = SocketAddrV4::new(client_address(0), PORT);
    let other = SocketAddrV4::new(*VIP.ip(), 10_001);
    let said = why(&daemon, from, other, &[])?;
    ensure!(said["verdict"] == "pass" && said["reason"] == "no_service", "{said}");
    ensure!(said["service"].is_null() && said["rewrite"].is_null(), "{said}");
    let stray = why(&daemon, from, VIP, &["--flags", "ack"])?;
    ensure!(stray["verdict"] == "pass" && stray["reason"] == "no_flow_not_syn", "{stray}");
    ensure!(stray["service"] == *VIP.to_string(), "{stray}");
    let text = daemon.xlb(&["why", &from.to_string(), &other.to_string()])?;
    ensure!(text.contains("verdict   pass (no_service)"), "{text}");
    let six = daemon.xlb(&["why", "2001:db8::7", "[2001:db8::2]:80", "--iface", "eth0"])?;
    ensure!(six.contains("verdict   pass ("), "{six}");
    Ok(())
}

/// Nobody is left: the reason, the checks' words for each, and what the sender is told.
pub fn nobody_left_is_told() -> anyhow::Result<()> {
    let mut bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").checked().text())?;
    bed.tcp[0] = None;
    let from = SocketAddrV4::new(client_address(0), PORT);
    super::watch("the first real server is down", || {
        let said = steps(&why(&daemon, from, VIP, &[])?);
        ensure!(said.contains("not 192.168.1.100:8089: down: "), "{said}");
        Ok(())
    })?;
    let answer = bed.client()?.enter(|| ask_here(from, VIP))??;
    ensure!(answer.server == "real2", "{answer:?}");
    bed.tcp[1] = None;
    super::watch("nobody is left", || {
        let said = why(&daemon, SocketAddrV4::new(client_address(1), PORT), VIP, &[])?;
        ensure!(said["verdict"] == "drop" && said["reason"] == "no_usable_real", "{said}");
        ensure!(steps(&said).contains("the ICMP error leaves by eth0"), "{said}");
        Ok(())
    })
}

/// A real server that takes nothing new says why; one that does not answer ARP makes packets wait.
pub fn what_keeps_a_server_out_is_told() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").scheduler("wrr").weights(&[1, 0]).text())?;
    let from = SocketAddrV4::new(client_address(0), PORT);
    let said = steps(&why(&daemon, from, VIP, &[])?);
    ensure!(said.contains("not 192.168.1.101:18089: weight 0: "), "{said}");
    bed.lab.real(1)?.ip("link set eth0 down")?;
    bed.lab.director()?.ip("neighbour flush all")?;
    super::watch("the only real server is silent", || {
        let said = why(&daemon, from, VIP, &[])?;
        ensure!(said["verdict"] == "drop" && said["reason"] == "held", "{said}");
        Ok(())
    })
}

/// What cannot be asked is refused with what can.
pub fn questions_that_make_no_sense_are_refused() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.prepare(&Service::new("NAT").text())?;
    let vip = VIP.to_string();
    let refused = |daemon: &Daemon, words: &[&str], why: &str| -> anyhow::Result<()> {
        let output = daemon.command(words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains(why), "{words:?}: {output:?}");
        Ok(())
    };
    refused(&daemon, &["why", "10.64.1.10", &vip], "hint: is `xlb run` running")?;
    let mut daemon = daemon;
    daemon.run()?;
    for (words, why) in [
        (["why", "2001:db8::7", &vip, "--json"], "give both as IPv4 or both as IPv6"),
        (
            ["why", "10.64.1.10", &vip, "--iface=lo"],
            "does not serve `lo`; hint: it serves eth0, eth1",
        ),
        (["why", "10.64.1.1", &vip, "--json"], "clients on the director itself are not served"),
        (
            ["why", "2001:db8::7", "[2001:db8::2]:80", "--json"],
            "hint: `--iface`, one of eth0, eth1",
        ),
    ] {
        refused(&daemon, &words, why)?;
    }
    // Nothing of the questions is left in the pin directory.
    let left: Vec<_> = std::fs::read_dir(daemon.pin_dir())?.collect::<Result<_, _>>()?;
    ensure!(left.len() == 3, "{left:?}");
    Ok(())
}

fn why(
    daemon: &Daemon,
    from: SocketAddrV4,
    to: SocketAddrV4,
    more: &[&str],
) -> anyhow::Result<Value> {
    let (from, to) = (from.to_string(), to.to_string());
    let words = [&["why", &from, &to, "--json"], more].concat();
    let said: Value = serde_json::from_str(&daemon.xlb(&words)?)?;
    ensure!(!steps(&said).contains("note: "), "{said}");
    Ok(said)
}

fn steps(said: &Value) -> String {
    let steps = said["steps"].as_array().into_iter().flatten();
    steps.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// The name of the real server with an address.
fn server_at(real: &Value) -> anyhow::Result<String> {
    let real: SocketAddrV4 = real.as_str().context("no real server")?.parse()?;
    Ok(format!("real{}", real.ip().octets()[3] - 99))
}

/// All that `xlb stats` and `xlb conns` tell of the tables, but for what time and other hosts' frames change.
fn state(daemon: &Daemon) -> anyhow::Result<Value> {
    let mut stats = daemon.stats()?;
    for service in stats["services"].as_array_mut().into_iter().flatten() {
        for real in service["reals"].as_array_mut().into_iter().flatten() {
            real["since_s"].take();
        }
    }
    let conns = daemon.conns()?.len();
    Ok(serde_json::json!([
        stats["services"],
        stats["drops"],
        stats["notices"],
        stats["tables"],
        conns
    ]))
}
