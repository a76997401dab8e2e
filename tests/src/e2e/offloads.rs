//! Mode tc where both ends leave all they can to the other: packets of 64 KiB, checksums half-made, merged packets.

use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use xlb::lab::{Daemon, Offloads, Options, Process, Tool, real_address};

use super::bed::{Arms, Bed, client_address, number};
use super::client::{Talk, VIP, ask_udp};
use super::config::Service;
use super::neighbours::a_silent_server_gets_its_packet;
use super::watch;

const STREAM: u64 = 200_000_000;
const BOTH: [Offloads; 2] = [Offloads::Usual, Offloads::All];

struct Busy {
    bed: Bed,
    daemon: Daemon,
}

fn start(arms: Arms, options: &Options, service: &Service) -> anyhow::Result<Busy> {
    let bed = Bed::new(arms, options)?;
    let mut spec = bed.spec()?;
    spec.mode = "tc".into();
    let daemon = Daemon::start(&bed.lab, &spec, &service.text())?;
    let modes = &daemon.stats()?["mode"];
    ensure!(modes["eth0"] == "tc", "{modes}");
    Ok(Busy { bed, daemon })
}

/// Streams in both directions whose every byte is looked at. Far fewer packets than an MTU each would make: they went
/// by as they came, in packets of many segments. // P-04 P-77
fn streams(arms: Arms, kind: &'static str, gateway: bool) -> anyhow::Result<()> {
    for offloads in BOTH {
        let options = Options { offloads, real_gateway: gateway, ..Options::default() };
        let Busy { bed, daemon } = start(arms, &options, &Service::new(kind))?;
        let client = bed.client()?;
        Talk::open(&client, client_address(0), VIP)?.download(|seen| seen > STREAM)?;
        Talk::open(&client, client_address(1), VIP)?.upload(|sent| sent > STREAM)?;
        let stats = daemon.stats()?;
        let service = &stats["services"][0];
        for (bytes, packets) in [("in_bytes", "in_packets"), ("out_bytes", "out_packets")] {
            let (bytes, packets) = (number(&service[bytes])?, number(&service[packets])?);
            ensure!(bytes > STREAM, "{service}");
            // The other direction's acknowledgements are counted here too.
            ensure!(bytes / packets > 3_000, "{offloads:?}: {bytes} bytes in {packets} packets");
        }
    }
    Ok(())
}

/// Packets of 9,000 bytes, one by one: too large for XDP in the driver, so that mode auto takes tc. // P-72
pub fn jumbo_frames() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let options = Options { mtu: 9_000, offloads: Offloads::Wire, ..Options::default() };
        let bed = Bed::new(Arms::Two, &options)?;
        let mut spec = bed.spec()?;
        spec.mode = "auto".into();
        let daemon = Daemon::start(&bed.lab, &spec, &Service::new(kind).text())?;
        let client = bed.client()?;
        Talk::open(&client, client_address(0), VIP)?.download(|seen| seen > STREAM)?;
        let stats = daemon.stats()?;
        ensure!(stats["mode"]["eth0"] == "tc", "{}", stats["mode"]);
        let service = &stats["services"][0];
        let (bytes, packets) = (number(&service["out_bytes"])?, number(&service["out_packets"])?);
        ensure!(bytes / packets > 7_000, "{kind}: {bytes} bytes in {packets} packets");
    }
    Ok(())
}

/// The real servers see the client's own address. // P-77
pub fn nat_streams() -> anyhow::Result<()> {
    streams(Arms::Two, "NAT", true)
}

/// Source translated, too. // P-77
pub fn fullnat_streams() -> anyhow::Result<()> {
    streams(Arms::Two, "FNAT", false)
}

/// In and out by one interface. // P-77 P-81
pub fn fullnat_on_one_arm_streams() -> anyhow::Result<()> {
    streams(Arms::One, "FNAT", false)
}

