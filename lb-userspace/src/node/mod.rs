//! What the host says of its interfaces, addresses, routes and neighbours, and what it is asked to keep alive.
//!
//! The only user of netlink. Must not know services, real servers or maps: it speaks of addresses and
//! interfaces, and others decide what follows. Everything is about the network namespace of the thread that
//! calls [`Node::start`].
//!
//! * [`state`]: what the kernel said last; pure.
//! * [`watch`]: the task that listens.
//! * [`keeper`]: next hops kept resolved, changes told at once.
//! * [`host`]: the few facts that netlink does not tell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use lb_common::wire::Mac;
use rtnetlink::Handle;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod host;
pub mod keeper;
mod request;
pub mod state;
mod watch;

#[cfg(test)]
mod netns;
#[cfg(test)]
mod tests;

pub use keeper::{HopChanged, Keeper, Resolved};
pub use request::Route;
pub use state::{Address, Link, NeighState, Neighbour, NodeEvent, Vlan, XdpProgram};

use state::State;

/// Why the kernel could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot open a netlink socket for {purpose}")]
    Socket {
        purpose: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the kernel refuses to {request}: {source}")]
    Refused {
        request: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no route to {destination}: {reason}")]
    Unreachable { destination: IpAddr, reason: String },
    #[error(
        "{destination} is an address of this host (or a broadcast address): there is no next hop"
    )]
    Local { destination: IpAddr },
    #[error("the netlink connection ended while it was asked to {request}")]
    Ended { request: String },
}

/// Events that may wait for a slow reader; more and it is told to read the state again.
const EVENTS: usize = 4096;

/// The host's network, as the kernel tells it. Clones share one connection and one picture.
#[derive(Clone)]
pub struct Node {
    handle: Handle,
    state: Arc<RwLock<State>>,
    events: broadcast::Sender<NodeEvent>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Node {
    /// Reads everything once and follows the kernel from then on. Each change is sent to `events`; a reader that
    /// is too slow gets [`NodeEvent::Resynced`] for what it missed.
    pub async fn start(events: mpsc::Sender<NodeEvent>) -> Result<Self, NodeError> {
        let tasks = TaskTracker::new();
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let handle = request::connect(&tasks, &cancel)?;
        let (sender, receiver) = broadcast::channel(EVENTS);
        let node = Self {
            handle,
            state: Arc::default(),
            events: sender,
            tasks: tasks.clone(),
            cancel: cancel.clone(),
        };
        watch::start(&node).await?;
        tasks.spawn(forward(receiver, events, cancel));
        guard.disarm();
        Ok(node)
    }

    /// Ends the background tasks, keepers included, and waits for them.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// All interfaces, by index.
    pub fn links(&self) -> Vec<Link> {
        self.read(|state| state.links().cloned().collect())
    }

    /// An interface by its index.
    pub fn link(&self, ifindex: u32) -> Option<Link> {
        self.read(|state| state.link(ifindex).cloned())
    }

    /// An interface by its name as of now.
    pub fn link_by_name(&self, name: &str) -> Option<Link> {
        self.read(|state| state.links().find(|link| link.name == name).cloned())
    }

    /// All addresses, in the kernel's order for each interface.
    pub fn addresses(&self) -> Vec<Address> {
        self.read(|state| state.addresses().to_vec())
    }

    /// The interface's first IPv4 address that is not secondary and of global scope.
    pub fn primary_ipv4(&self, ifindex: u32) -> Option<Ipv4Addr> {
        self.read(|state| match state.primary_address(ifindex, false)? {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    }

    /// The interface's first IPv6 address that is neither temporary nor deprecated, and of global scope.
    pub fn primary_ipv6(&self, ifindex: u32) -> Option<Ipv6Addr> {
        self.read(|state| match state.primary_address(ifindex, true)? {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip),
        })
    }

    /// The kernel's choice for a packet from this host to `destination`.
    pub async fn route_to(&self, destination: IpAddr) -> Result<Route, NodeError> {
        request::route_to(&self.handle, destination).await
    }

    /// Makes the kernel check that a neighbour is still there; what comes of it is told as an event.
    pub fn doubt(&self, ifindex: u32, address: IpAddr) {
        let (handle, cancel) = (self.handle.clone(), self.cancel.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                // A neighbour that cannot be asked is as good as one that was not.
                _ = request::probe(&handle, ifindex, address) => {}
            }
        });
    }

    /// Every neighbour whose Ethernet address is known: interface, address, Ethernet address.
    pub fn neighbours(&self) -> Vec<(u32, IpAddr, Mac)> {
        self.read(|state| state.neighbours().collect())
    }

    /// Who answers for `address` on that interface, as the kernel last said; `None` also while it is being asked.
    pub fn neighbour(&self, ifindex: u32, address: IpAddr) -> Option<(Mac, NeighState)> {
        let neighbour = self.read(|state| state.neighbour(ifindex, address))?;
        Some((neighbour.mac?, neighbour.state))
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        // Nothing panics between two writes that belong together; a poisoned picture is still a picture.
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the kernel ask for the neighbour (no entry, failed) or check it (stale).
    async fn ask(&self, ifindex: u32, address: IpAddr, state: NeighState) -> Result<(), NodeError> {
        match state {
            NeighState::Stale | NeighState::Delay => {
                request::probe(&self.handle, ifindex, address).await
            }
            NeighState::None | NeighState::Incomplete | NeighState::Failed => {
                request::solicit(&self.handle, ifindex, address).await
            }
            NeighState::Reachable
            | NeighState::Probe
            | NeighState::Permanent
            | NeighState::NoArp => Ok(()),
        }
    }
}

/// From the listener to the owner, so that an owner who is busy holds up nobody else.
async fn forward(
    mut from: broadcast::Receiver<NodeEvent>,
    to: mpsc::Sender<NodeEvent>,
    cancel: CancellationToken,
) {
    let work = async {
        loop {
            let event = match from.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => NodeEvent::Resynced,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if to.send(event).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}
