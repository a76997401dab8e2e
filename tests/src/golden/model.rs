//! What a NAT does, worked out beside xlb: who is sent where, and that the way back is the way there turned round.
//!
//! It looks at frames and at the configuration, never at tables. A flow is learned from its first packet; from then on
//! every packet of it, every answer and every ICMP error about it must fit (catalogue I-4, I-5, I-7, I-9).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use lb_common::abi::{FlowKey, Method};
use lb_common::wire::Port;

use super::recompute;
use super::text::{Packet, Scene};
use crate::packets::OUR_MAC;
use crate::tags::without_priority;
use crate::world::{INNER_MAC, World, real_mac};

/// Source and destination, addresses and ports, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tuple {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    proto: u8,
}

/// How a packet has to leave.
#[derive(Clone, Debug)]
struct Way {
    tuple: Tuple,
    /// Destination and source on the link.
    ///
    /// More than one where a client asked from more than one link: whether that was the same connection again or another
    /// one, its packets do not say.
    macs: Vec<[u8; 12]>,
    /// A SYN that asked for another connection was refused: this one may have ended for it.
    doubtful: bool,
}

impl Way {
    const fn new(tuple: Tuple, macs: Vec<[u8; 12]>) -> Self {
        Self { tuple, macs, doubtful: false }
    }
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

/// Whether a packet is a SYN that opens a connection.
fn opens(packet: &[u8]) -> bool {
    let flags = packet.first().and_then(|_| packet.get(recompute::header_length(packet) + 13));
    packet.get(9) == Some(&6) && flags.is_some_and(|flags| flags & 0x17 == 0x02)
}

/// Destination and source of a frame. Whether we are called by our own address or by a virtual router's is one.
fn link(to: &[u8], from: &[u8]) -> [u8; 12] {
    let from = if from.starts_with(&[0, 0, 0x5e, 0, 1]) { &OUR_MAC } else { from };
    [to, from].concat().try_into().expect("twelve bytes")
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
            ("redirect" | "tx", Some(left)) if reasons == 0 => {
                self.forwarded(&without_priority(&packet.bytes), left)
            }
            ("redirect" | "tx", Some(left)) if reasons == 1 => {
                recompute::answered(&without_priority(&packet.bytes), left)
            }
            _ => Err(format!("{fate} with {reasons} reasons")),
        }
    }

    /// Whether a frame was forwarded as it should be.
    pub fn forwarded(&mut self, frame: &[u8], left: &[u8]) -> Result<(), String> {
        recompute::forwarded(frame, left)?;
        let (packet, gone) = (&frame[14..], &left[14..]);
        let macs = link(&left[..6], &left[6..12]);
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
        let opens = opens(packet);
        let sender = link(&frame[6..12], &frame[..6]);
        match self.ways.get(&arrived) {
            Some(known) if known.tuple == leaves && known.macs.contains(&macs) => {
                if opens {
                    self.answers(leaves.back(), arrived.back(), sender);
                }
                return Ok(());
            }
            // A port used again may lead elsewhere.
            Some(known) if opens => {
                let old = known.tuple.back();
                if self.ways.get(&old).is_some_and(|back| back.tuple == arrived.back()) {
                    self.ways.remove(&old);
                }
            }
            None if opens || arrived.proto != 6 => {}
            known => return Err(format!("{arrived:?} left as {leaves:?}, before that: {known:?}")),
        }
        self.begins(arrived, leaves, macs)?;
        self.ways.insert(arrived, Way::new(leaves, vec![macs]));
        self.answers(leaves.back(), arrived.back(), sender);
        Ok(())
    }

    /// Learns how answers leave: they are this flow's now, whosever they were.
    fn answers(&mut self, arrive: Tuple, leave: Tuple, sender: [u8; 12]) {
        let fresh = || Way::new(leave, Vec::new());
        let way = self.ways.entry(arrive).or_insert_with(fresh);
        if way.tuple != leave {
            *way = fresh();
        }
        if !way.macs.contains(&sender) {
            way.macs.push(sender);
        }
    }

    /// A frame was not forwarded.
    pub fn refused(&mut self, frame: &[u8]) {
        let Some(arrived) = frame.get(14..).filter(|packet| opens(packet)).and_then(tuple) else {
            return;
        };
        let Some(known) = self.ways.get_mut(&arrived) else { return };
        known.doubtful = true;
        let back = known.tuple.back();
        if let Some(back) = self.ways.get_mut(&back) {
            back.doubtful = true;
        }
    }

    /// Forgets the flows whose keys are not to be kept: they have ended.
    pub fn keep(&mut self, mut kept: impl FnMut(&FlowKey) -> bool) {
        self.ways.retain(|tuple, _| {
            kept(&FlowKey {
                src: tuple.from.0.into(),
                dst: tuple.to.0.into(),
                sport: Port::new(tuple.from.1),
                dport: Port::new(tuple.to.1),
                proto: tuple.proto,
                ..FlowKey::default()
            })
        });
    }

    /// Whether a new flow may lead there.
    fn begins(&self, arrived: Tuple, leaves: Tuple, macs: [u8; 12]) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {arrived:?} became {leaves:?}"));
        let fits = self.world.reals.iter().find(|(_, real)| {
            let key = real.service;
            let address: IpAddr = key.addr.into();
            let port = if real.port.get() == 0 { arrived.to.1 } else { real.port.get() };
            address == IpAddr::V4(arrived.to.0)
                && [0, arrived.to.1].contains(&key.port.get())
                && key.proto == arrived.proto
                && IpAddr::from(real.addr) == IpAddr::V4(leaves.to.0)
                && leaves.to.1 == port
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
            && !(locals.iter().any(|local| IpAddr::from(*local) == IpAddr::V4(leaves.from.0))
                && self.world.ports.contains(&leaves.from.1))
        {
            return wrong("no source of the pool");
        }
        match self.ways.get(&leaves.back()) {
            Some(other) if other.tuple != arrived.back() && full && !other.doubtful => {
                wrong("the source is another flow's")
            }
            _ => Ok(()),
        }
    }

    /// Whether an ICMP error went to whoever sent the packet that it quotes, and quotes what that sender wrote.
    fn error(&self, frame: &[u8], left: &[u8]) -> Result<(), String> {
        let (packet, gone) = (&frame[14..], &left[14..]);
        let quote = recompute::header_length(packet) + 8;
        let (quoted, shown) =
            tuple(&packet[quote..]).zip(tuple(&gone[quote..])).ok_or("an error without ports")?;
        // The answers to the quoted packet go the same way as the error.
        let known = self.ways.get(&quoted.back());
        let Some(back) = known else { return Err(format!("no flow has {quoted:?}")) };
        let arrived = back.tuple.back();
        let (from, to) = (&gone[12..16], &gone[16..20]);
        let full = quoted.to != arrived.to && quoted.from != arrived.from;
        let vip = arrived.to.0.into();
        let to_client = self.world.services.iter().any(|(key, _)| key.addr == vip);
        let source = if to_client || full {
            back.tuple.from.0.octets()
        } else {
            packet[12..16].try_into().expect("four bytes")
        };
        let right = shown == arrived
            && to == arrived.from.0.octets()
            && from == source
            && back.macs.contains(&link(&left[..6], &left[6..12]));
        if right {
            return Ok(());
        }
        Err(format!("{arrived:?} hears of {shown:?} at {to:?} from {from:?}"))
    }
}
