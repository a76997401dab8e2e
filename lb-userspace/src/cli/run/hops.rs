//! Which neighbour had which address, so that a change of it is noticed for clients' gateways too.
//!
//! The way back to clients is known by the Ethernet address their frames came from. When an IP address moves from one
//! machine to another, frames for what was behind the first go to the second, but only once no other IP address
//! is known at the first: it may be a living host of which one address moved away.

use std::collections::HashMap;
use std::net::IpAddr;

use lb_common::wire::Mac;

/// What was behind `from` is behind `to` now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) ifindex: u32,
    pub(super) from: Mac,
    pub(super) to: Mac,
}

/// The last known address of every neighbour, and moves that wait.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: HashMap<(u32, IpAddr), Mac>,
    waiting: Vec<Move>,
}

impl Neighbours {
    /// As the kernel has them now.
    pub(super) fn of(now: Vec<(u32, IpAddr, Mac)>) -> Self {
        let known = now.into_iter().map(|(ifindex, address, mac)| ((ifindex, address), mac));
        Self { known: known.collect(), waiting: Vec::new() }
    }

    /// Takes note; `None`: it answers no longer. The moves that are due now.
    pub(super) fn changed(&mut self, ifindex: u32, address: IpAddr, mac: Option<Mac>) -> Vec<Move> {
        let before = match mac {
            Some(mac) => self.known.insert((ifindex, address), mac),
            None => self.known.remove(&(ifindex, address)),
        };
        if let (Some(from), Some(to)) = (before, mac)
            && from != to
        {
            // What moved to `from` before goes no further, and what waits to leave it goes to the latest.
            self.waiting
                .retain(|wait| wait.ifindex != ifindex || (wait.from != from && wait.from != to));
            self.waiting.push(Move { ifindex, from, to });
        }
        let Self { known, waiting } = self;
        let mut due = Vec::new();
        waiting.retain(|wait| {
            let held = known.iter().any(|((on, _), mac)| *on == wait.ifindex && *mac == wait.from);
            if !held {
                due.push(*wait);
            }
            held
        });
        due
    }

    /// Whoever else is known at an address that something moved away from: to be asked whether they are still there.
    pub(super) fn in_doubt(&self) -> Vec<(u32, IpAddr)> {
        let waits = |ifindex: u32, mac: Mac| {
            self.waiting.iter().any(|wait| wait.ifindex == ifindex && wait.from == mac)
        };
        let known = self.known.iter().filter(|((ifindex, _), mac)| waits(*ifindex, **mac));
        known.map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const FLOATING: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn moved(from: Mac, to: Mac) -> Vec<Move> {
        vec![Move { ifindex: 7, from, to }]
    }

    // K-37
    #[test]
    fn a_gateway_with_one_address_moves_at_once_and_back() {
        let mut neighbours = Neighbours::of(vec![(7, FLOATING, A)]);
        assert_eq!(neighbours.changed(7, FLOATING, Some(A)), []);
        assert_eq!(neighbours.changed(7, FLOATING, Some(B)), moved(A, B));
        assert_eq!(neighbours.changed(7, FLOATING, Some(A)), moved(B, A));
    }

    #[test]
    fn a_living_host_keeps_its_clients_when_one_address_moves_away() {
        let mut neighbours = Neighbours::of(vec![(7, FLOATING, A), (7, OWN, A)]);
        assert_eq!(neighbours.changed(7, FLOATING, Some(B)), []);
        assert_eq!(neighbours.in_doubt(), [(7, OWN)]);
        // It turns out to be gone after all.
        assert_eq!(neighbours.changed(7, OWN, None), moved(A, B));
        assert_eq!(neighbours.in_doubt(), []);
    }

    #[test]
    fn other_interfaces_are_other_wires() {
        let mut neighbours = Neighbours::of(vec![(7, FLOATING, A), (8, OWN, A)]);
        assert_eq!(neighbours.changed(7, FLOATING, Some(B)), moved(A, B));
    }
}
