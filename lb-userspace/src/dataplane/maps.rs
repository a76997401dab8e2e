//! All pinned maps of an instance, typed by the layout in `lb_common::abi`.

use std::path::Path;

use lb_common::abi::{
    Config, Flow, FlowKey, FragmentKey, Fragmented, Gauge, Iface, LastHopKey, Load, NextHop, Real,
    RealCounters, Retired, Service, ServiceKey, Sticky, StickyKey, VlanKey, map,
};
use lb_common::wire::{Addr4, Addr6, Address};

use super::pins::Pins;
use super::table::{PerCpu, Table, TableError};

/// A family of addresses and the names of its maps.
pub trait Family: Address {
    const FLOWS: &'static str;
    const HALF_OPEN: &'static str;
    const FRAGMENTS: &'static str;

    /// Its maps.
    fn of(maps: &Maps) -> &FamilyMaps<Self>;
}

impl Family for Addr4 {
    const FLOWS: &'static str = map::FLOWS4;
    const HALF_OPEN: &'static str = map::HALF_OPEN4;
    const FRAGMENTS: &'static str = map::FRAGMENTS4;

    fn of(maps: &Maps) -> &FamilyMaps<Self> {
        &maps.ipv4
    }
}

impl Family for Addr6 {
    const FLOWS: &'static str = map::FLOWS6;
    const HALF_OPEN: &'static str = map::HALF_OPEN6;
    const FRAGMENTS: &'static str = map::FRAGMENTS6;

    fn of(maps: &Maps) -> &FamilyMaps<Self> {
        &maps.ipv6
    }
}

/// The maps of one family.
#[derive(Clone)]
pub struct FamilyMaps<A: Family> {
    pub flows: Table<FlowKey<A>, Flow<A>>,
    pub half_open: Table<FlowKey<A>, Flow<A>>,
    pub fragments: Table<FragmentKey<A>, Fragmented<A>>,
}

impl<A: Family> FamilyMaps<A> {
    fn open(maps: &Path) -> Result<Self, TableError> {
        Ok(Self {
            flows: Table::open(maps, A::FLOWS)?,
            half_open: Table::open(maps, A::HALF_OPEN)?,
            fragments: Table::open(maps, A::FRAGMENTS)?,
        })
    }
}

/// Handles of every map that the daemon or a tool touches. Cloning shares the descriptors.
#[derive(Clone)]
pub struct Maps {
    pub ipv4: FamilyMaps<Addr4>,
    pub ipv6: FamilyMaps<Addr6>,
    pub services: Table<ServiceKey, Service>,
    pub slots: Table<u32, u32>,
    pub reals: Table<u32, Real>,
    pub loads: Table<u32, Load>,
    pub half_loads: Table<u32, u32>,
    pub next_hops: Table<u32, NextHop>,
    pub last_hops: Table<LastHopKey, u32>,
    pub sticky: Table<StickyKey, Sticky>,
    pub locals: Table<u32, Addr6>,
    pub ports: Table<u32, u32>,
    pub config: Table<u32, Config>,
    pub gauges: Table<u32, u32>,
    pub ifaces: Table<u32, Iface>,
    pub vlans: Table<VlanKey, u32>,
    /// The values are `struct bpf_devmap_val`: an ifindex and, here always, no program.
    pub devices: Table<u32, [u32; 2]>,
    pub reasons: PerCpu<u64>,
    pub real_counters: PerCpu<RealCounters>,
    pub retired: Table<ServiceKey, Retired>,
}

impl Maps {
    /// Opens the pins of an instance.
    pub fn open(pin_dir: &Path) -> Result<Self, TableError> {
        let maps = &Pins::new(pin_dir).maps();
        Ok(Self {
            ipv4: FamilyMaps::open(maps)?,
            ipv6: FamilyMaps::open(maps)?,
            services: Table::open(maps, map::SERVICES)?,
            slots: Table::open(maps, map::SLOTS)?,
            reals: Table::open(maps, map::REALS)?,
            loads: Table::open(maps, map::LOADS)?,
            half_loads: Table::open(maps, map::HALF_LOADS)?,
            next_hops: Table::open(maps, map::NEXT_HOPS)?,
            last_hops: Table::open(maps, map::LAST_HOPS)?,
            sticky: Table::open(maps, map::STICKY)?,
            locals: Table::open(maps, map::LOCALS)?,
            ports: Table::open(maps, map::PORTS)?,
            config: Table::open(maps, map::CONFIG)?,
            gauges: Table::open(maps, map::GAUGES)?,
            ifaces: Table::open(maps, map::IFACES)?,
            vlans: Table::open(maps, map::VLANS)?,
            devices: Table::open(maps, map::DEVICES)?,
            reasons: PerCpu::open(maps, map::REASONS)?,
            real_counters: PerCpu::open(maps, map::COUNT_REAL)?,
            retired: Table::open(maps, map::COUNT_RETIRED)?,
        })
    }

    /// CONFIG as it stands.
    pub fn config(&self) -> Result<Config, TableError> {
        Ok(self.config.get(&0)?.unwrap_or_default())
    }

    /// An element of GAUGES.
    pub fn gauge(&self, gauge: Gauge) -> Result<u32, TableError> {
        Ok(self.gauges.get(&(gauge as u32))?.unwrap_or(0))
    }
}
