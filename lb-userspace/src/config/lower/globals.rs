//! `global_defs` and `SSL`. keepalived-spec section 5.

use std::time::Duration;

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::keywords::{Block, Class};
use super::super::model::{Globals, ReplyPath};
use super::super::source::Span;
use super::known;
use super::values::{Out, bad, bad_value, boolean, number, uint};

/// keepalived's upper bound of `lvs_timeouts`: 31 days.
const LONGEST_TIMEOUT: u64 = 2_678_400;

pub(super) fn read(
    out: &mut Out,
    block: &Statement,
    globals: &mut Globals,
    words: &mut Vec<(Block, &'static str, Span)>,
) {
    for statement in block.statements() {
        if !known(out, statement, Block::GlobalDefs) {
            continue;
        }
        let Some(keyword) = statement.known.filter(|keyword| keyword.class != Class::WithoutEffect)
        else {
            continue;
        };
        let counts = match statement.name() {
            // keepalived forgives these the missing word.
            "router_id"
            | "notification_email_from"
            | "lvs_sync_daemon"
            | "notify_fifo"
            | "notify_fifo_script"
            | "lvs_notify_fifo"
            | "lvs_notify_fifo_script"
            | "startup_script"
            | "shutdown_script"
            | "snmp_socket"
                if statement.arguments.is_empty() =>
            {
                bad(out, statement, 0, "an argument");
                false
            }
            "router_id" => {
                globals.router_id = statement.argument(0).map(str::to_owned);
                true
            }
            "lvs_timeouts" => {
                timeouts(out, statement, globals);
                true
            }
            "lvs_sync_daemon" => {
                out.push(
                    Diag::new(
                        Code::SyncIgnored,
                        statement.span(),
                        "connections are not synchronised between directors",
                    )
                    .note("tied to a VRRP instance, the daemon has nobody left to start it"),
                );
                true
            }
            "script_user" => {
                match statement.argument(0) {
                    Some(user) => {
                        globals.script_user =
                            Some((user.to_owned(), statement.argument(1).map(str::to_owned)));
                    }
                    None => bad(out, statement, 0, "a user"),
                }
                true
            }
            "enable_script_security" => {
                globals.script_security = true;
                true
            }
            "rs_init_notifies" => {
                globals.rs_init_notifies =
                    boolean(out, statement).unwrap_or(globals.rs_init_notifies);
                true
            }
            "lvs_flush_on_stop" | "lvs_flush_onstop" => {
                if !matches!(statement.argument(0), None | Some("VS")) {
                    bad(out, statement, 0, "VS or nothing");
                }
                true
            }
            "xlb_reply_path" => {
                reply_path(out, statement, globals);
                true
            }
            "include_check" => {
                include_check(out, statement);
                true
            }
            "checker_log_all_failures" => {
                globals.log_all_failures =
                    boolean(out, statement).unwrap_or(globals.log_all_failures);
                true
            }
            "smtp_alert" | "smtp_alert_checker" | "no_checker_emails" => {
                boolean(out, statement) == Some(true)
            }
            "smtp_connect_timeout" => number(out, statement, 0, 4294).is_some(),
            "startup_script_timeout" | "shutdown_script_timeout" => {
                number(out, statement, 1, 1000).is_some()
            }
            // An empty list sends no mail.
            "notification_email" => {
                if statement.statements().is_empty() {
                    out.push(bad_value(statement, 0, "at least one address in the block"));
                }
                !statement.statements().is_empty()
            }
            _ => true,
        };
        if counts {
            words.push((Block::GlobalDefs, keyword.name, statement.keyword.span));
        }
    }
}

fn reply_path(out: &mut Out, statement: &Statement, globals: &mut Globals) {
    let word = statement.argument(0).unwrap_or("");
    let names = ReplyPath::ALL.map(ReplyPath::name);
    match ReplyPath::ALL.into_iter().find(|path| path.name() == word) {
        Some(path) => globals.reply_path = path,
        None => out.push(bad_value(statement, 0, "strict or any").suggest(word, names)),
    }
}

fn include_check(out: &mut Out, statement: &Statement) {
    const KINDS: [&str; 5] = ["read", "readable", "match", "wildcard_match", "brace_match"];
    for (index, word) in statement.arguments.iter().enumerate() {
        if !KINDS.contains(&word.text.trim_start_matches(['+', '-'])) {
            bad(out, statement, index, "read, match, wildcard_match or brace_match");
        }
    }
}

fn timeouts(out: &mut Out, statement: &Statement, globals: &mut Globals) {
    if statement.arguments.len() < 2 {
        bad(out, statement, 0, "tcp N, tcpfin N or udp N");
        return;
    }
    let mut at = 0;
    while let Some(word) = statement.argument(at) {
        let slot = match word {
            "tcp" => &mut globals.timeout_tcp,
            "tcpfin" => &mut globals.timeout_tcp_fin,
            "udp" => &mut globals.timeout_udp,
            _ => {
                bad(out, statement, at, "tcp, tcpfin or udp");
                at += 1;
                continue;
            }
        };
        match statement
            .argument(at + 1)
            .and_then(uint)
            .filter(|seconds| *seconds <= LONGEST_TIMEOUT)
        {
            Some(seconds) => *slot = Some(Duration::from_secs(seconds)),
            None => bad(out, statement, at + 1, "seconds from 0 to 2678400"),
        }
        at += 2;
    }
}

pub(super) fn read_ssl(out: &mut Out, block: &Statement, globals: &mut Globals) {
    for statement in block.statements() {
        if !known(out, statement, Block::Ssl) {
            continue;
        }
        let value = statement.argument(0).map(str::to_owned);
        match statement.name() {
            "password" => globals.ssl.password = value,
            "ca" => globals.ssl.ca = value,
            "certificate" => globals.ssl.certificate = value,
            "key" => globals.ssl.key = value,
            _ => {}
        }
    }
}
