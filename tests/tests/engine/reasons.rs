//! Every reason by the packet that raises it, and nothing but it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::abi::{
    Budget, DropReason, HeldHead, HopId, HopState, Method, NextHop, PassReason, limits,
};
use lb_common::engine::tables::{InsertError, Table};
use lb_common::engine::{Action, PacketBytes};
use lb_common::host::Frame;
use lb_common::wire::Wire;
use lb_tests::packets::{self, Flags, icmp};
use lb_tests::packets6::{self, next, padding};
use lb_tests::tags::tagged;
use lb_tests::world::{self, IFINDEX, VIP, VIP6, World};

use crate::bed::{Bed, CLIENT};
use crate::counts::Counts;

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

/// A situation.
struct Case {
    reason: &'static str,
    action: Action,
    /// Prepares the tables and gives the packet.
    packet: fn(&mut Bed) -> Vec<u8>,
    /// What else is counted.
    also: fn(&mut Counts),
}

const fn pass(reason: PassReason, packet: fn(&mut Bed) -> Vec<u8>) -> Case {
    Case { reason: reason.name(), action: Action::Pass, packet, also: |_| {} }
}

/// Dropped, and answered with an ICMP error.
const fn answered(reason: DropReason, packet: fn(&mut Bed) -> Vec<u8>) -> Case {
    Case { action: Action::Redirect, ..drop(reason, packet) }
}

const fn drop(reason: DropReason, packet: fn(&mut Bed) -> Vec<u8>) -> Case {
    Case { reason: reason.name(), action: Action::Drop, packet, also: |_| {} }
}

impl Case {
    const fn and(self, also: fn(&mut Counts)) -> Self {
        Self { also, ..self }
    }
}

/// A SYN to a service.
fn syn(port: u16) -> Vec<u8> {
    packets::tcp((CLIENT, 40_000), (VIP, port), Flags::SYN, b"")
}

/// A SYN over IPv6.
fn syn6() -> Vec<u8> {
    packets6::tcp((CLIENT6, 40_000), (VIP6, world::NAT), Flags::SYN, b"")
}

/// The same with one byte of the frame changed.
fn odd6(at: usize, value: u8) -> Vec<u8> {
    let mut frame = syn6();
    frame[at] = value;
    frame
}

/// A SYN from a given address.
fn from(source: Ipv4Addr) -> Vec<u8> {
    packets::tcp((source, 40_000), (VIP, world::NAT), Flags::SYN, b"")
}

/// The same with one byte of the frame changed.
fn odd(at: usize, value: u8) -> Vec<u8> {
    let mut frame = syn(world::NAT);
    frame[at] = value;
    frame
}

/// A packet of an established connection whose next hop is in this state.
fn towards(bed: &Bed, state: HopState) -> Vec<u8> {
    let conn = bed.establish((CLIENT, 40_000), world::NAT);
    bed.change_hop(bed.real_of(&conn).hop(), |hop| hop.state = state as u8);
    conn.up(Flags::ACK, b"more")
}

/// An ICMP unreachable, to `to`, that quotes the beginning of a frame's packet.
fn unreachable(to: Ipv4Addr, frame: &[u8]) -> Vec<u8> {
    let quote = &packets::ip_packet(frame)[..28];
    packets::icmp(CLIENT, to, (icmp::UNREACHABLE, 1, [0; 4]), quote)
}

/// An ICMP error about the first packet of a connection.
fn about_a_flow(bed: &Bed, head: (u8, u8, [u8; 4])) -> Vec<u8> {
    let left = bed.syn((CLIENT, 40_000), world::NAT).bytes;
    packets::icmp(CLIENT, CLIENT, head, &packets::ip_packet(&left)[..28])
}

/// Offsets in a frame.
const ETHER_TYPE: usize = 12;
const VERSION: usize = 14;
const FRAGMENT: usize = 20;
const PROTOCOL: usize = 23;
const CHECKSUM: usize = 24;
const DATA_OFFSET: usize = 46;

