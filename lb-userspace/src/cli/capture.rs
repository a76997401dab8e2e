//! `xlb capture`: packets before and after translation, with the reason, as pcapng or as lines.
//!
//! The daemon captures and sends; here it is written. Ctrl-C ends it in order: what was seen before still comes.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;

use lb_common::abi::limits;
use nix::sys::signal::{SigSet, Signal};

use super::instance::InstanceArgs;
use super::{exit, output};
use crate::api::{Client, ClientError};
use crate::stats::capture::{Began, Carried, Ended, Packet, Wish, slot};
use crate::stats::lines;
use crate::stats::pcapng::{Direction, Pcapng, Record};

/// Packets before and after translation, with the reason of those that are dropped or passed; XDP hides them from tcpdump
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct CaptureArgs {
    /// Write pcapng to this file, `-` for standard output [default: a line for each packet]
    #[arg(long, short = 'w', value_name = "FILE")]
    pub write: Option<String>,
    /// Only from or to this address, before or after translation
    #[arg(long, value_name = "IP")]
    pub host: Option<IpAddr>,
    /// Only from or to this port, before or after translation
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Only tcp, udp or icmp
    #[arg(long, value_name = "PROTOCOL", value_parser = carried)]
    pub proto: Option<Carried>,
    /// Only packets that were counted under this name of `xlb stats --drops`
    #[arg(long, value_name = "NAME", value_parser = reason)]
    pub reason: Option<String>,
    /// Only packets that were dropped
    #[arg(long)]
    pub dropped: bool,
    /// End after so many packets
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many bytes of frames, both images together
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub bytes: u64,
    /// End after so many seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// At most so many bytes of a frame
    #[arg(
        long,
        short = 's',
        value_name = "N",
        default_value_t = limits::CAPTURE_BYTES,
        value_parser = clap::value_parser!(u32).range(14..=i64::from(limits::CAPTURE_BYTES))
    )]
    pub snaplen: u32,
    /// One packet of so many that match, on each CPU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

impl CaptureArgs {
    fn wish(&self) -> Wish {
        Wish {
            host: self.host,
            port: self.port,
            protocol: self.proto,
            reason: self.reason.clone(),
            dropped: self.dropped,
            count: self.count,
            bytes: self.bytes,
            seconds: self.seconds,
            length: self.snaplen,
            sample: self.sample,
        }
    }
}

fn carried(text: &str) -> Result<Carried, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Carried::Tcp),
        "udp" => Ok(Carried::Udp),
        "icmp" => Ok(Carried::Icmp),
        _ => Err("expected tcp, udp or icmp".to_owned()),
    }
}

fn reason(text: &str) -> Result<String, String> {
    slot(text).map(|_| text.to_owned()).ok_or_else(|| {
        "no packet is counted so; `xlb stats --drops` lists the names of passes and drops"
            .to_owned()
    })
}

/// Runs the command.
pub fn capture(args: &CaptureArgs) -> ExitCode {
    if args.write.as_deref() == Some("-") && io::stdout().is_terminal() {
        eprintln!(
            "xlb: pcapng is no text for a terminal; hint: `--write FILE`, or a pipe into `tcpdump -r -`"
        );
        return ExitCode::from(exit::FAILED);
    }
    // Before any other thread starts, so that all of them leave the signals to the one that waits for them.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let blocked = signals.thread_block();
    let mut client = match args.instance.connect() {
        Ok(client) => client,
        Err(error) => return exit::fail_client(&error),
    };
    if blocked.is_ok() {
        match client.stopper() {
            Ok(stopper) => drop(std::thread::spawn(move || {
                // The second signal is for those who do not want to wait.
                if signals.wait().is_ok() {
                    stopper.stop();
                }
                let _ = signals.wait();
                std::process::exit(i32::from(exit::FAILED));
            })),
            Err(error) => return exit::fail_client(&error),
        }
    }
    match run(args, &mut client) {
        Ok(ended) => {
            eprintln!("{}", summary(&ended));
            ExitCode::SUCCESS
        }
        Err(ClientError::Output(error)) => match args.write.as_deref() {
            Some(path) if path != "-" => {
                eprintln!("xlb: cannot write {path}: {error}");
                ExitCode::from(exit::FAILED)
            }
            _ => output::outcome(Err(error)),
        },
        Err(error) => exit::fail_client(&error),
    }
}

