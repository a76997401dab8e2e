//! rr and wrr: the slot table in turn. For wrr the daemon has unrolled IPVS's weighted walk into it.

use crate::abi::{RealId, Service};
use crate::engine::Tables;

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, service: &Service) -> Option<RealId> {
    let turn = tables.next_pick(service.id)?.checked_rem(service.slots_len)?;
    tables.slot(service.slots_at + turn)
}
