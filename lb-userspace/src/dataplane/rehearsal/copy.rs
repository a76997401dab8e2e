//! The program once more, over maps of its own that nobody else sees.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::MapData;
use aya::maps::perf::PerfEventArrayBuffer;
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{Notice, map, program};
use lb_common::engine::Action;

use super::watch::Original;
use crate::dataplane::attach::AttachedMode;
use crate::dataplane::error::LoadError;
use crate::dataplane::pins::{self, Pins};
use crate::dataplane::shape::{self, AsideFolder};
use crate::dataplane::table::{PerCpu, TableError};
use crate::dataplane::{held, next, sys, test_run};

/// Entries of the maps whose elements are found by key: room for the few that one packet looks at. The LRU wants some for
/// each CPU. Those that are indexed keep their size, but for the counters, which decide nothing.
const SIZES: [(&str, u32); 11] = [
    (map::FLOWS4, 256),
    (map::FLOWS6, 256),
    (map::HALF_OPEN4, 16_384),
    (map::HALF_OPEN6, 16_384),
    (map::SERVICES, 16),
    (map::STICKY, 16),
    (map::FRAGMENTS4, 16_384),
    (map::FRAGMENTS6, 16_384),
    (map::LAST_HOPS, 16),
    (map::COUNT_REAL, 1),
    (map::COUNT_RETIRED, 1),
];

pub(super) struct Copy {
    /// Owns the maps and the program.
    _ebpf: Ebpf,
    program: OwnedFd,
    /// The one that the instance runs, where that is another.
    twin: Option<OwnedFd>,
    maps: HashMap<String, OwnedFd>,
    reasons: PerCpu<u64>,
    /// Without somebody at its other end nothing can be handed over.
    _held: Vec<PerfEventArrayBuffer<MapData>>,
}

/// What the kernel made of a frame.
pub(super) struct Run {
    pub(super) action: Action,
    pub(super) slot: u32,
    pub(super) frame: Vec<u8>,
}

impl Copy {
    pub(super) fn make(
        object: &[u8],
        pins: &Pins,
        (shift, mode): (u32, AttachedMode),
        takes_held: bool,
    ) -> Result<Self, LoadError> {
        let folder = AsideFolder::make(pins, &format!("why-{}", std::process::id()))?;
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(folder.path());
        for (name, entries) in SIZES {
            loader.map_max_entries(name, entries);
        }
        loader.override_global(program::TICK_SHIFT, &shift, true);
        let mut ebpf = loader.load(object).map_err(shape::object_error)?;
        // XDP's, whatever the mode: what it is asked is decided by the engine that all programs have.
        next::fill(&mut ebpf, AttachedMode::Xdp)?;
        let program = shape::load_program(&mut ebpf, program::XDP)?;
        let twin = match mode.program() {
            program::XDP => None,
            other => Some(shape::load_program(&mut ebpf, other)?),
        };
        let mut maps = HashMap::new();
        for path in pins::entries(folder.path()).map_err(LoadError::file("list", folder.path()))? {
            let fd = sys::open_pin(&path).map_err(LoadError::file("open", &path))?;
            maps.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), fd);
        }
        let reasons = PerCpu::open(folder.path(), map::REASONS)?;
        // Without buffers the copy would say "no neighbour" where the instance holds; the difference would be told.
        let held =
            if takes_held { held::open_arrays(&mut ebpf).unwrap_or_default() } else { Vec::new() };
        Ok(Self { _ebpf: ebpf, program, twin, maps, reasons, _held: held })
    }

    /// Writes the elements that the packet will look at.
    pub(super) fn fill(&self, originals: &[Original]) -> Result<(), TableError> {
        for (name, key, value) in originals {
            let failed = |cause| TableError { map: name, action: "fill the copy of", cause };
            let absent = || failed(io::ErrorKind::NotFound.into());
            let fd = self.maps.get(*name).ok_or_else(absent)?;
            let info = sys::map_info(fd.as_fd()).map_err(failed)?;
            if (info.key_size as usize, info.value_size as usize) != (key.len(), value.len()) {
                return Err(failed(io::ErrorKind::InvalidData.into()));
            }
            // SAFETY: the lengths were just compared; no map that is written here is one for each CPU.
            unsafe { sys::update(fd.as_fd(), key, value) }.map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn run(&self, frame: &[u8], ifindex: u32) -> Result<Run, LoadError> {
        let failed = |cause| TableError { map: program::XDP, action: "run", cause };
        let run = test_run::run_frame(self.program.as_fd(), &[], frame, ifindex).map_err(failed)?;
        let action = match held::Fate::of_xdp(run.returned) {
            held::Fate::Passed => Action::Pass,
            held::Fate::Back => Action::Bounce,
            held::Fate::Leaves => Action::Redirect,
            held::Fate::Ended => Action::Drop,
        };
        Ok(Run { action, slot: self.reason()?, frame: run.frame })
    }

    /// The reason that was counted: one of a pass or a drop, or that of a packet which waits.
    fn reason(&self) -> Result<u32, TableError> {
        // The other notices are beside a packet's fate.
        let first_notice = Notice::TemplateTableFull.slot();
        for slot in (1..first_notice).chain([Notice::Held.slot()]) {
            if self.reasons.get(slot)?.iter().any(|count| *count > 0) {
                return Ok(slot);
            }
        }
        Ok(0)
    }

    pub(super) fn tag(&self) -> Result<[u8; 8], TableError> {
        let program = self.twin.as_ref().unwrap_or(&self.program);
        sys::program_info(program.as_fd()).map(|info| info.tag).map_err(|cause| TableError {
            map: program::XDP,
            action: "ask about",
            cause,
        })
    }
}
