//! Bytes of a frame as hexadecimal numbers: headers apart by spaces, fields by full stops, and long payloads short.
//!
//! `78*20` is twenty times 0x78; `00+20` is twenty bytes, each one more than the one before. Reading cares for neither
//! spaces nor stops.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};

/// Field lengths of the headers.
const ETHERNET: &[usize] = &[6, 6, 2];
const IPV4: &[usize] = &[2, 2, 2, 2, 2, 2, 4, 4];
const TCP: &[usize] = &[2, 2, 4, 4, 2, 2, 2, 2];
const UDP: &[usize] = &[2, 2, 2, 2];
const ICMP: &[usize] = &[2, 2, 4];
/// What an ICMP error has of the transport header at least.
const FIRST_EIGHT: &[usize] = &[2, 2, 4];

/// The shortest run that is worth a number.
const RUN: usize = 6;

/// A frame to be read by people.
pub fn shown(frame: &[u8]) -> String {
    let mut words = Vec::new();
    let mut rest = frame;
    if take(&mut words, &mut rest, ETHERNET) && frame[12..14] == [8, 0] {
        packet(&mut words, &mut rest, true);
    }
    words.extend(payload(rest));
    words.join(" ")
}

fn packet(words: &mut Vec<String>, rest: &mut &[u8], outermost: bool) {
    let Some(&[first, .., protocol]) = rest.get(..10) else { return };
    let later = u16::from_be_bytes([rest[6], rest[7]]) & 0x1fff != 0;
    if first != 0x45 || !take(words, rest, IPV4) || later {
        return;
    }
    match (protocol, outermost) {
        (1, true) => {
            if take(words, rest, ICMP) {
                packet(words, rest, false);
            }
        }
        (6, true) => drop(take(words, rest, TCP)),
        (17, true) => drop(take(words, rest, UDP)),
        _ => drop(take(words, rest, FIRST_EIGHT)),
    }
}

/// Takes a header off `rest`, if it is whole.
fn take(words: &mut Vec<String>, rest: &mut &[u8], fields: &[usize]) -> bool {
    let Some((mut header, behind)) = rest.split_at_checked(fields.iter().sum()) else {
        return false;
    };
    let mut word = String::new();
    for length in fields {
        let (field, more) = header.split_at(*length);
        word.push_str(if word.is_empty() { "" } else { "." });
        word.push_str(&hex(field));
        header = more;
    }
    words.push(word);
    *rest = behind;
    true
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs as numbers, the rest as it is.
fn payload(mut bytes: &[u8]) -> Vec<String> {
    let (mut words, mut plain) = (Vec::new(), Vec::new());
    while let Some(&first) = bytes.first() {
        let (same, rising) = (run(bytes, 0), run(bytes, 1));
        let (length, sign) = if same >= rising { (same, '*') } else { (rising, '+') };
        if length < RUN {
            plain.push(first);
            bytes = &bytes[1..];
            continue;
        }
        if !plain.is_empty() {
            words.push(hex(&std::mem::take(&mut plain)));
        }
        words.push(format!("{first:02x}{sign}{length}"));
        bytes = &bytes[length..];
    }
    if !plain.is_empty() {
        words.push(hex(&plain));
    }
    words
}

/// How many bytes are each `step` more than the one before.
fn run(bytes: &[u8], step: u8) -> usize {
    1 + bytes.windows(2).take_while(|pair| pair[1] == pair[0].wrapping_add(step)).count()
}

/// The bytes that were shown.
pub fn read(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        if let Some((first, length)) = word.split_once(['*', '+']) {
            let first = byte(first)?;
            let length: usize = length.parse().with_context(|| format!("no number: `{word}`"))?;
            let step = u8::from(word.contains('+'));
            bytes.extend((0..length).map(|at| first.wrapping_add(step.wrapping_mul(at as u8))));
            continue;
        }
        let digits: Vec<u8> = word.bytes().filter(|digit| *digit != b'.').collect();
        ensure!(digits.len().is_multiple_of(2), "half a byte in `{word}`");
        for pair in digits.chunks(2) {
            bytes.push(byte(std::str::from_utf8(pair)?)?);
        }
    }
    Ok(bytes)
}

fn byte(digits: &str) -> Result<u8> {
    match (digits.len(), u8::from_str_radix(digits, 16)) {
        (2, Ok(byte)) => Ok(byte),
        _ => bail!("no byte: `{digits}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{self, Flags};

    #[test]
    fn what_is_shown_is_read_again() {
        let (from, to) = (([10, 0, 0, 1].into(), 1), ([10, 0, 0, 2].into(), 2));
        let rising: Vec<u8> = (0..=255).cycle().take(700).collect();
        let tcp = packets::tcp(from, to, Flags::SYN, &rising);
        let quote = packets::ip_packet(&tcp);
        for frame in [
            tcp.clone(),
            packets::udp(from, to, b"hello"),
            packets::icmp(from.0, to.0, (3, 4, [0, 0, 5, 0]), quote),
            tcp[..40].to_vec(),
            vec![7; 13],
            vec![],
        ] {
            assert_eq!(read(&shown(&frame)).unwrap(), frame, "{}", shown(&frame));
        }
        assert!(shown(&tcp).ends_with(" 00+700"), "{}", shown(&tcp));
    }
}
