//! Checkers: their common words and those of the small ones. keepalived-spec section 9.

use std::time::Duration;

use super::super::ast::Statement;
use super::super::diag::{Code, Diag, Level};
use super::super::keywords::{self, Block};
use super::super::model::{CheckKind, HttpCheck, MiscCheck, UdpCheck};
use super::draft::{Checker, Connection, Timers};
use super::values::{Out, bad, bad_value, boolean, ip, number, number32};
use super::virtual_server::{host_name, timers};
use super::{http, known, scripts};

const DNS_TYPES: [&str; 9] = ["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"];
const HELO: &str = "smtpchecker.keepalived.org";
/// Longest interface name.
const MOST_INTERFACE: usize = 15;

/// Reads the checker in `block`; none if it can't be used, several for the old form of `SMTP_CHECK`.
pub(super) fn read(out: &mut Out, statement: &Statement, block: Block) -> Vec<Checker> {
    match block {
        Block::SmtpCheck => return smtp(out, statement),
        Block::BfdCheck | Block::FileCheck => {
            for inner in statement.statements() {
                known(out, inner, block);
            }
            let message = format!(
                "`{}` needs keepalived's other parts; the real server counts as if it were absent",
                block.name()
            );
            out.push(Diag::new(Code::CheckerUnsupported, statement.keyword.span, message));
            return Vec::new();
        }
        _ => {}
    }
    let mut checker = Checker {
        span: statement.keyword.span,
        timers: Timers::default(),
        alpha: None,
        log_all_failures: None,
        connection: Connection::default(),
        virtualhost: None,
        misc_timeout: None,
        kind: kind(block),
    };
    for inner in statement.statements() {
        if known(out, inner, block) && !common(out, inner, &mut checker) {
            own(out, inner, block, &mut checker);
        }
    }
    if let CheckKind::Udp(udp) = &checker.kind
        && udp.min_reply_length > udp.max_reply_length
    {
        let message = "min_reply_length is above max_reply_length: the check can never pass";
        out.push(Diag::new(Code::BadValue, statement.keyword.span, message));
    }
    let missing = match &checker.kind {
        CheckKind::Http(HttpCheck { urls, .. }) if urls.is_empty() => "`url` with a `path`",
        CheckKind::Misc(MiscCheck { argv, .. }) if argv.is_empty() => "`misc_path`",
        _ => return vec![checker],
    };
    let message = format!("`{}` without {missing} is dropped", block.name());
    out.push(Diag::new(Code::CheckerIgnored, statement.keyword.span, message));
    Vec::new()
}

fn kind(block: Block) -> CheckKind {
    match block {
        Block::HttpGet => CheckKind::Http(http::new(false)),
        Block::SslGet => CheckKind::Http(http::new(true)),
        Block::DnsCheck => CheckKind::Dns { qtype: "SOA".to_owned(), qname: ".".to_owned() },
        Block::UdpCheck => CheckKind::Udp(UdpCheck {
            payload: None,
            reply: None,
            require_reply: false,
            min_reply_length: 0,
            max_reply_length: 255,
        }),
        Block::PingCheck => CheckKind::Ping,
        Block::MiscCheck => CheckKind::Misc(MiscCheck {
            argv: Vec::new(),
            timeout: Duration::ZERO,
            dynamic: false,
            user: None,
            group: None,
        }),
        Block::SmtpCheck => CheckKind::Smtp { helo_name: HELO.to_owned() },
        _ => CheckKind::Tcp,
    }
}

/// Words that all or all network checkers share; false if it is none of them.
fn common(out: &mut Out, statement: &Statement, checker: &mut Checker) -> bool {
    match statement.name() {
        "retry" | "delay_before_retry" | "warmup" | "delay_loop" | "connect_timeout" => {
            timers(out, statement, &mut checker.timers, 0);
        }
        "alpha" => checker.alpha = boolean(out, statement).or(checker.alpha),
        "log_all_failures" => {
            checker.log_all_failures = boolean(out, statement).or(checker.log_all_failures);
        }
        _ => return connection(out, statement, &mut checker.connection),
    }
    true
}

