//! The first packet of a flow: service, persistence, schedule, record, send.

use super::pair;
use super::slow::{Blocked, Scratch};
use super::tables::{InsertError, LoadChange, Table};
use super::{
    Family, Flows, PacketBytes, Step, Tables, Verdict, inspect, reply_path, sched, snat, tcp_state,
};
use crate::abi::{
    ConnState, DropReason, FlowFlags, FlowKey, FlowRef, Gauge, HopId, HopState, LastHopKey, Method,
    NextHop, Notice, PassReason, Real, RealFlags, RealId, Service, ServiceKey, Sticky, StickyKey,
    limits,
};
use crate::wire::Port;
use crate::wire::eth::Ethernet;

/// Makes a flow for a packet that none knows, or says why not. `Some`: another CPU made it first.
#[inline(always)]
pub fn new_flow<'t, A: Family, P: PacketBytes, T: Flows<A>>(
    packet: &mut P,
    tables: &'t T,
    scratch: &mut Scratch<A>,
) -> Step<Option<FlowRef<'t, A>>> {
    let service = match_service(tables, scratch)?;
    // Before anything is held against the packet: what is another machine's to judge is not dropped here.
    let eth: &Ethernet = packet.at(0).ok_or(Verdict::pass(PassReason::Truncated))?;
    let iface = tables.iface(scratch.ifindex).ok_or(Verdict::drop(DropReason::BadMapValue))?;
    if !iface.answers_to(eth.dst()) {
        return Err(Verdict::pass(PassReason::NotOurMac));
    }
    scratch.refused()?;
    inspect::first_packet(packet, scratch)?;
    if scratch.seen.is_tcp() && !scratch.seen.tcp.opens() {
        return Err(Verdict::pass(PassReason::NoFlowNotSyn));
    }
    let config = tables.config().ok_or(Verdict::drop(DropReason::BadMapValue))?;
    // Signed: "below zero" for the moment that another CPU has counted an end before the beginning.
    if tables.add_gauge(Gauge::Flows, 0).cast_signed() >= config.flow_limit.cast_signed() {
        return Err(Verdict::drop(DropReason::FlowTableFull));
    }
    let Some(id) = choose(tables, service, scratch) else {
        scratch.blocked = Blocked::default();
        return Err(Verdict::drop(DropReason::NoUsableReal));
    };
    let real = tables.real(id).ok_or(Verdict::drop(DropReason::BadMapValue))?;
    if real.service != scratch.service {
        return Err(Verdict::drop(DropReason::ServiceChanged));
    }
    // All that could stop the packet comes before the record: a flow that cannot send its first packet is none.
    let inner = scratch.blocked.way(tables, id.hop(), 0, &scratch.seen)?.ifindex;
    let way_back = client_hop(packet, tables, scratch)?;
    begin(service, real, id, way_back, scratch);
    reply_path::note(real, inner, scratch);
    claim(tables, real, scratch)?;
    match pair::complete(tables, &scratch.pair) {
        Ok(()) => {}
        // Another CPU admits the same tuple at this moment. Its flow is the flow (catalogue C-04).
        Err(InsertError::Exists) => {
            let entry = tables.half_open(&scratch.seen.key);
            return entry.map(Some).ok_or(Verdict::drop(DropReason::HalfOpenFull));
        }
        Err(InsertError::Full) => return Err(Verdict::drop(DropReason::HalfOpenFull)),
    }
    tables.add_load(id, LoadChange { active: 0, inactive: 0, half_open: 1 });
    tables.count_connection(id);
    remember(tables, service, id, scratch);
    Ok(None)
}

