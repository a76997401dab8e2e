//! Why a packet was passed or dropped: numbers, names, sentences, from one list.
//!
//! Numbers are public: never reused, never renumbered. Pass means "not ours, the kernel's business"; drop is a
//! decision against the packet; a notice counts what is neither.

/// Entries of REASONS: pass reasons at their number, drop reasons at 128 + number, notices at 224 + number.
pub const REASON_SLOTS: u32 = 256;

macro_rules! reasons {
    ($(#[$doc:meta])* $kind:ident at $base:literal: $($name:ident = $number:literal, $metric:literal, $sentence:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[allow(clippy::doc_markdown, reason = "the sentences are for people, who see no markdown")]
        pub enum $kind { $(#[doc = $sentence] $name = $number,)* }

        impl $kind {
            /// All of them, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Decodes the number; `None` if no reason has it.
            #[inline(always)]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Index in REASONS.
            #[inline(always)]
            pub const fn slot(self) -> u32 {
                $base + self as u32
            }

            /// The name in `xlb stats` and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $metric,)* }
            }

            /// A sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// Why a packet was left to the kernel, untouched.
    PassReason at 0:
    NotIpv4 = 1, "not_ipv4", "the frame is neither IPv4 nor IPv6: ARP, LLDP, a VLAN tag and so on";
    GroupFrame = 2, "group_frame", "the frame is for a broadcast or multicast address";
    NotTcpUdp = 3, "not_tcp_udp", "neither TCP nor UDP nor ICMP: ESP, GRE, SCTP, no next header and so on";
    IpOptions = 4, "ip_options", "no longer counted: earlier versions left IPv4 headers with options to the kernel";
    Fragment = 5, "fragment", "a later fragment of a packet whose first has not come by here, or too long ago";
    Truncated = 6, "truncated", "the frame ends inside the Ethernet, IP, TCP or UDP header";
    BadIpv4 = 7, "bad_ipv4", "the IPv4 header contradicts itself or the frame: version, header length or total length";
    NoService = 8, "no_service", "no virtual server has this address, port and protocol, and no flow has this tuple";
    NoFlowNotSyn = 9, "no_flow_not_syn", "a TCP segment for a virtual server that belongs to no flow and is no SYN; the host answers with a reset, as under IPVS";
    NotOurMac = 10, "not_our_mac", "a new connection in a frame for another machine's address, which a bridge or a promiscuous port brought here";
    IcmpQuery = 11, "icmp_query", "an ICMP message that is no error, such as an echo request to a virtual address: the host answers it";
    IcmpNoFlow = 12, "icmp_no_flow", "an ICMP error about a packet of no flow: the host's own, or nobody's";
    IcmpCutQuote = 13, "icmp_cut_quote", "an ICMP error whose quotation does not say which flow it is about: cut short, a later fragment, neither TCP nor UDP";
    TinyFragment = 14, "tiny_fragment", "a first fragment that ends inside the TCP or UDP header, so that nobody can say whose it is";
    BadIpv6 = 15, "bad_ipv6", "the IPv6 header contradicts itself or the frame: version or payload length";
    HeaderChain = 16, "header_chain", "an IPv6 packet with more than eight extension headers";
    UnknownVlan = 17, "unknown_vlan", "a frame with the tag of a VLAN that has no interface on this host, or with more than two tags";
}

impl PassReason {
    /// Those that this version counts no more.
    pub const RETIRED: &'static [Self] = &[Self::IpOptions];
}

reasons! {
    /// Why a packet was dropped.
    DropReason at 128:
    NoUsableReal = 1, "no_usable_real", "the service has no real server that may take new connections; answered with ICMP port unreachable";
    NoUsableRealQuiet = 2, "no_usable_real_quiet", "as no_usable_real, but the ICMP answer was over the rate limit or could not be built";
    FlowTableFull = 3, "flow_table_full", "the flow table holds as many flows as it may; live flows are never thrown out for a new one";
    HalfOpenFull = 4, "half_open_full", "the table of half-open flows took no entry";
    SnatPortsExhausted = 5, "snat_ports_exhausted", "no free source port in the full-NAT pool for this real server";
    NoLocalAddress = 6, "no_local_address", "full-NAT, or a tunnel, has no source address towards this real server";
    TupleClash = 7, "tuple_clash", "the same client address and port already talks to the same real server through another virtual server";
    NoNeighbour = 8, "no_neighbour", "the next hop has no link-layer address: it does not answer ARP or neighbour solicitations";
    RealGone = 9, "real_gone", "the real server of this flow was removed, or is no longer at the end of the tunnel that the flow was in; silent, as IPVS with expire_nodest_conn 0";
    NextHopsFull = 10, "next_hops_full", "no room to remember the way back to one more client or router";
    TtlExpired = 11, "ttl_expired", "the packet's TTL would reach 0 here; answered with ICMP time exceeded";
    MtuExceeded = 12, "mtu_exceeded", "the packet is larger than the MTU of the interface it would leave by; answered with ICMP fragmentation needed where it must not be fragmented, with IPv6 packet too big";
    BadMapValue = 13, "bad_map_value", "a map holds a number that this program does not know (another version wrote it?), or the way out is by an interface that is not in --iface";
    TruncatedRewrite = 14, "truncated_rewrite", "the frame ended between the decision and the rewrite; cannot happen, counted all the same";
    ServiceChanged = 15, "service_changed", "the virtual server was being replaced at the moment this packet looked at it; the client's next try is served";
    IcmpBadChecksum = 16, "icmp_bad_checksum", "an ICMP error about a flow whose own checksum is wrong";
    IcmpBadQuote = 17, "icmp_bad_quote", "an ICMP error about a flow whose quoted IPv4 header has a wrong checksum";
    IcmpForged = 18, "icmp_forged", "an ICMP error about a flow's packet that was sent to another address than the packet came from";
    IcmpType = 19, "icmp_type", "an ICMP error about a flow of a kind that is not translated: source quench, redirect, parameter problem";
    IcmpSmallMtu = 20, "icmp_small_mtu", "ICMP fragmentation needed or packet too big about a flow that asks for packets of less than 576 bytes, or 1,280 with IPv6";
    IcmpTooLong = 21, "icmp_too_long", "an ICMP error of more than 1,500 bytes, or one that is longer than its packet says";
    FragmentOverlap = 22, "fragment_overlap", "a later fragment of a flow's TCP segment that would overwrite its header (RFC 3128)";
    MartianSource = 23, "martian_source", "a new flow, or an ICMP error about a known one, from an address that no host on a network has: 0/8, 127/8, multicast and above (RFC 1812, 5.3.7), with IPv6 ::, ::1, mapped IPv4 and multicast";
    Land = 24, "land", "a new flow from the virtual address to itself";
    BadIpChecksum = 25, "bad_ip_checksum", "a new flow's first packet whose IPv4 header has a wrong checksum";
    BadTcpHeader = 26, "bad_tcp_header", "a new flow's first segment whose header is shorter than 20 bytes or longer than the packet";
    BadTcpFlags = 27, "bad_tcp_flags", "a segment of no flow with flags that no TCP sends: none, SYN with FIN or RST, FIN with PSH and URG alone";
    BadUdpLength = 28, "bad_udp_length", "a new flow's first datagram that says it is shorter than its header or longer than its packet";
    SourceRoute = 29, "source_route", "a packet for a virtual server or of a flow that asks to be routed by a list: IPv4 source route options (RFC 7126), IPv6 routing header type 0 (RFC 5095)";
    BadIpOption = 30, "bad_ip_option", "a packet for a virtual server or of a flow with an IPv4 option that is longer than the header, or of no length";
    Jumbogram = 31, "jumbogram", "an IPv6 packet for a virtual server or of a flow that hides its length in an option (RFC 2675)";
    NoUdpChecksum = 32, "no_udp_checksum", "a new flow's first datagram over IPv6 without a checksum (RFC 8200, 8.1)";
    SpoofedReply = 33, "spoofed_reply", "a packet with the addresses of a real server's answer that came in by another interface than the one that leads to that real server (RFC 3704)";
    NoRoomInFront = 34, "no_room_in_front", "the driver left no room in front of the frame for a tunnel's headers or a VLAN tag";
}

reasons! {
    /// What is counted beside a packet's fate, or of one that waits.
    Notice at 224:
    TemplateTableFull = 0, "template_table_full", "the table of persistence templates was full: a client was scheduled without one";
    Promoted = 1, "promoted", "a half-open flow was promoted to the flow table";
    Repaired = 2, "repaired", "a half-open flow had lost one of its two entries to a flood and got it back";
    Held = 3, "held", "the next hop had no link-layer address yet: the daemon holds the packet until it answers, about three seconds at most";
    IcmpSuppressed = 4, "icmp_suppressed", "a packet was dropped without the ICMP error that it deserves: over the rate limit, no address to send it from, no room, or its own header is broken";
}
