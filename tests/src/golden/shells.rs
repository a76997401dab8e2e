//! The data paths that goldens are held against: one [`Shell`] each.

use anyhow::Result;
use lb_common::abi::{Budget, Gauge, map, program};
use lb_common::engine::Action;
use lb_common::engine::tables::Table;
use lb_common::host::{Frame, HostTables};

use super::state::{Raw, State};
use super::text::Fate;
use crate::kernel::{Kernel, tc, xdp};
use crate::tags::is_tagged;
use crate::world::{IFINDEX, World};

/// A data path with a world in its tables.
pub trait Shell {
    /// What people call it.
    fn name(&self) -> &'static str;
    /// How it says what the engine says in these words.
    fn says(&self, verdict: &str) -> String {
        verdict.to_owned()
    }
    /// No flows, no templates, all counters at 0.
    fn reset(&mut self) -> Result<()>;
    /// One frame: the verdict, and its bytes afterwards. `None`: it cannot be given such a frame.
    fn run(&mut self, frame: &[u8]) -> Result<Option<(String, Vec<u8>)>>;
    /// Counters and tables.
    fn state(&mut self) -> Result<State>;
}

/// All data paths over a world. `kernel`: whether programs may be loaded here.
pub fn all(world: &World, kernel: bool) -> Result<Vec<Box<dyn Shell>>> {
    let mut shells: Vec<Box<dyn Shell>> = vec![Box::new(Host::new(world))];
    if kernel {
        shells.push(Box::new(InKernel::load(world, Hook::Xdp)?));
        shells.push(Box::new(InKernel::load(world, Hook::Tc)?));
    }
    Ok(shells)
}

/// What becomes of a frame in a shell; `before` is the state it is in, and then the one it is in afterwards.
pub fn fate(shell: &mut dyn Shell, frame: &[u8], before: &mut State) -> Result<Option<Fate>> {
    let Some((verdict, bytes)) = shell.run(frame)? else { return Ok(None) };
    let after = shell.state()?;
    let changes = before.changes(&after);
    *before = after;
    let left = (bytes != frame).then_some(bytes);
    Ok(Some(Fate { left, verdict, changes }))
}

/// The engine in this process.
pub struct Host {
    world: World,
    tables: HostTables,
}

impl Host {
    pub fn new(world: &World) -> Self {
        Self { world: world.clone(), tables: Self::tables(world) }
    }

    fn tables(world: &World) -> HostTables {
        let tables = world.on_host();
        for budget in [Budget::Icmp, Budget::Held] {
            tables.allow(budget, world.config.budgets[budget as usize]);
        }
        tables
    }
}

impl Shell for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn reset(&mut self) -> Result<()> {
        self.tables = Self::tables(&self.world);
        Ok(())
    }

    fn run(&mut self, frame: &[u8]) -> Result<Option<(String, Vec<u8>)>> {
        let mut frame = Frame::new(frame.to_vec());
        let verdict = self.tables.run(&mut frame, IFINDEX);
        let word = match verdict.action() {
            Action::Pass => "pass".into(),
            Action::Drop => "drop".into(),
            Action::Redirect => format!("redirect {}", verdict.ifindex()),
            Action::Bounce => format!("tx {}", verdict.ifindex()),
        };
        Ok(Some((word, frame.bytes)))
    }

    fn state(&mut self) -> Result<State> {
        let tables = &self.tables;
        let of_real = |id| (id, tables.counters(id), tables.load_of(id));
        Ok(State::from(Raw {
            reasons: tables.reasons(),
            reals: self.world.reals.iter().map(|(id, _)| of_real(*id)).collect(),
            gauges: [Gauge::Flows, Gauge::HopCursor, Gauge::PortCursor].map(|g| tables.gauge(g)),
            templates: tables.templates(),
            fragments: tables.fragments(),
            flows: tables.entries(Table::Flows),
            half_open: tables.entries(Table::HalfOpen),
        }))
    }
}

/// Where in this kernel a program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    Xdp,
    Tc,
}

/// A program in this kernel, by `BPF_PROG_TEST_RUN`.
pub struct InKernel {
    world: World,
    kernel: Kernel,
    hook: Hook,
}

impl InKernel {
    fn load(world: &World, hook: Hook) -> Result<Self> {
        Ok(Self { world: world.clone(), kernel: Kernel::load(world)?, hook })
    }

    /// What the engine would have said.
    fn word(&self, code: u32) -> String {
        match (self.hook, code) {
            (Hook::Xdp, xdp::PASS) | (Hook::Tc, tc::UNSPEC) => "pass".into(),
            (Hook::Xdp, xdp::DROP) | (Hook::Tc, tc::SHOT) => "drop".into(),
            // DEVICES holds no other interface: a redirection to another would be ABORTED.
            (Hook::Xdp, xdp::REDIRECT) | (Hook::Tc, tc::REDIRECT) => format!("redirect {IFINDEX}"),
            (Hook::Xdp, xdp::TX) => format!("tx {IFINDEX}"),
            (_, other) => format!("aborted ({other})"),
        }
    }
}

impl Shell for InKernel {
    fn name(&self) -> &'static str {
        match self.hook {
            Hook::Xdp => "xdp",
            Hook::Tc => "tc",
        }
    }

    /// At tc a frame goes back as it goes anywhere.
    fn says(&self, verdict: &str) -> String {
        match self.hook {
            Hook::Xdp => verdict.to_owned(),
            Hook::Tc => verdict.replace("tx ", "redirect "),
        }
    }

    fn reset(&mut self) -> Result<()> {
        self.kernel.reset(&self.world)
    }

    fn run(&mut self, frame: &[u8]) -> Result<Option<(String, Vec<u8>)>> {
        let (program, shortest) = match self.hook {
            Hook::Xdp => (program::XDP, xdp::SHORTEST),
            Hook::Tc => (program::TC, tc::shortest(frame)),
        };
        // The kernel takes the tag out of a buffer before tc sees it.
        let tagged = self.hook == Hook::Tc && is_tagged(frame);
        if frame.len() < shortest || tagged {
            return Ok(None);
        }
        let (code, bytes) = self.kernel.run(program, frame)?;
        Ok(Some((self.word(code), bytes)))
    }

    fn state(&mut self) -> Result<State> {
        let mut reals = Vec::new();
        for (id, _) in &self.world.reals {
            let (active, inactive, half_open) = self.kernel.load_of(*id)?;
            // Counted down below zero it would be a number near the largest.
            let half_open = i64::from(half_open.cast_signed());
            reals.push((*id, self.kernel.counters(*id)?, (active, inactive, half_open)));
        }
        Ok(State::from(Raw {
            reasons: self.kernel.reasons()?,
            reals,
            gauges: self.kernel.gauges()?,
            templates: self.kernel.templates()?,
            fragments: self.kernel.fragments()?,
            flows: self.kernel.entries(map::FLOWS4)?,
            half_open: self.kernel.entries(map::HALF_OPEN4)?,
        }))
    }
}