/// The service of a tuple: exact port first, then any port.
#[inline(always)]
fn match_service<'t, A: Family, T: Tables>(
    tables: &'t T,
    scratch: &mut Scratch<A>,
) -> Step<&'t Service> {
    let (key, wanted) = (&scratch.seen.key, &mut scratch.service);
    *wanted = ServiceKey { addr: key.dst.widened(), port: key.dport, proto: key.proto, pad: 0 };
    if let Some(service) = tables.service(wanted) {
        return Ok(service);
    }
    wanted.port = Port::ZERO;
    tables.service(wanted).ok_or(Verdict::pass(PassReason::NoService))
}

/// The real server for a new flow: the client's template if it has one, else the scheduler's choice.
#[inline(always)]
fn choose<A: Family, T: Tables>(
    tables: &T,
    service: &Service,
    scratch: &mut Scratch<A>,
) -> Option<RealId> {
    if service.sticky_ticks != 0 {
        let client = scratch.seen.key.src.widened().masked(service.sticky_mask);
        scratch.client = StickyKey { client, service: service.id };
        if let Some(template) = tables.sticky(&scratch.client)
            && scratch.now.since(template.stamp) < service.sticky_ticks
            && let Some(real) = tables.real(template.real)
            && is_usable(real, service)
        {
            return Some(template.real);
        }
    }
    sched::pick(tables, service, &scratch.seen)
}

/// Whether a template may still lead to `real`: it is up and of this service. Its weight does not matter: a
/// quiesced server keeps its clients, as under IPVS.
#[inline(always)]
fn is_usable(real: &Real, service: &Service) -> bool {
    real.flags & (RealFlags::USED | RealFlags::UP | RealFlags::REMOVED)
        == RealFlags::USED | RealFlags::UP
        && real.service_id == service.id
}

/// Writes or refreshes the client's template.
#[inline(always)]
fn remember<A: Family, T: Tables>(
    tables: &T,
    service: &Service,
    real: RealId,
    scratch: &Scratch<A>,
) {
    if service.sticky_ticks != 0
        && !tables.put_sticky(&scratch.client, Sticky { real, stamp: scratch.now })
    {
        tables.notice(Notice::TemplateTableFull);
    }
}

/// What both entries of a new pair have whatever their tuples will be.
#[inline(always)]
fn begin<A: Family>(
    service: &Service,
    real: &Real,
    id: RealId,
    way_back: HopId,
    scratch: &mut Scratch<A>,
) {
    let flags = match Method::from_raw(real.method) {
        Some(Method::FullNat) => FlowFlags::FULL_NAT,
        Some(method) if method.is_tunnel() => FlowFlags::DIRECT | FlowFlags::TUNNEL,
        Some(method) if method.is_direct() => FlowFlags::DIRECT,
        _ => 0,
    };
    let pair = &mut scratch.pair;
    for (rewrite, hop, flags) in [
        (&mut pair.request.rewrite, id.hop(), flags),
        (&mut pair.reply.rewrite, way_back, flags | FlowFlags::REPLY),
    ] {
        rewrite.hop = hop;
        rewrite.flags = flags;
        rewrite.real = id;
        rewrite.service = service.id;
        rewrite.local = 0;
        rewrite.opened = scratch.now;
    }
}

/// Fills the pair's tuples and claims the reply's.
#[inline(always)]
fn claim<A: Family, T: Flows<A>>(tables: &T, real: &Real, scratch: &mut Scratch<A>) -> Step<()> {
    match Method::from_raw(real.method) {
        Some(Method::FullNat) => snat::claim(tables, real, scratch),
        Some(method) => claim_as_it_is(tables, real, method.is_direct(), scratch),
        None => Err(Verdict::drop(DropReason::BadMapValue)),
    }
}

