//! Connection states, by the names of the kernel's include/uapi/linux and net/netfilter/ipvs.

/// The state of a connection: IPVS's TCP states (`net/netfilter/ipvs/ip_vs_proto_tcp.c`), UDP's one, and `Dead`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ConnState {
    /// A flow that no state has been given yet.
    None = 0,
    /// Both ends have spoken.
    Established = 1,
    /// The real server opened towards the client (simultaneous open).
    SynSent = 2,
    /// The client's SYN was forwarded.
    SynRecv = 3,
    /// The real server closed first.
    FinWait = 4,
    /// Both ends have closed.
    TimeWait = 5,
    /// Reset.
    Close = 6,
    /// The client closed first.
    CloseWait = 7,
    /// Both closed, the last acknowledgement is outstanding.
    LastAck = 8,
    /// The real server listens (never entered by packets that xlb forwards).
    Listen = 9,
    /// A SYN-ACK answered by cookie (kept for the numbering).
    SynAck = 10,
    /// UDP has no states.
    Udp = 11,
    /// Claimed for removal: whoever set this settles the counters and deletes both entries.
    Dead = 12,
}

impl ConnState {
    /// How many states there are: the length of a table indexed by state.
    pub const COUNT: usize = 13;

    /// Decodes the number in a map; `None` if it is of no state.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::None,
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait,
            5 => Self::TimeWait,
            6 => Self::Close,
            7 => Self::CloseWait,
            8 => Self::LastAck,
            9 => Self::Listen,
            10 => Self::SynAck,
            11 => Self::Udp,
            12 => Self::Dead,
            _ => return None,
        })
    }

    /// Whether IPVS counts the connection as active: TCP when established, UDP always.
    #[inline(always)]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Established | Self::Udp)
    }

    /// The name that `ipvsadm -Lnc` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::SynAck => "SYNACK",
            Self::Udp => "UDP",
            Self::Dead => "DEAD",
        }
    }
}
