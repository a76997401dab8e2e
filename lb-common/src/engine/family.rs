//! What IPv4 and IPv6 do differently. Everything else in the engine is written once, over [`Family`].

pub mod ipv4;
pub mod ipv6;
pub mod place;

use super::{PacketBytes, Seen, Step};
use crate::abi::{FlowKey, FlowRewrite, FragmentKey, Iface, PassReason};
use crate::wire::Address;
use crate::wire::checksum::Delta;
use crate::wire::icmp::IcmpError;
use place::Place;

/// What an ICMP message is to xlb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// It quotes no packet: an echo, a neighbour's advertisement and so on.
    Query,
    /// An error that is not passed on.
    Refused,
    /// An error that is.
    Translated,
    /// The same, and packets may have no more than so many bytes.
    TooBig(u32),
}

/// An ICMP error to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The MTU of a packet too big, else 0.
    pub mtu: u32,
}

/// What a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Bytes of the fragmented part before it.
    pub offset: u16,
    /// Whether it is of a TCP segment.
    pub tcp: bool,
}

/// A family of addresses: the headers that carry them, and its ICMP. `None` everywhere: the frame ends before.
pub trait Family: Address {
    /// Bytes of the header without options.
    const HEADER: usize;
    /// Where the transport header starts if nothing stands between.
    const L4: usize;
    /// Protocol number of its ICMP.
    const ICMP: u8;
    /// Of its frames, as it is read from them.
    const ETHER_TYPE: u16;
    /// The header contradicts itself or the frame.
    const MALFORMED: PassReason;
    /// The least MTU that a router may ask a sender for. Smaller ones are an attack (RFC 5927, section 7.2).
    const LEAST_MTU: u32;
    /// Whether UDP must have a checksum (RFC 8200, 8.1).
    const MUST_CHECK_UDP: bool;
    /// Port unreachable.
    const NOBODY: Complaint;
    /// Time exceeded in transit.
    const TTL: Complaint;

    /// What the headers say, or why the packet is none of ours. By value: it is put together in registers and stored
    /// once. A `Seen` that begins as zeros costs the established path a call of `memset`, which in the kernel writes
    /// byte by byte.
    fn headers<P: PacketBytes>(packet: &P) -> Step<Seen<Self>>;
    /// Where the transport header of a packet marked [`FAR`](super::fragment::FAR) is.
    fn place<P: PacketBytes>(packet: &P) -> Place;
    /// Fills `key` with what a fragment has in common with the others of its packet; returns what is its own.
    fn fragment<P: PacketBytes>(
        packet: &P,
        seen: &Seen<Self>,
        place: Place,
        key: &mut FragmentKey<Self>,
    ) -> Option<Piece>;
    /// Flow key number `index` of those that lie packed in `packet`.
    fn key<P: PacketBytes>(packet: &P, index: usize) -> Option<FlowKey<Self>>;
    /// New addresses, one hop less.
    fn forward<P: PacketBytes>(packet: &mut P, rewrite: &FlowRewrite<Self>) -> Option<()>;
    /// [`FlowRewrite::ip_delta`] of a change of addresses.
    fn header_delta(addresses: Delta) -> u16;
    /// Whether the header, which ends at `l4`, has the right checksum.
    fn is_intact<P: PacketBytes>(packet: &P, l4: usize) -> Option<bool>;
    /// An interface's address; all zero: none.
    fn of_iface(iface: &Iface) -> &Self;
    /// What to say of a packet that is larger than `mtu`; `None` also: nothing, it might be fragmented.
    fn too_big<P: PacketBytes>(packet: &P, mtu: u16) -> Option<Complaint>;
    /// How many bytes of a packet, whose transport header starts at `l4`, an error about it quotes.
    fn quotes(seen: &Seen<Self>, l4: usize) -> usize;
    /// Fills the header before an ICMP message of xlb's own, of `length` bytes; returns its [`pseudo`](Self::pseudo).
    fn fill<P: PacketBytes>(packet: &mut P, src: &Self, dst: &Self, length: u16) -> Option<u32>;
    /// What an ICMP message is.
    fn message(icmp: &IcmpError) -> Message;
    /// What the checksum of an ICMP message of `length` bytes covers beside the message, as a sum.
    fn pseudo(src: &Self, dst: &Self, length: usize) -> u32;
    /// What a change of `addresses` around the message does to its checksum.
    fn outer_delta(addresses: Delta) -> Delta;
    /// Fills `key` with addresses and protocol of the answer to the quoted packet that starts at `at`; returns the length of
    /// its header. `None` also: it does not say what flow it is of.
    fn quoted<P: PacketBytes>(packet: &P, at: usize, key: &mut FlowKey<Self>) -> Option<usize>;
    /// Whether its header, of `header` bytes, has the right checksum.
    fn quote_is_intact<P: PacketBytes>(packet: &P, at: usize, header: usize) -> Option<bool>;
    /// The addresses of `rewrite` the other way round in the quoted header at `at`. What that does to a sum over it;
    /// `addresses`: what it does to one over the addresses alone.
    fn requote<P: PacketBytes>(
        packet: &mut P,
        at: usize,
        rewrite: &FlowRewrite<Self>,
        addresses: Delta,
    ) -> Option<Delta>;
}
