//! Everything that can change the state: a closed list.

use std::net::IpAddr;

use lb_common::abi::{NextHop, RealId, ServiceKey};
use lb_common::wire::{Addr6, Mac, Port};

use super::ids::RealKey;
use super::ports::HostPorts;
use crate::config::model::{Config, Protocol, ServiceMatch};
use crate::dataplane::Snapshot;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A configuration to put in force; [`configure`](super::configure) says why when it is refused.
    Config(Box<Config>),
    /// What the checks of a real server say, all of them together.
    Check(CheckStatus),
    /// Where packets to `destination` go; `None`: its neighbour does not answer.
    Hop { destination: IpAddr, hop: Option<HopInfo> },
    /// How many interfaces are served now ([`Host::interfaces`](super::Host::interfaces)).
    Interfaces(usize),
    /// Which ports the host needs for itself.
    HostPorts(HostPorts),
    /// Removed real servers that no flow and no template refers to any more.
    RealsEmpty(Vec<RealId>),
    /// A neighbour changed its link-layer address.
    MacMoved { ifindex: u32, from: Mac, to: Mac },
    /// The last [`Effect::Apply`](super::Effect::Apply) is done; `failed`: index of the first operation that did not take.
    Applied { failed: Option<usize> },
    /// What the tables really hold: at start, or when someone looked.
    Restored(Box<Snapshot>),
    /// Time passed: retries what failed or had to wait.
    Tick,
}

/// A virtual server as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceIdent {
    pub service: ServiceMatch,
    pub protocol: Option<Protocol>,
}

impl ServiceIdent {
    /// Its key in the tables; `None` for what has none there: marks, groups, SCTP.
    pub fn key(&self) -> Option<ServiceKey> {
        let ServiceMatch::Address { ip, port } = &self.service else { return None };
        let proto = match self.protocol? {
            protocol @ (Protocol::Tcp | Protocol::Udp) => protocol.number(),
            Protocol::Sctp => return None,
        };
        Some(ServiceKey { addr: Addr6::from(*ip), port: Port::new(*port), proto, pad: 0 })
    }
}

impl std::fmt::Display for ServiceIdent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.service {
            ServiceMatch::Address { ip, port } => {
                write!(f, "{}", std::net::SocketAddr::new(*ip, *port))?;
            }
            ServiceMatch::Fwmark { mark, .. } => write!(f, "fwmark {mark}")?,
            ServiceMatch::Group { name, .. } => write!(f, "group {name}")?,
        }
        self.protocol.map_or(Ok(()), |protocol| write!(f, " {}", protocol.name()))
    }
}

/// A real server as the configuration names it, within its virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealIdent {
    pub ip: IpAddr,
    pub port: u16,
}

impl RealIdent {
    /// Its identity in the tables.
    pub fn key(&self, service: ServiceKey) -> RealKey {
        RealKey { service, addr: Addr6::from(self.ip), port: Port::new(self.port) }
    }
}

impl std::fmt::Display for RealIdent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// What a check, or all checks together, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Up,
    Down,
}

/// The checks of one real server, summed up: up if and only if none of them is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStatus {
    pub service: ServiceIdent,
    pub real: RealIdent,
    pub status: Status,
    /// A sentence for people: which check, what it saw.
    pub reason: String,
    /// Sum of what dynamic checks add to the configured weight (`MISC_CHECK`, `misc_dynamic`).
    pub weight_delta: i64,
}

/// A resolved way to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopInfo {
    /// Interface that frames leave by.
    pub ifindex: u32,
    /// The neighbour's address.
    pub dst: Mac,
    /// The interface's address.
    pub src: Mac,
    /// Largest IP packet.
    pub mtu: u16,
    /// What full-NAT without a group uses as source: the primary address towards the real server.
    pub source: Option<IpAddr>,
    /// Whether `XDP_TX` works on the interface ([`NextHop::TX`]).
    pub tx: bool,
    /// Whether frames leave with the interface's VLAN tags ([`NextHop::TAGGED`]).
    pub tagged: bool,
    /// Whether the neighbour is a gateway and not the destination itself.
    pub gateway: bool,
}

impl HopInfo {
    /// As it lies in `NEXT_HOPS`.
    pub fn next_hop(&self) -> NextHop {
        NextHop {
            dst: self.dst,
            state: lb_common::abi::HopState::Valid as u8,
            flags: if self.tx { NextHop::TX } else { 0 }
                | if self.tagged { NextHop::TAGGED } else { 0 },
            src: self.src,
            mtu: self.mtu,
            ifindex: self.ifindex,
            pad: 0,
        }
    }
}
