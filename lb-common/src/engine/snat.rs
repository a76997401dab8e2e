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
use crate::wire::Port;

/// Fills the pair's tuples with a free source and claims the reply's.
#[inline(always)]
pub fn claim<T: Tables>(tables: &T, real: &Real, scratch: &mut Scratch) -> Step<()> {
    let (key, pair) = (&scratch.seen.key, &mut scratch.pair);
    let ports = tables.config().map_or(0, |config| config.ports);
    if ports == 0 {
        return Err(Verdict::drop(DropReason::SnatPortsExhausted));
    }
    let locals = real.locals_len;
    if locals == 0 {
        return Err(Verdict::drop(DropReason::NoLocalAddress));
    }
    let mut tries = 0;
    while tries < limits::PORT_TRIES {
        tries += 1;
        let cursor = tables.add_gauge(Gauge::PortCursor, 1);
        // Ports turn fastest; after each full turn the addresses begin one further on.
        let index = real.locals_at + (cursor / ports).wrapping_add(cursor) % locals;
        let (Some(local), Some(port)) = (tables.local(index), tables.port(cursor % ports)) else {
            return Err(Verdict::drop(DropReason::BadMapValue));
        };
        pair.request.rewrite.local = index;
        pair.reply.rewrite.local = index;
        let to = Tuple {
            src: local,
            dst: real.addr,
            sport: Port::new(port),
            dport: admit::port_of(real, key),
        };
        pair.set_tuples(key, &to);
        match pair::claim_reply(tables, pair, scratch.now) {
            Ok(()) => return Ok(()),
            Err(InsertError::Exists) => {}
            Err(InsertError::Full) => return Err(Verdict::drop(DropReason::HalfOpenFull)),
        }
    }
    Err(Verdict::drop(DropReason::SnatPortsExhausted))
}
