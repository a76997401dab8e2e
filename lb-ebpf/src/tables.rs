//! The engine's `Tables` over the BPF maps.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray};
use lb_common::abi::program::Next;
use lb_common::abi::{
    Budget, Config, ConnState, Flow, FlowKey, FlowRef, FragmentKey, Fragmented, Gauge, HopId,
    Iface, LastHopKey, Load, NextHop, Notice, Real, RealId, Service, ServiceId, ServiceKey, Sticky,
    StickyKey, Tick, VlanKey,
};
use lb_common::engine::tables::{InsertError, LoadChange, Table};
use lb_common::engine::{Family, Flows, Scratch, Tables, sched};
use lb_common::wire::{Addr4, Addr6};

use crate::{atomic, maps};

/// How far jiffies are shifted to make a tick; the daemon sets it at load from the kernel's HZ.
#[unsafe(no_mangle)]
static TICK_SHIFT: Global<u32> = Global::new(6);

/// The errno of an insert under BPF_NOEXIST where the key is there.
const EEXIST: i32 = -17;

/// The maps of this object.
pub struct Kernel;

/// Counts a pass or drop reason, or a notice.
#[inline(always)]
pub fn count_reason(slot: u32) {
    if let Some(count) = maps::REASONS.get_ptr_mut(slot) {
        // SAFETY: a per-CPU element; a program runs to its end on its CPU.
        unsafe { *count += 1 }
    }
}

#[inline(always)]
fn inserted(result: Result<(), i32>) -> Result<(), InsertError> {
    result.map_err(|errno| if errno == EEXIST { InsertError::Exists } else { InsertError::Full })
}

/// Adds to one word of a map value.
#[inline(always)]
fn add(word: *mut u32, by: i32) {
    if by != 0 {
        // SAFETY: the caller took the pointer from a live map element.
        unsafe { atomic::fetch_add(word, by as u32) };
    }
}

