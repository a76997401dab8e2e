//! One's complement checksums: RFC 1071 sums, RFC 1624 updates.
//!
//! Sums are taken over 16-bit words in the order they lie in memory, read natively; one's complement addition
//! commutes with byte swapping (RFC 1071, section 2 (B)), so nothing is ever swapped.

use super::{Address, Port};

/// Adds the carries back until 16 bits are left.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// What replacing fields does to a sum: collects `~old + new` (RFC 1624, equation 3).
#[derive(Clone, Copy, Default)]
pub struct Delta(u32);

impl Delta {
    /// Nothing replaced yet.
    pub const fn new() -> Self {
        Self(0)
    }

    /// One 16-bit word becomes another.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: [u8; 2], new: [u8; 2]) -> Self {
        Self(self.0 + (!u16::from_ne_bytes(old)) as u32 + u16::from_ne_bytes(new) as u32)
    }

    /// From a sum of 32-bit words, old ones inverted: their halves are words of 16 bits (RFC 1071, section 2 (C)).
    #[inline(always)]
    pub(super) const fn of_words(sum: u64) -> Self {
        Self((sum & 0xffff) as u32 + (sum >> 16 & 0xffff) as u32 + (sum >> 32) as u32)
    }

    /// An address becomes another.
    #[inline(always)]
    #[must_use]
    pub fn addr<A: Address>(self, old: A, new: A) -> Self {
        self.and(old.replaced(new))
    }

    /// A port becomes another.
    #[inline(always)]
    #[must_use]
    pub const fn port(self, old: Port, new: Port) -> Self {
        self.word(old.0, new.0)
    }

    /// Both changes together.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The whole change as one word, to be kept and used for every packet of a flow.
    #[inline(always)]
    pub const fn finish(self) -> u16 {
        fold(self.0)
    }
}

/// What is left of a change without a part of it. Nothing left is 0 or 0xffff, which mean the same.
#[inline(always)]
pub const fn without(delta: u16, part: u16) -> u16 {
    fold(delta as u32 + (!part) as u32)
}

/// The checksum field after a change of `delta`: `~(~check + delta)`.
#[inline(always)]
pub const fn update(check: [u8; 2], delta: u16) -> [u8; 2] {
    let sum = (!u16::from_ne_bytes(check)) as u32 + delta as u32;
    (!fold(sum)).to_ne_bytes()
}

/// The same for UDP over IPv4, where a stored 0 means "no checksum" (RFC 768): none stays none, and a sum that
/// comes out 0 is sent as 0xffff.
#[inline(always)]
pub const fn update_udp(check: [u8; 2], delta: u16) -> [u8; 2] {
    if u16::from_ne_bytes(check) == 0 {
        return check;
    }
    let updated = update(check, delta);
    if u16::from_ne_bytes(updated) == 0 { [0xff, 0xff] } else { updated }
}

/// The sum of `bytes`, whose length is even; to be complemented for a header's field.
#[inline(always)]
pub fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    const { assert!(N.is_multiple_of(2), "an odd length needs padding that the caller decides") };
    let mut total = 0;
    let mut at = 0;
    while at < N {
        total += u32::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        at += 2;
    }
    total
}

#[cfg(test)]
mod proptests;
