//! The data behind `xlb stats`: services, real servers, counters, tables.
//!
//! Serialised, these types are the JSON that scripts read: the order of fields, their names
//! and [`SCHEMA`] are public. They also travel over the admin socket as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use lb_common::abi::{DropReason, Notice, PassReason, RealCounters};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::model;

/// Version of the JSON; raised when a field changes its meaning or disappears.
pub const SCHEMA: u32 = 1;

/// Everything `xlb stats` shows. Counters count since the data path was first loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    pub instance: String,
    /// How each interface runs the program: `xdp` or `xdp-generic`.
    pub mode: BTreeMap<String, String>,
    /// Counts the configurations that were put in force.
    pub generation: u32,
    /// Since the daemon started.
    pub uptime_s: f64,
    /// In file order; the members of a group one after the other.
    pub services: Vec<ServiceReport>,
    /// Every [`DropReason`], also at 0.
    pub drops: Tally,
    /// Every [`PassReason`], also at 0.
    pub passes: Tally,
    /// Every [`Notice`], also at 0.
    pub notices: Tally,
    pub tables: Tables,
    pub snat: Vec<SnatReport>,
}

/// A service. Its counters are the sums over its real servers, removed ones included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// `None` for a mark.
    pub address: Option<IpAddr>,
    /// 0: any port. `None` for a mark.
    pub port: Option<u16>,
    /// `None` for a mark.
    pub protocol: Option<Protocol>,
    pub fwmark: Option<u32>,
    /// The `virtual_server_group` it is a member of.
    pub group: Option<String>,
    pub scheduler: String,
    /// As the configuration names them: `sh-port`, `flag-3`, `ops`; sorted.
    pub flags: Vec<String>,
    pub kind: Kind,
    pub persistence_s: Option<u64>,
    pub quorum_up: bool,
    pub sorry_active: bool,
    #[serde(flatten)]
    pub counters: Counters,
    /// In file order. While the sorry server is active it comes last.
    pub reals: Vec<RealReport>,
}

/// A real server of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealReport {
    pub address: IpAddr,
    pub port: u16,
    /// As configured.
    pub weight: u32,
    /// As the scheduler sees it: after health, dynamic weights and draining.
    pub effective_weight: u32,
    pub health: Health,
    /// What the last check that changed something said; empty if none has.
    pub health_reason: String,
    /// How long `health` has been what it is.
    pub since_s: f64,
    pub draining: bool,
    /// ipvsadm's `ActiveConn`.
    pub active: u32,
    /// ipvsadm's `InActConn`.
    pub inactive: u32,
    #[serde(flatten)]
    pub counters: Counters,
}

/// What `ipvsadm --stats` counts; also, per second, what `--rate` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Connections scheduled.
    pub conns: u64,
    pub in_packets: u64,
    pub out_packets: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
}

impl From<RealCounters> for Counters {
    fn from(sum: RealCounters) -> Self {
        Self {
            conns: sum.conns,
            in_packets: sum.in_packets,
            out_packets: sum.out_packets,
            in_bytes: sum.in_bytes,
            out_bytes: sum.out_bytes,
        }
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.conns = self.conns.wrapping_add(other.conns);
        self.in_packets = self.in_packets.wrapping_add(other.in_packets);
        self.out_packets = self.out_packets.wrapping_add(other.out_packets);
        self.in_bytes = self.in_bytes.wrapping_add(other.in_bytes);
        self.out_bytes = self.out_bytes.wrapping_add(other.out_bytes);
    }
}

/// Whether the checks of a real server pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Up,
    Down,
    /// No check has run yet, or it has none.
    Unknown,
}

/// How packets get to the real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[serde(rename = "NAT")]
    Nat,
    #[serde(rename = "FNAT")]
    FullNat,
    #[serde(rename = "DR")]
    Dr,
    #[serde(rename = "TUN")]
    Tun,
}

impl From<model::Kind> for Kind {
    fn from(kind: model::Kind) -> Self {
        match kind {
            model::Kind::Nat => Self::Nat,
            model::Kind::FullNat => Self::FullNat,
            model::Kind::Dr => Self::Dr,
            model::Kind::Tun => Self::Tun,
        }
    }
}

