//! What the loaded program would do with a packet, found out beside it: nothing of the running instance changes.
//!
//! The packet runs twice. First through the engine in this process, over [`watch`]: tables that read the instance's pinned
//! maps, keep every change to themselves and note each look. Then through the program in the kernel, over a [`copy`] of
//! exactly the elements that were looked at. The kernel's word is the answer, the notes are its explanation, and whether
//! the two agree is told.

mod copy;
mod watch;

use std::path::Path;

use lb_common::abi::{
    Flow, FlowKey, HopId, LastHopKey, Load, NextHop, Real, RealFlags, RealId, Service, ServiceId,
    ServiceKey, Sticky, StickyKey,
};
use lb_common::engine::tables::Table;
use lb_common::engine::{self, Action};
use lb_common::host::Frame;
use lb_common::wire::Addr6;

use super::attach::AttachedMode;
use super::error::LoadError;
use super::maps::Maps;
use super::pins::Pins;
use super::read::Reader;
use super::table::TableError;
use super::{preflight, shape, sys};
use copy::Copy;
use watch::Watched;

/// One look of the engine's into the tables, or one change of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    Flow {
        table: Table,
        key: FlowKey<Addr6>,
        found: Option<Flow<Addr6>>,
    },
    Service {
        key: ServiceKey,
        found: Option<Service>,
    },
    Real {
        id: RealId,
        real: Real,
    },
    /// rr and wrr: the number of earlier picks.
    Turn {
        service: ServiceId,
        turn: u32,
    },
    /// A slot of a service's table.
    Slot {
        index: u32,
        real: RealId,
    },
    /// lc and wlc: who has least.
    Least {
        chosen: Option<RealId>,
    },
    Template {
        key: StickyKey,
        found: Option<Sticky>,
    },
    Hop {
        id: HopId,
        hop: NextHop,
    },
    /// The way back to a sender.
    Sender {
        key: LastHopKey,
        found: Option<HopId>,
    },
    Inserted {
        table: Table,
        key: FlowKey<Addr6>,
        flow: Flow<Addr6>,
    },
    Ended {
        table: Table,
        key: FlowKey<Addr6>,
    },
}

/// What became of the packet.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    pub action: Action,
    /// Index in REASONS that was counted; 0: none.
    pub slot: u32,
    /// By which interface it leaves, where it does.
    pub leaves_by: u32,
    /// As the program left it.
    pub frame: Vec<u8>,
    /// In the order they happened.
    pub looks: Vec<Look>,
    /// Whether the engine in this process came to the same end.
    pub agreed: bool,
    /// Whether the instance runs the program that this command has.
    pub same_program: bool,
}

/// An instance whose tables are read.
pub struct Stage {
    /// Where its program runs.
    mode: AttachedMode,
    pins: Pins,
    reader: Reader,
}

