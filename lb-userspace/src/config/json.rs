//! `xlb check --json`: the model and the diagnostics as the conformance cases write them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Loaded;
use super::model::{
    CheckKind, Checker, Family, Granularity, GroupMember, Kind, RealServer, Script, ServiceMatch,
    Tunnel, TunnelChecksum, VirtualServer,
};

/// The whole answer.
pub fn render(loaded: &Loaded) -> Value {
    let diagnostics: Vec<Value> = loaded
        .diagnostics
        .iter()
        .map(|diag| {
            json!({
                "level": diag.level.name(),
                "code": diag.code.name(),
                "line": diag.span.line,
                "file": loaded.sources.path(diag.span.file).display().to_string(),
                "column": loaded.sources.column(diag.span),
                "message": diag.message,
                "help": diag.help,
            })
        })
        .collect();
    json!({
        "verdict": loaded.verdict.name(),
        "diagnostics": diagnostics,
        "virtual_servers": loaded.config.as_ref().map(|config| {
            config.virtual_servers.iter().map(virtual_server).collect::<Vec<_>>()
        }),
    })
}

fn micros(time: Duration) -> u64 {
    // The language's longest time is below this.
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const fn family(family: Option<Family>) -> Option<&'static str> {
    match family {
        Some(Family::Inet) => Some("inet"),
        Some(Family::Inet6) => Some("inet6"),
        None => None,
    }
}

/// One virtual server.
pub fn virtual_server(server: &VirtualServer) -> Value {
    let mut value = json!({
        "service": service(&server.service),
        "protocol": server.protocol.map(super::model::Protocol::name),
        "scheduler": server.scheduler.name(),
        "flags": server.flags,
        "kind": server.kind.name(),
        "persistence": server.persistence.as_ref().map(|persistence| json!({
            "timeout_s": persistence.timeout.as_secs(),
            "granularity": match persistence.granularity {
                Granularity::Mask4(mask) => json!(mask.to_string()),
                Granularity::Prefix6(length) => json!(length),
            },
            "engine": persistence.engine,
        })),
        "delay_loop_us": micros(server.delay_loop),
        "quorum": server.quorum,
        "hysteresis": server.hysteresis,
        "quorum_up": server.quorum_up.as_ref().map(script),
        "quorum_down": server.quorum_down.as_ref().map(script),
        "alpha": server.alpha,
        "omega": server.omega,
        "ha_suspend": server.ha_suspend,
        "sorry_server": server.sorry_server.as_ref().map(|sorry| json!({
            "ip": sorry.ip.to_string(),
            "port": sorry.port,
            "kind": sorry.kind.name(),
            "inhibit": sorry.inhibit,
        })),
        "real_servers": server.real_servers.iter().map(real_server).collect::<Vec<_>>(),
    });
    if let Some(ranges) = &server.local_addresses {
        let ranges: Vec<Value> = ranges
            .iter()
            .map(|range| json!({"ip": range.first.to_string(), "ip_end": range.last.to_string()}))
            .collect();
        value["local_addresses"] = json!(ranges);
    }
    if let Some(mss) = server.mss {
        value["mss"] = json!(mss);
    }
    value
}

fn service(service: &ServiceMatch) -> Value {
    match service {
        ServiceMatch::Address { ip, port } => {
            json!({"type": "address", "ip": ip.to_string(), "port": port})
        }
        ServiceMatch::Fwmark { mark, family: of } => {
            json!({"type": "fwmark", "fwmark": mark, "family": family(*of)})
        }
        ServiceMatch::Group { name, members } => json!({
            "type": "group",
            "name": name,
            "members": members.iter().map(member).collect::<Vec<_>>(),
        }),
    }
}

fn member(member: &GroupMember) -> Value {
    match member {
        GroupMember::Addresses { first, last, port } => {
            json!({"ip": first.to_string(), "ip_end": last.to_string(), "port": port})
        }
        GroupMember::Fwmark { mark, family: of } => json!({"fwmark": mark, "family": family(*of)}),
    }
}

fn script(script: &Script) -> Value {
    json!({"argv": script.argv, "user": script.user, "group": script.group})
}

