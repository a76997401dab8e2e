//! IPv6 beside IPv4 on the same two-armed director: neighbours are found by their own solicitations, everything else is
//! as with IPv4.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use xlb::lab::Daemon;

use super::bed::{Bed, number};
use super::client::{Talk, ask_udp};
use super::config::{SAMPLE, Service};
use super::server::{TcpServer, UdpServer};

pub(super) const VIP: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2), 10_000, 0, 0);
const INSIDE: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1);
const STREAM: u64 = 20_000_000;

pub(super) fn client_address(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10 + n)
}

fn real_address(n: u16) -> SocketAddrV6 {
    SocketAddrV6::new(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x99 + n), 8_089, 0, 0)
}

/// A bed with addresses of both families, and servers on those of IPv6.
pub(super) struct Both {
    _tcp: Vec<TcpServer>,
    _udp: Vec<UdpServer>,
    pub(super) bed: Bed,
}

impl Both {
    pub(super) fn new() -> anyhow::Result<Self> {
        let bed = Bed::two_arm()?;
        let lab = &bed.lab;
        let (client, director) = (lab.client()?, lab.director()?);
        let reals = [lab.real(1)?, lab.real(2)?];
        for host in [client, director, reals[0], reals[1]] {
            host.set_sysctl("net.ipv6.conf.all.disable_ipv6", "0")?;
            host.set_sysctl("net.ipv6.conf.all.accept_dad", "0")?;
        }
        for n in 0..8 {
            client.ip(&format!("address add {}/64 dev eth0 nodad", client_address(n)))?;
        }
        for (interface, address) in [("eth0", "fd00:1::1/64"), ("eth0", "fd00:1::2/128")] {
            director.ip(&format!("address add {address} dev {interface} nodad"))?;
        }
        director.ip(&format!("address add {INSIDE}/64 dev eth1 nodad"))?;
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for (n, host) in (1..).zip(reals) {
            let at = real_address(n);
            host.ip(&format!("address add {}/64 dev eth0 nodad", at.ip()))?;
            host.ip(&format!("-6 route add default via {INSIDE}"))?;
            tcp.push(TcpServer::start(host, host.name(), at)?);
            udp.push(UdpServer::start(host, host.name(), at)?);
        }
        Ok(Self { _tcp: tcp, _udp: udp, bed })
    }

    /// The virtual server of IPv6, and beside it that of the sample.
    pub(super) fn start(
        &self,
        kind: &'static str,
        protocol: &'static str,
    ) -> anyhow::Result<Daemon> {
        self.serve(Service { protocol, ..Service::new(kind) })
    }

    /// The same with what `like` says beside addresses.
    fn serve(&self, like: Service) -> anyhow::Result<Daemon> {
        let real =
            |n| (format!("{} {}", real_address(n).ip(), real_address(n).port()), 1, String::new());
        let vip = format!("{} {}", VIP.ip(), VIP.port());
        let reals = vec![real(1), real(2)];
        let service = Service { vip, reals, ..like };
        self.bed.start(&format!("{}{SAMPLE}", service.text()))
    }
}

/// The real servers see the client's own address and port; the sample's clients are served beside.
pub fn nat_two_arm() -> anyhow::Result<()> {
    let both = Both::new()?;
    let daemon = both.start("NAT", "TCP")?;
    let client = both.bed.client()?;
    let mut servers = BTreeSet::new();
    for n in 0..8 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        let answer = talk.who()?;
        ensure!(answer.seen == talk.local()?, "{answer:?}");
        servers.insert(answer.server);
    }
    ensure!(servers.len() == 2, "only {servers:?} answered");
    super::client::ask(&client, super::bed::client_address(0), super::client::VIP)?;
    streams(&both)?;
    let stats = daemon.stats()?;
    let service = &stats["services"][0];
    ensure!(service["address"] == VIP.ip().to_string() && number(&service["conns"])? == 10);
    ensure!(number(&service["in_bytes"])? > STREAM && number(&service["out_bytes"])? > STREAM);
    let flows = daemon.conns()?;
    let ours = format!("[{}]:{}", VIP.ip(), VIP.port());
    ensure!(flows.iter().any(|flow| flow["virtual"] == ours.as_str()), "{flows:?}");
    Ok(())
}

/// The real servers see the director's inner address.
pub fn fullnat_two_arm() -> anyhow::Result<()> {
    let both = Both::new()?;
    let daemon = both.start("FNAT", "TCP")?;
    let client = both.bed.client()?;
    let mut sources = BTreeSet::new();
    let mut talks = Vec::new();
    for n in 0..8 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        let answer = talk.who()?;
        ensure!(answer.seen.ip() == INSIDE, "{answer:?}");
        sources.insert((answer.server, answer.seen));
        talks.push(talk);
    }
    ensure!(sources.len() == talks.len(), "two live connections share a source: {sources:?}");
    let snat = &daemon.stats()?["snat"];
    ensure!(snat[0]["address"] == INSIDE.to_string(), "{snat}");
    streams(&both)
}

