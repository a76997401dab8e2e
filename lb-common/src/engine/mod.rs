//! A packet's way through xlb: parse ► track ► admit ► rewrite. Pure and safe; the same code runs in the kernel
//! and in the tests of the host.
//!
//! Decide, then write: every look-up and check precedes the first byte changed, so a packet that is passed or
//! dropped is untouched. The one exception is a refused packet that becomes its own ICMP error ([`refuse`]).
//!
//! [`established`] is that path and nothing else: one flow-table look-up, one next hop, one counter. What changes state
//! or makes flows is behind [`slow`], ICMP behind [`icmp`], programs of their own in the kernel (ADR 0015), so that the
//! fast path can be read (and is checked by a test) in its program's instructions.
#![forbid(unsafe_code)]

pub mod admit;
pub mod capture;
pub mod expire;
pub mod family;
pub mod fragment;
pub mod hold;
pub mod icmp;
pub mod inspect;
pub mod mss;
pub mod outer;
pub mod pair;
pub mod parse;
pub mod refuse;
pub mod reply_path;
pub mod rewrite;
pub mod sched;
pub mod slow;
pub mod snat;
pub mod sum;
pub mod tables;
pub mod tcp_state;

use crate::abi::{
    DropReason, FlowRewrite, HeldHead, Method, Notice, PassReason, RealId, Tags, limits,
};
use crate::wire::eth::Ethernet;
use crate::wire::vlan::Vlan;
use crate::wire::{Addr4, Addr6};

pub use family::Family;
pub use parse::Seen;
pub use slow::Scratch;
pub use tables::{Flows, Tables};

/// Access to the bytes of one frame. `None` everywhere: the frame ends before `off + size_of::<T>()`.
pub trait PacketBytes {
    /// The bytes at `off` from the start of the Ethernet header, as a `T`.
    fn at<T: crate::wire::Wire>(&self, off: usize) -> Option<&T>;
    /// The same, to be written.
    fn at_mut<T: crate::wire::Wire>(&mut self, off: usize) -> Option<&mut T>;
    /// As [`at`](Self::at), where `off` is no constant: dearer in the kernel.
    fn far<T: crate::wire::Wire>(&self, off: usize) -> Option<&T> {
        self.at(off)
    }
    /// As [`at_mut`](Self::at_mut), where `off` is no constant.
    fn far_mut<T: crate::wire::Wire>(&mut self, off: usize) -> Option<&mut T> {
        self.at_mut(off)
    }
    /// [`family::ipv4::behind_options`]; a method for the same reason as [`sum`](Self::sum).
    fn ipv4_place(&self) -> family::place::Place {
        family::ipv4::behind_options(self)
    }
    /// [`family::ipv6::behind_extensions`]; likewise.
    fn ipv6_place(&self) -> family::place::Place {
        family::ipv6::behind_extensions(self)
    }
    /// The folded one's complement sum of `len` bytes at `from`; `None`: there are not as many, or more than
    /// [`sum::MOST`]. A method so that the kernel's shell can make a function of its own of that loop, which the
    /// verifier then walks once instead of going on with the program from each of its ends.
    fn sum(&self, from: usize, len: usize) -> Option<u16> {
        sum::of(self, from, len)
    }
    /// The interface it came in by; a VLAN's where it had that tag.
    fn ingress(&self) -> u32;
    /// Takes note of the latter.
    fn came_by(&mut self, ifindex: u32);
    /// Bytes of the frame.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of data in each of the packets that leave, where the frame is several of one flow in one (GSO); 0: it is
    /// one packet. Only a shell that runs behind the kernel's GRO sees such frames.
    #[inline(always)]
    fn segment(&self) -> u16 {
        0
    }
    /// New ports in the transport header at `l4`, a constant unless `FAR`, and a checksum there that fits them and the new
    /// addresses; the addresses themselves are not written. `false`: the frame ends before. A method for the shell of a
    /// stack that carries checksums half-made.
    #[inline(always)]
    fn forward_transport<A: Family, const FAR: bool>(
        &mut self,
        rewrite: &FlowRewrite<A>,
        l4: usize,
        is_tcp: bool,
    ) -> bool {
        rewrite::transport_in_place::<A, Self, FAR>(self, rewrite, l4, is_tcp).is_some()
    }
    /// [`mss::find`]; a method for the same reason as [`sum`](Self::sum), and for the shell of a stack that does not show
    /// all of a frame at once.
    fn mss_place(&mut self, l4: usize) -> usize {
        mss::find(self, l4)
    }
    /// Two bytes at `at` of the TCP segment that starts at `l4` become others, and its checksum fits them. A method for the
    /// same reason as [`forward_transport`](Self::forward_transport). `false`: the frame ends before.
    #[inline(always)]
    fn replace_in_tcp(&mut self, l4: usize, at: usize, old: [u8; 2], new: [u8; 2]) -> bool {
        mss::replace_in_place(self, l4, at, old, new).is_some()
    }
    /// Most bytes of a packet that an error can quote.
    #[inline(always)]
    fn quotable(&self) -> usize {
        usize::MAX
    }
    /// Puts `front` bytes between the Ethernet and the IP header and cuts the frame behind the first `quoted` bytes of the
    /// IP packet, whose transport header started at `l4`; what is in front of the old IP header is undefined then.
    /// `false`: no room, and all of the frame is.
    fn make_quotation(&mut self, front: usize, quoted: usize, l4: usize) -> bool;
    /// Makes room for `bytes` between the Ethernet header and what it carries, to be filled by the caller; `false`: there is
    /// none. `tunnel`: of what kind of tunnel the headers are that come there, and of which version of IP.
    fn open(&mut self, bytes: usize, tunnel: Option<(Method, u8)>) -> bool;
    /// Takes `bytes` out behind the Ethernet header, whose `EtherType` stays.
    fn close(&mut self, bytes: usize) -> bool;
    /// Whether the daemon gave it back: it runs on a thread of the daemon's, not where frames arrive.
    fn is_given_back(&self) -> bool {
        false
    }
    /// Hands a copy of the frame to the daemon, which gives it back once its next hop answers. `false`: nobody takes
    /// it, or it has been given back for the last time.
    fn hand_over(&self, head: &HeldHead) -> bool;
}