impl Stage {
    /// Opens the pins of an instance; `None`: there are none.
    pub fn open(pin_dir: &Path) -> Result<Option<Self>, LoadError> {
        let pins = Pins::new(pin_dir);
        let there = |mode: AttachedMode| shape::open_if_there(&pins.progs().join(mode.pin()));
        for mode in [AttachedMode::Xdp, AttachedMode::Tc] {
            match there(mode) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    return Ok(Some(Self { reader: Reader::open(pin_dir)?, pins, mode }));
                }
                Err(error) => {
                    // A missing capability is named before the file that it would open.
                    preflight::host(pin_dir)?;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// The instance's tables.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Runs a frame that comes in by `ifindex`. `held`: somebody would take it if it had to wait for its next hop.
    pub fn rehearse(
        &self,
        object: &[u8],
        frame: &[u8],
        ifindex: u32,
        held: bool,
    ) -> Result<Rehearsed, LoadError> {
        let watched = Watched::open(&self.pins, &self.reader)?;
        let mut packet =
            Frame { bytes: frame.to_vec(), ifindex, may_wait: held, ..Frame::default() };
        let verdict = engine::walk(&mut packet, &watched);
        let (looks, originals) = watched.finish()?;
        let copy = Copy::make(object, &self.pins, (self.reader.clock().shift(), self.mode), held)?;
        copy.fill(&originals)?;
        let run = copy.run(frame, ifindex)?;
        let agreed = (run.action, run.slot) == (verdict.action(), verdict.slot())
            && run.frame == packet.bytes;
        Ok(Rehearsed {
            action: run.action,
            slot: run.slot,
            leaves_by: verdict.ifindex(),
            frame: run.frame,
            looks,
            agreed,
            same_program: self.running_tag()? == copy.tag()?,
        })
    }

    /// What the kernel knows the pinned program by: a hash of its instructions.
    fn running_tag(&self) -> Result<[u8; 8], LoadError> {
        use std::os::fd::AsFd;
        let path = self.pins.progs().join(self.mode.pin());
        sys::open_pin(&path)
            .and_then(|fd| sys::program_info(fd.as_fd()))
            .map(|info| info.tag)
            .map_err(LoadError::file("open", path))
    }
}

impl Reader {
    /// The real servers of a service, in the order of their ids, with the connections they have; removed ones are left
    /// out.
    pub fn reals_of(&self, service: &ServiceKey) -> Result<Vec<(RealId, Real, Load)>, TableError> {
        let mut found = Vec::new();
        self.maps().reals.for_each(|&id, real| {
            let flags = real.flags & (RealFlags::USED | RealFlags::REMOVED);
            if flags == RealFlags::USED && real.service == *service {
                found.push((RealId(id), *real));
            }
        })?;
        found.sort_by_key(|(id, _)| *id);
        let ids = found.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let loads = self.loads(&ids)?;
        Ok(found
            .into_iter()
            .zip(loads)
            .map(|((id, real), load)| {
                let load = Load { active: load.active, inactive: load.inactive + load.half_open };
                (id, real, load)
            })
            .collect())
    }

    /// How long a flow lives without another packet.
    pub fn remaining(&self, flow: &Flow<Addr6>) -> Result<std::time::Duration, TableError> {
        let (config, now) = (self.config()?, self.now()?);
        let twin = self.flow(&flow.rewrite.twin())?;
        let ticks = super::read::ticks_left(&config, flow, twin.as_ref(), now);
        Ok(super::clock::span(ticks, &config))
    }

    /// How long ago a stamp was made.
    pub fn since(&self, stamp: lb_common::abi::Tick) -> Result<std::time::Duration, TableError> {
        Ok(super::clock::span(self.now()?.since(stamp), &self.config()?))
    }

    /// Whether a tuple is of a flow.
    pub fn knows(&self, key: &FlowKey<Addr6>) -> Result<bool, TableError> {
        let Maps { ipv4, ipv6, .. } = self.maps();
        Ok(match key.narrowed() {
            Some(key) => ipv4.flows.get(&key)?.is_some() || ipv4.half_open.get(&key)?.is_some(),
            None => ipv6.flows.get(key)?.is_some() || ipv6.half_open.get(key)?.is_some(),
        })
    }

    /// The entry of a tuple in its flow table.
    fn flow(&self, key: &FlowKey<Addr6>) -> Result<Option<Flow<Addr6>>, TableError> {
        let Maps { ipv4, ipv6, .. } = self.maps();
        match key.narrowed() {
            Some(key) => Ok(ipv4.flows.get(&key)?.map(|flow| flow.widened())),
            None => ipv6.flows.get(key),
        }
    }

    /// The interfaces that the program serves.
    pub fn interfaces(&self) -> Result<Vec<(u32, lb_common::abi::Iface)>, TableError> {
        let mut all = Vec::new();
        self.maps().ifaces.for_each(|&ifindex, iface| all.push((ifindex, *iface)))?;
        all.sort_by_key(|(ifindex, _)| *ifindex);
        Ok(all)
    }
}
