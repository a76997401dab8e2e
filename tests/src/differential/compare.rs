//! Whether two lists of frames are the same to whoever receives them.
//!
//! Frames are compared byte for byte, link addresses included, but for what [`normal`] names. Each of those names is in
//! `docs/ipvs-differences.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::director::{Seen, Side};
use crate::golden::recompute::{errors, mend};

/// Ways in which frames are written differently without meaning anything else.
pub const SPELLINGS: &[&str] =
    &["own-errors", "identification", "quoted-checksum", "udp-without-checksum", "pieces"];

/// The frames in the form in which they are compared, sorted. `asked`: what went in. `spelt`: the names of what was taken
/// for the same.
pub fn normal(left: &[Seen], asked: &[Seen], spelt: &mut BTreeSet<&'static str>) -> Vec<Seen> {
    // An ICMP error is a director's own where no error went in.
    let icmp = asked.iter().any(|(_, frame)| frame.get(23) == Some(&1));
    let unchecked = asked
        .iter()
        .any(|(_, frame)| frame.get(23) == Some(&17) && frame.get(40..42) == Some(&[0, 0]));
    let mut whole = whole(left);
    if whole.len() != left.len() {
        spelt.insert("pieces");
    }
    for (_, frame) in &mut whole {
        let right =
            errors(frame).is_some_and(|errors| errors.header == 0 && errors.carried == Some(0));
        if !right {
            continue;
        }
        let before = frame.clone();
        let name = match (frame[23], frame[34]) {
            (1, 3 | 11 | 12) if !icmp && frame.len() >= 70 => {
                told(frame);
                "own-errors"
            }
            (1, 0) => {
                frame[18..20].fill(0);
                mend(frame);
                "identification"
            }
            (1, 3 | 11) if icmp => {
                hide_quoted_checksum(frame);
                "quoted-checksum"
            }
            (17, _) if unchecked => {
                frame[40..42].fill(0);
                "udp-without-checksum"
            }
            _ => continue,
        };
        if *frame != before {
            spelt.insert(name);
        }
    }
    whole.sort();
    whole
}

/// What a director's own error says, as if the RFC's least were quoted: whom it tells, as whom, of which packet.
fn told(frame: &mut Vec<u8>) {
    frame.truncate(70);
    frame[15] = 0;
    frame[16..24].copy_from_slice(&[0, 56, 0, 0, 0, 0, 64, 1]);
    mend(frame);
}

/// An error without the transport checksum that it quotes, if it does.
fn hide_quoted_checksum(frame: &mut [u8]) {
    let header = 4 * usize::from(frame.get(42).map_or(0, |first| first & 15));
    let at = 42 + header + if frame.get(51) == Some(&6) { 16 } else { 6 };
    for byte in frame.iter_mut().skip(at).take(2) {
        *byte = 0;
    }
    mend(frame);
}

/// The frames with all pieces of a packet put together.
fn whole(left: &[Seen]) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut pieces: BTreeMap<(Side, Vec<u8>), Vec<Vec<u8>>> = BTreeMap::new();
    for (side, frame) in left {
        if matches!((frame[20] & 0x3f, frame[21]), (0, 0)) {
            all.push((*side, unpadded(frame)));
            continue;
        }
        let key = [&frame[18..20], &frame[23..24], &frame[26..34]].concat();
        pieces.entry((*side, key)).or_default().push(frame.clone());
    }
    for ((side, _), mut parts) in pieces {
        let offset = |frame: &Vec<u8>| u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff;
        parts.sort_by_key(offset);
        let mut packet = parts[0][..34].to_vec();
        for part in &parts {
            let length = usize::from(u16::from_be_bytes([part[16], part[17]]));
            packet.extend_from_slice(part.get(34..14 + length).unwrap_or_default());
        }
        let length = (packet.len() - 14) as u16;
        packet[16..18].copy_from_slice(&length.to_be_bytes());
        packet[20..22].fill(0);
        let check = mended_header(&packet);
        packet[24..26].copy_from_slice(&check);
        all.push((side, packet));
    }
    all
}

/// A frame without what comes behind its packet: the kernel cuts it off.
fn unpadded(frame: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    frame[..frame.len().min(14 + length)].to_vec()
}

fn mended_header(frame: &[u8]) -> [u8; 2] {
    let mut header = frame[..34].to_vec();
    // Nothing that is carried, so that nothing of it is touched.
    header[16..18].copy_from_slice(&frame[16..18]);
    mend(&mut header);
    [header[24], header[25]]
}
