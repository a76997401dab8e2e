//! `xlb why`: one packet through the loaded program, and every decision on its way in words.
//!
//! Nothing of the running instance changes: the packet runs through a copy (`dataplane::rehearsal`). The daemon is asked
//! for the checks' words if it is there; a data path that outlived its daemon is explained as well.

mod packet;
mod story;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use lb_common::abi::{FlowKey, Iface};
use lb_common::wire::{Addr6, Mac, Port};
use tokio::sync::mpsc;

use super::instance::InstanceArgs;
use super::{exit, output};
use crate::dataplane::error::LoadError;
use crate::dataplane::object::OBJECT;
use crate::dataplane::read::Reader;
use crate::dataplane::rehearsal::Stage;
use crate::dataplane::table::TableError;
use crate::node::{Node, NodeError};
use crate::stats::report::Protocol;

use packet::{Flags, Packet};
use story::Facts;

/// Ports that are tried where none is given: those of IANA for clients.
const FIRST_PORT: u16 = 49_152;

/// Run the loaded program on a packet and explain every decision; changes nothing
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct WhyArgs {
    /// Who sends it: IP or IP:PORT, IPv6 with a port in brackets; without a port one that no flow has
    #[arg(value_name = "FROM", value_parser = sender)]
    pub from: Sender,
    /// To whom: IP:PORT of the virtual server
    #[arg(value_name = "VIP:PORT", value_parser = receiver)]
    pub to: SocketAddr,
    /// tcp or udp
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp", value_parser = protocol)]
    pub proto: Protocol,
    /// TCP flags of the segment, separated by commas: syn, ack, fin, rst, psh, urg
    #[arg(long, value_name = "FLAGS", default_value = "syn", value_parser = flags)]
    pub flags: Flags,
    /// Interface it comes in by [default: the one that the route to FROM leads by]
    #[arg(long, value_name = "IFACE")]
    pub iface: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// FROM as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

fn sender(text: &str) -> Result<Sender, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse() {
        return Ok(Sender { ip, port: None });
    }
    let at: SocketAddr = text.parse().map_err(|_| {
        "expected IP or IP:PORT, such as 192.0.2.7:40000 or [2001:db8::7]:40000".to_owned()
    })?;
    Ok(Sender { ip: at.ip(), port: Some(at.port()) })
}

fn receiver(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected IP:PORT, such as 10.64.1.2:80 or [2001:db8::2]:80".to_owned())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err("expected tcp or udp".to_owned()),
    }
}

fn flags(text: &str) -> Result<Flags, String> {
    Flags::parse(text).ok_or_else(|| {
        "expected names of TCP flags separated by commas: syn, ack, fin, rst, psh, urg".to_owned()
    })
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
enum WhyError {
    #[error(
        "no xlb instance `{instance}` is loaded: nothing is pinned at {pin_dir}; hint: is `xlb run` running, \
         with this `--instance` and `--pin-dir`?"
    )]
    NoInstance { instance: String, pin_dir: String },
    #[error("{from} and {to} are not of one family: give both as IPv4 or both as IPv6")]
    Families { from: IpAddr, to: IpAddr },
    #[error("the packet's way in is not known: {why}; hint: `--iface`, one of {there}")]
    NoRoute { why: NodeError, there: String },
    #[error(
        "the route to {from} leads by `{iface}`, which this instance does not serve; hint: `--iface`, one of {there}"
    )]
    RoutedElsewhere { from: IpAddr, iface: String, there: String },
    #[error(
        "{from} is an address of this host, and clients on the director itself are not served: their packets come in by \
         no interface, and a virtual address that this host has is answered here; hint: let them use a real server's address"
    )]
    Here { from: IpAddr },
    #[error("this instance does not serve `{iface}`; hint: it serves {there}")]
    NotServed { iface: String, there: String },
    #[error("every port from {FIRST_PORT} on has a flow; hint: give FROM a port")]
    NoPort,
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the runtime does not start: {0}")]
    Runtime(std::io::Error),
}

impl WhyError {
    const fn code(&self) -> u8 {
        match self {
            Self::Load(_) | Self::Table(_) | Self::Node(_) | Self::Runtime(_) => exit::HOST,
            _ => exit::FAILED,
        }
    }
}

/// Runs the command.
pub fn why(args: &WhyArgs) -> ExitCode {
    match explain(args) {
        Ok(answer) if args.json => output::print_json(&answer),
        Ok(answer) => output::print(|out| answer.write(out)),
        Err(error) => exit::fail(&error, error.code()),
    }
}

