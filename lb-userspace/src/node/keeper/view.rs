//! From what is known of a next hop to where frames go, and the words for it. Pure but for [`Facts::of`].

use std::net::IpAddr;

use super::{Known, Resolved};
use crate::node::state::{Link, NeighState, Neighbour};
use crate::node::{Node, NodeError, Route};

/// All that counts for one next hop.
pub(super) struct Facts {
    ifindex: u32,
    /// Whose Ethernet address is wanted.
    address: IpAddr,
    link: Option<Link>,
    neighbour: Option<Neighbour>,
    source: Option<IpAddr>,
}

impl Facts {
    pub(super) fn of(node: &Node, route: &Route, destination: IpAddr) -> Self {
        let address = route.gateway.unwrap_or(destination);
        let ifindex = route.ifindex;
        node.read(|state| Self {
            ifindex,
            address,
            link: state.link(ifindex).cloned(),
            neighbour: state.neighbour(ifindex, address),
            source: route.prefsrc.or_else(|| state.primary_address(ifindex, destination.is_ipv6())),
        })
    }

    /// Where frames go, given where they went before and what the kernel said when it was told to ask.
    pub(super) fn resolve(&self, before: Option<&Resolved>, refusal: Option<&str>) -> Known {
        let Some(link) = &self.link else {
            return Err(format!("the interface with index {} is gone", self.ifindex));
        };
        if !link.up {
            return Err(format!("interface `{}` is down", link.name));
        }
        let Some(src_mac) = link.mac else {
            return Err(format!("interface `{}` is not an Ethernet", link.name));
        };
        let state = self.neighbour.map_or(NeighState::None, |neighbour| neighbour.state);
        let answered = self.neighbour.filter(|_| state.usable()).and_then(|n| n.mac);
        let last = before.filter(|b| (b.ifindex, b.address) == (self.ifindex, self.address));
        let dst_mac = match (answered, last) {
            (Some(mac), _) => mac,
            // Forgotten, or being asked for: what it was is the best guess until the answer.
            (None, Some(last)) if state != NeighState::Failed => last.dst_mac,
            (None, _) => return Err(self.silence(&link.name, state, refusal)),
        };
        Ok(Resolved {
            ifindex: self.ifindex,
            address: self.address,
            dst_mac,
            src_mac,
            mtu: link.mtu,
            source: self.source,
        })
    }

    fn silence(&self, interface: &str, state: NeighState, refusal: Option<&str>) -> String {
        let address = self.address;
        match (refusal, state) {
            (Some(refusal), _) => format!("cannot ask for {address} on `{interface}`: {refusal}"),
            (None, NeighState::Failed) => {
                format!("{address} does not answer to ARP on `{interface}`")
            }
            (None, _) => format!("waiting for an ARP answer of {address} on `{interface}`"),
        }
    }
}

/// What to say of a change.
pub(super) fn reason(before: Option<&Resolved>, now: &Known) -> String {
    let now = match now {
        Ok(now) => now,
        Err(reason) => return reason.clone(),
    };
    match before {
        None => format!("{} is at {}", now.address, now.dst_mac),
        Some(before) if (before.ifindex, before.address) != (now.ifindex, now.address) => {
            format!("the route leads to {} now, at {}", now.address, now.dst_mac)
        }
        Some(before) if before.dst_mac != now.dst_mac => {
            format!("{} moved from {} to {}", now.address, before.dst_mac, now.dst_mac)
        }
        Some(_) => "the interface towards it changed".into(),
    }
}

/// Why the kernel did not ask.
pub(super) fn refusal(error: &NodeError) -> String {
    match error {
        NodeError::Refused { source, .. } if source.raw_os_error() == Some(libc::ENOBUFS) => {
            "the kernel's neighbour table is full; \
             hint: raise net.ipv4.neigh.default.gc_thresh2 and gc_thresh3"
                .into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use lb_common::wire::Mac;

    const OLD: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const NEW: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const OWN: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn facts(mac: Option<Mac>, state: NeighState) -> Facts {
        let link = Link {
            ifindex: 7,
            name: "eth1".into(),
            up: true,
            mtu: 1500,
            mac: Some(OWN),
            enabled: true,
            xdp: None,
            vlan: None,
            master: None,
        };
        Facts {
            ifindex: 7,
            address: HOP,
            link: Some(link),
            neighbour: (state != NeighState::None).then_some(Neighbour { mac, state }),
            source: None,
        }
    }

    fn resolved(dst_mac: Mac) -> Resolved {
        Resolved { ifindex: 7, address: HOP, dst_mac, src_mac: OWN, mtu: 1500, source: None }
    }

    // K-36
    #[test]
    fn neighbour_states_give_the_address_to_send_to() {
        use NeighState::{Delay, Failed, Incomplete, None as Nothing, Permanent, Probe, Stale};
        // (before, entry, state, expected)
        let cases = [
            (None, Some(NEW), NeighState::Reachable, Some(NEW)),
            (None, Some(NEW), Stale, Some(NEW)),
            (None, Some(NEW), Permanent, Some(NEW)),
            (None, None, Incomplete, None),
            (None, None, Nothing, None),
            (Some(OLD), Some(NEW), Stale, Some(NEW)),
            (Some(OLD), Some(OLD), Delay, Some(OLD)),
            (Some(OLD), Some(OLD), Probe, Some(OLD)),
            (Some(OLD), None, Nothing, Some(OLD)),
            (Some(OLD), None, Incomplete, Some(OLD)),
            (Some(OLD), None, Failed, None),
            (None, None, Failed, None),
        ];
        for (before, mac, state, expected) in cases {
            let before = before.map(resolved);
            let known = facts(mac, state).resolve(before.as_ref(), None);
            assert_eq!(known.ok().map(|r| r.dst_mac), expected, "{before:?} {state:?}");
        }
    }

    #[test]
    fn address_of_another_next_hop_is_not_kept() {
        let mut before = resolved(OLD);
        before.address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254));
        assert!(facts(None, NeighState::None).resolve(Some(&before), None).is_err());
    }

    // K-29
    #[test]
    fn interface_without_carrier_takes_no_frames() {
        let mut facts = facts(Some(OLD), NeighState::Reachable);
        facts.link.as_mut().unwrap().up = false;
        let known = facts.resolve(Some(&resolved(OLD)), None);
        assert_eq!(known, Err("interface `eth1` is down".into()));
    }

    #[test]
    fn refusal_of_the_kernel_is_named() {
        let full = NodeError::Refused {
            request: "ask for a neighbour".into(),
            source: std::io::Error::from_raw_os_error(libc::ENOBUFS),
        };
        let said = refusal(&full);
        let known = facts(None, NeighState::None).resolve(None, Some(&said));
        assert!(known.unwrap_err().contains("gc_thresh3"));
    }
}
