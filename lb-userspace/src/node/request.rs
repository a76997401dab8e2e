//! Questions to the kernel and the two requests that move a neighbour entry.

use std::io;
use std::net::IpAddr;

use futures::{Stream, StreamExt};
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::NodeError;

/// How a packet leaves for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub ifindex: u32,
    /// `None`: the destination is on the interface's own network.
    pub gateway: Option<IpAddr>,
    /// The source the kernel would take.
    pub prefsrc: Option<IpAddr>,
}

/// Opens a connection for requests, apart from the one that listens: what the listener loses in a storm must
/// not be an answer.
pub(super) fn connect(
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<Handle, NodeError> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| NodeError::Socket { purpose: "requests", source })?;
    let cancel = cancel.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = connection => {}
        }
    });
    Ok(handle)
}

/// Everything the picture is made of.
pub(super) async fn dump(handle: &Handle) -> Result<Vec<RouteNetlinkMessage>, NodeError> {
    // Of all families: those that are neither IPv4 nor IPv6 are left out where they are read.
    let questions = [
        ("list the interfaces", RouteNetlinkMessage::GetLink(LinkMessage::default())),
        ("list the addresses", RouteNetlinkMessage::GetAddress(AddressMessage::default())),
        ("list the neighbours", RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())),
    ];
    let mut everything = Vec::new();
    for (request, question) in questions {
        let mut answers = send(handle, question, NLM_F_DUMP, request)?;
        while let Some(answer) = answers.next().await {
            if let Some(message) = accept(answer, request)? {
                everything.push(message);
            }
        }
    }
    Ok(everything)
}

pub(super) async fn route_to(handle: &Handle, destination: IpAddr) -> Result<Route, NodeError> {
    let mut question = RouteMessage::default();
    let (family, bits, address) = match destination {
        IpAddr::V4(ip) => (AddressFamily::Inet, 32, RouteAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(ip)),
    };
    question.header.address_family = family;
    question.header.destination_prefix_length = bits;
    question.attributes.push(RouteAttribute::Destination(address));
    let request = "look up a route";
    let question = RouteNetlinkMessage::GetRoute(question);
    let mut answers = send(handle, question, 0, request)?;
    while let Some(answer) = answers.next().await {
        match accept(answer, request) {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => return read(&route, destination),
            Ok(_) => {}
            Err(NodeError::Refused { source, .. }) => {
                return Err(NodeError::Unreachable { destination, reason: why(&source) });
            }
            Err(other) => return Err(other),
        }
    }
    Err(NodeError::Ended { request: request.into() })
}

fn read(message: &RouteMessage, destination: IpAddr) -> Result<Route, NodeError> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local | RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
            return Err(NodeError::Local { destination });
        }
        kind => {
            let reason = format!("the route is of type {kind:?}").to_lowercase();
            return Err(NodeError::Unreachable { destination, reason });
        }
    }
    let (mut ifindex, mut gateway, mut prefsrc) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(ip) => gateway = address(ip),
            RouteAttribute::PrefSource(ip) => prefsrc = address(ip),
            // A gateway of the other family (RFC 8950).
            RouteAttribute::Via(RouteVia::Inet(ip)) => gateway = Some((*ip).into()),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => gateway = Some((*ip).into()),
            RouteAttribute::Via(_) => {
                let reason = "its gateway is neither an IPv4 nor an IPv6 address".into();
                return Err(NodeError::Unreachable { destination, reason });
            }
            _ => {}
        }
    }
    let Some(ifindex) = ifindex else {
        let reason = "the route names no interface".into();
        return Err(NodeError::Unreachable { destination, reason });
    };
    Ok(Route { ifindex, gateway, prefsrc })
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn why(source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(libc::ENETUNREACH) => "no route covers it; hint: add one, or a default route".into(),
        Some(libc::EHOSTUNREACH) => "a route says unreachable".into(),
        Some(libc::EACCES) => "a route says prohibit".into(),
        Some(libc::EINVAL) => "a route says blackhole".into(),
        _ => source.to_string(),
    }
}

/// Makes the kernel ask for the neighbour as if a packet wanted to go there. Never for a permanent entry: the
/// kernel would take "permanent" off it.
pub(super) async fn solicit(
    handle: &Handle,
    ifindex: u32,
    address: IpAddr,
) -> Result<(), NodeError> {
    let mut message = neighbour(ifindex, address, NeighbourState::None);
    message.header.flags = NeighbourFlags::Use;
    change(handle, message, NLM_F_CREATE, "ask for a neighbour").await
}

/// Makes the kernel check at once that the neighbour is still there, without waiting for a packet or for the
/// delay before the first probe. An entry that is gone meanwhile is no error.
pub(super) async fn probe(handle: &Handle, ifindex: u32, address: IpAddr) -> Result<(), NodeError> {
    let message = neighbour(ifindex, address, NeighbourState::Probe);
    match change(handle, message, 0, "check a neighbour").await {
        Err(NodeError::Refused { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn neighbour(ifindex: u32, address: IpAddr, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match address {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.header.ifindex = ifindex;
    message.header.state = state;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

async fn change(
    handle: &Handle,
    message: NeighbourMessage,
    flags: u16,
    request: &'static str,
) -> Result<(), NodeError> {
    let message = RouteNetlinkMessage::NewNeighbour(message);
    let mut answers = send(handle, message, NLM_F_ACK | flags, request)?;
    while let Some(answer) = answers.next().await {
        accept(answer, request)?;
    }
    Ok(())
}

fn send(
    handle: &Handle,
    message: RouteNetlinkMessage,
    flags: u16,
    request: &'static str,
) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, NodeError> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    handle.clone().request(message).map_err(|_| NodeError::Ended { request: request.into() })
}

/// The message inside; `None` for an acknowledgement.
fn accept(
    answer: NetlinkMessage<RouteNetlinkMessage>,
    request: &'static str,
) -> Result<Option<RouteNetlinkMessage>, NodeError> {
    match answer.payload {
        NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
        NetlinkPayload::Error(error) if error.code.is_some() => {
            Err(NodeError::Refused { request: request.into(), source: error.to_io() })
        }
        _ => Ok(None),
    }
}
