//! Which packets an operator wants to see (`xlb capture`). Looks at headers as they are, of packets that are none of ours,
//! too, and decides nothing about them.

use super::parse::{IP, TCP, UDP};
use super::{PacketBytes, fragment};
use crate::abi::CaptureFilter;
use crate::wire::eth::Ethernet;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;
use crate::wire::{Addr6, Port};

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// Protocol number, as the header in front of it says.
    pub proto: u8,
    /// Where the transport header starts; 0: it is another fragment's, or was not found.
    pub l4: usize,
}

impl Carried {
    /// What is in an IPv4 packet; `None`: the frame ends before.
    #[inline(always)]
    pub fn by_ipv4<P: PacketBytes>(packet: &P) -> Option<Self> {
        let ip: &Ipv4 = packet.at(IP)?;
        let l4 = if ip.is_later_fragment() { 0 } else { IP + ip.header_length() };
        Some(Self { proto: ip.protocol(), l4 })
    }

    /// The same of IPv6.
    #[inline(always)]
    pub fn by_ipv6<P: PacketBytes>(packet: &P) -> Option<Self> {
        let proto = packet.at::<Ipv6>(IP)?.next_header();
        if matches!(proto, TCP | UDP | Ipv6::ICMP) {
            return Some(Self { proto, l4: IP + Ipv6::LEN });
        }
        let place = packet.ipv6_place();
        // A verdict there means that what follows is none of ours; a later fragment says what it is of in its header.
        if place.verdict().is_some() {
            return Some(Self { proto, l4: 0 });
        }
        if place.marks() & fragment::LATER != 0 {
            return Some(Self { proto: Ipv6::FRAGMENT, l4: 0 });
        }
        Some(Self { proto: place.proto(), l4: place.l4() })
    }

    /// Behind what bytes of a packet the engine writes none.
    pub fn written(self) -> usize {
        match self.proto {
            _ if self.l4 == 0 => 0,
            // With all options: one of them is the MSS.
            TCP => self.l4 + Tcp::LONGEST,
            UDP => self.l4 + Udp::LEN,
            // What an error quotes: an IP header with options, and the beginning of the transport header.
            _ => self.l4 + IcmpError::LEN + 60 + Tcp::LEN,
        }
    }
}

/// Whether a packet is wanted, as it is now.
#[inline(always)]
pub fn concerns<P: PacketBytes>(filter: &CaptureFilter, packet: &P) -> bool {
    if filter.flags & CaptureFilter::HOST == 0 && filter.port == Port::ZERO && filter.proto == 0 {
        return true;
    }
    match packet.at::<Ethernet>(0).map(Ethernet::ether_type) {
        Some(Ethernet::IPV4) => Carried::by_ipv4(packet).is_some_and(|carried| {
            let is_of = |ip: &Ipv4| is_of(filter, ip.src().into(), ip.dst().into());
            packet.at(IP).is_some_and(is_of) && carries(filter, packet, carried)
        }),
        Some(Ethernet::IPV6) => Carried::by_ipv6(packet).is_some_and(|carried| {
            let is_of = |ip: &Ipv6| is_of(filter, ip.src(), ip.dst());
            packet.at(IP).is_some_and(is_of) && carries(filter, packet, carried)
        }),
        _ => false,
    }
}

#[inline(always)]
fn is_of(filter: &CaptureFilter, src: Addr6, dst: Addr6) -> bool {
    filter.flags & CaptureFilter::HOST == 0 || filter.host == src || filter.host == dst
}

