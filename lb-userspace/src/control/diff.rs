//! What separates two configurations, in lines for people.
//!
//! Virtual servers are the same if they match the same packets, real servers if they have the same address and port:
//! such keep their ids, their connections and their health over a reload.

use std::fmt::{Debug, Display};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::model::{
    Config, Family, Globals, Granularity, RealServer, ServiceMatch, SorryServer, VirtualServer,
};

/// A line of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    pub change: Change,
    pub text: String,
}

/// What happens to the thing a [`PlanLine`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Add,
    Remove,
    Modify,
    /// Named only so that the lines under it have a heading.
    Keep,
}

impl Change {
    /// The sign in front of the line.
    pub const fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Remove => '-',
            Self::Modify => '~',
            Self::Keep => ' ',
        }
    }
}

/// From `running` to `wanted`: removals, then changes and additions in file order. Empty if nothing differs.
pub fn between(running: &Config, wanted: &Config) -> Vec<PlanLine> {
    let mut lines = Vec::new();
    globals(&mut lines, &running.globals, &wanted.globals);
    for old in &running.virtual_servers {
        if find(wanted, old).is_none() {
            lines.push(line(Change::Remove, name(old)));
            for real in &old.real_servers {
                lines.push(line(Change::Remove, format!("  {}", real_name(real))));
            }
        }
    }
    for new in &wanted.virtual_servers {
        match find(running, new) {
            None => {
                let text = format!("{} {} {}", name(new), new.scheduler.name(), new.kind.name());
                lines.push(line(Change::Add, text));
                for real in &new.real_servers {
                    let text = format!("  {} weight {}", real_name(real), real.weight);
                    lines.push(line(Change::Add, text));
                }
            }
            Some(old) if old != new => lines.extend(virtual_server(old, new)),
            Some(_) => {}
        }
    }
    lines
}

fn find<'a>(config: &'a Config, like: &VirtualServer) -> Option<&'a VirtualServer> {
    config
        .virtual_servers
        .iter()
        .find(|other| other.service == like.service && other.protocol == like.protocol)
}

fn globals(lines: &mut Vec<PlanLine>, old: &Globals, new: &Globals) {
    if old == new {
        return;
    }
    let mut changes = Changes::default();
    let timeout = |t: Option<Duration>| t.map_or_else(|| "default".to_owned(), seconds);
    changes.text("timeout tcp", timeout(old.timeout_tcp), timeout(new.timeout_tcp));
    changes.text("timeout tcpfin", timeout(old.timeout_tcp_fin), timeout(new.timeout_tcp_fin));
    changes.text("timeout udp", timeout(old.timeout_udp), timeout(new.timeout_udp));
    let router = |id: &Option<String>| id.clone().unwrap_or_else(|| "the host's name".to_owned());
    changes.text("router_id", router(&old.router_id), router(&new.router_id));
    changes.text("reply path", old.reply_path.name(), new.reply_path.name());
    lines.push(line(Change::Modify, format!("global_defs: {}", changes.or("other settings"))));
}

fn virtual_server(old: &VirtualServer, new: &VirtualServer) -> Vec<PlanLine> {
    let mut changes = Changes::default();
    changes.text("scheduler", old.scheduler.name(), new.scheduler.name());
    changes.text("flags", list(&old.flags), list(&new.flags));
    changes.text("kind", old.kind.name(), new.kind.name());
    changes.text("persistence", persistence(old), persistence(new));
    changes.text("delay_loop", seconds(old.delay_loop), seconds(new.delay_loop));
    changes.text("quorum", old.quorum, new.quorum);
    changes.text("hysteresis", old.hysteresis, new.hysteresis);
    changes.text(
        "sorry_server",
        sorry(old.sorry_server.as_ref()),
        sorry(new.sorry_server.as_ref()),
    );
    let mss = |server: &VirtualServer| {
        server.mss.map_or_else(|| "as the ends say".to_owned(), |mss| mss.to_string())
    };
    changes.text("mss", mss(old), mss(new));
    changes.named("local addresses", &old.local_addresses, &new.local_addresses);
    changes.named(
        "quorum scripts",
        &(&old.quorum_up, &old.quorum_down),
        &(&new.quorum_up, &new.quorum_down),
    );
    changes.text("alpha", old.alpha, new.alpha);
    changes.text("omega", old.omega, new.omega);
    changes.text("ha_suspend", old.ha_suspend, new.ha_suspend);

    let mut reals = Vec::new();
    let same = |a: &RealServer, b: &RealServer| (a.ip, a.port) == (b.ip, b.port);
    for gone in old.real_servers.iter().filter(|o| !new.real_servers.iter().any(|n| same(o, n))) {
        reals.push(line(Change::Remove, format!("  {}", real_name(gone))));
    }
    for real in &new.real_servers {
        match old.real_servers.iter().find(|other| same(other, real)) {
            None => {
                let text = format!("  {} weight {}", real_name(real), real.weight);
                reals.push(line(Change::Add, text));
            }
            Some(other) if other != real => reals.push(real_server(other, real)),
            Some(_) => {}
        }
    }

    let heading = if changes.0.is_empty() && !reals.is_empty() {
        line(Change::Keep, name(new))
    } else {
        // The order of real servers is one of the other settings: rr and the hashes follow it.
        line(Change::Modify, format!("{}: {}", name(new), changes.or("order of real servers")))
    };
    std::iter::once(heading).chain(reals).collect()
}

