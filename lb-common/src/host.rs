//! The engine's tables and packets in ordinary memory: what tests and fuzzers run the engine on.
//!
//! Same semantics as the BPF maps: fixed capacities, insert-if-absent, an LRU that throws out its oldest.
//! Single-threaded; time stands still unless told.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::abi::{
    Budget, Config, ConnState, Flow, FlowKey, FlowRef, FragmentKey, Fragmented, Gauge, HeldHead,
    HopId, Iface, LastHopKey, Load, Method, NextHop, Notice, REASON_SLOTS, Real, RealCounters,
    RealId, Service, ServiceId, ServiceKey, Sticky, StickyKey, Tick, VlanKey, limits,
};
use crate::engine::parse::IP;
use crate::engine::tables::{InsertError, LoadChange, Table};
use crate::engine::{Flows, PacketBytes, Scratch, Tables, Verdict, walk};
use crate::wire::{Addr4, Addr6, Address, Wire};

/// A frame in a vector, with room in front as XDP has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The bytes from the Ethernet header on.
    pub bytes: Vec<u8>,
    /// The interface it came in by.
    pub ifindex: u32,
    /// Bytes of data in each of the packets it is made of; 0: it is one packet.
    pub segment: u16,
    /// Whether there is no room in front of it.
    pub cramped: bool,
    /// Whether somebody takes it when it is handed over.
    pub may_wait: bool,
    /// With what it was handed over.
    pub held: Cell<Option<HeldHead>>,
}

impl Frame {
    /// A frame that nobody would hold.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl PacketBytes for Frame {
    fn at<T: Wire>(&self, off: usize) -> Option<&T> {
        let bytes = self.bytes.get(off..off.checked_add(size_of::<T>())?)?;
        // SAFETY: long enough, alignment 1 and any pattern valid by `Wire`.
        Some(unsafe { &*bytes.as_ptr().cast::<T>() })
    }

    fn at_mut<T: Wire>(&mut self, off: usize) -> Option<&mut T> {
        let bytes = self.bytes.get_mut(off..off.checked_add(size_of::<T>())?)?;
        // SAFETY: as in `at`, borrowed mutably.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast::<T>() })
    }

    fn ingress(&self) -> u32 {
        self.ifindex
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn segment(&self) -> u16 {
        self.segment
    }

    fn make_quotation(&mut self, front: usize, quoted: usize, _l4: usize) -> bool {
        self.bytes.splice(0..0, std::iter::repeat_n(0, front));
        let length = IP + front + quoted;
        let fits = length <= self.bytes.len();
        self.bytes.truncate(length);
        fits
    }

    fn came_by(&mut self, ifindex: u32) {
        self.ifindex = ifindex;
    }

    fn open(&mut self, bytes: usize, _tunnel: Option<(Method, u8)>) -> bool {
        if !self.cramped {
            self.bytes.splice(IP..IP, std::iter::repeat_n(0, bytes));
        }
        !self.cramped
    }

    fn close(&mut self, bytes: usize) -> bool {
        let fits = IP + bytes <= self.bytes.len();
        if fits {
            self.bytes.drain(IP..IP + bytes);
        }
        fits
    }

    fn hand_over(&self, head: &HeldHead) -> bool {
        if self.may_wait {
            self.held.set(Some(*head));
        }
        self.may_wait
    }
}

/// A flow table. Entries are boxed and never freed, so that a reference outlives a removal as it does in a map.
#[derive(Default)]
struct FlowTable<A> {
    index: HashMap<FlowKey<A>, *mut Flow<A>>,
    order: VecDeque<FlowKey<A>>,
    /// Owns every entry ever made.
    #[allow(clippy::vec_box, reason = "entries must not move when the vector grows")]
    store: Vec<Box<Flow<A>>>,
    capacity: usize,
}

impl<A: Address> FlowTable<A> {
    fn insert(
        &mut self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        evicts: bool,
    ) -> Result<(), InsertError> {
        if self.index.contains_key(key) {
            return Err(InsertError::Exists);
        }
        if self.index.len() >= self.capacity {
            if !evicts {
                return Err(InsertError::Full);
            }
            while let Some(oldest) = self.order.pop_front() {
                if self.index.remove(&oldest).is_some() {
                    break;
                }
            }
        }
        let mut entry = Box::new(*flow);
        self.index.insert(*key, &raw mut *entry);
        self.order.push_back(*key);
        self.store.push(entry);
        Ok(())
    }
}

/// The maps of one family.
#[derive(Default)]
pub struct OfFamily<A> {
    scratch: RefCell<Scratch<A>>,
    flows: RefCell<FlowTable<A>>,
    half_open: RefCell<FlowTable<A>>,
    fragments: RefCell<HashMap<FragmentKey<A>, Box<Fragmented<A>>>>,
}

impl<A: Address> OfFamily<A> {
    fn new(entries: usize) -> Self {
        let mut maps = Self::default();
        maps.flows.get_mut().capacity = entries;
        maps.half_open.get_mut().capacity = 131_072;
        maps
    }

