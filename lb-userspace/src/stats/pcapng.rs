//! Captures as files: pcapng (draft-ietf-opsawg-pcapng), the blocks that a capture needs and no more.
//!
//! Every block is whole when it is written, so a file that breaks off is still one up to its last block.

use std::io::{self, Write};

/// Block types.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// By which readers tell the order of bytes; ours is little-endian.
const MAGIC: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

/// Codes of options, of each kind of block.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const ISB_IFDROP: u16 = 5;
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    In = 1,
    Out = 2,
}

/// A packet for the file.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Index of its interface in the order they were given.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Bytes it had.
    pub length: u32,
    pub bytes: &'a [u8],
    pub direction: Direction,
    pub comment: &'a str,
}

/// A file that is being written.
pub struct Pcapng<W> {
    out: W,
}

impl<W: Write> Pcapng<W> {
    /// Begins a file with these interfaces.
    pub fn begin<'a>(
        mut out: W,
        interfaces: impl IntoIterator<Item = &'a str>,
        length: u32,
    ) -> io::Result<Self> {
        let mut section = Block::new(SECTION);
        section.u32(MAGIC);
        section.u16(1);
        section.u16(0);
        // The section's length is not known beforehand.
        section.bytes(&u64::MAX.to_le_bytes());
        let name = concat!("xlb ", env!("CARGO_PKG_VERSION"));
        section.option(option::SHB_USERAPPL, name.as_bytes());
        section.end(&mut out)?;
        for name in interfaces {
            let mut interface = Block::new(INTERFACE);
            interface.u16(ETHERNET);
            interface.u16(0);
            interface.u32(length);
            interface.option(option::IF_NAME, name.as_bytes());
            // Times are counted in 10^-9 s.
            interface.option(option::IF_TSRESOL, &[9]);
            interface.end(&mut out)?;
        }
        Ok(Self { out })
    }

    /// Writes a packet.
    pub fn packet(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut block = Block::new(PACKET);
        block.u32(record.interface);
        block.time(record.time_ns);
        block.u32(record.bytes.len() as u32);
        block.u32(record.length);
        block.bytes(record.bytes);
        block.option(option::EPB_FLAGS, &(record.direction as u32).to_le_bytes());
        block.option(option::COMMENT, record.comment.as_bytes());
        block.end(&mut self.out)
    }

    /// Writes at the end what was lost, under the first interface: which one it came by is not known.
    pub fn finish(&mut self, time_ns: u64, lost: u64, comment: &str) -> io::Result<()> {
        let mut block = Block::new(STATISTICS);
        block.u32(0);
        block.time(time_ns);
        block.option(option::ISB_IFDROP, &lost.to_le_bytes());
        block.option(option::COMMENT, comment.as_bytes());
        block.end(&mut self.out)?;
        self.flush()
    }

    /// Hands on what has been written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A block that is being put together; its length comes last.
struct Block(Vec<u8>);

impl Block {
    fn new(kind: u32) -> Self {
        let mut block = Self(Vec::new());
        block.u32(kind);
        block.u32(0);
        block
    }

    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    /// Upper half first, whatever the order of bytes.
    fn time(&mut self, ns: u64) {
        self.u32((ns >> 32) as u32);
        self.u32(ns as u32);
    }

    /// Padded to whole words.
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // Comments are a sentence, names are short: none is longer than its length can say.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.u16(code);
        self.u16(value.len() as u16);
        self.bytes(value);
    }

    /// Ends the options and writes the block, its length at both ends.
    fn end(mut self, out: &mut impl Write) -> io::Result<()> {
        self.option(option::END, &[]);
        let length = (self.0.len() + 4) as u32;
        self.u32(length);
        self.0[4..8].copy_from_slice(&length.to_le_bytes());
        out.write_all(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// Types and lengths of the blocks; both lengths of each must agree.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let mut all = Vec::new();
        while !file.is_empty() {
            let length = word(file, 4) as usize;
            assert!(length.is_multiple_of(4));
            assert_eq!(word(file, length - 4) as usize, length);
            all.push((word(file, 0), &file[8..length - 4]));
            file = &file[length..];
        }
        all
    }

    #[test]
    fn a_file_is_made_of_whole_blocks() {
        let mut file = Vec::new();
        let mut pcapng = Pcapng::begin(&mut file, ["eth0", "eth1"], 9_216).unwrap();
        let record = Record {
            interface: 1,
            time_ns: 0x0000_0001_0000_0002,
            length: 60,
            bytes: &[1, 2, 3, 4, 5],
            direction: Direction::Out,
            comment: "why",
        };
        pcapng.packet(&record).unwrap();
        pcapng.finish(3, 7, "end").unwrap();
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, PACKET, STATISTICS]);
        assert_eq!(word(blocks[0].1, 0), MAGIC);
        assert_eq!(blocks[2].1[8..16], [&[2, 0, 4, 0][..], b"eth1"].concat());
        let packet = blocks[3].1;
        let words = [0, 4, 8, 12, 16].map(|at| word(packet, at));
        assert_eq!(words, [1, 1, 2, 5, 60]);
        assert_eq!(packet[20..28], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(packet[28..36], [2, 0, 4, 0, 2, 0, 0, 0]);
        assert_eq!(packet[36..], [&[1, 0, 3, 0][..], b"why\0", &[0; 4]].concat());
        assert_eq!(blocks[4].1[12..24], [&[5, 0, 8, 0, 7][..], &[0; 7]].concat());
    }
}
