//! What a reload would change, for people: `xlb plan FILE` and the log.

use std::fmt::Debug;

use super::event::{RealIdent, ServiceIdent};
use crate::config::model::{Config, RealServer, VirtualServer};

/// One line for each change, in the order of the new configuration, removals last. Empty: nothing changes.
pub fn lines(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    field(&mut lines, "global_defs", "", &old.globals, &new.globals);
    for server in &new.virtual_servers {
        let ident = service_ident(server);
        if let Some(before) = find_service(old, &ident) {
            service(&mut lines, &ident, before, server);
        } else {
            lines.push(format!("+ virtual_server {ident}"));
            lines.extend(server.real_servers.iter().map(|r| added(&ident, r)));
        }
    }
    for server in &old.virtual_servers {
        let ident = service_ident(server);
        if find_service(new, &ident).is_none() {
            lines.extend(server.real_servers.iter().map(|r| removed(&ident, r)));
            lines.push(format!("- virtual_server {ident}"));
        }
    }
    lines
}

fn service(
    lines: &mut Vec<String>,
    ident: &ServiceIdent,
    old: &VirtualServer,
    new: &VirtualServer,
) {
    let what = format!("virtual_server {ident}");
    name(lines, &what, "scheduler", old.scheduler.name(), new.scheduler.name());
    name(lines, &what, "kind", old.kind.name(), new.kind.name());
    field(lines, &what, "flags", &old.flags, &new.flags);
    field(lines, &what, "persistence", &old.persistence, &new.persistence);
    field(lines, &what, "quorum", &(old.quorum, old.hysteresis), &(new.quorum, new.hysteresis));
    field(lines, &what, "sorry_server", &old.sorry_server, &new.sorry_server);
    field(lines, &what, "local addresses", &old.local_addresses, &new.local_addresses);
    for real in &new.real_servers {
        match find_real(old, &real_ident(real)) {
            Some(before) => edited(lines, ident, before, real),
            None => lines.push(added(ident, real)),
        }
    }
    for real in &old.real_servers {
        if find_real(new, &real_ident(real)).is_none() {
            lines.push(removed(ident, real));
        }
    }
}

fn edited(lines: &mut Vec<String>, service: &ServiceIdent, old: &RealServer, new: &RealServer) {
    let what = format!("real_server {} of {service}", real_ident(new));
    field(lines, &what, "weight", &old.weight, &new.weight);
    name(lines, &what, "kind", old.kind.name(), new.kind.name());
    field(lines, &what, "inhibit_on_failure", &old.inhibit_on_failure, &new.inhibit_on_failure);
    field(lines, &what, "alpha", &old.alpha, &new.alpha);
    if old.checkers != new.checkers {
        let (before, after) = (old.checkers.len(), new.checkers.len());
        lines.push(if before == after {
            format!("~ {what}: checks edited")
        } else {
            format!("~ {what}: {before} checks -> {after}")
        });
    }
}

fn added(service: &ServiceIdent, real: &RealServer) -> String {
    let (ident, weight, kind) = (real_ident(real), real.weight, real.kind.name());
    format!("+ real_server {ident} of {service}: weight {weight}, {kind}")
}

fn removed(service: &ServiceIdent, real: &RealServer) -> String {
    format!("- real_server {} of {service}", real_ident(real))
}

fn name(lines: &mut Vec<String>, what: &str, field: &str, old: &str, new: &str) {
    if old != new {
        lines.push(format!("~ {what}: {field} {old} -> {new}"));
    }
}

fn field<T: PartialEq + Debug>(lines: &mut Vec<String>, what: &str, field: &str, old: &T, new: &T) {
    if old != new {
        let space = if field.is_empty() { "" } else { " " };
        lines.push(format!("~ {what}:{space}{field} {old:?} -> {new:?}"));
    }
}

fn service_ident(server: &VirtualServer) -> ServiceIdent {
    ServiceIdent { service: server.service.clone(), protocol: server.protocol }
}

fn real_ident(real: &RealServer) -> RealIdent {
    RealIdent { ip: real.ip, port: real.port }
}

fn find_service<'a>(config: &'a Config, ident: &ServiceIdent) -> Option<&'a VirtualServer> {
    config.virtual_servers.iter().find(|server| service_ident(server) == *ident)
}

fn find_real<'a>(server: &'a VirtualServer, ident: &RealIdent) -> Option<&'a RealServer> {
    server.real_servers.iter().find(|real| real_ident(real) == *ident)
}

#[cfg(test)]
mod tests;
