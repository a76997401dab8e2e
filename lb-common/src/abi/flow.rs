//! Flow entries: one for each direction of a connection, each holding the whole rewrite.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use bytemuck::{Pod, Zeroable};

use super::{ConnState, HopId, RealId, ServiceId, Tick};
use crate::wire::{Addr4, Port};

/// The five-tuple of a packet as it arrives; key of FLOWS4 and HALF_OPEN4. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr4,
    /// Destination address.
    pub dst: Addr4,
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

impl FlowKey {
    /// The tuple of a packet that answers one with this tuple.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
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

/// What a flow entry is, beside its tuple. Bits of [`FlowRewrite::flags`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowFlags;

impl FlowFlags {
    /// The direction from the real server to the client. The entry without it is the pair's *primary*: its
    /// state is the truth, and whoever takes it to [`ConnState::Dead`] settles the counters.
    pub const REPLY: u8 = 1;
    /// Full-NAT: the source is translated too.
    pub const FULL_NAT: u8 = 2;
}

/// The part of a flow entry that never changes while the entry lives. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct FlowRewrite {
    /// Source address that the packet leaves with.
    pub src: Addr4,
    /// Destination address that the packet leaves with.
    pub dst: Addr4,
    /// Source port that the packet leaves with.
    pub sport: Port,
    /// Destination port that the packet leaves with.
    pub dport: Port,
    /// What the rewrite adds to the one's complement sum of the IPv4 header, TTL decrement included (RFC 1624).
    pub ip_delta: u16,
    /// What the rewrite adds to the sum of the TCP or UDP checksum.
    pub l4_delta: u16,
    /// Where the packet goes.
    pub hop: HopId,
    /// The real server of the flow, in both directions.
    pub real: RealId,
    /// The service of the flow.
    pub service: ServiceId,
    /// Index in LOCALS4 of the full-NAT source address; 0 without full-NAT.
    pub local: u32,
    /// IP protocol number.
    pub proto: u8,
    /// Bits of [`FlowFlags`].
    pub flags: u8,
    /// 0.
    pub pad: [u8; 2],
    /// When the pair was made.
    pub opened: Tick,
}

impl FlowRewrite {
    /// The tuple the packet leaves with.
    #[inline(always)]
    pub const fn outgoing(&self) -> FlowKey {
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
    pub const fn twin(&self) -> FlowKey {
        self.outgoing().reversed()
    }

    /// Whether the entry is of the direction real server to client.
    #[inline(always)]
    pub const fn is_reply(&self) -> bool {
        self.flags & FlowFlags::REPLY != 0
    }
}

/// A flow entry as it lies in the map. 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Flow {
    /// What to do with the packets; fixed.
    pub rewrite: FlowRewrite,
    /// When this direction last saw a packet. The pair is as young as the younger of its two.
    pub stamp: Tick,
    /// [`ConnState`] as a number. In the primary the truth, in the reply entry a copy that may lag.
    pub state: u32,
}

impl Flow {
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
pub struct FlowRef<'a> {
    entry: NonNull<Flow>,
    table: PhantomData<&'a Flow>,
}

impl<'a> FlowRef<'a> {
    /// Wraps what a map look-up returned; `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `entry` is null, or valid for reads and writes for `'a` and only ever written word by word.
    #[inline(always)]
    pub unsafe fn from_raw(entry: *mut Flow) -> Option<Self> {
        NonNull::new(entry).map(|entry| Self { entry, table: PhantomData })
    }

    /// What to do with the packets of this direction.
    #[inline(always)]
    pub fn rewrite(&self) -> &'a FlowRewrite {
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

const _: () = assert!(size_of::<FlowKey>() == 16 && size_of::<Flow>() == 48);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Flow {}
}
