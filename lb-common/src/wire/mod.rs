//! Bytes on the wire: network-order types with alignment 1, header views and checksums.
//!
//! Everything here is layout and arithmetic; what a header *means* for a packet is the engine's business.

mod addr;
pub mod checksum;
pub mod eth;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod tunnel;
pub mod udp;
pub mod vlan;

pub use addr::{Addr4, Addr6, Address, Mac, Port};

/// Types that may be laid over packet bytes.
///
/// # Safety
///
/// Every bit pattern is a value, the alignment is 1 and there is no padding.
pub unsafe trait Wire: Copy {}

// SAFETY: arrays of bytes have alignment 1, no padding and no invalid patterns.
unsafe impl<const N: usize> Wire for [u8; N] {}
