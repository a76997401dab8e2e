//! Which neighbour had which address, so that a change of it is noticed for clients' gateways too.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use lb_common::wire::Mac;

use crate::node::Node;

/// The last known address of every neighbour.
#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<(u32, Ipv4Addr), Mac>);

impl Neighbours {
    /// As the kernel has them now.
    pub(super) fn of(node: &Node) -> Self {
        let known = node.neighbours().into_iter();
        Self(known.map(|(ifindex, address, mac)| ((ifindex, address), mac)).collect())
    }

    /// Takes note; the old address if it was another.
    pub(super) fn changed(&mut self, ifindex: u32, address: Ipv4Addr, mac: Mac) -> Option<Mac> {
        self.0.insert((ifindex, address), mac).filter(|before| *before != mac)
    }
}
