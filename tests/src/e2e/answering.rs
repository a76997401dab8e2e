//! A test bed whose real servers answer the clients themselves, past the director.
//!
//! ```text
//! two arms:  client ----- outside ----- director (eth0, eth1) ----- inside ----- real1, real2 (eth0)
//!                            +-------------------------------------------------- real1, real2 (eth1)
//! one arm:   client, director, real1 and real2 on one switch
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use xlb::lab::{Daemon, DaemonSpec, Host, Lab, Offloads, Options, one_arm, real_address, two_arm};

use super::bed::{Arms, offloads};
use super::client::VIP;
use super::config::Service;
use super::server::TcpServer;

const REALS: u8 = 2;

/// Dropped in this order.
#[derive(Debug)]
pub struct Answering {
    pub tcp: Vec<TcpServer>,
    pub lab: Lab,
    arms: Arms,
}

impl Answering {
    /// Two real servers that hold the virtual address, do not answer ARP for it, and listen on it.
    pub fn new(arms: Arms, wires: Offloads) -> anyhow::Result<Self> {
        let options = Options { reals: REALS, real_gateway: false, ..Options::default() };
        let mut topology = match arms {
            Arms::One => one_arm(&options),
            Arms::Two => two_arm(&options),
        };
        topology.offloads = offloads(wires)?;
        let outside = topology.hosts[0].nics[0].segment.clone();
        let reals = topology.hosts.iter_mut().filter(|host| host.name.starts_with("real"));
        for (n, real) in (0..).zip(reals) {
            let own = Ipv4Net::new(Ipv4Addr::new(10, 64, 1, 200 + n), 24)?;
            let mut nic = real.nics[0].clone();
            match arms {
                Arms::One => real.nics[0].addresses.push(own),
                Arms::Two => {
                    (nic.name, nic.segment, nic.addresses) =
                        ("eth1".into(), outside.clone(), vec![own]);
                    real.nics.push(nic);
                }
            }
        }
        let lab = Lab::build(&topology)?;
        let mut tcp = Vec::new();
        for n in 1..=usize::from(REALS) {
            let real = lab.real(n)?;
            hold_the_virtual_address(real)?;
            tcp.push(TcpServer::start(real, real.name(), VIP)?);
        }
        Ok(Self { tcp, lab, arms })
    }

    /// How the daemon is started here.
    pub fn spec(&self) -> anyhow::Result<DaemonSpec> {
        self.arms.spec()
    }

    pub fn start(&self, config: &str) -> anyhow::Result<Daemon> {
        Ok(Daemon::start(&self.lab, &self.spec()?, config)?)
    }

    pub fn client(&self) -> anyhow::Result<&Host> {
        Ok(self.lab.client()?)
    }
}

/// As LVS's manuals have it: on the loopback, and silent about it.
fn hold_the_virtual_address(real: &Host) -> anyhow::Result<()> {
    for (name, value) in [
        ("net.ipv4.conf.all.arp_ignore", "1"),
        ("net.ipv4.conf.all.arp_announce", "2"),
        // Requests come in by another interface than the one that the answer leaves by.
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
        ("net.ipv4.conf.eth0.rp_filter", "0"),
    ] {
        real.set_sysctl(name, value)?;
    }
    real.ip(&format!("addr add {}/32 dev lo", VIP.ip()))?;
    Ok(())
}

/// 10.64.1.2:10000 by this method, with both real servers on the same port.
pub fn service(kind: &'static str) -> Service {
    let real = |n| (format!("{} {}", real_address(n), VIP.port()), 1, String::new());
    Service { reals: (0..REALS).map(real).collect(), ..Service::new(kind) }
}

/// The real server's own address by the name that its server tells.
pub fn own_address(server: &str) -> anyhow::Result<SocketAddrV4> {
    let n: u8 = server.strip_prefix("real").context("no real server")?.parse()?;
    Ok(SocketAddrV4::new(real_address(n - 1), VIP.port()))
}
