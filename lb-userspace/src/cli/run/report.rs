//! What `xlb stats` and `xlb list` show: the control plane's view with the tables' numbers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lb_common::abi::{Method, Notice, RealCounters, RealId};
use lb_common::wire::Addr6;

use super::owner::Owner;
use crate::config::model::Granularity;
use crate::control::Status;
use crate::control::view::{RealView, ServiceView, View};
use crate::dataplane::read::RealLoad;
use crate::dataplane::table::TableError;
use crate::stats::listing::{ListedReal, ListedService, Listing};
use crate::stats::report::{
    Counters, Fill, Health, Kind, Protocol, RealReport, Report, SCHEMA, ServiceReport, SnatReport,
    Tables, Tally, TemplateFill,
};

/// `xlb stats`.
pub(super) fn stats(owner: &Owner) -> Result<Report, TableError> {
    let view = owner.view();
    let reasons = owner.reader.reasons()?;
    let at = |slot: u32| reasons[slot as usize];
    let modes = owner.dataplane.attached().iter();
    Ok(Report {
        schema: SCHEMA,
        instance: owner.args.instance.instance.clone(),
        mode: modes.map(|on| (on.interface.clone(), on.mode.name().to_owned())).collect(),
        generation: view.generation,
        uptime_s: owner.started.elapsed().as_secs_f64(),
        services: view
            .services
            .iter()
            .map(|service| service_report(owner, &view, service))
            .collect::<Result<_, _>>()?,
        drops: Tally::of_drops(|reason| at(reason.slot())),
        passes: Tally::of_passes(|reason| at(reason.slot())),
        notices: Tally::of_notices(|notice| at(notice.slot())),
        tables: tables(owner, at(Notice::TemplateTableFull.slot()))?,
        snat: snat(owner),
    })
}

fn tables(owner: &Owner, refused: u64) -> Result<Tables, TableError> {
    let capacity = owner.dataplane.capacity();
    let fill = |used: u32, capacity: u32| Fill { used: used.into(), capacity: capacity.into() };
    Ok(Tables {
        established: fill(owner.reader.flows()?, capacity.flows),
        half_open: fill(owner.reader.count_half_open()?, capacity.half_open),
        templates: TemplateFill {
            used: owner.reader.count_templates()?.into(),
            capacity: capacity.templates.into(),
            refused,
        },
        fragments: fill(owner.reader.count_fragments()?, capacity.fragments),
    })
}

fn service_report(
    owner: &Owner,
    view: &View,
    service: &ServiceView,
) -> Result<ServiceReport, TableError> {
    let mut sum = owner.reader.retired_counters(&service.key)?;
    let removed: Vec<RealId> = view
        .tombstones
        .iter()
        .filter(|(_, real)| real.service == service.key)
        .map(|(id, _)| *id)
        .collect();
    for counters in owner.reader.real_counters(&removed)? {
        sum += counters;
    }
    let mut reals = Vec::new();
    for real in service.reals.iter().chain(&service.sorry) {
        let (counters, load) = numbers(owner, real)?;
        sum += counters;
        reals.push(real_report(real, counters, load));
    }
    Ok(ServiceReport {
        address: Some(service.key.addr.into()),
        port: Some(service.key.port.get()),
        protocol: Protocol::from_number(service.key.proto),
        fwmark: None,
        group: None,
        scheduler: service.scheduler.to_owned(),
        flags: service.flags.clone(),
        kind: Kind::from(service.kind),
        persistence_s: service.persistence.as_ref().map(|how| how.timeout.as_secs()),
        quorum_up: service.quorum_up,
        sorry_active: service.sorry_active,
        counters: Counters::from(sum),
        reals,
    })
}

fn numbers(owner: &Owner, real: &RealView) -> Result<(RealCounters, RealLoad), TableError> {
    let Some(id) = real.id else { return Ok(Default::default()) };
    let counters = owner.reader.real_counters(&[id])?.pop().unwrap_or_default();
    let load = owner.reader.loads(&[id])?.pop().unwrap_or_default();
    Ok((counters, load))
}