fn connection(out: &mut Out, statement: &Statement, connection: &mut Connection) -> bool {
    match statement.name() {
        "connect_ip" => connection.connect_ip = address(out, statement).or(connection.connect_ip),
        "connect_port" => {
            connection.connect_port = port(out, statement).or(connection.connect_port);
        }
        "bindto" => {
            let address = address(out, statement).map(|ip| (ip, statement.span()));
            connection.bindto = address.or(connection.bindto);
        }
        "bind_port" => connection.bind_port = port(out, statement).or(connection.bind_port),
        "bind_if" => match statement.argument(0) {
            Some(name) if (1..=MOST_INTERFACE).contains(&name.len()) => {
                connection.bind_if = Some(name.to_owned());
            }
            _ => bad(out, statement, 0, "the name of an interface, at most 15 characters"),
        },
        "fwmark" => connection.fwmark = number32(out, statement, 0, u32::MAX).or(connection.fwmark),
        _ => return false,
    }
    true
}

fn address(out: &mut Out, statement: &Statement) -> Option<std::net::IpAddr> {
    let word = statement.argument(0).unwrap_or("");
    let address = ip(word);
    if address.is_none() {
        let message = format!("`{word}` is not an address; the statement has no effect");
        out.push(Diag::new(Code::BadAddress, statement.argument_span(0), message));
    }
    address
}

fn port(out: &mut Out, statement: &Statement) -> Option<u16> {
    number(out, statement, 1, 65535).and_then(|port| u16::try_from(port).ok())
}

fn own(out: &mut Out, statement: &Statement, block: Block, checker: &mut Checker) {
    match (&mut checker.kind, statement.name()) {
        (CheckKind::Http(_), "virtualhost") => host_name(out, statement, &mut checker.virtualhost),
        (CheckKind::Http(_), "nb_get_retry") => {
            let message = "`nb_get_retry` is the old word for `retry`; it is obeyed";
            out.push(
                Diag::new(Code::Deprecated, statement.keyword.span, message).help("write `retry`"),
            );
            checker.timers.retry = number32(out, statement, 0, u32::MAX).or(checker.timers.retry);
        }
        (CheckKind::Http(check), _) => http::statement_in(out, statement, check),
        (CheckKind::Smtp { helo_name }, "helo_name") => match statement.argument(0) {
            Some(name) => name.clone_into(helo_name),
            None => bad(out, statement, 0, "a name"),
        },
        (CheckKind::Dns { qtype, qname }, _) => dns(out, statement, qtype, qname),
        (CheckKind::Udp(check), _) => udp(out, statement, check),
        (CheckKind::Misc(check), name) => match name {
            "misc_path" => check.argv = scripts::misc_path(statement),
            "misc_timeout" => {
                let seconds = number(out, statement, 0, u64::MAX / 1_000_000);
                // 0 is the default again.
                let written =
                    seconds.map(|seconds| (seconds > 0).then(|| Duration::from_secs(seconds)));
                checker.misc_timeout = written.unwrap_or(checker.misc_timeout);
            }
            "misc_dynamic" => check.dynamic = true,
            _ if statement.arguments.is_empty() => bad(out, statement, 0, "a user"),
            _ => {
                check.user = statement.argument(0).map(str::to_owned);
                check.group = statement.argument(1).map(str::to_owned);
            }
        },
        _ => debug_assert!(
            keywords::find(block, statement.name()).is_none_or(|keyword| keyword.opens.is_some()),
            "`{}` has a row but no reader",
            statement.name()
        ),
    }
}

fn dns(out: &mut Out, statement: &Statement, qtype: &mut String, qname: &mut String) {
    let word = statement.argument(0).unwrap_or("");
    if statement.name() == "type" {
        match DNS_TYPES.iter().find(|name| name.eq_ignore_ascii_case(word)) {
            Some(name) => (*name).clone_into(qtype),
            None => bad(out, statement, 0, &format!("one of {}", DNS_TYPES.join(", "))),
        }
        return;
    }
    let bad_label = |label: &str| label.is_empty() || label.len() > 63;
    if word != "." && (word.len() > 253 || word.split('.').any(bad_label)) {
        bad(out, statement, 0, "a name whose labels have 1 to 63 characters");
    } else if qname != "." {
        let message = "`name` was given already; the first one stays";
        out.push(Diag::new(Code::Duplicate, statement.keyword.span, message));
    } else {
        word.clone_into(qname);
    }
}

