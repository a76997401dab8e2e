//! Where the program runs: what `--mode auto` chooses and says, and what each mode must not disturb.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::ensure;
use xlb::lab::{Daemon, Host, Offloads, Options};

use super::bed::{Arms, Bed, client_address, number};
use super::client::{Talk, VIP, ask};
use super::config::{SAMPLE, Service};
use super::server::TcpServer;
use super::{raw, watch};
use crate::packets::{self, Flags};

/// A daemon in a mode of the scenario's choice, on these interfaces; what its statistics say of each.
fn start(bed: &Bed, mode: &str, interfaces: &[&str]) -> anyhow::Result<Daemon> {
    let mut spec = bed.spec()?;
    mode.clone_into(&mut spec.mode);
    spec.interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    Ok(Daemon::start(&bed.lab, &spec, &Service::new("NAT").text())?)
}

fn runs_in(daemon: &Daemon, interfaces: &[&str], mode: &str) -> anyhow::Result<()> {
    let modes = daemon.stats()?["mode"].clone();
    for interface in interfaces {
        ensure!(modes[*interface] == mode, "{modes}");
    }
    Ok(())
}

/// veth as it is by default: tc, and the reason in the log. // P-04
pub fn auto_takes_tc_where_offloads_are_on() -> anyhow::Result<()> {
    let bed = Bed::new(Arms::Two, &Options { offloads: Offloads::Usual, ..Options::default() })?;
    let daemon = start(&bed, "auto", &["eth0", "eth1"])?;
    runs_in(&daemon, &["eth0", "eth1"], "tc")?;
    let log = daemon.log();
    ensure!(log.contains("mode tc") && log.contains("half-made checksums"), "{log}");
    ask(&bed.client()?, client_address(0), VIP)?;
    Ok(())
}

/// Wires that carry whole checksums: XDP.
pub fn auto_takes_xdp_where_the_wire_is_prepared() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = start(&bed, "auto", &["eth0", "eth1"])?;
    runs_in(&daemon, &["eth0", "eth1"], "xdp")?;
    ask(&bed.client()?, client_address(0), VIP)?;
    Ok(())
}

/// One interface is a bridge, which has no XDP: tc on both, for XDP could not send to it.
pub fn auto_takes_tc_where_the_driver_has_no_xdp() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let director = bed.lab.director()?;
    for command in [
        "link add br1 type bridge",
        "addr flush dev eth1",
        "link set eth1 master br1",
        "addr add 192.168.1.1/24 dev br1",
        "link set br1 up",
    ] {
        director.ip(command)?;
    }
    let daemon = start(&bed, "auto", &["eth0", "br1"])?;
    runs_in(&daemon, &["eth0", "br1"], "tc")?;
    ensure!(daemon.log().contains("`bridge` has no XDP"), "{}", daemon.log());
    for n in 0..4 {
        ask(&bed.client()?, client_address(n), VIP)?;
    }
    Ok(())
}

/// From XDP to tc and back: an open connection and new ones go on. // K-15
pub fn a_mode_change_drops_no_connection() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let client = bed.client()?;
    let mut talk = None;
    for mode in ["xdp", "tc", "xdp", "tc", "xdp-generic", "tc"] {
        let mut daemon = start(&bed, mode, &["eth0", "eth1"])?;
        runs_in(&daemon, &["eth0", "eth1"], mode)?;
        let talk = match &mut talk {
            Some(talk) => talk,
            none => none.insert(Talk::open(&client, client_address(0), VIP)?),
        };
        talk.who()?;
        ask(&client, client_address(1), VIP)?;
        daemon.kill()?;
        talk.who()?;
        ask(&client, client_address(2), VIP)?;
    }
    let mut daemon = bed.prepare(SAMPLE)?;
    daemon.run()?;
    daemon.stop()?;
    super::refusal::nothing_attached(&bed, &["eth0", "eth1"])
}

/// A frame whose tag lies beside it is not of the interface that carries the VLAN: it is left to the VLAN's own, be
/// there one or not. // P-17
pub fn a_tagged_frame_is_the_vlans() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = start(&bed, "tc", &["eth0", "eth1"])?;
    let client = bed.client()?;
    let mut plain =
        packets::tcp((client_address(0), 40_000), (*VIP.ip(), VIP.port()), Flags::SYN, b"");
    plain[..6].copy_from_slice(&raw::mac(bed.lab.director()?, "eth0")?);
    plain[6..12].copy_from_slice(&raw::mac(&client, "eth0")?);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let counts = || -> anyhow::Result<(u64, u64)> {
        let stats = daemon.stats()?;
        Ok((number(&stats["services"][0]["conns"])?, number(&stats["passes"]["not_ipv4"])?))
    };
    let before = counts()?;
    raw::send(&client, "eth0", &tagged)?;
    watch("the tagged frame is passed", || {
        let after = counts()?;
        ensure!(after.0 == before.0, "it was taken for a connection");
        // ARP counts there too.
        ensure!(after.1 > before.1);
        Ok(())
    })?;
    raw::send(&client, "eth0", &plain)?;
    watch("the same without a tag is a connection", || {
        ensure!(counts()?.0 == before.0 + 1);
        Ok(())
    })
}

