//! What the goldens are about: one function, and one file, for each topic.

mod flows;
mod fragments;
mod icmp;
mod ipv4;
mod link;
mod obstacles;
mod tcp;
mod udp;

use super::scribe::{Scribe, Stage};
use super::text::Topic;
use crate::packets::{self, End, Flags};

/// A topic: the name of its file, what it is about, and who makes it.
pub struct Subject {
    pub name: &'static str,
    about: &'static str,
    write: fn(&mut Scribe),
}

/// All topics.
pub const ALL: &[Subject] = &[
    Subject {
        name: "tcp_flags",
        about: "All 64 combinations of TCP's flags: for a new tuple (P-57, P-58), and those of a state on known flows.",
        write: tcp::flags,
    },
    Subject {
        name: "tcp_options",
        about: "TCP options are kept as they are (P-60).",
        write: tcp::options,
    },
    Subject {
        name: "tcp_header",
        about: "Data offset (P-59), checksums wrong and kept (P-07), segments of all lengths (P-02).",
        write: tcp::header,
    },
    Subject {
        name: "udp",
        about: "UDP: checksums of nothing, of 0xffff and wrong ones (P-03, P-05, P-07), lengths (P-69).",
        write: udp::all,
    },
    Subject {
        name: "tos",
        about: "DSCP and ECN: all 256 values of the TOS byte leave as they came (P-35).",
        write: ipv4::tos,
    },
    Subject {
        name: "ttl",
        about: "The TTL falls by one; 1 and 0 are answered with ICMP time exceeded (P-31, P-32).",
        write: ipv4::ttl,
    },
    Subject {
        name: "ipv4_header",
        about: "IPv4 headers that contradict themselves or the frame (P-08, P-09), options, other protocols.",
        write: ipv4::header,
    },
    Subject {
        name: "padding",
        about: "Ethernet padding is no part of the packet (P-10); frames cut at every byte.",
        write: ipv4::padding,
    },
    Subject {
        name: "fragments",
        about: "Fragments follow their first (P-18, P-19, P-20, P-22, P-23, P-24).",
        write: fragments::all,
    },
    Subject {
        name: "icmp_errors",
        about: "ICMP errors about flows, both directions of NAT and full-NAT (P-36 to P-47).",
        write: icmp::errors,
    },
    Subject {
        name: "icmp_others",
        about: "ICMP that is no error, or about nobody's packets (P-40, P-46, P-47, P-55).",
        write: icmp::others,
    },
    Subject {
        name: "link",
        about: "Frames that are none of ours: ARP, LLDP, STP, IPv6, VLAN tags, groups, other machines' (P-78, P-79).",
        write: link::frames,
    },
    Subject {
        name: "addresses",
        about: "Ports without a service (P-80), port 0 (P-70), martians (S-38), land (S-39).",
        write: link::addresses,
    },
    Subject {
        name: "connections",
        about: "Whole connections of every service, both directions, each way to end, and ports used again (C-01, C-02).",
        write: flows::all,
    },
    Subject {
        name: "obstacles",
        about: "What stops a packet: no neighbour, no room, no port, an MTU; and how that is told.",
        write: obstacles::all,
    },
];

impl Subject {
    /// The topic as the engine on the host has it.
    pub fn written(&self) -> Topic {
        let mut scribe = Scribe::new(self.about);
        (self.write)(&mut scribe);
        scribe.topic
    }
}

/// A connection whose handshake is done: its ends as the real server sees them.
#[derive(Clone, Copy)]
pub(super) struct Conn {
    pub(super) client: End,
    pub(super) vip: End,
    pub(super) real: End,
    pub(super) local: End,
}

impl Conn {
    pub(super) fn up(&self, flags: Flags, payload: &[u8]) -> Vec<u8> {
        packets::tcp(self.client, self.vip, flags, payload)
    }

    pub(super) fn down(&self, flags: Flags, payload: &[u8]) -> Vec<u8> {
        packets::tcp(self.real, self.local, flags, payload)
    }
}

/// The first packet of a flow of either protocol, and who the real server then talks to.
pub(super) fn open(stage: &mut Stage, client: End, vip: End, udp: bool) -> Conn {
    let frame = if udp {
        packets::udp(client, vip, b"question")
    } else {
        packets::tcp(client, vip, Flags::SYN, b"")
    };
    let taken = packets::take(&stage.setup("the client begins", frame));
    Conn { client, vip, real: taken.to, local: taken.from }
}

/// A connection after its handshake.
pub(super) fn established(stage: &mut Stage, client: End, vip: End) -> Conn {
    let conn = open(stage, client, vip, false);
    stage.setup("the real server answers", conn.down(Flags::SYN_ACK, b""));
    stage.setup("the handshake ends", conn.up(Flags::ACK, b""));
    conn
}
