//! Rows of `virtual_server` and `real_server`. keepalived-spec sections 7, 8 and 12a.

use super::Block::{self, DnsCheck, HttpGet, RealServer, SslGet, TcpCheck, VirtualServer};
use super::{Block as B, Keyword, Words, row};

const VS: &[Block] = &[VirtualServer];
const RS: &[Block] = &[RealServer];
const BOTH: &[Block] = &[VirtualServer, RealServer];
const KIND: &str = "NAT | DR | TUN [type ipip | type gue port P [nocsum|csum|remcsum] | type gre [nocsum|csum]]; xlb: FNAT, FULLNAT";
const SCRIPT: &str = "SCRIPT [USER [GROUP]]";

pub(super) const ROWS: &[Keyword] = &[
    row(VS, "lb_algo", 1)
        .takes("rr wrr lc wlc lblc lblcr sh mh dh sed nq fo ovf twos")
        .else_("wlc, with a warning")
        .doc("scheduler"),
    row(VS, "lvs_sched", 1).takes("as lb_algo").doc("the same under its other name"),
    row(VS, "lb_kind", 1).takes(KIND).else_("NAT, with a warning").doc("forwarding method"),
    row(BOTH, "lvs_method", 1)
        .takes(KIND)
        .else_("real_server: the virtual server's")
        .doc("forwarding method"),
    row(VS, "protocol", 1)
        .takes("TCP | UDP | SCTP")
        .else_("UDP, with a warning")
        .doc("any case; ignored for marks"),
    row(VS, "persistence_timeout", 0)
        .takes("[UINT 1..2678400]")
        .else_("off; bare word: 360")
        .doc("seconds a client stays with its server"),
    row(VS, "persistent_timeout", 0)
        .takes("[UINT 1..2678400]")
        .own()
        .doc("same as persistence_timeout"),
    row(VS, "persistence_granularity", 1)
        .takes("netmask | prefix length")
        .else_("single hosts")
        .doc("who counts as one client; switches persistence on"),
    row(VS, "persistence_engine", 1).takes("sip").doc("persistence by call id"),
    row(VS, "ops", 0).doc("one-packet scheduling; UDP or marks"),
    row(VS, "flag-1", 0).doc("raw scheduler flag; sh and mh: fallback"),
    row(VS, "flag-2", 0).doc("raw scheduler flag; sh and mh: port"),
    row(VS, "flag-3", 0).doc("raw scheduler flag"),
    row(VS, "sh-port", 0).doc("sh also hashes the source port; after the scheduler"),
    row(VS, "sh-fallback", 0)
        .doc("sh takes another server if the chosen one can't be used; after the scheduler"),
    row(VS, "mh-port", 0).doc("mh also hashes the source port; after the scheduler"),
    row(VS, "mh-fallback", 0)
        .doc("mh takes another server if the chosen one can't be used; after the scheduler"),
    row(VS, "hashed", 0).ignored().doc("historic, no effect"),
    row(BOTH, "delay_loop", 1).takes("TIMER").else_("60").doc("seconds between checks"),
    row(BOTH, "connect_timeout", 1)
        .takes("TIMER")
        .else_("5")
        .doc("seconds a check may take to connect"),
    row(BOTH, "retry", 1)
        .takes("UINT from 1")
        .else_("by checker")
        .doc("failures forgiven before a server is down"),
    row(BOTH, "delay_before_retry", 1)
        .takes("TIMER")
        .else_("by checker")
        .doc("seconds before a failed check is repeated"),
    row(BOTH, "warmup", 1)
        .takes("TIMER")
        .else_("delay_loop")
        .doc("upper bound of the random delay of the first check"),
    row(BOTH, "weight", 1).takes("UINT; virtual_server from 1").else_("1").doc("share of the load"),
    row(BOTH, "inhibit_on_failure", 0)
        .takes("virtual_server: flag; real_server: [BOOL]")
        .else_("off")
        .doc("a failed server keeps its place with weight 0"),
    row(BOTH, "alpha", 0)
        .takes("virtual_server: flag; real_server: [BOOL]")
        .else_("off")
        .doc("servers start down until checked"),
    row(VS, "omega", 0).doc("run the down scripts on shutdown"),
    row(VS, "quorum", 1).takes("UINT from 1").else_("1").doc("weight that must be alive"),
    row(VS, "hysteresis", 1).takes("UINT").else_("0").doc("slack around the quorum"),
    row(VS, "quorum_up", 1)
        .words(Words::Script)
        .takes(SCRIPT)
        .doc("run when the quorum is reached"),
    row(VS, "quorum_down", 1).words(Words::Script).takes(SCRIPT).doc("run when the quorum is lost"),
    row(VS, "ha_suspend", 0).doc("check only while the address is on this host"),
    row(VS, "sorry_server", 1).takes("IP [PORT]").doc("takes over when the quorum is lost"),
    row(VS, "sorry_server_inhibit", 0)
        .doc("the sorry server is always present, weight 0 while idle"),
    row(VS, "sorry_server_lvs_method", 0)
        .takes("as lb_kind")
        .doc("forwarding method of the sorry server"),
    row(BOTH, "virtualhost", 0).takes("STRING").doc("Host of HTTP_GET and SSL_GET"),
    row(&[HttpGet, SslGet, B::Url], "virtualhost", 0)
        .takes("STRING")
        .doc("Host header, verbatim")
        .from("check/check_http.c"),
    row(BOTH, "snmp_name", 0).ignored().takes("STRING").doc("name in SNMP tables"),
    row(BOTH, "smtp_alert", 0).takes("[BOOL]").doc("send mail on changes"),
    row(VS, "ip_family", 1).takes("inet | inet6").else_("derived").doc("family of a mark service"),
    row(VS, "laddr_group_name", 1)
        .own()
        .takes("NAME")
        .else_("address towards the server")
        .doc("source addresses of full-NAT"),
    row(VS, "xlb_mss", 1)
        .own()
        .takes("UINT 88..65495")
        .else_("as the ends say")
        .doc("TCP: the MSS that client and server tell each other is lowered to this"),
    row(VS, "real_server", 1)
        .opens(RealServer)
        .takes("IP [PORT] { ... }")
        .doc("a server of the pool"),
    row(RS, "uthreshold", 1)
        .takes("UINT")
        .else_("0 = none")
        .doc("connections above which it gets no more"),
    row(RS, "lthreshold", 1)
        .takes("UINT")
        .else_("0 = none")
        .doc("connections below which it gets some again"),
    row(RS, "notify_up", 1).words(Words::Script).takes(SCRIPT).doc("run when the server comes up"),
    row(RS, "notify_down", 1)
        .words(Words::Script)
        .takes(SCRIPT)
        .doc("run when the server goes down"),
    row(RS, "TCP_CHECK", 0)
        .opens(TcpCheck)
        .from("check/check_tcp.c")
        .takes("{ ... }")
        .doc("passes when a connection opens"),
    row(RS, "HTTP_GET", 0)
        .opens(HttpGet)
        .from("check/check_http.c")
        .takes("{ ... }")
        .doc("passes on the right answer to GET"),
    row(RS, "SSL_GET", 0)
        .opens(SslGet)
        .from("check/check_http.c")
        .takes("{ ... }")
        .doc("the same over TLS"),
    row(RS, "SMTP_CHECK", 0)
        .opens(B::SmtpCheck)
        .from("check/check_smtp.c")
        .takes("{ ... }")
        .doc("passes on a mail server's greeting"),
    row(RS, "DNS_CHECK", 0)
        .opens(DnsCheck)
        .from("check/check_dns.c")
        .takes("{ ... }")
        .doc("passes on an answer without error"),
    row(RS, "UDP_CHECK", 0)
        .opens(B::UdpCheck)
        .from("check/check_udp.c")
        .takes("{ ... }")
        .doc("passes unless an ICMP error comes back, or on the right reply"),
    row(RS, "PING_CHECK", 0)
        .opens(B::PingCheck)
        .from("check/check_ping.c")
        .takes("{ ... }")
        .doc("passes on an echo reply"),
    row(RS, "MISC_CHECK", 0)
        .opens(B::MiscCheck)
        .from("check/check_misc.c")
        .takes("{ ... }")
        .doc("passes when a script ends with 0"),
    row(RS, "BFD_CHECK", 0)
        .opens(B::BfdCheck)
        .from("check/check_bfd.c")
        .takes("{ ... }")
        .doc("needs keepalived's BFD; as if absent, with a warning"),
    row(RS, "FILE_CHECK", 0)
        .opens(B::FileCheck)
        .from("check/check_file.c")
        .takes("{ ... }")
        .doc("needs keepalived's track_file; as if absent, with a warning"),
];