/// Makes a VLAN's interface; `false`: this kernel has none.
fn has_vlan(host: &Host, on: &str, number: u16, address: &str) -> anyhow::Result<bool> {
    let made = host.ip(&format!("link add link {on} name vlan{number} type vlan id {number}"));
    if made.as_ref().is_err_and(|error| error.to_string().contains("Unknown device type")) {
        eprintln!("skipped: this kernel has no VLANs (CONFIG_VLAN_8021Q)");
        return Ok(false);
    }
    made?;
    host.ip(&format!("addr add {address} dev vlan{number}"))?;
    host.ip(&format!("link set vlan{number} up"))?;
    // In the frame, where XDP finds it, and not beside it.
    host.run("ethtool", &["-K", on, "txvlan", "off"])?;
    Ok(true)
}

/// The client in one VLAN, the real server in another; `--iface` names the interfaces below, and XDP takes tags off and puts
/// them on. What is not for the virtual server, ARP to begin with, passes with its tag. // P-14
pub fn vlans_on_served_interfaces_forward() -> anyhow::Result<()> {
    for mode in ["xdp-generic", "xdp"] {
        let bed = Bed::new(Arms::Two, &Options { reals: 1, ..Options::default() })?;
        let (director, real, client) = (bed.lab.director()?, bed.lab.real(1)?, bed.client()?);
        for (host, on, number, address) in [
            (director, "eth0", 100, "10.64.100.1/24"),
            (&client, "eth0", 100, "10.64.100.10/24"),
            (director, "eth1", 5, "192.168.5.1/24"),
            (real, "eth0", 5, "192.168.5.100/24"),
        ] {
            if !has_vlan(host, on, number, address)? {
                return Ok(());
            }
        }
        real.ip("route replace default via 192.168.5.1")?;
        client.ip(&format!("route add {} via 10.64.100.1", VIP.ip()))?;
        let address = SocketAddrV4::new(Ipv4Addr::new(192, 168, 5, 100), 8089);
        let _server = TcpServer::start(real, "tagged", address)?;
        let mut service = Service::new("NAT");
        service.reals = vec![("192.168.5.100 8089".to_owned(), 1, String::new())];
        let mut spec = bed.spec()?;
        spec.mode = mode.into();
        let daemon = Daemon::start(&bed.lab, &spec, &service.text())?;
        runs_in(&daemon, &["eth0", "eth1"], mode)?;
        ensure!(ask(&client, client_address(0), VIP)?.server == "tagged", "{mode}");
        Talk::open(&client, client_address(1), VIP)?.download(|seen| seen > 2_000_000)?;
        client.run("ping", &["-c", "1", "-W", "5", "10.64.100.1"])?;
        let stats = daemon.stats()?;
        ensure!(number(&stats["services"][0]["conns"])? == 2, "{stats}");
    }
    Ok(())
}

/// The VLAN's interface itself carries the program at tc. // P-17
pub fn a_vlan_interface_forwards() -> anyhow::Result<()> {
    let bed = Bed::new(Arms::Two, &Options { offloads: Offloads::Usual, ..Options::default() })?;
    let (director, real) = (bed.lab.director()?, bed.lab.real(1)?);
    for (host, interface, address) in
        [(director, "eth1", "192.168.5.1/24"), (real, "eth0", "192.168.5.100/24")]
    {
        let made = host.ip(&format!("link add link {interface} name vlan5 type vlan id 5"));
        if made.as_ref().is_err_and(|error| error.to_string().contains("Unknown device type")) {
            eprintln!("skipped: this kernel has no VLANs (CONFIG_VLAN_8021Q)");
            return Ok(());
        }
        made?;
        host.ip(&format!("addr add {address} dev vlan5"))?;
        host.ip("link set vlan5 up")?;
    }
    real.ip("route replace default via 192.168.5.1")?;
    let address = SocketAddrV4::new(Ipv4Addr::new(192, 168, 5, 100), 8089);
    let _server = TcpServer::start(real, "tagged", address)?;
    let mut service = Service::new("NAT");
    service.reals = vec![("192.168.5.100 8089".to_owned(), 1, String::new())];
    let mut spec = bed.spec()?;
    spec.mode = "tc".into();
    spec.interfaces = vec!["eth0".into(), "vlan5".into()];
    let daemon = Daemon::start(&bed.lab, &spec, &service.text())?;
    runs_in(&daemon, &["eth0", "vlan5"], "tc")?;
    let client = bed.client()?;
    ensure!(ask(&client, client_address(0), VIP)?.server == "tagged");
    Talk::open(&client, client_address(1), VIP)?.download(|seen| seen > 20_000_000)?;
    Ok(())
}
