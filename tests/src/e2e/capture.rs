//! `xlb capture`: what it shows, and that the traffic does not notice.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nix::sys::signal::Signal;
use xlb::dataplane::attach::attached_programs;
use xlb::lab::{Daemon, Options, Process, Tool, require};

use super::bed::{Arms, Bed, client_address};
use super::churn::hammer;
use super::client::{Talk, VIP, ask, ask_here};
use super::config::Service;
use super::ipv6;
use super::pcapng::{self, Packet};

const LIMIT: Duration = Duration::from_secs(10);
const TCPDUMP: Tool = Tool { program: "tcpdump", package: "tcpdump" };

/// NAT: each packet of a connection as it arrives and as it leaves, and tcpdump reads the file.
pub fn a_connection_is_seen_before_and_after() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let from = SocketAddrV4::new(client_address(0), 20_000);
    let client = from.ip().to_string();
    let capture = begin(&daemon, "nat.pcapng", &["--host", &client, "--port", "20000"])?;
    let server = bed.client()?.enter(|| ask_here(from, VIP))??.server;
    let packets = capture.end()?;
    let real: SocketAddr = reals(&server)?;
    let (vip, from) = (SocketAddr::from(VIP), SocketAddr::from(from));
    let pairs = pairs(&packets)?;
    ensure!(pairs.len() >= 5, "{} pairs", pairs.len());
    for (before, after) in pairs {
        let (arrived, left) = (tuple(before)?, tuple(after)?);
        if arrived.0 == from {
            ensure!((arrived, left) == ((from, vip), (from, real)), "{arrived:?} {left:?}");
            ensure!((&*before.interface, &*after.interface) == ("eth0", "eth1"));
        } else {
            ensure!((arrived, left) == ((real, from), (vip, from)), "{arrived:?} {left:?}");
            ensure!((&*before.interface, &*after.interface) == ("eth1", "eth0"));
        }
        ensure!(before.comment == "forward: before translation", "{before:?}");
        ensure!(after.comment == "forward: after translation", "{after:?}");
        ensure!(before.length == after.length && before.bytes[54..] == after.bytes[54..]);
    }
    let text = tcpdump(&bed, &packets.path)?;
    for line in [
        "10.64.1.10.20000 > 10.64.1.2.10000: Flags [S]".to_owned(),
        format!("10.64.1.10.20000 > {}.{}: Flags [S]", real.ip(), real.port()),
        format!("{}.{} > 10.64.1.10.20000: Flags [S.]", real.ip(), real.port()),
        "10.64.1.2.10000 > 10.64.1.10.20000: Flags [S.]".to_owned(),
    ] {
        ensure!(text.contains(&line), "no `{line}` in\n{text}");
    }
    Ok(())
}

/// Full-NAT: the real server's answers do not name the client when they arrive, and match all the same.
pub fn fullnat_is_seen_both_ways() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("FNAT"), Arms::One, false)?;
    let client = client_address(1).to_string();
    let capture = begin(&daemon, "fnat.pcapng", &["--host", &client])?;
    for n in 0..3 {
        ask(&bed.client()?, client_address(n), VIP)?;
    }
    let packets = capture.end()?;
    let mut answers = 0;
    for (before, after) in pairs(&packets)? {
        let (arrived, left) = (tuple(before)?, tuple(after)?);
        let named = |(from, to): (SocketAddr, SocketAddr)| {
            [from.ip(), to.ip()].contains(&client_address(1).into())
        };
        ensure!(named(arrived) || named(left), "{arrived:?} {left:?}");
        answers += usize::from(!named(arrived));
    }
    ensure!(answers >= 2, "{answers} answers");
    Ok(())
}

/// IPv6: both images of each packet, found by the client's address.
pub fn ipv6_is_seen_before_and_after() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let both = ipv6::Both::new()?;
        let daemon = both.start(kind, "TCP")?;
        let from = ipv6::client_address(1);
        let capture = begin(&daemon, "six.pcapng", &["--host", &from.to_string()])?;
        for n in 0..3 {
            Talk::open(&both.bed.client()?, ipv6::client_address(n), ipv6::VIP)?.who()?;
        }
        let packets = capture.end()?;
        let (mut asked, mut answered) = (0, 0);
        for (before, after) in
            pairs(&packets)?.into_iter().filter(|(packet, _)| packet.bytes[20] == 6)
        {
            let (arrived, left) = (tuple(before)?, tuple(after)?);
            if arrived.0.ip() == from {
                ensure!(arrived.1 == SocketAddr::from(ipv6::VIP), "{arrived:?}");
                ensure!(left.1.port() == 8_089, "{left:?}");
                asked += 1;
            } else {
                ensure!(arrived.0.port() == 8_089, "{arrived:?}");
                ensure!(left.0 == SocketAddr::from(ipv6::VIP) && left.1.ip() == from, "{left:?}");
                answered += 1;
            }
        }
        ensure!(asked >= 3 && answered >= 2, "{kind}: {asked} and {answered}");
    }
    Ok(())
}

