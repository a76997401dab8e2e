//! Checksums that a device was to finish (`CHECKSUM_PARTIAL`): the field of TCP or UDP holds the sum of the
//! pseudo-header.
//!
//! A frame that is copied out of the kernel loses the mark that says so. A field that holds that sum to the bit is
//! taken for half-made. A finished one does so once in 65,536 frames, and what is worked out is what it held; a wrong
//! one is made right by the same chance.

use lb_common::engine::{icmp, parse};
use lb_common::wire::checksum;
use lb_common::wire::ipv4::Ipv4;

/// Finishes the checksum of a frame with an IPv4 header without options; any other is left as it is.
pub(super) fn finish(frame: &mut [u8]) {
    let Some(at) = half_made(frame) else { return };
    let length = usize::from(u16::from_be_bytes([frame[parse::IP + 2], frame[parse::IP + 3]]));
    let sum = words(&frame[parse::L4..parse::IP + length]);
    // 0 would mean "none" with UDP (RFC 768); for TCP both are the same number.
    let check = match !checksum::fold(sum) {
        0 => u16::MAX,
        check => check,
    };
    frame[at..at + 2].copy_from_slice(&check.to_ne_bytes());
}

/// Where the checksum is, if it is half-made.
fn half_made(frame: &[u8]) -> Option<usize> {
    let header = frame.get(parse::IP..parse::L4)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let segment = frame.get(parse::L4..parse::IP + length)?;
    if header[0] != 0x45 || fragment {
        return None;
    }
    let offset = match header[9] {
        Ipv4::TCP => icmp::TCP_CHECK,
        Ipv4::UDP => icmp::UDP_CHECK,
        _ => return None,
    };
    let check = segment.get(offset..)?.first_chunk::<2>()?;
    // Header without options and packet end below 64 KiB.
    let carried = (length - Ipv4::LEN) as u16;
    let pseudo = words(&header[12..20])
        + u32::from(u16::from_ne_bytes([0, header[9]]))
        + u32::from(u16::from_ne_bytes(carried.to_be_bytes()));
    (u16::from_ne_bytes(*check) == checksum::fold(pseudo)).then_some(parse::L4 + offset)
}

/// The sum of 16-bit words; an odd byte at the end is as if a zero followed (RFC 1071). At most 64 KiB: no overflow.
fn words(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    bytes.chunks(2).map(word).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet from 192.0.2.1:53 to 198.51.100.2:4660, "hi!", its checksum as the kernel leaves it to a device,
    /// and finished: both worked out by another program.
    const HALF: [u8; 45] = frame([0xec, 0x53]);
    const WHOLE: [u8; 45] = frame([0x77, 0xce]);

    const fn frame(check: [u8; 2]) -> [u8; 45] {
        [
            2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, //
            0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, //
            0, 53, 0x12, 0x34, 0, 11, check[0], check[1], b'h', b'i', b'!',
        ]
    }

    #[test]
    fn a_half_made_checksum_is_finished_and_a_whole_one_stays() {
        let mut bytes = HALF;
        finish(&mut bytes);
        assert_eq!(bytes, WHOLE);
        finish(&mut bytes);
        assert_eq!(bytes, WHOLE);
    }

    #[test]
    fn what_is_none_of_its_business_stays() {
        let options = |bytes: &mut [u8]| bytes[14] = 0x46;
        let fragment = |bytes: &mut [u8]| bytes[20] = 0x20;
        let icmp = |bytes: &mut [u8]| bytes[23] = 1;
        let longer = |bytes: &mut [u8]| bytes[17] = 200;
        let changes: [fn(&mut [u8]); 4] = [options, fragment, icmp, longer];
        for change in changes {
            let mut bytes = HALF;
            change(&mut bytes);
            let before = bytes;
            finish(&mut bytes);
            assert_eq!(bytes, before);
        }
        for length in 0..HALF.len() {
            let mut bytes = HALF[..length].to_vec();
            finish(&mut bytes);
            assert_eq!(bytes, HALF[..length]);
        }
    }
}
