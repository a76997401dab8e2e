//! The layout of every map: what the program reads and writes, what the daemon writes and reads.
//!
//! All types are plain bytes without padding (bytemuck refuses it). Numbers are in the host's byte order,
//! addresses and ports in network order. A change of any type here needs a new [`LAYOUT`] and an ADR.

mod capture;
mod config;
mod counter;
mod flow;
mod fragment;
mod held;
mod hop;
mod id;
mod reason;
mod service;
mod state;

pub use capture::{CAPTURE_HEAD, CaptureCounts, CaptureFilter, CaptureRoom, CapturedHead};
pub use config::{Config, TICKS_UNKNOWN, Timeouts};
pub use counter::{Budget, Gauge, RealCounters, Retired, Spent};
pub use flow::{Flow, FlowFlags, FlowKey, FlowRef, FlowRewrite};
pub use fragment::{FragmentKey, Fragmented};
pub use held::{GIVEN_BACK, HeldHead, LAST_TRY};
pub use hop::{HopState, Iface, LastHopKey, NextHop, Tag, Tags, VlanKey};
pub use id::{HopId, RealId, ServiceId, Tick};
pub use reason::{DropReason, Notice, PassReason, REASON_SLOTS};
pub use service::{
    Load, Method, Real, RealFlags, Scheduler, Service, ServiceFlags, ServiceKey, Sticky, StickyKey,
};
pub use state::ConnState;

/// The number of this layout; pins of another layout are never read as if they were of this one.
pub const LAYOUT: u32 = 4;

/// Capacities that the program's loops and indices rely on; the daemon refuses configurations beyond them.
pub mod limits {
    /// Real servers over all services: the entries of REALS, and so the first entries of NEXT_HOPS.
    pub const REALS: u32 = 16_384;
    /// Next hops: one for each real (same index), the rest learned from clients' frames.
    pub const HOPS: u32 = 65_536;
    /// Services (keys of SERVICES).
    pub const SERVICES: u32 = 8_192;
    /// Entries of SLOTS, over all services, old and new tables of a change together.
    pub const SLOTS: u32 = 1 << 20;
    /// Real servers of one service that lc and wlc scan in the program.
    pub const SCAN: u32 = 256;
    /// Source addresses for full-NAT, over all groups.
    pub const LOCALS: u32 = 4_096;
    /// Entries of PORTS: every port that full-NAT could ever use.
    pub const PORTS: u32 = 65_536;
    /// Interfaces of one instance, VLANs included.
    pub const IFACES: u32 = 4_096;
    /// Ports tried for one full-NAT flow before the pool counts as exhausted.
    pub const PORT_TRIES: u32 = 32;
    /// Keys that one run of the expiry program takes.
    pub const EXPIRE_BATCH: u32 = 8;
    /// Fragmented packets that are known at a time.
    pub const FRAGMENTS: u32 = 16_384;
    /// How long later fragments may take, in seconds: the kernel's `ipfrag_time`.
    pub const FRAGMENT_SECONDS: u32 = 30;
    /// Bytes of a frame that are captured at most: a jumbo frame's. An event has 16 bits for its length.
    pub const CAPTURE_BYTES: u32 = 9_216;
    /// Bytes of the largest frame that is handed to the daemon: kernels before 5.18 run nothing larger again.
    pub const HELD_FRAME: u32 = 3_072;
}