/// A packet that is refused, with its reason and the error that tells its sender; one that is the kernel's.
pub fn a_refused_packet_is_seen_with_its_reason() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("NAT").weights(&[0, 0]), Arms::Two, true)?;
    let to = |port| SocketAddrV4::new(*VIP.ip(), port);
    let knock = |port| -> anyhow::Result<()> {
        let from = SocketAddrV4::new(client_address(0), 0);
        let refused = bed.client()?.enter(|| Talk::open_here(from, to(port)))?;
        ensure!(refused.is_err(), "somebody answers at port {port}");
        Ok(())
    };
    let capture = begin(&daemon, "drop.pcapng", &["--dropped", "--count", "1"])?;
    knock(10_001)?;
    knock(10_000)?;
    let packets = capture.ended()?;
    let pairs = pairs(&packets)?;
    let [(before, after)] = pairs[..] else { anyhow::bail!("{packets:?}") };
    ensure!(before.comment.starts_with("drop no_usable_real: the service has no"), "{before:?}");
    ensure!(tuple(before)?.1 == SocketAddr::from(VIP), "{before:?}");
    ensure!(after.comment == "drop no_usable_real: the ICMP error that tells its sender");
    ensure!(after.bytes[23] == 1 && after.interface == "eth0", "{after:?}");
    tcpdump(&bed, &packets.path)?;

    let words = ["--reason", "no_service", "--port", "10001", "--proto", "tcp", "--count", "1"];
    let capture = begin(&daemon, "pass.pcapng", &words)?;
    knock(10_000)?;
    knock(10_001)?;
    let packets = capture.ended()?;
    let [packet] = &packets.all[..] else { anyhow::bail!("{packets:?}") };
    ensure!(packet.comment.starts_with("pass no_service: no virtual server has"), "{packet:?}");
    ensure!(tuple(packet)?.1 == SocketAddr::from(to(10_001)) && packet.inbound, "{packet:?}");
    Ok(())
}

/// No more packets, no more bytes, no more time than were asked for; one of so many. // S-52
pub fn bounds_and_samples_hold() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let client = bed.client()?;
    let capture = begin(&daemon, "count.pcapng", &["--port", "10000", "-c", "3", "-s", "60"])?;
    ask(&client, client_address(0), VIP)?;
    let packets = capture.ended()?;
    ensure!(pairs(&packets)?.len() == 3, "{packets:?}");
    ensure!(packets.said.contains("as many packets as were asked for"), "{}", packets.said);
    ensure!(packets.all.iter().all(|packet| packet.bytes.len() <= 60));
    ensure!(packets.all.iter().any(|packet| packet.length > 60), "none was cut");

    let capture = begin(&daemon, "bytes.pcapng", &["--port", "10000", "--bytes", "400"])?;
    ask(&client, client_address(0), VIP)?;
    let packets = capture.ended()?;
    let bytes: usize = packets.all.iter().map(|packet| packet.bytes.len()).sum();
    ensure!((100..=400).contains(&bytes), "{bytes} bytes");
    ensure!(packets.said.contains("as many bytes as were asked for"), "{}", packets.said);

    let capture = begin(&daemon, "sample.pcapng", &["--port", "10000", "--sample", "1000"])?;
    ask(&client, client_address(0), VIP)?;
    let packets = capture.end()?;
    // The first of each CPU, and no more.
    let cpus = std::thread::available_parallelism()?.get();
    ensure!((1..=cpus).contains(&pairs(&packets)?.len()), "{packets:?}");
    let matched: u64 = packets
        .said
        .split(" packets of ")
        .nth(1)
        .context("no summary")?
        .split(' ')
        .next()
        .context("no number")?
        .parse()?;
    // Where GRO is before the program, some are several in one.
    ensure!(matched >= 6, "{}", packets.said);

    let start = std::time::Instant::now();
    let packets = begin(&daemon, "seconds.pcapng", &["--seconds", "1"])?.ended()?;
    ensure!(packets.said.contains("the time is over"), "{}", packets.said);
    ensure!(start.elapsed() >= Duration::from_secs(1));

    let piped = daemon.command(&["capture", "--seconds", "1", "--write", "-"])?.stdout;
    ensure!(piped.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "{piped:?}");
    let lines = daemon.xlb(&["capture", "--seconds", "1"])?;
    ensure!(lines.lines().all(|line| line.contains("; ")), "{lines}");
    Ok(())
}