/// Bulk in both directions; the upload ends by a half-close.
fn streams(both: &Both) -> anyhow::Result<()> {
    let client = both.bed.client()?;
    Talk::open(&client, client_address(0), VIP)?.download(|seen| seen > STREAM)?;
    Talk::open(&client, client_address(1), VIP)?.upload(|sent| sent > STREAM)?;
    Ok(())
}

/// Nobody knows anybody's address: the daemon has neighbours asked for, and the first datagram is not lost.
pub fn a_silent_neighbour_is_asked() -> anyhow::Result<()> {
    let both = Both::new()?;
    let director = both.bed.lab.director()?;
    for interface in ["eth0", "eth1"] {
        director.ip(&format!("-6 neighbour flush dev {interface}"))?;
    }
    let daemon = both.start("NAT", "UDP")?;
    let client = both.bed.client()?;
    let mut servers = BTreeSet::new();
    for n in 0..4 {
        let start = Instant::now();
        let answer = ask_udp(&client, client_address(n), VIP)?;
        ensure!(start.elapsed() < Duration::from_millis(900), "after {:?}", start.elapsed());
        ensure!(answer.seen.ip() == SocketAddr::from((client_address(n), 0)).ip(), "{answer:?}");
        servers.insert(answer.server);
    }
    ensure!(servers.len() == 2, "only {servers:?} answered");
    ensure!(number(&daemon.stats()?["drops"]["no_neighbour"])? == 0);
    Ok(())
}

/// The director's interface towards the receiver takes 1,400 bytes only: the sender is told, and 10 MB arrive in 5 s.
/// // P-51 P-52
pub fn a_narrow_link_is_told() -> anyhow::Result<()> {
    for (interface, kind) in [("eth0", "NAT"), ("eth0", "FNAT"), ("eth1", "NAT"), ("eth1", "FNAT")]
    {
        let both = Both::new()?;
        both.bed.lab.director()?.ip(&format!("link set {interface} mtu 1400"))?;
        let daemon = both.start(kind, "TCP")?;
        let client = both.bed.client()?;
        let start = Instant::now();
        let talk = Talk::open(&client, client_address(0), VIP)?;
        let passed = match interface {
            "eth0" => talk.download(|seen| seen > STREAM / 2),
            _ => talk.upload(|sent| sent > STREAM / 2),
        };
        passed.with_context(|| format!("{kind} over a narrow {interface}"))?;
        ensure!(start.elapsed() < Duration::from_secs(5), "after {:?}", start.elapsed());
        let told = number(&daemon.stats()?["drops"]["mtu_exceeded"])?;
        ensure!((1..100).contains(&told), "{told} packets were too big");
    }
    Ok(())
}

/// Both ends put as many bytes into a segment as the virtual server is set to. // P-54
pub fn segments_are_lowered() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let both = Both::new()?;
        let _daemon = both.serve(Service::new(kind).more("xlb_mss 1220"))?;
        let client = both.bed.client()?;
        let sizes = Talk::open(&client, client_address(0), VIP)?.segments()?;
        // Less the time stamps in each segment.
        ensure!(sizes == (1_208, 1_208), "{kind}: {sizes:?}");
        streams(&both)?;
    }
    Ok(())
}

/// `xlb why` names the real server that the next connection goes to.
pub fn why_is_right() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let both = Both::new()?;
        let daemon = both.start(kind, "TCP")?;
        let client = both.bed.client()?;
        for n in 0..4 {
            let from = client_address(n).to_string();
            let said = daemon.xlb(&["why", &from, &VIP.to_string(), "--json"])?;
            let said: serde_json::Value = serde_json::from_str(&said)?;
            let steps = said["steps"].to_string();
            ensure!(said["verdict"] == "forward" && !steps.contains("note: "), "{said}");
            let answer = Talk::open(&client, client_address(n), VIP)?.who()?;
            let real = real_address(if answer.server == "real1" { 1 } else { 2 });
            ensure!(said["real"] == real.to_string(), "{said}, but {answer:?}");
        }
    }
    Ok(())
}

/// The host answers for the virtual address. // P-55
pub fn echo_is_answered() -> anyhow::Result<()> {
    let both = Both::new()?;
    let _daemon = both.start("NAT", "TCP")?;
    let from = client_address(0);
    both.bed
        .client()?
        .run(
            "ping",
            &[
                "-6",
                "-c",
                "3",
                "-i",
                "0.2",
                "-W",
                "2",
                "-I",
                &from.to_string(),
                &VIP.ip().to_string(),
            ],
        )
        .context("no echo from the virtual address")?;
    Ok(())
}
