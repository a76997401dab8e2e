//! What a block says before defaults and inheritance: `None` is "not written".

use std::net::IpAddr;
use std::time::Duration;

use super::super::model::{
    CheckKind, Granularity, Kind, Protocol, Scheduler, Script, ServiceMatch, Tunnel,
};
use super::super::source::Span;
use super::super::words::Word;

/// The five times that virtual server, real server and checker share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers {
    pub delay_loop: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub retry: Option<u32>,
    pub delay_before_retry: Option<Duration>,
    pub warmup: Option<Duration>,
}

impl Timers {
    /// What is not written here, from `outer`.
    pub(super) fn or(self, outer: Self) -> Self {
        Self {
            delay_loop: self.delay_loop.or(outer.delay_loop),
            connect_timeout: self.connect_timeout.or(outer.connect_timeout),
            retry: self.retry.or(outer.retry),
            delay_before_retry: self.delay_before_retry.or(outer.delay_before_retry),
            warmup: self.warmup.or(outer.warmup),
        }
    }
}

/// A forwarding method with its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forwarding {
    pub kind: Kind,
    pub tunnel: Tunnel,
}

/// Where a keyword was used.
pub(super) type Uses = Vec<(&'static str, Span)>;

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the language")]
pub(super) struct VirtualServer {
    pub span: Span,
    pub service: ServiceMatch,
    pub protocol: Option<Protocol>,
    pub scheduler: Option<Scheduler>,
    /// Bits 0 to 2 are flag-1 to flag-3.
    pub scheduler_flags: u8,
    pub ops: bool,
    pub forwarding: Option<Forwarding>,
    pub persistence_timeout: Option<Duration>,
    pub granularity: Option<Granularity>,
    pub engine: Option<String>,
    pub timers: Timers,
    pub weight: Option<u32>,
    pub inhibit_on_failure: bool,
    pub alpha: bool,
    pub omega: bool,
    pub quorum: u32,
    pub hysteresis: u32,
    pub quorum_up: Option<Script>,
    pub quorum_down: Option<Script>,
    pub ha_suspend: bool,
    pub sorry: Option<Sorry>,
    pub virtualhost: Option<String>,
    pub family: Option<super::super::model::Family>,
    pub local_group: Option<Word>,
    pub mss: Option<(u16, Span)>,
    pub reals: Vec<RealServer>,
    pub uses: Uses,
}

#[derive(Clone, Debug)]
pub(super) struct Sorry {
    pub span: Span,
    pub ip: IpAddr,
    pub port: u16,
    pub forwarding: Option<Forwarding>,
    pub inhibit: bool,
}

#[derive(Clone, Debug)]
pub(super) struct RealServer {
    pub span: Span,
    pub ip: IpAddr,
    /// 0: not written.
    pub port: u16,
    pub weight: Option<u32>,
    pub forwarding: Option<Forwarding>,
    pub inhibit_on_failure: Option<bool>,
    pub alpha: Option<bool>,
    pub timers: Timers,
    pub uthreshold: u32,
    pub lthreshold: u32,
    pub notify_up: Option<Script>,
    pub notify_down: Option<Script>,
    pub virtualhost: Option<String>,
    pub checkers: Vec<Checker>,
    pub uses: Uses,
}

#[derive(Clone, Debug)]
pub(super) struct Checker {
    pub span: Span,
    pub timers: Timers,
    pub alpha: Option<bool>,
    pub log_all_failures: Option<bool>,
    pub connection: Connection,
    /// Of `HTTP_GET` and `SSL_GET`, for urls without their own.
    pub virtualhost: Option<String>,
    /// Of `MISC_CHECK`; else the virtual server's `delay_loop`.
    pub misc_timeout: Option<Duration>,
    pub kind: CheckKind,
}

/// The connection words of a network check.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub connect_ip: Option<IpAddr>,
    pub connect_port: Option<u16>,
    pub bindto: Option<(IpAddr, Span)>,
    pub bind_port: Option<u16>,
    pub bind_if: Option<String>,
    pub fwmark: Option<u32>,
}