fn explain(args: &WhyArgs) -> Result<story::Answer, WhyError> {
    if args.from.ip.is_ipv4() != args.to.is_ipv4() {
        return Err(WhyError::Families { from: args.from.ip, to: args.to.ip() });
    }
    let pin_dir = args.instance.pin_dir();
    let Some(stage) = Stage::open(&pin_dir)? else {
        let (instance, pin_dir) = (args.instance.instance.clone(), pin_dir.display().to_string());
        return Err(WhyError::NoInstance { instance, pin_dir });
    };
    let reader = stage.reader();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(WhyError::Runtime)?;
    let way_in = runtime.block_on(way_in(args, reader))?;
    // Whoever may not ask, or finds no daemon, does without the checks' words.
    let report = args.instance.connect().and_then(|mut daemon| daemon.stats()).ok();
    let from = SocketAddr::new(args.from.ip, port(args, reader)?);
    let packet = Packet {
        from,
        to: args.to,
        protocol: args.proto,
        flags: args.flags,
        source: way_in.sender,
        destination: way_in.own,
    };
    let frame = packet.frame();
    let rehearsed = stage.rehearse(OBJECT, &frame, way_in.ifindex, report.is_some())?;
    let facts = Facts {
        packet: &packet,
        frame: &frame,
        rehearsed: &rehearsed,
        ifindex: way_in.ifindex,
        names: &way_in.names,
        sender_known: way_in.sender_known,
        report: report.as_ref(),
    };
    Ok(story::tell(&facts, reader)?)
}

/// How the packet gets here.
struct WayIn {
    ifindex: u32,
    /// The interface's own address.
    own: Mac,
    /// Of the neighbour that sends it; made up where it is not known.
    sender: Mac,
    sender_known: bool,
    /// Interfaces by number.
    names: HashMap<u32, String>,
}

async fn way_in(args: &WhyArgs, reader: &Reader) -> Result<WayIn, WhyError> {
    // Nobody follows the changes.
    let (events, _) = mpsc::channel(1);
    let node = Node::start(events).await?;
    let found = find_way_in(args, reader, &node).await;
    node.stop().await;
    found
}

async fn find_way_in(args: &WhyArgs, reader: &Reader, node: &Node) -> Result<WayIn, WhyError> {
    let names: HashMap<u32, String> =
        node.links().into_iter().map(|link| (link.ifindex, link.name)).collect();
    let served: Vec<(u32, Iface)> = reader.interfaces()?;
    let name = |ifindex: u32| names.get(&ifindex).cloned().unwrap_or_else(|| ifindex.to_string());
    let there = || {
        let mut names: Vec<String> = served.iter().map(|(ifindex, _)| name(*ifindex)).collect();
        names.sort();
        names.join(", ")
    };
    if node.addresses().iter().any(|own| own.address == args.from.ip) {
        return Err(WhyError::Here { from: args.from.ip });
    }
    let route = node.route_to(args.from.ip).await;
    let (ifindex, gateway) = match (&args.iface, route) {
        (Some(iface), route) => {
            let Some(link) = node.link_by_name(iface) else {
                return Err(WhyError::NotServed { iface: iface.clone(), there: there() });
            };
            let gateway = route.ok().filter(|way| way.ifindex == link.ifindex);
            (link.ifindex, gateway.and_then(|way| way.gateway))
        }
        (None, Ok(route)) => (route.ifindex, route.gateway),
        (None, Err(why)) => return Err(WhyError::NoRoute { why, there: there() }),
    };
    let Some((_, iface)) = served.iter().find(|(served, _)| *served == ifindex) else {
        let (from, iface, there) = (args.from.ip, name(ifindex), there());
        return Err(match args.iface {
            Some(_) => WhyError::NotServed { iface, there },
            None => WhyError::RoutedElsewhere { from, iface, there },
        });
    };
    let neighbour = gateway.unwrap_or(args.from.ip);
    let sender = node.neighbour(ifindex, neighbour).map(|(mac, _)| mac);
    Ok(WayIn {
        ifindex,
        own: iface.mac,
        sender: sender.unwrap_or(packet::NOBODYS),
        sender_known: sender.is_some(),
        names,
    })
}

/// The source port: the one given, or the first that no flow has.
fn port(args: &WhyArgs, reader: &Reader) -> Result<u16, WhyError> {
    if let Some(port) = args.from.port {
        return Ok(port);
    }
    for port in FIRST_PORT..=u16::MAX {
        let key = FlowKey {
            src: Addr6::from(args.from.ip),
            dst: Addr6::from(args.to.ip()),
            sport: Port::new(port),
            dport: Port::new(args.to.port()),
            proto: packet::number(args.proto),
            ..FlowKey::default()
        };
        if !reader.knows(&key)? {
            return Ok(port);
        }
    }
    Err(WhyError::NoPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_read_in_every_form() {
        for (text, ip, port) in [
            ("192.0.2.7", "192.0.2.7", None),
            ("192.0.2.7:40000", "192.0.2.7", Some(40_000)),
            ("2001:db8::7", "2001:db8::7", None),
            ("[2001:db8::7]", "2001:db8::7", None),
            ("[2001:db8::7]:40000", "2001:db8::7", Some(40_000)),
        ] {
            assert_eq!(sender(text), Ok(Sender { ip: ip.parse().unwrap(), port }), "{text}");
        }
        for text in ["", "x", "192.0.2.7:", "192.0.2.7:65536", "192.0.2.0/24", "[192.0.2.7"] {
            assert!(sender(text).unwrap_err().contains("expected IP or IP:PORT"), "{text}");
        }
        assert!(receiver("10.64.1.2").unwrap_err().contains("expected IP:PORT"));
    }
}
