//! Programs put on interfaces: made, taken over, moved, taken off.
//!
//! A link is pinned under its interface's name but belongs to an interface *number*: it follows a rename and dies
//! with the device. All interfaces of an instance run in one mode: a frame that XDP redirects to an interface whose
//! driver has no XDP is lost.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use lb_common::abi::map;
use lb_common::abi::program::{self, Next};

use super::error::{LoadError, Notice};
use super::link::{self, Link, TcHook};
use super::pins::Pins;
use super::preflight::{InterfaceFacts, Mode, Obstacle, obstacle};
use super::sys;

/// Errno of "the operation is not supported" that is no errno for programs (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// Where the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Xdp,
    /// In the network stack.
    XdpGeneric,
    /// At tc's ingress.
    Tc,
}

impl AttachedMode {
    /// As `--mode` and `xlb stats` write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        }
    }

    /// The name of its program in the object.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Xdp | Self::XdpGeneric => program::XDP,
            Self::Tc => program::TC,
        }
    }

    /// The map by which it goes on with others, and those.
    pub(super) const fn next(self) -> (&'static str, &'static [(Next, &'static str)]) {
        match self {
            Self::Xdp | Self::XdpGeneric => (map::XDP_NEXT, &Next::XDP),
            Self::Tc => (map::TC_NEXT, &Next::TC),
        }
    }

    /// The name of the program that is there instead while somebody captures.
    pub(super) const fn watching(self) -> &'static str {
        match self {
            Self::Xdp | Self::XdpGeneric => program::XDP_WATCH,
            Self::Tc => program::TC_WATCH,
        }
    }

    /// What that goes on with besides.
    pub(super) const fn capturing(self) -> &'static [(Next, &'static str)] {
        match self {
            Self::Xdp | Self::XdpGeneric => &Next::XDP_CAPTURING,
            Self::Tc => &Next::TC_CAPTURING,
        }
    }

    /// The name of its program's pin.
    pub(super) const fn pin(self) -> &'static str {
        match self {
            Self::Xdp | Self::XdpGeneric => "xdp",
            Self::Tc => "tc_ingress",
        }
    }
}

impl From<AttachedMode> for Mode {
    fn from(mode: AttachedMode) -> Self {
        match mode {
            AttachedMode::Xdp => Self::Xdp,
            AttachedMode::XdpGeneric => Self::XdpGeneric,
            AttachedMode::Tc => Self::Tc,
        }
    }
}

/// An interface that forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub interface: String,
    pub ifindex: u32,
    pub mode: AttachedMode,
}

/// The program of one mode.
pub(super) struct Program {
    pub(super) fd: OwnedFd,
    pub(super) mode: AttachedMode,
    hook: TcHook,
}

impl Program {
    /// The one that an instance has pinned.
    fn pinned(pins: &Pins, mode: AttachedMode, hook: TcHook) -> Result<Self, LoadError> {
        let path = pins.progs().join(mode.pin());
        let fd = sys::open_pin(&path).map_err(LoadError::file("open", path))?;
        Ok(Self { fd, mode, hook })
    }
}

/// Ids of the programs on an instance's interfaces.
pub fn attached_programs(pin_dir: &Path) -> HashSet<u32> {
    // Nothing to read is nothing of ours; what cannot be opened will be told by whoever needs it.
    link::all(&Pins::new(pin_dir))
        .map(|links| links.into_iter().map(|link| link.program).collect())
        .unwrap_or_default()
}

/// What holds an instance's programs now.
pub(super) fn held(pins: &Pins) -> Held {
    let links = link::all(pins).unwrap_or_default();
    let filters = links.iter().filter(|link| link.id().is_none()).map(|link| link.ifindex);
    Held { filters: filters.collect(), links: links.iter().filter_map(Link::id).collect() }
}

/// Links by id, for a pin may be renamed with its interface; filters by interface.
pub(super) struct Held {
    links: HashSet<u32>,
    filters: HashSet<u32>,
}