#[inline(always)]
fn carries<P: PacketBytes>(filter: &CaptureFilter, packet: &P, carried: Carried) -> bool {
    let proto = if carried.proto == Ipv6::ICMP { Ipv4::ICMP } else { carried.proto };
    if filter.proto != 0 && filter.proto != proto {
        return false;
    }
    if filter.port == Port::ZERO {
        return true;
    }
    if carried.l4 == 0 || !matches!(proto, TCP | UDP) {
        return false;
    }
    let either = |ports: &[u8; 4]| {
        filter.port.0 == [ports[0], ports[1]] || filter.port.0 == [ports[2], ports[3]]
    };
    packet.far(carried.l4).is_some_and(either)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Frame;
    use crate::wire::Addr4;

    const CLIENT: Addr4 = Addr4([192, 0, 2, 7]);
    const VIP: Addr4 = Addr4([198, 51, 100, 2]);
    const CLIENT6: Addr6 = Addr6::ALL;
    const VIP6: Addr6 = Addr6::UNSPECIFIED;

    /// TCP from port 40000 to port 80.
    fn ipv4(words: u8, offset: u16) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        bytes[14] = 0x40 | words;
        bytes[20..22].copy_from_slice(&offset.to_be_bytes());
        bytes[23] = TCP;
        bytes[26..30].copy_from_slice(&CLIENT.0);
        bytes[30..34].copy_from_slice(&VIP.0);
        let ports = 14 + usize::from(words) * 4;
        bytes[ports..ports + 4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        bytes
    }

    /// UDP from port 40000 to port 53, behind a header of destination options of so many bytes.
    fn ipv6(options: usize) -> Vec<u8> {
        let mut bytes = vec![0; 54 + options + 8];
        bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
        bytes[14] = 0x60;
        bytes[18..20].copy_from_slice(&(options as u16 + 8).to_be_bytes());
        bytes[20] = if options == 0 { UDP } else { Ipv6::DESTINATION };
        bytes[22..38].fill(0xff);
        if options > 0 {
            bytes[54] = UDP;
            bytes[55] = (options / 8 - 1) as u8;
        }
        bytes[54 + options..][..4].copy_from_slice(&[0x9c, 0x40, 0, 53]);
        bytes
    }

    fn host(host: impl Into<Addr6>) -> CaptureFilter {
        let flags = CaptureFilter::HOST;
        CaptureFilter { host: host.into(), flags, ..CaptureFilter::default() }
    }

    fn port(port: u16) -> CaptureFilter {
        CaptureFilter { port: Port::new(port), ..CaptureFilter::default() }
    }

    fn proto(proto: u8) -> CaptureFilter {
        CaptureFilter { proto, ..CaptureFilter::default() }
    }

    fn is_hit(filter: &CaptureFilter, bytes: &[u8]) -> bool {
        concerns(filter, &Frame::new(bytes.to_vec()))
    }

    #[test]
    fn an_empty_filter_takes_every_frame() {
        assert!(is_hit(&CaptureFilter::default(), &[0; 20]));
        assert!(is_hit(&CaptureFilter::default(), &[]));
    }

    #[test]
    fn each_part_restricts() {
        let (four, six) = (ipv4(5, 0x4000), ipv6(0));
        for (filter, bytes, hit) in [
            (host(CLIENT), &four, true),
            (host(VIP), &four, true),
            (host(Addr4([192, 0, 2, 8])), &four, false),
            (host(CLIENT6), &four, false),
            (host(CLIENT6), &six, true),
            (host(VIP6), &six, true),
            (host(CLIENT), &six, false),
            (port(80), &four, true),
            (port(40_000), &four, true),
            (port(81), &four, false),
            (port(53), &six, true),
            (port(80), &six, false),
            (proto(TCP), &four, true),
            (proto(UDP), &four, false),
            (proto(UDP), &six, true),
            (proto(TCP), &vec![0; 60], false),
        ] {
            assert_eq!(is_hit(&filter, bytes), hit, "{filter:?}");
        }
        let both = CaptureFilter { port: Port::new(81), ..host(CLIENT) };
        assert!(!is_hit(&both, &four), "all parts must match");
    }

    #[test]
    fn icmp_is_that_of_either_family() {
        let (mut four, mut six) = (ipv4(5, 0), ipv6(0));
        (four[23], six[20]) = (Ipv4::ICMP, Ipv6::ICMP);
        for bytes in [&four, &six] {
            assert!(is_hit(&proto(Ipv4::ICMP), bytes));
            assert!(!is_hit(&port(80), bytes) && !is_hit(&port(53), bytes), "it has no ports");
        }
    }

    #[test]
    fn ports_stand_behind_options_and_in_first_fragments_alone() {
        assert!(is_hit(&port(80), &ipv4(15, 0)));
        assert!(is_hit(&port(80), &ipv4(5, 0x2000)), "more fragments follow");
        assert!(!is_hit(&port(80), &ipv4(5, 0x0001)), "a later one");
        assert!(is_hit(&host(CLIENT), &ipv4(5, 0x0001)));
        for options in [8, 64, 2_048] {
            assert!(is_hit(&port(53), &ipv6(options)), "{options}");
            assert!(is_hit(&proto(UDP), &ipv6(options)), "{options}");
        }
        let mut later = ipv6(8);
        later[20] = Ipv6::FRAGMENT;
        later[57] = 8;
        assert!(!is_hit(&port(53), &later) && is_hit(&host(CLIENT6), &later));
    }

    #[test]
    fn a_frame_that_is_cut_is_nobodys() {
        let (four, six) = (ipv4(5, 0), ipv6(0));
        assert!(is_hit(&port(80), &four[..38]));
        assert!(!is_hit(&port(80), &four[..36]));
        assert!(is_hit(&host(VIP), &four[..34]));
        assert!(!is_hit(&host(VIP), &four[..32]));
        assert!(!is_hit(&host(VIP6), &six[..52]));
    }
}
