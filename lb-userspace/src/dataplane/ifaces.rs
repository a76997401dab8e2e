//! What the program knows of interfaces: IFACES, VLANS and DEVICES, and the hops that were learned on them.

use std::collections::HashSet;

use lb_common::abi::{Iface, NextHop, Tags, VlanKey};

use super::maps::Maps;
use super::preflight::InterfaceFacts;
use super::table::TableError;
use super::vlans;

impl Maps {
    /// Lets frames in and out by an interface: IFACES and DEVICES.
    pub(super) fn put_interface(&self, facts: &InterfaceFacts) -> Result<(), TableError> {
        self.put(facts, facts.mtu, (facts.ifindex, &facts.driver), Tags::default())
    }

    /// The same of an interface whose frames have `tags` and leave by `device`, which `driver` drives.
    fn put(
        &self,
        facts: &InterfaceFacts,
        mtu: u32,
        (device, driver): (u32, &str),
        tags: Tags,
    ) -> Result<(), TableError> {
        let flags = if super::bounces(driver) { NextHop::TX } else { 0 }
            | if tags.is_empty() { 0 } else { NextHop::TAGGED };
        // An IPv4 packet is no longer than that, whatever the interface takes.
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let before = self.ifaces.get(&facts.ifindex)?;
        self.ifaces.put(
            &facts.ifindex,
            &Iface {
                mac: facts.mac,
                mtu,
                flags,
                pad: [0; 3],
                addr: facts.address,
                addr6: facts.address6,
                tags,
            },
        )?;
        // Hops may have been learned in another mode, or before the interface went down.
        if before.is_none_or(|before| (before.mtu, before.flags) != (mtu, flags)) {
            let flags = flags | NextHop::LEARNED;
            let stale = |hop: &NextHop| {
                hop.ifindex == facts.ifindex && (hop.mtu, hop.flags) != (mtu, flags)
            };
            self.rewrite_learned(stale, |hop| NextHop { mtu, flags, ..hop })?;
        }
        self.devices.put(&facts.ifindex, &[device, 0])
    }

    /// Changes learned next hops that are `meant`; how many.
    pub(super) fn rewrite_learned(
        &self,
        meant: impl Fn(&NextHop) -> bool,
        change: impl Fn(NextHop) -> NextHop,
    ) -> Result<usize, TableError> {
        let mut found = Vec::new();
        self.next_hops.for_each(|id, hop| {
            if hop.flags & NextHop::LEARNED != 0 && meant(hop) {
                found.push((*id, *hop));
            }
        })?;
        for (id, hop) in &found {
            self.next_hops.put(id, &change(*hop))?;
        }
        Ok(found.len())
    }

    /// Lets the frames of VLANs on `attached` in and out; removes all interfaces but those.
    pub(super) fn put_vlans(
        &self,
        attached: &[InterfaceFacts],
        there: &[InterfaceFacts],
    ) -> Result<(), TableError> {
        let vlans = vlans::on(attached, there);
        for (vlan, device, tags) in &vlans {
            let mtu = vlans::mtu(vlan, device, *tags);
            self.put(vlan, mtu, (device.ifindex, &device.driver), *tags)?;
            let key = VlanKey { tags: *tags, ifindex: device.ifindex, pad: 0 };
            self.vlans.put(&key, &vlan.ifindex)?;
        }
        let mut stale = Vec::new();
        self.vlans.for_each(|key, ifindex| {
            let known = vlans.iter().any(|(vlan, device, tags)| {
                (device.ifindex, *tags, vlan.ifindex) == (key.ifindex, key.tags, *ifindex)
            });
            if !known {
                stale.push(*key);
            }
        })?;
        for key in stale {
            self.vlans.remove(&key)?;
        }
        let mut gone = HashSet::new();
        let served = |ifindex: u32| {
            let mut all = attached.iter().chain(vlans.iter().map(|(vlan, ..)| *vlan));
            all.any(|facts| facts.ifindex == ifindex)
        };
        let mut note = |ifindex: u32| {
            if !served(ifindex) {
                gone.insert(ifindex);
            }
        };
        self.devices.for_each(|&ifindex, _| note(ifindex))?;
        self.ifaces.for_each(|&ifindex, _| note(ifindex))?;
        for ifindex in gone {
            self.devices.remove(&ifindex)?;
            self.ifaces.remove(&ifindex)?;
        }
        Ok(())
    }
}
