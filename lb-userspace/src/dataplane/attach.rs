//! Links between the program and interfaces: made, taken over, moved, severed.
//!
//! A link is pinned under its interface's name but belongs to an interface *number*: it follows a rename and dies
//! with the device.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::{LoadError, Notice};
use super::pins::{self, Pins};
use super::preflight::{InterfaceFacts, Mode};
use super::sys::{self, XdpFlags};

/// Errno of "the operation is not supported" that is no errno for programs (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// Where the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Xdp,
    /// In the network stack.
    XdpGeneric,
}

impl AttachedMode {
    /// As `--mode` and `xlb stats` write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
        }
    }

    const fn flags(self) -> XdpFlags {
        match self {
            Self::Xdp => XdpFlags::Driver,
            Self::XdpGeneric => XdpFlags::Skb,
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

/// A pinned link.
struct Link {
    path: PathBuf,
    interface: String,
    fd: OwnedFd,
    /// 0: its device is gone.
    ifindex: u32,
    id: u32,
    program: u32,
}

/// Ids of the programs on an instance's links.
pub fn attached_programs(pin_dir: &Path) -> HashSet<u32> {
    // Nothing to read is nothing of ours; what cannot be opened will be told by whoever needs it.
    pinned(&Pins::new(pin_dir))
        .map(|links| links.into_iter().map(|link| link.program).collect())
        .unwrap_or_default()
}

/// Ids of an instance's links.
pub(super) fn attached_links(pin_dir: &Path) -> HashSet<u32> {
    pinned(&Pins::new(pin_dir))
        .map(|links| links.into_iter().map(|link| link.id).collect())
        .unwrap_or_default()
}

fn pinned(pins: &Pins) -> Result<Vec<Link>, LoadError> {
    let folder = pins.links();
    pins::entries(&folder)
        .map_err(LoadError::file("list", &folder))?
        .into_iter()
        .map(|path| {
            let fd = sys::open_pin(&path).map_err(LoadError::file("open", &path))?;
            let info = sys::link_info(fd.as_fd()).map_err(LoadError::file("query", &path))?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let interface = pins::interface_name(&file);
            Ok(Link {
                path,
                interface,
                fd,
                ifindex: info.ifindex,
                id: info.id,
                program: info.program,
            })
        })
        .collect()
}

/// Puts `program` on every interface of `wanted` and takes it off all others. Where it runs already it is replaced
/// on the live link: no packet sees a gap.
pub(super) fn attach_all(
    pins: &Pins,
    program: BorrowedFd<'_>,
    wanted: &[InterfaceFacts],
    mode: Mode,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Attachment>, LoadError> {
    let (mut kept, unwanted) = sort_out(pins, wanted, notices)?;
    let mut attachments = Vec::with_capacity(wanted.len());
    for facts in wanted {
        let link = kept
            .iter()
            .position(|link| link.ifindex == facts.ifindex)
            .map(|index| kept.swap_remove(index));
        let mode = match link {
            Some(link) => take_over(pins, program, &link, facts, mode, notices)?,
            None => attach(pins, program, facts, mode, notices)?,
        };
        attachments.push(Attachment {
            interface: facts.name.clone(),
            ifindex: facts.ifindex,
            mode,
        });
    }
    for link in unwanted {
        remove(&link)?;
        notices.push(Notice::Detached { interface: link.interface });
    }
    Ok(attachments)
}

/// Puts the pinned program on the interfaces of `wanted` that lack it. Links of others stay as they are.
pub(super) fn attach_pinned(
    pins: &Pins,
    wanted: &[InterfaceFacts],
    mode: Mode,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Attachment>, LoadError> {
    let (kept, _) = sort_out(pins, wanted, notices)?;
    let path = pins.progs().join("xdp");
    let program = sys::open_pin(&path).map_err(LoadError::file("open", &path))?;
    wanted
        .iter()
        .map(|facts| {
            let mode = if kept.iter().any(|link| link.ifindex == facts.ifindex) {
                mode_now(facts)
            } else {
                if !notices.iter().any(|notice| notice.is_about(&facts.name)) {
                    notices.push(Notice::Reattached { interface: facts.name.clone() });
                }
                attach(pins, program.as_fd(), facts, mode, notices)?
            };
            Ok(Attachment { interface: facts.name.clone(), ifindex: facts.ifindex, mode })
        })
        .collect()
}

/// The mode in which the program runs on an interface that runs it.
fn mode_now(facts: &InterfaceFacts) -> AttachedMode {
    if facts.xdp_generic { AttachedMode::XdpGeneric } else { AttachedMode::Xdp }
}

/// Pinned links of wanted interfaces, under the names that these have now, and the others. Severed ones go.
fn sort_out(
    pins: &Pins,
    wanted: &[InterfaceFacts],
    notices: &mut Vec<Notice>,
) -> Result<(Vec<Link>, Vec<Link>), LoadError> {
    let (mut kept, mut unwanted) = (Vec::new(), Vec::new());
    for mut link in pinned(pins)? {
        if link.ifindex == 0 {
            // K-32
            unpin(&link.path)?;
            if wanted.iter().any(|facts| facts.name == link.interface) {
                notices.push(Notice::SeveredLink { interface: link.interface });
            }
        } else if let Some(facts) = wanted.iter().find(|facts| facts.ifindex == link.ifindex) {
            if facts.name != link.interface {
                let from = std::mem::replace(&mut link.interface, facts.name.clone());
                notices.push(Notice::RenamedLink { from, to: facts.name.clone() });
                // Out of the way first: two interfaces may have swapped their names.
                rename(&mut link, pins.links().join(format!("moved%25{}", facts.ifindex)))?;
            }
            kept.push(link);
        } else {
            if wanted.iter().any(|facts| facts.name == link.interface) {
                // Out of the way of the interface that has this name now.
                let aside = pins.links().join(format!("old%25{}", link.ifindex));
                rename(&mut link, aside)?;
            }
            unwanted.push(link);
        }
    }
    for link in &mut kept {
        let path = pins.link(&link.interface);
        if path != link.path {
            rename(link, path)?;
        }
    }
    Ok((kept, unwanted))
}

fn rename(link: &mut Link, to: PathBuf) -> Result<(), LoadError> {
    std::fs::rename(&link.path, &to).map_err(LoadError::file("rename", &link.path))?;
    link.path = to;
    Ok(())
}

/// Replaces the program on a live link.
fn take_over(
    pins: &Pins,
    program: BorrowedFd<'_>,
    link: &Link,
    facts: &InterfaceFacts,
    mode: Mode,
    notices: &mut Vec<Notice>,
) -> Result<AttachedMode, LoadError> {
    let now = mode_now(facts);
    let asked = match mode {
        Mode::Auto => now,
        Mode::Xdp => AttachedMode::Xdp,
        Mode::XdpGeneric => AttachedMode::XdpGeneric,
    };
    if now != asked {
        remove(link)?;
        notices.push(Notice::ModeChanged { interface: facts.name.clone() });
        return attach(pins, program, facts, mode, notices);
    }
    match sys::update_link(link.fd.as_fd(), program) {
        Ok(()) => Ok(now),
        // The device went away since its link was looked at.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
            unpin(&link.path)?;
            notices.push(Notice::SeveredLink { interface: facts.name.clone() });
            attach(pins, program, facts, mode, notices)
        }
        Err(cause) => Err(LoadError::Attach {
            name: facts.name.clone(),
            mode: now.name(),
            cause,
            hint: "; hint: `xlb detach` takes the old program off (and drops every flow)",
        }),
    }
}

/// Attaches to an interface that has no link of ours.
fn attach(
    pins: &Pins,
    program: BorrowedFd<'_>,
    facts: &InterfaceFacts,
    mode: Mode,
    notices: &mut Vec<Notice>,
) -> Result<AttachedMode, LoadError> {
    let first = if mode == Mode::XdpGeneric { AttachedMode::XdpGeneric } else { AttachedMode::Xdp };
    match attach_in(pins, program, facts, first) {
        Err(LoadError::NoNativeXdp { name, driver }) if mode == Mode::Auto => {
            notices.push(Notice::FellBackToGeneric { interface: name, driver });
            attach_in(pins, program, facts, AttachedMode::XdpGeneric)
        }
        done => done,
    }
}

fn attach_in(
    pins: &Pins,
    program: BorrowedFd<'_>,
    facts: &InterfaceFacts,
    mode: AttachedMode,
) -> Result<AttachedMode, LoadError> {
    let link = sys::create_link(program, facts.ifindex, mode.flags())
        .map_err(|error| refusal(facts, mode, error))?;
    let path = pins.link(&facts.name);
    sys::pin(link.as_fd(), &path).map_err(LoadError::file("pin", &path))?;
    Ok(mode)
}

/// What a driver's refusal means.
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
            if facts.mtu > limit =>
        {
            LoadError::Mtu { name, mtu: facts.mtu, driver, limit }
        }
        _ => LoadError::Attach {
            name,
            mode: mode.name(),
            cause,
            hint: match number {
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
                _ => {
                    "; hint: the driver's reason is in `dmesg`; `--mode xdp-generic` needs no driver"
                }
            },
        },
    }
}

/// Detaches at once and removes the pin.
fn remove(link: &Link) -> Result<(), LoadError> {
    match sys::detach_link(link.fd.as_fd()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
        // Kernels before 5.8 do it when the last descriptor closes.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => return Err(LoadError::file("detach", &link.path)(error)),
    }
    unpin(&link.path)
}

fn unpin(path: &Path) -> Result<(), LoadError> {
    std::fs::remove_file(path).map_err(LoadError::file("remove", path))
}

/// Takes the programs off every interface and removes the pins of links.
pub(super) fn detach_all(pins: &Pins) -> Result<Vec<String>, LoadError> {
    pinned(pins)?.into_iter().map(|link| remove(&link).map(|()| link.interface)).collect()
}
