//! The one owner: feeds events to the control plane and carries out what it asks for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::abi::{RealId, ServiceKey};
use lb_common::wire::Mac;
use tokio::sync::mpsc;

use super::capture::Over;
use super::hops::{Move, Neighbours};
use super::waiting::Waiting;
use super::{NEIGHBOURS, StartError, facts, log};
use crate::api::{Refusal, RefusalKind, Reloaded};
use crate::cli::run_args::RunArgs;
use crate::config::model::{self, ServiceMatch};
use crate::config::{self, LoadOptions, render};
use crate::control::diff::{self, PlanLine};
use crate::control::view::{View, view};
use crate::control::{
    self, CheckStatus, CheckWanted, Effect, Event, RealIdent, ServiceIdent, State,
};
use crate::dataplane::Dataplane;
use crate::dataplane::bpf::{BpfDataplane, DataplaneError};
use crate::dataplane::held::Sender;
use crate::dataplane::read::Reader;
use crate::dataplane::reaper::SweepReport;
use crate::health::{self, CheckReport, CheckSpec, RealHealth, Runner};
use crate::node::{Keeper, Node, NodeEvent};

/// A removed real server keeps its id at least this long after its last flow: packets may be on their way.
const GRACE: Duration = Duration::from_secs(10);

/// What an owner is made of.
pub(super) struct Parts {
    pub(super) args: RunArgs,
    pub(super) state: State,
    pub(super) runner: Runner,
    pub(super) reader: Reader,
    pub(super) dataplane: BpfDataplane,
    pub(super) node: Node,
    pub(super) keeper: Keeper,
    /// How held frames are sent on, if they can be.
    pub(super) sender: Option<Sender>,
    /// How captures say that they are over.
    pub(super) captures: mpsc::Sender<Over>,
}

/// Which real server of which service, as checks name them.
type Checked = (ServiceIdent, RealIdent);

pub(super) struct Owner {
    pub(super) args: RunArgs,
    pub(super) state: State,
    pub(super) reader: Reader,
    pub(super) dataplane: BpfDataplane,
    pub(super) started: Instant,
    /// What the last sweep saw.
    pub(super) sweep: SweepReport,
    pub(super) captures: mpsc::Sender<Over>,
    runner: Runner,
    pub(super) node: Node,
    keeper: Keeper,
    pub(super) waiting: Waiting,
    neighbours: Neighbours,
    checked: HashMap<Checked, RealHealth>,
    /// Removed real servers, and since when.
    tombstones: HashMap<RealId, (ServiceKey, Instant)>,
}

