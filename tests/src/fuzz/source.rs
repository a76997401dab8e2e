//! Frames, good and bad: raw bytes, goldens with bits turned, headers that lie about lengths, headers piled on one
//! another by a grammar, and answers, errors and fragments about what left.

use super::draw::Draw;
use crate::golden::recompute::mend;
use crate::packets::{CLIENT_MAC, OUR_MAC};
use crate::world::{self, LOCAL, REALS, VIP};

/// How a frame was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Random,
    Golden,
    Lie,
    Stack,
    Answer,
    Error,
    Piece,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Random,
        Self::Golden,
        Self::Lie,
        Self::Stack,
        Self::Answer,
        Self::Error,
        Self::Piece,
    ];
}

/// How many frames that left are remembered, to be answered.
const REMEMBERED: usize = 64;

/// Numbers that stand at an edge.
const EDGES: [u16; 16] =
    [0, 1, 7, 8, 19, 20, 21, 27, 28, 39, 40, 1_480, 1_500, 0x7fff, 0x8000, 0xffff];

/// Where frames come from.
pub struct Source<'g> {
    draw: Draw,
    goldens: &'g [Vec<u8>],
    left: Vec<Vec<u8>>,
}

impl<'g> Source<'g> {
    pub fn new(seed: u64, goldens: &'g [Vec<u8>]) -> Self {
        Self { draw: Draw::new(seed), goldens, left: Vec::new() }
    }

    /// Remembers a frame that left.
    pub fn remember(&mut self, frame: &[u8]) {
        if self.left.len() < REMEMBERED {
            self.left.push(frame.to_vec());
        } else {
            let at = self.draw.below(REMEMBERED);
            self.left[at].clear();
            self.left[at].extend_from_slice(frame);
        }
    }

