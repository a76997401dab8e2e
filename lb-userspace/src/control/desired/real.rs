//! How a real server lies in the tables.

use std::net::IpAddr;

use lb_common::abi::{HopState, Method, NextHop, Real, RealFlags, RealId, ServiceId, limits};
use lb_common::engine::outer;
use lb_common::wire::{Addr6, Port};

use super::accepted::{Accepted, AcceptedReal};
use super::{DesiredReal, Inputs};
use crate::config::model::{AddressRange, Kind, ReplyPath, Tunnel, TunnelChecksum};
use crate::control::error::ControlError;
use crate::control::ids::Ids;
use crate::control::state::Hop;

/// A real server and what the slot table has to know of it.
pub(super) struct Built {
    pub(super) real: DesiredReal,
    /// In IPVS's list: up, or kept with weight 0 by `inhibit_on_failure`.
    pub(super) listed: bool,
    /// Its neighbour answered once, and full-NAT has a source address.
    pub(super) reachable: bool,
}

/// IPVS stores weights as `int`.
const WEIGHT_MAX: u32 = i32::MAX.unsigned_abs();

/// The tables of a real server.
pub(super) fn build(
    inputs: &Inputs<'_>,
    service: &Accepted<'_>,
    accepted: &AcceptedReal<'_>,
    service_id: ServiceId,
    ids: &mut Ids,
) -> Result<Built, ControlError> {
    let method = method(inputs, service, accepted)?;
    let id = ids.real(accepted.key).map_err(|_| ControlError::TooManyReals {
        service: service.ident.to_string(),
        real: accepted.ident.to_string(),
        limit: limits::REALS,
    })?;
    let health = inputs.health.get(&accepted.key);
    let up = health.is_none_or(super::super::health::RealHealth::is_up);
    let listed = up || accepted.inhibit;
    let delta = health.map_or(0, |health| health.weight_delta);
    let tunnel = Tunnelled::of(method, accepted);
    // Without a hop neither new flows nor live ones nor templates lead there.
    let hop =
        next_hop(inputs, accepted, id, tunnel).filter(|_| obstacle(inputs, accepted).is_none());
    let locals = match method {
        Method::Nat | Method::Dr => Vec::new(),
        Method::FullNat => locals(inputs, service, accepted, id)?,
        Method::Ipip | Method::Gre | Method::Gue => own_source(inputs, accepted, id),
    };
    let sourced = matches!(method, Method::Nat | Method::Dr) || !locals.is_empty();
    let reachable = hop.is_some() && sourced;
    let path = match inputs.model.globals.reply_path {
        ReplyPath::Strict => 0,
        ReplyPath::Any => RealFlags::ANY_PATH,
    };
    let real = Real {
        addr: accepted.key.addr,
        port: accepted.key.port,
        method: method as u8,
        flags: RealFlags::USED | path | tunnel.flags | if listed { RealFlags::UP } else { 0 },
        weight: if up { effective_weight(accepted.weight, delta) } else { 0 },
        locals_at: 0,
        locals_len: 0,
        mss: service.server.mss.unwrap_or(0),
        service: accepted.key.service,
        service_id,
        tunnel_port: tunnel.port,
    };
    let real = DesiredReal { id, real, locals, hop: hop.unwrap_or_default() };
    Ok(Built { real, listed, reachable })
}

/// The configured weight and what dynamic checks add to it.
pub(in crate::control) fn effective_weight(weight: u32, delta: i64) -> u32 {
    let sum = i64::from(weight).saturating_add(delta).max(0);
    u32::try_from(sum).unwrap_or(u32::MAX).min(WEIGHT_MAX)
}

fn method(
    inputs: &Inputs<'_>,
    service: &Accepted<'_>,
    accepted: &AcceptedReal<'_>,
) -> Result<Method, ControlError> {
    match accepted.kind {
        Kind::FullNat => Ok(Method::FullNat),
        Kind::Dr => Ok(Method::Dr),
        Kind::Tun => Ok(match accepted.tunnel {
            Tunnel::Ipip => Method::Ipip,
            Tunnel::Gre { .. } => Method::Gre,
            Tunnel::Gue { .. } => Method::Gue,
        }),
        // A server on the clients' side answers them directly, past the translation.
        Kind::Nat if inputs.host.interfaces == 1 => Err(ControlError::NatOnOneArm {
            service: service.ident.to_string(),
            real: accepted.ident.to_string(),
        }),
        Kind::Nat => Ok(Method::Nat),
    }
}

/// What a tunnel has beside its kind.
#[derive(Clone, Copy)]
struct Tunnelled {
    /// [`RealFlags::CHECKSUM`] or 0.
    flags: u8,
    /// Of GUE.
    port: Port,
    /// `None`: there is no tunnel.
    method: Option<Method>,
}

