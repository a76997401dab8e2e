//! `xlb run`: the start-up order, and the end.
//!
//! configuration → what the host is → data path (opened or adopted) → tables read back → next hops → plan → `ready`.
//! Until the first plan is applied, an adopted data path goes on as it was left.

mod answers;
mod capture;
mod events;
mod facts;
mod hops;
mod log;
mod owner;
mod report;
mod rows;
mod sweeper;
mod waiting;

use std::num::{NonZeroU32, NonZeroUsize};
use std::process::ExitCode;
use std::time::Duration;

use lb_common::abi::Budget;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exit;
use super::run_args::{Mode, RunArgs};
use crate::config::{self, LoadOptions, model, render};
use crate::control::{Event, Host, State};
use crate::dataplane::attach::AttachedMode;
use crate::dataplane::link::TcHook;
use crate::dataplane::object::OBJECT;
use crate::dataplane::{Dataplane, load, preflight, vlans};
use crate::health::Runner;
use crate::node::{Keeper, Node};
use crate::{api, dataplane};

use owner::Owner;

/// Half-open flows: enough that a flood needs seconds to turn the table over.
const HALF_OPEN: u32 = 65_536;
/// Persistence templates.
const TEMPLATES: u32 = 131_072;
/// ICMP errors one CPU may send in a tick, which is about a quarter of a second: 1,000 a second (catalogue S-32).
const ICMP_PER_TICK: u32 = 250;
/// Frames that all CPUs together may hand over in a tick: one thread of the daemon takes them.
const HELD_PER_TICK: u32 = 256;
/// How long the start waits for neighbours that do not answer.
const NEIGHBOURS: Duration = Duration::from_millis(1500);
/// Messages that may wait for the owner, of each kind.
const QUEUE: usize = 4096;