    fn table(&self, table: Table) -> &RefCell<FlowTable<A>> {
        match table {
            Table::Flows => &self.flows,
            Table::HalfOpen => &self.half_open,
        }
    }

    fn find(&self, table: Table, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        let entry = self.table(table).borrow().index.get(key).copied()?;
        // SAFETY: entries are never freed while the tables live.
        unsafe { FlowRef::from_raw(entry) }
    }
}

/// A family whose maps are here.
pub trait Kept: Address {
    /// Which they are.
    fn maps(tables: &HostTables) -> &OfFamily<Self>;
}

impl Kept for Addr4 {
    fn maps(tables: &HostTables) -> &OfFamily<Self> {
        &tables.ipv4
    }
}

impl Kept for Addr6 {
    fn maps(tables: &HostTables) -> &OfFamily<Self> {
        &tables.ipv6
    }
}

/// All maps of xlb.
pub struct HostTables {
    now: Cell<Tick>,
    ipv4: OfFamily<Addr4>,
    ipv6: OfFamily<Addr6>,
    /// The element of CONFIG.
    pub config: Config,
    /// SERVICES.
    pub services: HashMap<ServiceKey, Service>,
    /// SLOTS.
    pub slots: Vec<RealId>,
    /// REALS.
    pub reals: BTreeMap<RealId, Real>,
    /// LOCALS.
    pub locals: Vec<Addr6>,
    /// PORTS.
    pub ports: Vec<u16>,
    /// IFACES.
    pub ifaces: HashMap<u32, Iface>,
    /// VLANS.
    pub vlans: HashMap<VlanKey, u32>,
    hops: RefCell<BTreeMap<HopId, Box<NextHop>>>,
    last_hops: RefCell<HashMap<LastHopKey, HopId>>,
    sticky: RefCell<HashMap<StickyKey, Sticky>>,
    loads: RefCell<BTreeMap<RealId, (Load, i64)>>,
    cursors: RefCell<HashMap<ServiceId, u32>>,
    gauges: RefCell<[u32; Gauge::COUNT as usize]>,
    reasons: RefCell<Vec<u64>>,
    counters: RefCell<BTreeMap<RealId, RealCounters>>,
    budgets: [Cell<u32>; Budget::COUNT as usize],
    empty_hop: NextHop,
}

impl HostTables {
    /// Empty tables that hold `flows` flows, and as many half-open ones as the kernel's by default.
    pub fn new(flows: u32) -> Self {
        let entries = 2 * flows as usize;
        Self {
            now: Cell::new(Tick(1_000)),
            ipv4: OfFamily::new(entries),
            ipv6: OfFamily::new(entries),
            config: Config { flow_limit: flows, ..Config::default() },
            services: HashMap::new(),
            slots: Vec::new(),
            reals: BTreeMap::new(),
            locals: Vec::new(),
            ports: Vec::new(),
            ifaces: HashMap::new(),
            vlans: HashMap::new(),
            hops: RefCell::default(),
            last_hops: RefCell::default(),
            sticky: RefCell::default(),
            loads: RefCell::default(),
            cursors: RefCell::default(),
            gauges: RefCell::default(),
            reasons: RefCell::new(vec![0; REASON_SLOTS as usize]),
            counters: RefCell::default(),
            budgets: [const { Cell::new(u32::MAX) }; Budget::COUNT as usize],
            empty_hop: NextHop::default(),
        }
    }

