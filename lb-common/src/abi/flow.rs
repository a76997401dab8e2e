//! Flow entries: one for each direction of a connection, each holding the whole rewrite. `A` is the family's address:
//! each family has tables of its own.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use bytemuck::{Pod, Zeroable};

use super::{ConnState, HopId, RealId, ServiceId, Tick};
use crate::wire::{Addr4, Addr6, Address, Port};

/// The five-tuple of a packet as it arrives; key of FLOWS4 and HALF_OPEN4, FLOWS6 and HALF_OPEN6. 16 bytes, or 40;
/// aligned, so that the kernel program may move it word by word.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct FlowKey<A = Addr4> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: Port,
    /// Destination port.
    pub dport: Port,
    /// IP protocol number: 6 or 17.
    pub proto: u8,
    /// 0; room for a VLAN or tenant.
    pub zone: u8,
    /// 0, so that equal tuples are equal bytes.
    pub pad: [u8; 2],
}

impl<A: Address> FlowKey<A> {
    /// The tuple of a packet that answers one with this tuple.
    #[inline(always)]
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto: self.proto,
            zone: self.zone,
            pad: [0; 2],
        }
    }
}

impl<A: Address> FlowKey<A> {
    /// As readers of both families see it.
    pub fn widened(&self) -> FlowKey<Addr6> {
        let Self { src, dst, sport, dport, proto, zone, pad } = *self;
        FlowKey { src: src.widened(), dst: dst.widened(), sport, dport, proto, zone, pad }
    }
}

impl FlowKey<Addr6> {
    /// The opposite of [`widened`](Self::widened); `None`: it is of IPv6.
    pub fn narrowed(&self) -> Option<FlowKey> {
        let Self { src, dst, sport, dport, proto, zone, pad } = *self;
        let (src, dst) = (src.as_ipv4()?, dst.as_ipv4()?);
        Some(FlowKey { src, dst, sport, dport, proto, zone, pad })
    }
}

/// What a flow entry is, beside its tuple. Bits of [`FlowRewrite::flags`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowFlags;

impl FlowFlags {
    /// The direction from the real server to the client. The entry without it is the pair's *primary*: its
    /// state is the truth, and whoever takes it to [`ConnState::Dead`] settles the counters.
    pub const REPLY: u8 = 1;
    /// Full-NAT: the source is translated too.
    pub const FULL_NAT: u8 = 2;
    /// DR or a tunnel: nothing is translated, and the real server's answers usually do not come by here.
    pub const DIRECT: u8 = 4;
    /// With that: in a tunnel. A reload may give the real server another method; its live flows keep theirs.
    pub const TUNNEL: u8 = 8;
}

/// The part of a flow entry that never changes while the entry lives. 40 bytes, or 64.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowRewrite<A = Addr4> {
    /// Source address that the packet leaves with.
    pub src: A,
    /// Destination address that the packet leaves with.
    pub dst: A,
    /// Source port that the packet leaves with.
    pub sport: Port,
    /// Destination port that the packet leaves with.
    pub dport: Port,
    /// What the rewrite adds to the one's complement sum of the IP header, TTL decrement included (RFC 1624). IPv6 has no
    /// such sum in its header and no TTL in its pseudo-header: it is what the addresses add.
    pub ip_delta: u16,
    /// What the rewrite adds to the sum of the TCP or UDP checksum.
    pub l4_delta: u16,
    /// Where the packet goes.
    pub hop: HopId,
    /// The real server of the flow, in both directions.
    pub real: RealId,
    /// The service of the flow.
    pub service: ServiceId,
    /// Index in LOCALS of the full-NAT source address; 0 without full-NAT.
    pub local: u32,
    /// IP protocol number.
    pub proto: u8,
    /// Bits of [`FlowFlags`].
    pub flags: u8,
    /// [`mark_of`](Self::mark_of) the interface that led to the real server when the pair was made: its answers come in
    /// by that one. 0: they are believed from anywhere, as an older version's flows are.
    pub from: u16,
    /// When the pair was made.
    pub opened: Tick,
}

impl<A: Address> FlowRewrite<A> {
    /// The tuple the packet leaves with.
    #[inline(always)]
    pub fn outgoing(&self) -> FlowKey<A> {
        FlowKey {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            proto: self.proto,
            zone: 0,
            pad: [0; 2],
        }
    }

    /// The key of the other direction's entry: what answers the packet we send has that tuple.
    #[inline(always)]
    pub fn twin(&self) -> FlowKey<A> {
        self.outgoing().reversed()
    }

    /// Whether packets of this direction are put into a tunnel.
    #[inline(always)]
    pub fn is_tunnelled(&self) -> bool {
        self.flags & (FlowFlags::TUNNEL | FlowFlags::REPLY) == FlowFlags::TUNNEL
    }

    /// Whether nothing is translated.
    #[inline(always)]
    pub fn is_direct(&self) -> bool {
        self.flags & FlowFlags::DIRECT != 0
    }

    /// Whether the entry is of the direction real server to client.
    #[inline(always)]
    pub fn is_reply(&self) -> bool {
        self.flags & FlowFlags::REPLY != 0
    }