/// curl fetches a large file from nginx: what real programs do with their sockets. // P-04
pub fn files_by_http() -> anyhow::Result<()> {
    const SIZE: usize = 50_000_000;
    if Tool::NGINX.find().is_none() || Tool::CURL.find().is_none() {
        eprintln!("skipped: nginx or curl is missing");
        return Ok(());
    }
    for kind in ["NAT", "FNAT"] {
        let mut service = Service::new(kind);
        service.reals = vec![(format!("{} 80", real_address(0)), 1, String::new())];
        let options = Options { offloads: Offloads::All, ..Options::default() };
        let Busy { bed, daemon: _daemon } = start(Arms::Two, &options, &service)?;
        let folder = bed.lab.folder().join("www");
        fs::create_dir_all(&folder)?;
        let file: Vec<u8> =
            (0..SIZE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(folder.join("file"), &file)?;
        let _nginx = nginx(&bed)?;
        let fetched = bed.lab.folder().join("fetched");
        let (url, to) = (format!("http://{VIP}/file"), fetched.display().to_string());
        for _ in 0..3 {
            bed.client()?.run("curl", &["-q", "-sS", "--max-time", "30", "-o", &to, &url])?;
            ensure!(fs::read(&fetched)? == file, "{kind}: the file arrived changed");
        }
    }
    Ok(())
}

fn nginx(bed: &Bed) -> anyhow::Result<Process> {
    let folder = bed.lab.folder().join("nginx");
    fs::create_dir_all(&folder)?;
    let root = bed.lab.folder().display().to_string();
    let text = format!(
        "daemon off; master_process off; pid {root}/nginx/pid; error_log stderr;\n\
         events {{}}\n\
         http {{ access_log off; sendfile on; server {{ listen 80; root {root}/www; }} }}\n"
    );
    let config = folder.join("nginx.conf");
    fs::write(&config, text)?;
    let host = bed.lab.real(1)?;
    let mut command = host.command(Tool::NGINX.find().context("nginx is missing")?);
    command.arg("-p").arg(&folder).arg("-c").arg(&config);
    let process = host.spawn("nginx", command)?;
    watch("nginx", || {
        let to = SocketAddrV4::new(real_address(0), 80);
        host.enter(|| std::net::TcpStream::connect_timeout(&to.into(), Duration::from_secs(1)))??;
        Ok(())
    })?;
    Ok(process)
}

/// UDP with half-made checksums. // P-04
pub fn datagrams() -> anyhow::Result<()> {
    for offloads in BOTH {
        for kind in ["NAT", "FNAT"] {
            let options = Options { offloads, ..Options::default() };
            let Busy { bed, daemon: _daemon } =
                start(Arms::Two, &options, &Service::new(kind).udp())?;
            for n in 0..4 {
                ask_udp(&bed.client()?, client_address(n), VIP)?;
            }
        }
    }
    Ok(())
}

/// A SYN with a half-made checksum becomes an error that its sender believes: refused at once. // P-04
pub fn refusals_are_told() -> anyhow::Result<()> {
    for offloads in BOTH {
        let options = Options { offloads, ..Options::default() };
        let service = Service::new("NAT").weights(&[0, 0]);
        let Busy { bed, daemon } = start(Arms::Two, &options, &service)?;
        let client = bed.client()?;
        let to = VIP.into();
        let refused = client
            .enter(|| std::net::TcpStream::connect_timeout(&to, Duration::from_millis(900)))?;
        let kind = refused.err().map(|error| error.kind());
        ensure!(kind == Some(std::io::ErrorKind::ConnectionRefused), "{kind:?}");
        let stats = daemon.stats()?;
        ensure!(number(&stats["drops"]["no_usable_real"])? >= 1, "{stats}");
    }
    Ok(())
}

/// Packets of 64 KiB whose segments do not fit the next link: the sender is told and makes smaller ones. // P-52 P-77
pub fn a_narrow_link_is_told() -> anyhow::Result<()> {
    for offloads in BOTH {
        let options = Options { offloads, ..Options::default() };
        let bed = Bed::new(Arms::Two, &options)?;
        let director = bed.lab.director()?;
        director.ip("link set eth1 mtu 1400")?;
        let mut spec = bed.spec()?;
        spec.mode = "tc".into();
        let daemon = Daemon::start(&bed.lab, &spec, &Service::new("NAT").text())?;
        let client = bed.client()?;
        Talk::open(&client, client_address(1), VIP)?.upload(|sent| sent > 20_000_000)?;
        let stats = daemon.stats()?;
        ensure!(number(&stats["drops"]["mtu_exceeded"])? >= 1, "{stats}");
    }
    Ok(())
}

/// A datagram with a half-made checksum that waits in the daemon for its real server's address arrives whole. // K-36
pub fn the_first_packet_is_not_lost() -> anyhow::Result<()> {
    for offloads in BOTH {
        for kind in ["NAT", "FNAT"] {
            let bed = Bed::new(Arms::Two, &Options { offloads, ..Options::default() })?;
            let mut spec = bed.spec()?;
            spec.mode = "tc".into();
            let prepared = Daemon::prepare(&bed.lab, &spec, &Service::new(kind).udp().text())?;
            a_silent_server_gets_its_packet(&bed.lab, prepared)?;
        }
    }
    Ok(())
}
