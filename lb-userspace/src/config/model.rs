//! The typed configuration: what a file means, defaults and inheritance filled in.
//!
//! Nothing here knows how it was written; positions live in diagnostics. `Option` says "absent", never 0.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `global_defs`, as far as load balancing goes.
    pub globals: Globals,
    /// In file order.
    pub virtual_servers: Vec<VirtualServer>,
}

/// `global_defs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Globals {
    /// `router_id`; absent: the host's name.
    pub router_id: Option<String>,
    /// `lvs_timeouts tcp N`.
    pub timeout_tcp: Option<Duration>,
    /// `lvs_timeouts tcpfin N`.
    pub timeout_tcp_fin: Option<Duration>,
    /// `lvs_timeouts udp N`.
    pub timeout_udp: Option<Duration>,
    /// `script_user USER [GROUP]`.
    pub script_user: Option<(String, Option<String>)>,
    /// `enable_script_security`.
    pub script_security: bool,
    /// `rs_init_notifies`: run `notify_up` for real servers set up at start.
    pub rs_init_notifies: bool,
    /// `checker_log_all_failures`, the default of every checker.
    pub log_all_failures: bool,
    /// The `SSL` block.
    pub ssl: SslCredentials,
    /// `xlb_mark`, in file order.
    pub marks: Vec<Mark>,
    /// `xlb_reply_path`.
    pub reply_path: ReplyPath,
}

/// By which interface answers of real servers may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyPath {
    /// That which leads to the real server.
    #[default]
    Strict,
    Any,
}

impl ReplyPath {
    pub const ALL: [Self; 2] = [Self::Strict, Self::Any];

    /// The word in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Any => "any",
        }
    }
}

/// What `SSL_GET` presents and trusts; paths as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SslCredentials {
    pub password: Option<String>,
    /// Absent: servers are not verified.
    pub ca: Option<String>,
    pub certificate: Option<String>,
    pub key: Option<String>,
}

/// `xlb_mark N`: packets that match all the kinds of condition that are not empty carry mark N.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub mark: u32,
    pub addresses: Vec<AddressRange>,
    pub protocols: Vec<Protocol>,
    /// Inclusive.
    pub ports: Vec<(u16, u16)>,
}

/// `virtual_server` (a *service* in the rest of the code).
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// What clients talk to.
    pub service: ServiceMatch,
    /// `None` for marks.
    pub protocol: Option<Protocol>,
    pub scheduler: Scheduler,
    /// Scheduler flags and `ops`, sorted, as `xlb check --json` prints them: `sh-port`, `sh-fallback`, `mh-port`,
    /// `mh-fallback` for those schedulers (also if written `flag-1` for fallback or `flag-2` for port), else `flag-1`,
    /// `flag-2`, `flag-3`; `ops`.
    pub flags: Vec<String>,
    pub kind: Kind,
    pub persistence: Option<Persistence>,
    pub delay_loop: Duration,
    pub quorum: u32,
    pub hysteresis: u32,
    pub quorum_up: Option<Script>,
    pub quorum_down: Option<Script>,
    pub alpha: bool,
    pub omega: bool,
    pub ha_suspend: bool,
    pub sorry_server: Option<SorryServer>,
    pub real_servers: Vec<RealServer>,
    /// `laddr_group_name`, resolved: inclusive ranges of full-NAT source addresses. `None`: the primary address of
    /// the interface towards the real server.
    pub local_addresses: Option<Vec<AddressRange>>,
    /// `xlb_mss`: bytes of the largest segment that the ends of a TCP connection may be told of. `None`: as they say.
    pub mss: Option<u16>,
}

/// Inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    pub first: IpAddr,
    pub last: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceMatch {
    /// `port` 0: any port (persistent services only).
    Address {
        ip: IpAddr,
        port: u16,
    },
    Fwmark {
        mark: u32,
        family: Option<Family>,
    },
    Group {
        name: String,
        members: Vec<GroupMember>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupMember {
    /// `last` equals `first` for a single address.
    Addresses {
        first: IpAddr,
        last: IpAddr,
        port: u16,
    },
    Fwmark {
        mark: u32,
        family: Option<Family>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Inet,
    Inet6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As JSON and messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// IANA's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    Rr,
    Wrr,
    Lc,
    Wlc,
    Lblc,
    Lblcr,
    Sh,
    Mh,
    Dh,
    Sed,
    Nq,
    Fo,
    Ovf,
    Twos,
}

impl Scheduler {
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Sh,
        Self::Mh,
        Self::Dh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Twos,
    ];

    /// The word in the file and in `ipvsadm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Sh => "sh",
            Self::Mh => "mh",
            Self::Dh => "dh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Twos => "twos",
        }
    }
}