impl Held {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.filters.is_empty()
    }

    /// Takes off what is not among them.
    pub(super) fn restore(&self, pins: &Pins) {
        // Already failing; what cannot be removed is told by the next start.
        for mut link in link::all(pins).unwrap_or_default() {
            let kept = match link.id() {
                Some(id) => self.links.contains(&id),
                None => self.filters.contains(&link.ifindex),
            };
            if !kept {
                let _ = link.remove();
            }
        }
    }
}

/// Gives the programs of a mode to the kernel; the one that is put on interfaces.
pub(super) type Load<'l> = &'l mut dyn FnMut(AttachedMode) -> Result<OwnedFd, LoadError>;

/// Puts a program on every interface of `wanted` and takes ours off all others. Where it runs already in the right mode
/// it is replaced in place: no packet sees a gap. `load` is asked for a program when its mode is tried.
pub(super) fn attach_all(
    pins: &Pins,
    wanted: &[InterfaceFacts],
    (mode, hook): (Mode, TcHook),
    notices: &mut Vec<Notice>,
    load: Load<'_>,
) -> Result<(Program, Vec<Attachment>), LoadError> {
    let unwanted = sort_out(pins, wanted, notices)?.1;
    let mut put_all = |mode: AttachedMode, notices: &mut Vec<Notice>| {
        let program = Program { fd: load(mode)?, mode, hook };
        in_mode(pins, &program, wanted, notices).map(|attached| (program, attached))
    };
    let done = match mode {
        Mode::Xdp => put_all(AttachedMode::Xdp, notices)?,
        Mode::XdpGeneric => put_all(AttachedMode::XdpGeneric, notices)?,
        Mode::Tc => put_all(AttachedMode::Tc, notices)?,
        Mode::Auto => best(wanted, notices, put_all)?,
    };
    for mut link in unwanted {
        link.remove()?;
        notices.push(Notice::Detached { interface: link.interface });
    }
    let lossy = |facts: &&InterfaceFacts| obstacle(facts) == Some(Obstacle::HalfMadeChecksums);
    if done.0.mode != AttachedMode::Tc {
        let interfaces = wanted.iter().filter(lossy).map(|facts| facts.name.clone());
        notices.extend(interfaces.map(|interface| Notice::HalfMadeChecksums { interface }));
    }
    Ok(done)
}

/// XDP in the driver where every interface is fit for it, else tc.
fn best<T>(
    wanted: &[InterfaceFacts],
    notices: &mut Vec<Notice>,
    mut put_all: impl FnMut(AttachedMode, &mut Vec<Notice>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let unfit = |facts: &InterfaceFacts| {
        let why = obstacle(facts)?;
        Some(Notice::ChoseTc { interface: facts.name.clone(), why })
    };
    let mut reasons = wanted.iter().filter_map(unfit).collect::<Vec<_>>();
    if reasons.is_empty() {
        let told = notices.len();
        match put_all(AttachedMode::Xdp, notices) {
            Err(error) => {
                notices.truncate(told);
                reasons.push(refused_by_driver(error)?);
            }
            done => return done,
        }
    }
    notices.append(&mut reasons);
    put_all(AttachedMode::Tc, notices)
}

/// What to tell of a driver that does not take the program; other errors are the caller's.
fn refused_by_driver(error: LoadError) -> Result<Notice, LoadError> {
    let (interface, why) = match error {
        LoadError::NoNativeXdp { name, driver } => {
            let why = format!("its driver `{driver}` has no XDP, or not with its present settings");
            (name, Obstacle::Driver { why })
        }
        LoadError::Mtu { name, mtu, limit, .. } => (name, Obstacle::Mtu { mtu, limit }),
        LoadError::Attach { name, cause, .. }
            if !matches!(cause.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM)) =>
        {
            let why = format!("its driver does not take an XDP program: {cause}");
            (name, Obstacle::Driver { why })
        }
        other => return Err(other),
    };
    Ok(Notice::ChoseTc { interface, why })
}

