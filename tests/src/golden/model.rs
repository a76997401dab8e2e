//! What a NAT does, worked out beside xlb: who is sent where, and that the way back is the way there turned round.
//!
//! It looks at frames and at the configuration, never at tables. A flow is learned from its first packet; from then on
//! every packet of it, every answer and every ICMP error about it must fit (catalogue I-4, I-5, I-7, I-9).

use std::collections::HashMap;
use std::net::Ipv4Addr;

use lb_common::abi::Method;

use super::recompute;
use super::text::{Packet, Scene};
use crate::packets::CLIENT_MAC;
use crate::world::{INNER_MAC, World, real_mac};

/// Source and destination, addresses and ports, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tuple {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    proto: u8,
}

/// How a packet has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    tuple: Tuple,
    /// Destination and source on the link.
    macs: [u8; 12],
}

impl Tuple {
    const fn back(self) -> Self {
        Self { from: self.to, to: self.from, proto: self.proto }
    }
}

/// The tuple of the IPv4 packet at the start of `packet`.
fn tuple(packet: &[u8]) -> Option<Tuple> {
    let header = 4 * usize::from(packet.first()? & 15);
    let ports = packet.get(header..header + 4)?;
    let address = |at: usize| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(octets.into())
    };
    Some(Tuple {
        from: (address(12)?, u16::from_be_bytes([ports[0], ports[1]])),
        to: (address(16)?, u16::from_be_bytes([ports[2], ports[3]])),
        proto: packet[9],
    })
}

/// A scene as the model sees it.
#[derive(Clone)]
pub struct Model<'w> {
    world: &'w World,
    /// Each known tuple as it arrives, and how it has to leave.
    ways: HashMap<Tuple, Way>,
    /// Where the first fragments of packets went, by addresses, protocol and identification: link addresses and addresses.
    pieces: HashMap<[u8; 11], ([u8; 12], [u8; 8])>,
}

