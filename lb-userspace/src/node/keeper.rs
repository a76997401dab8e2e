//! The neighbour keeper: for each watched destination, where a frame to it must go, told anew at each change.
//!
//! destination -> route -> gateway or the destination itself -> neighbour. XDP forwards past the kernel, so nobody
//! else would ask for a neighbour or notice that one went silent: the keeper makes the kernel ask, check and ask
//! again. It must not know what a destination is for.
//!
//! * An entry that is deleted or being asked for anew keeps its last address until the answer comes or stays
//!   out; one that does not answer has no address: better a counted drop than frames to the wrong machine.
//! * A gratuitous ARP changes the kernel's entry at once (`arp_process` exempts it from `locktime`), which is an
//!   event here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lb_common::wire::Mac;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::state::{NeighState, NodeEvent};
use super::{Node, Route};

use view::Facts;

mod view;

/// Pause between two requests for a neighbour that is not known to answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// All routes are looked up this often even if nobody says that they changed.
const ROUTES_AGAIN: Duration = Duration::from_secs(30);

/// Pause after a look-up of all routes, and what each destination adds: routes that flap are followed at this
/// pace, and very many destinations leave time for other things.
const ROUTES_PAUSE: Duration = Duration::from_millis(50);
const ROUTES_PAUSE_EACH: Duration = Duration::from_micros(50);

/// Requests to the kernel that are under way at one time.
const AT_ONCE: usize = 64;

/// Everything a frame to a destination needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Interface it leaves by.
    pub ifindex: u32,
    /// Whose Ethernet address `dst_mac` is: the gateway's or the destination's own.
    pub address: IpAddr,
    pub dst_mac: Mac,
    /// The interface's.
    pub src_mac: Mac,
    /// Largest IP packet in bytes that the interface takes.
    pub mtu: u32,
    /// The source the kernel would take for a packet of this host, else the interface's primary address.
    pub source: Option<IpAddr>,
}

/// The way to a destination is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopChanged {
    pub destination: IpAddr,
    /// `None`: nothing can be sent to it now.
    pub hop: Option<Resolved>,
    /// Why, for people.
    pub reason: String,
}

/// What is known of a destination, or why nothing is.
type Known = Result<Resolved, String>;
type Table = HashMap<IpAddr, Known>;

/// The keeper's task, seen from outside. It ends with the [`Node`] or when this is dropped.
pub struct Keeper {
    wanted: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    table: watch::Receiver<Table>,
}

impl Keeper {
    /// Watches nothing yet. A slow reader of `changes` gets the latest state of each destination, not each state.
    pub fn start(node: &Node, changes: mpsc::Sender<HopChanged>) -> Self {
        let (wanted, wants) = watch::channel(Arc::default());
        let (publish, table) = watch::channel(Table::new());
        let task = Task {
            node: node.clone(),
            targets: BTreeMap::new(),
            outbox: BTreeMap::new(),
            publish,
            refusals: HashMap::new(),
        };
        let events = node.events.subscribe();
        let cancel = node.cancel.clone();
        node.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = task.run(wants, events, changes) => {}
            }
        });
        Self { wanted, table }
    }

    /// Replaces the set of destinations. Those that stay are not asked for again, those that go report nothing
    /// more.
    pub fn watch(&self, destinations: Vec<IpAddr>) {
        self.wanted.send_replace(Arc::new(destinations.into_iter().collect()));
    }

    /// Where frames to a destination go now; `None` also if it is not watched.
    pub fn hop(&self, destination: IpAddr) -> Option<Resolved> {
        self.table.borrow().get(&destination)?.as_ref().ok().copied()
    }

    /// Waits until every watched destination is resolved; see [`Keeper::resolve`].
    pub async fn resolve_all(&self, limit: Duration) -> Vec<(IpAddr, String)> {
        let wanted: Vec<_> = self.wanted.borrow().iter().copied().collect();
        self.resolve(&wanted, limit).await
    }

    /// Waits until these of the watched destinations are resolved, at most for `limit`; returns those that are not,
    /// and why.
    pub async fn resolve(&self, wanted: &[IpAddr], limit: Duration) -> Vec<(IpAddr, String)> {
        let mut table = self.table.clone();
        let complete = |table: &Table| wanted.iter().all(|d| matches!(table.get(d), Some(Ok(_))));
        // Late or the task is gone: what is missing is told below either way.
        let _ = timeout(limit, table.wait_for(complete)).await;
        let table = table.borrow();
        let missing = |destination: &IpAddr| match table.get(destination) {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some((*destination, reason.clone())),
            None => Some((*destination, "it was not looked up yet".into())),
        };
        wanted.iter().filter_map(missing).collect()
    }
}

