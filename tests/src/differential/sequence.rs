//! Random sequences of packets: connections that live as connections do, some that do not, and junk between.

use std::net::Ipv4Addr;

use super::director::{Seen, Side, server_mac};
use crate::fuzz::draw::Draw;
use crate::golden::frames::{made_right, with, with_options};
use crate::packets::{self, CLIENT_MAC, End, Flags, OUR_MAC, icmp};
use crate::world::INNER_MAC;

pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 2);
/// Our addresses on either side.
pub const OUTER: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 1);
pub const SERVERS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
pub const ROUTER_OF_CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 254);
/// The real servers, in the order in which rr picks them.
pub const REALS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 168, 1, 100),
    Ipv4Addr::new(192, 168, 1, 101),
    Ipv4Addr::new(192, 168, 1, 102),
];
/// The ports they are spoken to on.
pub const TCP_PORT: u16 = 8_089;
pub const UDP_PORT: u16 = 5_353;
/// TCP, and nobody serves.
pub const EMPTY: u16 = 9;

/// Clients of a sequence, and ports of each.
const CLIENTS: usize = 3;
const PORTS: usize = 3;

/// Where a client's flow leads, as far as it has been seen.
#[derive(Clone, Copy, Debug)]
struct Known {
    client: End,
    real: End,
    udp: bool,
    /// What the real server, and the client, would say next if they were well-behaved.
    step: u8,
}

/// One sequence. It goes on from what it is told of the packets that left.
pub struct Sequence {
    draw: Draw,
    number: u64,
    known: Vec<Known>,
    left: Vec<Seen>,
}

/// Frames that are sent one after the other before anything is compared: one, or all pieces of a packet.
pub type Step = Vec<Seen>;

impl Sequence {
    pub const fn new(seed: u64, number: u64) -> Self {
        let draw = Draw::new(seed ^ (number + 1).wrapping_mul(0x9e6c_63d0_876a_3f6b));
        Self { draw, number, known: Vec::new(), left: Vec::new() }
    }

    /// The port of its services.
    pub const fn port(number: u64) -> u16 {
        1_024 + (number % 60_000) as u16
    }

    /// How many steps it has.
    pub const fn steps(&mut self) -> usize {
        10 + self.draw.below(191)
    }

    /// Tells it what a step became.
    pub fn heard(&mut self, left: &[Seen]) {
        for (side, frame) in left {
            if frame.len() < 42
                || !matches!(frame[23], 6 | 17)
                || frame[20] & 0x3f != 0
                || frame[21] != 0
            {
                continue;
            }
            self.left.push((*side, frame.clone()));
            if self.left.len() > 32 {
                self.left.remove(0);
            }
            if *side == Side::Servers {
                let ends = ends_of(frame);
                let udp = frame[23] == 17;
                let same = |known: &&mut Known| known.client == ends.0 && known.udp == udp;
                let opens = !udp && frame[47] == 2;
                match self.known.iter_mut().find(same) {
                    Some(known) if known.real == ends.1 && !opens => {}
                    Some(known) => (known.real, known.step) = (ends.1, 0),
                    None => self.known.push(Known { client: ends.0, real: ends.1, udp, step: 0 }),
                }
            }
        }
    }

    fn client(&mut self) -> End {
        let host = 0x0a80_0000 + self.number as u32 * 4 + self.draw.below(CLIENTS) as u32;
        (Ipv4Addr::from(host), 40_000 + self.draw.below(PORTS) as u16)
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        match self.draw.below(100) {
            12..18 => vec![self.datagram()],
            18..70 if !self.known.is_empty() => vec![self.goes_on()],
            70..78 if !self.left.is_empty() => vec![self.error()],
            78..82 => self.pieces(),
            82..86 => vec![self.stranger()],
            86..93 => vec![self.odd()],
            93..97 => vec![self.junk()],
            _ => vec![self.opens()],
        }
    }

    fn vip(&self) -> End {
        (VIP, Self::port(self.number))
    }

    fn opens(&mut self) -> Seen {
        let client = self.client();
        let frame = packets::tcp(client, self.vip(), Flags::SYN, b"");
        (Side::Clients, frame)
    }

