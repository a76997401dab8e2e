//! Services, real servers and persistence templates, as the program reads them.

use bytemuck::{Pod, Zeroable};

use super::{RealId, ServiceId, Tick};
use crate::wire::{Addr6, Port};

/// Key of SERVICES: exact port first, then port 0 (any port). 20 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct ServiceKey {
    /// The virtual address.
    pub addr: Addr6,
    /// The virtual port; 0 = any.
    pub port: Port,
    /// IP protocol number: 6 or 17.
    pub proto: u8,
    /// 0.
    pub pad: u8,
}

/// How a real server is chosen for a new flow: numbers of [`Service::scheduler`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Scheduler {
    /// The next entry of the slot table (rr: one entry a real; wrr: IPVS's weighted walk, unrolled).
    Cycle = 0,
    /// Least connections: 256 × active + inactive, no weights.
    Lc = 1,
    /// Weighted least connections: the same, divided by the weight.
    Wlc = 2,
    /// The entry of the slot table that the client's address hashes to (sh).
    SourceHash = 3,
    /// The entry of the slot table that the virtual address hashes to (dh).
    DestinationHash = 4,
}

impl Scheduler {
    /// Decodes the number in a map; `None` if it is of no scheduler.
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Cycle,
            1 => Self::Lc,
            2 => Self::Wlc,
            3 => Self::SourceHash,
            4 => Self::DestinationHash,
            _ => return None,
        })
    }
}

/// Bits of [`Service::flags`].
pub struct ServiceFlags;

impl ServiceFlags {
    /// sh: the client's port takes part in the hash (sh-port).
    pub const HASH_PORT: u8 = 1;
}

/// A value of SERVICES. 36 bytes, replaced whole: slot table, scheduler and flags change in one step.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Service {
    /// Index in CURSORS.
    pub id: ServiceId,
    /// [`Scheduler`] as a number.
    pub scheduler: u8,
    /// Bits of [`ServiceFlags`].
    pub flags: u8,
    /// 0.
    pub pad: [u8; 2],
    /// Where the slot table starts in SLOTS.
    pub slots_at: u32,
    /// Its length; 0: nobody may take new flows. Hash schedulers: a power of two. lc, wlc: each usable real once,
    /// at most [`limits::SCAN`](super::limits::SCAN).
    pub slots_len: u32,
    /// Life of a persistence template in ticks; 0: no persistence.
    pub sticky_ticks: u32,
    /// Which bits of the client's address a template is for.
    pub sticky_mask: Addr6,
}

/// How packets get to a real server: numbers of [`Real::method`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Method {
    /// The destination is translated; the director is the real server's gateway.
    Nat = 0,
    /// Destination and source are translated.
    FullNat = 1,
    /// Direct routing: the frame is sent to the real server as it is, which has the virtual address itself.
    Dr = 2,
    /// The same through a tunnel: IP in IP (RFC 2003, 2473, 4213).
    Ipip = 3,
    /// The same through GRE (RFC 2784).
    Gre = 4,
    /// The same through GUE, variant 0 (draft-ietf-intarea-gue), to [`Real::tunnel_port`].
    Gue = 5,
}

impl Method {
    /// Decodes the number in a map; `None` if it is of no method.
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Nat,
            1 => Self::FullNat,
            2 => Self::Dr,
            3 => Self::Ipip,
            4 => Self::Gre,
            5 => Self::Gue,
            _ => return None,
        })
    }

    /// Whether nothing is translated.
    #[inline(always)]
    pub const fn is_direct(self) -> bool {
        !matches!(self, Self::Nat | Self::FullNat)
    }

    /// Whether packets are put into others.
    #[inline(always)]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gre | Self::Gue)
    }
}

/// Bits of [`Real::flags`].
pub struct RealFlags;

impl RealFlags {
    /// The entry is in use: its id belongs to a service.
    pub const USED: u8 = 1;
    /// May take new flows as far as its health goes (weight 0 is another matter). Without it templates are ignored.
    pub const UP: u8 = 2;
    /// Removed from its service, kept until its flows are gone; the id is not given to another.
    pub const REMOVED: u8 = 4;
    /// GRE, GUE: with a checksum over what is in the tunnel.
    pub const CHECKSUM: u8 = 8;
    /// Its answers are believed whatever interface they come in by.
    pub const ANY_PATH: u8 = 16;
}

/// An element of REALS: a real server of one service. 60 bytes. Written by the daemon only.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Real {
    /// Its address.
    pub addr: Addr6,
    /// Its port; 0: the port that the client wrote.
    pub port: Port,
    /// [`Method`] as a number.
    pub method: u8,
    /// Bits of [`RealFlags`].
    pub flags: u8,
    /// Effective weight: connections are divided by it in wlc.
    pub weight: u32,
    /// Full-NAT and tunnels: where the source addresses towards it start in LOCALS.
    pub locals_at: u32,
    /// Full-NAT: how many there are; a tunnel takes the first.
    pub locals_len: u32,
    /// The service it belongs to, so that ids are found again after a restart.
    pub service: ServiceKey,
    /// Index of that service.
    pub service_id: ServiceId,
    /// GUE: the UDP port of the tunnel's end.
    pub tunnel_port: Port,
    /// The largest MSS that either end of a connection may be told; 0: whatever the other end says.
    pub mss: u16,
}

/// An element of LOADS: connections of a real server now. Written by the programs only.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Load {
    /// Flows in FLOWS4 that IPVS counts as active.
    pub active: u32,
    /// The other flows in FLOWS4.
    pub inactive: u32,
}

/// Key of STICKY: a client (or its network) at a service.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
pub struct StickyKey {
    /// The client's address under the service's mask.
    pub client: Addr6,
    /// The service.
    pub service: ServiceId,
}

/// A value of STICKY: a connection template.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Sticky {
    /// The real server the client stays with.
    pub real: RealId,
    /// When the last connection was made by it.
    pub stamp: Tick,
}

const _: () = assert!(size_of::<ServiceKey>() == 20 && size_of::<Service>() == 36);
const _: () = assert!(size_of::<Real>() == 60 && size_of::<Load>() == 8);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::ServiceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Service {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Real {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Load {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::StickyKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Sticky {}
}
