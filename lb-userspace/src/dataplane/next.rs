//! What the programs on interfaces go on with: XDP_NEXT or TC_NEXT of each load.
//!
//! Such a map is of one load of the object and not shared with the next: a program hands what it knows of a packet to the
//! one that goes on with it, in memory whose layout may be another in another version. The kernel empties it when neither
//! a process nor a pin holds it, and programs that are live would end there: so it is pinned, under its number.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Map, ProgramArray};
use aya::programs::{Program, ProgramError};
use lb_common::abi::program::Next;

use super::attach::AttachedMode;
use super::error::LoadError;
use super::pins::{self, Pins};
use super::{shape, sys};

/// How the names of the pins begin.
const PIN: &str = "next-";

/// Gives the programs that the mode's own goes on with to the kernel, and puts them where it looks for them.
pub(super) fn fill(ebpf: &mut Ebpf, mode: AttachedMode) -> Result<(), LoadError> {
    let (map, programs) = mode.next();
    put(ebpf, map, programs)
}

/// Gives `programs` to the kernel, and puts them into `map`.
pub(super) fn put(
    ebpf: &mut Ebpf,
    map: &'static str,
    programs: &[(Next, &'static str)],
) -> Result<(), LoadError> {
    let refused =
        |name| move |cause: ProgramError| LoadError::Program { name, cause: Box::new(cause) };
    for &(next, name) in programs {
        shape::load_program(ebpf, name)?;
        let program = match ebpf.program(name) {
            Some(Program::Xdp(program)) => program.fd(),
            Some(Program::SchedClassifier(program)) => program.fd(),
            _ => return Err(LoadError::Incomplete { kind: "program", name }),
        };
        let program = program.and_then(|fd| Ok(fd.try_clone()?)).map_err(refused(name))?;
        let table = ebpf.map_mut(map).ok_or(LoadError::Incomplete { kind: "map", name: map })?;
        ProgramArray::try_from(table)
            .and_then(|mut table| table.set(next as u32, &program, 0))
            .map_err(|error| refused(name)(error.into()))?;
    }
    Ok(())
}

/// Takes them out again. Those that are not there are passed over.
pub(super) fn take(ebpf: &mut Ebpf, map: &str, programs: &[(Next, &str)]) {
    if let Some(Ok(mut table)) = ebpf.map_mut(map).map(ProgramArray::try_from) {
        for &(next, _) in programs {
            let _ = table.clear_index(&(next as u32));
        }
    }
    for &(_, name) in programs {
        shape::unload_program(ebpf, name);
    }
}

/// Pins this load's map, beside an earlier one's; the pin.
pub(super) fn pin(ebpf: &Ebpf, mode: AttachedMode, pins: &Pins) -> Result<PathBuf, LoadError> {
    let name = mode.next().0;
    let Some(Map::ProgramArray(map)) = ebpf.map(name) else {
        return Err(LoadError::Incomplete { kind: "map", name });
    };
    let fd = map.fd().as_fd();
    let id = sys::map_info(fd).map_err(LoadError::file("ask about", name))?.id;
    let path = pins.progs().join(format!("{PIN}{id}"));
    sys::pin(fd, &path).map_err(LoadError::file("pin", &path))?;
    Ok(path)
}

/// Whether a pin is of such a map.
pub(super) fn is_pin(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PIN))
}

/// Unpins what no live program goes on with: all but `ours`.
pub(super) fn forget_others(pins: &Pins, ours: Option<&Path>) -> Result<(), LoadError> {
    let folder = pins.progs();
    for path in pins::entries(&folder).map_err(LoadError::file("list", &folder))? {
        if is_pin(&path) && Some(path.as_path()) != ours {
            std::fs::remove_file(&path).map_err(LoadError::file("remove", &path))?;
        }
    }
    Ok(())
}
