//! What is written into a packet that leaves, read from the frame that the program left.

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::Method;
use lb_common::engine::PacketBytes as _;
use lb_common::host::Frame;
use lb_common::wire::eth::Ethernet;
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::ipv6::Ipv6;
use lb_common::wire::vlan::Vlan;
use lb_common::wire::{Address, Mac};
use serde::Serialize;

use super::{Facts, arriving, at, name, tuple};

/// What is written into the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rewrite {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) new_source: SocketAddr,
    pub(super) new_destination: SocketAddr,
    pub(super) interface: String,
    pub(super) source_mac: String,
    pub(super) destination_mac: String,
    /// What is put around the packet, whose own addresses are those above.
    pub(super) tunnel: Option<Outer>,
}

/// The addresses of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Outer {
    pub(super) kind: &'static str,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

/// What becomes of the packet's bytes.
pub(super) fn changes(rewrite: &Rewrite, method: Option<Method>) -> String {
    let Rewrite { source, destination, new_source, new_destination, .. } = rewrite;
    if !method.is_some_and(Method::is_direct) {
        return format!(
            "rewritten: {source} > {destination} becomes {new_source} > {new_destination}, TTL one less, checksums by the \
             difference"
        );
    }
    let around = rewrite.tunnel.as_ref().map_or_else(String::new, |tunnel| {
        format!(", and put into {} from {} to {}", tunnel.kind, tunnel.source, tunnel.destination)
    });
    format!(
        "kept as it is: {source} > {destination}, TTL one less{around}; who gets it holds that address, and answers past \
         this host"
    )
}

/// A frame without its VLAN tags.
fn untagged(mut bytes: Vec<u8>) -> Vec<u8> {
    let tagged = |bytes: &[u8]| {
        let kind = bytes.get(12..14).and_then(|kind| <[u8; 2]>::try_from(kind).ok());
        kind.is_some_and(Vlan::follows) && bytes.len() >= Ethernet::LEN + Vlan::LEN
    };
    while tagged(&bytes) {
        bytes.drain(12..12 + Vlan::LEN);
    }
    bytes
}

/// The outer addresses of a frame.
fn outer(frame: &Frame, method: Method) -> Option<Outer> {
    let kind = match method {
        Method::Ipip => "ipip",
        Method::Gre => "gre",
        Method::Gue => "gue",
        Method::Nat | Method::FullNat | Method::Dr => return None,
    };
    let eth: &Ethernet = frame.at(0)?;
    let (source, destination) = if eth.ether_type() == Ethernet::IPV6 {
        let ip: &Ipv6 = frame.at(Ethernet::LEN)?;
        (ip.src().into(), ip.dst().into())
    } else {
        let ip: &Ipv4 = frame.at(Ethernet::LEN)?;
        (ip.src().widened().into(), ip.dst().widened().into())
    };
    Some(Outer { kind, source, destination })
}

impl Rewrite {
    /// What was done to a frame that leaves.
    pub(super) fn of(facts: &Facts<'_>, method: Option<Method>) -> Option<Self> {
        let after = Frame::new(untagged(facts.rehearsed.frame.clone()));
        let from = arriving(facts)?;
        let tunnel = method.and_then(|method| outer(&after, method));
        // What is inside is as it came.
        let to = if tunnel.is_some() { from } else { tuple(&after)? };
        let eth: &Ethernet = after.at(0)?;
        let mac = |mac: Mac| mac.to_string();
        Some(Self {
            source: at(from.src, from.sport),
            destination: at(from.dst, from.dport),
            new_source: at(to.src, to.sport),
            new_destination: at(to.dst, to.dport),
            interface: name(facts, facts.rehearsed.leaves_by),
            source_mac: mac(eth.src()),
            destination_mac: mac(eth.dst()),
            tunnel,
        })
    }
}