/// Puts a program on all of `wanted`.
fn in_mode(
    pins: &Pins,
    program: &Program,
    wanted: &[InterfaceFacts],
    notices: &mut Vec<Notice>,
) -> Result<Vec<Attachment>, LoadError> {
    let mut links = link::all(pins)?;
    let mut attachments = Vec::with_capacity(wanted.len());
    for facts in wanted {
        let (ours, others): (Vec<Link>, Vec<Link>) =
            links.into_iter().partition(|link| link.ifindex == facts.ifindex);
        links = others;
        put(pins, program, facts, ours, notices)?;
        let (interface, ifindex) = (facts.name.clone(), facts.ifindex);
        attachments.push(Attachment { interface, ifindex, mode: program.mode });
    }
    Ok(attachments)
}

/// The mode in which a link's program runs.
fn mode_of(link: &Link, facts: &InterfaceFacts) -> AttachedMode {
    match (link.tc, facts.xdp_generic) {
        (true, _) => AttachedMode::Tc,
        (false, true) => AttachedMode::XdpGeneric,
        (false, false) => AttachedMode::Xdp,
    }
}

/// Puts the program on one interface, of whose links `ours` are: one, or two where a start was killed between two
/// modes.
fn put(
    pins: &Pins,
    program: &Program,
    facts: &InterfaceFacts,
    ours: Vec<Link>,
    notices: &mut Vec<Notice>,
) -> Result<(), LoadError> {
    let mode = program.mode;
    let (same, mut other): (Vec<Link>, Vec<Link>) =
        ours.into_iter().partition(|link| mode_of(link, facts) == mode);
    let mut there = false;
    for mut link in same {
        match link.update(pins, program.fd.as_fd()) {
            Ok(()) => there = true,
            // The device went away since its link was looked at.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
                link.unpin()?;
                notices.push(Notice::SeveredLink { interface: facts.name.clone() });
            }
            Err(cause) => {
                return Err(LoadError::Attach {
                    name: facts.name.clone(),
                    mode: mode.name(),
                    cause,
                    hint: "; hint: `xlb detach` takes the old program off (and drops every flow)",
                });
            }
        }
    }
    if !there {
        change(pins, program, facts, &mut other)?;
    }
    for mut link in other {
        link.remove()?;
        notices.push(Notice::ModeChanged { interface: facts.name.clone() });
    }
    Ok(())
}

/// Attaches to an interface whose links in other modes, if any, are `old`. One at tc and one of XDP may be there
/// together, and so no packet sees a gap; two of XDP may not.
fn change(
    pins: &Pins,
    program: &Program,
    facts: &InterfaceFacts,
    old: &mut [Link],
) -> Result<(), LoadError> {
    let Program { fd, mode, hook } = program;
    let (mode, hook) = (*mode, *hook);
    let is_tc = mode == AttachedMode::Tc;
    for link in old.iter_mut().filter(|link| !link.tc && !is_tc) {
        link.remove()?;
    }
    let interface = (facts.name.as_str(), facts.ifindex);
    let new = Link::make(pins, fd.as_fd(), interface, mode, hook)
        .map_err(|error| refusal(facts, mode, error))?;
    // Its name is the new one's now. Until they are removed they live by their descriptors.
    for link in old {
        link.unpin()?;
    }
    new.keep()
}

