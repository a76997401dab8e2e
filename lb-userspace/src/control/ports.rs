//! The ports that full-NAT may use as source: all that the host does not need for itself.
//!
//! The kernel knows nothing of our flows, so a port it might give to a socket must never be among them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::error::ControlError;

/// Which ports the host uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPorts {
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral: RangeInclusive<u16>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: Vec<u16>,
    /// What sockets are bound to.
    pub bound: BTreeSet<u16>,
}

impl Default for HostPorts {
    /// The kernel's default range (Documentation/networking/ip-sysctl.rst), nothing bound.
    fn default() -> Self {
        Self { ephemeral: 32_768..=60_999, reserved: Vec::new(), bound: BTreeSet::new() }
    }
}

/// The list for PORTS, in an order that strangers cannot guess (RFC 6056) and that depends on `seed` alone.
pub fn source_ports(host: &HostPorts, seed: u64) -> Result<Vec<u16>, ControlError> {
    let reserved: BTreeSet<u16> = host.reserved.iter().copied().collect();
    let free = |port: &u16| {
        !host.ephemeral.contains(port) && !reserved.contains(port) && !host.bound.contains(port)
    };
    // All are shuffled and then chosen from, so that a port more or less does not turn the order of the others.
    let mut ports: Vec<u16> = (1024..=u16::MAX).collect();
    shuffle(&mut ports, seed);
    ports.retain(free);
    if ports.is_empty() { Err(ControlError::NoPorts) } else { Ok(ports) }
}

/// Fisher and Yates, drawing from `SplitMix64`.
fn shuffle(ports: &mut [u16], seed: u64) {
    let mut state = seed;
    for last in (1..ports.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // Multiply-shift: below last + 1, which fits usize.
        let pick = ((u128::from(z) * (last as u128 + 1)) >> 64) as usize;
        ports.swap(last, pick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_the_host_needs_are_left_out() {
        let host = HostPorts {
            ephemeral: 10_000..=65_000,
            reserved: vec![2000, 2001],
            bound: BTreeSet::from([1024, 65_535]),
        };
        let ports = source_ports(&host, 7).unwrap();
        assert_eq!(ports.len(), (10_000 - 1024) + 535 - 4);
        let set: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(set.len(), ports.len());
        for port in [80, 1024, 2000, 2001, 10_000, 65_000, 65_535] {
            assert!(!set.contains(&port), "{port}");
        }
    }

    #[test]
    fn order_depends_on_the_seed_alone() {
        let host = HostPorts::default();
        assert_eq!(source_ports(&host, 1).unwrap(), source_ports(&host, 1).unwrap());
        assert_ne!(source_ports(&host, 1).unwrap(), source_ports(&host, 2).unwrap());
        assert_eq!(source_ports(&host, 1).unwrap().len(), 64_512 - 28_232);
    }

    #[test]
    fn no_port_left_names_the_sysctl() {
        let host = HostPorts { ephemeral: 1024..=65_535, ..HostPorts::default() };
        let error = source_ports(&host, 1).unwrap_err();
        assert!(error.to_string().contains("net.ipv4.ip_local_port_range"));
    }
}
