//! Counters of removed real servers: they stay in their service's sums when the id is given to another.
//!
//! See [`Retired`] for the order of writes, which a crash may cut short anywhere.

use lb_common::abi::{RealId, Retired, ServiceKey};

use super::maps::Maps;
use super::read::sum_counters;
use super::table::TableError;

impl Maps {
    /// Moves the counters of a real server to its service's retired ones; drops them where the service is gone too.
    pub(super) fn retire(&self, id: RealId, service: ServiceKey) -> Result<(), TableError> {
        if self.services.get(&service)?.is_none() {
            return self.real_counters.reset(id.0);
        }
        let mut retired = self.retired.get(&service)?.unwrap_or_default();
        if retired.moving != id {
            self.finish(service, &retired)?;
            retired.sum += sum_counters(&self.real_counters, id.0)?;
            retired.moving = id;
            self.retired.put(&service, &retired)?;
        }
        self.finish(service, &retired)
    }

    /// Ends what a crash may have left half done.
    pub(super) fn finish_retirements(&self) -> Result<(), TableError> {
        let mut all = Vec::new();
        self.retired.for_each(|service, retired| all.push((*service, *retired)))?;
        all.iter().try_for_each(|(service, retired)| self.finish(*service, retired))
    }

    fn finish(&self, service: ServiceKey, retired: &Retired) -> Result<(), TableError> {
        if retired.moving == RealId::NOBODY {
            return Ok(());
        }
        self.real_counters.reset(retired.moving.0)?;
        self.retired.put(&service, &Retired { moving: RealId::NOBODY, ..*retired })
    }
}
