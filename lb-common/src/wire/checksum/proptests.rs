//! Updates against sums over the whole text, worked out as RFC 1071 has them and without the code under test.

use proptest::prelude::*;

use super::*;
use crate::wire::Addr4;

/// The checksum of `bytes` by the book: big-endian words, an odd byte padded, carries added at the end.
fn by_the_book(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u64 = 0;
    for word in bytes.chunks(2) {
        sum += u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A generator without state outside itself (xorshift), so that every run tries the same million.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }
}

/// An IPv4 header with its right checksum.
fn sealed(mut header: [u8; 20]) -> [u8; 20] {
    header[0] = 0x45;
    [header[10], header[11]] = [0, 0];
    [header[10], header[11]] = by_the_book(&header);
    header
}

fn addr(bytes: &[u8], at: usize) -> Addr4 {
    Addr4([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

// P-01
#[test]
fn a_million_headers_are_readdressed_as_if_summed_anew() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..1_000_000 {
        let before = sealed(numbers.bytes());
        let mut after = before;
        after[12..20].copy_from_slice(&numbers.bytes::<8>());
        after[8] = before[8].wrapping_sub(1);
        let delta = Delta::new()
            .addr(addr(&before, 12), addr(&after, 12))
            .addr(addr(&before, 16), addr(&after, 16))
            .word([before[8], before[9]], [after[8], after[9]])
            .finish();
        let updated = update([before[10], before[11]], delta);
        assert_eq!(
            updated,
            [sealed(after)[10], sealed(after)[11]],
            "{before:02x?} to {after:02x?}"
        );
        // A header's words are never all zero, so its sum is never 0 and its checksum never 0xffff.
        assert_ne!(updated, [0xff, 0xff], "the other zero");
    }
}

// P-01: one hop less is the same change whatever the header.
#[test]
fn one_hop_less_is_a_constant() {
    use crate::wire::ipv4::Ipv4;
    let mut numbers = Numbers(7);
    for ttl in 1..=255 {
        let mut before: [u8; 20] = numbers.bytes();
        before[8] = ttl;
        let before = sealed(before);
        let mut after = before;
        after[8] -= 1;
        let updated = update([before[10], before[11]], Ipv4::ONE_HOP.finish());
        assert_eq!(updated, [sealed(after)[10], sealed(after)[11]], "TTL {ttl}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    // P-02, P-03
    #[test]
    fn a_segment_is_retuned_as_if_summed_anew(
        old in any::<[u8; 12]>(),
        new in any::<[u8; 12]>(),
        rest in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let text = |tuple: &[u8; 12]| [tuple.as_slice(), rest.as_slice()].concat();
        let delta = Delta::new()
            .addr(addr(&old, 0), addr(&new, 0))
            .addr(addr(&old, 4), addr(&new, 4))
            .port(Port([old[8], old[9]]), Port([new[8], new[9]]))
            .port(Port([old[10], old[11]]), Port([new[10], new[11]]))
            .finish();
        let (before, right) = (by_the_book(&text(&old)), by_the_book(&text(&new)));
        // Text of zeros only has two right answers; no packet is such, for its protocol is in the sum.
        prop_assume!(text(&new).iter().any(|byte| *byte != 0));
        prop_assume!(text(&old).iter().any(|byte| *byte != 0));
        prop_assert_eq!(update(before, delta), right);
        if before != [0, 0] {
            let udp = update_udp(before, delta);
            prop_assert_ne!(udp, [0, 0], "none");
            prop_assert_eq!(udp, if right == [0, 0] { [0xff, 0xff] } else { right });
        }
    }

    // P-05
    #[test]
    fn a_datagram_without_checksum_stays_without(delta in any::<u16>()) {
        prop_assert_eq!(update_udp([0, 0], delta), [0, 0]);
    }

    // P-07
    #[test]
    fn a_wrong_checksum_stays_as_wrong_as_it_was(
        old in any::<[u8; 8]>(),
        new in any::<[u8; 8]>(),
        error in 1..0xffff_u16,
    ) {
        let delta = Delta::new()
            .addr(addr(&old, 0), addr(&new, 0))
            .addr(addr(&old, 4), addr(&new, 4))
            .finish();
        let wrong = (u16::from_be_bytes(by_the_book(&old)) ^ error).to_be_bytes();
        prop_assume!(fold(u32::from(u16::from_be_bytes(wrong))) % 0xffff
            != u16::from_be_bytes(by_the_book(&old)) % 0xffff);
        let updated = u16::from_be_bytes(update(wrong, delta));
        prop_assert_ne!(updated % 0xffff, u16::from_be_bytes(by_the_book(&new)) % 0xffff);
    }

    #[test]
    fn a_sum_is_that_of_the_book(bytes in any::<[u8; 28]>()) {
        prop_assert_eq!((!fold(sum(&bytes))).to_ne_bytes(), by_the_book(&bytes));
    }
}
