//! Link-layer addresses: unknown at first, or changed in mid-flight.

use std::time::{Duration, Instant};

use anyhow::ensure;
use xlb::lab::{Daemon, Host, Lab};

use super::bed::{Bed, client_address, number};
use super::client::{Talk, VIP, ask, ask_udp};
use super::config::Service;

/// Nobody knows anybody's address when the daemon says it is ready: the first packet of the first client is answered.
pub fn the_first_packet_is_not_lost() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    forget_neighbours(&bed.lab)?;
    let _daemon = bed.start(&Service::new("NAT").udp().text())?;
    let client = bed.client()?;
    // UDP does not repeat itself: a lost datagram is a test that fails by its time limit.
    for n in 0..4 {
        let start = Instant::now();
        ask_udp(&client, client_address(n), VIP)?;
        ensure!(
            start.elapsed() < Duration::from_millis(900),
            "answered after {:?}",
            start.elapsed()
        );
    }
    Ok(())
}

/// The same with TCP and full-NAT, where a lost SYN would show as a second's wait.
pub fn the_first_connection_does_not_wait() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    forget_neighbours(&bed.lab)?;
    let _daemon = bed.start(&Service::new("FNAT").text())?;
    let start = Instant::now();
    ask(&bed.client()?, client_address(0), VIP)?;
    ensure!(start.elapsed() < Duration::from_millis(900), "answered after {:?}", start.elapsed());
    Ok(())
}

/// No real server has ever answered ARP, and one comes up only after the packet: it waits, and is not lost. // K-36
pub fn a_packet_waits_for_a_silent_server() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.prepare(&Service::new("NAT").udp().text())?;
    a_silent_server_gets_its_packet(&bed.lab, daemon)
}

/// On any bed of two real servers, with a daemon that is not started yet.
pub(super) fn a_silent_server_gets_its_packet(lab: &Lab, mut daemon: Daemon) -> anyhow::Result<()> {
    // Routes of the real servers' go with their interfaces, so only their ears are closed.
    let reals = [lab.real(1)?, lab.real(2)?];
    for real in reals {
        real.ip("link set eth0 arp off")?;
    }
    forget_neighbours(lab)?;
    daemon.run()?;
    let client = lab.client()?;
    let noted = |name: &str| -> anyhow::Result<u64> { number(&daemon.stats()?["notices"][name]) };
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_udp(client, client_address(0), VIP));
        let heard = super::watch("the packet is held", || {
            ensure!(noted("held")? >= 1);
            Ok(())
        });
        let opened = reals[0].ip("link set eth0 arp on");
        let answer = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        heard?;
        opened?;
        answer
    })?;
    ensure!(answer.server == reals[0].name(), "{answer:?}");
    ensure!(number(&daemon.stats()?["drops"]["no_neighbour"])? == 0);
    Ok(())
}

/// Nobody ever answers: the packet is given up after three seconds, and counted as dropped for that. // K-36
pub fn a_packet_does_not_wait_for_ever() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    for real in [bed.lab.real(1)?, bed.lab.real(2)?] {
        real.ip("link set eth0 arp off")?;
    }
    forget_neighbours(&bed.lab)?;
    let daemon = bed.start(&Service::new("FNAT").udp().text())?;
    let client = bed.client()?;
    let socket = client.enter(|| std::net::UdpSocket::bind((client_address(0), 0)))??;
    let start = Instant::now();
    socket.send_to(b"who\n", VIP)?;
    super::watch("the packet is given up", || {
        let stats = daemon.stats()?;
        ensure!(number(&stats["notices"]["held"])? == 1, "{}", stats["notices"]);
        ensure!(number(&stats["drops"]["no_neighbour"])? == 1, "{}", stats["drops"]);
        Ok(())
    })?;
    let took = start.elapsed();
    ensure!(took >= Duration::from_secs(3), "given up after {took:?}");
    Ok(())
}

/// A real server's address changes (a spare card, a failed-over gateway): its gratuitous ARP is enough, within a second. // K-35
pub fn a_changed_address_is_followed() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").text())?;
    let client = bed.client()?;
    let mut talks = Vec::new();
    for n in 0..2 {
        let mut talk = Talk::open(&client, client_address(n), VIP)?;
        talks.push((talk.who()?, talk));
    }
    let real = bed.lab.real(1)?;
    real.set_sysctl("net.ipv4.conf.all.arp_notify", "1")?;
    real.set_sysctl("net.ipv4.conf.eth0.arp_notify", "1")?;
    real.ip("link set eth0 address 02:00:00:00:77:01")?;
    // The real server's own route to the director is cold too; only what xlb sends is measured, by what comes back.
    let start = Instant::now();
    for (before, talk) in &mut talks {
        ensure!(talk.who()? == *before);
    }
    for n in 0..4 {
        ask(&client, client_address(n), VIP)?;
    }
    ensure!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    drop(daemon);
    Ok(())
}

/// The director's neighbour table is emptied under live traffic: nothing is lost, old connections and new. // K-36
pub fn an_emptied_table_loses_nothing() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("NAT").udp().text())?;
    let client = bed.client()?;
    for n in 0..10 {
        bed.lab.director()?.ip("neighbour flush all")?;
        let start = Instant::now();
        ask_udp(&client, client_address(n), VIP)?;
        ensure!(
            start.elapsed() < Duration::from_millis(900),
            "answered after {:?}",
            start.elapsed()
        );
    }
    Ok(())
}

/// A client's address changes: its next packet teaches the way back.
pub fn a_changed_client_is_followed() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon: Daemon = bed.start(&Service::new("NAT").text())?;
    let client = bed.client()?;
    ask(&client, client_address(0), VIP)?;
    client.ip("link set eth0 address 02:00:00:00:77:02")?;
    let start = Instant::now();
    ask(&client, client_address(0), VIP)?;
    ensure!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    Ok(())
}

fn forget_neighbours(lab: &Lab) -> anyhow::Result<()> {
    let hosts: [&Host; 4] = [lab.client()?, lab.director()?, lab.real(1)?, lab.real(2)?];
    for host in hosts {
        host.ip("neighbour flush all")?;
    }
    Ok(())
}
