//! The engine's tables over an instance's pinned maps, for one packet: reads go through, once for each element; changes
//! stay here; each look is noted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use bytemuck::Pod;
use lb_common::abi::{
    Budget, Config, ConnState, Flow, FlowKey, FlowRef, FragmentKey, Fragmented, Gauge, HopId,
    Iface, LastHopKey, Load, NextHop, Notice, Real, RealId, Service, ServiceId, ServiceKey, Sticky,
    StickyKey, Tick, VlanKey, map,
};
use lb_common::engine::tables::{InsertError, LoadChange, Table as Which};
use lb_common::engine::{self, Flows, Scratch, Tables, sched};
use lb_common::wire::Addr6;

use super::Look;
use crate::dataplane::maps::{Family, Maps};
use crate::dataplane::pins::Pins;
use crate::dataplane::read::Reader;
use crate::dataplane::table::{Table, TableError};

/// An element as it was when it was first looked at: map, key, value.
pub(super) type Original = (&'static str, Vec<u8>, Vec<u8>);

/// An element that was looked at or written.
struct Element {
    /// What the instance has.
    original: Option<Vec<u8>>,
    /// What it is to the packet.
    now: Option<Vec<u8>>,
}

/// Owns what references were given out to.
#[derive(Default)]
struct Arena(RefCell<Vec<Box<dyn Any>>>);

impl Arena {
    /// Keeps a value where it is until the arena goes; the only pointer to it.
    fn keep<T: 'static>(&self, value: T) -> *mut T {
        let mut value = Box::new(value);
        let at = &raw mut *value;
        self.0.borrow_mut().push(value);
        at
    }
}

/// Table and key of a flow's entry.
type Place = (&'static str, Vec<u8>);

pub(super) struct Watched {
    maps: Maps,
    cursors: Table<u32, u32>,
    config: Option<Config>,
    now: Tick,
    elements: RefCell<BTreeMap<(&'static str, Vec<u8>), Element>>,
    /// Entries of the flow tables, `None` where there is none: they are changed in place.
    flows: RefCell<BTreeMap<Place, Option<*mut ()>>>,
    looks: RefCell<Vec<Look>>,
    failed: Cell<Option<TableError>>,
    arena: Arena,
}

impl Watched {
    pub(super) fn open(pins: &Pins, reader: &Reader) -> Result<Self, TableError> {
        let maps = reader.maps().clone();
        let watched = Self {
            cursors: Table::open(&pins.maps(), map::CURSORS)?,
            config: Some(maps.config()?),
            now: reader.now()?,
            maps,
            elements: RefCell::default(),
            flows: RefCell::default(),
            looks: RefCell::default(),
            failed: Cell::default(),
            arena: Arena::default(),
        };
        // What the copy needs whatever the packet is.
        watched.read(map::CONFIG, &watched.maps.config, &0);
        watched.maps.devices.for_each(|ifindex, device| {
            watched.set_original(map::DEVICES, ifindex, device);
        })?;
        Ok(watched)
    }

    /// What was noted and what was read; an error if anything could not be.
    pub(super) fn finish(self) -> Result<(Vec<Look>, Vec<Original>), TableError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let elements = self.elements.into_inner().into_iter();
        let originals = elements
            .filter_map(|((map, key), element)| Some((map, key, element.original?)))
            .collect();
        Ok((self.looks.into_inner(), originals))
    }

    fn note(&self, look: Look) {
        self.looks.borrow_mut().push(look);
    }

    fn set_original<K: Pod, V: Pod>(&self, name: &'static str, key: &K, value: &V) {
        let value = Some(bytemuck::bytes_of(value).to_vec());
        let element = Element { original: value.clone(), now: value };
        let key = bytemuck::bytes_of(key).to_vec();
        self.elements.borrow_mut().insert((name, key), element);
    }

    /// An element as it is to the packet.
    fn read<K: Pod, V: Pod>(&self, name: &'static str, table: &Table<K, V>, key: &K) -> Option<V> {
        let bytes = bytemuck::bytes_of(key).to_vec();
        let mut elements = self.elements.borrow_mut();
        let element = elements.entry((name, bytes)).or_insert_with(|| {
            let found = table.get(key).unwrap_or_else(|error| {
                self.failed.set(Some(error));
                None
            });
            let found = found.map(|value| bytemuck::bytes_of(&value).to_vec());
            Element { original: found.clone(), now: found }
        });
        element.now.as_deref().map(bytemuck::pod_read_unaligned)
    }

    /// Changes an element for the packet alone.
    fn write<K: Pod, V: Pod>(&self, name: &'static str, table: &Table<K, V>, key: &K, value: &V) {
        self.read(name, table, key);
        let bytes = bytemuck::bytes_of(key).to_vec();
        if let Some(element) = self.elements.borrow_mut().get_mut(&(name, bytes)) {
            element.now = Some(bytemuck::bytes_of(value).to_vec());
        }
    }

    /// A value that lives as long as the tables.
    fn lend<T: 'static>(&self, value: Option<T>) -> Option<&T> {
        // SAFETY: the arena keeps it in place as long as `self` lives, and nobody else has the pointer.
        value.map(|value| unsafe { &*self.arena.keep(value) })
    }

    fn entry<A: Family>(&self, which: Which, key: &FlowKey<A>) -> Option<*mut Flow<A>> {
        let (name, table) = table_of(&self.maps, which);
        let place = (name, bytemuck::bytes_of(key).to_vec());
        if let Some(known) = self.flows.borrow().get(&place) {
            return known.map(<*mut ()>::cast);
        }
        let found = self.read(name, table, key).map(|flow| self.arena.keep(flow));
        self.flows.borrow_mut().insert(place, found.map(<*mut Flow<A>>::cast));
        found
    }

    fn set_entry<A: Family>(&self, which: Which, key: &FlowKey<A>, entry: Option<*mut Flow<A>>) {
        let place = (table_of::<A>(&self.maps, which).0, bytemuck::bytes_of(key).to_vec());
        self.flows.borrow_mut().insert(place, entry.map(<*mut Flow<A>>::cast));
    }

    fn find<A: Family>(&self, which: Which, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        let entry = self.entry(which, key);
        // SAFETY: in the arena, and read between two changes only: there is one thread.
        let found = entry.map(|entry| unsafe { *entry }.widened());
        self.note(Look::Flow { table: which, key: key.widened(), found });
        // SAFETY: valid as long as `self` lives; changed through such references alone, word by word.
        entry.and_then(|entry| unsafe { FlowRef::from_raw(entry) })
    }
}