    /// One packet through the engine, counted as the shells count.
    pub fn run(&self, frame: &mut Frame, ifindex: u32) -> Verdict {
        frame.ifindex = ifindex;
        let verdict = walk(frame, self);
        if verdict.slot() != 0 {
            self.reasons.borrow_mut()[verdict.slot() as usize] += 1;
        }
        verdict
    }

    /// Sets the time.
    pub fn set_now(&self, now: Tick) {
        self.now.set(now);
    }

    /// How often a thing may still be done.
    pub fn allow(&self, budget: Budget, times: u32) {
        self.budgets[budget as usize].set(times);
    }

    /// Writes an element of NEXT_HOPS.
    pub fn set_hop(&self, id: HopId, hop: NextHop) {
        self.hops.borrow_mut().insert(id, Box::new(hop));
    }

    /// A copy of a table of IPv4, in the order of keys.
    pub fn entries(&self, table: Table) -> Vec<(FlowKey, Flow)> {
        self.entries_of(table)
    }

    /// A copy of a table, in the order of keys.
    pub fn entries_of<A: Kept>(&self, table: Table) -> Vec<(FlowKey<A>, Flow<A>)> {
        let table = A::maps(self).table(table).borrow();
        // SAFETY: entries live as long as the table.
        let mut all: Vec<_> =
            table.index.iter().map(|(key, entry)| (*key, unsafe { **entry })).collect();
        all.sort_by(|(a, _), (b, _)| bytemuck::bytes_of(a).cmp(bytemuck::bytes_of(b)));
        all
    }

    /// An element of REASONS.
    pub fn reason(&self, slot: u32) -> u64 {
        self.reasons.borrow()[slot as usize]
    }

    /// All of REASONS.
    pub fn reasons(&self) -> Vec<u64> {
        self.reasons.borrow().clone()
    }

    /// An element of COUNT_REAL.
    pub fn counters(&self, id: RealId) -> RealCounters {
        self.counters.borrow().get(&id).copied().unwrap_or_default()
    }

    /// Active, inactive and half-open flows of a real server.
    pub fn load_of(&self, id: RealId) -> (u32, u32, i64) {
        let (load, half_open) = self.loads.borrow().get(&id).copied().unwrap_or_default();
        (load.active, load.inactive, half_open)
    }

    /// A gauge.
    pub fn gauge(&self, gauge: Gauge) -> u32 {
        self.gauges.borrow()[gauge as usize]
    }

    /// How many first fragments are remembered.
    pub fn fragments(&self) -> usize {
        self.ipv4.fragments.borrow().len() + self.ipv6.fragments.borrow().len()
    }

    /// How many templates there are.
    pub fn templates(&self) -> usize {
        self.sticky.borrow().len()
    }
}

impl Tables for HostTables {
    fn now(&self) -> Tick {
        self.now.get()
    }

    fn config(&self) -> Option<&Config> {
        Some(&self.config)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    fn real(&self, id: RealId) -> Option<&Real> {
        self.reals.get(&id)
    }

    fn slot(&self, index: u32) -> Option<RealId> {
        self.slots.get(index as usize).copied()
    }

    fn next_pick(&self, service: ServiceId) -> Option<u32> {
        let mut cursors = self.cursors.borrow_mut();
        let cursor = cursors.entry(service).or_default();
        *cursor = cursor.wrapping_add(1);
        Some(cursor.wrapping_sub(1))
    }

    fn load(&self, id: RealId) -> Option<Load> {
        let (mut load, half_open) = self.loads.borrow().get(&id).copied().unwrap_or_default();
        load.inactive += u32::try_from(half_open).unwrap_or(0);
        Some(load)
    }

    fn add_load(&self, id: RealId, change: LoadChange) {
        let mut loads = self.loads.borrow_mut();
        let (load, half_open) = loads.entry(id).or_default();
        load.active = load.active.checked_add_signed(change.active).expect("never below 0 (C-48)");
        load.inactive =
            load.inactive.checked_add_signed(change.inactive).expect("never below 0 (C-48)");
        *half_open += i64::from(change.half_open);
    }

    fn sticky(&self, key: &StickyKey) -> Option<Sticky> {
        self.sticky.borrow().get(key).copied()
    }

    fn put_sticky(&self, key: &StickyKey, value: Sticky) -> bool {
        self.sticky.borrow_mut().insert(*key, value);
        true
    }

    fn hop(&self, id: HopId) -> Option<&NextHop> {
        if id.0 >= limits::HOPS {
            return None;
        }
        let hops = self.hops.borrow();
        let Some(hop) = hops.get(&id) else { return Some(&self.empty_hop) };
        let hop: *const NextHop = &raw const **hop;
        // SAFETY: boxed, and replaced only by the single thread that also holds the reference; the engine does
        // not keep one across `put_hop`.
        Some(unsafe { &*hop })
    }

    fn put_hop(&self, id: HopId, hop: &NextHop) {
        self.set_hop(id, *hop);
    }

    fn last_hop(&self, key: &LastHopKey) -> Option<HopId> {
        self.last_hops.borrow().get(key).copied()
    }

    fn put_last_hop(&self, key: &LastHopKey, id: HopId) -> Result<(), InsertError> {
        self.last_hops.borrow_mut().insert(*key, id);
        Ok(())
    }

    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        self.vlans.get(key).copied()
    }

