//! The topic about what stops a packet.

use crate::golden::frames::{FRAGMENT, client, made_right, rising, syn, vip};
use crate::golden::scribe::{Scribe, Stage};
use crate::packets::{self, Flags, with_ttl};
use crate::world::{DNS, EMPTY, FULL_NAT, NAT, UDP_FULL_NAT};

use super::established;

/// A first packet to each kind of service.
fn knock(stage: &mut Stage) {
    for (name, frame) in [
        ("TCP NAT", syn(client(40_000), vip(NAT))),
        ("TCP full-NAT", syn(client(40_001), vip(FULL_NAT))),
        ("UDP NAT", packets::udp(client(40_002), vip(DNS), b"question")),
        ("UDP full-NAT", packets::udp(client(40_003), vip(UDP_FULL_NAT), b"question")),
    ] {
        stage.packet(name, frame);
    }
}

pub(super) fn all(scribe: &mut Scribe) {
    for (world, name) in [
        ("nobody_answers_arp", "no neighbour"),
        ("reals_removed", "removed real servers"),
        ("no_ports", "no ports for full-NAT"),
        ("no_local_address", "no address for full-NAT"),
    ] {
        scribe.scene(name, world, knock);
    }
    scribe.scene("the flow table is full", "room_for_one", |stage| {
        let conn = established(stage, client(39_999), vip(NAT));
        knock(stage);
        stage.packet("who is in goes on", conn.up(Flags::ACK, b"data"));
    });
    scribe.scene("more full-NAT connections than ports", "two_ports", |stage| {
        for port in 40_000..40_006 {
            stage.packet("SYN", syn(client(port), vip(FULL_NAT)));
        }
    });
    scribe.scene("a small MTU towards the real servers", "mtu_1400", |stage| {
        for (service, way) in [(NAT, "NAT"), (FULL_NAT, "full-NAT")] {
            let conn = established(stage, client(40_000), vip(service));
            for length in [1_359, 1_360, 1_361, 1_460] {
                let up = conn.up(Flags::ACK, &rising(length));
                stage.packet(format!("{length} bytes up, {way}"), up.clone());
                let free = made_right(up, FRAGMENT, &[0, 0]);
                stage.packet(format!("{length} bytes up without DF, {way}"), free);
                let down = conn.down(Flags::ACK, &rising(length));
                stage.packet(format!("{length} bytes down, {way}"), down);
            }
        }
        let large = packets::udp(client(40_001), vip(DNS), &rising(1_400));
        stage.packet("a first datagram", large);
        let large = packets::tcp(client(40_001), vip(NAT), Flags::SYN, &rising(1_400));
        stage.packet("a SYN with data", large);
    });
    scribe.scene("no budget for ICMP", "no_icmp_budget", |stage| {
        let conn = established(stage, client(40_000), vip(NAT));
        stage.packet("nobody serves", syn(client(40_001), vip(EMPTY)));
        stage.packet("the last hop of a SYN", with_ttl(syn(client(40_002), vip(NAT)), 1));
        stage.packet("the last hop up", with_ttl(conn.up(Flags::ACK, b""), 1));
        stage.packet("the last hop down", with_ttl(conn.down(Flags::ACK, b""), 1));
    });
    scribe.scene("an interface without an address", "nowhere_to_speak_from", |stage| {
        for service in [NAT, FULL_NAT] {
            let conn = established(stage, client(40_000), vip(service));
            stage.packet("the last hop up", with_ttl(conn.up(Flags::ACK, b""), 1));
            stage.packet("the last hop down", with_ttl(conn.down(Flags::ACK, b""), 1));
        }
        stage.packet("nobody serves", syn(client(40_001), vip(EMPTY)));
    });
    scribe.scene("a driver that sends by itself", "driver_can_tx", |stage| {
        let conn = established(stage, client(40_000), vip(FULL_NAT));
        stage.packet("up", conn.up(Flags::ACK, b"data"));
        stage.packet("down", conn.down(Flags::ACK, b"data"));
        stage.packet("the last hop", with_ttl(conn.up(Flags::ACK, b""), 1));
        let at_real = packets::ip_packet(&conn.down(Flags::ACK, b"data")).to_vec();
        stage.packet("nobody serves", syn(client(40_001), vip(EMPTY)));
        stage.packet(
            "nobody's error",
            packets::icmp(conn.client.0, conn.vip.0, (3, 3, [0; 4]), &at_real),
        );
    });
}