fn udp(out: &mut Out, statement: &Statement, check: &mut UdpCheck) {
    match statement.name() {
        "payload" => match hex(statement, false).filter(|payload| !payload.is_empty()) {
            Some(payload) => check.payload = Some(payload),
            None => bad(out, statement, 0, "hexadecimal digits"),
        },
        "require_reply" => {
            check.require_reply = true;
            match hex(statement, true) {
                Some(reply) => check.reply = Some(reply).filter(|reply| !reply.is_empty()),
                None => bad(out, statement, 0, "hexadecimal digits, x for any"),
            }
        }
        "min_reply_length" => {
            check.min_reply_length = length(out, statement).unwrap_or(check.min_reply_length);
        }
        "max_reply_length" => {
            check.max_reply_length = length(out, statement).unwrap_or(check.max_reply_length);
        }
        _ => {}
    }
}

fn length(out: &mut Out, statement: &Statement) -> Option<u16> {
    number(out, statement, 0, 65535).and_then(|length| u16::try_from(length).ok())
}

/// Hex digits in groups; an odd group gets a 0 in front. Lower case.
fn hex(statement: &Statement, wildcard: bool) -> Option<String> {
    let mut digits = String::new();
    for group in statement.arguments.iter().flat_map(|word| word.text.split_ascii_whitespace()) {
        let group = group.to_ascii_lowercase();
        if !group.bytes().all(|byte| byte.is_ascii_hexdigit() || (wildcard && byte == b'x')) {
            return None;
        }
        if group.len() % 2 == 1 {
            digits.push('0');
        }
        digits.push_str(&group);
    }
    Some(digits)
}

/// Each old `host` block is a check of its own; the plain one exists besides only if it names a connection.
fn smtp(out: &mut Out, statement: &Statement) -> Vec<Checker> {
    let mut plain = Checker {
        span: statement.keyword.span,
        timers: Timers::default(),
        alpha: None,
        log_all_failures: None,
        connection: Connection::default(),
        virtualhost: None,
        misc_timeout: None,
        kind: kind(Block::SmtpCheck),
    };
    let mut connects = false;
    let mut hosts = Vec::new();
    for inner in statement.statements() {
        if !known(out, inner, Block::SmtpCheck) {
            continue;
        }
        if inner.name() == "host" {
            let message = "`host` blocks are deprecated; each is read as a check of its own";
            out.push(
                Diag::new(Code::Deprecated, inner.keyword.span, message)
                    .at_level(Level::Note)
                    .help("write one SMTP_CHECK for each"),
            );
            hosts.push(host(out, inner));
            continue;
        }
        let own_words =
            ["retry", "delay_before_retry", "warmup", "delay_loop", "alpha", "log_all_failures"];
        connects |= inner.name() != "helo_name" && !own_words.contains(&inner.name());
        if !common(out, inner, &mut plain) {
            own(out, inner, Block::SmtpCheck, &mut plain);
        }
    }
    let mut all = Vec::new();
    if hosts.is_empty() || connects {
        all.push(plain.clone());
    }
    for (connection, connect_timeout) in hosts {
        let mut checker = plain.clone();
        checker.connection = connection;
        checker.timers.connect_timeout = connect_timeout;
        all.push(checker);
    }
    all
}

fn host(out: &mut Out, block: &Statement) -> (Connection, Option<Duration>) {
    let mut words = Connection::default();
    let mut times = Timers::default();
    for statement in block.statements() {
        if known(out, statement, Block::SmtpHost) && !connection(out, statement, &mut words) {
            timers(out, statement, &mut times, 0);
        }
    }
    if block.block.is_none() {
        out.push(bad_value(block, 0, "a block"));
    }
    (words, times.connect_timeout)
}
