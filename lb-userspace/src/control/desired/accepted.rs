//! Which virtual servers and real servers this version serves, and what it has to say about the rest.

use std::collections::HashSet;
use std::net::IpAddr;

use lb_common::abi::ServiceKey;

use super::Skipped;
use crate::config::model::{self, Checker, Kind, Protocol, ServiceMatch, Tunnel, VirtualServer};
use crate::config::unbuilt::check_is_built;
use crate::control::event::{RealIdent, ServiceIdent};
use crate::control::ids::RealKey;

/// A virtual server that is served, with those of its real servers that are.
#[derive(Clone, Debug)]
pub struct Accepted<'a> {
    pub key: ServiceKey,
    pub ident: ServiceIdent,
    pub server: &'a VirtualServer,
    pub reals: Vec<AcceptedReal<'a>>,
    /// Serves while quorum is lost.
    pub sorry: Option<AcceptedReal<'a>>,
}

/// A real server that is served.
#[derive(Clone, Debug)]
pub struct AcceptedReal<'a> {
    pub key: RealKey,
    pub ident: RealIdent,
    pub addr: IpAddr,
    pub kind: Kind,
    /// With [`Kind::Tun`].
    pub tunnel: Tunnel,
    pub weight: u32,
    /// `inhibit_on_failure`.
    pub inhibit: bool,
    pub alpha: bool,
    /// Those that this version runs; a real server with none but others counts as up.
    pub checkers: Vec<&'a Checker>,
}

/// IPVS too translates within a family; tunnels may mix them.
const OTHER_FAMILY: &str = "not served: it is of another address family than its virtual server, which only TUN can bridge";

/// Whether a packet of the virtual server can get to it.
fn same_family(service: ServiceKey, ip: IpAddr, kind: Kind) -> bool {
    kind == Kind::Tun || service.addr.is_ipv6() == ip.is_ipv6()
}

/// What of `model` this version serves; the rest is told in `skipped`.
pub fn accepted<'a>(model: &'a model::Config, skipped: &mut Vec<Skipped>) -> Vec<Accepted<'a>> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for server in &model.virtual_servers {
        let ident = ServiceIdent { service: server.service.clone(), protocol: server.protocol };
        let mut skip =
            |what: String, why: &str| skipped.push(Skipped { what, why: why.to_owned() });
        let what = format!("virtual server {ident}");
        let Some(key) = ident.key() else {
            skip(what, &format!("not served: {}", unserved(server)));
            continue;
        };
        if !seen.insert(key) {
            skip(what, "not served: an earlier virtual server has this address, port and protocol");
            continue;
        }
        let reals = accepted_reals(key, server, &ident, &mut skip);
        if reals.is_empty() {
            skip(what, "not served: none of its real servers is");
            continue;
        }
        notes(server, &what, &mut skip);
        let sorry = sorry(key, server, &ident, &mut skip);
        list.push(Accepted { key, ident, server, reals, sorry });
    }
    list
}

fn unserved(server: &VirtualServer) -> &'static str {
    match (&server.service, server.protocol) {
        (ServiceMatch::Fwmark { .. }, _) => "this version has no services by mark",
        (ServiceMatch::Group { .. }, _) => "this version has no virtual server groups",
        (_, Some(Protocol::Sctp)) => "this version has no SCTP",
        _ => "it has no protocol",
    }
}

fn accepted_reals<'a>(
    key: ServiceKey,
    server: &'a VirtualServer,
    service: &ServiceIdent,
    skip: &mut impl FnMut(String, &str),
) -> Vec<AcceptedReal<'a>> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for real in &server.real_servers {
        let ident = RealIdent { ip: real.ip, port: real.port };
        let what = format!("real server {ident} of {service}");
        let real_key = ident.key(key);
        if !same_family(key, real.ip, real.kind) {
            skip(what, OTHER_FAMILY);
            continue;
        }
        if !seen.insert(real_key) {
            skip(what, "not served: an earlier real server has this address and port");
            continue;
        }
        if real.uthreshold > 0 || real.lthreshold > 0 {
            skip(what, "uthreshold and lthreshold are without effect in this version");
        }
        let built = real.checkers.iter().filter(|checker| check_is_built(&checker.kind));
        let checkers: Vec<_> = built.collect();
        list.push(AcceptedReal {
            key: real_key,
            ident,
            addr: real.ip,
            kind: real.kind,
            tunnel: real.tunnel.unwrap_or(Tunnel::Ipip),
            weight: real.weight,
            inhibit: real.inhibit_on_failure,
            alpha: real.alpha && !checkers.is_empty(),
            checkers,
        });
    }
    list
}

/// The sorry server: weight 1, never checked.
fn sorry<'a>(
    key: ServiceKey,
    server: &VirtualServer,
    service: &ServiceIdent,
    skip: &mut impl FnMut(String, &str),
) -> Option<AcceptedReal<'a>> {
    let sorry = server.sorry_server.as_ref()?;
    let ident = RealIdent { ip: sorry.ip, port: sorry.port };
    let what = format!("sorry_server {ident} of {service}");
    if !same_family(key, sorry.ip, sorry.kind) {
        skip(what, OTHER_FAMILY);
        return None;
    }
    let key = ident.key(key);
    let (kind, inhibit) = (sorry.kind, sorry.inhibit);
    Some(AcceptedReal {
        key,
        ident,
        addr: sorry.ip,
        kind,
        tunnel: sorry.tunnel.unwrap_or(Tunnel::Ipip),
        weight: 1,
        inhibit,
        alpha: false,
        checkers: Vec::new(),
    })
}

/// What a served virtual server asks for in vain.
fn notes(server: &VirtualServer, what: &str, skip: &mut impl FnMut(String, &str)) {
    if super::service::scheduler(server.scheduler).is_none() {
        let name = server.scheduler.name();
        skip(what.to_owned(), &format!("this version has no scheduler {name}: wlc is used"));
    }
    if server.flags.iter().any(|flag| flag == "ops") {
        skip(what.to_owned(), "one-packet scheduling (ops) is without effect in this version");
    }
    if server.persistence.as_ref().is_some_and(|persistence| persistence.engine.is_some()) {
        skip(what.to_owned(), "persistence_engine is without effect: clients are told by address");
    }
}
