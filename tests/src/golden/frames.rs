//! Builders of frames that say what is unusual about them. Checksums are right unless they are what is unusual.

use std::net::Ipv4Addr;

use super::recompute::mend;
use crate::packets::{self, End, Flags};
use crate::world::VIP;

/// The client of most scenes.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 1);
/// A router that something stopped at.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// Where fields lie.
pub const ETHER_TYPE: usize = 12;
pub const VERSION: usize = 14;
pub const TOS: usize = 15;
pub const LENGTH: usize = 16;
pub const FRAGMENT: usize = 20;
pub const TTL: usize = 22;
pub const PROTOCOL: usize = 23;
pub const HEADER_CHECK: usize = 24;
pub const L4: usize = 34;
pub const TCP_OFFSET: usize = 46;
pub const TCP_FLAGS: usize = 47;
pub const TCP_CHECK: usize = 50;
pub const UDP_LENGTH: usize = 38;
pub const UDP_CHECK: usize = 40;
pub const ICMP_CHECK: usize = 36;

/// The client with a port of its own.
pub const fn client(port: u16) -> End {
    (CLIENT, port)
}

/// A service.
pub const fn vip(port: u16) -> End {
    (VIP, port)
}

/// A frame with other bytes at an offset and nothing else changed.
pub fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// The same, and then right checksums.
pub fn made_right(frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = with(frame, at, bytes);
    mend(&mut frame);
    frame
}

/// A SYN.
pub fn syn(from: End, to: End) -> Vec<u8> {
    packets::tcp(from, to, Flags::SYN, b"")
}

/// A segment with these bits of the flags byte.
pub fn flagged(from: End, to: End, bits: u8) -> Vec<u8> {
    made_right(packets::tcp(from, to, Flags::default(), b""), TCP_FLAGS, &[bits])
}

/// A segment with options, padded to whole words with zeroes.
pub fn with_options(from: End, to: End, flags: Flags, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let frame = packets::tcp(from, to, flags, &[&options, payload].concat());
    made_right(frame, TCP_OFFSET, &[(5 + options.len() / 4) as u8 * 16])
}

/// So many bytes, each one more than the one before.
pub fn rising(length: usize) -> Vec<u8> {
    (0..length).map(|n| n as u8).collect()
}

/// What the flags of a segment are called.
pub fn flag_names(bits: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let bit = |(at, name): (usize, &&'static str)| (bits & 1 << at != 0).then_some(*name);
    let set: Vec<_> = names.iter().enumerate().filter_map(bit).collect();
    if set.is_empty() { "no flags".into() } else { set.join(" ") }
}