impl Owner {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            neighbours: Neighbours::of(parts.node.neighbours()),
            args: parts.args,
            state: parts.state,
            reader: parts.reader,
            dataplane: parts.dataplane,
            started: Instant::now(),
            sweep: SweepReport::default(),
            runner: parts.runner,
            node: parts.node,
            keeper: parts.keeper,
            captures: parts.captures,
            waiting: Waiting::new(parts.sender),
            checked: HashMap::new(),
            tombstones: HashMap::new(),
        }
    }

    /// Puts the first configuration in force.
    pub(super) async fn begin(&mut self, model: model::Config) -> Result<(), StartError> {
        self.resolve(&model).await;
        let effects = control::configure(&mut self.state, model, Instant::now())
            .map_err(StartError::Refused)?;
        self.carry_out(effects);
        if let Some(warning) = self.foreign_locals() {
            tracing::warn!("{warning}");
        }
        if self.state.unapplied() > 0 {
            return Err(StartError::Unapplied);
        }
        Ok(())
    }

    /// A full-NAT source that this host does not have gets no answers: nobody tells the real servers where it is.
    fn foreign_locals(&self) -> Option<String> {
        let own: HashSet<IpAddr> =
            self.node.addresses().into_iter().map(|address| address.address).collect();
        let locals = self.state.mirror().locals.values().flatten();
        let foreign: Vec<String> = locals
            .map(|local| IpAddr::from(*local))
            .filter(|local| !own.contains(local))
            .map(|local| local.to_string())
            .collect();
        (!foreign.is_empty()).then(|| {
            format!(
                "no interface has the full-NAT source addresses {}: unless something else leads them here, \
                 real servers' answers will not arrive",
                foreign.join(", ")
            )
        })
    }

    /// Asks for the next hops of real servers that are new in `model`, so that the first packet finds them.
    async fn resolve(&mut self, model: &model::Config) {
        let wanted = destinations(model);
        let known: HashSet<_> = destinations(self.state.model()).into_iter().collect();
        let fresh: Vec<_> = wanted.iter().copied().filter(|ip| !known.contains(ip)).collect();
        if fresh.is_empty() {
            return;
        }
        self.keeper.watch(wanted.into_iter().chain(known).collect());
        for (address, why) in self.keeper.resolve(&fresh, NEIGHBOURS).await {
            tracing::warn!(%address, "no way to a real server yet: {why}");
        }
        for destination in fresh {
            self.hop_changed(destination);
        }
    }

    /// Reads the file again and puts it in force, or leaves everything as it is.
    pub(super) async fn reload(&mut self) -> Result<Reloaded, Refusal> {
        let (model, mut diagnostics) = self.read(None)?;
        let changes = diff::between(self.state.model(), &model);
        self.resolve(&model).await;
        let generation = self.state.generation();
        let effects = match control::configure(&mut self.state, model, Instant::now()) {
            Ok(effects) => effects,
            Err(error) => {
                self.keeper.watch(destinations(self.state.model()));
                return Err(Refusal::new(
                    RefusalKind::Configuration,
                    format!(
                        "configuration refused: {error}; generation {generation} stays in force"
                    ),
                ));
            }
        };
        self.carry_out(effects);
        if let Some(warning) = self.foreign_locals() {
            tracing::warn!("{warning}");
            diagnostics = format!("{diagnostics}warning: {warning}\n");
        }
        if self.state.unapplied() > 0 {
            return Err(Refusal::new(
                RefusalKind::Failed,
                "the configuration is accepted, but not all of it could be written to the tables yet; it is tried \
                 again every second, and the daemon's log says why",
            ));
        }
        Ok(Reloaded { generation: self.state.generation(), changes, diagnostics })
    }

    /// Reads a configuration, by default the daemon's own; its rendered warnings beside it.
    pub(super) fn read(
        &self,
        path: Option<&std::path::Path>,
    ) -> Result<(model::Config, String), Refusal> {
        let own = self.args.config_file();
        let path = path.or(own.as_deref()).ok_or_else(|| {
            Refusal::new(RefusalKind::Configuration, "the configuration file is gone")
        })?;
        read_file(path, &self.args.config_id(), self.state.generation())
    }

    /// The diff between what is in force and a file.
    pub(super) fn changes_to(&self, model: &model::Config) -> Vec<PlanLine> {
        diff::between(self.state.model(), model)
    }

    /// Takes an event in.
    pub(super) fn feed(&mut self, event: Event) {
        let effects = control::step(&mut self.state, event, Instant::now());
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Apply(ops) => {
                    let failed = self.apply(&ops);
                    let applied = Event::Applied { failed };
                    queue.extend(control::step(&mut self.state, applied, Instant::now()));
                    self.follow_tombstones();
                    self.release_held();
                }
                Effect::SetChecks(wanted) => {
                    for status in self.set_checks(&wanted) {
                        let event = Event::Check(status);
                        queue.extend(control::step(&mut self.state, event, Instant::now()));
                    }
                }
                Effect::WatchHops(destinations) => self.keeper.watch(destinations),
                Effect::RewriteLearned { ifindex, from, to } => {
                    match self.dataplane.move_sender(ifindex, from, to) {
                        Ok(0) => {}
                        Ok(_) => {
                            tracing::info!(ifindex, %from, %to, "the way back to clients moved");
                        }
                        Err(error) => tracing::error!("the way back to clients stays: {error}"),
                    }
                }
                Effect::Quorum { service, is_up, sorry_active, script: _ } => {
                    let verb = if is_up { "gained" } else { "lost" };
                    tracing::info!(%service, sorry_active, "quorum {verb}");
                }
                Effect::Log(entry) => log::write(&entry),
            }
        }
    }

    /// Index of the first operation that did not take.
    fn apply(&mut self, ops: &[crate::dataplane::MapOp]) -> Option<usize> {
        match self.dataplane.apply(ops) {
            Ok(()) => None,
            Err(error) => {
                tracing::error!("cannot change the tables: {error}");
                Some(match error {
                    DataplaneError::Apply(failed) => failed.index,
                    DataplaneError::Read(_) => 0,
                })
            }
        }
    }

    /// The real servers whose health follows from the checks they have now, without another result.
    fn set_checks(&mut self, wanted: &[CheckWanted]) -> Vec<CheckStatus> {
        let initial: HashMap<Checked, health::Status> = wanted
            .iter()
            .map(|want| {
                let status = match want.initial {
                    control::Initial::Up => health::Status::Up,
                    control::Initial::Down => health::Status::Down,
                };
                ((want.service.clone(), want.real), status)
            })
            .collect();
        let mut specs = health::specs(&self.state.model().virtual_servers, |id, _| {
            initial.get(&of_check(id)).copied().unwrap_or(health::Status::Up)
        });
        specs.retain(|spec| initial.contains_key(&of_check(&spec.id)));
        let mut known = std::mem::take(&mut self.checked);
        let mut changed = Vec::new();
        for (checked, checkers) in by_real(&specs) {
            let before = known.remove(&checked);
            let was_known = before.is_some();
            let mut health = before.unwrap_or_default();
            if let Some(status) = health.replace(checkers)
                && was_known
            {
                let reason = "the checks that said otherwise are gone".to_owned();
                changed.push(check_status(checked.clone(), status, reason));
            }
            self.checked.insert(checked, health);
        }
        self.runner.set(specs);
        changed
    }

    /// A check ended.
    pub(super) fn check_ended(&mut self, report: CheckReport) {
        let checked = of_check(&report.id);
        let Some(health) = self.checked.get_mut(&checked) else { return };
        health.report(&report.id.checker, report.status);
        let status = health.status();
        if status != report.status {
            // Another checker holds the real server down, and its reason stands.
            return;
        }
        self.feed(Event::Check(check_status(checked, status, report.reason)));
    }

    /// Something about the way to a destination changed; what holds now is what counts.
    pub(super) fn hop_changed(&mut self, destination: IpAddr) {
        let hop = self.keeper.hop(destination).map(|resolved| {
            let link = self.node.link(resolved.ifindex);
            let there = link.map(|link| facts::interface(&self.node, &link));
            let flags = there.map_or(0, |there| self.dataplane.hop_flags(&there));
            let mtu = self.dataplane.largest(resolved.ifindex).unwrap_or(u16::MAX);
            facts::hop(destination, &resolved, flags, mtu)
        });
        self.feed(Event::Hop { destination, hop });
    }

    /// The host changed.
    pub(super) fn node_changed(&mut self, event: &NodeEvent) {
        match *event {
            NodeEvent::NeighbourChanged { ifindex, address, mac, .. } => {
                self.neighbour_changed(ifindex, address, mac);
            }
            NodeEvent::LinkChanged { .. }
            | NodeEvent::LinkGone { .. }
            | NodeEvent::AddressesChanged { .. } => self.reattach(),
            NodeEvent::Resynced => {
                self.reattach();
                // Whoever moved while nobody listened has another address now.
                for (ifindex, address, mac) in self.node.neighbours() {
                    self.neighbour_changed(ifindex, address, Some(mac));
                }
            }
            NodeEvent::RoutesChanged => {}
        }
    }

    fn neighbour_changed(&mut self, ifindex: u32, address: IpAddr, mac: Option<Mac>) {
        let before = self.neighbours.in_doubt();
        for Move { ifindex, from, to } in self.neighbours.changed(ifindex, address, mac) {
            self.feed(Event::MacMoved { ifindex, from, to });
        }
        for doubtful in self.neighbours.in_doubt() {
            if !before.contains(&doubtful) {
                self.node.doubt(doubtful.0, doubtful.1);
            }
        }
    }

    /// Interfaces that were deleted and made again, or lost the program, get it back.
    fn reattach(&mut self) {
        match self.dataplane.reattach(&facts::interfaces(&self.node)) {
            Ok(notices) => notices.iter().for_each(|notice| tracing::warn!("{notice}")),
            Err(error) => tracing::error!("an interface does not forward: {error}"),
        }
        match self.dataplane.served() {
            Ok(interfaces) => self.feed(Event::Interfaces(interfaces)),
            Err(error) => tracing::error!("the interfaces that are served are not known: {error}"),
        }
    }

    /// A second passed.
    pub(super) fn tick(&mut self, seconds: u64) {
        self.feed(Event::Tick);
        self.give_up_held(Instant::now());
        if seconds.is_multiple_of(5) {
            match facts::host_ports() {
                Ok(ports) => self.feed(Event::HostPorts(ports)),
                Err(error) => tracing::warn!("the host's ports are not known: {error}"),
            }
            match self.dataplane.snapshot() {
                Ok(snapshot) => self.feed(Event::Restored(Box::new(snapshot))),
                Err(error) => tracing::error!("the tables cannot be read back: {error}"),
            }
        }
    }

    /// The reaper came round.
    pub(super) fn swept(&mut self, report: SweepReport) {
        self.sweep = report;
        let empty: Vec<RealId> = self
            .tombstones
            .iter()
            .filter(|(id, (key, since))| {
                self.sweep.per_real.get(id).is_none_or(|flows| *flows == 0)
                    && since.elapsed() > GRACE + self.template_life(*key)
            })
            .map(|(id, _)| *id)
            .collect();
        if empty.is_empty() {
            return;
        }
        let half_open = self.reader.loads(&empty).unwrap_or_default();
        let gone: Vec<_> = empty
            .into_iter()
            .zip(half_open)
            .filter(|(_, load)| load.half_open == 0)
            .map(|(id, _)| id)
            .collect();
        if !gone.is_empty() {
            self.feed(Event::RealsEmpty(gone));
        }
    }

    /// How long a template of a service may still lead to a removed real server.
    fn template_life(&self, key: ServiceKey) -> Duration {
        let mirror = self.state.mirror();
        let ticks = mirror.services.get(&key).map_or(0, |service| service.sticky_ticks);
        let per_1024_s = mirror.config.ticks_per_1024_s.max(1);
        Duration::from_secs(u64::from(ticks) * 1024 / u64::from(per_1024_s))
    }

    /// Notes which real servers were removed and when.
    fn follow_tombstones(&mut self) {
        let reals = &self.state.mirror().reals;
        let now: HashMap<RealId, ServiceKey> =
            self.state.tombstones().filter_map(|id| Some((id, reals.get(&id)?.service))).collect();
        self.tombstones.retain(|id, _| now.contains_key(id));
        for (id, key) in now {
            self.tombstones.entry(id).or_insert_with(|| (key, Instant::now()));
        }
    }

    /// The state for readers.
    pub(super) fn view(&self) -> View {
        view(&self.state)
    }

    /// The end: the data path goes or, with `--keep`, goes on.
    pub(super) async fn end(mut self) -> Result<(), StartError> {
        self.dismiss_held();
        self.end_capture();
        self.runner.stop().await;
        if self.args.keep {
            tracing::info!("stopped; the data path goes on (`xlb detach` removes it)");
            return Ok(());
        }
        let removed = self.dataplane.shut_down()?;
        tracing::info!("stopped; {removed}");
        Ok(())
    }
}