fn cases() -> Vec<Case> {
    let learned_a_hop: fn(&mut Counts) = |counts| counts.hop_cursor += 1;
    vec![
        pass(PassReason::NotIpv4, |_| odd(ETHER_TYPE + 1, 0x06)),
        pass(PassReason::GroupFrame, |_| odd(0, 0x01)),
        pass(PassReason::NotTcpUdp, |_| odd(PROTOCOL, 47)),
        pass(PassReason::Fragment, |_| odd(FRAGMENT + 1, 0x20)),
        pass(PassReason::TinyFragment, |_| {
            packets::fragments(&syn(world::NAT), 7, &[8])[0].clone()
        }),
        drop(DropReason::FragmentOverlap, |bed| {
            let segment = packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::SYN, &[0; 40]);
            bed.send(&packets::fragments(&segment, 7, &[24])[0]);
            packets::fragments(&segment, 7, &[8])[1].clone()
        }),
        pass(PassReason::Truncated, |_| syn(world::NAT)[..30].to_vec()),
        pass(PassReason::BadIpv4, |_| odd(VERSION, 0x44)),
        pass(PassReason::BadIpv6, |_| odd6(VERSION, 0x40)),
        pass(PassReason::HeaderChain, |_| {
            packets6::with_extensions(&syn6(), &vec![padding(next::DESTINATION); 9])
        }),
        drop(DropReason::SourceRoute, |_| {
            packets::with_options(&syn(world::NAT), &[131, 7, 4, 10, 0, 0, 1, 0])
        }),
        drop(DropReason::BadIpOption, |_| packets::with_options(&syn(world::NAT), &[7, 0, 0, 0])),
        drop(DropReason::Jumbogram, |_| {
            // Forty bytes say "none behind me"; the jumbo payload option says how many.
            let jumbo = (next::HOP_BY_HOP, vec![0, 0, 0xc2, 4, 0, 0, 0, 28]);
            let mut frame = packets6::with_extensions(&syn6(), &[jumbo]);
            frame[packets6::IP + 4..packets6::IP + 6].fill(0);
            frame
        }),
        drop(DropReason::SpoofedReply, |bed| {
            bed.change_hop(bed.world.real(world::NAT, 0).hop(), |hop| hop.ifindex = 7);
            let conn = bed.open((CLIENT, 40_000), world::NAT);
            conn.down(Flags::SYN_ACK, b"")
        }),
        drop(DropReason::NoUdpChecksum, |_| {
            let mut frame = packets6::udp((CLIENT6, 40_000), (VIP6, world::DNS), b"x");
            frame[packets6::PAYLOAD + 6..packets6::PAYLOAD + 8].fill(0);
            frame
        }),
        pass(PassReason::NoService, |_| syn(9)),
        pass(PassReason::NoFlowNotSyn, |_| {
            packets::tcp((CLIENT, 40_000), (VIP, world::NAT), Flags::ACK, b"")
        }),
        answered(DropReason::NoUsableReal, |_| syn(world::EMPTY)),
        drop(DropReason::NoUsableRealQuiet, |bed| {
            bed.host.allow(Budget::Icmp, 0);
            syn(world::EMPTY)
        }),
        drop(DropReason::FlowTableFull, |bed| {
            bed.host.config.flow_limit = 1;
            bed.establish((CLIENT, 40_001), world::NAT);
            syn(world::NAT)
        }),
        drop(DropReason::HalfOpenFull, |bed| {
            bed.obstacle
                .set(Some(|_, table, _| (table == Table::HalfOpen).then_some(InsertError::Full)));
            syn(world::NAT)
        })
        .and(learned_a_hop),
        drop(DropReason::SnatPortsExhausted, |bed| {
            bed.host.config.ports = 1;
            for port in [40_001, 40_002] {
                bed.open((CLIENT, port), world::FULL_NAT);
            }
            syn(world::FULL_NAT)
        })
        .and(|counts| counts.port_cursor += limits::PORT_TRIES),
        drop(DropReason::NoLocalAddress, |bed| {
            for real in bed.host.reals.values_mut() {
                real.locals_len = 0;
            }
            syn(world::FULL_NAT)
        })
        .and(learned_a_hop),
        // P-79
        pass(PassReason::NotOurMac, |_| odd(5, 0x77)),
        drop(DropReason::TupleClash, |bed| {
            bed.establish((CLIENT, 40_000), world::NAT);
            syn(world::TWIN)
        }),
        drop(DropReason::NoNeighbour, |bed| towards(bed, HopState::Unresolved)),
        drop(DropReason::RealGone, |bed| towards(bed, HopState::Gone)),
        drop(DropReason::NextHopsFull, |bed| {
            let taken = NextHop { state: HopState::Valid as u8, ..NextHop::default() };
            for id in limits::REALS..limits::HOPS {
                bed.host.set_hop(HopId(id), taken);
            }
            syn(world::NAT)
        })
        .and(|counts| counts.hop_cursor += 8),
        // S-38
        drop(DropReason::MartianSource, |_| from(Ipv4Addr::LOCALHOST)),
        // S-39
        drop(DropReason::Land, |_| from(VIP)),
        // P-08
        drop(DropReason::BadIpChecksum, |_| odd(CHECKSUM, 0)),
        // P-59
        drop(DropReason::BadTcpHeader, |_| odd(DATA_OFFSET, 0x40)),
        // P-58
        drop(DropReason::BadTcpFlags, |_| odd(DATA_OFFSET + 1, 0x03)),
        // P-69
        drop(DropReason::BadUdpLength, |_| {
            let mut frame = packets::udp((CLIENT, 40_000), (VIP, world::DNS), b"question");
            frame[39] = 7;
            frame
        }),
        answered(DropReason::TtlExpired, |_| packets::with_ttl(syn(world::NAT), 1)),
        answered(DropReason::MtuExceeded, |bed| {
            let conn = bed.establish((CLIENT, 40_000), world::NAT);
            conn.up(Flags::ACK, &[b'x'; 1461])
        }),
        pass(PassReason::IcmpQuery, |_| packets::icmp(CLIENT, VIP, (icmp::ECHO, 0, [0; 4]), b"")),
        pass(PassReason::IcmpNoFlow, |_| unreachable(VIP, &syn(world::NAT))),
        pass(PassReason::IcmpCutQuote, |_| unreachable(VIP, &odd(PROTOCOL, 47))),
        // P-43
        drop(DropReason::IcmpBadChecksum, |bed| {
            let mut frame = about_a_flow(bed, (icmp::UNREACHABLE, 1, [0; 4]));
            frame[37] ^= 1;
            frame
        }),
        // P-44
        drop(DropReason::IcmpBadQuote, |bed| {
            let mut left = bed.syn((CLIENT, 40_000), world::NAT).bytes;
            left[24] ^= 1;
            unreachable(CLIENT, &left)
        }),
        // S-34
        drop(DropReason::IcmpForged, |bed| {
            let left = bed.syn((CLIENT, 40_000), world::NAT).bytes;
            unreachable(VIP, &left)
        }),
        // P-40
        drop(DropReason::IcmpType, |bed| about_a_flow(bed, (icmp::REDIRECT, 1, [0; 4]))),
        // S-34
        drop(DropReason::IcmpSmallMtu, |bed| {
            let head = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, [0, 0, 2, 0x3f]);
            about_a_flow(bed, head)
        }),
        drop(DropReason::IcmpTooLong, |bed| {
            let mut left = bed.syn((CLIENT, 40_000), world::NAT).bytes;
            left.resize(1_600, 0);
            let quote = &left[14..1_490];
            packets::icmp(CLIENT, CLIENT, (icmp::UNREACHABLE, 1, [0; 4]), quote)
        }),
        drop(DropReason::BadMapValue, |bed| {
            for real in bed.host.reals.values_mut() {
                real.method = 9;
            }
            syn(world::NAT)
        })
        .and(learned_a_hop),
        // I-7: the element of the service that was looked up has become another service's meanwhile.
        drop(DropReason::ServiceChanged, |bed| {
            let others = bed.service_mut(world::TWIN).slots_at;
            let service = bed.service_mut(world::NAT);
            (service.slots_at, service.slots_len) = (others, 1);
            syn(world::NAT)
        }),
        // P-14
        pass(PassReason::UnknownVlan, |_| tagged(&syn(world::NAT), &[([0x81, 0], 99)])),
        drop(DropReason::NoRoomInFront, |bed| {
            *bed = Bed::of(World::with_outer_headers(64));
            let frame = packets::tcp((CLIENT, 40_000), (VIP, world::IPIP), Flags::ACK, b"");
            for flags in [Flags::SYN, Flags::ACK] {
                bed.send(&packets::tcp((CLIENT, 40_000), (VIP, world::IPIP), flags, b""));
            }
            frame
        })
        .and(|counts| {
            // It was decided before that it leaves.
            let real = World::with_outer_headers(64).real(world::IPIP, 0);
            counts.packet(real, false, 40);
        }),
        drop(DropReason::TruncatedRewrite, |bed| {
            bed.establish((CLIENT, 40_000), world::NAT).up(Flags::ACK, b"")
        }),
    ]
}

