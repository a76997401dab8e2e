//! Whether pinned maps are of the layout that this build knows.
//!
//! The object itself says what its maps look like: it is loaded once with the big tables at their least size,
//! and the kernel's word about the maps it pins is what the instance's pins are held against.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{Config, LAYOUT, map, program};

use super::clock;
use super::error::{LoadError, Notice};
use super::pins::{self, Pins};
use super::sys::{self, MapInfo};

/// Maps whose size is the operator's choice; a pinned one keeps its own.
const SIZED: [&str; 5] = [map::FLOWS4, map::FLOWS6, map::HALF_OPEN4, map::HALF_OPEN6, map::STICKY];

/// Least size of those: an LRU needs some room for its lists.
const LEAST: u32 = 256;

/// Every map of this layout that is pinned by its name.
const NEEDED: [&str; 26] = [
    map::FLOWS4,
    map::HALF_OPEN4,
    map::FLOWS6,
    map::HALF_OPEN6,
    map::SERVICES,
    map::SLOTS,
    map::REALS,
    map::LOADS,
    map::HALF_LOADS,
    map::CURSORS,
    map::NEXT_HOPS,
    map::LAST_HOPS,
    map::STICKY,
    map::LOCALS,
    map::PORTS,
    map::FRAGMENTS4,
    map::FRAGMENTS6,
    map::CONFIG,
    map::GAUGES,
    map::BUDGETS,
    map::REASONS,
    map::COUNT_REAL,
    map::COUNT_RETIRED,
    map::IFACES,
    map::VLANS,
    map::DEVICES,
];

/// What the object's maps look like, by name, and the rate of the kernel's clock.
pub(super) struct Shapes {
    pub(super) maps: BTreeMap<String, MapInfo>,
    pub(super) hz: u32,
}

/// Loads `object` beside the instance's pins and looks.
pub(super) fn of_object(object: &[u8], pins: &Pins) -> Result<Shapes, LoadError> {
    let folder = AsideFolder::make(pins, "probe")?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&folder.0);
    for name in SIZED {
        loader.map_max_entries(name, LEAST);
    }
    let mut ebpf = loader.load(object).map_err(object_error)?;
    let mut maps = BTreeMap::new();
    for path in pins::entries(&folder.0).map_err(LoadError::file("list", &folder.0))? {
        let info = sys::open_pin(&path)
            .and_then(|fd| sys::map_info(fd.as_fd()))
            .map_err(LoadError::file("open", &path))?;
        maps.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), info);
    }
    if let Some(name) = NEEDED.into_iter().find(|&name| !maps.contains_key(name)) {
        return Err(LoadError::Incomplete { kind: "map", name });
    }
    let clock = load_program(&mut ebpf, program::CLOCK)?;
    let hz = clock::measure_hz(clock.as_fd()).map_err(|cause| LoadError::Clock { cause })?;
    Ok(Shapes { maps, hz })
}

/// Where maps beside the instance's are pinned while they are looked at: the object itself says that they want to be.
pub(super) struct AsideFolder(PathBuf);

