//! Start: probe, adopt or create the maps, load the programs, attach.
//!
//! Whatever this run has pinned is unpinned again if it does not come through; what an earlier one left is
//! only changed by the last step, link by link.

use std::collections::HashSet;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{Config, LAYOUT, map, program};

use super::attach::{self, AttachedMode, Held, attached_programs};
use super::bpf::BpfDataplane;
use super::capture::Capturing;
use super::clock::{self, Clock};
use super::error::{LoadError, Notice};
use super::held::Takers;
use super::link::TcHook;
use super::lock::InstanceLock;
use super::maps::Maps;
use super::next;
use super::pins::Pins;
use super::preflight::{self, InterfaceFacts, Mode};
use super::reaper::Expire;
use super::shape;
use super::sys;

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// On a BPF file system.
    pub pin_dir: PathBuf,
    /// For the lock.
    pub run_dir: PathBuf,
    /// `--iface`.
    pub interfaces: Vec<String>,
    /// Every interface of this network namespace.
    pub facts: Vec<InterfaceFacts>,
    pub mode: Mode,
    /// How mode tc is done here.
    pub hook: TcHook,
    /// Established flows that the table shall hold; two entries each.
    pub flows: u32,
    /// Half-open flows; two entries each.
    pub half_open: u32,
    /// Persistence templates.
    pub templates: u32,
}