/// `lb_kind`, `lvs_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nat,
    /// xlb's own word `FNAT` or `FULLNAT`.
    FullNat,
    Dr,
    Tun,
}

impl Kind {
    /// As JSON writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "NAT",
            Self::FullNat => "FNAT",
            Self::Dr => "DR",
            Self::Tun => "TUN",
        }
    }
}

/// Options of `lvs_method TUN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    Ipip,
    Gue { port: u16, checksum: TunnelChecksum },
    Gre { checksum: TunnelChecksum },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelChecksum {
    None,
    Full,
    Remote,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    pub timeout: Duration,
    pub granularity: Granularity,
    pub engine: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// A netmask; need not be contiguous.
    Mask4(Ipv4Addr),
    /// A prefix length.
    Prefix6(u8),
}

/// A command line, already split, and who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub argv: Vec<String>,
    pub user: Option<String>,
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SorryServer {
    pub ip: IpAddr,
    pub port: u16,
    pub kind: Kind,
    /// Only with [`Kind::Tun`].
    pub tunnel: Option<Tunnel>,
    pub inhibit: bool,
}

/// `real_server`.
#[derive(Clone, Debug, PartialEq)]
pub struct RealServer {
    pub ip: IpAddr,
    /// Never 0 for an address service with a port: "left out" is the service's port already.
    pub port: u16,
    pub weight: u32,
    pub kind: Kind,
    /// Only with [`Kind::Tun`].
    pub tunnel: Option<Tunnel>,
    pub inhibit_on_failure: bool,
    /// Starts down until its checks pass (any of its checkers says alpha).
    pub alpha: bool,
    pub uthreshold: u32,
    pub lthreshold: u32,
    pub notify_up: Option<Script>,
    pub notify_down: Option<Script>,
    pub checkers: Vec<Checker>,
}

/// One check of a real server, everything inherited filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Checker {
    pub delay_loop: Duration,
    /// Upper bound of the random start delay.
    pub warmup: Duration,
    pub retry: u32,
    pub delay_before_retry: Duration,
    pub alpha: bool,
    pub log_all_failures: bool,
    /// `None` for `MISC_CHECK`.
    pub target: Option<CheckTarget>,
    pub kind: CheckKind,
}

/// How a network check reaches its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTarget {
    pub connect_ip: IpAddr,
    /// Unused by `PING_CHECK`.
    pub connect_port: u16,
    pub bindto: Option<IpAddr>,
    pub bind_port: Option<u16>,
    pub bind_if: Option<String>,
    pub fwmark: Option<u32>,
    pub connect_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    Tcp,
    Http(HttpCheck),
    Smtp { helo_name: String },
    Dns { qtype: String, qname: String },
    Udp(UdpCheck),
    Ping,
    Misc(MiscCheck),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// `SSL_GET`.
    pub tls: bool,
    /// `1.0`, `1.0C` or `1.1`.
    pub http_protocol: String,
    pub fast_recovery: bool,
    pub enable_sni: bool,
    pub sni_name: Option<String>,
    pub urls: Vec<Url>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    pub path: String,
    /// 32 lower-case hex digits.
    pub digest: Option<String>,
    /// Inclusive, merged, sorted.
    pub status: Vec<(u16, u16)>,
    /// Inherited; `None`: `IP:PORT`.
    pub virtualhost: Option<String>,
    pub regex: Option<String>,
    pub regex_no_match: bool,
    pub regex_options: Vec<String>,
    pub regex_min_offset: u64,
    pub regex_max_offset: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpCheck {
    /// Lower-case hex; `None`: random.
    pub payload: Option<String>,
    /// Lower-case hex, `x` = any nibble.
    pub reply: Option<String>,
    pub require_reply: bool,
    pub min_reply_length: u16,
    pub max_reply_length: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiscCheck {
    pub argv: Vec<String>,
    pub timeout: Duration,
    pub dynamic: bool,
    pub user: Option<String>,
    pub group: Option<String>,
}

impl CheckKind {
    /// The block it is written in.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "TCP_CHECK",
            Self::Http(http) if http.tls => "SSL_GET",
            Self::Http(_) => "HTTP_GET",
            Self::Smtp { .. } => "SMTP_CHECK",
            Self::Dns { .. } => "DNS_CHECK",
            Self::Udp(_) => "UDP_CHECK",
            Self::Ping => "PING_CHECK",
            Self::Misc(_) => "MISC_CHECK",
        }
    }
}
