//! Checksums by full sums, as RFC 791, 792, 768 and 9293 define them. Shares no code with xlb: nothing here is updated
//! incrementally, and words are read as they are sent.

/// Where the IPv4 header lies in a frame.
const IP: usize = 14;

/// Bytes of an IPv4 header, as it says itself.
pub fn header_length(packet: &[u8]) -> usize {
    4 * usize::from(packet[0] & 15)
}

/// The one's complement sum of bytes as sixteen-bit words, an odd last one padded with zero; below 65,535, so that both
/// notations of zero are one number.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u64::from(high) << 8 | u64::from(low),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    words.sum::<u64>() % 65_535
}

/// The checksum that makes up for a sum; never zero's other notation.
fn complement(sum: u64) -> [u8; 2] {
    ((65_535 - sum % 65_535) as u16).to_be_bytes()
}

fn pseudo(packet: &[u8], length: usize) -> u64 {
    sum(&packet[12..20]) + u64::from(packet[9]) + length as u64
}

/// The IPv4 packet in a frame, as long as it says; `None` where it is none or is cut.
fn packet(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(IP..)?;
    let header = packet.get(..20)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let right = header[0] >> 4 == 4 && header_length(header) >= 20;
    if frame[12..14] != [8, 0] || !right || length < header_length(header) {
        return None;
    }
    packet.get(..length)
}

/// Writes right checksums into a frame: of the header, of a whole TCP segment, UDP datagram or ICMP message. One that is
/// not there, or belongs to more than this fragment, stays.
pub fn mend(frame: &mut [u8]) {
    let header = frame.get(IP..IP + 20).map_or(0, |packet| header_length(packet).max(20));
    let l4 = IP + header;
    if header == 0 || frame.len() < l4 {
        return;
    }
    frame[IP + 10..IP + 12].fill(0);
    let check = complement(sum(&frame[IP..l4]));
    frame[IP + 10..IP + 12].copy_from_slice(&check);
    let Some(length) = packet(frame).map(<[u8]>::len) else { return };
    let fragment = u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]) & 0x3fff != 0;
    let (at, with_pseudo) = match frame[IP + 9] {
        6 => (16, true),
        17 => (6, true),
        1 => (2, false),
        _ => return,
    };
    if fragment || length < header + at + 2 {
        return;
    }
    frame[l4 + at..l4 + at + 2].fill(0);
    let front = if with_pseudo { pseudo(&frame[IP..], length - header) } else { 0 };
    let mut check = complement(front + sum(&frame[l4..IP + length]));
    if frame[IP + 9] != 17 && check == [0xff; 2] {
        check = [0; 2];
    }
    frame[l4 + at..l4 + at + 2].copy_from_slice(&check);
}

/// By how much each checksum of a frame is wrong: of the header, and of what it carries. 0: right; `None`: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errors {
    pub header: u64,
    pub carried: Option<u64>,
    /// Of the header that an ICMP error quotes.
    pub quoted: Option<u64>,
}

/// The errors of a frame; `None` where it holds no IPv4 packet.
pub fn errors(frame: &[u8]) -> Option<Errors> {
    let packet = packet(frame)?;
    let later = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
    let (header, rest) = packet.split_at(header_length(packet));
    let carried = match packet[9] {
        _ if later => None,
        6 if rest.len() >= 20 => Some((pseudo(packet, rest.len()) + sum(rest)) % 65_535),
        // Over what the length field says, which need not be all; the rest changes nothing as it does not change.
        17 if rest.len() >= 8 && rest[6..8] != [0; 2] => {
            Some((pseudo(packet, rest.len()) + sum(rest)) % 65_535)
        }
        1 if rest.len() >= 8 => Some(sum(rest) % 65_535),
        _ => None,
    };
    let quoted = if packet[9] == 1 && rest.len() >= 28 && !later {
        rest.get(8..8 + header_length(&rest[8..])).map(sum)
    } else {
        None
    };
    Some(Errors { header: sum(header), carried, quoted })
}