fn real_report(real: &RealView, counters: RealCounters, load: RealLoad) -> RealReport {
    RealReport {
        address: real.ident.ip,
        port: real.ident.port,
        weight: real.weight,
        effective_weight: real.effective_weight,
        health: match real.health {
            Some(Status::Up) => Health::Up,
            None if real.up => Health::Unknown,
            Some(Status::Down) | None => Health::Down,
        },
        health_reason: if real.reachable {
            real.health_reason.clone()
        } else {
            format!("{}; its neighbour does not answer", real.health_reason)
        },
        since_s: real.since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
        draining: real.draining,
        active: load.active,
        inactive: load.inactive + load.half_open,
        counters: Counters::from(counters),
    }
}

/// `xlb list`: what `ipvsadm -Ln` would show, so without real servers that are down.
pub(super) fn list(owner: &Owner) -> Result<Listing, TableError> {
    let services = owner.view().services;
    let listed = services.iter().map(|service| listed_service(owner, service));
    Ok(Listing {
        size: owner.dataplane.capacity().flows.into(),
        services: listed.collect::<Result<_, _>>()?,
    })
}

fn listed_service(owner: &Owner, service: &ServiceView) -> Result<ListedService, TableError> {
    let mut reals = Vec::new();
    let in_pool = service.reals.iter().filter(|real| in_pool(owner, real));
    let sorry = service.sorry.iter().filter(|_| service.sorry_active);
    for real in in_pool.chain(sorry) {
        let (_, load) = numbers(owner, real)?;
        reals.push(ListedReal {
            address: real.ident.ip,
            port: real.ident.port,
            kind: Kind::from(real.kind),
            weight: real.effective_weight,
            active: load.active,
            inactive: load.inactive + load.half_open,
        });
    }
    let persistence = service.persistence.as_ref();
    Ok(ListedService {
        address: Some(service.key.addr.into()),
        port: Some(service.key.port.get()),
        protocol: Protocol::from_number(service.key.proto),
        fwmark: None,
        fwmark_v6: false,
        scheduler: service.scheduler.to_owned(),
        flags: service.flags.clone(),
        persistence_s: persistence.map(|how| how.timeout.as_secs()),
        persistence_mask: persistence.and_then(|how| match how.granularity {
            Granularity::Mask4(mask) if mask == Ipv4Addr::BROADCAST => None,
            Granularity::Mask4(mask) => Some(mask.to_string()),
            Granularity::Prefix6(128) => None,
            Granularity::Prefix6(bits) => Some(bits.to_string()),
        }),
        persistence_engine: None,
        reals,
    })
}

/// Whether the program may lead new flows or templates to a real server.
fn in_pool(owner: &Owner, real: &RealView) -> bool {
    let flags = real.id.and_then(|id| owner.state.mirror().reals.get(&id)).map(|real| real.flags);
    flags.is_some_and(|flags| flags & lb_common::abi::RealFlags::UP != 0)
}

/// Each full-NAT source address: what uses it, and how many connections could.
fn snat(owner: &Owner) -> Vec<SnatReport> {
    let mirror = owner.state.mirror();
    let mut all: BTreeMap<Addr6, (u64, u64)> = BTreeMap::new();
    for (start, addresses) in &mirror.locals {
        let users = mirror.reals.values().filter(|real| {
            real.method == Method::FullNat as u8 && real.locals_at == *start && real.locals_len > 0
        });
        let capacity = u64::from(mirror.config.ports) * users.count() as u64;
        for (index, local) in (*start..).zip(addresses) {
            let used = owner.sweep.locals_used.get(&index).copied().unwrap_or(0);
            let sum = all.entry(*local).or_default();
            *sum = (sum.0 + u64::from(used), sum.1 + capacity);
        }
    }
    all.into_iter()
        .map(|(local, (used, capacity))| SnatReport { address: local.into(), used, capacity })
        .collect()
}