/// One at a time; afterwards the links run the programs that they ran before.
pub fn one_at_a_time_and_no_trace() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let before = programs(&bed, &daemon)?;
    for round in 0..3 {
        let capture = begin(&daemon, &format!("{round}.pcapng"), &[])?;
        let during = programs(&bed, &daemon)?;
        ensure!(during.is_disjoint(&before), "{during:?}");
        let second = daemon.command(&["capture"])?;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        ensure!(second.status.code() == Some(1), "{second:?}");
        ensure!(said.contains("there is one at a time; hint: end it"), "{said}");
        ensure!(programs(&bed, &daemon)? == during);
        let packets = capture.end()?;
        ensure!(packets.said.contains("ended by the caller"), "{}", packets.said);
        ensure!(programs(&bed, &daemon)? == before, "the programs are not those of before");
    }
    ask(&bed.client()?, client_address(0), VIP)?;
    Ok(())
}

/// A transfer goes on, every byte right, while captures begin and end.
pub fn a_transfer_does_not_notice() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let bulk = Talk::open(&bed.client()?, client_address(0), VIP)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let transfer = scope.spawn(|| bulk.download(|_| done.load(Ordering::Relaxed)));
        let captures = (0..10).try_for_each(|n| {
            // Those that nothing matches, and those that everything does.
            let words = if n % 2 == 0 { &["--port", "9"][..] } else { &["-s", "64"] };
            begin(&daemon, &format!("{n}.pcapng"), words)?.end().map(drop)
        });
        done.store(true, Ordering::Relaxed);
        let seen = transfer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        captures?;
        let seen = seen.context("the transfer broke")?;
        ensure!(seen > 1_000_000, "{seen} bytes");
        Ok(())
    })
}

/// Short connections while captures begin and end: none fails, none waits for a lost packet.
pub fn new_connections_do_not_notice() -> anyhow::Result<()> {
    const CONNECTIONS: usize = 10_000;
    let (bed, daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let (client, done) = (bed.client()?, AtomicBool::new(false));
    let (outcome, rounds) = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let outcome = hammer(&client, VIP, CONNECTIONS);
            done.store(true, Ordering::Relaxed);
            outcome
        });
        let mut rounds = 0;
        let mut captures = || -> anyhow::Result<()> {
            while !done.load(Ordering::Relaxed) {
                begin(&daemon, "rounds.pcapng", &["--host", "10.64.1.10", "-s", "64"])?.end()?;
                rounds += 1;
            }
            Ok(())
        };
        let captures = captures();
        let outcome = clients.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        captures?;
        anyhow::Ok((outcome, rounds))
    })?;
    eprintln!("{rounds} captures; slowest {:?}", outcome.slowest);
    ensure!(rounds >= 2, "only {rounds} captures");
    ensure!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    ensure!(outcome.slowest < Duration::from_secs(1), "slowest {:?}", outcome.slowest);
    Ok(())
}

/// Whoever captures is killed: the links go back by themselves.
pub fn a_killed_client_ends_it() -> anyhow::Result<()> {
    let (bed, daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let before = programs(&bed, &daemon)?;
    let mut capture = begin(&daemon, "killed.pcapng", &[])?;
    ask(&bed.client()?, client_address(0), VIP)?;
    capture.process.kill()?;
    super::watch("the programs are those of before", || {
        ensure!(programs(&bed, &daemon)? == before);
        Ok(())
    })?;
    ask(&bed.client()?, client_address(0), VIP)?;
    begin(&daemon, "next.pcapng", &[])?.end().map(drop)
}

/// `kill -9` of the daemon while it captures: connections go on, new ones too; the next run puts its own program there.
pub fn a_killed_daemon_leaves_forwarding() -> anyhow::Result<()> {
    let (bed, mut daemon) = started(&Service::new("NAT"), Arms::Two, true)?;
    let client = bed.client()?;
    let mut held = Talk::open(&client, client_address(0), VIP)?;
    let before = held.who()?;
    let mut capture = begin(&daemon, "killed.pcapng", &[])?;
    let capturing = programs(&bed, &daemon)?;
    daemon.kill()?;
    ensure!(capture.process.exit_code(LIMIT)? == Some(1), "{}", capture.process.log());
    ensure!(programs(&bed, &daemon)? == capturing);
    ensure!(held.who()? == before);
    ask(&client, client_address(1), VIP)?;
    daemon.run()?;
    ensure!(programs(&bed, &daemon)? != capturing);
    ensure!(held.who()? == before);
    begin(&daemon, "next.pcapng", &[])?.end().map(drop)
}

/// A clean stop under `--keep` ends the capture first: what goes on is the program that is pinned.
pub fn a_stop_with_keep_ends_it() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut spec = bed.spec()?;
    spec.more.push("--keep".into());
    let mut daemon = Daemon::start(&bed.lab, &spec, &Service::new("NAT").text())?;
    let before = programs(&bed, &daemon)?;
    let capture = begin(&daemon, "kept.pcapng", &[])?;
    ensure!(daemon.stop()? == Some(0));
    ensure!(programs(&bed, &daemon)? == before);
    drop(capture);
    ask(&bed.client()?, client_address(0), VIP)?;
    daemon.xlb(&["detach"])?;
    Ok(())
}