/// The offsets that forwarding may change in a frame.
pub fn may_change(frame: &[u8], at: usize) -> bool {
    let outer = at < 12 || at == IP + 8 || (IP + 10..IP + 20).contains(&at);
    if outer {
        return true;
    }
    let later = u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]) & 0x1fff != 0;
    let outer = IP + header_length(&frame[IP..]);
    match frame[IP + 9] {
        _ if later => false,
        6 => (outer..outer + 4).contains(&at) || (outer + 16..outer + 18).contains(&at),
        17 => (outer..outer + 4).contains(&at) || (outer + 6..outer + 8).contains(&at),
        1 => {
            // The header that an ICMP error quotes.
            let quote = outer + 8;
            let l4 = quote + header_length(&frame[quote..]);
            let check = if frame[quote + 9] == 6 { l4 + 16 } else { l4 + 6 };
            (outer + 2..outer + 4).contains(&at)
                || (quote + 10..quote + 20).contains(&at)
                || (l4..l4 + 4).contains(&at)
                || (check..check + 2).contains(&at)
        }
        _ => false,
    }
}

/// What must hold between a frame and what it was forwarded as: length, every byte that is none of an address, port,
/// checksum or TTL, and the error of every checksum, which is 0 for a right one (catalogue I-3, I-4, I-10, P-07).
pub fn forwarded(frame: &[u8], left: &[u8]) -> Result<(), String> {
    if frame.len() != left.len() {
        return Err(format!("{} bytes became {}", frame.len(), left.len()));
    }
    for (at, (old, new)) in frame.iter().zip(left).enumerate() {
        if old != new && !may_change(frame, at) {
            return Err(format!("byte {at} changed"));
        }
    }
    if left[IP + 8] != frame[IP + 8].wrapping_sub(1) {
        return Err("the TTL did not fall by one".into());
    }
    let (before, after) = (errors(frame), errors(left));
    if before != after {
        return Err(format!("checksums were wrong by {before:?}, now by {after:?}"));
    }
    quoted(frame, left)
}

/// The transport checksum in a quotation: wrong by as much as before, where all it covers is quoted.
fn quoted(frame: &[u8], left: &[u8]) -> Result<(), String> {
    if frame[IP + 9] != 1 {
        return Ok(());
    }
    // The quoted packet in a frame of its own.
    let alone = |frame: &[u8]| {
        let message = packet(frame)?;
        Some([&frame[..IP], &message[header_length(message) + 8..]].concat())
    };
    let (before, after) = (alone(frame), alone(left));
    let of = |quote: &Option<Vec<u8>>| quote.as_deref().and_then(errors).and_then(|e| e.carried);
    if of(&before) != of(&after) {
        return Err(format!(
            "the quoted checksum was wrong by {:?}, now by {:?}",
            of(&before),
            of(&after)
        ));
    }
    Ok(())
}

/// The ICMP error that stands in for `frame`, by the RFCs and from nothing but them and the answer's own source address,
/// kind, code and MTU.
pub fn answered(frame: &[u8], left: &[u8]) -> Result<(), String> {
    let quoted = frame.get(IP..IP + 20).map_or(0, header_length) + 8;
    if left.len() != 42 + quoted || frame.len() < IP + quoted {
        return Err(format!("{} bytes were answered with {}", frame.len(), left.len()));
    }
    let mut right = [&frame[6..12], &frame[..6], &[8, 0]].concat();
    right.extend([0x45, 0, 0, 28 + quoted as u8, 0, 0, 0x40, 0, 64, 1, 0, 0]);
    right.extend(&left[26..30]);
    right.extend(&frame[26..30]);
    right.extend([left[34], left[35], 0, 0, 0, 0, left[40], left[41]]);
    right.extend(&frame[IP..IP + quoted]);
    mend(&mut right);
    if right == left { Ok(()) } else { Err(format!("the answer should be {right:02x?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{self, Flags};

    #[test]
    fn sums_agree_with_those_of_etherparse() {
        let (from, to) = (([10, 0, 0, 1].into(), 7), ([10, 0, 0, 2].into(), 8));
        for length in 0..40 {
            let payload = vec![0xa5; length];
            for frame in [
                packets::tcp(from, to, Flags::SYN, &payload),
                packets::udp(from, to, &payload),
                packets::icmp(from.0, to.0, (8, 0, [1; 4]), &payload),
            ] {
                let mut mended = frame.clone();
                mend(&mut mended);
                assert_eq!(mended, frame);
                let errors = errors(&frame).expect("a packet");
                assert_eq!((errors.header, errors.carried), (0, Some(0)));
            }
        }
    }
}