fn real_server(old: &RealServer, new: &RealServer) -> PlanLine {
    let mut changes = Changes::default();
    changes.text("weight", old.weight, new.weight);
    changes.text("kind", old.kind.name(), new.kind.name());
    changes.named("tunnel", &old.tunnel, &new.tunnel);
    changes.text("inhibit_on_failure", old.inhibit_on_failure, new.inhibit_on_failure);
    changes.text("uthreshold", old.uthreshold, new.uthreshold);
    changes.text("lthreshold", old.lthreshold, new.lthreshold);
    changes.named("checks", &old.checkers, &new.checkers);
    line(Change::Modify, format!("  {}: {}", real_name(new), changes.or("other settings")))
}

/// The settings that differ.
#[derive(Default)]
struct Changes(Vec<String>);

impl Changes {
    /// One whose values can be shown.
    #[expect(clippy::needless_pass_by_value, reason = "mostly called with texts made on the spot")]
    fn text<T: PartialEq + Display>(&mut self, what: &str, old: T, new: T) {
        if old != new {
            self.0.push(format!("{what} {old} -> {new}"));
        }
    }

    /// One that is only named.
    fn named<T: PartialEq + Debug>(&mut self, what: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(what.to_owned());
        }
    }

    fn or(&self, otherwise: &str) -> String {
        if self.0.is_empty() { otherwise.to_owned() } else { self.0.join(", ") }
    }
}

fn line(change: Change, text: String) -> PlanLine {
    PlanLine { change, text }
}

fn name(server: &VirtualServer) -> String {
    let family = |family: Option<Family>| match family {
        Some(Family::Inet6) => " inet6",
        Some(Family::Inet) => " inet",
        None => "",
    };
    let service = match &server.service {
        ServiceMatch::Address { ip, port } => SocketAddr::new(*ip, *port).to_string(),
        ServiceMatch::Fwmark { mark, family: of } => format!("fwmark {mark}{}", family(*of)),
        ServiceMatch::Group { name, members } => format!("group {name} ({})", members.len()),
    };
    let protocol = server.protocol.map_or("", |protocol| protocol.name());
    format!("virtual_server {service} {protocol}").trim_end().to_owned()
}

fn real_name(real: &RealServer) -> String {
    format!("real_server {}", SocketAddr::new(real.ip, real.port))
}

fn persistence(server: &VirtualServer) -> String {
    server.persistence.as_ref().map_or_else(
        || "none".to_owned(),
        |persistence| {
            let granularity = match persistence.granularity {
                Granularity::Mask4(mask) => mask.to_string(),
                Granularity::Prefix6(len) => len.to_string(),
            };
            let engine = persistence.engine.as_ref().map_or(String::new(), |e| format!(" pe {e}"));
            format!("{} per {granularity}{engine}", seconds(persistence.timeout))
        },
    )
}