/// Where a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Egress {
    /// Key of DEVICES.
    pub ifindex: u32,
    /// It leaves by the interface it came in by, and that interface's driver can do so directly.
    pub bounce: bool,
}

/// What a shell does with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Action {
    /// Untouched; the kernel's business.
    Pass = 0,
    /// Ends here.
    Drop = 1,
    /// Rewritten; send it through DEVICES.
    Redirect = 2,
    /// Rewritten; send it straight back by the interface it came in by.
    Bounce = 3,
}

/// What becomes of a packet: an action, the reason if there is one, the interface if it leaves.
///
/// Two words that are always written whole. As an enum its unwritten payload bytes let the compiler store
/// whatever register is at hand, and the verifier refuses half a pointer (kernel 6.18: "invalid size of register
/// spill").
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Verdict {
    code: u32,
    ifindex: u32,
}

impl Verdict {
    /// With [`RealId`]s that fit beside it.
    const BARE: u32 = 1 << 31;

    #[inline(always)]
    const fn new(action: Action, slot: u32, ifindex: u32) -> Self {
        Self { code: action as u32 | slot << 8, ifindex }
    }

    #[inline(always)]
    const fn leaving(egress: Egress, slot: u32) -> Self {
        let action = if egress.bounce { Action::Bounce } else { Action::Redirect };
        Self::new(action, slot, egress.ifindex)
    }

    /// The word without the interface: all of a verdict that passes or drops.
    #[inline(always)]
    const fn first_word(self) -> u32 {
        self.code
    }

    /// The opposite.
    #[inline(always)]
    const fn from_first_word(code: u32) -> Self {
        Self { code, ifindex: 0 }
    }

    /// Rewritten; send it.
    #[inline(always)]
    pub const fn forward(egress: Egress) -> Self {
        Self::leaving(egress, 0)
    }

    /// Untouched; the kernel's business.
    #[inline(always)]
    pub const fn pass(reason: PassReason) -> Self {
        Self::new(Action::Pass, reason.slot(), 0)
    }

    /// Untouched; ends here.
    #[inline(always)]
    pub const fn drop(reason: DropReason) -> Self {
        Self::new(Action::Drop, reason.slot(), 0)
    }

    /// A copy of the untouched frame waits in the daemon; this one ends here.
    #[inline(always)]
    pub const fn held() -> Self {
        Self::new(Action::Drop, Notice::Held.slot(), 0)
    }

    /// Dropped for the same reason, and the frame is now the ICMP error that says so; send it.
    #[inline(always)]
    pub const fn answered(self, egress: Egress) -> Self {
        Self::leaving(egress, self.slot())
    }

    /// Both words, for a program that goes on with what another has decided.
    #[inline(always)]
    pub const fn words(self) -> [u32; 2] {
        [self.code, self.ifindex]
    }

    /// The opposite.
    #[inline(always)]
    pub const fn from_words([code, ifindex]: [u32; 2]) -> Self {
        Self { code, ifindex }
    }