impl<'w> Model<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, ways: HashMap::new(), pieces: HashMap::new() }
    }

    /// Whether a whole scene is right.
    pub fn scene(world: &'w World, scene: &Scene) -> Result<(), String> {
        let mut model = Self::new(world);
        scene.packets.iter().try_for_each(|packet| {
            model
                .packet(packet)
                .map_err(|wrong| format!("scene {}, packet {}: {wrong}", scene.name, packet.title))
        })
    }

    /// Whether the next packet of a scene is right.
    pub fn packet(&mut self, packet: &Packet) -> Result<(), String> {
        let fate = &packet.fate;
        let counted =
            |start: &str| fate.changes.iter().filter(|line| line.starts_with(start)).count();
        // Beside a reason, a notice may be counted; those are the only lines that do not end a packet.
        let notices = ["promoted", "repaired", "icmp_suppressed", "template_table_full"];
        let reasons = counted("reason ")
            - notices.iter().map(|name| counted(&format!("reason {name} "))).sum::<usize>();
        match (fate.verdict.split(' ').next().unwrap_or_default(), &fate.left) {
            ("pass" | "drop", None) if reasons == 1 => Ok(()),
            ("redirect" | "tx", Some(left)) if reasons == 0 => self.forwarded(&packet.bytes, left),
            ("redirect" | "tx", Some(left)) if reasons == 1 => {
                recompute::answered(&packet.bytes, left)
            }
            _ => Err(format!("{fate} with {reasons} reasons")),
        }
    }

    /// Whether a frame was forwarded as it should be.
    pub fn forwarded(&mut self, frame: &[u8], left: &[u8]) -> Result<(), String> {
        recompute::forwarded(frame, left)?;
        let (packet, gone) = (&frame[14..], &left[14..]);
        let macs: [u8; 12] = left[..12].try_into().expect("twelve bytes");
        let addresses: [u8; 8] = gone[12..20].try_into().expect("eight bytes");
        let fragment = u16::from_be_bytes([packet[6], packet[7]]);
        let piece: [u8; 11] = [&packet[12..20], &packet[4..6], &packet[9..10]]
            .concat()
            .try_into()
            .expect("eleven bytes");
        if fragment & 0x1fff != 0 {
            let first = self.pieces.get(&piece).ok_or("a later fragment went before its first")?;
            let follows = *first == (macs, addresses);
            return if follows { Ok(()) } else { Err("it left its first".into()) };
        }
        if packet[9] == 1 {
            return self.error(frame, left);
        }
        let (arrived, leaves) =
            tuple(packet).zip(tuple(gone)).ok_or("a packet without ports was forwarded")?;
        if fragment & 0x2000 != 0 {
            self.pieces.insert(piece, (macs, addresses));
        }
        let way = Way { tuple: leaves, macs };
        // A port used again may lead elsewhere.
        let opens = arrived.proto == 6 && packet[33] & 0x17 == 0x02;
        match self.ways.get(&arrived) {
            Some(known) if *known == way => return Ok(()),
            Some(known) if !opens => {
                return Err(format!("{arrived:?} left as {leaves:?}, before that by {known:?}"));
            }
            _ => {}
        }
        self.begins(arrived, way)?;
        self.ways.insert(arrived, way);
        let back = [&frame[6..12], &frame[..6]].concat().try_into().expect("twelve bytes");
        self.ways.insert(leaves.back(), Way { tuple: arrived.back(), macs: back });
        Ok(())
    }

    /// Whether a new flow may lead there.
    fn begins(&self, arrived: Tuple, Way { tuple: leaves, macs }: Way) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {arrived:?} became {leaves:?}"));
        let fits = self.world.reals.iter().find(|(_, real)| {
            let key = real.service;
            let address: Ipv4Addr = key.addr.into();
            let port = if real.port.get() == 0 { arrived.to.1 } else { real.port.get() };
            address == arrived.to.0
                && [0, arrived.to.1].contains(&key.port.get())
                && key.proto == arrived.proto
                && leaves.to == (real.addr.into(), port)
        });
        let Some((id, real)) = fits else { return wrong("no real server of the service") };
        if macs != *[real_mac(*id).0, INNER_MAC.0].as_flattened() {
            return wrong("not the link of that real server");
        }
        let locals = &self.world.locals;
        let full = real.method == Method::FullNat as u8;
        if !full && leaves.from != arrived.from {
            return wrong("NAT changed the source");
        }
        if full
            && !(locals.iter().any(|local| Ipv4Addr::from(*local) == leaves.from.0)
                && self.world.ports.contains(&leaves.from.1))
        {
            return wrong("no source of the pool");
        }
        match self.ways.get(&leaves.back()) {
            Some(other) if other.tuple != arrived.back() && full => {
                wrong("the source is another flow's")
            }
            _ => Ok(()),
        }
    }

    /// Whether an ICMP error went to whoever sent the packet that it quotes, and quotes what that sender wrote.
    fn error(&self, frame: &[u8], left: &[u8]) -> Result<(), String> {
        let (packet, gone) = (&frame[14..], &left[14..]);
        let (quoted, shown) =
            tuple(&packet[28..]).zip(tuple(&gone[28..])).ok_or("an error without ports")?;
        let known = self.ways.iter().find(|(_, way)| way.tuple == quoted);
        let Some((arrived, _)) = known else { return Err(format!("no flow has {quoted:?}")) };
        let (from, to) = (&gone[12..16], &gone[16..20]);
        // The answers to the quoted packet go the same way as the error.
        let back = self.ways.get(&quoted.back()).ok_or("a flow of one direction")?;
        let full = quoted.to != arrived.to && quoted.from != arrived.from;
        let to_client = back.macs[..6] == CLIENT_MAC;
        let source = if to_client || full {
            back.tuple.from.0.octets()
        } else {
            packet[12..16].try_into().expect("four bytes")
        };
        let right = shown == *arrived
            && to == arrived.from.0.octets()
            && from == source
            && left[..12] == back.macs;
        if right {
            return Ok(());
        }
        Err(format!("{arrived:?} hears of {shown:?} at {to:?} from {from:?}"))
    }
}