impl Tables for Kernel {
    #[inline(always)]
    fn now(&self) -> Tick {
        // SAFETY: the helper has no preconditions.
        Tick((unsafe { bpf_jiffies64() } >> (TICK_SHIFT.load() & 63)) as u32)
    }

    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        maps::CONFIG.get(0)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        // SAFETY: the element stays allocated. Replaced, its memory may be given to another service while this run
        // reads; the engine checks that the real server it leads to is of the service asked for.
        unsafe { maps::SERVICES.get(key) }
    }

    #[inline(always)]
    fn real(&self, id: RealId) -> Option<&Real> {
        maps::REALS.get(id.0)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<RealId> {
        maps::SLOTS.get(index).map(|id| RealId(*id))
    }

    #[inline(always)]
    fn next_pick(&self, service: ServiceId) -> Option<u32> {
        // SAFETY: an aligned word of a live map element.
        maps::CURSORS.get_ptr_mut(service.0).map(|word| unsafe { atomic::fetch_add(word, 1) })
    }

    #[inline(always)]
    fn load(&self, id: RealId) -> Option<Load> {
        let mut load = *maps::LOADS.get(id.0)?;
        let half_open = *maps::HALF_LOADS.get(id.0)?;
        // Below zero between the sweep's correction and a promotion that had counted already.
        if half_open <= i32::MAX as u32 {
            load.inactive += half_open;
        }
        Some(load)
    }

    #[inline(always)]
    fn least_loaded(&self, slots_at: u32, len: u32, weights: u32) -> Option<RealId> {
        let id = RealId(least_loaded(slots_at, len, weights));
        (id != RealId::NOBODY).then_some(id)
    }

    #[inline(always)]
    fn add_load(&self, id: RealId, change: LoadChange) {
        if let Some(load) = maps::LOADS.get_ptr_mut(id.0) {
            // SAFETY: only the fields' addresses are taken here.
            let (active, inactive) =
                unsafe { (&raw mut (*load).active, &raw mut (*load).inactive) };
            add(active, change.active);
            add(inactive, change.inactive);
        }
        if change.half_open != 0
            && let Some(half_open) = maps::HALF_LOADS.get_ptr_mut(id.0)
        {
            add(half_open, change.half_open);
        }
    }

    #[inline(always)]
    fn sticky(&self, key: &StickyKey) -> Option<Sticky> {
        // SAFETY: copied at once.
        unsafe { maps::STICKY.get(key) }.copied()
    }

    #[inline(always)]
    fn put_sticky(&self, key: &StickyKey, value: Sticky) -> bool {
        maps::STICKY.insert(key, value, BPF_ANY as u64).is_ok()
    }

    #[inline(always)]
    fn hop(&self, id: HopId) -> Option<&NextHop> {
        maps::NEXT_HOPS.get(id.0)
    }

    #[inline(always)]
    fn put_hop(&self, id: HopId, hop: &NextHop) {
        // An index in range cannot fail, and the engine takes it from `limits`.
        let _ = maps::NEXT_HOPS.set(id.0, hop, BPF_ANY as u64);
    }

    #[inline(always)]
    fn last_hop(&self, key: &LastHopKey) -> Option<HopId> {
        // SAFETY: copied at once.
        unsafe { maps::LAST_HOPS.get(key) }.map(|id| HopId(*id))
    }

    #[inline(always)]
    fn put_last_hop(&self, key: &LastHopKey, id: HopId) -> Result<(), InsertError> {
        inserted(maps::LAST_HOPS.insert(key, id.0, BPF_NOEXIST as u64))
    }

    #[inline(always)]
    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        // SAFETY: copied at once.
        unsafe { maps::VLANS.get(key) }.copied()
    }

    #[inline(always)]
    fn iface(&self, ifindex: u32) -> Option<&Iface> {
        // SAFETY: written at start and on link changes only, whole.
        unsafe { maps::IFACES.get(ifindex) }
    }

    #[inline(always)]
    fn local(&self, index: u32) -> Option<&Addr6> {
        maps::LOCALS.get(index)
    }

    #[inline(always)]
    fn port(&self, index: u32) -> Option<u16> {
        maps::PORTS.get(index).map(|port| *port as u16)
    }

    #[inline(always)]
    fn add_gauge(&self, gauge: Gauge, by: i32) -> u32 {
        let Some(word) = maps::GAUGES.get_ptr_mut(gauge as u32) else {
            return 0;
        };
        // SAFETY: an aligned word of a live map element.
        unsafe { if by == 0 { word.read_volatile() } else { atomic::fetch_add(word, by as u32) } }
    }

    #[inline(always)]
    fn count_packet(&self, real: RealId, reply: bool, bytes: u16) {
        let Some(count) = maps::COUNT_REAL.get_ptr_mut(real.0) else {
            return;
        };
        // SAFETY: a per-CPU element; a program runs to its end on its CPU.
        unsafe {
            if reply {
                (*count).out_packets += 1;
                (*count).out_bytes += u64::from(bytes);
            } else {
                (*count).in_packets += 1;
                (*count).in_bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn count_connection(&self, real: RealId) {
        if let Some(count) = maps::COUNT_REAL.get_ptr_mut(real.0) {
            // SAFETY: as above.
            unsafe { (*count).conns += 1 }
        }
    }

    #[inline(always)]
    fn notice(&self, notice: Notice) {
        count_reason(notice.slot());
    }

    #[inline(always)]
    fn take(&self, budget: Budget, now: Tick) -> bool {
        let limit = maps::CONFIG.get(0).map_or(0, |config| config.budgets[budget as usize]);
        // SAFETY: a per-CPU element.
        maps::BUDGETS
            .get_ptr_mut(budget as u32)
            .is_some_and(|spent| unsafe { (*spent).take(now.0, limit) })
    }
}

/// A family, with its maps of this object.
pub trait Maps: Family {
    /// FLOWS of this family.
    const FLOWS: &'static HashMap<FlowKey<Self>, Flow<Self>>;
    /// HALF_OPEN of this family.
    const HALF_OPEN: &'static LruHashMap<FlowKey<Self>, Flow<Self>>;
    /// FRAGMENTS of this family.
    const FRAGMENTS: &'static LruHashMap<FragmentKey<Self>, Fragmented<Self>>;
    /// SCRATCH of this family.
    const SCRATCH: &'static PerCpuArray<Scratch<Self>>;
    /// What is not established.
    const SLOW: Next;
    /// Its ICMP.
    const ERRORS: Next;
}

impl Maps for Addr4 {
    const FLOWS: &'static HashMap<FlowKey, Flow> = &maps::FLOWS4;
    const HALF_OPEN: &'static LruHashMap<FlowKey, Flow> = &maps::HALF_OPEN4;
    const FRAGMENTS: &'static LruHashMap<FragmentKey, Fragmented> = &maps::FRAGMENTS4;
    const SCRATCH: &'static PerCpuArray<Scratch> = &maps::SCRATCH4;
    const SLOW: Next = Next::Slow;
    const ERRORS: Next = Next::Icmp;
}

impl Maps for Addr6 {
    const FLOWS: &'static HashMap<FlowKey<Self>, Flow<Self>> = &maps::FLOWS6;
    const HALF_OPEN: &'static LruHashMap<FlowKey<Self>, Flow<Self>> = &maps::HALF_OPEN6;
    const FRAGMENTS: &'static LruHashMap<FragmentKey<Self>, Fragmented<Self>> = &maps::FRAGMENTS6;
    const SCRATCH: &'static PerCpuArray<Scratch<Self>> = &maps::SCRATCH6;
    const SLOW: Next = Next::Slow6;
    const ERRORS: Next = Next::Icmp6;
}

/// This CPU's scratch memory of a family.
///
/// # Safety
///
/// Nobody else in this run has it. Frames that arrive do not interrupt one another on their CPU, and those that are given
/// back are run one after the other, by one thread.
#[inline(always)]
pub unsafe fn scratch<A: Maps>(given_back: bool) -> Option<&'static mut Scratch<A>> {
    // SAFETY: a per-CPU element, lent once in a run.
    A::SCRATCH.get_ptr_mut(u32::from(given_back)).map(|scratch| unsafe { &mut *scratch })
}

impl<A: Maps> Flows<A> for Kernel {
    #[inline(always)]
    fn with_scratch<R>(
        &self,
        given_back: bool,
        work: impl FnOnce(&mut Scratch<A>) -> R,
    ) -> Option<R> {
        // SAFETY: lent to `work` alone.
        unsafe { scratch(given_back) }.map(work)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        // SAFETY: a pointer into the map, valid for the run of the program.
        A::FLOWS.get_ptr_mut(key).and_then(|entry| unsafe { FlowRef::from_raw(entry) })
    }

    #[inline(always)]
    fn half_open(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        // SAFETY: as above.
        A::HALF_OPEN.get_ptr_mut(key).and_then(|entry| unsafe { FlowRef::from_raw(entry) })
    }

    #[inline(always)]
    fn insert(&self, table: Table, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), InsertError> {
        inserted(match table {
            Table::Flows => A::FLOWS.insert(key, flow, BPF_NOEXIST as u64),
            Table::HalfOpen => A::HALF_OPEN.insert(key, flow, BPF_NOEXIST as u64),
        })
    }

    #[inline(always)]
    fn remove(&self, table: Table, key: &FlowKey<A>) -> bool {
        match table {
            Table::Flows => A::FLOWS.remove(key).is_ok(),
            Table::HalfOpen => A::HALF_OPEN.remove(key).is_ok(),
        }
    }

    #[inline(always)]
    fn swap_state(&self, entry: &FlowRef<'_, A>, from: u32, to: ConnState) -> bool {
        // SAFETY: an aligned word of a live map element.
        unsafe { atomic::compare_exchange(entry.state_ptr(), from, to as u32) }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey<A>) -> Option<&Fragmented<A>> {
        // SAFETY: the element stays allocated; replaced by another packet's under our eyes, its fragment goes astray, as
        // it would if the two had the same identification.
        unsafe { A::FRAGMENTS.get(key) }
    }

    #[inline(always)]
    fn put_fragment(&self, key: &FragmentKey<A>, first: &Fragmented<A>) {
        // The table makes room; where it cannot, later fragments are left to the kernel and counted.
        let _ = A::FRAGMENTS.insert(key, first, BPF_ANY as u64);
    }
}

/// The scan of lc and wlc. Exported, and so a global function to the verifier: checked once, on its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn least_loaded(slots_at: u32, len: u32, weights: u32) -> u32 {
    sched::least::scan(&Kernel, slots_at, len, weights).unwrap_or(RealId::NOBODY).0
}