impl AsideFolder {
    /// Makes the folder `name`, which a process has to itself.
    pub(super) fn make(pins: &Pins, name: &str) -> Result<Self, LoadError> {
        let folder = Self(pins.root().join(name));
        // Left by a run that was killed; the lock, or the number in the name, says that it is nobody's now.
        folder.clear();
        std::fs::create_dir(&folder.0).map_err(LoadError::file("create", &folder.0))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn clear(&self) {
        for path in pins::entries(&self.0).unwrap_or_default() {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Drop for AsideFolder {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The program `name`, taken by the kernel.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, LoadError> {
    let refused = |cause| LoadError::Program { name, cause: Box::new(cause) };
    let program = ebpf.program_mut(name).ok_or(LoadError::Incomplete { kind: "program", name })?;
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => return Err(LoadError::Incomplete { kind: "program of this type", name }),
    }
    .map_err(refused)?;
    let fd = program.fd().map_err(refused)?;
    fd.as_fd().try_clone_to_owned().map_err(|error| refused(error.into()))
}

/// Gives up the process's hold of the program `name`, so that it can be loaded again.
pub(super) fn unload_program(ebpf: &mut Ebpf, name: &str) {
    // One that is not loaded stays so.
    let _ = match ebpf.program_mut(name) {
        Some(Program::Xdp(program)) => program.unload(),
        Some(Program::SchedClassifier(program)) => program.unload(),
        _ => Ok(()),
    };
}

/// Says what is behind the commonest refusals.
pub(super) fn object_error(cause: aya::EbpfError) -> LoadError {
    let hint = match errno(&cause) {
        Some(libc::ENOMEM | libc::E2BIG) => {
            "; hint: the tables do not fit in memory, ask for fewer flows"
        }
        Some(libc::EPERM) => "; hint: run as root, or under a memlock limit that allows it",
        Some(libc::ENOSPC) => {
            "; hint: the BPF file system is full, look for old pins with `bpftool map show pinned`"
        }
        _ => "",
    };
    LoadError::Object { cause: Box::new(cause), hint }
}

/// The system's error number under an error, wherever it lies in the chain.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}

/// Pins that are there already and can be taken over.
pub(super) struct Found {
    /// How many maps.
    pub(super) maps: usize,
    /// CONFIG, if one of this layout was written.
    pub(super) config: Option<Config>,
}

/// Holds the pins that are there against `shapes`. S-10, C-67
pub(super) fn check_pins(
    pins: &Pins,
    shapes: &Shapes,
    asked: &[(&'static str, u32)],
    notices: &mut Vec<Notice>,
) -> Result<Found, LoadError> {
    let other = |detail: String| LoadError::OtherLayout { dir: pins.root().to_owned(), detail };
    let config = layout(&pins.maps())?;
    if let Some((number, _)) = config.filter(|(number, _)| ![0, LAYOUT].contains(number)) {
        return Err(other(format!("layout {number} instead of {LAYOUT}")));
    }
    let mut maps = 0;
    for (name, shape) in &shapes.maps {
        let Some(fd) = open_if_there(&pins.maps().join(name))? else { continue };
        let found = sys::map_info(fd.as_fd()).map_err(|error| other(format!("{name}: {error}")))?;
        maps += 1;
        let sized = SIZED.contains(&name.as_str());
        let same = MapInfo {
            id: shape.id,
            max_entries: if sized { shape.max_entries } else { found.max_entries },
            ..found
        };
        if same != *shape {
            return Err(other(difference(name, found, *shape)));
        }
        let kept = found.max_entries;
        match asked.iter().find(|(asked, _)| asked == name) {
            Some(&(_, asked)) if asked != kept => {
                notices.push(Notice::KeptCapacity { map: name.clone(), asked, kept });
            }
            _ => {}
        }
    }
    Ok(Found {
        maps,
        config: config.and_then(|(number, config)| config.filter(|_| number == LAYOUT)),
    })
}

/// What is not as it should be, in the words of `bpftool map show`.
fn difference(name: &str, found: MapInfo, wanted: MapInfo) -> String {
    let words = |info: MapInfo| {
        format!(
            "type {} key {}B value {}B max_entries {} flags {:#x}",
            info.kind, info.key_size, info.value_size, info.max_entries, info.flags
        )
    };
    format!("{name} is {}, not {}", words(found), words(wanted))
}

/// The layout's number in CONFIG, which comes first in every version, and the whole where its size is known.
fn layout(maps: &Path) -> Result<Option<(u32, Option<Config>)>, LoadError> {
    let path = maps.join(map::CONFIG);
    let Some(fd) = open_if_there(&path)? else { return Ok(None) };
    let read = || -> io::Result<(u32, Option<Config>)> {
        let info = sys::map_info(fd.as_fd())?;
        // ARRAY; anything else is judged by its shape.
        if info.kind != 2 || info.key_size != 4 || info.value_size < 4 {
            return Ok((0, None));
        }
        let mut value = vec![0; info.value_size as usize];
        // SAFETY: the key is 4 bytes long and the value as long as the map says.
        unsafe { sys::lookup(fd.as_fd(), &[0; 4], &mut value) }?;
        let number = bytemuck::pod_read_unaligned(&value[..4]);
        let config =
            (value.len() == size_of::<Config>()).then(|| bytemuck::pod_read_unaligned(&value));
        Ok((number, config))
    };
    read().map(Some).map_err(LoadError::file("read", path))
}

/// Opens a pin; `None` if there is none.
pub(super) fn open_if_there(path: &Path) -> Result<Option<OwnedFd>, LoadError> {
    match sys::open_pin(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoadError::file("open", path)(error)),
    }
}
