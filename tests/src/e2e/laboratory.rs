//! The laboratory itself, without xlb: wires carry packets, and nothing is left behind.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;

use anyhow::ensure;
use xlb::lab::{Gateway, Lab, ORIGIN, Options, Origin, Tool, one_arm, real_address, two_arm};

use super::bed::{Arms, Bed, client_address};
use super::churn::hammer;
use super::client::{Talk, ask, ask_udp};

/// The director reaches the real servers, the client reaches the director, and nothing is routed between.
pub fn two_arms_are_wired() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let director = bed.lab.director()?;
    ensure!(director.sysctl("net.ipv4.ip_forward")? == "0");
    let inside = Ipv4Addr::new(192, 168, 1, 1);
    let real2 = SocketAddrV4::new(real_address(1), 18089);
    let answer = ask(director, inside, real2)?;
    ensure!(answer.server == "real2" && answer.seen.ip() == inside, "{answer:?}");
    let answer = ask_udp(director, inside, real2)?;
    ensure!(answer.server == "real2", "{answer:?}");

    let vip = SocketAddrV4::new(Ipv4Addr::new(10, 64, 1, 2), 10000);
    let _listener = director.enter(|| TcpListener::bind(vip))??;
    for n in [0, 31] {
        Talk::open(&bed.client()?, client_address(n), vip)?;
    }
    Ok(())
}

/// Ten thousand short connections over plain routing: the laboratory itself loses none.
pub fn plain_routing_loses_no_connection() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    bed.lab.director()?.set_sysctl("net.ipv4.ip_forward", "1")?;
    bed.client()?.ip("route add 192.168.1.0/24 via 10.64.1.1")?;
    let real1 = SocketAddrV4::new(real_address(0), 8089);
    let outcome = hammer(&bed.client()?, real1, 10_000)?;
    eprintln!("slowest {:?}", outcome.slowest);
    ensure!(outcome.failures.is_empty() && outcome.shares == [10_000, 0], "{outcome:?}");
    Ok(())
}

/// A stream through the laboratory's wires is intact both ways.
pub fn streams_are_intact() -> anyhow::Result<()> {
    let bed = Bed::new(Arms::One, &Options { reals: 3, ..Options::default() })?;
    let director = bed.lab.director()?;
    let real3 = SocketAddrV4::new(real_address(2), 28089);
    let open = || Talk::open(director, Ipv4Addr::new(192, 168, 1, 1), real3);
    open()?.download(|seen| seen > 10_000_000)?;
    open()?.upload(|sent| sent > 10_000_000)?;
    Ok(())
}

/// Gateways are real proxies: the origin answers through them and knows which one asked, and for whom.
pub fn gateways_mark_their_requests() -> anyhow::Result<()> {
    if Tool::TINYPROXY.find().is_none() || Tool::CURL.find().is_none() {
        eprintln!("skipped: tinyproxy or curl is missing");
        return Ok(());
    }
    let lab = Lab::build(&two_arm(&Options { origin: true, ..Options::default() }))?;
    let _origin = Origin::start(lab.host("origin")?, ORIGIN)?;
    let mut gateway = Gateway::start(lab.real(1)?, "gw1", real_address(0), 8089)?;
    let ask = || {
        let proxy = format!("http://{}:8089", real_address(0));
        let url = format!("http://{ORIGIN}/");
        lab.director()?
            .run("curl", &["-q", "-sS", "--noproxy", "", "--max-time", "5", "-x", &proxy, &url])
    };
    ensure!(ask()?.trim() == "gateway=gw1 client=192.168.1.1", "{}", ask()?);
    gateway.stop();
    ensure!(ask().is_err());
    gateway.run()?;
    ask()?;
    Ok(())
}

/// Namespaces, processes, mounts and files go with the laboratory.
pub fn nothing_is_left() -> anyhow::Result<()> {
    let lab = Lab::build(&one_arm(&Options::default()))?;
    let director = lab.director()?.clone();
    let (namespace, folder) =
        (Path::new("/run/netns").join(director.namespace()), lab.folder().to_owned());
    ensure!(namespace.exists() && folder.exists());
    let mut command = director.command("sleep");
    command.arg("1000");
    let process = director.spawn("sleep", command)?;
    let pid = process.pid();
    drop(lab);
    ensure!(!namespace.exists() && !folder.exists());
    ensure!(!Path::new(&format!("/proc/{pid}")).exists());
    ensure!(!fs::read_to_string("/proc/mounts")?.contains(&folder.display().to_string()));
    Ok(())
}
