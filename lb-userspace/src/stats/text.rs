//! The layouts of ipvsadm 1.31, column for column, and the table of reasons.
//!
//! Widths and words follow ipvsadm.c (`print_title`, `print_service_entry`, `print_conn`, `print_largenum`).
//! Names of hosts and services are never looked up: everything is as under `-n`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{DropReason, Notice, PassReason};

use super::conn::ConnRow;
use super::listing::{ListedService, Listing};
use super::report::{Counters, Health, Kind, Protocol, RealReport, Report, ServiceReport, Tally};

/// `ipvsadm -Ln`.
pub fn list(out: &mut impl Write, listing: &Listing) -> io::Result<()> {
    banner(out, listing.size)?;
    writeln!(out, "Prot LocalAddress:Port Scheduler Flags")?;
    writeln!(out, "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn")?;
    let mut services: Vec<_> = listing.services.iter().collect();
    services.sort_by_key(|s| {
        (s.fwmark, s.address.is_some_and(|a| a.is_ipv6()), s.protocol, s.address, s.port)
    });
    for service in services {
        listed_service(out, service)?;
    }
    Ok(())
}

fn listed_service(out: &mut impl Write, service: &ListedService) -> io::Result<()> {
    let name = ServiceName {
        protocol: service.protocol,
        address: service.address,
        port: service.port,
        fwmark: service.fwmark,
        fwmark_v6: service.fwmark_v6,
    };
    write!(out, "{name} {}", service.scheduler)?;
    let flags = service.flags.iter().map(String::as_str).filter(|flag| *flag != "ops");
    let flags: Vec<_> = flags.collect();
    if !flags.is_empty() {
        write!(out, " ({})", flags.join(","))?;
    }
    if let Some(timeout) = service.persistence_s {
        write!(out, " persistent {timeout}")?;
        if let Some(mask) = &service.persistence_mask {
            write!(out, " mask {mask}")?;
        }
    }
    if let Some(engine) = &service.persistence_engine {
        write!(out, " pe {engine}")?;
    }
    if service.flags.iter().any(|flag| flag == "ops") {
        write!(out, " ops")?;
    }
    writeln!(out)?;
    let mut reals: Vec<_> = service.reals.iter().collect();
    reals.sort_by_key(|real| (real.address, real.port));
    for real in reals {
        writeln!(
            out,
            "  -> {:<28} {:<7} {:<6} {:<10} {:<10}",
            SocketAddr::new(real.address, real.port).to_string(),
            forward(real.kind),
            real.weight,
            real.active,
            real.inactive
        )?;
    }
    Ok(())
}

/// `ipvsadm -Ln --stats` under a line on the instance; a real server that is down is marked, not left out.
pub fn stats(out: &mut impl Write, report: &Report) -> io::Result<()> {
    headline(out, report)?;
    banner(out, report.tables.established.capacity)?;
    counters(out, report, ["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"])
}

/// `ipvsadm -Ln --rate` under a line on the instance; `rates` is made by [`between`](super::rates::between).
pub fn rate(out: &mut impl Write, rates: &Report) -> io::Result<()> {
    headline(out, rates)?;
    banner(out, rates.tables.established.capacity)?;
    counters(out, rates, ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"])
}

fn headline(out: &mut impl Write, report: &Report) -> io::Result<()> {
    write!(
        out,
        "instance {}, generation {}, up {} s",
        report.instance,
        report.generation,
        report.uptime_s.trunc()
    )?;
    for (interface, mode) in &report.mode {
        write!(out, ", {interface}: {mode}")?;
    }
    let flows = report.tables.established;
    writeln!(out, ", flows {}/{}", flows.used, flows.capacity)
}

fn banner(out: &mut impl Write, size: u64) -> io::Result<()> {
    writeln!(out, "IP Virtual Server version 1.2.1 (size={size})")
}

fn counters(out: &mut impl Write, report: &Report, columns: [&str; 5]) -> io::Result<()> {
    write!(out, "{:<33}", "Prot LocalAddress:Port")?;
    for column in columns {
        write!(out, " {column:>8}")?;
    }
    writeln!(out, "\n  -> RemoteAddress:Port")?;
    let mut services: Vec<_> = report.services.iter().collect();
    services.sort_by_key(|s| {
        (s.fwmark, s.address.is_some_and(|a| a.is_ipv6()), s.protocol, s.address, s.port)
    });
    for service in services {
        writeln!(out, "{:<33}{}", service_name(service), Columns(service.counters))?;
        let mut reals: Vec<_> = service.reals.iter().collect();
        reals.sort_by_key(|real| (real.address, real.port));
        for real in reals {
            let address = SocketAddr::new(real.address, real.port).to_string();
            writeln!(out, "  -> {address:<28}{}{}", Columns(real.counters), Remark(real))?;
        }
    }
    Ok(())
}

/// `ipvsadm -Lnc`: the two title lines.
pub fn conns_title(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "IPVS connection entries")?;
    writeln!(out, "pro expire {:<11} {:<18} {:<18} destination", "state", "source", "virtual")
}

