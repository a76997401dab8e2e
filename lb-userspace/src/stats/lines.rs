//! A captured packet in one line.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::engine::capture::Carried;
use lb_common::engine::{PacketBytes as _, parse};
use lb_common::host::Frame;
use lb_common::wire::Addr6;
use lb_common::wire::eth::Ethernet;
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::ipv6::Ipv6;

use super::capture::{Image, Packet};

/// `time interface what it is, bytes; fate: how it left`.
pub fn captured(
    out: &mut impl Write,
    packet: &Packet,
    interfaces: &[(u32, String)],
) -> io::Result<()> {
    let name = |ifindex: u32| Name(ifindex, interfaces);
    let (seconds, rest) = (packet.time_ns / 1_000_000_000, packet.time_ns % 1_000_000_000);
    write!(
        out,
        "{seconds}.{:06} {} {}; {}",
        rest / 1_000,
        name(packet.came_in_by),
        What(&packet.arrived),
        packet.fate.name()
    )?;
    if let Some(reason) = &packet.reason {
        write!(out, " {reason}")?;
    }
    if let Some((ifindex, image)) = &packet.left {
        write!(out, ": {} {}", name(*ifindex), What(image))?;
    }
    writeln!(out)
}

struct Name<'a>(u32, &'a [(u32, String)]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.iter().find(|(ifindex, _)| *ifindex == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "interface {}", self.0),
        }
    }
}

/// What a frame is, as far as the engine reads it.
struct What<'a>(&'a Image);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image { length, bytes } = self.0;
        let frame = Frame::new(bytes.clone());
        match ends(&frame) {
            Some((src, dst, carried)) => packet(f, &frame, (src, dst), carried)?,
            None => match bytes.get(12..14) {
                Some(kind) => write!(f, "type 0x{:02x}{:02x}", kind[0], kind[1])?,
                None => f.write_str("a cut frame")?,
            },
        }
        write!(f, ", {length} bytes")
    }
}

/// Sender, receiver and content of an IP packet; `None`: it is none, or is cut.
fn ends(frame: &Frame) -> Option<(IpAddr, IpAddr, Carried)> {
    match frame.at::<Ethernet>(0)?.ether_type() {
        Ethernet::IPV4 => {
            let ip: &Ipv4 = frame.at(parse::IP)?;
            let address = |address| IpAddr::from(Ipv4Addr::from(address));
            Some((address(ip.src()), address(ip.dst()), Carried::by_ipv4(frame)?))
        }
        Ethernet::IPV6 => {
            let ip: &Ipv6 = frame.at(parse::IP)?;
            let address = |address: Addr6| IpAddr::from(address.octets());
            Some((address(ip.src()), address(ip.dst()), Carried::by_ipv6(frame)?))
        }
        _ => None,
    }
}

fn packet(
    f: &mut fmt::Formatter<'_>,
    frame: &Frame,
    (src, dst): (IpAddr, IpAddr),
    carried: Carried,
) -> fmt::Result {
    let port = |at| frame.at::<[u8; 2]>(at).map(|bytes| u16::from_be_bytes(*bytes));
    let ports = port(carried.l4).zip(port(carried.l4 + 2)).filter(|_| carried.l4 != 0);
    let flags = frame.at::<[u8; 1]>(carried.l4 + 13).map_or(0, |flags| flags[0]);
    match (carried.proto, ports) {
        (Ipv4::TCP, Some((from, to))) => {
            let (from, to) = (SocketAddr::new(src, from), SocketAddr::new(dst, to));
            write!(f, "TCP {}{from} > {to}", Flags(flags))
        }
        (Ipv4::UDP, Some((from, to))) => {
            write!(f, "UDP {} > {}", SocketAddr::new(src, from), SocketAddr::new(dst, to))
        }
        (Ipv4::ICMP, _) if src.is_ipv4() => write!(f, "ICMP {src} > {dst}"),
        (Ipv6::ICMP, _) if src.is_ipv6() => write!(f, "ICMPv6 {src} > {dst}"),
        (Ipv6::FRAGMENT, _) if src.is_ipv6() => write!(f, "a later fragment {src} > {dst}"),
        (Ipv4::TCP | Ipv4::UDP, None) => write!(f, "a fragment {src} > {dst}"),
        (other, _) => write!(f, "protocol {other} {src} > {dst}"),
    }
}

