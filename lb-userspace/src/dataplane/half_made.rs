//! Checksums that a device was to finish (`CHECKSUM_PARTIAL`): the field of TCP or UDP holds the sum of the
//! pseudo-header.
//!
//! A frame that is copied out of the kernel loses the mark that says so. A field that holds that sum to the bit is
//! taken for half-made. A finished one does so once in 65,536 frames, and what is worked out is what it held; a wrong
//! one is made right by the same chance.

use lb_common::engine::{icmp, parse};
use lb_common::wire::checksum;
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::ipv6::Ipv6;

/// Finishes the checksum of a frame without IPv4 options and IPv6 extension headers; any other is left as it is.
pub(super) fn finish(frame: &mut [u8]) {
    let Some(HalfMade { l4, check, end }) = half_made(frame) else { return };
    // 0 would mean "none" with UDP (RFC 768); for TCP both are the same number.
    let whole = match !checksum::fold(words(&frame[l4..end])) {
        0 => u16::MAX,
        whole => whole,
    };
    frame[check..check + 2].copy_from_slice(&whole.to_ne_bytes());
}

/// Where things are in a frame with a half-made checksum.
struct HalfMade {
    l4: usize,
    check: usize,
    /// Where the packet ends.
    end: usize,
}

fn half_made(frame: &[u8]) -> Option<HalfMade> {
    let packet = frame.get(parse::IP..)?;
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (header, carried, proto, addresses) = if *packet.first()? == 0x45 {
        let fragment = number(6)? & 0x3fff != 0;
        let carried = number(2)?.checked_sub(Ipv4::LEN as u16).filter(|_| !fragment)?;
        (Ipv4::LEN, carried, *packet.get(9)?, 12..20)
    } else if packet[0] >> 4 == 6 {
        (Ipv6::LEN, number(4)?, *packet.get(6)?, 8..40)
    } else {
        return None;
    };
    let offset = match proto {
        parse::TCP => icmp::TCP_CHECK,
        parse::UDP => icmp::UDP_CHECK,
        _ => return None,
    };
    let segment = packet.get(header..header + usize::from(carried))?;
    let check = segment.get(offset..)?.first_chunk::<2>()?;
    let pseudo = words(packet.get(addresses)?)
        + u32::from(u16::from_ne_bytes([0, proto]))
        + u32::from(u16::from_ne_bytes(carried.to_be_bytes()));
    let l4 = parse::IP + header;
    let end = l4 + usize::from(carried);
    let half = u16::from_ne_bytes(*check) == checksum::fold(pseudo);
    half.then_some(HalfMade { l4, check: l4 + offset, end })
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

    /// The same of IPv6.
    const HALF6: [u8; 2] = [0x5b, 0x91];
    const WHOLE6: [u8; 2] = [0x8, 0x91];

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
    fn that_of_ipv6_is_finished_too() {
        // From 2001:db8::1 port 53 to 2001:db8::2 port 4660, "hi!"; worked out by another program.
        let frame = |check: [u8; 2]| {
            let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
            bytes.extend([0x60, 0, 0, 0, 0, 11, 17, 64]);
            for last in [1, 2] {
                bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            bytes.extend([0, 53, 0x12, 0x34, 0, 11, check[0], check[1], b'h', b'i', b'!']);
            bytes
        };
        let mut bytes = frame(HALF6);
        finish(&mut bytes);
        assert_eq!(bytes, frame(WHOLE6));
        finish(&mut bytes);
        assert_eq!(bytes, frame(WHOLE6));
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