fn sorry(server: Option<&SorryServer>) -> String {
    server.map_or_else(
        || "none".to_owned(),
        |server| {
            let inhibit = if server.inhibit { " inhibit" } else { "" };
            format!("{} {}{inhibit}", SocketAddr::new(server.ip, server.port), server.kind.name())
        },
    )
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(",") }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Kind, Persistence, Protocol, ReplyPath, Scheduler};

    fn real(last: u8, weight: u32) -> RealServer {
        RealServer {
            ip: [192, 168, 1, last].into(),
            port: 8089,
            weight,
            kind: Kind::Nat,
            tunnel: None,
            inhibit_on_failure: false,
            alpha: false,
            uthreshold: 0,
            lthreshold: 0,
            notify_up: None,
            notify_down: None,
            checkers: vec![],
        }
    }

    fn server(port: u16, reals: Vec<RealServer>) -> VirtualServer {
        VirtualServer {
            service: ServiceMatch::Address { ip: [10, 64, 1, 2].into(), port },
            protocol: Some(Protocol::Tcp),
            scheduler: Scheduler::Rr,
            flags: vec![],
            kind: Kind::Nat,
            persistence: None,
            delay_loop: Duration::from_secs(20),
            quorum: 1,
            hysteresis: 0,
            quorum_up: None,
            quorum_down: None,
            alpha: false,
            omega: false,
            ha_suspend: false,
            sorry_server: None,
            real_servers: reals,
            local_addresses: None,
            mss: None,
        }
    }

    fn shown(running: &Config, wanted: &Config) -> Vec<String> {
        between(running, wanted)
            .iter()
            .map(|line| format!("{} {}", line.change.sign(), line.text))
            .collect()
    }

    fn config(virtual_servers: Vec<VirtualServer>) -> Config {
        Config { globals: Globals::default(), virtual_servers }
    }

    #[test]
    fn everything_is_new_to_an_empty_configuration() {
        assert_eq!(
            shown(
                &Config::default(),
                &config(vec![server(10_000, vec![real(100, 1), real(101, 3)])])
            ),
            [
                "+ virtual_server 10.64.1.2:10000 tcp rr NAT",
                "+   real_server 192.168.1.100:8089 weight 1",
                "+   real_server 192.168.1.101:8089 weight 3",
            ]
        );
    }

    // K-04
    #[test]
    fn same_configuration_has_no_lines() {
        let config = config(vec![server(10_000, vec![real(100, 1)])]);
        assert_eq!(shown(&config, &config), Vec::<String>::new());
    }

    #[test]
    fn changes_are_named_with_both_values() {
        let running = config(vec![
            server(10_000, vec![real(100, 1), real(101, 1)]),
            server(10_001, vec![real(100, 1)]),
            server(10_002, vec![real(100, 1)]),
            server(10_003, vec![real(100, 1), real(101, 1)]),
        ]);
        let mut wanted = config(vec![
            server(10_000, vec![real(100, 5), real(102, 1)]),
            server(10_002, vec![real(100, 1)]),
            server(10_003, vec![real(101, 1), real(100, 1)]),
        ]);
        wanted.globals.timeout_udp = Some(Duration::from_secs(30));
        wanted.globals.reply_path = ReplyPath::Any;
        let changed = &mut wanted.virtual_servers[1];
        changed.scheduler = Scheduler::Wlc;
        changed.mss = Some(1_400);
        changed.persistence = Some(Persistence {
            timeout: Duration::from_secs(10),
            granularity: Granularity::Mask4([255; 4].into()),
            engine: None,
        });
        changed.real_servers[0].inhibit_on_failure = true;
        assert_eq!(
            shown(&running, &wanted),
            [
                "~ global_defs: timeout udp default -> 30 s, reply path strict -> any",
                "- virtual_server 10.64.1.2:10001 tcp",
                "-   real_server 192.168.1.100:8089",
                "  virtual_server 10.64.1.2:10000 tcp",
                "-   real_server 192.168.1.101:8089",
                "~   real_server 192.168.1.100:8089: weight 1 -> 5",
                "+   real_server 192.168.1.102:8089 weight 1",
                "~ virtual_server 10.64.1.2:10002 tcp: scheduler rr -> wlc, \
                 persistence none -> 10 s per 255.255.255.255, mss as the ends say -> 1400",
                "~   real_server 192.168.1.100:8089: inhibit_on_failure false -> true",
                "~ virtual_server 10.64.1.2:10003 tcp: order of real servers",
            ]
        );
    }
}
