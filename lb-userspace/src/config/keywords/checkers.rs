//! Rows of the checkers. keepalived-spec section 9.

use super::Block::{
    self, BfdCheck, DnsCheck, FileCheck, HttpGet, MiscCheck, PingCheck, SmtpCheck, SmtpHost,
    SslGet, TcpCheck, UdpCheck, Url,
};
use super::{Keyword, Words, row};

const ALL: &[Block] =
    &[TcpCheck, HttpGet, SslGet, SmtpCheck, DnsCheck, UdpCheck, PingCheck, MiscCheck];
/// `host` of `SMTP_CHECK` takes the connection words too.
const NETWORK: &[Block] =
    &[TcpCheck, HttpGet, SslGet, SmtpCheck, SmtpHost, DnsCheck, UdpCheck, PingCheck];
const HTTP: &[Block] = &[HttpGet, SslGet];
const URL: &[Block] = &[Url];
const UDP: &[Block] = &[UdpCheck];
const DNS: &[Block] = &[DnsCheck];
const MISC: &[Block] = &[MiscCheck];

const API: &str = "check/check_api.c";
const WEB: &str = "check/check_http.c";

pub(super) const ROWS: &[Keyword] = &[
    row(ALL, "retry", 1)
        .from(API)
        .takes("UINT")
        .else_("1; DNS 3; MISC 0")
        .doc("failures forgiven before the check is down"),
    row(ALL, "delay_before_retry", 1)
        .from(API)
        .takes("TIMER")
        .else_("1; HTTP, SSL 3; DNS delay_loop")
        .doc("seconds before a failed check is repeated"),
    row(ALL, "warmup", 1)
        .from(API)
        .takes("TIMER")
        .else_("delay_loop")
        .doc("upper bound of the random delay of the first check"),
    row(ALL, "delay_loop", 1)
        .from(API)
        .takes("TIMER")
        .else_("the server's")
        .doc("seconds between checks"),
    row(ALL, "alpha", 0)
        .from(API)
        .takes("[BOOL]")
        .else_("the server's")
        .doc("down until the first pass"),
    row(ALL, "log_all_failures", 0)
        .from(API)
        .takes("[BOOL]")
        .else_("checker_log_all_failures")
        .doc("log every failure"),
    row(NETWORK, "connect_ip", 1)
        .from(API)
        .takes("IP")
        .else_("the server's")
        .doc("where to connect"),
    row(NETWORK, "connect_port", 1)
        .from(API)
        .takes("1..65535")
        .else_("the server's")
        .doc("where to connect"),
    row(NETWORK, "bindto", 1).from(API).takes("IP").doc("source address"),
    row(NETWORK, "bind_port", 1).from(API).takes("1..65535").doc("source port"),
    row(NETWORK, "bind_if", 1).from(API).takes("NAME").doc("interface to use"),
    row(NETWORK, "connect_timeout", 1)
        .from(API)
        .takes("TIMER")
        .else_("the server's")
        .doc("seconds to connect or to get a reply"),
    row(NETWORK, "fwmark", 1).from(API).takes("UINT").else_("0").doc("mark of the check's packets"),
    row(HTTP, "url", 0)
        .opens(Url)
        .from(WEB)
        .takes("{ ... }")
        .doc("what to ask; several are checked in turn"),
    row(HTTP, "http_protocol", 0)
        .from(WEB)
        .takes("1.0 | 1.0C | 1.1")
        .else_("1.0")
        .doc("version of the request"),
    row(HTTP, "fast_recovery", 0)
        .from(WEB)
        .takes("[BOOL]")
        .doc("check all urls back to back while the server is not yet up"),
    row(HTTP, "enable_sni", 0).from(WEB).takes("[BOOL]").doc("send the virtualhost as server name"),
    row(HTTP, "sni_name", 1)
        .from(WEB)
        .takes("STRING")
        .doc("server name to send; implies enable_sni"),
    row(HTTP, "tls_compliant", 0).ignored().from(WEB).doc("accepted, not used"),
    row(HTTP, "nb_get_retry", 1)
        .from(WEB)
        .takes("UINT")
        .doc("old word for retry; obeyed, with a warning"),
    row(URL, "path", 1).from(WEB).takes("STRING").else_("required").doc("path and query"),
    row(URL, "digest", 1).from(WEB).takes("32 hex digits").doc("MD5 of the body"),
    row(URL, "status_code", 0)
        .words(Words::All)
        .from(WEB)
        .takes("N | N-M ...")
        .else_("200-299")
        .doc("statuses that pass; lines add up"),
    row(URL, "regex", 0)
        .words(Words::ScriptAll)
        .from(WEB)
        .takes("PATTERN")
        .doc("must be found in the body"),
    row(URL, "regex_no_match", 0).from(WEB).doc("must not be found instead"),
    row(URL, "regex_options", 0)
        .words(Words::All)
        .from(WEB)
        .takes("WORD ...")
        .doc("options of the pattern"),
    row(URL, "regex_min_offset", 1).from(WEB).takes("UINT").else_("0").doc("first byte searched"),
    row(URL, "regex_max_offset", 1)
        .from(WEB)
        .takes("UINT")
        .doc("byte before which the match must start"),
    row(URL, "regex_stack", 0).ignored().from(WEB).takes("START MAX").doc("accepted, not used"),
    row(&[SmtpCheck], "helo_name", 0)
        .from("check/check_smtp.c")
        .takes("STRING")
        .else_("smtpchecker.keepalived.org")
        .doc("name for HELO"),
    row(&[SmtpCheck], "host", 0)
        .opens(SmtpHost)
        .from("check/check_smtp.c")
        .takes("{ ... }")
        .doc("deprecated: one more check with its own connection words"),
    row(DNS, "type", 1)
        .from("check/check_dns.c")
        .takes("A NS CNAME SOA MX TXT AAAA RRSIG DNSKEY")
        .else_("SOA")
        .doc("what to ask for"),
    row(DNS, "name", 1)
        .from("check/check_dns.c")
        .takes("NAME")
        .else_("the root")
        .doc("whom to ask about"),
    row(UDP, "payload", 0)
        .words(Words::All)
        .from("check/check_udp.c")
        .takes("HEX")
        .else_("random")
        .doc("what to send"),
    row(UDP, "require_reply", 0)
        .words(Words::All)
        .from("check/check_udp.c")
        .takes("[HEX]")
        .doc("a datagram must come back, and look so"),
    row(UDP, "min_reply_length", 1)
        .from("check/check_udp.c")
        .takes("0..65535")
        .else_("0")
        .doc("shortest reply"),
    row(UDP, "max_reply_length", 1)
        .from("check/check_udp.c")
        .takes("0..65535")
        .else_("255")
        .doc("longest reply"),
    row(MISC, "misc_path", 0)
        .words(Words::ScriptAll)
        .from("check/check_misc.c")
        .takes("COMMAND")
        .else_("required")
        .doc("what to run"),
    row(MISC, "misc_timeout", 1)
        .from("check/check_misc.c")
        .takes("UINT")
        .else_("the virtual server's delay_loop")
        .doc("seconds it may run"),
    row(MISC, "misc_dynamic", 0).from("check/check_misc.c").doc("exit status sets the weight"),
    row(MISC, "user", 0).from("check/check_misc.c").takes("USER [GROUP]").doc("who runs it"),
    row(&[BfdCheck], "name", 1)
        .ignored()
        .from("check/check_bfd.c")
        .takes("STRING")
        .doc("BFD instance"),
    row(&[BfdCheck], "alpha", 0)
        .ignored()
        .from("check/check_bfd.c")
        .takes("[BOOL]")
        .doc("down until the first pass"),
    row(&[FileCheck], "track_file", 1)
        .ignored()
        .from("check/check_file.c")
        .takes("NAME")
        .doc("file to read"),
    row(&[FileCheck], "weight", 1)
        .ignored()
        .from("check/check_file.c")
        .takes("INT [reverse]")
        .doc("factor of its number"),
];