    /// The next frame, in the place of what is in `frame`.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Kind {
        frame.clear();
        let kind = match self.draw.below(100) {
            0..10 => Kind::Random,
            10..30 => Kind::Golden,
            30..45 => Kind::Lie,
            45..70 => Kind::Stack,
            _ if self.left.is_empty() => Kind::Stack,
            70..85 => Kind::Answer,
            85..95 => Kind::Error,
            _ => Kind::Piece,
        };
        match kind {
            Kind::Random => self.random(frame),
            Kind::Golden => self.golden(frame),
            Kind::Lie => self.lie(frame),
            Kind::Stack => self.stack(frame),
            Kind::Answer => self.answer(frame),
            Kind::Error => self.error(frame),
            Kind::Piece => self.piece(frame),
        }
        kind
    }

    fn random(&mut self, frame: &mut Vec<u8>) {
        frame.resize(self.draw.below(160), 0);
        self.draw.fill(frame);
        if self.draw.percent(70) && frame.len() >= 15 {
            frame[..6].copy_from_slice(&OUR_MAC);
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        }
    }

    /// A golden, as it is or with up to four bits turned, cut, or longer.
    fn golden(&mut self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(self.draw.of::<Vec<u8>>(self.goldens));
        self.spoil(frame);
    }

    fn spoil(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.draw.below(5) {
            if frame.is_empty() {
                return;
            }
            let at = self.draw.below(frame.len().min(100));
            frame[at] ^= 1 << self.draw.below(8);
        }
        if self.draw.percent(10) {
            frame.truncate(self.draw.below(frame.len() + 1));
        }
        if self.draw.percent(5) {
            let more = frame.len() + self.draw.below(20);
            frame.resize(more, 0xee);
        }
    }

    /// A packet whose lengths are not what they are; mostly with right checksums, so that nothing else is wrong.
    fn lie(&mut self, frame: &mut Vec<u8>) {
        self.stack(frame);
        for _ in 0..=self.draw.below(2) {
            let number =
                if self.draw.percent(70) { *self.draw.of(&EDGES) } else { self.draw.bits() as u16 };
            let [high, low] = number.to_be_bytes();
            let (at, bytes): (usize, &[u8]) = match self.draw.below(7) {
                0 | 1 => (16, &[high, low]),
                2 => (14, &[0x40 | low & 15]),
                3 => (46, &[low << 4]),
                4 => (38, &[high, low]),
                5 => (42, &[0x40 | low & 15]),
                _ => (20, &[high, low]),
            };
            if let Some(field) = frame.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        }
        if self.draw.percent(80) {
            mend(frame);
        }
    }

    fn address(&mut self) -> [u8; 4] {
        match self.draw.below(12) {
            0..4 => VIP.octets(),
            4..8 => [10, 65, 0, self.draw.below(4) as u8],
            8 => REALS[0].0.octets(),
            9 => REALS[1].0.octets(),
            10 => LOCAL.octets(),
            _ => (self.draw.bits() as u32).to_be_bytes(),
        }
    }

    fn port(&mut self) -> [u8; 2] {
        const PORTS: [u16; 14] = [
            world::NAT,
            world::FULL_NAT,
            world::WLC,
            world::STICKY,
            world::EMPTY,
            world::SH,
            world::TWIN,
            world::DNS,
            world::UDP_FULL_NAT,
            8_089,
            18_089,
            20_000,
            0,
            9,
        ];
        let port = if self.draw.percent(80) {
            *self.draw.of(&PORTS)
        } else {
            40_000 + self.draw.below(8) as u16
        };
        port.to_be_bytes()
    }

    /// Headers piled on one another: Ethernet, tags, IPv4 with or without options, then a transport or an ICMP error
    /// with a quotation of its own.
    fn stack(&mut self, frame: &mut Vec<u8>) {
        let to = if self.draw.percent(97) { OUR_MAC } else { [self.draw.bits() as u8; 6] };
        frame.extend(to);
        frame.extend(CLIENT_MAC);
        for _ in 0..usize::from(self.draw.percent(2)) + usize::from(self.draw.percent(1)) {
            frame.extend([0x81, 0, 0, self.draw.bits() as u8]);
        }
        frame.extend(if self.draw.percent(98) { [8, 0] } else { [0x86, 0xdd] });
        let at = frame.len();
        self.ipv4(frame, 0);
        if self.draw.percent(10) {
            let more = frame.len() + self.draw.below(30);
            frame.resize(more, 0);
        }
        if at == 14 && self.draw.percent(90) {
            mend(frame);
        }
    }

    fn ipv4(&mut self, frame: &mut Vec<u8>, depth: usize) {
        let at = frame.len();
        let words = if self.draw.percent(97) { 5 } else { 5 + self.draw.below(11) };
        let proto = match self.draw.below(20) {
            0..10 => 6,
            10..15 => 17,
            15..18 => 1,
            18 => 4,
            _ => self.draw.bits() as u8,
        };
        let fragment: u16 = match self.draw.below(20) {
            0..16 => 0x4000,
            16 => 0x2000,
            17 => 0x2000 | self.draw.below(8) as u16,
            18 => self.draw.below(200) as u16,
            _ => self.draw.bits() as u16,
        };
        let ttl = if self.draw.percent(90) { 64 } else { self.draw.below(4) as u8 };
        frame.extend([
            0x40 | words as u8,
            self.draw.bits() as u8,
            0,
            0,
            0,
            self.draw.below(3) as u8,
        ]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([ttl, proto, 0, 0]);
        // Mostly a client that speaks to the virtual address.
        let (src, dst) = if self.draw.percent(70) {
            ([10, 65, 0, self.draw.below(4) as u8], VIP.octets())
        } else {
            (self.address(), self.address())
        };
        frame.extend(src);
        frame.extend(dst);
        frame.resize(at + 4 * words, 1);
        self.carried(frame, proto, depth);
        let length = (frame.len() - at) as u16;
        frame[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn carried(&mut self, frame: &mut Vec<u8>, proto: u8, depth: usize) {
        let (from, to) = ((40_000 + self.draw.below(16) as u16).to_be_bytes(), self.port());
        let payload =
            if self.draw.percent(95) { self.draw.below(60) } else { self.draw.below(1_500) };
        match proto {
            6 => {
                let flags = match self.draw.below(10) {
                    0..4 => 0x02,
                    4..6 => 0x10,
                    _ => self.draw.bits() as u8 & 0x3f,
                };
                let words = if self.draw.percent(95) { 5 } else { self.draw.below(16) as u8 };
                frame.extend(from);
                frame.extend(to);
                frame.extend([1, 2, 3, 4, 5, 6, 7, 8, words << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
            }
            17 => {
                frame.extend(from);
                frame.extend(to);
                frame.extend((8 + payload as u16).to_be_bytes());
                frame.extend([0, 0]);
            }
            1 => {
                let kind = *self.draw.of(&[3_u8, 3, 3, 11, 11, 4, 5, 12, 0, 8, 13]);
                frame.extend([
                    kind,
                    self.draw.below(16) as u8,
                    0,
                    0,
                    0,
                    0,
                    5,
                    self.draw.bits() as u8,
                ]);
                if depth < 3 {
                    return self.ipv4(frame, depth + 1);
                }
            }
            4 if depth < 3 => return self.ipv4(frame, depth + 1),
            _ => {}
        }
        // What is in a payload is nobody's business: the same byte is drawn fastest.
        let end = frame.len() + payload;
        frame.resize(end, self.draw.bits() as u8);
    }

    fn left(&mut self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(self.draw.of::<Vec<u8>>(&self.left));
    }

    /// What answers a frame that left: addresses and ports turned round, other flags.
    fn answer(&mut self, frame: &mut Vec<u8>) {
        self.left(frame);
        frame[..6].copy_from_slice(&OUR_MAC);
        frame[6..12].copy_from_slice(&CLIENT_MAC);
        // As often again in the same direction, by the tuple that the answer's answer has.
        let back = frame[26..30].to_vec();
        frame.copy_within(30..34, 26);
        frame[30..34].copy_from_slice(&back);
        if frame.len() >= 38 && frame[23] != 1 {
            let back = frame[34..36].to_vec();
            frame.copy_within(36..38, 34);
            frame[36..38].copy_from_slice(&back);
        }
        if frame.len() >= 54 && frame[23] == 6 {
            frame[47] = match self.draw.below(10) {
                0..4 => 0x12,
                4..7 => 0x10,
                7 => 0x11,
                8 => 0x04,
                _ => self.draw.bits() as u8 & 0x3f,
            };
        }
        frame[22] = 64;
        if self.draw.percent(95) {
            mend(frame);
        }
        if self.draw.percent(10) {
            self.spoil(frame);
        }
    }

    /// A router's error about a frame that left, of any kind and quoting any number of bytes.
    fn error(&mut self, frame: &mut Vec<u8>) {
        let at = self.draw.below(self.left.len());
        let quoted = std::mem::take(&mut self.left[at]);
        let bytes = if self.draw.percent(50) { 28 } else { self.draw.below(quoted.len()) };
        let quote = &quoted[14..(14 + bytes).min(quoted.len())];
        frame.extend(OUR_MAC);
        frame.extend(CLIENT_MAC);
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((28 + quote.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 1, 0, 0]);
        let router = if self.draw.percent(90) { [203, 0, 113, 9] } else { self.address() };
        frame.extend(router);
        let to: [u8; 4] = if self.draw.percent(90) {
            quoted[26..30].try_into().expect("four bytes")
        } else {
            self.address()
        };
        frame.extend(to);
        let kind = *self.draw.of(&[3_u8, 3, 3, 11, 4, 5, 12]);
        let word = *self.draw.of(&[[0, 0, 5, 0x78], [0, 0, 0, 68], [0, 32, 0, 0], [0; 4]]);
        frame.extend([kind, self.draw.below(17) as u8, 0, 0]);
        frame.extend(word);
        frame.extend_from_slice(quote);
        mend(frame);
        self.left[at] = quoted;
        if self.draw.percent(15) {
            self.spoil(frame);
        }
    }

    /// A piece of the packet that answers one that left, or of a client's.
    fn piece(&mut self, frame: &mut Vec<u8>) {
        if self.draw.percent(50) {
            self.stack(frame);
        } else {
            self.answer(frame);
        }
        if frame.len() < 24 {
            return;
        }
        frame[18..20].copy_from_slice(&[0, self.draw.below(3) as u8]);
        let place = if self.draw.percent(50) { 0x2000 } else { self.draw.below(6) as u16 };
        frame[20..22].copy_from_slice(&place.to_be_bytes());
        mend(frame);
    }
}
