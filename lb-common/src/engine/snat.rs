//! Full-NAT: a source address and port for a new flow.
//!
//! PORTS holds the ports that may be used, shuffled by the daemon (RFC 6056), without those that the host's own
//! sockets use or may be given. A cursor that all flows share walks it, so a port just freed comes last. The
//! insert of the reply key is the allocation: the same local port serves every real server once (RFC 7857, 3).

use super::pair;
use super::slow::Scratch;
use super::tables::InsertError;
use super::{Family, Flows, Step, Verdict, admit};
use crate::abi::{DropReason, FlowKey, Gauge, Real, limits};
use crate::wire::Port;

/// Fills the pair's tuples with a free source and claims the reply's.
#[inline(always)]
pub fn claim<A: Family, T: Flows<A>>(
    tables: &T,
    real: &Real,
    scratch: &mut Scratch<A>,
) -> Step<()> {
    let ports = tables.config().map_or(0, |config| config.ports);
    if ports == 0 {
        return Err(Verdict::drop(DropReason::SnatPortsExhausted));
    }
    if real.locals_len == 0 {
        return Err(Verdict::drop(DropReason::NoLocalAddress));
    }
    let Scratch { pair, seen, .. } = scratch;
    pair.request_key = seen.key;
    pair.reply_key = admit::answer(real, &seen.key);
    let Some(local) = find(tables, real, ports, &mut pair.reply_key) else {
        return Err(Verdict::drop(DropReason::SnatPortsExhausted));
    };
    pair.follow_keys();
    pair.request.rewrite.local = local;
    pair.reply.rewrite.local = local;
    // No two flows look at the same turn of the cursor, so what was free a moment ago still is.
    pair::claim_reply(tables, &mut scratch.pair, scratch.now).map_err(|error| match error {
        InsertError::Exists => Verdict::drop(DropReason::SnatPortsExhausted),
        InsertError::Full => Verdict::drop(DropReason::HalfOpenFull),
    })
}

/// Moves `reply` to the next source whose tuple no flow has; its index in LOCALS.
#[inline(always)]
fn find<A: Family, T: Flows<A>>(
    tables: &T,
    real: &Real,
    ports: u32,
    reply: &mut FlowKey<A>,
) -> Option<u32> {
    let mut tries = 0;
    while tries < limits::PORT_TRIES {
        tries += 1;
        let cursor = tables.add_gauge(Gauge::PortCursor, 1);
        let port = cursor.checked_rem(ports)?;
        // Ports turn fastest; after each full turn the addresses begin one further on, so that in the end every
        // address has met every port.
        let turn = cursor
            .checked_div(ports)?
            .wrapping_add(port)
            .checked_rem(u32::from(real.locals_len))?;
        let local = real.locals_at + turn;
        reply.dst = A::narrowed(*tables.local(local)?);
        reply.dport = Port::new(tables.port(port)?);
        if tables.flow(reply).is_none() && tables.half_open(reply).is_none() {
            return Some(local);
        }
    }
    None
}
