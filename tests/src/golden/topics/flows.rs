//! The topic about whole connections.

use crate::golden::frames::{client, flagged, syn, vip};
use crate::golden::scribe::{Scribe, Stage};
use crate::packets::{self, End, Flags};
use crate::world::{DNS, EMPTY, FULL_NAT, NAT, SH, STICKY, TWIN, UDP_FULL_NAT, WLC};

use super::{Conn, established};

/// As [`super::open`], but what the scene is about.
fn begin(stage: &mut Stage, title: &str, from: End, to: End) -> Conn {
    let taken = packets::take(&stage.packet(title, syn(from, to)));
    Conn { client: from, vip: to, real: taken.to, local: taken.from }
}

const FIN: Flags = Flags { fin: true, ..Flags::ACK };

pub(super) fn all(scribe: &mut Scribe) {
    for (service, name) in [
        (NAT, "rr NAT"),
        (FULL_NAT, "rr full-NAT"),
        (WLC, "wlc"),
        (SH, "sh"),
        (STICKY, "rr, persistent"),
    ] {
        scribe.scene(&format!("a connection through {name}"), "plain", |stage| {
            let conn = begin(stage, "SYN", client(40_000), vip(service));
            stage.packet("the same SYN again", syn(conn.client, conn.vip));
            stage.packet("SYN ACK", conn.down(Flags::SYN_ACK, b""));
            stage.packet("SYN ACK again", conn.down(Flags::SYN_ACK, b""));
            stage.packet("ACK", conn.up(Flags::ACK, b""));
            stage.packet("request", conn.up(Flags::ACK, b"GET / HTTP/1.0\r\n\r\n"));
            stage.packet("response", conn.down(Flags::ACK, b"HTTP/1.0 204 No Content\r\n\r\n"));
            stage.packet("the real server ends", conn.down(FIN, b""));
            stage.packet("the client acknowledges", conn.up(Flags::ACK, b""));
            stage.packet("the client ends", conn.up(FIN, b""));
            stage.packet("the last ACK", conn.down(Flags::ACK, b""));
            stage.packet("late data", conn.up(Flags::ACK, b"late"));
            begin(stage, "the port again", client(40_000), vip(service));
        });
    }
    scribe.scene("six new connections by rr", "plain", |stage| {
        for port in 40_000..40_006 {
            begin(stage, "SYN", client(port), vip(NAT));
        }
    });
    scribe.scene("eight new connections by wlc, weights 1 and 3", "plain", |stage| {
        for port in 40_000..40_008 {
            begin(stage, "SYN", client(port), vip(WLC));
        }
    });
    scribe.scene("sh sends a client to one real server", "plain", |stage| {
        for host in 1..9 {
            begin(stage, &format!("client {host}"), ([10, 65, 0, host].into(), 40_000), vip(SH));
        }
        begin(stage, "client 1 again", client(40_001), vip(SH));
    });
    scribe.scene("a persistent client keeps its real server", "plain", |stage| {
        for (host, port) in [(1, 40_000), (1, 40_001), (2, 40_000), (200, 40_002)] {
            begin(stage, &format!("client {host}"), ([10, 65, 0, host].into(), port), vip(STICKY));
        }
        begin(stage, "another network", ([10, 65, 1, 1].into(), 40_000), vip(STICKY));
        begin(stage, "the first again", client(40_003), vip(STICKY));
    });
    for service in [NAT, FULL_NAT] {
        endings(scribe, service);
    }
    scribe.scene("two services with one real server", "plain", |stage| {
        let conn = established(stage, client(40_000), vip(NAT));
        stage.packet("a client's port at both", syn(conn.client, vip(TWIN)));
        stage.packet("the first connection is reset", conn.up(Flags::RST, b""));
        begin(stage, "and now", conn.client, vip(TWIN));
    });
    scribe.scene("nobody serves", "plain", |stage| {
        for port in [40_000, 40_001, 40_000] {
            stage.packet("SYN", syn(client(port), vip(EMPTY)));
        }
        stage.packet("ACK", packets::tcp(client(40_002), vip(EMPTY), Flags::ACK, b""));
    });
    for service in [DNS, UDP_FULL_NAT] {
        scribe.scene(&format!("datagrams to port {service}"), "plain", |stage| {
            for port in [40_000, 40_001] {
                let question = || packets::udp(client(port), vip(service), b"question");
                let taken = packets::take(&stage.packet("question", question()));
                let answer = || packets::udp(taken.to, taken.from, b"answer");
                if port == 40_000 {
                    stage.packet("answer", answer());
                }
                stage.packet("question again", question());
                stage.packet("answer again", answer());
            }
        });
    }
}

fn endings(scribe: &mut Scribe, service: u16) {
    let (fin, rst, fin_alone) = (FIN, Flags::RST, 0x01);
    scribe.scene(&format!("the client ends first, port {service}"), "plain", |stage| {
        let conn = established(stage, client(40_000), vip(service));
        stage.packet("FIN", conn.up(fin, b""));
        stage.packet("data that was on its way", conn.down(Flags::ACK, b"more"));
        stage.packet("FIN", conn.down(fin, b""));
        stage.packet("ACK", conn.up(Flags::ACK, b""));
    });
    scribe.scene(&format!("both end at once, port {service}"), "plain", |stage| {
        let conn = established(stage, client(40_000), vip(service));
        stage.packet("FIN", conn.down(fin, b""));
        stage.packet("FIN", conn.up(fin, b""));
        stage.packet("FIN without ACK", flagged(conn.client, conn.vip, fin_alone));
    });
    scribe.scene(&format!("resets, port {service}"), "plain", |stage| {
        let conn = established(stage, client(40_000), vip(service));
        stage.packet("the client resets", conn.up(rst, b""));
        stage.packet("the real server goes on", conn.down(Flags::ACK, b""));
        begin(stage, "the port again", client(40_000), vip(service));
        let conn = established(stage, client(40_001), vip(service));
        stage.packet("the real server resets", conn.down(rst, b""));
        stage.packet("the client goes on", conn.up(Flags::ACK, b""));
        let conn = begin(stage, "a port that is closed", client(40_002), vip(service));
        stage.packet("RST ACK", flagged(conn.real, conn.local, 0x14));
        stage.packet("SYN again", syn(conn.client, conn.vip));
    });
    scribe.scene(&format!("SYN on a live connection, port {service}"), "plain", |stage| {
        let conn = established(stage, client(40_000), vip(service));
        stage.packet("SYN (RFC 5961)", syn(conn.client, conn.vip));
        stage.packet("the challenge", conn.down(Flags::ACK, b""));
        stage.packet("RST", conn.up(rst, b""));
        begin(stage, "SYN", conn.client, conn.vip);
    });
    scribe.scene(&format!("both open, port {service}"), "plain", |stage| {
        let conn = begin(stage, "SYN", client(40_000), vip(service));
        stage.packet("SYN from the other side", conn.down(Flags::SYN, b""));
        stage.packet("SYN ACK", conn.up(Flags::SYN_ACK, b""));
        stage.packet("SYN ACK from the other side", conn.down(Flags::SYN_ACK, b""));
        stage.packet("ACK", conn.up(Flags::ACK, b""));
    });
}
