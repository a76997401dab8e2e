//! Tables in memory with the sizes and rules of the real ones, for tests: what a map would refuse is refused here.

use std::collections::HashMap;

use lb_common::abi::{
    Config, HopId, HopState, Load, NextHop, Real, RealFlags, RealId, Service, ServiceKey, limits,
    map,
};
use lb_common::wire::Addr6;

use super::{Dataplane, MapOp, Snapshot};

/// What the fake refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FakeError {
    #[error("operation {op}: {map} has {capacity} entries, index {index} is beyond")]
    OutOfBounds { op: usize, map: &'static str, index: u64, capacity: u32 },
    #[error("operation {op}: SERVICES is full")]
    Full { op: usize },
    #[error("operation {op}: told to fail")]
    Told { op: usize },
}

impl FakeError {
    /// Index of the operation that did not take.
    pub fn op(&self) -> usize {
        let (Self::OutOfBounds { op, .. } | Self::Full { op } | Self::Told { op }) = self;
        *op
    }
}

/// The tables. Arrays are as long as what was written so far; the rest, up to the real size, is zero.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    pub config: Config,
    pub services: HashMap<ServiceKey, Service>,
    pub reals: Vec<Real>,
    pub hops: Vec<NextHop>,
    pub slots: Vec<RealId>,
    pub locals: Vec<Addr6>,
    pub ports: Vec<u16>,
    /// The program's: zeroed by `ResetReal`.
    pub loads: Vec<Load>,
    /// Every operation that took effect.
    pub log: Vec<MapOp>,
}

impl Fake {
    /// Applies one operation; `op` is its place in the list, for the error.
    pub fn apply_one(&mut self, op: usize, map_op: &MapOp) -> Result<(), FakeError> {
        match map_op {
            MapOp::PutReal { id, real } => write(op, REALS, &mut self.reals, id.0, &[*real])?,
            MapOp::PutHop { id, hop } => write(op, HOPS, &mut self.hops, id.0, &[*hop])?,
            MapOp::PutLocals { at, addresses } => {
                write(op, LOCALS, &mut self.locals, *at, addresses)?;
            }
            MapOp::PutSlots { at, slots } => write(op, SLOTS, &mut self.slots, *at, slots)?,
            MapOp::PutService { key, service } => {
                let full = self.services.len() >= limits::SERVICES as usize;
                if full && !self.services.contains_key(key) {
                    return Err(FakeError::Full { op });
                }
                self.services.insert(*key, *service);
            }
            MapOp::RemoveService { key } => {
                self.services.remove(key);
            }
            MapOp::ResetReal { id } => {
                write(op, LOADS, &mut self.loads, id.0, &[Load::default()])?;
            }
            // Counters are the program's.
            MapOp::RetireReal { .. } => {}
            MapOp::PutPorts { ports } => write(op, PORTS, &mut self.ports, 0, ports)?,
            MapOp::PutConfig(config) => self.config = **config,
        }
        self.log.push(map_op.clone());
        Ok(())
    }
}

impl Dataplane for Fake {
    type Error = FakeError;

    fn apply(&mut self, ops: &[MapOp]) -> Result<(), FakeError> {
        ops.iter().enumerate().try_for_each(|(index, op)| self.apply_one(index, op))
    }

    fn snapshot(&self) -> Result<Snapshot, FakeError> {
        let mut services: Vec<_> = self.services.iter().map(|(k, s)| (*k, *s)).collect();
        services.sort_by_key(|(key, _)| (key.addr, key.port, key.proto));
        let reals: Vec<_> = (0..)
            .zip(&self.reals)
            .filter(|(_, real)| real.flags & RealFlags::USED != 0)
            .map(|(id, real)| (RealId(id), *real))
            .collect();
        let hops = (0..)
            .zip(&self.hops)
            .filter(|(_, hop)| hop.state != HopState::Unresolved as u8)
            .map(|(id, hop)| (HopId(id), *hop))
            .collect();
        let table = |service: &Service| {
            let from = service.slots_at as usize;
            let table = self.slots.get(from..from + service.slots_len as usize)?;
            Some((service.slots_at, table.to_vec())).filter(|(_, table)| !table.is_empty())
        };
        let locals =
            reals.iter().map(|(_, real)| real.locals_at as usize + real.locals_len as usize);
        let locals = locals.max().unwrap_or(0).min(self.locals.len());
        Ok(Snapshot {
            config: self.config,
            slots: services.iter().filter_map(|(_, service)| table(service)).collect(),
            services,
            reals,
            hops,
            locals: self.locals[..locals].to_vec(),
        })
    }
}

/// Name and number of entries.
type Array = (&'static str, u32);
const REALS: Array = (map::REALS, limits::REALS);
const HOPS: Array = (map::NEXT_HOPS, limits::HOPS);
const SLOTS: Array = (map::SLOTS, limits::SLOTS);
const LOCALS: Array = (map::LOCALS, limits::LOCALS);
const PORTS: Array = (map::PORTS, limits::PORTS);
const LOADS: Array = (map::LOADS, limits::REALS);

fn write<T: Copy + Default>(
    op: usize,
    (map, capacity): Array,
    array: &mut Vec<T>,
    at: u32,
    values: &[T],
) -> Result<(), FakeError> {
    let (from, to) = (at as usize, at as usize + values.len());
    if to > capacity as usize {
        return Err(FakeError::OutOfBounds { op, map, index: to as u64 - 1, capacity });
    }
    if array.len() < to {
        array.resize(to, T::default());
    }
    array[from..to].copy_from_slice(values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_beyond_a_map_is_refused_and_named() {
        let mut fake = Fake::default();
        let ops = [
            MapOp::ResetReal { id: RealId(1) },
            MapOp::PutReal { id: RealId(limits::REALS), real: Real::default() },
        ];
        let error = fake.apply(&ops).unwrap_err();
        assert_eq!(error.op(), 1);
        assert!(error.to_string().contains("REALS"));
        assert_eq!(fake.log.len(), 1);
    }

    #[test]
    fn empty_tables_read_back_empty() {
        assert_eq!(Fake::default().snapshot().unwrap(), Snapshot::default());
    }
}