/// Claims the tuple of an answer to the client itself: the real server's, or under DR and in tunnels the virtual address's.
#[inline(always)]
fn claim_as_it_is<A: Family, T: Flows<A>>(
    tables: &T,
    real: &Real,
    direct: bool,
    scratch: &mut Scratch<A>,
) -> Step<()> {
    let Scratch { pair, seen, .. } = scratch;
    pair.request_key = seen.key;
    pair.reply_key = if direct { seen.key.reversed() } else { answer(real, &seen.key) };
    pair.follow_keys();
    let mut tries = 0;
    while tries < 2 {
        match pair::claim_reply(tables, &mut scratch.pair, scratch.now) {
            Ok(()) => return Ok(()),
            Err(InsertError::Full) => return Err(Verdict::drop(DropReason::HalfOpenFull)),
            Err(InsertError::Exists) => make_way(tables, scratch),
        }
        tries += 1;
    }
    Err(Verdict::drop(DropReason::TupleClash))
}

/// The tuple of the real server's answer to the client itself.
#[inline(always)]
pub(super) fn answer<A: Family>(real: &Real, key: &FlowKey<A>) -> FlowKey<A> {
    let sport = if real.port == Port::ZERO { key.dport } else { real.port };
    let (src, proto) = (A::narrowed(real.addr), key.proto);
    FlowKey { src, dst: key.src, sport, dport: key.sport, proto, zone: 0, pad: [0; 2] }
}

/// Clears a reply tuple that stands in the way of a new flow of the same client: a half-open orphan of the very
/// same flow, or a connection that has ended.
#[inline(always)]
fn make_way<A: Family, T: Flows<A>>(tables: &T, scratch: &mut Scratch<A>) {
    let pair = &scratch.pair;
    if let Some(orphan) = tables.half_open(&pair.reply_key)
        && orphan.rewrite().twin() == pair.request_key
    {
        tables.remove(Table::HalfOpen, &pair.reply_key);
    }
    if let Some(old) = tables.flow(&pair.reply_key) {
        scratch.twin = old.rewrite().twin();
        // The primary's state is the truth; the reply entry's may lag.
        if let Some(primary) = tables.flow(&scratch.twin)
            && let Some(state) = ConnState::from_raw(primary.state())
            && tcp_state::may_be_reused(state)
        {
            pair::end(tables, &scratch.twin, &pair.reply_key, &primary, state);
        }
    }
}

/// How often a slot for a new sender is looked for.
const HOP_TRIES: u32 = 8;

/// The way back to whoever sent this frame: out of the interface it came in by, to the address it came from.
/// The daemon moves the entry along when that neighbour's address changes.
#[inline(always)]
pub(super) fn client_hop<A: Family, P: PacketBytes, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch<A>,
) -> Step<HopId> {
    let eth: &Ethernet = packet.at(0).ok_or(Verdict::pass(PassReason::Truncated))?;
    let ifindex = scratch.ifindex;
    let key = LastHopKey { ifindex, mac: eth.src(), pad: [0; 2] };
    if let Some(id) = tables.last_hop(&key) {
        return Ok(id);
    }
    let iface = tables.iface(ifindex).ok_or(Verdict::drop(DropReason::BadMapValue))?;
    scratch.hop = NextHop {
        dst: eth.src(),
        state: HopState::Valid as u8,
        flags: NextHop::LEARNED | iface.flags,
        src: eth.dst(),
        mtu: iface.mtu,
        ifindex,
        pad: 0,
    };
    let mut tries = 0;
    while tries < HOP_TRIES {
        tries += 1;
        let cursor = tables.add_gauge(Gauge::HopCursor, 1) % (limits::HOPS - limits::REALS);
        let id = HopId(limits::REALS + cursor);
        let Some(slot) = tables.hop(id) else { break };
        if slot.state != HopState::Unresolved as u8 {
            continue;
        }
        tables.put_hop(id, &scratch.hop);
        if tables.put_last_hop(&key, id).is_ok() {
            return Ok(id);
        }
        // Full, or another CPU has just learned the same sender: then there is its slot.
        scratch.hop = NextHop::default();
        tables.put_hop(id, &scratch.hop);
        return tables.last_hop(&key).ok_or(Verdict::drop(DropReason::NextHopsFull));
    }
    Err(Verdict::drop(DropReason::NextHopsFull))
}