impl Options {
    /// Entries of the maps whose size is the operator's choice.
    fn capacities(&self) -> [(&'static str, u32); 5] {
        let flows = self.flows.saturating_mul(2).max(2);
        let half_open = self.half_open.saturating_mul(2).max(256);
        [
            (map::FLOWS4, flows),
            (map::FLOWS6, flows),
            (map::HALF_OPEN4, half_open),
            (map::HALF_OPEN6, half_open),
            (map::STICKY, self.templates.max(1)),
        ]
    }
}

/// Names of the pinned programs beside the data path's own: in the object, and as a pin.
const HELPERS: [(&str, &str); 3] =
    [(program::EXPIRE, "expire"), (program::EXPIRE6, "expire6"), (program::CLOCK, "clock")];

/// Starts the data path of an instance or takes over what an earlier daemon left. `object` is the kernel object,
/// aligned to 4 bytes (`aya::include_bytes_aligned`).
pub fn open(object: &[u8], options: &Options) -> Result<BpfDataplane, LoadError> {
    preflight::host(&options.pin_dir)?;
    let lock = InstanceLock::acquire(&options.run_dir)?;
    let ours = attached_programs(&options.pin_dir);
    let interfaces =
        preflight::interfaces(&options.interfaces, &options.facts, options.mode, |id| {
            ours.contains(&id)
        })?;
    let created = Created::begin(&options.pin_dir)?;
    let dataplane = start(object, options, &interfaces, lock)?;
    created.keep();
    Ok(dataplane.replacing(ours))
}

fn start(
    object: &[u8],
    options: &Options,
    interfaces: &[InterfaceFacts],
    lock: InstanceLock,
) -> Result<BpfDataplane, LoadError> {
    let pins = Pins::new(&options.pin_dir);
    let mut notices = Vec::new();
    let shapes = shape::of_object(object, &pins)?;
    let capacities = options.capacities();
    let found = shape::check_pins(&pins, &shapes, &capacities, &mut notices)?;
    if found.maps > 0 {
        notices.push(Notice::Adopted { maps: found.maps });
    }
    let shift = shift(&pins, shapes.hz, found.config)?;
    let mut ebpf = load(object, &pins, &capacities, shift)?;
    for (name, _) in HELPERS {
        shape::load_program(&mut ebpf, name)?;
    }

    let maps = Maps::open(&options.pin_dir)?;
    if found.config.is_none() {
        let ticks_per_1024_s = clock::ticks_per_1024_s(shapes.hz, shift);
        maps.config.put(&0, &Config { layout: LAYOUT, ticks_per_1024_s, ..Config::default() })?;
    }
    maps.finish_retirements()?;
    // Before a program can hand anything over.
    let takers = Takers::open(&mut ebpf);
    let mode = (options.mode, options.hook);
    let mut continued = None;
    let (program, attached) =
        attach::attach_all(&pins, interfaces, mode, &mut notices, &mut |mode| {
            next::fill(&mut ebpf, mode)?;
            let program = shape::load_program(&mut ebpf, mode.program())?;
            // Not before: what an earlier daemon left goes on in its own mode as long as the kernel looks at these.
            for facts in interfaces {
                maps.put_interface(facts)?;
            }
            continued = Some(next::pin(&ebpf, mode, &pins)?);
            Ok(program)
        })?;
    let holding = takers.and_then(|takers| takers.for_frames_of(&program, maps.devices.clone()));
    if let Err(why) = &holding {
        notices.push(Notice::NothingHeld { why: why.to_string() });
    }
    // In mode tc a VLAN's frames are its own interface's, which may be one of these.
    let beside = if program.mode == AttachedMode::Tc { &[][..] } else { &options.facts };
    maps.put_vlans(interfaces, beside)?;
    pin_programs(&mut ebpf, &pins, program.mode)?;
    next::forget_others(&pins, continued.as_deref())?;

    let clock = sys::open_pin(&pins.progs().join("clock"))
        .map_err(LoadError::file("open", pins.progs().join("clock")))?;
    let open = |name: &str| {
        let path = pins.progs().join(name);
        sys::open_pin(&path).map(Arc::new).map_err(LoadError::file("open", &path))
    };
    let expire = Expire { ipv4: open("expire")?, ipv6: open("expire6")? };
    let clock = Clock::new(clock, shapes.hz, shift);
    let tables = (maps, clock, expire);
    let dataplane = BpfDataplane::new(pins, tables, (options.hook, attached), notices, lock);
    Ok(dataplane.holding(holding.ok()).capturing(Capturing::of(ebpf, program.mode)))
}

/// How far the programs shift jiffies. Stamps in adopted maps are in the ticks of whoever wrote them.
fn shift(pins: &Pins, hz: u32, adopted: Option<Config>) -> Result<u32, LoadError> {
    match adopted.map(|config| config.ticks_per_1024_s) {
        None | Some(0) => Ok(clock::shift_for(hz)),
        Some(ticks) => (0..32)
            .find(|&shift| clock::ticks_per_1024_s(hz, shift) == ticks)
            .ok_or_else(|| LoadError::OtherLayout {
                dir: pins.root().to_owned(),
                detail: format!(
                    "its clock has {ticks} ticks in 1,024 s, which no shift of {hz} Hz gives"
                ),
            }),
    }
}

/// Creates or adopts the maps under their pins and relocates the programs.
fn load(
    object: &[u8],
    pins: &Pins,
    capacities: &[(&'static str, u32)],
    shift: u32,
) -> Result<Ebpf, LoadError> {
    let folder = pins.maps();
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&folder);
    for &(name, entries) in capacities {
        loader.map_max_entries(name, entries);
    }
    loader.override_global(program::TICK_SHIFT, &shift, true);
    loader.load(object).map_err(shape::object_error)
}

/// Pins the programs, over those of an earlier run. Those of another mode go.
fn pin_programs(ebpf: &mut Ebpf, pins: &Pins, mode: AttachedMode) -> Result<(), LoadError> {
    for (name, pin) in [(mode.program(), mode.pin())].into_iter().chain(HELPERS) {
        let path = pins.progs().join(pin);
        let aside = pins.progs().join(format!("{pin}%25new"));
        // Left by a run that was killed between these two steps.
        if aside.exists() {
            std::fs::remove_file(&aside).map_err(LoadError::file("remove", &aside))?;
        }
        let program =
            ebpf.program_mut(name).ok_or(LoadError::Incomplete { kind: "program", name })?;
        program.pin(&aside).map_err(|error| {
            let number = shape::errno(&error);
            let error = number.map_or_else(
                || std::io::Error::other(error.to_string()),
                std::io::Error::from_raw_os_error,
            );
            LoadError::file("pin", &aside)(error)
        })?;
        std::fs::rename(&aside, &path).map_err(LoadError::file("rename", &aside))?;
    }
    for other in [AttachedMode::Xdp, AttachedMode::Tc].map(AttachedMode::pin) {
        let path = pins.progs().join(other);
        if other != mode.pin() && path.exists() {
            std::fs::remove_file(&path).map_err(LoadError::file("remove", &path))?;
        }
    }
    Ok(())
}

/// Remembers what was pinned before this run and takes the rest away unless told to keep it. K-27
struct Created {
    pins: Pins,
    before: HashSet<PathBuf>,
    held: Held,
    folders: Vec<PathBuf>,
    kept: bool,
}

impl Created {
    fn begin(pin_dir: &Path) -> Result<Self, LoadError> {
        let pins = Pins::new(pin_dir);
        let before = pins.all().map_err(LoadError::file("list", pin_dir))?.into_iter().collect();
        let held = attach::held(&pins);
        let mut created = Self { pins, before, held, folders: Vec::new(), kept: false };
        let missing = pin_dir
            .ancestors()
            .take_while(|folder| !folder.exists())
            .map(Path::to_owned)
            .collect::<Vec<_>>();
        let pins = created.pins.clone();
        for folder in missing.into_iter().rev().chain([pins.maps(), pins.progs(), pins.links()]) {
            if !folder.exists() {
                // S-09: nobody but the owner gets at the tables.
                std::fs::DirBuilder::new()
                    .mode(0o700)
                    .create(&folder)
                    .map_err(LoadError::file("create", &folder))?;
                created.folders.push(folder);
            }
        }
        Ok(created)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Already failing; what cannot be removed is told by the next start.
        self.held.restore(&self.pins);
        // Links that were there before may have the new program by now, which goes on with what is pinned.
        let live = !self.held.is_empty();
        for path in self.pins.all().unwrap_or_default() {
            let kept = path.starts_with(self.pins.links())
                || self.before.contains(&path)
                || live && next::is_pin(&path);
            if !kept {
                let _ = std::fs::remove_file(&path);
            }
        }
        for folder in self.folders.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