fn run(args: &CaptureArgs, client: &mut Client) -> Result<Ended, ClientError> {
    let begin = |began: &Began| Sink::begin(args, began);
    let (mut sink, ended) = client.capture(&args.wish(), begin, Sink::packets)?;
    sink.finish(&ended).map_err(ClientError::Output)?;
    Ok(ended)
}

fn summary(ended: &Ended) -> String {
    let Ended { packets, matched, lost, why } = ended;
    format!("{packets} packets of {matched} that matched, {lost} lost for want of room; {why}")
}

/// What strangers send to one another is for nobody but who captures. // S-52
fn create(path: &str) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Where packets go.
struct Sink {
    interfaces: Vec<(u32, String)>,
    form: Form,
    /// The latest packet's time.
    time_ns: u64,
}

enum Form {
    Pcapng(Pcapng<Box<dyn Write>>),
    Lines(BufWriter<io::Stdout>),
}

impl Sink {
    fn begin(args: &CaptureArgs, began: &Began) -> io::Result<Self> {
        let interfaces = began.interfaces.clone();
        let names = interfaces.iter().map(|(_, name)| name.as_str());
        let form = match args.write.as_deref() {
            None => Form::Lines(BufWriter::new(io::stdout())),
            Some(path) => {
                let out: Box<dyn Write> = if path == "-" {
                    Box::new(BufWriter::new(io::stdout()))
                } else {
                    Box::new(BufWriter::new(create(path)?))
                };
                let mut file = Pcapng::begin(out, names, args.snaplen)?;
                // Whoever reads on the other side sees at once that it has begun.
                file.flush()?;
                Form::Pcapng(file)
            }
        };
        eprintln!("capturing on {}", list(&interfaces));
        Ok(Self { interfaces, form, time_ns: 0 })
    }

    fn packets(&mut self, packets: &[Packet]) -> io::Result<()> {
        for packet in packets {
            self.time_ns = packet.time_ns;
            let index = |ifindex: u32| {
                let found = self.interfaces.iter().position(|(known, _)| *known == ifindex);
                // One that was attached since: the file has no block for it.
                found.unwrap_or(0) as u32
            };
            match &mut self.form {
                Form::Lines(out) => lines::captured(out, packet, &self.interfaces)?,
                Form::Pcapng(file) => {
                    let comment = packet.comment();
                    file.packet(&Record {
                        interface: index(packet.came_in_by),
                        time_ns: packet.time_ns,
                        length: packet.arrived.length,
                        bytes: &packet.arrived.bytes,
                        direction: Direction::In,
                        comment: &comment,
                    })?;
                    if let Some((ifindex, image)) = &packet.left {
                        file.packet(&Record {
                            interface: index(*ifindex),
                            time_ns: packet.time_ns,
                            length: image.length,
                            bytes: &image.bytes,
                            direction: Direction::Out,
                            comment: &packet.comment_on_left(),
                        })?;
                    }
                }
            }
        }
        match &mut self.form {
            Form::Lines(out) => out.flush(),
            Form::Pcapng(file) => file.flush(),
        }
    }

    fn finish(&mut self, ended: &Ended) -> io::Result<()> {
        match &mut self.form {
            Form::Lines(out) => out.flush(),
            Form::Pcapng(file) => file.finish(self.time_ns, ended.lost, &summary(ended)),
        }
    }
}

fn list(interfaces: &[(u32, String)]) -> String {
    interfaces.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
}
