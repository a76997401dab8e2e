//! Topics about frames and addresses that are none of ours.

use crate::golden::frames::{CLIENT, ETHER_TYPE, L4, client, made_right, syn, vip, with};
use crate::golden::scribe::Scribe;
use crate::packets::{self, Flags};
use crate::world::{DNS, EMPTY, FULL_NAT, LOCAL, NAT, OUTER, REALS, STICKY, UDP_FULL_NAT, VIP};

use super::established;

pub(super) fn frames(scribe: &mut Scribe) {
    let plain = || syn(client(40_000), vip(NAT));
    scribe.scene("kinds of frame", "plain", |stage| {
        let kinds: [(u16, &str); 16] = [
            (0x0806, "ARP"),
            (0x8035, "RARP"),
            (0x86dd, "IPv6"),
            (0x8100, "a VLAN tag"),
            (0x88a8, "two VLAN tags"),
            (0x9100, "an old second tag"),
            (0x8847, "MPLS"),
            (0x8863, "PPPoE"),
            (0x888e, "802.1X"),
            (0x8809, "LACP"),
            (0x88cc, "LLDP"),
            (0x88e5, "MACsec"),
            (0x88f7, "PTP"),
            (0x0026, "STP, whose length stands there"),
            (0x0008, "IPv4's the wrong way round"),
            (0xffff, "nothing known"),
        ];
        for (kind, name) in kinds {
            stage.packet(name, with(plain(), ETHER_TYPE, &kind.to_be_bytes()));
        }
        let mut tagged = plain();
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        stage.packet("a priority tag", tagged);
        let arp = [
            &[0xff; 6][..],
            &packets::CLIENT_MAC,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &packets::CLIENT_MAC,
            &CLIENT.octets(),
            &[0; 6],
            &VIP.octets(),
            &[0; 18],
        ]
        .concat();
        stage.packet("who has the virtual address?", arp);
    });
    scribe.scene("whom a frame is for", "plain", |stage| {
        let to = |mac: [u8; 6]| with(plain(), 0, &mac);
        stage.packet("everybody", to([0xff; 6]));
        stage.packet("an IPv4 group", to([1, 0, 0x5e, 0, 0, 18]));
        stage.packet("an IPv6 group", to([0x33, 0x33, 0, 0, 0, 1]));
        stage.packet("bridges", to([1, 0x80, 0xc2, 0, 0, 0]));
        stage.packet("another machine", to([2, 0, 0, 0, 0, 0x77]));
        stage.packet("nobody", to([0; 6]));
        stage.packet("an IPv6 virtual router", to([0, 0, 0x5e, 0, 2, 51]));
        stage.packet("a virtual router", to([0, 0, 0x5e, 0, 1, 51]));
    });
    scribe.scene("another machine's broken packets", "plain", |stage| {
        let other = |frame: Vec<u8>| with(frame, 0, &[2, 0, 0, 0, 0, 0x77]);
        stage.packet("no flags", other(made_right(plain(), 47, &[0])));
        stage.packet("a wrong header checksum", other(with(plain(), 24, &[0, 0])));
        stage.packet("a martian", other(syn(([127, 0, 0, 1].into(), 1), vip(NAT))));
        stage.packet(
            "a segment of no flow",
            other(packets::tcp(client(1), vip(NAT), Flags::ACK, b"")),
        );
        stage.packet("a pool without real servers", other(syn(client(1), vip(EMPTY))));
        stage.packet("a datagram", other(packets::udp(client(1), vip(DNS), b"")));
    });
}

