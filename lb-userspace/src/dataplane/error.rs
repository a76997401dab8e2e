//! Why the host refuses to carry the programs, in sentences that end with the way out.
//!
//! A cause stands inside its sentence, before the hint, and so is not the error's `source`: nobody prints it twice.

use std::io;
use std::path::PathBuf;

use super::preflight::Obstacle;
use super::table::TableError;

/// A start that did not happen. Nothing is left attached or pinned that was not there before.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "this process lacks {missing}; hint: run it as root, or give the binary the right: \
         `setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon+ep $(command -v xlb)`"
    )]
    Capability { missing: &'static str },

    #[error("no interface `{name}` here; hint: there are {there} (`ip link`)")]
    NoInterface { name: String, there: String },

    #[error("no interface given; hint: name at least one with `--iface`")]
    NoInterfaces,

    #[error("interface `{name}` is down; hint: `ip link set dev {name} up`")]
    InterfaceDown { name: String },

    #[error(
        "the MTU of `{name}` ({mtu}) is too large for XDP in the driver `{driver}`; \
         hint: `ip link set dev {name} mtu {limit}`, or `--mode tc`"
    )]
    Mtu { name: String, mtu: u32, driver: String, limit: u32 },

    #[error(
        "interface `{name}` already runs XDP program {program}, which is not this instance's; \
         hint: `bpftool prog show id {program}` tells what it is, `ip link set dev {name} xdp off` removes it"
    )]
    ForeignProgram { name: String, program: u32 },

    #[error(
        "interface `{name}` merges packets before XDP sees them (LRO); hint: `ethtool -K {name} lro off`"
    )]
    Lro { name: String },

    #[error(
        "driver `{driver}` of `{name}` has no XDP support of its own, or not with its present settings; hint: `--mode tc`"
    )]
    NoNativeXdp { name: String, driver: String },

    #[error(
        "interface `{name}` is a member of `{master}`, whose frames and addresses its own are; hint: `--iface {master}`"
    )]
    Member { name: String, master: String },

    #[error(
        "interface `{name}` is a bond, whose members XDP in their drivers would name instead of it; hint: `--mode tc`"
    )]
    Bond { name: String },

    #[error("cannot attach to `{name}` in mode {mode}: {cause}{hint}")]
    Attach { name: String, mode: &'static str, cause: io::Error, hint: &'static str },

    #[error(
        "cannot {action} tc filters of `{name}`: {cause}; hint: `tc filter show dev {name} ingress` lists them"
    )]
    Filter { action: &'static str, name: String, cause: io::Error },

    #[error("{dir} is not on a BPF file system; hint: `mount -t bpf bpf {mount_at}`")]
    NotBpffs { dir: PathBuf, mount_at: PathBuf },

    #[error(
        "pin directory {dir}: a BPF file system takes no dots in names; hint: `--pin-dir` or `--instance` without dots"
    )]
    DottedPinDir { dir: PathBuf },

    #[error("cannot {action} {path}: {cause}")]
    File { action: &'static str, path: PathBuf, cause: io::Error },

    #[error(
        "another daemon (pid {pid}) runs this instance and holds {path}; \
         hint: stop it, or start another one with `--instance NAME`"
    )]
    Locked { pid: String, path: PathBuf },

    #[error(
        "the pins in {dir} are of another version of xlb: {detail}; \
         hint: `xlb detach` removes them (and every flow), then start again"
    )]
    OtherLayout { dir: PathBuf, detail: String },

    #[error("the kernel does not take the maps and programs: {cause}{hint}")]
    Object { cause: Box<aya::EbpfError>, hint: &'static str },

    #[error(
        "the kernel does not take program {name}: {}; hint: this is a bug of xlb or a kernel older than 5.15",
        ending(cause)
    )]
    Program { name: &'static str, cause: Box<aya::programs::ProgramError> },

    #[error(
        "the embedded object has no {kind} {name}; hint: this is a bug of xlb, please report it"
    )]
    Incomplete { kind: &'static str, name: &'static str },

    #[error("cannot tell the kernel's clock rate: {cause}")]
    Clock { cause: io::Error },

    #[error(transparent)]
    Table(#[from] TableError),
}

/// Lines of the verifier's log that are worth a screen: its reason comes last.
const LOG_LINES: usize = 12;

/// A refusal with the end of the verifier's log.
fn ending(cause: &aya::programs::ProgramError) -> String {
    let text = cause.to_string();
    let lines = text.lines().collect::<Vec<_>>();
    match lines.len().checked_sub(LOG_LINES) {
        Some(first) if first > 1 => format!("{} ...\n{}", lines[0], lines[first..].join("\n")),
        _ => text,
    }
}

impl LoadError {
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }

    /// The exit code of a command that ends with this: always "the host refuses".
    pub const fn exit_code(&self) -> u8 {
        3
    }
}

/// Something worth telling the operator about a start that did happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `--mode auto`: an interface is not fit for XDP in its driver.
    ChoseTc { interface: String, why: Obstacle },
    /// XDP was asked for where frames have half-made checksums.
    HalfMadeChecksums { interface: String },
    /// A table that was pinned with another size than asked for keeps its size.
    KeptCapacity { map: String, asked: u32, kept: u32 },
    /// The interface of a pinned link had been deleted; attached afresh.
    SeveredLink { interface: String },
    /// A pinned link followed its interface to a new name.
    RenamedLink { from: String, to: String },
    /// Somebody else had taken the program off.
    Reattached { interface: String },
    /// An interface that is no longer listed was detached.
    Detached { interface: String },
    /// An interface was attached afresh because another mode was asked for.
    ModeChanged { interface: String },
    /// Packets to a next hop without a link-layer address are dropped at once.
    NothingHeld { why: String },
    /// Pins of an earlier daemon were taken over.
    Adopted { maps: usize },
}

impl Notice {
    /// Whether a severed link of `interface` was told of.
    pub(super) fn is_about(&self, name: &str) -> bool {
        matches!(self, Self::SeveredLink { interface } if interface == name)
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ChoseTc { interface, why } => {
                write!(f, "all interfaces run in mode tc, because of `{interface}`: {why}")
            }
            Self::HalfMadeChecksums { interface } => write!(
                f,
                "`{interface}` is a veth with offloads on: what its far end sends has half-made checksums, which XDP loses; `ethtool -K {interface} tx off` at both ends, or `--mode tc`"
            ),
            Self::KeptCapacity { map, asked, kept } => write!(
                f,
                "{map} stays at {kept} entries ({asked} asked for): it holds live flows; `xlb detach` first, to start with another size"
            ),
            Self::SeveredLink { interface } => {
                write!(f, "`{interface}` had been deleted and made again: attached afresh")
            }
            Self::Reattached { interface } => {
                write!(f, "`{interface}` had lost the program: attached again")
            }
            Self::RenamedLink { from, to } => write!(f, "`{from}` is now called `{to}`"),
            Self::Detached { interface } => {
                write!(f, "detached from `{interface}`, which is no longer listed")
            }
            Self::ModeChanged { interface } => {
                write!(f, "attached to `{interface}` afresh: another mode was asked for")
            }
            Self::NothingHeld { why } => write!(
                f,
                "packets whose next hop does not answer ARP yet are dropped instead of held: {why}"
            ),
            Self::Adopted { maps } => write!(f, "took over {maps} pinned maps with their flows"),
        }
    }
}
