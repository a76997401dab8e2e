//! What the engine asks of the maps. The kernel shell answers from BPF maps, tests from ordinary collections.

use super::Scratch;
use crate::abi::{
    Budget, Config, FlowKey, FlowRef, FragmentKey, Fragmented, Gauge, HopId, Iface, LastHopKey,
    Load, NextHop, Notice, Real, RealId, Service, ServiceId, ServiceKey, Sticky, StickyKey, Tick,
    VlanKey,
};
use crate::abi::{ConnState, Flow};
use crate::wire::{Addr6, Address};

/// Which of the two flow tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// FLOWS4, FLOWS6: never evicts.
    Flows,
    /// HALF_OPEN4, HALF_OPEN6: evicts the oldest.
    HalfOpen,
}

/// How an insert can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertError {
    /// There is an entry with this key already.
    Exists,
    /// No room.
    Full,
}

/// How IPVS counts a flow of a real server: the difference that a change of state makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadChange {
    /// Added to `Load::active`.
    pub active: i32,
    /// Added to `Load::inactive`.
    pub inactive: i32,
    /// Added to the half-open count.
    pub half_open: i32,
}

/// The maps as the engine sees them, but for those of one family. All methods take `&self`: the maps are shared with
/// every other CPU.
pub trait Tables {
    /// Coarse monotonic time.
    fn now(&self) -> Tick;
    /// What the daemon set.
    fn config(&self) -> Option<&Config>;

    /// The service for an exact key.
    fn service(&self, key: &ServiceKey) -> Option<&Service>;
    /// An element of REALS.
    fn real(&self, id: RealId) -> Option<&Real>;
    /// Element `index` of SLOTS.
    fn slot(&self, index: u32) -> Option<RealId>;
    /// The number of earlier picks of a service; each call counts one more.
    fn next_pick(&self, service: ServiceId) -> Option<u32>;
    /// Connections of a real server now, half-open ones counted as inactive.
    fn load(&self, id: RealId) -> Option<Load>;
    /// [`sched::least::scan`](super::sched::least::scan). A method so that the kernel's shell can make a function
    /// of its own of that loop, which the verifier then walks once instead of once for every way to it.
    fn least_loaded(&self, slots_at: u32, len: u32, weights: u32) -> Option<RealId> {
        super::sched::least::scan(self, slots_at, len, weights)
    }
    /// Adds to the connection counts of a real server.
    fn add_load(&self, id: RealId, change: LoadChange);

    /// A persistence template.
    fn sticky(&self, key: &StickyKey) -> Option<Sticky>;
    /// Writes a template; `false` if the table is full.
    fn put_sticky(&self, key: &StickyKey, value: Sticky) -> bool;

    /// An element of NEXT_HOPS.
    fn hop(&self, id: HopId) -> Option<&NextHop>;
    /// Writes an element of NEXT_HOPS.
    fn put_hop(&self, id: HopId, hop: &NextHop);
    /// The hop learned for a sender.
    fn last_hop(&self, key: &LastHopKey) -> Option<HopId>;
    /// Remembers the hop of a sender, if absent.
    fn put_last_hop(&self, key: &LastHopKey, id: HopId) -> Result<(), InsertError>;
    /// The interface of a VLAN.
    fn vlan(&self, key: &VlanKey) -> Option<u32>;
    /// What the daemon said of an interface.
    fn iface(&self, ifindex: u32) -> Option<&Iface>;

    /// Element `index` of LOCALS.
    fn local(&self, index: u32) -> Option<&Addr6>;
    /// Element `index` of PORTS, in host order.
    fn port(&self, index: u32) -> Option<u16>;

    /// A gauge's value; then `by` is added to it.
    fn add_gauge(&self, gauge: Gauge, by: i32) -> u32;
    /// One packet of a flow, of `bytes` (IP packet), towards the client or the real server.
    fn count_packet(&self, real: RealId, reply: bool, bytes: u16);
    /// One connection scheduled.
    fn count_connection(&self, real: RealId);
    /// Something worth counting.
    fn notice(&self, notice: Notice);
    /// Whether this CPU may do that once more in this tick; counts it if so.
    fn take(&self, budget: Budget, now: Tick) -> bool;
}

/// The maps of one family, and the others.
pub trait Flows<A: Address>: Tables {
    /// Lends this CPU's scratch memory, or that of frames that were given back: kernels before 6.3 let frames that arrive
    /// interrupt a run of those. `None`: there is none.
    fn with_scratch<R>(
        &self,
        given_back: bool,
        work: impl FnOnce(&mut Scratch<A>) -> R,
    ) -> Option<R>;
    /// The entry for a tuple in the flow table.
    fn flow(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>>;
    /// The entry for a tuple in the table of half-open flows.
    fn half_open(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>>;
    /// Inserts if absent.
    fn insert(&self, table: Table, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), InsertError>;
    /// Removes; `true` if this call did it.
    fn remove(&self, table: Table, key: &FlowKey<A>) -> bool;
    /// Changes the state word of an entry from `from` to `to` in one step; `false` if it was not `from`.
    fn swap_state(&self, entry: &FlowRef<'_, A>, from: u32, to: ConnState) -> bool;
    /// Where the first fragment of a packet went.
    fn fragment(&self, key: &FragmentKey<A>) -> Option<&Fragmented<A>>;
    /// Remembers it; in the place of the oldest if need be.
    fn put_fragment(&self, key: &FragmentKey<A>, first: &Fragmented<A>);
}