    /// What to do.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self.code & 0xff {
            0 => Action::Pass,
            2 => Action::Redirect,
            3 => Action::Bounce,
            _ => Action::Drop,
        }
    }

    /// Whether the frame goes on from here.
    #[inline(always)]
    pub const fn leaves(self) -> bool {
        !matches!(self.action(), Action::Pass | Action::Drop)
    }

    /// Index in REASONS to count at; 0: nothing to count.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.code >> 8 & 0xff
    }

    /// The same, but something must be put in front before it leaves: the headers of a tunnel to that real server, the tags
    /// of the interface's VLAN ([`outer::put_on`]).
    #[inline(always)]
    pub const fn bare(self, tunnel: Option<RealId>) -> Self {
        let to = match tunnel {
            Some(real) => real.0 + 1,
            None => 0,
        };
        Self { code: self.code | Self::BARE | to << 16, ..self }
    }

    /// Whether it is still so.
    #[inline(always)]
    pub const fn is_bare(self) -> bool {
        self.code & Self::BARE != 0
    }

    /// With that: at the end of which tunnel the real server is.
    #[inline(always)]
    pub const fn tunnel(self) -> Option<RealId> {
        match self.code >> 16 & 0x7fff {
            0 => None,
            to => Some(RealId(to - 1)),
        }
    }

    /// With nothing left to be put in front.
    #[inline(always)]
    pub const fn dressed(self) -> Self {
        Self { code: self.code & 0xffff, ..self }
    }

    /// Key of DEVICES, where the frame leaves.
    #[inline(always)]
    pub const fn ifindex(self) -> u32 {
        self.ifindex
    }
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let slot = self.slot();
        let reason = match slot {
            0 => "",
            1..128 => PassReason::from_number(slot as u8).map_or("?", PassReason::name),
            224.. => Notice::from_number((slot - 224) as u8).map_or("?", Notice::name),
            _ => DropReason::from_number((slot - 128) as u8).map_or("?", DropReason::name),
        };
        write!(f, "{:?}({reason}) by {}", self.action(), self.ifindex)
    }
}

const _: () = assert!(limits::REALS < 0x7fff);

/// `Err` is not a failure: it is "stop here, with this verdict".
pub type Step<T> = Result<T, Verdict>;

/// Whether the frame is the other program's, which walks as [`walk::<Addr6>`](walk).
#[inline(always)]
pub fn is_ipv6<P: PacketBytes>(packet: &P) -> bool {
    packet.at::<Ethernet>(0).is_some_and(|eth| eth.ether_type() == Ethernet::IPV6)
}

/// Whether the frame has VLAN tags.
#[inline(always)]
pub fn is_tagged<P: PacketBytes>(packet: &P) -> bool {
    packet.at::<Ethernet>(0).is_some_and(|eth| Vlan::follows(eth.ether_type().to_ne_bytes()))
}

/// What a packet that is not of an established flow goes on with: programs of their own in the kernel, by a tail call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// [`slow::walk`].
    Slow,
    /// [`icmp::walk`].
    Errors,
}

/// A packet's whole way through xlb, as hosts walk it: programs of the kernel go from one to the next instead.
pub fn walk<P, T>(packet: &mut P, tables: &T) -> Verdict
where
    P: PacketBytes,
    T: Flows<Addr4> + Flows<Addr6>,
{
    let tags = match outer::take_off(packet, tables) {
        Ok(tags) => tags,
        Err(verdict) => return verdict,
    };
    let verdict = if is_ipv6(packet) {
        walk_family::<Addr6, _, _>(packet, tables, tags)
    } else {
        walk_family::<Addr4, _, _>(packet, tables, tags)
    };
    if verdict.is_bare() { outer::put_on(packet, tables, verdict) } else { verdict }
}

fn walk_family<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
    tags: Tags,
) -> Verdict {
    let verdict = match established(packet, tables) {
        Err(verdict) => verdict,
        Ok(seen) => {
            let walked = tables.with_scratch(packet.is_given_back(), |scratch| {
                match take_up(packet, tables, &seen, tags, scratch) {
                    Ok(Stage::Slow) => slow::walk(packet, tables, scratch),
                    Ok(Stage::Errors) => icmp::walk(packet, tables, scratch),
                    Err(verdict) => verdict,
                }
            });
            walked.unwrap_or(Verdict::drop(DropReason::BadMapValue))
        }
    };
    outer::put_back(packet, tags, verdict)
}

/// The established path. `Ok`: the packet needs more than that.
#[inline(always)]
pub fn established<A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &T,
) -> Step<Seen<A>> {
    let seen = A::headers(packet)?;
    if let Some(entry) = tables.flow(&seen.key)
        && tcp_state::is_quiet(entry.state(), seen.tcp)
        && entry.rewrite().comes_by(packet.ingress())
        && let Ok(hop) = rewrite::way(tables, entry.rewrite().hop, &seen)
    {
        entry.touch(tables.now());
        return Err(rewrite::send(packet, tables, entry.rewrite(), hop, &seen));
    }
    Ok(seen)
}

/// Puts a packet into `scratch`; says who takes it from there.
#[inline(always)]
pub fn take_up<A: Family, P: PacketBytes, T: Tables>(
    packet: &P,
    tables: &T,
    seen: &Seen<A>,
    tags: Tags,
    scratch: &mut Scratch<A>,
) -> Step<Stage> {
    scratch.begin(seen, tables.now(), packet.ingress());
    scratch.tags = tags;
    if seen.tcp.any(fragment::FAR) {
        parse::behind_options(packet, scratch)?;
    }
    Ok(if scratch.seen.is_icmp() { Stage::Errors } else { Stage::Slow })
}