fn real_server(real: &RealServer) -> Value {
    let mut value = json!({
        "ip": real.ip.to_string(),
        "port": real.port,
        "weight": real.weight,
        "kind": real.kind.name(),
        "inhibit_on_failure": real.inhibit_on_failure,
        "uthreshold": real.uthreshold,
        "lthreshold": real.lthreshold,
        "notify_up": real.notify_up.as_ref().map(script),
        "notify_down": real.notify_down.as_ref().map(script),
        "checkers": real.checkers.iter().map(checker).collect::<Vec<_>>(),
    });
    if real.kind == Kind::Tun {
        value["tunnel"] = tunnel(real.tunnel.unwrap_or(Tunnel::Ipip));
    }
    value
}

fn tunnel(tunnel: Tunnel) -> Value {
    let sum = |checksum| match checksum {
        TunnelChecksum::None => "nocsum",
        TunnelChecksum::Full => "csum",
        TunnelChecksum::Remote => "remcsum",
    };
    match tunnel {
        Tunnel::Ipip => json!({"type": "ipip", "port": 0, "csum": "nocsum"}),
        Tunnel::Gue { port, checksum } => {
            json!({"type": "gue", "port": port, "csum": sum(checksum)})
        }
        Tunnel::Gre { checksum } => json!({"type": "gre", "port": 0, "csum": sum(checksum)}),
    }
}

fn checker(checker: &Checker) -> Value {
    let mut value = json!({
        "type": checker.kind.name(),
        "delay_loop_us": micros(checker.delay_loop),
        "warmup_us": micros(checker.warmup),
        "retry": checker.retry,
        "delay_before_retry_us": micros(checker.delay_before_retry),
        "alpha": checker.alpha,
    });
    if let Some(target) = &checker.target {
        value["connect_ip"] = json!(target.connect_ip.to_string());
        if checker.kind != CheckKind::Ping {
            value["connect_port"] = json!(target.connect_port);
        }
        value["bindto"] = json!(target.bindto.map(|ip| ip.to_string()));
        value["bind_port"] = json!(target.bind_port);
        value["bind_if"] = json!(target.bind_if);
        value["fwmark"] = json!(target.fwmark.unwrap_or(0));
        value["connect_timeout_us"] = json!(micros(target.connect_timeout));
    }
    if let (Value::Object(all), Value::Object(own)) = (&mut value, own(&checker.kind)) {
        all.extend(own);
    }
    value
}

/// The keys of one kind of check.
fn own(kind: &CheckKind) -> Value {
    match kind {
        CheckKind::Tcp | CheckKind::Ping => Value::Object(Map::new()),
        CheckKind::Smtp { helo_name } => json!({"helo_name": helo_name}),
        CheckKind::Dns { qtype, qname } => json!({"qtype": qtype, "qname": qname}),
        CheckKind::Udp(udp) => json!({
            "payload": udp.payload,
            "reply": udp.reply,
            "require_reply": udp.require_reply,
            "min_reply_length": udp.min_reply_length,
            "max_reply_length": udp.max_reply_length,
        }),
        CheckKind::Misc(misc) => json!({
            "argv": misc.argv,
            "timeout_us": micros(misc.timeout),
            "dynamic": misc.dynamic,
            "user": misc.user,
            "group": misc.group,
        }),
        CheckKind::Http(http) => {
            let mut value = json!({
                "http_protocol": http.http_protocol,
                "fast_recovery": http.fast_recovery,
                "urls": http.urls.iter().map(|url| json!({
                    "path": url.path,
                    "digest": url.digest,
                    "status": url.status.iter().map(|(low, high)| json!([low, high])).collect::<Vec<_>>(),
                    "virtualhost": url.virtualhost,
                    "regex": url.regex,
                    "regex_no_match": url.regex_no_match,
                    "regex_options": url.regex_options,
                    "regex_min_offset": url.regex_min_offset,
                    "regex_max_offset": url.regex_max_offset,
                })).collect::<Vec<_>>(),
            });
            if http.tls {
                value["enable_sni"] = json!(http.enable_sni);
                value["sni_name"] = json!(http.sni_name);
            }
            value
        }
    }
}
