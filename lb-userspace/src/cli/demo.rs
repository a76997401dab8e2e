//! `xlb demo`: the sample configuration in a laboratory on this machine, with real gateways and real clients.
//!
//! It starts this same binary as the daemon, so what it shows is what a director does. Everything it makes is gone when
//! it ends, Ctrl-C included. It fails if anything is not as it says.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::exit;
use crate::lab::{
    Daemon, DaemonSpec, Gateway, Host, Lab, LabError, ORIGIN, Options, Origin, Tool, VIP,
    real_address, require, two_arm, until,
};

/// The configuration that users ask about first, word for word.
const SAMPLE: &str = "virtual_server 10.64.1.2 10000 { delay_loop 20 lb_algo rr lb_kind NAT persistent_timeout 10 protocol TCP real_server 192.168.1.100 8089 { weight 1 } real_server 192.168.1.101 18089 { weight 1 } }\n";

/// The same with full-NAT.
const FULL_NAT: &str = "virtual_server 10.64.1.2 10000 { delay_loop 20 lb_algo rr lb_kind FNAT persistent_timeout 10 protocol TCP real_server 192.168.1.100 8089 { weight 1 } real_server 192.168.1.101 18089 { weight 1 } }\n";

/// Full-NAT with a check every second and without persistence, so that shares show at once.
const CHECKED: &str = "\
virtual_server 10.64.1.2 10000 {
    delay_loop 1
    lb_algo rr
    lb_kind FNAT
    protocol TCP
    real_server 192.168.1.100 8089 {
        TCP_CHECK { connect_timeout 1 retry 0 }
    }
    real_server 192.168.1.101 18089 {
        TCP_CHECK { connect_timeout 1 retry 0 }
    }
}
";

/// The director's address towards the gateways: what full-NAT shows them.
const INSIDE: &str = "192.168.1.1";
const CLIENTS: usize = 6;
const REQUESTS: usize = 2;
const HEALTH_LIMIT: Duration = Duration::from_secs(15);

/// A whole lab in network namespaces on this machine, with the sample configuration
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct DemoArgs {
    /// How the programs are attached, as in `xlb run`
    #[arg(long, value_name = "MODE", default_value = "xdp")]
    pub mode: String,
}

/// Runs the demonstration and prints it; the exit code of the command.
pub fn run(args: &DemoArgs) -> ExitCode {
    match demonstrate(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match error.downcast_ref() {
                Some(LabError::NotRoot | LabError::MissingTools { .. }) => exit::HOST,
                _ => exit::FAILED,
            };
            exit::fail(error.as_ref(), code)
        }
    }
}

fn demonstrate(args: &DemoArgs) -> anyhow::Result<()> {
    require(&[Tool::IP, Tool::CURL, Tool::TINYPROXY])?;
    let mut show = Show { start: Instant::now(), number: 0 };
    let lab = Lab::build(&two_arm(&Options { origin: true, ..Options::default() }))?;
    show.step("laboratory: client - eth0 director eth1 - two gateways - origin");
    let origin = Origin::start(lab.host("origin")?, ORIGIN)?;
    let mut first = Gateway::start(lab.real(1)?, "gw1", real_address(0), 8089)?;
    let _second = Gateway::start(lab.real(2)?, "gw2", real_address(1), 18089)?;
    show.step(&format!(
        "gateways: tinyproxy gw1 at 192.168.1.100:8089 and gw2 at 192.168.1.101:18089; origin ({}) at {ORIGIN}",
        origin.kind()
    ));
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let spec = DaemonSpec { mode: args.mode.clone(), ..DaemonSpec::two_arm(&binary) };
    let mut daemon = Daemon::start(&lab, &spec, SAMPLE)?;
    show.step(&format!("director: xlb run --iface eth0,eth1 --mode {}", args.mode));
    show_text(SAMPLE);

    let outcome = phases(&mut show, &lab, &daemon, &mut first);
    if outcome.is_err() {
        eprintln!("the daemon's log:\n{}", daemon.log());
        // What the packets met, if the daemon still answers.
        for arguments in [&["stats"][..], &["stats", "--drops"], &["conns"]] {
            eprintln!("{}", daemon.xlb(arguments).unwrap_or_else(|error| error.to_string()));
        }
    }
    outcome?;
    let code = daemon.stop()?;
    ensure!(code == Some(0), "the daemon ended with {code:?} instead of 0");
    show.step("director: stopped");
    Ok(())
}

fn phases(show: &mut Show, lab: &Lab, daemon: &Daemon, first: &mut Gateway) -> anyhow::Result<()> {
    let client = lab.client()?;

    let answers = ask_all(client)?;
    show.step("NAT: the gateways see the clients themselves; a client stays with its gateway");
    Show::answers(&answers);
    ensure!(
        answers.iter().all(|answer| answer.seen_as == answer.client.to_string()),
        "NAT must keep the client's address"
    );
    ensure!(gateways(&answers) == ["gw1", "gw2"], "both gateways must have answered");
    ensure!(
        each_client_has_one_gateway(&answers),
        "a client must stay with its gateway for persistent_timeout"
    );

    daemon.reload(FULL_NAT)?;
    show.step("reload: lb_kind FNAT");
    let answers = ask_all(client)?;
    show.step("full-NAT: the gateways see the director, and need no route to the clients");
    Show::answers(&answers);
    ensure!(
        answers.iter().all(|answer| answer.seen_as == INSIDE),
        "full-NAT must show {INSIDE} to the gateways"
    );
    ensure!(gateways(&answers) == ["gw1", "gw2"], "both gateways must have answered");

    daemon.reload(CHECKED)?;
    show.step("reload: TCP_CHECK every second, no persistence");
    show_text(CHECKED);
    await_health(daemon, &["up", "up"])?;
    first.stop();
    let stopped = Instant::now();
    await_health(daemon, &["down", "up"])?;
    show.step(&format!("gw1 stopped; out of service after {} ms", stopped.elapsed().as_millis()));
    let answers = ask_all(client)?;
    Show::answers(&answers);
    ensure!(gateways(&answers) == ["gw2"], "only gw2 may have answered");

    first.run()?;
    let returned = Instant::now();
    await_health(daemon, &["up", "up"])?;
    show.step(&format!("gw1 is back; in service after {} ms", returned.elapsed().as_millis()));
    let answers = ask_all(client)?;
    Show::answers(&answers);
    ensure!(gateways(&answers) == ["gw1", "gw2"], "both gateways must have answered");

    let table = daemon.xlb(&["stats"])?;
    show.step("xlb stats");
    show_text(&table);
    Ok(())
}