/// Reads a configuration file as the daemon does.
pub(super) fn read_file(
    path: &std::path::Path,
    config_id: &str,
    generation: u32,
) -> Result<(model::Config, String), Refusal> {
    let loaded = config::load(path, &LoadOptions { config_id: config_id.to_owned() });
    let rendered = render::diagnostics(&loaded, render::Format::Full);
    loaded.config.map(|model| (model, rendered.clone())).ok_or_else(|| {
        Refusal::new(
            RefusalKind::Configuration,
            format!("{rendered}note: generation {generation} stays in force"),
        )
    })
}

fn check_status((service, real): Checked, status: health::Status, reason: String) -> CheckStatus {
    let status = match status {
        health::Status::Up => control::Status::Up,
        health::Status::Down => control::Status::Down,
    };
    CheckStatus { service, real, status, reason, weight_delta: 0 }
}

fn of_check(id: &health::CheckId) -> Checked {
    let (service, protocol) = id.service.clone();
    (ServiceIdent { service, protocol }, RealIdent { ip: id.real.0, port: id.real.1 })
}

fn by_real(
    specs: &[CheckSpec],
) -> HashMap<Checked, Vec<(health::CheckerIdentity, health::Status)>> {
    let mut all: HashMap<Checked, Vec<_>> = HashMap::new();
    for spec in specs {
        all.entry(of_check(&spec.id)).or_default().push((spec.id.checker.clone(), spec.initial));
    }
    all
}

/// The addresses of all real servers that packets can be sent to.
fn destinations(model: &model::Config) -> Vec<IpAddr> {
    let services = model.virtual_servers.iter();
    let served = services.filter(|server| matches!(server.service, ServiceMatch::Address { .. }));
    served
        .flat_map(|server| {
            let reals = server.real_servers.iter().map(|real| real.ip);
            reals.chain(server.sorry_server.as_ref().map(|sorry| sorry.ip))
        })
        .collect()
}
