//! The task that listens to the kernel and keeps the picture true.

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use tracing::warn;

use super::state::{NodeEvent, State};
use super::{Node, NodeError, request};

/// Room for a few thousand notifications that come in one burst (a flushed neighbour table).
const RECEIVE_BUFFER: usize = 4 << 20;

const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Subscribes, then reads everything: what happens between the two is told after it was read, so the end is
/// right.
pub(super) async fn start(node: &Node) -> Result<(), NodeError> {
    let (mut connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)
        .map_err(|source| NodeError::Socket { purpose: "notifications", source })?;
    // Requests go over the other connection.
    drop(handle);
    // A smaller buffer only means that a storm ends in reading everything again.
    let socket = connection.socket_mut().socket_mut();
    if let Err(error) = setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER) {
        warn!(%error, "cannot enlarge the receive buffer of netlink notifications");
    }
    let cancel = node.cancel.clone();
    node.tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = connection => {}
        }
    });
    refresh(node).await?;
    let node = node.clone();
    node.tasks.clone().spawn(async move {
        let cancel = node.cancel.clone();
        tokio::select! {
            () = cancel.cancelled() => {}
            () = listen(&node, messages) => {}
        }
    });
    Ok(())
}

async fn listen(node: &Node, mut messages: Messages) {
    while let Some((message, _)) = messages.next().await {
        match message.payload {
            NetlinkPayload::InnerMessage(message) => {
                if let Some(event) = node.write(|state| state.apply(&message)) {
                    publish(node, event);
                }
            }
            NetlinkPayload::Overrun(_) => {
                warn!("netlink notifications were lost; reading everything again");
                if let Err(error) = refresh(node).await {
                    warn!(%error, "cannot read the state of the network; it may be out of date");
                }
                publish(node, NodeEvent::Resynced);
            }
            _ => {}
        }
    }
    // Without a listener the picture grows old: nobody is told anything, which is at least said.
    if !node.cancel.is_cancelled() {
        warn!(
            "the netlink connection for notifications ended; changes of the network go unnoticed"
        );
    }
}

/// Replaces the picture by what the kernel says now.
async fn refresh(node: &Node) -> Result<(), NodeError> {
    let messages = request::dump(&node.handle).await?;
    let mut fresh = State::default();
    for message in &messages {
        fresh.apply(message);
    }
    node.write(|state| *state = fresh);
    Ok(())
}

fn publish(node: &Node, event: NodeEvent) {
    // No receiver: the owner is gone and nobody keeps neighbours; the picture is kept all the same.
    let _ = node.events.send(event);
}