/// Puts the pinned program on the interfaces of `wanted` that lack it. Links of others stay as they are.
pub(super) fn attach_pinned(
    pins: &Pins,
    hook: TcHook,
    wanted: &[InterfaceFacts],
    mode: AttachedMode,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Attachment>, LoadError> {
    let (kept, _) = sort_out(pins, wanted, notices)?;
    let program = Program::pinned(pins, mode, hook)?;
    wanted
        .iter()
        .map(|facts| {
            let link = kept.iter().find(|link| link.ifindex == facts.ifindex);
            if link.is_none() {
                if !notices.iter().any(|notice| notice.is_about(&facts.name)) {
                    notices.push(Notice::Reattached { interface: facts.name.clone() });
                }
                change(pins, &program, facts, &mut [])?;
            }
            let mode = link.map_or(mode, |link| mode_of(link, facts));
            Ok(Attachment { interface: facts.name.clone(), ifindex: facts.ifindex, mode })
        })
        .collect()
}

/// What is on wanted interfaces, under the names that these have now, and the rest. Severed links go.
fn sort_out(
    pins: &Pins,
    wanted: &[InterfaceFacts],
    notices: &mut Vec<Notice>,
) -> Result<(Vec<Link>, Vec<Link>), LoadError> {
    let (mut kept, mut unwanted) = (Vec::new(), Vec::new());
    for mut link in link::all(pins)? {
        if link.ifindex == 0 {
            // K-32
            link.unpin()?;
            if wanted.iter().any(|facts| facts.name == link.interface) {
                notices.push(Notice::SeveredLink { interface: link.interface });
            }
        } else if let Some(facts) = wanted.iter().find(|facts| facts.ifindex == link.ifindex) {
            if facts.name != link.interface {
                let from = std::mem::replace(&mut link.interface, facts.name.clone());
                notices.push(Notice::RenamedLink { from, to: facts.name.clone() });
                // Out of the way first: two interfaces may have swapped their names.
                link.rename(pins.links().join(format!("moved%25{}", facts.ifindex)))?;
            }
            kept.push(link);
        } else {
            if wanted.iter().any(|facts| facts.name == link.interface) {
                // Out of the way of the interface that has this name now.
                link.rename(pins.links().join(format!("old%25{}", link.ifindex)))?;
            }
            unwanted.push(link);
        }
    }
    for link in &mut kept {
        let path = pins.link(&link.interface);
        if link.pin().is_some_and(|pin| pin != path) {
            link.rename(path)?;
        }
    }
    Ok((kept, unwanted))
}

/// What a refusal to attach means.
fn refusal(facts: &InterfaceFacts, mode: AttachedMode, cause: io::Error) -> LoadError {
    let name = facts.name.clone();
    let driver = facts.driver.clone();
    let number = cause.raw_os_error();
    // The largest frame that fits one page beside XDP's headroom is the driver's secret; this always fits.
    let limit = 1500;
    match number {
        Some(libc::EOPNOTSUPP | ENOTSUPP) if mode == AttachedMode::Xdp => {
            LoadError::NoNativeXdp { name, driver }
        }
        Some(libc::ERANGE | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)
            if facts.mtu > limit && mode != AttachedMode::Tc =>
        {
            LoadError::Mtu { name, mtu: facts.mtu, driver, limit }
        }
        _ => LoadError::Attach { name, mode: mode.name(), cause, hint: hint(number, mode) },
    }
}

/// What helps against an error number.
fn hint(number: Option<i32>, mode: AttachedMode) -> &'static str {
    match number {
        Some(libc::EOPNOTSUPP | libc::ENOENT) if mode == AttachedMode::Tc => {
            "; hint: kernels before 6.6 need CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, `modprobe sch_ingress cls_bpf` where they are modules"
        }
        Some(libc::EBUSY | libc::EEXIST) => {
            "; hint: another XDP program is there, `ip link show` tells its id"
        }
        // drivers/net/veth.c: what the peer may send must fit one page.
        Some(libc::ERANGE) => {
            "; hint: the MTU is too large; on veth the peer's counts: `ip link set dev PEER mtu 3506`"
        }
        Some(libc::ENOMEM | libc::ENOSPC) => {
            "; hint: the driver lacks queues or memory, `ethtool -L` with fewer channels may help"
        }
        _ => "; hint: the driver's reason is in `dmesg`; `--mode tc` needs no driver",
    }
}

/// Takes the programs off every interface and removes the pins of links.
pub(super) fn detach_all(pins: &Pins) -> Result<Vec<String>, LoadError> {
    let mut names = Vec::new();
    for mut link in link::all(pins)? {
        link.remove()?;
        names.push(link.interface);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