/// Names of the maps, which are the names of their pins.
pub mod map {
    /// [`FlowKey`](super::FlowKey) → [`Flow`](super::Flow): flows that both ends have spoken on. HASH, never evicts.
    pub const FLOWS4: &str = "FLOWS4";
    /// The same of IPv6.
    pub const FLOWS6: &str = "FLOWS6";
    /// As FLOWS4 for embryonic flows. Small LRU_HASH: a flood turns it over and nothing else.
    pub const HALF_OPEN4: &str = "HALF_OPEN4";
    /// The same of IPv6.
    pub const HALF_OPEN6: &str = "HALF_OPEN6";
    /// [`ServiceKey`](super::ServiceKey) → [`Service`](super::Service), of both families. HASH.
    pub const SERVICES: &str = "SERVICES";
    /// Index → `u32` real id: every service's slot table, at `Service::slots_at`. ARRAY.
    pub const SLOTS: &str = "SLOTS";
    /// Real id → [`Real`](super::Real). ARRAY; written by the daemon only.
    pub const REALS: &str = "REALS";
    /// Real id → [`Load`](super::Load). ARRAY; written by the programs only.
    pub const LOADS: &str = "LOADS";
    /// Real id → `u32` flows in HALF_OPEN4. ARRAY; counted by the programs, put right by the daemon's sweep where
    /// a flood turned the table over.
    pub const HALF_LOADS: &str = "HALF_LOADS";
    /// Service id → `u32` cursor of rr and wrr. ARRAY; written by the programs only.
    pub const CURSORS: &str = "CURSORS";
    /// Hop id → [`NextHop`](super::NextHop). ARRAY.
    pub const NEXT_HOPS: &str = "NEXT_HOPS";
    /// [`LastHopKey`](super::LastHopKey) → `u32` hop id: the way back to clients, learned from their frames. HASH.
    pub const LAST_HOPS: &str = "LAST_HOPS";
    /// [`StickyKey`](super::StickyKey) → [`Sticky`](super::Sticky): persistence templates of both families. HASH.
    pub const STICKY: &str = "STICKY";
    /// Index → [`Addr6`](crate::wire::Addr6): full-NAT source addresses, at `Real::locals_at`. ARRAY.
    pub const LOCALS: &str = "LOCALS";
    /// Index → `u32` port number in host order: the ports full-NAT may use, shuffled. ARRAY.
    pub const PORTS: &str = "PORTS";
    /// [`FragmentKey`](super::FragmentKey) → [`Fragmented`](super::Fragmented): first fragments that went by. LRU_HASH:
    /// a flood of fragments turns it over and nothing else.
    pub const FRAGMENTS4: &str = "FRAGMENTS4";
    /// The same of IPv6.
    pub const FRAGMENTS6: &str = "FRAGMENTS6";
    /// `[0]` → [`Config`](super::Config). ARRAY of one.
    pub const CONFIG: &str = "CONFIG";
    /// [`Gauge`](super::Gauge) → `u32`. ARRAY; written by the programs only.
    pub const GAUGES: &str = "GAUGES";
    /// [`Budget`](super::Budget) → [`Spent`](super::Spent). PERCPU_ARRAY.
    pub const BUDGETS: &str = "BUDGETS";
    /// CPU → perf buffer of the daemon: [`HeldHead`](super::HeldHead) and the frame. `PERF_EVENT_ARRAY`, not pinned:
    /// without a daemon nobody could send what it holds.
    pub const HELD: &str = "HELD";
    /// `[0]` → [`CaptureFilter`](super::CaptureFilter). ARRAY of one, not pinned: a capture ends with its daemon.
    pub const CAPTURE: &str = "CAPTURE";
    /// `[0]` → [`CaptureRoom`](super::CaptureRoom). PERCPU_ARRAY of one, not pinned.
    pub const CAPTURE_ROOM: &str = "CAPTURE_ROOM";
    /// CPU → perf buffer of the daemon: [`CapturedHead`](super::CapturedHead) and the frame. `PERF_EVENT_ARRAY`, not pinned.
    pub const CAPTURED: &str = "CAPTURED";
    /// Reason code → `u64` packets. PERCPU_ARRAY; see [`REASON_SLOTS`](super::REASON_SLOTS).
    pub const REASONS: &str = "REASONS";
    /// Real id → [`RealCounters`](super::RealCounters). PERCPU_ARRAY.
    pub const COUNT_REAL: &str = "COUNT_REAL";
    /// [`ServiceKey`](super::ServiceKey) → [`Retired`](super::Retired). HASH; the daemon's alone, no program looks.
    pub const COUNT_RETIRED: &str = "COUNT_RETIRED";
    /// Ifindex → [`Iface`](super::Iface): the interfaces of `--iface` and the VLANs on them. HASH; written by the daemon only.
    pub const IFACES: &str = "IFACES";
    /// [`VlanKey`](super::VlanKey) → `u32` ifindex of the VLAN's interface. HASH; written by the daemon only.
    pub const VLANS: &str = "VLANS";
    /// Ifindex → ifindex: where frames may leave; a VLAN's leave by the interface below it. DEVMAP_HASH.
    pub const DEVICES: &str = "DEVICES";
    /// [`program::Next`](super::program::Next) → program: what an XDP program goes on with. `PROG_ARRAY`. Each load of the
    /// programs has one of its own, pinned beside them: what they hand to one another lies in maps of that load, too.
    pub const XDP_NEXT: &str = "XDP_NEXT";
    /// The same of tc's: the kernel keeps programs of one type together.
    pub const TC_NEXT: &str = "TC_NEXT";
}