/// `ipvsadm -Lnc`: one entry.
pub fn conn(out: &mut impl Write, row: &ConnRow) -> io::Result<()> {
    writeln!(
        out,
        "{:<3} {:<6} {:<11} {:<18} {:<18} {}",
        row.protocol.upper(),
        format!("{:02}:{:02}", row.expires_s / 60, row.expires_s % 60),
        row.state,
        row.client.to_string(),
        row.service.to_string(),
        row.real
    )
}

/// `xlb stats --drops`: every reason with its count and what it means, those that occurred first.
pub fn reasons(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let drops =
        |name: &str| DropReason::ALL.iter().find(|r| r.name() == name).map_or("", |r| r.sentence());
    let passes =
        |name: &str| PassReason::ALL.iter().find(|r| r.name() == name).map_or("", |r| r.sentence());
    let notices =
        |name: &str| Notice::ALL.iter().find(|n| n.name() == name).map_or("", |n| n.sentence());
    tally(out, "Dropped", &report.drops, drops)?;
    writeln!(out)?;
    tally(out, "Left to the kernel", &report.passes, passes)?;
    writeln!(out)?;
    tally(out, "Noted", &report.notices, notices)
}

fn tally(
    out: &mut impl Write,
    title: &str,
    tally: &Tally,
    sentence: impl Fn(&str) -> &'static str,
) -> io::Result<()> {
    writeln!(out, "{title:<22} {:>12}  Meaning", "Packets")?;
    let (occurred, never): (Vec<_>, Vec<_>) = tally.0.iter().partition(|(_, count)| *count > 0);
    for (name, count) in occurred.into_iter().chain(never) {
        writeln!(out, "{name:<22} {count:>12}  {}", sentence(name))?;
    }
    Ok(())
}

/// What ipvsadm calls a service: `TCP  10.0.0.1:80`, `FWM  5`.
struct ServiceName {
    protocol: Option<Protocol>,
    address: Option<IpAddr>,
    port: Option<u16>,
    fwmark: Option<u32>,
    fwmark_v6: bool,
}

fn service_name(service: &ServiceReport) -> ServiceName {
    ServiceName {
        protocol: service.protocol,
        address: service.address,
        port: service.port,
        fwmark: service.fwmark,
        fwmark_v6: service.reals.first().is_some_and(|real| real.address.is_ipv6()),
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.fwmark, self.address) {
            (Some(mark), _) if self.fwmark_v6 => format!("FWM  {mark} IPv6"),
            (Some(mark), _) => format!("FWM  {mark}"),
            (None, Some(address)) => format!(
                "{:<4} {}",
                self.protocol.map_or("IP", Protocol::upper),
                SocketAddr::new(address, self.port.unwrap_or(0))
            ),
            (None, None) => "?".to_owned(),
        };
        f.pad(&text)
    }
}

/// The word in ipvsadm's column Forward; `FullNat` is the word of its full-NAT forks.
const fn forward(kind: Kind) -> &'static str {
    match kind {
        Kind::Nat => "Masq",
        Kind::FullNat => "FullNat",
        Kind::Dr => "Route",
        Kind::Tun => "Tunnel",
    }
}

/// Five columns of nine characters.
struct Columns(Counters);

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { conns, in_packets, out_packets, in_bytes, out_bytes } = self.0;
        for number in [conns, in_packets, out_packets, in_bytes, out_bytes] {
            large_number(f, number)?;
        }
        Ok(())
    }
}

/// ipvsadm's `print_largenum`: nine columns, cut down to K, M, G or T.
fn large_number(f: &mut fmt::Formatter<'_>, number: u64) -> fmt::Result {
    match number {
        0..100_000_000 => write!(f, "{number:>9}"),
        100_000_000..1_000_000_000 => write!(f, "{:>8}K", number / 1_000),
        1_000_000_000..100_000_000_000 => write!(f, "{:>8}M", number / 1_000_000),
        100_000_000_000..100_000_000_000_000 => write!(f, "{:>8}G", number / 1_000_000_000),
        _ => write!(f, "{:>8}T", number / 1_000_000_000_000),
    }
}

/// What stands behind a real server's counters if all is not well with it.
struct Remark<'a>(&'a RealReport);

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.health == Health::Down {
            f.write_str("  down")?;
            if !self.0.health_reason.is_empty() {
                // What a checked server answered may be part of the reason; the terminal is not its to control.
                f.write_str(": ")?;
                for c in self.0.health_reason.chars() {
                    if c.is_control() {
                        write!(f, "{}", c.escape_default())?;
                    } else {
                        f.write_char(c)?;
                    }
                }
            }
        }
        if self.0.draining {
            f.write_str("  draining")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
