//! sh and dh: a table of 256 entries that an address hashes into (`net/netfilter/ipvs/ip_vs_sh.c`, `ip_vs_dh.c`).

use crate::abi::{RealId, Service, ServiceFlags};
use crate::engine::{Family, Seen, Tables};

/// The kernel's `hash_32(value, 8)` (include/linux/hash.h).
#[inline(always)]
const fn hash_8_bits(value: u32) -> u32 {
    value.wrapping_mul(0x61C8_8647) >> 24
}

/// The entry of a bucket. [`RealId::NOBODY`] is a quiesced server's: its clients are refused, as by IPVS without
/// sh-fallback.
#[inline(always)]
fn slot<T: Tables>(tables: &T, service: &Service, hash: u32) -> Option<RealId> {
    let id = tables.slot(service.slots_at + (hash & service.slots_len.wrapping_sub(1)))?;
    (id != RealId::NOBODY).then_some(id)
}

#[inline(always)]
pub(super) fn by_source<A: Family, T: Tables>(
    tables: &T,
    service: &Service,
    seen: &Seen<A>,
) -> Option<RealId> {
    let with_port = service.flags & ServiceFlags::HASH_PORT != 0;
    let port = if with_port { u32::from(seen.key.sport.get()) } else { 0 };
    slot(tables, service, hash_8_bits(seen.key.src.folded().wrapping_add(port)))
}

#[inline(always)]
pub(super) fn by_destination<A: Family, T: Tables>(
    tables: &T,
    service: &Service,
    seen: &Seen<A>,
) -> Option<RealId> {
    slot(tables, service, hash_8_bits(seen.key.dst.folded()))
}