/// Waits until the first virtual server's real servers have these healths; a real server without checks is up, too.
fn await_health(daemon: &Daemon, wanted: &[&str]) -> Result<(), LabError> {
    until(&format!("health {wanted:?}"), HEALTH_LIMIT, || {
        let stats = daemon.stats().map_err(|error| error.to_string())?;
        let reals = stats["services"][0]["reals"].as_array().cloned().unwrap_or_default();
        let mut seen = BTreeMap::new();
        for real in &reals {
            seen.insert(
                real["address"].as_str().unwrap_or_default().to_owned(),
                real["health"].as_str().unwrap_or_default().to_owned(),
            );
        }
        if seen.values().eq(wanted) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
}

/// One request of one client.
struct Answer {
    client: Ipv4Addr,
    gateway: String,
    /// The address the gateway was asked from.
    seen_as: String,
}

/// Every client asks for the origin through the virtual server.
fn ask_all(client: &Host) -> anyhow::Result<Vec<Answer>> {
    let addresses = Options::default().client_addresses();
    let mut answers = Vec::new();
    for address in addresses.into_iter().take(CLIENTS) {
        for _ in 0..REQUESTS {
            answers.push(ask(client, address)?);
        }
    }
    Ok(answers)
}

fn ask(host: &Host, client: Ipv4Addr) -> anyhow::Result<Answer> {
    let (from, proxy) = (client.to_string(), format!("http://{VIP}:10000"));
    let url = format!("http://{ORIGIN}/");
    let quiet = ["-q", "-sS", "--fail", "--max-time", "5", "--noproxy", ""];
    let body = host
        .run("curl", &[&quiet[..], &["--interface", &from, "-x", &proxy, &url]].concat())
        .with_context(|| format!("request from {client} through {proxy}"))?;
    let field = |name: &str| {
        body.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or("?").to_owned()
    };
    Ok(Answer { client, gateway: field("gateway="), seen_as: field("client=") })
}

/// Names of the gateways that have answered, sorted.
fn gateways(answers: &[Answer]) -> Vec<&str> {
    shares(answers).into_keys().collect()
}

fn shares(answers: &[Answer]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for answer in answers {
        *shares.entry(answer.gateway.as_str()).or_default() += 1;
    }
    shares
}

fn each_client_has_one_gateway(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| {
        answers
            .iter()
            .filter(|other| other.client == answer.client)
            .all(|other| other.gateway == answer.gateway)
    })
}

/// What the user sees.
struct Show {
    start: Instant,
    number: u32,
}

impl Show {
    /// A step that is done.
    fn step(&mut self, text: &str) {
        self.number += 1;
        let passed = self.start.elapsed().as_secs_f64();
        print_line(&format!("[{passed:6.2} s] {:2}. {text}", self.number));
    }

    fn answers(answers: &[Answer]) {
        show_text("client          answered by         the gateway saw");
        let mut clients: Vec<Ipv4Addr> = answers.iter().map(|answer| answer.client).collect();
        clients.dedup();
        for client in clients {
            let own: Vec<&Answer> = answers.iter().filter(|a| a.client == client).collect();
            let names: Vec<&str> = own.iter().map(|answer| answer.gateway.as_str()).collect();
            let mut seen: Vec<&str> = own.iter().map(|answer| answer.seen_as.as_str()).collect();
            seen.dedup();
            let (client, names, seen) = (client.to_string(), names.join(" "), seen.join(" "));
            show_text(&format!("{client:<15} {names:<19} {seen}"));
        }
        let shares: Vec<String> =
            shares(answers).iter().map(|(name, count)| format!("{name} {count}")).collect();
        show_text(&format!("{} answers: {}", answers.len(), shares.join(", ")));
    }
}

/// Text that belongs to the step before it.
fn show_text(text: &str) {
    for line in text.lines() {
        print_line(&format!("              {line}"));
    }
}

/// A reader that left early, such as `head`, ends the show but not the demonstration.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_nat_differs_from_the_sample_in_one_word() {
        assert_eq!(SAMPLE.replace("lb_kind NAT", "lb_kind FNAT"), FULL_NAT);
    }

    #[test]
    fn a_client_with_two_gateways_is_noticed() {
        let answer = |gateway: &str| Answer {
            client: Ipv4Addr::new(10, 64, 1, 10),
            gateway: gateway.into(),
            seen_as: String::new(),
        };
        assert!(each_client_has_one_gateway(&[answer("gw1"), answer("gw1")]));
        assert!(!each_client_has_one_gateway(&[answer("gw1"), answer("gw2")]));
    }
}
