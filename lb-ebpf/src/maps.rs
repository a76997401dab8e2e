//! All maps of xlb: names, kinds and sizes in one place. What they hold is in `lb_common::abi::map`.
//!
//! Sizes of the flow tables and of STICKY are defaults; the daemon sets them at load.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{
    Array, DevMapHash, HashMap, LruHashMap, PerCpuArray, PerfEventArray, ProgramArray,
};
use lb_common::abi::program::Next;
use lb_common::abi::{
    Budget, CaptureFilter, CaptureRoom, CapturedHead, Config, Flow, FlowKey, FragmentKey,
    Fragmented, Gauge, HeldHead, Iface, LastHopKey, Load, NextHop, REASON_SLOTS, Real,
    RealCounters, Retired, Service, ServiceKey, Spent, Sticky, StickyKey, VlanKey, limits,
};
use lb_common::engine::Scratch;
use lb_common::wire::Addr6;

#[map]
pub static FLOWS4: HashMap<FlowKey, Flow> = HashMap::pinned(2 * 1_048_576, 0);
#[map]
pub static HALF_OPEN4: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(131_072, 0);
/// Allocated as it fills: whoever has no IPv6 should not pay for a second table of that size.
#[map]
pub static FLOWS6: HashMap<FlowKey<Addr6>, Flow<Addr6>> =
    HashMap::pinned(2 * 1_048_576, BPF_F_NO_PREALLOC);
#[map]
pub static HALF_OPEN6: LruHashMap<FlowKey<Addr6>, Flow<Addr6>> = LruHashMap::pinned(131_072, 0);
#[map]
pub static SERVICES: HashMap<ServiceKey, Service> = HashMap::pinned(limits::SERVICES, 0);
#[map]
pub static SLOTS: Array<u32> = Array::pinned(limits::SLOTS, 0);
#[map]
pub static REALS: Array<Real> = Array::pinned(limits::REALS, 0);
#[map]
pub static LOADS: Array<Load> = Array::pinned(limits::REALS, 0);
#[map]
pub static HALF_LOADS: Array<u32> = Array::pinned(limits::REALS, 0);
#[map]
pub static CURSORS: Array<u32> = Array::pinned(limits::SERVICES, 0);
#[map]
pub static NEXT_HOPS: Array<NextHop> = Array::pinned(limits::HOPS, 0);
#[map]
pub static LAST_HOPS: HashMap<LastHopKey, u32> = HashMap::pinned(limits::HOPS - limits::REALS, 0);
#[map]
pub static STICKY: HashMap<StickyKey, Sticky> = HashMap::pinned(131_072, 0);
#[map]
pub static LOCALS: Array<Addr6> = Array::pinned(limits::LOCALS, 0);
#[map]
pub static PORTS: Array<u32> = Array::pinned(limits::PORTS, 0);
#[map]
pub static FRAGMENTS4: LruHashMap<FragmentKey, Fragmented> =
    LruHashMap::pinned(limits::FRAGMENTS, 0);
#[map]
pub static FRAGMENTS6: LruHashMap<FragmentKey<Addr6>, Fragmented<Addr6>> =
    LruHashMap::pinned(limits::FRAGMENTS, 0);
#[map]
pub static CONFIG: Array<Config> = Array::pinned(1, 0);
#[map]
pub static GAUGES: Array<u32> = Array::pinned(Gauge::COUNT, 0);
#[map]
pub static BUDGETS: PerCpuArray<Spent> = PerCpuArray::pinned(Budget::COUNT, 0);
/// Not pinned: its buffers end with the daemon that opened them.
#[map]
pub static HELD: PerfEventArray<HeldHead> = PerfEventArray::new(0);
/// Room for the slow path: of frames that arrive, and of those that the daemon gives back. Not pinned, of no meaning
/// once a packet is done: programs of one load hand it to one another there.
#[map]
pub static SCRATCH4: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);
#[map]
pub static SCRATCH6: PerCpuArray<Scratch<Addr6>> = PerCpuArray::with_max_entries(2, 0);
/// A verdict on its way to what puts something in front of the packet; with the same two elements.
#[map]
pub static BARE: PerCpuArray<[u32; 2]> = PerCpuArray::with_max_entries(2, 0);
/// Not pinned, like the next two: a capture ends with the daemon that began it.
#[map]
pub static CAPTURE: Array<CaptureFilter> = Array::with_max_entries(1, 0);
#[map]
pub static CAPTURE_ROOM: PerCpuArray<CaptureRoom> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static CAPTURED: PerfEventArray<CapturedHead> = PerfEventArray::new(0);
#[map]
pub static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_SLOTS, 0);
#[map]
pub static COUNT_REAL: PerCpuArray<RealCounters> = PerCpuArray::pinned(limits::REALS, 0);
#[map]
pub static COUNT_RETIRED: HashMap<ServiceKey, Retired> =
    HashMap::pinned(limits::SERVICES, BPF_F_NO_PREALLOC);
#[map]
pub static IFACES: HashMap<u32, Iface> = HashMap::pinned(limits::IFACES, 0);
#[map]
pub static VLANS: HashMap<VlanKey, u32> = HashMap::pinned(limits::IFACES, BPF_F_NO_PREALLOC);
#[map]
pub static DEVICES: DevMapHash = DevMapHash::pinned(limits::IFACES, 0);
/// Not pinned by name: an old program must not go on with a new one.
#[map]
pub static XDP_NEXT: ProgramArray = ProgramArray::with_max_entries(Next::COUNT, 0);
#[map]
pub static TC_NEXT: ProgramArray = ProgramArray::with_max_entries(Next::COUNT, 0);