    fn iface(&self, ifindex: u32) -> Option<&Iface> {
        self.ifaces.get(&ifindex)
    }

    fn local(&self, index: u32) -> Option<&Addr6> {
        self.locals.get(index as usize)
    }

    fn port(&self, index: u32) -> Option<u16> {
        self.ports.get(index as usize).copied()
    }

    fn add_gauge(&self, gauge: Gauge, by: i32) -> u32 {
        let value = &mut self.gauges.borrow_mut()[gauge as usize];
        let before = *value;
        *value = value.wrapping_add_signed(by);
        before
    }

    fn count_packet(&self, real: RealId, reply: bool, bytes: u16) {
        let mut counters = self.counters.borrow_mut();
        let count = counters.entry(real).or_default();
        if reply {
            count.out_packets += 1;
            count.out_bytes += u64::from(bytes);
        } else {
            count.in_packets += 1;
            count.in_bytes += u64::from(bytes);
        }
    }

    fn count_connection(&self, real: RealId) {
        self.counters.borrow_mut().entry(real).or_default().conns += 1;
    }

    fn notice(&self, notice: Notice) {
        self.reasons.borrow_mut()[notice.slot() as usize] += 1;
    }

    fn take(&self, budget: Budget, _now: Tick) -> bool {
        let budget = &self.budgets[budget as usize];
        let left = budget.get();
        budget.set(left.saturating_sub(1));
        left > 0
    }
}

impl<A: Kept> Flows<A> for HostTables {
    fn with_scratch<R>(
        &self,
        _given_back: bool,
        work: impl FnOnce(&mut Scratch<A>) -> R,
    ) -> Option<R> {
        Some(work(&mut A::maps(self).scratch.borrow_mut()))
    }

    fn flow(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        A::maps(self).find(Table::Flows, key)
    }

    fn half_open(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        A::maps(self).find(Table::HalfOpen, key)
    }

    fn insert(&self, table: Table, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), InsertError> {
        A::maps(self).table(table).borrow_mut().insert(key, flow, table == Table::HalfOpen)
    }

    fn remove(&self, table: Table, key: &FlowKey<A>) -> bool {
        A::maps(self).table(table).borrow_mut().index.remove(key).is_some()
    }

    fn swap_state(&self, entry: &FlowRef<'_, A>, from: u32, to: ConnState) -> bool {
        let same = entry.state() == from;
        if same {
            entry.set_state(to);
        }
        same
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<&Fragmented<A>> {
        let fragments = A::maps(self).fragments.borrow();
        let first: *const Fragmented<A> = &raw const **fragments.get(key)?;
        // SAFETY: boxed, and replaced only by the single thread that also holds the reference; the engine does not keep
        // one across `put_fragment`.
        Some(unsafe { &*first })
    }

    fn put_fragment(&self, key: &FragmentKey<A>, first: &Fragmented<A>) {
        A::maps(self).fragments.borrow_mut().insert(*key, Box::new(*first));
    }
}