    fn datagram(&mut self) -> Seen {
        let client = self.client();
        let payload = vec![b'q'; self.draw.below(60)];
        let mut frame = packets::udp(client, self.vip(), &payload);
        if self.draw.percent(20) {
            frame[40..42].fill(0);
        }
        (Side::Clients, frame)
    }

    /// The next packet of a known flow: mostly what comes next in a connection.
    fn goes_on(&mut self) -> Seen {
        const FIN: Flags = Flags::FIN_ACK;
        let at = self.draw.below(self.known.len());
        let known = self.known[at];
        let payload = vec![b'd'; self.draw.below(100)];
        let mut reply = self.draw.percent(50);
        if known.udp {
            let (from, to) = self.ends(&known, reply);
            return seen(reply, &known, packets::udp(from, to, &payload));
        }
        let flags = match known.step {
            0 => {
                reply = true;
                Flags::SYN_ACK
            }
            1 => {
                reply = false;
                Flags::ACK
            }
            _ => match self.draw.below(20) {
                0 => Flags::SYN,
                1 => Flags::RST,
                2..5 => FIN,
                _ => Flags::ACK,
            },
        };
        // A SYN is the client's, and RST does not open again by itself.
        if flags == Flags::SYN {
            reply = false;
        }
        self.known[at].step = known.step.saturating_add(1);
        if flags == Flags::RST || flags == Flags::SYN {
            self.known[at].step = 2;
        }
        let (from, to) = self.ends(&known, reply);
        let payload: &[u8] = if known.step < 2 { b"" } else { &payload };
        seen(reply, &known, packets::tcp(from, to, flags, payload))
    }

    fn ends(&self, known: &Known, reply: bool) -> (End, End) {
        if reply { (known.real, known.client) } else { (known.client, self.vip()) }
    }

    /// An ICMP error about a packet that left.
    fn error(&mut self) -> Seen {
        let at = self.draw.below(self.left.len());
        let (side, left) = self.left[at].clone();
        let packet = packets::ip_packet(&left);
        let bytes = if self.draw.percent(60) { 28 } else { self.draw.below(packet.len() + 1) };
        let kind = *self.draw.of(&[3_u8, 3, 3, 3, 11, 11, 4, 5, 12]);
        let code = if kind == 3 { self.draw.below(16) as u8 } else { self.draw.below(2) as u8 };
        let mtu = *self.draw.of(&[1_400_u16, 1_400, 1_280, 576, 296, 0]);
        let word = if kind == 3 && code == icmp::FRAGMENTATION_NEEDED {
            let [high, low] = mtu.to_be_bytes();
            [0, 0, high, low]
        } else {
            [0; 4]
        };
        let from = match side {
            Side::Clients => Ipv4Addr::new(203, 0, 113, 9),
            Side::Servers => packets_to(&left),
        };
        let mut quote = packet[..bytes].to_vec();
        if bytes > 20 && self.draw.percent(4) {
            quote[10] ^= 1;
        }
        let mut frame = packets::icmp(from, packets_from(&left), (kind, code, word), &quote);
        if self.draw.percent(4) {
            frame[36] ^= 1;
        }
        (side, turned(side, &left, frame))
    }

    /// All pieces of a datagram or a segment, in order.
    fn pieces(&mut self) -> Step {
        let client = self.client();
        let payload = vec![b'f'; 40 + self.draw.below(200)];
        let frame = packets::udp(client, self.vip(), &payload);
        let end = 8 * (1 + self.draw.below(4));
        packets::fragments(&frame, self.draw.bits() as u16, &[end])
            .into_iter()
            .map(|piece| (Side::Clients, piece))
            .collect()
    }