impl Tunnelled {
    fn of(method: Method, accepted: &AcceptedReal<'_>) -> Self {
        // Remote checksum offload is for checksums that a device shall finish: IPVS too sends none where they are whole.
        let (checksum, port) = match accepted.tunnel {
            Tunnel::Ipip => (TunnelChecksum::None, 0),
            Tunnel::Gre { checksum } => (checksum, 0),
            Tunnel::Gue { port, checksum } => (checksum, port),
        };
        let flags = if checksum == TunnelChecksum::Full { RealFlags::CHECKSUM } else { 0 };
        let method = Some(method).filter(|method| method.is_tunnel());
        let flags = if method.is_some() { flags } else { 0 };
        Self { flags, port: Port::new(port), method }
    }
}

/// Why nothing can be sent to it whatever its neighbour says.
pub(super) fn obstacle(inputs: &Inputs<'_>, accepted: &AcceptedReal<'_>) -> Option<&'static str> {
    match (accepted.kind, accepted.tunnel) {
        (Kind::Dr, _) => match inputs.hops.get(&accepted.addr) {
            // Which would route a packet for the virtual address back here.
            Some(Hop::Resolved(info)) if info.gateway => Some(
                "gets nothing: the way to it leads by a gateway, and DR needs it on a link of this host; TUN does not",
            ),
            _ => None,
        },
        (
            Kind::Tun,
            Tunnel::Gre { checksum: TunnelChecksum::Full }
            | Tunnel::Gue { checksum: TunnelChecksum::Full, .. },
        ) if !inputs.host.tunnel_checksums => Some(
            "gets nothing: tunnels with checksums (csum) need mode xdp, and this instance runs in mode tc; write nocsum",
        ),
        _ => None,
    }
}

/// Where frames to it go; `None`: that was never known. What the tables say holds until the neighbour is reported.
fn next_hop(
    inputs: &Inputs<'_>,
    accepted: &AcceptedReal<'_>,
    id: RealId,
    tunnel: Tunnelled,
) -> Option<NextHop> {
    match inputs.hops.get(&accepted.addr) {
        Some(Hop::Resolved(info)) => Some(match tunnel.method {
            None => info.next_hop(),
            Some(method) => {
                let hop = info.next_hop();
                let mtu = outer::mtu(hop.mtu, method, tunnel.flags, accepted.addr.is_ipv6());
                NextHop { mtu, flags: hop.flags | NextHop::TUNNEL, ..hop }
            }
        }),
        // It answered once: whether it is still there is for its checks to say.
        Some(Hop::Lost) => Some(NextHop::default()),
        Some(Hop::Unresolved) => None,
        None => {
            // A hop without its real server is of another that had this id.
            let hop = inputs.mirror.reals.get(&id).and(inputs.mirror.hops.get(&id));
            hop.filter(|hop| hop.state == HopState::Valid as u8).copied()
        }
    }
}

/// The source addresses that full-NAT may use towards it.
fn locals(
    inputs: &Inputs<'_>,
    service: &Accepted<'_>,
    accepted: &AcceptedReal<'_>,
    id: RealId,
) -> Result<Vec<Addr6>, ControlError> {
    if let Some(ranges) = &service.server.local_addresses {
        let list = expand(ranges, accepted.addr.is_ipv6())?;
        if list.is_empty() {
            return Err(ControlError::NoLocalAddress {
                service: service.ident.to_string(),
                real: accepted.addr,
            });
        }
        return Ok(list);
    }
    Ok(own_source(inputs, accepted, id))
}

/// The address that this host would send to it from.
fn own_source(inputs: &Inputs<'_>, accepted: &AcceptedReal<'_>, id: RealId) -> Vec<Addr6> {
    let source = match inputs.hops.get(&accepted.addr) {
        Some(Hop::Resolved(info)) => info.source,
        _ => None,
    };
    match source {
        Some(source) => vec![Addr6::from(source)],
        // Not reported (yet, or any more): as it was.
        None => inputs
            .mirror
            .reals
            .get(&id)
            .map(|real| inputs.mirror.locals_of(real).to_vec())
            .unwrap_or_default(),
    }
}

/// Every address of the ranges that is of the family, once.
fn expand(ranges: &[AddressRange], ipv6: bool) -> Result<Vec<Addr6>, ControlError> {
    let number = |address: IpAddr| u128::from_be_bytes(Addr6::from(address).octets());
    let ends = |range: &AddressRange| {
        let ours = range.first.is_ipv6() == ipv6 && range.last.is_ipv6() == ipv6;
        (ours && range.first <= range.last).then(|| (number(range.first), number(range.last)))
    };
    let ranges: Vec<(u128, u128)> = ranges.iter().filter_map(ends).collect();
    let sizes = ranges.iter().map(|(first, last)| (last - first).saturating_add(1));
    let wanted = sizes.fold(0, u128::saturating_add);
    if wanted > u128::from(super::LOCALS_MAX) {
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        return Err(ControlError::TooManyLocals { wanted, limit: super::LOCALS_MAX });
    }
    let mut seen = std::collections::HashSet::new();
    let numbers = ranges.iter().flat_map(|(first, last)| *first..=*last);
    Ok(numbers.filter(|n| seen.insert(*n)).map(|n| Addr6::new(n.to_be_bytes())).collect())
}
