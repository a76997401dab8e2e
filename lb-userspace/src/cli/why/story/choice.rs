//! Which service it was, and why that real server: the templates' and the scheduler's part of the story.

use lb_common::abi::{FlowFlags, Load, Real, RealFlags, Scheduler, Service, Sticky};
use lb_common::wire::Port;

use super::{Around, Facts, at, made, matched, port_of, real_report, scheduler, service_report};
use crate::dataplane::rehearsal::Look;
use crate::stats::report::RealReport;

pub(super) fn service_steps(facts: &Facts<'_>, around: &Around, steps: &mut Vec<String>) {
    let looks = &facts.rehearsed.looks;
    let asked = looks.iter().any(|look| matches!(look, Look::Service { .. }));
    let Some((key, service)) = matched(looks) else {
        if asked {
            steps.push(format!(
                "no virtual server is at {} by {}, nor one for any port of that address",
                facts.packet.to,
                facts.packet.protocol.upper()
            ));
        }
        return;
    };
    let which = if key.port == Port::ZERO { "any port" } else { "exact port" };
    steps.push(format!(
        "virtual server {} by {} matches ({which}): {}",
        at(key.addr, key.port),
        facts.packet.protocol.upper(),
        scheduler(facts, Some(key), Some(service)),
    ));
    let by_template = template_step(looks, &service, around, steps);
    if !by_template {
        scheduler_step(facts, &service, around, steps);
        let of_report = service_report(facts, key);
        for (id, real, load) in &around.reals {
            if around.real.is_none_or(|(chosen, _)| chosen != *id) {
                let why = why_not(&service, real, *load, real_report(of_report, real));
                steps.push(format!("not {}: {why}", at(real.addr, real.port)));
            }
        }
    }
    if let (Some(flow), Some((_, real))) = (made(facts), around.real)
        && flow.rewrite.flags & FlowFlags::FULL_NAT != 0
    {
        steps.push(format!(
            "full-NAT: {} is free towards {}",
            at(flow.rewrite.src, flow.rewrite.sport),
            at(real.addr, port_of(facts, &real)),
        ));
    }
}

/// What the client's template says; whether it decides.
fn template_step(
    looks: &[Look],
    service: &Service,
    around: &Around,
    steps: &mut Vec<String>,
) -> bool {
    let Some((key, found)) = looks.iter().find_map(|look| match look {
        Look::Template { key, found } => Some((key, found)),
        _ => None,
    }) else {
        return false;
    };
    let client = key.client;
    let Some(Sticky { real, .. }) = found else {
        steps.push(format!("persistence: no template for client {client}"));
        return false;
    };
    let to = around.reals.iter().find(|(id, ..)| id == real);
    let to_text =
        to.map_or_else(|| "a removed one".to_owned(), |(_, r, _)| at(r.addr, r.port).to_string());
    let age = around.template.unwrap_or_default().as_secs();
    let asked =
        |look: &Look| matches!(look, Look::Turn { .. } | Look::Least { .. } | Look::Slot { .. });
    let decides = !looks.iter().any(asked) && service.slots_len > 0
        || around.real.is_some_and(|(id, _)| id == *real) && !looks.iter().any(asked);
    let and = if decides {
        "is kept to".to_owned()
    } else if to.is_none_or(|(_, real, _)| real.flags & RealFlags::UP == 0) {
        "is ignored: that real server is not up".to_owned()
    } else {
        "is too old".to_owned()
    };
    steps.push(format!(
        "persistence: client {client} has a template to {to_text}, last used {age} s ago, which {and}"
    ));
    decides
}

fn scheduler_step(facts: &Facts<'_>, service: &Service, around: &Around, steps: &mut Vec<String>) {
    if service.slots_len == 0 {
        steps.push("no real server may take new connections".to_owned());
        return;
    }
    let Some((id, real)) = around.real else { return };
    let looks = &facts.rehearsed.looks;
    let turn = looks.iter().find_map(|look| match look {
        Look::Turn { turn, .. } => turn.checked_rem(service.slots_len),
        _ => None,
    });
    let load = around.reals.iter().find(|(other, ..)| *other == id).map(|(.., load)| *load);
    let why = match (Scheduler::from_raw(service.scheduler), turn, load) {
        (Some(Scheduler::Cycle), Some(turn), _) => {
            format!("it is the turn of entry {} of {}", turn + 1, service.slots_len)
        }
        (Some(Scheduler::SourceHash), ..) => "the client's address hashes to it".to_owned(),
        (Some(Scheduler::DestinationHash), ..) => "the virtual address hashes to it".to_owned(),
        (_, _, Some(load)) => format!("least loaded: {}", loaded(&real, load)),
        _ => return,
    };
    steps.push(format!("the scheduler takes {}: {why}", at(real.addr, real.port)));
}

fn loaded(real: &Real, load: Load) -> String {
    format!("{} active, {} inactive, weight {}", load.active, load.inactive, real.weight)
}

/// Why a real server of the service was not taken.
fn why_not(service: &Service, real: &Real, load: Load, report: Option<&RealReport>) -> String {
    if real.flags & RealFlags::UP == 0 {
        return match report {
            Some(report) if !report.health_reason.is_empty() => {
                // What a checked server answered may be part of it; the terminal is not its to control.
                format!("down: {}", report.health_reason.escape_debug())
            }
            _ => "down".to_owned(),
        };
    }
    if report.is_some_and(|report| report.draining) {
        return "draining: it keeps its connections and takes no new ones".to_owned();
    }
    if real.weight == 0 {
        return "weight 0: it keeps its connections and takes no new ones".to_owned();
    }
    match Scheduler::from_raw(service.scheduler) {
        _ if service.slots_len == 0 => "it takes no new connections now".to_owned(),
        Some(Scheduler::Cycle) => "not its turn".to_owned(),
        Some(Scheduler::Lc | Scheduler::Wlc) => format!("no less loaded: {}", loaded(real, load)),
        Some(Scheduler::SourceHash | Scheduler::DestinationHash) => {
            "the hash names another".to_owned()
        }
        None => "the scheduler is not known".to_owned(),
    }
}