    /// What is for nobody's service, or of no flow.
    fn stranger(&mut self) -> Seen {
        let client = self.client();
        let other = (client.0, 50_000 + self.draw.below(10) as u16);
        let frame = match self.draw.below(8) {
            0 => packets::tcp(other, self.vip(), Flags::ACK, b"data"),
            1 => packets::tcp(other, self.vip(), Flags::FIN_ACK, b""),
            2 => packets::tcp(other, self.vip(), Flags::RST, b""),
            3 => packets::tcp(other, (VIP, 22), Flags::SYN, b""),
            4 => packets::udp(other, (VIP, 22), b"question"),
            5 => packets::tcp(other, (VIP, EMPTY), Flags::SYN, b""),
            6 => packets::icmp(client.0, VIP, (icmp::ECHO, 0, [0, 7, 0, 1]), b"ping"),
            _ => {
                let real = *self.draw.of(&REALS);
                let frame = packets::tcp((real, TCP_PORT), other, Flags::ACK, b"");
                return (Side::Servers, from_server(frame, real));
            }
        };
        (Side::Clients, frame)
    }

    /// Packets of flows with something unusual that changes nothing for a router: TOS, options, TTL, wrong sums.
    fn odd(&mut self) -> Seen {
        let (side, frame) = if self.known.is_empty() { self.opens() } else { self.goes_on() };
        let frame = match self.draw.below(6) {
            0 => made_right(frame, 15, &[self.draw.bits() as u8]),
            1 => packets::with_ttl(frame, 2 + self.draw.below(254) as u8),
            2 if frame[23] == 6 => with(frame, 50, &[self.draw.bits() as u8, 7]),
            3 => packets::with_ttl(frame, self.draw.below(2) as u8),
            4 if frame[23] == 6 => {
                let client = self.client();
                let options = [2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7];
                return (
                    Side::Clients,
                    with_options(client, self.vip(), Flags::SYN, &options, b""),
                );
            }
            _ => [frame, vec![0; 6]].concat(),
        };
        (side, frame)
    }

    /// Packets that are broken, or that no TCP sends.
    fn junk(&mut self) -> Seen {
        let (side, frame) = if self.draw.percent(50) { self.opens() } else { self.datagram() };
        let frame = match self.draw.below(7) {
            0 => with(frame, 24, &[self.draw.bits() as u8, 9]),
            1 => made_right(frame, 16, &(self.draw.below(80) as u16).to_be_bytes()),
            2 => made_right(frame, 14, &[0x40 | self.draw.below(16) as u8]),
            3 if frame[23] == 6 => made_right(frame, 46, &[(self.draw.below(16) as u8) << 4]),
            3 => made_right(frame, 38, &(self.draw.below(100) as u16).to_be_bytes()),
            4 if frame[23] == 6 => made_right(frame, 47, &[self.draw.bits() as u8 & 0x3f]),
            5 => made_right(frame, 26, &[*self.draw.of(&[0_u8, 127, 224, 240, 255])]),
            _ => {
                let length = 14 + self.draw.below(frame.len() - 14);
                frame[..length].to_vec()
            }
        };
        (side, frame)
    }
}

/// A frame of a flow, from the side it comes from.
fn seen(reply: bool, known: &Known, frame: Vec<u8>) -> Seen {
    if reply { (Side::Servers, from_server(frame, known.real.0)) } else { (Side::Clients, frame) }
}

/// A frame as a real server sends it.
fn from_server(mut frame: Vec<u8>, real: Ipv4Addr) -> Vec<u8> {
    let index = REALS.iter().position(|known| *known == real).unwrap_or(0);
    frame[..6].copy_from_slice(&INNER_MAC.0);
    frame[6..12].copy_from_slice(&server_mac(index as u8));
    frame
}

/// A frame that comes back from where `left` went.
fn turned(side: Side, left: &[u8], mut frame: Vec<u8>) -> Vec<u8> {
    let ours = if side == Side::Clients { OUR_MAC } else { INNER_MAC.0 };
    frame[..6].copy_from_slice(&ours);
    frame[6..12].copy_from_slice(&left[..6]);
    if side == Side::Clients {
        frame[6..12].copy_from_slice(&CLIENT_MAC);
    }
    frame
}

fn packets_from(frame: &[u8]) -> Ipv4Addr {
    ends_of(frame).0.0
}

fn packets_to(frame: &[u8]) -> Ipv4Addr {
    ends_of(frame).1.0
}

/// Both ends of the packet in a frame.
pub fn ends_of(frame: &[u8]) -> (End, End) {
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    ((address(26), port(34)), (address(30), port(36)))
}
