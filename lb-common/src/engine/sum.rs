//! The checksum of a stretch of a frame that has any length.

use core::hint::black_box;

use super::PacketBytes;
use crate::wire::checksum;

/// Bytes of the longest stretch: what an IPv4 packet of 1,500 bytes carries.
pub const MOST: usize = 1_480;
/// Bytes that are summed at a time.
const STRIDE: usize = 32;

/// The folded sum of `len` bytes at `from`; `None`: there are not as many, or more than [`MOST`].
#[inline(always)]
pub fn of<P: PacketBytes + ?Sized>(packet: &P, from: usize, len: usize) -> Option<u16> {
    if len > MOST {
        return None;
    }
    // Taken apart before the loops and out of sight: else the verifier learns at each loop's end where it stands and how
    // much is left, and walks all that follows once for each length.
    let strides = hidden(len & !(STRIDE - 1));
    let words = hidden(len & (STRIDE - 1) & !3);
    let bytes = hidden(len & 3);
    let words_at = hidden(from + strides);
    let bytes_at = hidden(words_at + words);
    let (mut total, mut at) = (0_u32, 0);
    while at < MOST && at < strides {
        total += checksum::sum(packet.far::<[u8; STRIDE]>(from + at)?);
        at += STRIDE;
    }
    let mut at = 0;
    while at < STRIDE && at < words {
        total += checksum::sum(packet.far::<[u8; 4]>(words_at + at)?);
        at += 4;
    }
    let mut at = 0;
    while at < 3 && at < bytes {
        let [byte] = *packet.far::<[u8; 1]>(bytes_at + at)?;
        // The second byte of a pair; an odd one is as if a zero followed (RFC 1071).
        let word = if at == 1 { [0, byte] } else { [byte, 0] };
        total += u32::from(u16::from_ne_bytes(word));
        at += 1;
    }
    Some(checksum::fold(total))
}

/// A length or offset of which nothing is known but that it is no larger than frames are. Verifiers up to kernel 6.1
/// forget bounds on the way through the stack, so the bound is said again.
#[inline(always)]
pub fn hidden(value: usize) -> usize {
    black_box(value) & 0xfff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Frame;

    #[test]
    fn every_length_sums_as_if_zeroes_followed() {
        let bytes: Vec<u8> = (0..1_600_u32).map(|n| (n * 7 % 251) as u8).collect();
        let frame = Frame::new(bytes.clone());
        for from in [0, 34, 42] {
            for len in 0..=MOST {
                let padded = [&bytes[from..from + len], &[0]].concat();
                let words = padded.chunks_exact(2).map(|w| u16::from_ne_bytes([w[0], w[1]]));
                let sum = words.fold(0_u32, |sum, word| sum + u32::from(word));
                assert_eq!(of(&frame, from, len), Some(checksum::fold(sum)), "{len} at {from}");
            }
        }
        assert_eq!(of(&frame, 0, MOST + 1), None);
        assert_eq!(of(&frame, 1_000, 700), None, "past the end");
    }
}
