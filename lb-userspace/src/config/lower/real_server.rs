//! `real_server`: its header and its own words. keepalived-spec section 8.

use super::super::ast::Statement;
use super::super::keywords::Block;
use super::draft::{RealServer, Timers, Uses};
use super::values::{Out, boolean, ip_port, number32};
use super::virtual_server::{host_name, snmp_name, timers};
use super::{checkers, forwarding, known, scripts};

/// Reads a real server; `None` if its header loses it.
pub(super) fn read(out: &mut Out, block: &Statement) -> Option<RealServer> {
    let (ip, port) = ip_port(out, block, 0, "the real server is dropped")?;
    let mut server = RealServer {
        span: block.span(),
        ip,
        port,
        weight: None,
        forwarding: None,
        inhibit_on_failure: None,
        alpha: None,
        timers: Timers::default(),
        uthreshold: 0,
        lthreshold: 0,
        notify_up: None,
        notify_down: None,
        virtualhost: None,
        checkers: Vec::new(),
        uses: Uses::new(),
    };
    for statement in block.statements() {
        if known(out, statement, Block::RealServer) {
            statement_in(out, statement, &mut server);
        }
    }
    Some(server)
}

fn statement_in(out: &mut Out, statement: &Statement, server: &mut RealServer) {
    let Some(keyword) = statement.known else { return };
    server.uses.push((keyword.name, statement.keyword.span));
    if let Some(block) = keyword.opens {
        server.checkers.extend(checkers::read(out, statement, block));
        return;
    }
    match statement.name() {
        "weight" => server.weight = number32(out, statement, 0, 2_147_483_647).or(server.weight),
        "lvs_method" => server.forwarding = forwarding::read(out, statement).or(server.forwarding),
        "inhibit_on_failure" => {
            server.inhibit_on_failure = boolean(out, statement).or(server.inhibit_on_failure);
        }
        "alpha" => server.alpha = boolean(out, statement).or(server.alpha),
        "delay_loop" | "connect_timeout" | "retry" | "delay_before_retry" | "warmup" => {
            timers(out, statement, &mut server.timers, 1);
        }
        "uthreshold" => {
            server.uthreshold = number32(out, statement, 0, u32::MAX).unwrap_or(server.uthreshold);
        }
        "lthreshold" => {
            server.lthreshold = number32(out, statement, 0, u32::MAX).unwrap_or(server.lthreshold);
        }
        "notify_up" => scripts::read_once(out, statement, &mut server.notify_up),
        "notify_down" => scripts::read_once(out, statement, &mut server.notify_down),
        "virtualhost" => host_name(out, statement, &mut server.virtualhost),
        "snmp_name" => snmp_name(out, statement),
        "smtp_alert" => {
            boolean(out, statement);
        }
        _ => {}
    }
}