struct Target {
    /// `None`: not looked up yet.
    route: Option<Result<Route, String>>,
    /// What was told last.
    told: Option<Known>,
}

struct Task {
    node: Node,
    targets: BTreeMap<IpAddr, Target>,
    /// Told to the owner as soon as there is room; the latest for each destination.
    outbox: BTreeMap<IpAddr, HopChanged>,
    publish: watch::Sender<Table>,
    /// Next hops that the kernel refuses to ask for, and its words.
    refusals: HashMap<(u32, IpAddr), String>,
}

/// What an event makes necessary.
#[derive(Default)]
struct Work {
    routes: bool,
    /// Look again at what is known.
    look: bool,
    /// Next hops whose entry changed: they are asked for now, not at the next beat.
    ask: BTreeSet<(u32, IpAddr)>,
}

impl Task {
    async fn run(
        mut self,
        mut wants: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
        mut events: broadcast::Receiver<NodeEvent>,
        changes: mpsc::Sender<HopChanged>,
    ) {
        let mut beat = interval(ASK_AGAIN);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = Work::default();
        let mut again = interval(ROUTES_AGAIN);
        let mut pause = pin!(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                other = wants.changed() => {
                    if other.is_err() {
                        return;
                    }
                    let wanted = Arc::clone(&wants.borrow_and_update());
                    self.want(&wanted);
                    self.look_up(true).await;
                    work.look = true;
                }
                event = events.recv() => {
                    let mut next = match event {
                        Ok(event) => Some(event),
                        Err(broadcast::error::RecvError::Lagged(_)) => Some(NodeEvent::Resynced),
                        Err(broadcast::error::RecvError::Closed) => return,
                    };
                    // A burst is one change: a deletion is announced as a failure and then told.
                    while let Some(event) = next {
                        work.add(&event);
                        next = more(&mut events);
                    }
                }
                _ = beat.tick() => {
                    work.look = true;
                    work.ask.extend(self.hops());
                }
                _ = again.tick() => work.routes = true,
                () = &mut pause, if work.routes => {
                    work.routes = false;
                    self.look_up(false).await;
                    let each = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
                    pause.set(sleep(ROUTES_PAUSE + ROUTES_PAUSE_EACH * each));
                    work.look = true;
                }
                permit = changes.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some((_, change)) = self.outbox.pop_first() {
                        permit.send(change);
                    }
                }
            }
            if std::mem::take(&mut work.look) {
                let fresh = self.look();
                work.ask.extend(fresh);
            }
            if !work.ask.is_empty() {
                self.ask(std::mem::take(&mut work.ask)).await;
            }
        }
    }

    fn want(&mut self, wanted: &BTreeSet<IpAddr>) {
        self.targets.retain(|destination, _| wanted.contains(destination));
        self.outbox.retain(|destination, _| wanted.contains(destination));
        for destination in wanted {
            self.targets.entry(*destination).or_insert(Target { route: None, told: None });
        }
        self.publish.send_modify(|table| table.retain(|d, _| wanted.contains(d)));
    }

    /// Looks up routes: all, or those of new destinations only.
    async fn look_up(&mut self, only_new: bool) {
        let due: Vec<_> = self
            .targets
            .iter()
            .filter(|(_, target)| !only_new || target.route.is_none())
            .map(|(destination, _)| *destination)
            .collect();
        let node = &self.node;
        let mut answers = futures::stream::iter(due)
            .map(|to| async move { (to, node.route_to(to).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((destination, route)) = answers.next().await {
            if let Some(target) = self.targets.get_mut(&destination) {
                target.route = Some(route.map_err(|error| error.to_string()));
            }
        }
    }

    /// Compares what is known with what was told; returns the next hops of destinations that changed.
    fn look(&mut self) -> BTreeSet<(u32, IpAddr)> {
        let mut changed = Vec::new();
        for (destination, target) in &mut self.targets {
            let Some(route) = &target.route else { continue };
            let before = target.told.as_ref().and_then(|told| told.as_ref().ok());
            let known = match route {
                Err(reason) => Err(reason.clone()),
                Ok(route) => {
                    let hop = hop(*destination, route);
                    let facts = Facts::of(&self.node, route, *destination);
                    facts.resolve(before, self.refusals.get(&hop).map(String::as_str))
                }
            };
            if target.told.as_ref() == Some(&known) {
                continue;
            }
            // A new wording of the same silence is kept for those who ask, not told.
            let news = !matches!((&target.told, &known), (Some(Err(_)), Err(_)));
            if news {
                let reason = view::reason(before, &known);
                let hop = known.as_ref().ok().copied();
                let change = HopChanged { destination: *destination, hop, reason };
                self.outbox.insert(*destination, change);
            }
            target.told = Some(known.clone());
            changed.push((*destination, known));
        }
        let mut ask = BTreeSet::new();
        if changed.is_empty() {
            return ask;
        }
        for (destination, _) in &changed {
            if let Some(Target { route: Some(Ok(route)), .. }) = self.targets.get(destination) {
                ask.insert(hop(*destination, route));
            }
        }
        self.publish.send_modify(|table| table.extend(changed));
        ask
    }

    /// The next hops of all destinations.
    fn hops(&self) -> BTreeSet<(u32, IpAddr)> {
        let hops = self.targets.iter().filter_map(|(destination, target)| {
            Some(hop(*destination, target.route.as_ref()?.as_ref().ok()?))
        });
        hops.collect()
    }

    /// Makes the kernel ask for, or check, those of the next hops that are watched and not known to be well.
    async fn ask(&mut self, hops: BTreeSet<(u32, IpAddr)>) {
        let watched = self.hops();
        let node = &self.node;
        let due: Vec<_> = hops
            .intersection(&watched)
            .filter(|(ifindex, _)| node.link(*ifindex).is_some_and(|l| l.up && l.mac.is_some()))
            .filter_map(|(ifindex, address)| {
                let entry = node.read(|state| state.neighbour(*ifindex, *address));
                let state = entry.map_or(NeighState::None, |entry| entry.state);
                let well = matches!(
                    state,
                    NeighState::Reachable
                        | NeighState::Probe
                        | NeighState::Permanent
                        | NeighState::NoArp
                );
                (!well).then_some((*ifindex, *address, state))
            })
            .collect();
        let mut answers = futures::stream::iter(due)
            .map(|(ifindex, address, state)| async move {
                ((ifindex, address), node.ask(ifindex, address, state).await)
            })
            .buffer_unordered(AT_ONCE);
        let mut refusals = Vec::new();
        while let Some((hop, answer)) = answers.next().await {
            refusals.push((hop, answer.err()));
        }
        drop(answers);
        self.refusals.retain(|hop, _| watched.contains(hop));
        for (hop, refusal) in refusals {
            match refusal {
                Some(error) => self.refusals.insert(hop, view::refusal(&error)),
                None => self.refusals.remove(&hop),
            };
        }
    }
}

impl Work {
    fn add(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::NeighbourChanged { ifindex, address, .. } => {
                self.look = true;
                self.ask.insert((*ifindex, *address));
            }
            // The kernel does not tell of the routes that die or wake with a link or an address.
            NodeEvent::LinkChanged { .. }
            | NodeEvent::LinkGone { .. }
            | NodeEvent::AddressesChanged { .. }
            | NodeEvent::RoutesChanged
            | NodeEvent::Resynced => {
                self.look = true;
                self.routes = true;
            }
        }
    }
}

/// The next event, if one waits.
fn more(events: &mut broadcast::Receiver<NodeEvent>) -> Option<NodeEvent> {
    match events.try_recv() {
        Ok(event) => Some(event),
        Err(broadcast::error::TryRecvError::Lagged(_)) => Some(NodeEvent::Resynced),
        Err(_) => None,
    }
}

/// Interface and address of the neighbour that a route leads to.
fn hop(destination: IpAddr, route: &Route) -> (u32, IpAddr) {
    (route.ifindex, route.gateway.unwrap_or(destination))
}