fn started(service: &Service, arms: Arms, gateway: bool) -> anyhow::Result<(Bed, Daemon)> {
    require(&[TCPDUMP])?;
    let bed = Bed::new(arms, &Options { real_gateway: gateway, ..Options::default() })?;
    let daemon = bed.start(&service.text())?;
    Ok((bed, daemon))
}

/// A capture under way.
struct Capture {
    process: Process,
    path: PathBuf,
}

/// What a capture has seen.
#[derive(Debug)]
struct Packets {
    path: PathBuf,
    all: Vec<Packet>,
    /// What the command said.
    said: String,
}

/// Begins one and waits until the program is there.
fn begin(daemon: &Daemon, file: &str, words: &[&str]) -> anyhow::Result<Capture> {
    let path = daemon.config().with_file_name(file);
    let to = path.display().to_string();
    let words = [&["capture", "--write", &to], words].concat();
    let mut process = daemon.begin(&words)?;
    super::watch("the capture begins", || {
        ensure!(process.log().contains("capturing on "), "{}", process.log());
        Ok(())
    })
    .or_else(|error| process.check_alive().map_err(anyhow::Error::from).and(Err(error)))?;
    Ok(Capture { process, path })
}

impl Capture {
    /// Ctrl-C, and what was seen.
    fn end(mut self) -> anyhow::Result<Packets> {
        self.process.signal(Signal::SIGINT);
        self.ended()
    }

    /// Waits for its end.
    fn ended(mut self) -> anyhow::Result<Packets> {
        let code = self.process.exit_code(LIMIT)?;
        let said = self.process.log();
        ensure!(code == Some(0), "{code:?}: {said}");
        Ok(Packets { all: pcapng::read(&self.path)?, path: self.path, said })
    }
}

/// What arrived and what left, side by side; there must be nothing else.
fn pairs(packets: &Packets) -> anyhow::Result<Vec<(&Packet, &Packet)>> {
    let pairs = packets.all.chunks(2).map(|two| match two {
        [before, after] if before.inbound && !after.inbound => Ok((before, after)),
        _ => anyhow::bail!("no pair: {two:?}"),
    });
    pairs.collect()
}

/// Sender and receiver of a TCP segment whose checksums are right.
fn tuple(packet: &Packet) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let sliced = SlicedPacket::from_ethernet(&packet.bytes)?;
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        anyhow::bail!("no TCP: {packet:?}")
    };
    let whole = packet.bytes.len() == packet.length as usize;
    let (from, to, right): (IpAddr, IpAddr, u16) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            ensure!(header.calc_header_checksum() == header.header_checksum, "{packet:?}");
            let right = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload())?;
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), right)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            let right = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload())?;
            (header.source_addr().into(), header.destination_addr().into(), right)
        }
        _ => anyhow::bail!("no IP: {packet:?}"),
    };
    ensure!(!whole || right == tcp.checksum(), "{packet:?}");
    Ok(((from, tcp.source_port()).into(), (to, tcp.destination_port()).into()))
}

fn reals(server: &str) -> anyhow::Result<SocketAddr> {
    Ok(match server {
        "real1" => "192.168.1.100:8089".parse()?,
        _ => "192.168.1.101:18089".parse()?,
    })
}

/// The file as tcpdump tells it; it must read it to the end.
fn tcpdump(bed: &Bed, path: &Path) -> anyhow::Result<String> {
    let path = path.display().to_string();
    Ok(bed.lab.director()?.run("tcpdump", &["-nn", "-r", &path])?)
}

/// Ids of the programs on the director's interfaces; what is at tc is known by its pinned links alone.
fn programs(bed: &Bed, daemon: &Daemon) -> anyhow::Result<BTreeSet<u32>> {
    let director = bed.lab.director()?;
    let links = director.ip("link show")?;
    // `prog/xdp id 42 name xlb_xdp ...` or `prog/xdpgeneric ...`
    let xdp = links.split("prog/xdp").skip(1);
    let mut ids = xdp
        .map(|rest| Ok(rest.split(' ').nth(2).context("no id")?.parse()?))
        .collect::<anyhow::Result<BTreeSet<u32>>>()?;
    if ids.is_empty() {
        ids.extend(director.enter(|| attached_programs(daemon.pin_dir()))?);
    }
    ensure!(!ids.is_empty(), "no program in {links}");
    Ok(ids)
}
