//! A test bed: a laboratory whose real servers answer, and a daemon on its director.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use serde_json::Value;
use xlb::lab::{Daemon, DaemonSpec, Host, Lab, Offloads, Options, one_arm, real_address, two_arm};

use super::binary;
use super::server::{TcpServer, UdpServer};

/// Ports of real server 1, 2, 3: those of the sample and one more.
pub const PORTS: [u16; 3] = [8089, 18089, 28089];

/// How many interfaces the director has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    One,
    Two,
}

impl Arms {
    /// How the daemon is started there; `XLB_TEST_MODE` overrides native XDP.
    pub(super) fn spec(self) -> anyhow::Result<DaemonSpec> {
        let binary = binary::xlb()?;
        let mut spec = match self {
            Arms::One => DaemonSpec::one_arm(&binary),
            Arms::Two => DaemonSpec::two_arm(&binary),
        };
        if let Ok(mode) = std::env::var("XLB_TEST_MODE") {
            spec.mode = mode;
        }
        Ok(spec)
    }
}

/// Dropped in this order: servers and daemon first, the laboratory last.
#[derive(Debug)]
pub struct Bed {
    pub tcp: Vec<Option<TcpServer>>,
    pub udp: Vec<UdpServer>,
    pub lab: Lab,
    arms: Arms,
}

impl Bed {
    /// Two real servers, two arms.
    pub fn two_arm() -> anyhow::Result<Self> {
        Self::new(Arms::Two, &Options::default())
    }

    pub fn new(arms: Arms, options: &Options) -> anyhow::Result<Self> {
        let mut topology = match arms {
            Arms::One => one_arm(options),
            Arms::Two => two_arm(options),
        };
        topology.offloads = offloads(options.offloads)?;
        let lab = Lab::build(&topology)?;
        let mut bed = Self { tcp: Vec::new(), udp: Vec::new(), lab, arms };
        for n in 0..options.reals {
            let server = bed.serve_tcp(usize::from(n) + 1)?;
            bed.tcp.push(Some(server));
            let (host, name, address) = bed.real(usize::from(n) + 1)?;
            bed.udp.push(UdpServer::start(&host, &name, address)?);
        }
        Ok(bed)
    }

    /// A TCP server on real server `n`, from 1; its name is the host's.
    pub fn serve_tcp(&self, n: usize) -> anyhow::Result<TcpServer> {
        let (host, name, address) = self.real(n)?;
        TcpServer::start(&host, &name, address)
    }

    fn real(&self, n: usize) -> anyhow::Result<(Host, String, SocketAddrV4)> {
        let host = self.lab.real(n)?.clone();
        let index = n.checked_sub(1).context("real servers count from 1")?;
        let name = host.name().to_owned();
        Ok((host, name, SocketAddrV4::new(real_address(index as u8), PORTS[index])))
    }

    /// How the daemon is started here.
    pub fn spec(&self) -> anyhow::Result<DaemonSpec> {
        self.arms.spec()
    }

    /// Starts the daemon.
    pub fn start(&self, config: &str) -> anyhow::Result<Daemon> {
        Ok(Daemon::start(&self.lab, &self.spec()?, config)?)
    }

    /// A daemon that is not started yet.
    pub fn prepare(&self, config: &str) -> anyhow::Result<Daemon> {
        Ok(Daemon::prepare(&self.lab, &self.spec()?, config)?)
    }

    pub fn client(&self) -> anyhow::Result<Host> {
        Ok(self.lab.client()?.clone())
    }
}

/// Those of the scenario, or of `XLB_TEST_OFFLOADS`: wire, usual, all.
pub fn offloads(scenarios: Offloads) -> anyhow::Result<Offloads> {
    match std::env::var("XLB_TEST_OFFLOADS").as_deref() {
        Err(_) => Ok(scenarios),
        Ok("wire") => Ok(Offloads::Wire),
        Ok("usual") => Ok(Offloads::Usual),
        Ok("all") => Ok(Offloads::All),
        Ok(other) => anyhow::bail!("XLB_TEST_OFFLOADS is `{other}`, not wire, usual or all"),
    }
}

/// Address `n` of the client's, from 0.
pub fn client_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 1, 10 + n)
}

/// The real server with this address in the first virtual server of `xlb stats --json`.
pub fn real<'a>(stats: &'a Value, address: &str) -> anyhow::Result<&'a Value> {
    stats["services"][0]["reals"]
        .as_array()
        .and_then(|reals| reals.iter().find(|real| real["address"] == address))
        .with_context(|| format!("no real server {address} in {stats}"))
}

/// An integer of the statistics.
pub fn number(value: &Value) -> anyhow::Result<u64> {
    value.as_u64().with_context(|| format!("`{value}` is not a number"))
}
