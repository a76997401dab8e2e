//! The command line as data.

use clap::{Parser, Subcommand};

use super::capture::CaptureArgs;
use super::check::CheckArgs;
use super::conns::ConnsArgs;
use super::demo::DemoArgs;
use super::detach::DetachArgs;
use super::list::ListArgs;
use super::plan::PlanArgs;
use super::reload::ReloadArgs;
use super::run_args::RunArgs;
use super::stats::StatsArgs;
use super::why::WhyArgs;

/// A layer-4 load balancer in XDP that reads keepalived.conf
#[derive(Clone, Debug, Parser)]
#[command(name = "xlb", version, color = clap::ColorChoice::Never, propagate_version = false)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Run(RunArgs),
    Check(CheckArgs),
    Plan(PlanArgs),
    Reload(ReloadArgs),
    Stats(StatsArgs),
    List(ListArgs),
    Conns(ConnsArgs),
    Why(WhyArgs),
    Capture(CaptureArgs),
    Demo(DemoArgs),
    Detach(DetachArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Cli::try_parse_from(line.split_whitespace())
            .map(|cli| cli.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn promised_lines_are_taken() {
        for line in [
            "xlb reload --instance west",
            "xlb stats",
            "xlb stats --json",
            "xlb stats --rate --run-dir /r",
            "xlb stats --drops --json",
            "xlb list -n",
            "xlb list --json --pin-dir /p",
            "xlb conns --json",
            "xlb conns --client 192.0.2.0/24 --virtual 10.64.1.2:10000 --real :8089 --state established \
             --proto TCP --limit 10",
            "xlb capture",
            "xlb capture --write - --host 192.0.2.7 --port 80 --proto icmp --reason no_service --sample 10",
            "xlb capture -w x.pcapng -c 10 -s 128 --dropped --seconds 5 --instance west",
            "xlb why 192.0.2.7 10.64.1.2:10000",
            "xlb why 192.0.2.7:40000 10.64.1.2:10000 --proto udp --json --instance west",
            "xlb why [2001:db8::7]:40000 [2001:db8::2]:80 --iface eth0 --flags syn,ack --pin-dir /p --run-dir /r",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn filters_reach_the_command() {
        let Command::Conns(args) =
            parse("xlb conns --client [2001:db8::/64]:80 --limit 3").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!(args.client.unwrap().to_string(), "[2001:db8::/64]:80");
        assert_eq!(args.limit, Some(3));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, why) in [
            ("xlb", "Usage"),
            ("xlb stats --json --rate", "cannot be used with"),
            ("xlb stats --rate --drops", "cannot be used with"),
            ("xlb conns --client nowhere", "`nowhere` is no address"),
            ("xlb conns --proto icmp", "expected tcp or udp"),
            ("xlb stats --instance ../x", "letters, digits"),
            ("xlb capture --reason bad_luck", "`xlb stats --drops` lists"),
            ("xlb capture --host nowhere", "invalid IP address"),
            ("xlb capture --count 0", "1.."),
            ("xlb capture --seconds 0", "1..=86400"),
            ("xlb capture --bytes 0", "1.."),
            ("xlb capture --snaplen 65536", "14..=9216"),
            ("xlb capture --proto sctp", "expected tcp, udp or icmp"),
            ("xlb why 192.0.2.7", "VIP:PORT"),
            ("xlb why nobody 10.64.1.2:80", "expected IP or IP:PORT"),
            ("xlb why 192.0.2.7 10.64.1.2", "expected IP:PORT"),
            ("xlb why 192.0.2.7 10.64.1.2:80 --proto icmp", "expected tcp or udp"),
            ("xlb why 192.0.2.7 10.64.1.2:80 --flags sin", "names of TCP flags"),
            ("xlb top", "unrecognized subcommand"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