/// TCP flags by their letters, in the order of their bits.
struct Flags(u8);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = ['F', 'S', 'R', 'P', 'A', 'U'].into_iter().enumerate();
        let set: String =
            letters.filter(|(bit, _)| self.0 >> bit & 1 != 0).map(|(_, letter)| letter).collect();
        if set.is_empty() { Ok(()) } else { write!(f, "{set} ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::capture::Fate;

    /// A SYN without options.
    fn syn(dst: [u8; 4], port: u16) -> Image {
        let mut bytes = vec![0; 54];
        bytes[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        bytes[16..18].copy_from_slice(&40_u16.to_be_bytes());
        (bytes[22], bytes[23]) = (64, Ipv4::TCP);
        bytes[26..30].copy_from_slice(&[192, 0, 2, 7]);
        bytes[30..34].copy_from_slice(&dst);
        bytes[34..36].copy_from_slice(&40_000_u16.to_be_bytes());
        bytes[36..38].copy_from_slice(&port.to_be_bytes());
        (bytes[46], bytes[47]) = (0x50, 0x12);
        Image { length: 54, bytes }
    }

    /// UDP over IPv6, behind a header of options.
    fn udp6(options: usize) -> Image {
        let mut bytes = vec![0; 62 + options];
        bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        (bytes[20], bytes[54]) = (Ipv6::DESTINATION, Ipv4::UDP);
        for (at, last) in [(22, 7), (38, 2)] {
            bytes[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            bytes[at + 15] = last;
        }
        let ports = 54 + options;
        bytes[ports..ports + 2].copy_from_slice(&40_000_u16.to_be_bytes());
        bytes[ports + 3] = 53;
        Image { length: bytes.len() as u32, bytes }
    }

    fn line(packet: &Packet) -> String {
        let mut out = Vec::new();
        captured(&mut out, packet, &[(2, "eth0".into()), (3, "eth1".into())]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_arrived_and_what_left_are_told() {
        let mut packet = Packet {
            time_ns: 1_700_000_000_000_001_999,
            came_in_by: 2,
            fate: Fate::Forward,
            reason: None,
            arrived: syn([198, 51, 100, 2], 80),
            left: Some((3, syn([203, 0, 113, 9], 8080))),
        };
        assert_eq!(
            line(&packet),
            "1700000000.000001 eth0 TCP SA 192.0.2.7:40000 > 198.51.100.2:80, 54 bytes; forward: \
             eth1 TCP SA 192.0.2.7:40000 > 203.0.113.9:8080, 54 bytes\n"
        );
        (packet.fate, packet.reason, packet.left) = (Fate::Pass, Some("not_ipv4".into()), None);
        packet.arrived.bytes[12..14].copy_from_slice(&[8, 6]);
        packet.came_in_by = 7;
        assert_eq!(
            line(&packet),
            "1700000000.000001 interface 7 type 0x0806, 54 bytes; pass not_ipv4\n"
        );
        packet.arrived = udp6(8);
        assert!(
            line(&packet)
                .contains(" UDP [2001:db8::7]:40000 > [2001:db8::2]:53, 70 bytes; pass not_ipv4"),
            "{}",
            line(&packet)
        );
        packet.arrived.bytes.truncate(64);
        assert!(line(&packet).contains(" a fragment 2001:db8::7 > 2001:db8::2, 70 bytes"));
        packet.arrived.bytes.truncate(10);
        assert!(line(&packet).contains("a cut frame, 70 bytes"));
    }
}
