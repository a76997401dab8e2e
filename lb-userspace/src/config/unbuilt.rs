//! What the language knows but this version of xlb does not do yet, said as `not-built-yet` warnings.
//!
//! A pass of its own over the model and the places of words. Building a feature means deleting its row or arm here;
//! nothing else in `config` changes.

use super::diag::{Code, Diag};
use super::keywords::Block;
use super::lower::{Places, RealPlace, ServerPlace};
use super::model::{
    CheckKind, Config, GroupMember, Protocol, RealServer, Scheduler, ServiceMatch, VirtualServer,
};
use super::source::Span;

/// Keywords without effect so far, and what that means for the operator.
const KEYWORDS: &[(Block, &str, &str)] = &[
    (Block::Top, "xlb_mark", "packets are not marked"),
    (Block::GlobalDefs, "notification_email", "no mail is sent"),
    (Block::GlobalDefs, "lvs_sync_daemon", "connections are not synchronised"),
    (Block::GlobalDefs, "notify_fifo", "no events are written"),
    (Block::GlobalDefs, "notify_fifo_script", "the script is not run"),
    (Block::GlobalDefs, "lvs_notify_fifo", "no events are written"),
    (Block::GlobalDefs, "lvs_notify_fifo_script", "the script is not run"),
    (Block::GlobalDefs, "startup_script", "the script is not run"),
    (Block::GlobalDefs, "shutdown_script", "the script is not run"),
    (Block::GlobalDefs, "enable_snmp_checker", "there is no SNMP"),
    (Block::GlobalDefs, "enable_traps", "there is no SNMP"),
    (Block::GlobalDefs, "snmp_socket", "there is no SNMP"),
    (Block::VirtualServer, "persistence_engine", "clients are kept by address only"),
    (Block::VirtualServer, "flag-3", "the flag has no effect"),
    (Block::VirtualServer, "mh-port", "the flag has no effect"),
    (Block::VirtualServer, "mh-fallback", "the flag has no effect"),
    (Block::VirtualServer, "ops", "a client port's datagrams stay with one real server"),
    (Block::VirtualServer, "omega", "no scripts are run on shutdown"),
    (Block::VirtualServer, "quorum_up", "the script is not run"),
    (Block::VirtualServer, "quorum_down", "the script is not run"),
    (Block::VirtualServer, "ha_suspend", "checks run whoever holds the address"),
    (Block::RealServer, "uthreshold", "connections are not limited"),
    (Block::RealServer, "lthreshold", "connections are not limited"),
    (Block::RealServer, "notify_up", "the script is not run"),
    (Block::RealServer, "notify_down", "the script is not run"),
    (Block::RealServer, "HTTP_GET", "the check is not run"),
    (Block::RealServer, "SSL_GET", "the check is not run"),
    (Block::RealServer, "SMTP_CHECK", "the check is not run"),
    (Block::RealServer, "DNS_CHECK", "the check is not run"),
    (Block::RealServer, "UDP_CHECK", "the check is not run"),
    (Block::RealServer, "PING_CHECK", "the check is not run"),
    (Block::RealServer, "MISC_CHECK", "the check is not run"),
];

const SCHEDULERS: &[Scheduler] = &[
    Scheduler::Lblc,
    Scheduler::Lblcr,
    Scheduler::Mh,
    Scheduler::Sed,
    Scheduler::Nq,
    Scheduler::Fo,
    Scheduler::Ovf,
    Scheduler::Twos,
];

const PROTOCOLS: &[Protocol] = &[Protocol::Sctp];

/// What a keyword lacks so far; `None`: it works.
pub fn keyword(block: Block, name: &str) -> Option<&'static str> {
    KEYWORDS.iter().find(|row| row.0 == block && row.1 == name).map(|row| row.2)
}

/// Whether this version runs such checks. A real server none of whose checks is run counts as up.
pub fn check_is_built(kind: &CheckKind) -> bool {
    keyword(Block::RealServer, kind.name()).is_none()
}

