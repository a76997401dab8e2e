//! What `ipvsadm -Ln` would list: the services and the real servers that are in the pool now.
//!
//! Apart from [`Report`](super::report::Report), because keepalived takes a failed real server out of IPVS's table
//! (unless `inhibit_on_failure`: then its weight is 0) and puts the sorry server in: `xlb list` shows that table.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::report::{Kind, Protocol};

/// The table of `xlb list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// How many flows the flow table may hold; printed where ipvsadm prints its hash table's size.
    pub size: u64,
    /// In any order: the layout sorts as ipvsadm does.
    pub services: Vec<ListedService>,
}

/// A service in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedService {
    /// `None` for a mark.
    pub address: Option<IpAddr>,
    /// 0: any port. `None` for a mark.
    pub port: Option<u16>,
    /// `None` for a mark.
    pub protocol: Option<Protocol>,
    pub fwmark: Option<u32>,
    /// The mark is for IPv6.
    pub fwmark_v6: bool,
    pub scheduler: String,
    /// As the configuration names them: `sh-port`, `flag-3`, `ops`.
    pub flags: Vec<String>,
    pub persistence_s: Option<u64>,
    /// The netmask or prefix length as text; `None` if a template is for one client alone.
    pub persistence_mask: Option<String>,
    pub persistence_engine: Option<String>,
    pub reals: Vec<ListedReal>,
}

/// A real server that is in the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedReal {
    pub address: IpAddr,
    pub port: u16,
    pub kind: Kind,
    /// The weight in force.
    pub weight: u32,
    pub active: u32,
    pub inactive: u32,
}
