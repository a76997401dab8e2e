//! The arguments of `xlb run`.

use std::fs;
use std::path::{Path, PathBuf};

use super::instance::InstanceArgs;

/// Configuration files that are looked for, in this order.
pub const CONFIG_FILES: [&str; 2] = ["/etc/xlb/xlb.conf", "/etc/keepalived/keepalived.conf"];

/// Load, attach, serve, check health; in the foreground
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RunArgs {
    /// Interfaces to serve, separated by commas
    #[arg(
        long,
        value_name = "IFACE,...",
        required = true,
        value_delimiter = ',',
        value_parser = interface_name
    )]
    pub iface: Vec<String>,
    /// Configuration [default: the first of /etc/xlb/xlb.conf, /etc/keepalived/keepalived.conf that exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to attach: xdp (in the driver), tc (behind GRO, any interface), xdp-generic (for trials), or auto: xdp where all interfaces are fit for it, else tc
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = mode)]
    pub mode: Mode,
    #[command(flatten)]
    pub instance: InstanceArgs,
    /// Which lines `@ID ...` of the configuration apply here [default: the host's name up to its first dot]
    #[arg(short = 'i', long, value_name = "ID")]
    pub config_id: Option<String>,
    /// Leave the data path running on a clean stop
    #[arg(long)]
    pub keep: bool,
    /// How many flows the flow table holds
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(1024..=1 << 26)
    )]
    pub flows: u32,
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver where all interfaces are fit for it, else tc.
    Auto,
    /// XDP in the driver.
    Xdp,
    /// XDP in the network stack, after the driver.
    XdpGeneric,
    /// At tc's ingress.
    Tc,
}

impl RunArgs {
    /// The interfaces, each once.
    pub fn interfaces(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in &self.iface {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The configuration file: the one named, else the first of [`CONFIG_FILES`] that exists, else `None`.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| first_existing(&CONFIG_FILES))
    }

    /// The id for the lines `@ID ...`.
    pub fn config_id(&self) -> String {
        self.config_id.clone().unwrap_or_else(host_id)
    }
}

fn first_existing(candidates: &[&str]) -> Option<PathBuf> {
    candidates.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}

/// The host's name up to its first dot, as keepalived takes it; empty if the kernel does not tell.
pub fn host_id() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().split('.').next().unwrap_or_default().to_owned()
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "auto" => Ok(Mode::Auto),
        "xdp" => Ok(Mode::Xdp),
        "xdp-generic" => Ok(Mode::XdpGeneric),
        "tc" => Ok(Mode::Tc),
        _ => Err("expected one of auto, xdp, xdp-generic, tc".to_owned()),
    }
}

/// What the kernel takes for a name (`dev_valid_name` in net/core/dev.c).
fn interface_name(text: &str) -> Result<String, String> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(bad) {
        return Err("expected interface names such as `eth0`, separated by commas".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Run {
        #[command(flatten)]
        args: RunArgs,
    }

    fn parse(line: &str) -> Result<RunArgs, String> {
        Run::try_parse_from(std::iter::once("run").chain(line.split_whitespace()))
            .map(|run| run.args)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_promised() {
        let args = parse("--iface eth0,eth1").unwrap();
        assert_eq!(args.interfaces(), ["eth0", "eth1"]);
        assert_eq!(args.mode, Mode::Auto);
        assert_eq!(args.instance.instance, "xlb");
        assert_eq!(args.instance.pin_dir(), Path::new("/sys/fs/bpf/xlb"));
        assert_eq!(args.instance.run_dir(), Path::new("/run/xlb"));
        assert_eq!((args.flows, args.keep), (1_048_576, false));
        assert!(!args.config_id().contains('.'));
    }

    #[test]
    fn every_option_is_taken() {
        let args = parse(
            "--iface eth0 --iface eth1,eth0 --config /x.conf --mode xdp-generic --instance west \
             --pin-dir /p --run-dir /r -i node7 --keep --flows 4096",
        )
        .unwrap();
        assert_eq!(args.interfaces(), ["eth0", "eth1"]);
        assert_eq!(args.config_file(), Some("/x.conf".into()));
        assert_eq!(args.mode, Mode::XdpGeneric);
        assert_eq!(args.config_id(), "node7");
        assert_eq!((args.flows, args.keep), (4096, true));
        assert_eq!((args.instance.pin_dir(), args.instance.run_dir()), ("/p".into(), "/r".into()));
        assert_eq!(parse("--iface eth0 --mode tc").unwrap().mode, Mode::Tc);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (line, why) in [
            ("", "--iface"),
            ("--iface eth0,", "separated by commas"),
            ("--iface eth0/1", "separated by commas"),
            ("--iface sixteen-letters-", "separated by commas"),
            ("--iface eth0 --mode native", "expected one of auto, xdp, xdp-generic, tc"),
            ("--iface eth0 --flows 0", "1024"),
            ("--iface eth0 --metrics :80", "--metrics"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn first_file_that_exists_is_taken() {
        assert_eq!(
            first_existing(&["/nonexistent/x", "/proc/version"]),
            Some("/proc/version".into())
        );
        assert_eq!(first_existing(&["/nonexistent/x"]), None);
    }
}
