//! UDP through a virtual server.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use anyhow::ensure;
use xlb::lab::Options;

use super::bed::{Arms, Bed, client_address, number};
use super::client::{VIP, ask_udp, ask_udp_on};
use super::config::Service;

/// NAT: the real servers see the clients.
pub fn nat_two_arm() -> anyhow::Result<()> {
    exchange(Arms::Two, "NAT", true)
}

/// Full-NAT, two interfaces, no route back.
pub fn fullnat_two_arm() -> anyhow::Result<()> {
    exchange(Arms::Two, "FNAT", false)
}

/// Full-NAT, one interface.
pub fn fullnat_one_arm() -> anyhow::Result<()> {
    exchange(Arms::One, "FNAT", false)
}

fn exchange(arms: Arms, kind: &'static str, sees_clients: bool) -> anyhow::Result<()> {
    let bed = Bed::new(arms, &Options { real_gateway: sees_clients, ..Options::default() })?;
    let daemon = bed.start(&Service::new(kind).udp().text())?;
    let client = bed.client()?;
    let mut servers = BTreeSet::new();
    for n in 0..8 {
        let answer = ask_udp(&client, client_address(n), VIP)?;
        let expected = if sees_clients { client_address(n) } else { [192, 168, 1, 1].into() };
        ensure!(answer.seen.ip() == expected, "{answer:?}");
        servers.insert(answer.server);
    }
    ensure!(servers.len() == 2, "only {servers:?} answered");
    a_socket_keeps_its_server(&bed)?;
    let stats = daemon.stats()?;
    let service = &stats["services"][0];
    ensure!(service["protocol"] == "udp" && number(&service["conns"])? == 9, "{service}");
    Ok(())
}

/// A socket's datagrams are one flow.
fn a_socket_keeps_its_server(bed: &Bed) -> anyhow::Result<()> {
    let socket = bed.client()?.enter(|| UdpSocket::bind((client_address(9), 0)))??;
    let first = ask_udp_on(&socket, VIP)?;
    for _ in 0..20 {
        ensure!(ask_udp_on(&socket, VIP)? == first);
    }
    Ok(())
}
