//! xlb asks nothing of the host: no forwarding, no other setting, no firewall rule.

use std::io::ErrorKind;
use std::net::SocketAddrV4;

use anyhow::ensure;
use xlb::lab::{Host, Options};

use super::bed::{Arms, Bed, client_address};
use super::client::{Talk, VIP, ask};
use super::config::Service;
use super::server::TcpServer;

/// Settings that an LVS director would have to change.
const SETTINGS: [&str; 5] = [
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.eth0.rp_filter",
    "net.ipv4.conf.eth0.send_redirects",
];

/// Full-NAT to real servers that know no route to the clients, over a director that forwards nothing: it works, and
/// afterwards the director's settings are as they were.
pub fn fullnat_changes_no_setting() -> anyhow::Result<()> {
    unchanged("FNAT", false)
}

/// NAT neither.
pub fn nat_changes_no_setting() -> anyhow::Result<()> {
    unchanged("NAT", true)
}

/// What no virtual server claims is the host's: a port that is closed there is refused at once, one that is open
/// answers. // P-80
pub fn other_ports_are_the_hosts() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("NAT").text())?;
    let (director, client) = (bed.lab.director()?, bed.client()?);
    let closed = SocketAddrV4::new(*VIP.ip(), 10001);
    let refused = client
        .enter(|| Talk::open_here(SocketAddrV4::new(client_address(0), 0), closed))?
        .map_err(|error| error.kind());
    ensure!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
    let open = SocketAddrV4::new(*VIP.ip(), 22);
    let _server = TcpServer::start(director, "director", open)?;
    ensure!(ask(&client, client_address(0), open)?.server == "director");
    Ok(())
}

fn unchanged(kind: &'static str, real_gateway: bool) -> anyhow::Result<()> {
    let bed = Bed::new(Arms::Two, &Options { real_gateway, ..Options::default() })?;
    let director = bed.lab.director()?;
    let before = settings(director)?;
    ensure!(before[0] == "0");
    let _daemon = bed.start(&Service::new(kind).text())?;
    for n in 0..4 {
        ask(&bed.client()?, client_address(n), VIP)?;
    }
    ensure!(settings(director)? == before);
    if !real_gateway {
        let routes = bed.lab.real(1)?.ip("route show")?;
        ensure!(!routes.contains("default"), "{routes}");
    }
    Ok(())
}

fn settings(host: &Host) -> anyhow::Result<Vec<String>> {
    SETTINGS.iter().map(|name| Ok(host.sysctl(name)?)).collect()
}