pub(super) fn addresses(scribe: &mut Scribe) {
    scribe.scene("no service", "plain", |stage| {
        for port in [0, 1, 22, 80, NAT - 1, EMPTY + 100, 65_535] {
            stage.packet(format!("TCP port {port}"), syn(client(40_000), vip(port)));
            stage.packet(format!("UDP port {port}"), packets::udp(client(40_000), vip(port), b""));
        }
        stage.packet("a TCP service's port by UDP", packets::udp(client(40_000), vip(NAT), b""));
        stage.packet("a UDP service's port by TCP", syn(client(40_000), vip(DNS)));
        for to in [
            [10, 64, 1, 1],
            [10, 64, 1, 3],
            [8, 8, 8, 8],
            [224, 0, 0, 18],
            [255; 4],
            [0; 4],
            [127, 0, 0, 1],
        ] {
            stage.packet(format!("to {to:?}"), syn(client(40_000), (to.into(), NAT)));
        }
        stage.packet("to a real server", syn(client(40_000), REALS[0]));
        stage.packet("a real server on its own account", syn(REALS[0], client(80)));
        stage.packet("to the full-NAT address", syn(REALS[0], (LOCAL, 20_000)));
    });
    scribe.scene("port 0 of the client", "plain", |stage| {
        for service in [NAT, FULL_NAT, STICKY] {
            stage.packet(format!("TCP to port {service}"), syn(client(0), vip(service)));
        }
        for service in [DNS, UDP_FULL_NAT] {
            stage.packet(
                format!("UDP to port {service}"),
                packets::udp(client(0), vip(service), b"q"),
            );
        }
    });
    scribe.scene("a service for every port", "any_port", |stage| {
        for (from, port) in (40_000..).zip([0, 1, 80, NAT, FULL_NAT, 65_535]) {
            let sent = stage.packet(format!("port {port}"), syn(client(from), vip(port)));
            let taken = packets::take(&sent);
            let answer = packets::tcp(taken.to, taken.from, Flags::SYN_ACK, b"");
            stage.packet(format!("the answer from port {port}"), answer);
        }
        stage.packet("from port 0 to port 0", syn(client(0), vip(0)));
        stage.packet("UDP", packets::udp(client(40_000), vip(80), b""));
        let later = made_right(packets::tcp(client(0), vip(0), Flags::ACK, b"data"), 20, &[0, 8]);
        stage.packet("a later fragment, which has no ports", later);
        let message = packets::icmp(CLIENT, VIP, (8, 0, [0; 4]), &[0; 40]);
        stage.packet("an echo request, which has no ports", message);
    });
    scribe.scene("sources that no host has", "plain", |stage| {
        for first in [0, 127, 224, 239, 240, 255] {
            let from = ([first, 1, 2, 3].into(), 40_000);
            stage.packet(format!("TCP from {first}/8"), syn(from, vip(NAT)));
            stage.packet(format!("UDP from {first}/8"), packets::udp(from, vip(DNS), b""));
        }
        stage.packet("from 0.0.0.0", syn(([0; 4].into(), 1), vip(NAT)));
        for first in [1, 10, 126, 128, 169, 223] {
            let from = ([first, 254, 2, 3].into(), 40_000);
            stage.packet(format!("TCP from {first}/8"), syn(from, vip(NAT)));
        }
        stage.packet("from the interface's own address", syn((OUTER, 40_000), vip(NAT)));
    });
    scribe.scene("the virtual address calls itself", "plain", |stage| {
        for port in [NAT, 9] {
            stage.packet(format!("TCP from port {port}"), syn((VIP, port), vip(NAT)));
        }
        stage.packet("UDP", packets::udp((VIP, DNS), vip(DNS), b""));
        stage.packet("without SYN", packets::tcp((VIP, NAT), vip(NAT), Flags::ACK, b""));
        stage.packet("and nobody serves", syn((VIP, NAT), vip(EMPTY)));
    });
    scribe.scene("broken in more than one way", "plain", |stage| {
        let martian = ([127, 0, 0, 1].into(), 40_000);
        stage.packet("martian with a wrong checksum", with(syn(martian, vip(NAT)), 24, &[0, 0]));
        stage.packet("martian without flags", made_right(syn(martian, vip(NAT)), 47, &[0]));
        stage.packet(
            "wrong checksum without flags",
            with(made_right(syn(client(1), vip(NAT)), 47, &[0]), 24, &[0, 0]),
        );
        stage.packet(
            "short header without flags",
            made_right(syn(client(1), vip(NAT)), L4 + 12, &[0x40, 0]),
        );
        stage.packet("SYN FIN to an empty pool", made_right(syn(client(1), vip(EMPTY)), 47, &[3]));
    });
    scribe.scene("answers that nobody asked for", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(NAT));
        let other = if conn.real == REALS[0] { REALS[1] } else { REALS[0] };
        stage
            .packet("from the other real server", packets::tcp(other, conn.local, Flags::ACK, b""));
        let (address, port) = conn.real;
        stage.packet(
            "from another port",
            packets::tcp((address, port + 1), conn.local, Flags::ACK, b""),
        );
        stage.packet("to another port", packets::tcp(conn.real, client(40_001), Flags::ACK, b""));
        stage.packet("by UDP", packets::udp(conn.real, conn.local, b""));
    });
}