/// A frame that ends the moment somebody wants to write.
struct Vanishing(Frame);

impl PacketBytes for Vanishing {
    fn at<T: Wire>(&self, off: usize) -> Option<&T> {
        self.0.at(off)
    }

    fn at_mut<T: Wire>(&mut self, _off: usize) -> Option<&mut T> {
        None
    }

    fn ingress(&self) -> u32 {
        self.0.ingress()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn came_by(&mut self, ifindex: u32) {
        self.0.came_by(ifindex);
    }

    fn open(&mut self, _bytes: usize, _tunnel: Option<(Method, u8)>) -> bool {
        false
    }

    fn close(&mut self, _bytes: usize) -> bool {
        false
    }

    fn make_quotation(&mut self, _front: usize, _quoted: usize, _l4: usize) -> bool {
        false
    }

    fn hand_over(&self, _head: &HeldHead) -> bool {
        false
    }
}

// and I-2, a reason is counted once and nothing else is.
#[test]
fn every_reason_has_a_packet_that_raises_it_and_nothing_else() {
    for case in cases() {
        let mut bed = Bed::new(64);
        let frame = (case.packet)(&mut bed);
        let before = Counts::of(&bed);
        let cramped = case.reason == DropReason::NoRoomInFront.name();
        let mut packet = Frame { ifindex: IFINDEX, cramped, ..Frame::new(frame.clone()) };
        let verdict = if case.reason == DropReason::TruncatedRewrite.name() {
            bed.walk(&mut Vanishing(packet.clone()))
        } else {
            bed.walk(&mut packet)
        };
        assert_eq!(verdict.action(), case.action, "{}: {verdict:?}", case.reason);
        if verdict.action() != Action::Redirect && !cramped {
            assert_eq!(packet.bytes, frame, "{}: untouched", case.reason);
        }
        let mut right = before;
        right.raise(case.reason);
        (case.also)(&mut right);
        assert_eq!(Counts::of(&bed), right, "{}", case.reason);
    }
}

//
#[test]
fn no_reason_is_without_its_packet() {
    let all: BTreeSet<&str> = PassReason::ALL
        .iter()
        .filter(|reason| !PassReason::RETIRED.contains(reason))
        .map(|reason| reason.name())
        .chain(DropReason::ALL.iter().map(|reason| reason.name()))
        .collect();
    let tested: Vec<&str> = cases().iter().map(|case| case.reason).collect();
    assert_eq!(tested.iter().copied().collect::<BTreeSet<_>>(), all);
    assert_eq!(tested.len(), all.len(), "each once");
}

/// A number in a map that no build writes, and how it got there.
type Damage = (&'static str, fn(&mut Bed) -> Vec<u8>);

// S-29: tables that hold what they should not stop the packet with a reason.
#[test]
fn broken_tables_drop_with_a_reason_of_their_own() {
    let damages: [Damage; 7] = [
        ("a slot names a real server that is not there", |bed| {
            bed.host.reals.clear();
            syn(world::NAT)
        }),
        ("a way to nowhere", |bed| {
            let id = bed.host.slots[0];
            let far = lb_common::abi::RealId(limits::HOPS);
            let real = bed.host.reals[&id];
            bed.host.reals.insert(far, real);
            bed.host.slots[0] = far;
            syn(world::NAT)
        }),
        ("a flow in a state that does not exist", |bed| {
            use lb_common::engine::Flows;
            let conn = bed.establish((CLIENT, 40_000), world::NAT);
            let entry = bed.host.flow(&conn.key()).expect("established");
            // SAFETY: the word of a live entry, and nobody else is looking.
            unsafe { entry.state_ptr().write(99) };
            conn.up(Flags::FIN_ACK, b"")
        }),
        ("no CONFIG", |bed| {
            bed.no_config.set(true);
            syn(world::NAT)
        }),
        ("no scratch memory", |bed| {
            bed.no_scratch.set(true);
            syn(world::NAT)
        }),
        ("an interface that nobody announced", |bed| {
            bed.host.ifaces.clear();
            syn(world::NAT)
        }),
        ("a method that does not exist", |bed| {
            for real in bed.host.reals.values_mut() {
                real.method = 99;
            }
            syn(world::NAT)
        }),
    ];
    for (damage, packet) in damages {
        let mut bed = Bed::new(64);
        let frame = packet(&mut bed);
        let flows = (bed.host.entries(Table::Flows), bed.host.entries(Table::HalfOpen));
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.slot(), DropReason::BadMapValue.slot(), "{damage}: {sent:?}");
        assert_eq!(sent.bytes, frame, "{damage}: untouched");
        let after = (bed.host.entries(Table::Flows), bed.host.entries(Table::HalfOpen));
        assert_eq!(after, flows, "{damage}: no flow is made, none lost");
    }
}

// S-29
#[test]
fn empty_tables_leave_everything_to_the_kernel() {
    let mut bed = Bed::new(64);
    bed.host.services.clear();
    bed.host.slots.clear();
    bed.host.reals.clear();
    let sent = bed.send(&syn(world::NAT));
    assert_eq!(sent.verdict.slot(), PassReason::NoService.slot());
}

// S-32: the answer is the ICMP error that IPVS sends, and it is limited.
#[test]
fn a_refused_syn_gets_port_unreachable_until_the_limit() {
    use etherparse::{Icmpv4Slice, Icmpv4Type, Ipv4Header, icmpv4::DestUnreachableHeader};
    let bed = Bed::new(64);
    bed.host.allow(Budget::Icmp, 2);
    let frame = syn(world::EMPTY);
    for _ in 0..2 {
        let sent = bed.send(&frame);
        assert_eq!(sent.verdict.slot(), DropReason::NoUsableReal.slot());
        assert_eq!((sent.verdict.action(), sent.verdict.ifindex()), (Action::Redirect, IFINDEX));
        assert_eq!(sent.bytes[..6], packets::CLIENT_MAC);
        assert_eq!(sent.bytes[6..12], packets::OUR_MAC);
        let (ip, rest) = Ipv4Header::from_slice(&sent.bytes[14..]).expect("IPv4");
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert_eq!((ip.source, ip.destination), (VIP.octets(), CLIENT.octets()));
        assert_eq!(usize::from(ip.total_len), sent.bytes.len() - 14);
        let icmp = Icmpv4Slice::from_slice(rest).expect("ICMP");
        let kind = icmp.icmp_type();
        assert_eq!(kind, Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port));
        assert_eq!(icmp.checksum(), kind.calc_checksum(icmp.payload()));
        assert_eq!(icmp.payload(), &frame[14..42], "the header and eight bytes, as they came");
    }
    let sent = bed.send(&frame);
    assert_eq!(sent.verdict.slot(), DropReason::NoUsableRealQuiet.slot());
    assert_eq!(sent.bytes, frame);
}
