//! Which virtual servers this version serves, and how each lies in the tables.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use lb_common::abi::{Scheduler, ServiceFlags, ServiceKey, limits};
use lb_common::wire::Addr4;

use super::{DesiredReal, DesiredService, Inputs, Skipped, layout, real, ticks};
use crate::config::model::{
    self, Granularity, Kind, Protocol, RealServer, ServiceMatch, VirtualServer,
};
use crate::control::error::ControlError;
use crate::control::event::{RealIdent, ServiceIdent};
use crate::control::ids::{Ids, RealKey};
use crate::control::slots;

/// A virtual server that is served, with those of its real servers that are.
#[derive(Clone, Debug)]
pub struct Accepted<'a> {
    pub key: ServiceKey,
    pub ident: ServiceIdent,
    pub server: &'a VirtualServer,
    pub reals: Vec<AcceptedReal<'a>>,
}

/// A real server that is served.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedReal<'a> {
    pub key: RealKey,
    pub ident: RealIdent,
    pub addr: Ipv4Addr,
    pub server: &'a RealServer,
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
        list.push(Accepted { key, ident, server, reals });
    }
    list
}

fn unserved(server: &VirtualServer) -> &'static str {
    match (&server.service, server.protocol) {
        (ServiceMatch::Fwmark { .. }, _) => "this version has no services by mark",
        (ServiceMatch::Group { .. }, _) => "this version has no virtual server groups",
        (ServiceMatch::Address { ip: IpAddr::V6(_), .. }, _) => "this version forwards IPv4 only",
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
        let (IpAddr::V4(addr), Some(real_key)) = (real.ip, ident.key(key)) else {
            skip(what, "not served: this version forwards IPv4 only");
            continue;
        };
        match real.kind {
            Kind::Nat | Kind::FullNat => {}
            kind @ (Kind::Dr | Kind::Tun) => {
                skip(what, &format!("not served: this version has no {}", kind.name()));
                continue;
            }
        }
        if !seen.insert(real_key) {
            skip(what, "not served: an earlier real server has this address and port");
            continue;
        }
        if real.uthreshold > 0 || real.lthreshold > 0 {
            skip(what, "uthreshold and lthreshold are without effect in this version");
        }
        list.push(AcceptedReal { key: real_key, ident, addr, server: real });
    }
    list
}

/// What a served virtual server asks for in vain.
fn notes(server: &VirtualServer, what: &str, skip: &mut impl FnMut(String, &str)) {
    if scheduler(server.scheduler).is_none() {
        let name = server.scheduler.name();
        skip(what.to_owned(), &format!("this version has no scheduler {name}: wlc is used"));
    }
    if server.flags.iter().any(|flag| flag == "ops") {
        skip(what.to_owned(), "one-packet scheduling (ops) is without effect in this version");
    }
    if server.sorry_server.is_some() {
        skip(what.to_owned(), "sorry_server is without effect in this version");
    }
    if server.persistence.as_ref().is_some_and(|persistence| persistence.engine.is_some()) {
        skip(what.to_owned(), "persistence_engine is without effect: clients are told by address");
    }
}

/// The program's scheduler; `None`: this version has none of that name.
fn scheduler(scheduler: model::Scheduler) -> Option<Scheduler> {
    Some(match scheduler {
        model::Scheduler::Rr | model::Scheduler::Wrr => Scheduler::Cycle,
        model::Scheduler::Lc => Scheduler::Lc,
        model::Scheduler::Wlc => Scheduler::Wlc,
        model::Scheduler::Sh => Scheduler::SourceHash,
        model::Scheduler::Dh => Scheduler::DestinationHash,
        _ => return None,
    })
}

/// The tables of a virtual server.
pub(super) fn build(
    inputs: &Inputs<'_>,
    accepted: &Accepted<'_>,
    ids: &mut Ids,
) -> Result<DesiredService, ControlError> {
    let server = accepted.server;
    let layout = layout(server.scheduler, &server.flags);
    let slots_error = |source| ControlError::Slots { service: accepted.ident.to_string(), source };
    slots::check(layout, accepted.reals.len()).map_err(slots_error)?;
    let id = ids.service(accepted.key).map_err(|_| ControlError::TooManyServices {
        wanted: inputs.model.virtual_servers.len(),
        limit: limits::SERVICES,
    })?;
    let mut built = Vec::with_capacity(accepted.reals.len());
    for real in &accepted.reals {
        built.push(real::build(inputs, accepted, real, id, ids)?);
    }
    let hash_port = server.scheduler == model::Scheduler::Sh
        && server.flags.iter().any(|flag| flag == "flag-2");
    let (sticky_ticks, sticky_mask) = stickiness(inputs, server);
    Ok(DesiredService {
        key: accepted.key,
        id,
        scheduler: scheduler(server.scheduler).unwrap_or(Scheduler::Wlc),
        // sh-port is the schedulers' flag 2 (IP_VS_SVC_F_SCHED_SH_PORT).
        flags: if hash_port { ServiceFlags::HASH_PORT } else { 0 },
        sticky_ticks,
        sticky_mask,
        slots: slots::table(layout, &candidates(&built)),
        reals: built.into_iter().map(|built| built.real).collect(),
    })
}

/// Who is in IPVS's list: all that are up. A server that nobody could reach yet waits outside as long as
/// another can be reached.
fn candidates(built: &[real::Built]) -> Vec<(lb_common::abi::RealId, u32)> {
    let entry = |built: &real::Built| {
        let DesiredReal { id, real, .. } = &built.real;
        (*id, real.weight)
    };
    let listed = || built.iter().filter(|built| built.listed);
    if listed().any(|built| built.reachable && built.real.real.weight > 0) {
        listed().filter(|built| built.reachable).map(entry).collect()
    } else {
        listed().map(entry).collect()
    }
}

fn stickiness(inputs: &Inputs<'_>, server: &VirtualServer) -> (u32, Addr4) {
    let Some(persistence) = &server.persistence else { return (0, Addr4::UNSPECIFIED) };
    let mask = match persistence.granularity {
        Granularity::Mask4(mask) => Addr4::from(mask),
        Granularity::Prefix6(_) => Addr4([0xff; 4]),
    };
    (ticks(persistence.timeout, inputs.host).max(1), mask)
}