/// A flow table and its name.
fn table_of<A: Family>(maps: &Maps, which: Which) -> (&'static str, &Table<FlowKey<A>, Flow<A>>) {
    match which {
        Which::Flows => (A::FLOWS, &A::of(maps).flows),
        Which::HalfOpen => (A::HALF_OPEN, &A::of(maps).half_open),
    }
}

impl<A: Family + engine::Family> Flows<A> for Watched {
    fn with_scratch<R>(
        &self,
        _given_back: bool,
        work: impl FnOnce(&mut Scratch<A>) -> R,
    ) -> Option<R> {
        Some(work(&mut Scratch::default()))
    }

    fn flow(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        self.find(Which::Flows, key)
    }

    fn half_open(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        self.find(Which::HalfOpen, key)
    }

    fn insert(&self, table: Which, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), InsertError> {
        if self.entry(table, key).is_some() {
            return Err(InsertError::Exists);
        }
        self.set_entry(table, key, Some(self.arena.keep(*flow)));
        self.note(Look::Inserted { table, key: key.widened(), flow: flow.widened() });
        Ok(())
    }

    fn remove(&self, table: Which, key: &FlowKey<A>) -> bool {
        let was = self.entry(table, key).is_some();
        self.set_entry(table, key, None);
        if was {
            self.note(Look::Ended { table, key: key.widened() });
        }
        was
    }

    fn swap_state(&self, entry: &FlowRef<'_, A>, from: u32, to: ConnState) -> bool {
        let same = entry.state() == from;
        if same {
            entry.set_state(to);
        }
        same
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<&Fragmented<A>> {
        self.lend(self.read(A::FRAGMENTS, &A::of(&self.maps).fragments, key))
    }

    fn put_fragment(&self, key: &FragmentKey<A>, first: &Fragmented<A>) {
        self.write(A::FRAGMENTS, &A::of(&self.maps).fragments, key, first);
    }
}

impl Tables for Watched {
    fn now(&self) -> Tick {
        self.now
    }

    fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        let found = self.read(map::SERVICES, &self.maps.services, key);
        self.note(Look::Service { key: *key, found });
        self.lend(found)
    }

    fn real(&self, id: RealId) -> Option<&Real> {
        let found = self.read(map::REALS, &self.maps.reals, &id.0);
        if let Some(real) = found {
            self.note(Look::Real { id, real });
        }
        self.lend(found)
    }

    fn slot(&self, index: u32) -> Option<RealId> {
        let real = self.read(map::SLOTS, &self.maps.slots, &index).map(RealId)?;
        self.note(Look::Slot { index, real });
        Some(real)
    }

    fn next_pick(&self, service: ServiceId) -> Option<u32> {
        let turn = self.read(map::CURSORS, &self.cursors, &service.0)?;
        self.write(map::CURSORS, &self.cursors, &service.0, &turn.wrapping_add(1));
        self.note(Look::Turn { service, turn });
        Some(turn)
    }

    fn load(&self, id: RealId) -> Option<Load> {
        let mut load = self.read(map::LOADS, &self.maps.loads, &id.0)?;
        let half_open = self.read(map::HALF_LOADS, &self.maps.half_loads, &id.0)?;
        // As the program has it: below zero between the sweep's correction and a promotion that had counted already.
        if i32::try_from(half_open).is_ok() {
            load.inactive += half_open;
        }
        Some(load)
    }

    fn least_loaded(&self, slots_at: u32, len: u32, weights: u32) -> Option<RealId> {
        let chosen = sched::least::scan(self, slots_at, len, weights);
        self.note(Look::Least { chosen });
        chosen
    }

    fn add_load(&self, _id: RealId, _change: LoadChange) {}

    fn sticky(&self, key: &StickyKey) -> Option<Sticky> {
        let found = self.read(map::STICKY, &self.maps.sticky, key);
        self.note(Look::Template { key: *key, found });
        found
    }

    fn put_sticky(&self, key: &StickyKey, value: Sticky) -> bool {
        self.write(map::STICKY, &self.maps.sticky, key, &value);
        true
    }

    fn hop(&self, id: HopId) -> Option<&NextHop> {
        let found = self.read(map::NEXT_HOPS, &self.maps.next_hops, &id.0);
        if let Some(hop) = found {
            self.note(Look::Hop { id, hop });
        }
        self.lend(found)
    }

    fn put_hop(&self, id: HopId, hop: &NextHop) {
        self.write(map::NEXT_HOPS, &self.maps.next_hops, &id.0, hop);
    }

    fn last_hop(&self, key: &LastHopKey) -> Option<HopId> {
        let found = self.read(map::LAST_HOPS, &self.maps.last_hops, key).map(HopId);
        self.note(Look::Sender { key: *key, found });
        found
    }

    fn put_last_hop(&self, key: &LastHopKey, id: HopId) -> Result<(), InsertError> {
        self.write(map::LAST_HOPS, &self.maps.last_hops, key, &id.0);
        Ok(())
    }

    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        self.read(map::VLANS, &self.maps.vlans, key)
    }

    fn iface(&self, ifindex: u32) -> Option<&Iface> {
        self.lend(self.read(map::IFACES, &self.maps.ifaces, &ifindex))
    }

    fn local(&self, index: u32) -> Option<&Addr6> {
        self.lend(self.read(map::LOCALS, &self.maps.locals, &index))
    }

    fn port(&self, index: u32) -> Option<u16> {
        self.read(map::PORTS, &self.maps.ports, &index).map(|port| port as u16)
    }

    fn add_gauge(&self, gauge: Gauge, by: i32) -> u32 {
        let (gauges, index) = (&self.maps.gauges, gauge as u32);
        let Some(value) = self.read(map::GAUGES, gauges, &index) else { return 0 };
        self.write(map::GAUGES, gauges, &index, &value.wrapping_add_signed(by));
        value
    }

    fn count_packet(&self, _real: RealId, _reply: bool, _bytes: u16) {}

    fn count_connection(&self, _real: RealId) {}

    fn notice(&self, _notice: Notice) {}

    fn take(&self, budget: Budget, _now: Tick) -> bool {
        // What a CPU has spent in this tick is over before the packet comes.
        self.config.is_some_and(|config| config.budgets[budget as usize] > 0)
    }
}
