//! Reads a pcapng file block by block, after the draft alone (draft-ietf-opsawg-pcapng), little-endian.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// A packet of the file.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) interface: String,
    pub(super) inbound: bool,
    pub(super) length: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) comment: String,
}

/// All packets of a file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Packet>> {
    let file = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (mut rest, mut names, mut packets) = (&file[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let length = word(rest, 4)? as usize;
        ensure!(length >= 12 && length.is_multiple_of(4), "a block of {length} bytes");
        ensure!(word(rest, length - 4)? as usize == length, "a block's two lengths differ");
        let body = &rest[8..length - 4];
        match word(rest, 0)? {
            0x0a0d_0d0a => ensure!(word(body, 0)? == 0x1a2b_3c4d, "another order of bytes"),
            1 => names.push(text(&options(&body[8..])?, 2)?),
            5 => {}
            6 => {
                let taken = word(body, 12)? as usize;
                let options = options(&body[20 + taken.next_multiple_of(4)..])?;
                let flags = options.iter().find(|(code, _)| *code == 2).context("no flags")?;
                packets.push(Packet {
                    interface: names.get(word(body, 0)? as usize).cloned().context("no name")?,
                    inbound: word(&flags.1, 0)? & 3 == 1,
                    length: word(body, 16)?,
                    bytes: body[20..20 + taken].to_vec(),
                    comment: text(&options, 1)?,
                });
            }
            other => anyhow::bail!("a block of type {other:#x}"),
        }
        rest = &rest[length..];
    }
    Ok(packets)
}

type Options = Vec<(u16, Vec<u8>)>;

fn options(mut rest: &[u8]) -> anyhow::Result<Options> {
    let mut all = Vec::new();
    loop {
        let head = word(rest, 0)?;
        let (code, length) = ((head & 0xffff) as u16, (head >> 16) as usize);
        if code == 0 {
            return Ok(all);
        }
        all.push((code, rest.get(4..4 + length).context("an option is cut")?.to_vec()));
        rest = &rest[4 + length.next_multiple_of(4)..];
    }
}

fn text(options: &Options, wanted: u16) -> anyhow::Result<String> {
    let (_, value) = options.iter().find(|(code, _)| *code == wanted).context("no such option")?;
    Ok(String::from_utf8(value.clone())?)
}

fn word(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let word = bytes.get(at..at + 4).context("the file is cut")?;
    Ok(u32::from_le_bytes(word.try_into()?))
}
