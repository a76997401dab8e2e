//! A test bed with routers: two between the client and the director, two between the director and the real server, so
//! that a narrow link can be where neither end sees it.
//!
//! ```text
//! client - far r1 middle r2 outside director inside r3 beyond r4 behind real1
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use xlb::lab::{Daemon, DaemonSpec, Host, HostSpec, Lab, NicSpec, Offloads, Topology};

use super::bed::offloads;
use super::binary;
use super::config::Service;
use super::server::{TcpServer, UdpServer};

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 64, 3, 10);
/// Where the real server's servers listen.
pub const REAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 3, 100), 8089);

/// A link that may be narrow: both ends, as host and interface.
pub type Link = [(&'static str, &'static str); 2];
/// Between the two routers on the clients' side.
pub const MIDDLE: Link = [("r1", "eth1"), ("r2", "eth0")];
/// The director's outer one.
pub const OUTSIDE: Link = [("r2", "eth1"), ("director", "eth0")];
/// The director's inner one.
pub const INSIDE: Link = [("director", "eth1"), ("r3", "eth0")];
/// Between the two routers on the real server's side.
pub const BEYOND: Link = [("r3", "eth1"), ("r4", "eth0")];

/// Dropped in this order.
#[derive(Debug)]
pub struct Routed {
    pub daemon: Daemon,
    _tcp: TcpServer,
    _udp: UdpServer,
    pub lab: Lab,
}

impl Routed {
    /// The bed with one real server by this method and protocol, and a link that takes packets of so many bytes only.
    pub fn start(
        kind: &'static str,
        protocol: &'static str,
        narrow: Option<(Link, u32)>,
    ) -> anyhow::Result<Self> {
        let offloads = offloads(Offloads::Wire)?;
        let lab = Lab::build(&Topology { offloads, ..topology() })?;
        for router in ["r1", "r2", "r3", "r4"] {
            lab.host(router)?.set_sysctl("net.ipv4.ip_forward", "1")?;
        }
        if let Some((link, mtu)) = narrow {
            for (host, interface) in link {
                lab.host(host)?.ip(&format!("link set {interface} mtu {mtu}"))?;
            }
        }
        let host = lab.real(1)?.clone();
        let tcp = TcpServer::start(&host, "real1", REAL)?;
        let udp = UdpServer::start(&host, "real1", REAL)?;
        let reals = vec![(REAL.to_string().replace(':', " "), 1, String::new())];
        let config = Service { protocol, reals, ..Service::new(kind) }.text();
        let mut spec = DaemonSpec::two_arm(&binary::xlb()?);
        if let Ok(mode) = std::env::var("XLB_TEST_MODE") {
            spec.mode = mode;
        }
        let daemon = Daemon::start(&lab, &spec, &config)?;
        Ok(Self { daemon, _tcp: tcp, _udp: udp, lab })
    }

    pub fn client(&self) -> anyhow::Result<Host> {
        Ok(self.lab.client()?.clone())
    }

    /// One counter of `xlb stats --json`, by the names that lead to it.
    pub fn stat(&self, of: &str, name: &str) -> anyhow::Result<u64> {
        let stats = self.daemon.stats()?;
        stats[of][name].as_u64().with_context(|| format!("no {of}.{name} in {stats}"))
    }
}

fn topology() -> Topology {
    let hosts = vec![
        host("client", &[("far", "10.64.3.10/24")], &["default via 10.64.3.1"]),
        host(
            "r1",
            &[("far", "10.64.3.1/24"), ("middle", "10.64.2.1/24")],
            &["10.64.1.0/24 via 10.64.2.2"],
        ),
        host(
            "r2",
            &[("middle", "10.64.2.2/24"), ("outside", "10.64.1.9/24")],
            &["10.64.3.0/24 via 10.64.2.1"],
        ),
        host(
            "director",
            &[("outside", "10.64.1.1/24 10.64.1.2/32"), ("inside", "192.168.1.1/24")],
            &["192.168.3.0/24 via 192.168.1.9"],
        ),
        host(
            "r3",
            &[("inside", "192.168.1.9/24"), ("beyond", "192.168.2.1/24")],
            &["192.168.3.0/24 via 192.168.2.2", "default via 192.168.1.1"],
        ),
        host(
            "r4",
            &[("beyond", "192.168.2.2/24"), ("behind", "192.168.3.1/24")],
            &["default via 192.168.2.1"],
        ),
        host("real1", &[("behind", "192.168.3.100/24")], &["default via 192.168.3.1"]),
    ];
    Topology { hosts, mtu: 1500, offloads: Offloads::Wire }
}

/// A host with interfaces eth0, eth1, each on a segment and with addresses.
fn host(name: &str, nics: &[(&str, &str)], routes: &[&str]) -> HostSpec {
    let nic = |(index, (segment, addresses)): (usize, &(&str, &str))| NicSpec {
        name: format!("eth{index}"),
        segment: (*segment).to_owned(),
        addresses: addresses
            .split(' ')
            .map(|address| address.parse::<Ipv4Net>().expect("an address of this file"))
            .collect(),
    };
    HostSpec {
        name: name.to_owned(),
        nics: nics.iter().enumerate().map(nic).collect(),
        routes: routes.iter().map(|route| (*route).to_owned()).collect(),
    }
}