/// A start that did not happen.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("no configuration: none of {} exists; hint: name one with `--config FILE`",
        super::run_args::CONFIG_FILES.join(", "))]
    NoConfiguration,
    #[error("{0}")]
    Refused(crate::control::ControlError),
    #[error(transparent)]
    Node(#[from] crate::node::NodeError),
    #[error(transparent)]
    Host(#[from] crate::node::host::HostError),
    #[error(transparent)]
    Load(#[from] dataplane::error::LoadError),
    #[error(transparent)]
    Dataplane(#[from] dataplane::bpf::DataplaneError),
    #[error(transparent)]
    Socket(#[from] api::BindError),
    #[error("the runtime does not start: {0}")]
    Runtime(std::io::Error),
    #[error(
        "not all could be written to the tables; the log above says which operation failed and why"
    )]
    Unapplied,
    #[error("the kernel's clock has no length; this is a bug of xlb, please report it")]
    Clock,
}

impl StartError {
    fn code(&self) -> u8 {
        match self {
            Self::NoConfiguration | Self::Refused(_) => exit::CONFIGURATION,
            _ => exit::HOST,
        }
    }
}

/// Runs the daemon until it is told to stop.
pub fn run(args: &RunArgs) -> ExitCode {
    log::start();
    let model = match read_configuration(args) {
        Ok(model) => model,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(StartError::Runtime);
    let outcome = runtime.and_then(|runtime| runtime.block_on(serve(args, model)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(&error, error.code()),
    }
}

/// The configuration named on the command line; what is wrong with it is on standard error.
fn read_configuration(args: &RunArgs) -> Result<model::Config, ExitCode> {
    let Some(path) = args.config_file() else {
        let error = StartError::NoConfiguration;
        return Err(exit::fail(&error, error.code()));
    };
    let loaded = config::load(&path, &LoadOptions { config_id: args.config_id() });
    eprint!("{}", render::diagnostics(&loaded, render::Format::Full));
    let summary = render::summary(&loaded);
    loaded.config.ok_or_else(|| {
        eprintln!("{summary}");
        ExitCode::from(exit::CONFIGURATION)
    })
}

/// Reads a configuration as the daemon would; its rendered warnings beside it.
pub fn read_file(
    path: &std::path::Path,
    config_id: &str,
) -> Result<(model::Config, String), api::Refusal> {
    owner::read_file(path, config_id, 0)
}

async fn serve(args: &RunArgs, model: model::Config) -> Result<(), StartError> {
    let signals = events::Signals::catch().map_err(StartError::Runtime)?;
    raise_file_limit();
    let (node_events, node_changes) = mpsc::channel(QUEUE);
    let (hop_events, hop_changes) = mpsc::channel(QUEUE);
    let node = Node::start(node_events).await?;
    // What a configuration is refused for is found before an interface, or a data path that lives, is touched.
    trial(args, &model, &node)?;
    let mut dataplane = load::open(OBJECT, &load_options(args, &node))?;
    for notice in dataplane.notices() {
        tracing::warn!("{notice}");
    }
    let capacity = dataplane.capacity();
    tracing::info!(
        flows = capacity.flows,
        half_open = capacity.half_open,
        templates = capacity.templates,
        "tables take {} MiB of kernel memory",
        dataplane.memory() >> 20
    );

    let ticks = NonZeroU32::new(dataplane.clock().ticks_per_1024_s()).ok_or(StartError::Clock)?;
    let host = Host {
        interfaces: dataplane.served().map_err(dataplane::error::LoadError::from)?,
        tunnel_checksums: dataplane.attached().iter().all(|link| link.mode != AttachedMode::Tc),
        ticks_per_1024_s: ticks,
        flow_limit: capacity.flows,
        budgets: budgets(),
        seed: seed(),
    };
    let mut state = State::new(host, facts::host_ports()?);
    let snapshot = dataplane.snapshot()?;
    let adopted = !snapshot.services.is_empty();
    // Before a configuration is in force, what was found has no effect to carry out.
    let _ = crate::control::step(
        &mut state,
        Event::Restored(Box::new(snapshot)),
        std::time::Instant::now(),
    );

    let keeper = Keeper::start(&node, hop_events);
    let (check_reports, check_results) = mpsc::channel(QUEUE);
    let (asks, requests) = api::channel(64);
    let stop = CancellationToken::new();
    let socket = match api::Server::bind(&args.instance.run_dir()) {
        Ok(socket) => socket,
        Err(error) if adopted => return Err(error.into()),
        Err(error) => {
            // Nothing stays that was not there before.
            dataplane.shut_down()?;
            return Err(error.into());
        }
    };
    let sweeps = sweeper::start(dataplane.reaper(), stop.clone());

    let (buffers, sender) =
        dataplane.take_holding().map(|holding| (holding.buffers, holding.sender)).unzip();
    let held = waiting::read(buffers.unwrap_or_default(), &stop);

    let (captures_over, captures) = mpsc::channel(1);
    let owner = Owner::new(owner::Parts {
        args: args.clone(),
        state,
        runner: Runner::new(check_reports, seed()),
        reader: dataplane.reader(),
        dataplane,
        node: node.clone(),
        keeper,
        sender,
        captures: captures_over,
    });
    let inputs = events::Inputs {
        node: node_changes,
        hops: hop_changes,
        checks: check_results,
        sweeps,
        held,
        requests,
        captures,
        signals,
    };
    let serving = tokio::spawn(socket.serve(asks, stop.clone()));
    let outcome = Box::pin(events::serve(owner, inputs, model, adopted)).await;
    stop.cancel();
    // The socket's task ends by the token; whether it panicked no longer matters.
    let _ = serving.await;
    node.stop().await;
    outcome
}

/// Whether a configuration could be put in force here, on tables that hold nothing yet.
fn trial(args: &RunArgs, model: &model::Config, node: &Node) -> Result<(), StartError> {
    let vlans = match args.mode {
        // There they are named themselves.
        Mode::Tc => 0,
        _ => vlans::count(&args.interfaces(), &facts::interfaces(node)),
    };
    let host = Host {
        interfaces: args.interfaces().len() + vlans,
        // What stands against a checksum is told once the mode is known.
        tunnel_checksums: true,
        ticks_per_1024_s: NonZeroU32::MIN,
        flow_limit: args.flows,
        budgets: budgets(),
        seed: 0,
    };
    let mut state = State::new(host, facts::host_ports()?);
    crate::control::configure(&mut state, model.clone(), std::time::Instant::now())
        .map(drop)
        .map_err(StartError::Refused)
}

fn load_options(args: &RunArgs, node: &Node) -> load::Options {
    load::Options {
        pin_dir: args.instance.pin_dir(),
        run_dir: args.instance.run_dir(),
        interfaces: args.interfaces().into_iter().map(str::to_owned).collect(),
        facts: facts::interfaces(node),
        mode: match args.mode {
            Mode::Auto => preflight::Mode::Auto,
            Mode::Xdp => preflight::Mode::Xdp,
            Mode::XdpGeneric => preflight::Mode::XdpGeneric,
            Mode::Tc => preflight::Mode::Tc,
        },
        hook: TcHook::of_kernel(),
        flows: args.flows,
        half_open: HALF_OPEN,
        templates: TEMPLATES,
    }
}

/// What one CPU may do in a tick.
fn budgets() -> [u32; Budget::COUNT as usize] {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let held = HELD_PER_TICK / u32::try_from(cpus).unwrap_or(u32::MAX);
    [ICMP_PER_TICK, held.max(1)]
}

/// Checks in flight take a socket each; the hard limit is the operator's.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("the limit of open files stays at {soft}: {error}");
    }
}

/// From the kernel's random numbers; the hash map's keys come from there.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