/// Whether this version can serve a virtual server at all, whatever it leaves out.
pub fn service_is_built(server: &VirtualServer) -> bool {
    service(server).is_empty()
}

/// What keeps a service from being served: the keyword it stands at, and a sentence.
fn service(server: &VirtualServer) -> Vec<(&'static [&'static str], String)> {
    let mut lacks = Vec::new();
    match &server.service {
        ServiceMatch::Address { .. } => {}
        ServiceMatch::Fwmark { .. } => {
            lacks.push((&[][..], "services by firewall mark are".to_owned()));
        }
        ServiceMatch::Group { members, .. } => {
            let marks = members.iter().any(|member| matches!(member, GroupMember::Fwmark { .. }));
            let what =
                if marks { "groups with firewall marks are" } else { "groups of addresses are" };
            lacks.push((&[], what.to_owned()));
        }
    }
    if let Some(protocol) = server.protocol.filter(|protocol| PROTOCOLS.contains(protocol)) {
        lacks.push((&["protocol"], format!("protocol {} is", protocol.name().to_uppercase())));
    }
    lacks
}

/// All there is to say about a configuration.
pub(super) fn check(config: &Config, places: &Places) -> Vec<Diag> {
    let mut out = Vec::new();
    for (block, name, span) in &places.uses {
        if let Some(effect) = keyword(*block, name) {
            out.push(no_effect(name, effect, *span));
        }
    }
    for (server, place) in config.virtual_servers.iter().zip(&places.virtual_servers) {
        virtual_server(&mut out, server, place);
    }
    out
}

fn no_effect(name: &str, effect: &str, span: Span) -> Diag {
    Diag::new(
        Code::NotBuiltYet,
        span,
        format!("`{name}` is not built in this version of xlb: {effect}"),
    )
}

/// Where one of `words` stands last in the block, else the block itself.
fn place_of(place: &ServerPlace, words: &[&str]) -> Span {
    let mut uses = place.uses.iter().rev();
    uses.find(|(name, _)| words.contains(name)).map_or(place.span, |(_, span)| *span)
}

fn virtual_server(out: &mut Vec<Diag>, server: &VirtualServer, place: &ServerPlace) {
    if SCHEDULERS.contains(&server.scheduler) {
        let message = format!(
            "scheduler `{}` is not built in this version of xlb: wlc takes its place",
            server.scheduler.name()
        );
        out.push(Diag::new(Code::NotBuiltYet, place_of(place, &["lb_algo", "lvs_sched"]), message));
    }
    for (words, what) in service(server) {
        let span = place_of(place, words);
        let message =
            format!("{what} not built in this version of xlb: the virtual server is not served");
        out.push(Diag::new(Code::NotBuiltYet, span, message));
    }
    for (name, span) in &place.uses {
        // Of sh these are fallback and port, which are built.
        let flag = matches!(*name, "flag-1" | "flag-2") && server.scheduler != Scheduler::Sh;
        match keyword(Block::VirtualServer, name) {
            Some(effect) => out.push(no_effect(name, effect, *span)),
            None if flag => out.push(no_effect(name, "the flag has no effect", *span)),
            None => {}
        }
    }
    for (real, place) in server.real_servers.iter().zip(&place.real_servers) {
        real_server(out, real, place);
    }
}

fn real_server(out: &mut Vec<Diag>, real: &RealServer, place: &RealPlace) {
    let checks_left = real.checkers.iter().any(|checker| check_is_built(&checker.kind));
    for (name, span) in &place.uses {
        let Some(effect) = keyword(Block::RealServer, name) else { continue };
        let diag = no_effect(name, effect, *span);
        out.push(if name.contains("_CHECK") || name.ends_with("_GET") {
            let help = "add a TCP_CHECK to notice at least a closed port";
            if checks_left {
                diag
            } else {
                diag.note("the real server counts as always up").help(help)
            }
        } else {
            diag
        });
    }
}