/// The protocol of a service or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// First to last by IANA's number, as ipvsadm sorts.
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As ipvsadm writes it.
    pub const fn upper(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// From IANA's number, as it stands in map keys.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl From<model::Protocol> for Protocol {
    fn from(protocol: model::Protocol) -> Self {
        match protocol {
            model::Protocol::Tcp => Self::Tcp,
            model::Protocol::Udp => Self::Udp,
            model::Protocol::Sctp => Self::Sctp,
        }
    }
}

/// How full the tables are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    pub established: Fill,
    pub half_open: Fill,
    pub templates: TemplateFill,
    pub fragments: Fill,
}

/// How full one table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    pub used: u64,
    pub capacity: u64,
}

/// How full the table of persistence templates is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFill {
    pub used: u64,
    pub capacity: u64,
    /// Clients that were scheduled without a template because the table was full.
    pub refused: u64,
}

/// A source address of full-NAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnatReport {
    pub address: IpAddr,
    /// Connections that leave with this address.
    pub used: u64,
    /// Ports times the real servers that may be reached from it.
    pub capacity: u64,
}

/// Packets by reason, in the order of the reasons' numbers. A JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub Vec<(String, u64)>);

impl Tally {
    /// Every drop reason, counted by `count` from its slot in REASONS.
    pub fn of_drops(count: impl Fn(DropReason) -> u64) -> Self {
        Self(DropReason::ALL.iter().map(|&r| (r.name().to_owned(), count(r))).collect())
    }

    /// Every pass reason.
    pub fn of_passes(count: impl Fn(PassReason) -> u64) -> Self {
        Self(PassReason::ALL.iter().map(|&r| (r.name().to_owned(), count(r))).collect())
    }

    /// Every notice.
    pub fn of_notices(count: impl Fn(Notice) -> u64) -> Self {
        Self(Notice::ALL.iter().map(|&n| (n.name().to_owned(), count(n))).collect())
    }

    /// The count of one reason; `None` if it is not listed.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, count)| *count)
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Tally;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of reasons and counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tally, A::Error> {
                let mut tally = Tally::default();
                while let Some(entry) = map.next_entry()? {
                    tally.0.push(entry);
                }
                Ok(tally)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The sample configuration after six connections, as recorded from IPVS; its second real server has since failed.
#[cfg(test)]
pub(crate) fn sample() -> Report {
    let counters = |n| Counters {
        conns: n,
        in_packets: 4 * n,
        out_packets: 2 * n,
        in_bytes: 216 * n,
        out_bytes: 112 * n,
    };
    let real = |last: u8, port, health, reason: &str, conns| RealReport {
        address: IpAddr::from([192, 168, 1, last]),
        port,
        weight: 1,
        effective_weight: u32::from(health == Health::Up),
        health,
        health_reason: reason.to_owned(),
        since_s: 9.1,
        draining: false,
        active: 1,
        inactive: 2,
        counters: counters(conns),
    };
    Report {
        schema: SCHEMA,
        instance: "xlb".into(),
        mode: [("eth0", "xdp"), ("eth1", "xdp-generic")]
            .map(|(interface, mode)| (interface.to_owned(), mode.to_owned()))
            .into(),
        generation: 3,
        uptime_s: 12.4,
        services: vec![ServiceReport {
            address: Some(IpAddr::from([10, 64, 1, 2])),
            port: Some(10_000),
            protocol: Some(Protocol::Tcp),
            fwmark: None,
            group: None,
            scheduler: "rr".into(),
            flags: vec![],
            kind: Kind::Nat,
            persistence_s: Some(10),
            quorum_up: true,
            sorry_active: false,
            counters: counters(6),
            reals: vec![
                real(100, 8089, Health::Up, "", 2),
                real(101, 18_089, Health::Down, "connection refused", 4),
            ],
        }],
        drops: Tally::of_drops(|_| 0),
        passes: Tally::of_passes(|_| 0),
        notices: Tally::of_notices(|_| 0),
        tables: Tables { established: Fill { used: 3, capacity: 1 << 20 }, ..Tables::default() },
        snat: vec![SnatReport {
            address: IpAddr::from([192, 168, 1, 2]),
            used: 3,
            capacity: 64_512,
        }],
    }
}

#[cfg(test)]
mod tests;