    /// What stands for an interface in [`from`](Self::from): never 0. Two whose numbers differ by a multiple of 32,768
    /// have the same.
    #[inline(always)]
    pub const fn mark_of(ifindex: u32) -> u16 {
        ifindex as u16 | 0x8000
    }

    /// Whether a packet of this direction that came in by `ifindex` is believed at a glance.
    #[inline(always)]
    pub fn comes_by(&self, ifindex: u32) -> bool {
        !self.is_reply() || self.from == 0 || self.from == Self::mark_of(ifindex)
    }
}

/// A flow entry as it lies in the map. 48 bytes, or 72.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flow<A = Addr4> {
    /// What to do with the packets; fixed.
    pub rewrite: FlowRewrite<A>,
    /// When this direction last saw a packet. The pair is as young as the younger of its two.
    pub stamp: Tick,
    /// [`ConnState`] as a number. In the primary the truth, in the reply entry a copy that may lag.
    pub state: u32,
}

impl<A: Address> Flow<A> {
    /// As readers of both families see it.
    pub fn widened(&self) -> Flow<Addr6> {
        let (rewrite, Self { stamp, state, .. }) = (self.rewrite, *self);
        let FlowRewrite { sport, dport, ip_delta, l4_delta, hop, real, service, local, .. } =
            rewrite;
        let FlowRewrite { proto, flags, from, opened, src, dst, .. } = rewrite;
        let (src, dst) = (src.widened(), dst.widened());
        let rewrite = FlowRewrite {
            src,
            dst,
            sport,
            dport,
            ip_delta,
            l4_delta,
            hop,
            real,
            service,
            local,
            proto,
            flags,
            from,
            opened,
        };
        Flow { rewrite, stamp, state }
    }
}

impl<A> Flow<A> {
    /// The decoded state; `None` for a number this build does not know.
    pub const fn conn_state(&self) -> Option<ConnState> {
        ConnState::from_raw(self.state)
    }
}

/// A flow entry inside a map, shared with other CPUs.
///
/// The rewrite is read by reference: nobody writes it while the entry is in the table. Stamp and state are
/// single words, read and written whole; compare-and-swap is the shells' business (`engine::Tables`).
#[derive(Clone, Copy)]
pub struct FlowRef<'a, A = Addr4> {
    entry: NonNull<Flow<A>>,
    table: PhantomData<&'a Flow<A>>,
}

impl<'a, A> FlowRef<'a, A> {
    /// Wraps what a map look-up returned; `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `entry` is null, or valid for reads and writes for `'a` and only ever written word by word.
    #[inline(always)]
    pub unsafe fn from_raw(entry: *mut Flow<A>) -> Option<Self> {
        NonNull::new(entry).map(|entry| Self { entry, table: PhantomData })
    }

    /// What to do with the packets of this direction.
    #[inline(always)]
    pub fn rewrite(&self) -> &'a FlowRewrite<A> {
        // SAFETY: valid for 'a by `from_raw`; this field is not written while the entry is in the table.
        unsafe { &(*self.entry.as_ptr()).rewrite }
    }

    /// When this direction last saw a packet.
    #[inline(always)]
    pub fn stamp(&self) -> Tick {
        // SAFETY: valid and aligned by `from_raw`.
        Tick(unsafe { ptr::read_volatile(&raw const (*self.entry.as_ptr()).stamp.0) })
    }

    /// Notes a packet at `now`; stores only when the tick has changed, so that the line stays clean between CPUs.
    #[inline(always)]
    pub fn touch(&self, now: Tick) {
        if self.stamp() != now {
            // SAFETY: as in `stamp`.
            unsafe { ptr::write_volatile(&raw mut (*self.entry.as_ptr()).stamp.0, now.0) }
        }
    }

    /// The raw state word.
    #[inline(always)]
    pub fn state(&self) -> u32 {
        // SAFETY: valid and aligned by `from_raw`.
        unsafe { ptr::read_volatile(self.state_ptr()) }
    }

    /// Stores the state word; for the copy in a reply entry. The primary's is changed by compare-and-swap.
    #[inline(always)]
    pub fn set_state(&self, state: ConnState) {
        // SAFETY: as in `state`.
        unsafe { ptr::write_volatile(self.state_ptr(), state as u32) }
    }

    /// Where the state word is, for the shells' compare-and-swap.
    #[inline(always)]
    pub fn state_ptr(&self) -> *mut u32 {
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*self.entry.as_ptr()).state }
    }
}

// SAFETY: addresses are bytes, a multiple of four of them (checked below): the fields leave no room between them.
unsafe impl<A: Address> Zeroable for FlowKey<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Pod for FlowKey<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Zeroable for FlowRewrite<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Pod for FlowRewrite<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Zeroable for Flow<A> {}
// SAFETY: as above.
unsafe impl<A: Address> Pod for Flow<A> {}

const _: () = assert!(size_of::<FlowKey>() == 16 && size_of::<Flow>() == 48);
const _: () = assert!(size_of::<FlowKey<Addr6>>() == 40 && size_of::<Flow<Addr6>>() == 72);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl<A: crate::wire::Address> aya::Pod for super::FlowKey<A> {}
    // SAFETY: as above.
    unsafe impl<A: crate::wire::Address> aya::Pod for super::Flow<A> {}
}
