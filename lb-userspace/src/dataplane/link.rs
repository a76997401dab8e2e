//! What holds a program on an interface: a pinned link, or on kernels without tcx a filter of clsact.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::net::if_::if_nameindex;

use super::attach::AttachedMode;
use super::clsact::{self, Filter};
use super::error::LoadError;
use super::pins::{self, Pins};
use super::sys::{self, Hook};

/// A program on an interface.
pub(super) struct Link {
    pub(super) interface: String,
    /// 0: its device is gone.
    pub(super) ifindex: u32,
    pub(super) program: u32,
    /// Whether it is at tc; else XDP, in the driver or not.
    pub(super) tc: bool,
    hold: Hold,
}

enum Hold {
    /// A link, and its pin while it has one.
    Pinned {
        path: Option<PathBuf>,
        fd: OwnedFd,
        id: u32,
    },
    Filter(Filter),
}

/// How programs get to tc's ingress on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcHook {
    /// By links (6.6 and later).
    Tcx,
    /// By filters of a clsact qdisc.
    Clsact,
}

impl TcHook {
    /// What the running kernel has.
    pub fn of_kernel() -> Self {
        if sys::has_tcx() { Self::Tcx } else { Self::Clsact }
    }
}

impl Link {
    /// The id of a link; filters have none.
    pub(super) fn id(&self) -> Option<u32> {
        match &self.hold {
            Hold::Pinned { id, .. } => Some(*id),
            Hold::Filter(_) => None,
        }
    }

    /// Puts `program` on an interface that carries none of ours in this mode.
    pub(super) fn make(
        pins: &Pins,
        program: BorrowedFd<'_>,
        (interface, ifindex): (&str, u32),
        mode: AttachedMode,
        tc: TcHook,
    ) -> io::Result<Made> {
        let hook = match mode {
            AttachedMode::Xdp => Hook::XdpDriver,
            AttachedMode::XdpGeneric => Hook::XdpGeneric,
            AttachedMode::Tc if tc == TcHook::Tcx => Hook::Tcx,
            AttachedMode::Tc => {
                clsact::add(program, ifindex, &filter_name(pins))?;
                return Ok(Made::Filter);
            }
        };
        let fd = sys::create_link(program, ifindex, hook)?;
        Ok(Made::Link { fd, path: pins.link(interface) })
    }

    /// Where it is pinned.
    pub(super) fn pin(&self) -> Option<&Path> {
        match &self.hold {
            Hold::Pinned { path, .. } => path.as_deref(),
            Hold::Filter(_) => None,
        }
    }

    /// Moves the pin.
    pub(super) fn rename(&mut self, to: PathBuf) -> Result<(), LoadError> {
        if let Hold::Pinned { path: Some(path), .. } = &mut self.hold {
            std::fs::rename(&*path, &to).map_err(LoadError::file("rename", &*path))?;
            *path = to;
        }
        Ok(())
    }

    /// Replaces the program between two packets. `ENOLINK`: the interface is gone.
    pub(super) fn update(&self, pins: &Pins, program: BorrowedFd<'_>) -> io::Result<()> {
        match &self.hold {
            Hold::Pinned { fd, .. } => sys::update_link(fd.as_fd(), program),
            Hold::Filter(filter) => clsact::replace(filter, program, &filter_name(pins)),
        }
    }

    /// Detaches at once and removes the pin.
    pub(super) fn remove(&mut self) -> Result<(), LoadError> {
        match &self.hold {
            Hold::Pinned { fd, .. } => {
                match sys::detach_link(fd.as_fd()) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                    // Kernels before 5.8 do it when the last descriptor closes.
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                    Err(cause) => {
                        let path = self.pin().unwrap_or(Path::new(&self.interface));
                        return Err(LoadError::file("detach", path)(cause));
                    }
                }
                self.unpin()
            }
            Hold::Filter(filter) => clsact::remove(filter).map_err(|cause| LoadError::Filter {
                action: "remove",
                name: self.interface.clone(),
                cause,
            }),
        }
    }

    /// Removes the pin; the program stays as long as this lives.
    pub(super) fn unpin(&mut self) -> Result<(), LoadError> {
        match &mut self.hold {
            Hold::Pinned { path, .. } => path.take().map_or(Ok(()), |path| {
                std::fs::remove_file(&path).map_err(LoadError::file("remove", path))
            }),
            Hold::Filter(_) => Ok(()),
        }
    }
}

/// A program that was put on an interface just now, to be pinned where it is a link.
pub(super) enum Made {
    Link { fd: OwnedFd, path: PathBuf },
    Filter,
}

impl Made {
    /// Lets it outlive this process.
    pub(super) fn keep(self) -> Result<(), LoadError> {
        match self {
            Self::Link { fd, path } => {
                sys::pin(fd.as_fd(), &path).map_err(LoadError::file("pin", &path))
            }
            Self::Filter => Ok(()),
        }
    }
}

/// The name of an instance's filters, which says whose they are.
fn filter_name(pins: &Pins) -> String {
    format!("xlb {}", pins.root().display())
}

/// Every program of an instance on an interface of this network namespace, and links whose interface is gone.
pub(super) fn all(pins: &Pins) -> Result<Vec<Link>, LoadError> {
    let mut links = pinned(pins)?;
    links.extend(filters(pins)?);
    Ok(links)
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
            Ok(Link {
                interface: pins::interface_name(&file),
                ifindex: info.ifindex,
                program: info.program,
                tc: info.is_tcx(),
                hold: Hold::Pinned { path: Some(path), fd, id: info.id },
            })
        })
        .collect()
}

fn filters(pins: &Pins) -> Result<Vec<Link>, LoadError> {
    let failed = |name: &str, cause| LoadError::Filter { action: "list", name: name.into(), cause };
    let interfaces = if_nameindex().map_err(|errno| failed("lo", errno.into()))?;
    let mut links = Vec::new();
    for interface in &interfaces {
        let name = interface.name().to_string_lossy().into_owned();
        let found = clsact::find(interface.index(), &filter_name(pins));
        if let Some(filter) = found.map_err(|cause| failed(&name, cause))? {
            links.push(Link {
                interface: name,
                ifindex: filter.ifindex,
                program: filter.program,
                tc: true,
                hold: Hold::Filter(filter),
            });
        }
    }
    Ok(links)
}