/// Names of the programs in the object.
pub mod program {
    /// The established path, attached to every interface of `--iface`.
    pub const XDP: &str = "xlb_xdp";
    /// The same of IPv6.
    pub const XDP6: &str = "xlb_xdp6";
    /// What is not established: new flows, changes of state, fragments.
    pub const XDP_SLOW: &str = "xlb_xdp_slow";
    /// The same of IPv6.
    pub const XDP_SLOW6: &str = "xlb_xdp_slow6";
    /// ICMP.
    pub const XDP_ICMP: &str = "xlb_xdp_icmp";
    /// ICMPv6.
    pub const XDP_ICMP6: &str = "xlb_xdp_icmp6";
    /// Frames with VLAN tags: takes them off and goes on as [`XDP`] or [`XDP6`].
    pub const XDP_TAGGED: &str = "xlb_xdp_tagged";
    /// Puts tunnel headers and tags on what leaves.
    pub const XDP_OUTER: &str = "xlb_xdp_outer";
    /// As [`XDP`], on the interfaces for as long as somebody captures: also notes how a frame arrived.
    pub const XDP_WATCH: &str = "xlb_xdp_watch";
    /// The same of IPv6.
    pub const XDP_WATCH6: &str = "xlb_xdp_watch6";
    /// Hands over what is captured, and carries out the verdict.
    pub const XDP_SHOW: &str = "xlb_xdp_show";
    /// As [`XDP`] for tc's ingress.
    pub const TC: &str = "xlb_tc";
    /// As [`XDP6`].
    pub const TC6: &str = "xlb_tc6";
    /// As [`XDP_SLOW`].
    pub const TC_SLOW: &str = "xlb_tc_slow";
    /// As [`XDP_SLOW6`].
    pub const TC_SLOW6: &str = "xlb_tc_slow6";
    /// As [`XDP_ICMP`].
    pub const TC_ICMP: &str = "xlb_tc_icmp";
    /// As [`XDP_ICMP6`].
    pub const TC_ICMP6: &str = "xlb_tc_icmp6";
    /// As [`XDP_OUTER`], without tags: those are the VLAN interface's business.
    pub const TC_OUTER: &str = "xlb_tc_outer";
    /// As [`XDP_WATCH`].
    pub const TC_WATCH: &str = "xlb_tc_watch";
    /// As [`XDP_WATCH6`].
    pub const TC_WATCH6: &str = "xlb_tc_watch6";
    /// As [`XDP_SHOW`].
    pub const TC_SHOW: &str = "xlb_tc_show";
    /// Removes expired flows; never attached, run by the daemon with keys as its packet.
    pub const EXPIRE: &str = "xlb_expire";
    /// The same of IPv6.
    pub const EXPIRE6: &str = "xlb_expire6";
    /// Writes `bpf_jiffies64` into its packet's first 8 bytes (native order); never attached, tells the daemon
    /// the kernel's clock.
    pub const CLOCK: &str = "xlb_clock";
    /// Constant in the object, set at load: how far jiffies are shifted right to make a [`Tick`](super::Tick).
    pub const TICK_SHIFT: &str = "TICK_SHIFT";

    /// Indices of XDP_NEXT and TC_NEXT: what a program may go on with.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    #[repr(u32)]
    pub enum Next {
        /// [`XDP6`].
        Ipv6 = 0,
        /// [`XDP_SLOW`].
        Slow = 1,
        /// [`XDP_SLOW6`].
        Slow6 = 2,
        /// [`XDP_ICMP`].
        Icmp = 3,
        /// [`XDP_ICMP6`].
        Icmp6 = 4,
        /// [`XDP_OUTER`].
        Outer = 5,
        /// [`XDP_TAGGED`].
        Tagged = 6,
        /// [`XDP_WATCH6`], there while somebody captures.
        Watch6 = 7,
        /// [`XDP_SHOW`], likewise.
        Show = 8,
    }

    impl Next {
        /// Entries of each.
        pub const COUNT: u32 = 9;
        /// What is always in XDP_NEXT, with their programs.
        pub const XDP: [(Self, &str); 7] = [
            (Self::Ipv6, XDP6),
            (Self::Slow, XDP_SLOW),
            (Self::Slow6, XDP_SLOW6),
            (Self::Icmp, XDP_ICMP),
            (Self::Icmp6, XDP_ICMP6),
            (Self::Outer, XDP_OUTER),
            (Self::Tagged, XDP_TAGGED),
        ];
        /// What is in TC_NEXT.
        pub const TC: [(Self, &str); 6] = [
            (Self::Ipv6, TC6),
            (Self::Slow, TC_SLOW),
            (Self::Slow6, TC_SLOW6),
            (Self::Icmp, TC_ICMP),
            (Self::Icmp6, TC_ICMP6),
            (Self::Outer, TC_OUTER),
        ];
        /// What is in XDP_NEXT while somebody captures.
        pub const XDP_CAPTURING: [(Self, &str); 2] =
            [(Self::Watch6, XDP_WATCH6), (Self::Show, XDP_SHOW)];
        /// The same of TC_NEXT.
        pub const TC_CAPTURING: [(Self, &str); 2] =
            [(Self::Watch6, TC_WATCH6), (Self::Show, TC_SHOW)];
    }
}
