//! Full-NAT: a source address and port for a new flow.
//!
//! PORTS holds the ports that may be used, shuffled by the daemon (RFC 6056), without those that the host's own
//! sockets use or may be given. A cursor that all flows share walks it, so a port just freed comes last. The
//! insert of the reply key is the allocation: the same local port serves every real server once (RFC 7857, 3).

use super::pair;
use super::rewrite::Tuple;
use super::slow::Scratch;
use super::tables::InsertError;
use super::{Step, Tables, Verdict, admit};
use crate::abi::{DropReason, Gauge, Real, limits};
use crate::wire::{Addr4, Port};

/// Fills the pair's tuples with a free source and claims the reply's.
#[inline(always)]
pub fn claim<T: Tables>(tables: &T, real: &Real, scratch: &mut Scratch) -> Step<()> {
    let ports = tables.config().map_or(0, |config| config.ports);
    if ports == 0 {
        return Err(Verdict::drop(DropReason::SnatPortsExhausted));
    }
    if real.locals_len == 0 {
        return Err(Verdict::drop(DropReason::NoLocalAddress));
    }
    let Some((local, source, port)) = find(tables, real, ports, scratch) else {
        return Err(Verdict::drop(DropReason::SnatPortsExhausted));
    };
    let key = &scratch.seen.key;
    let to = Tuple { src: source, dst: real.addr, sport: port, dport: admit::port_of(real, key) };
    scratch.pair.set_tuples(key, &to);
    scratch.pair.request.rewrite.local = local;
    scratch.pair.reply.rewrite.local = local;
    // No two flows look at the same turn of the cursor, so what was free a moment ago still is.
    pair::claim_reply(tables, &mut scratch.pair, scratch.now).map_err(|error| match error {
        InsertError::Exists => Verdict::drop(DropReason::SnatPortsExhausted),
        InsertError::Full => Verdict::drop(DropReason::HalfOpenFull),
    })
}

/// The next source whose reply tuple no flow has: index in LOCALS4, address, port.
#[inline(always)]
fn find<T: Tables>(
    tables: &T,
    real: &Real,
    ports: u32,
    scratch: &mut Scratch,
) -> Option<(u32, Addr4, Port)> {
    let wanted = &mut scratch.twin;
    *wanted = scratch.seen.key;
    wanted.src = real.addr;
    wanted.sport = admit::port_of(real, &scratch.seen.key);
    let mut tries = 0;
    while tries < limits::PORT_TRIES {
        tries += 1;
        let cursor = tables.add_gauge(Gauge::PortCursor, 1);
        let port = cursor.checked_rem(ports)?;
        // Ports turn fastest; after each full turn the addresses begin one further on, so that in the end every
        // address has met every port.
        let turn = cursor.checked_div(ports)?.wrapping_add(port).checked_rem(real.locals_len)?;
        let local = real.locals_at + turn;
        wanted.dst = tables.local(local)?;
        wanted.dport = Port::new(tables.port(port)?);
        if tables.flow(wanted).is_none() && tables.half_open(wanted).is_none() {
            return Some((local, wanted.dst, wanted.dport));
        }
    }
    None
}
