//! A world, its host tables, and switches for what goes wrong only where CPUs race or maps overflow.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;

use lb_common::abi::{
    Budget, CAPTURE_HEAD, Config, ConnState, Flow, FlowKey, FlowRef, FragmentKey, Fragmented,
    Gauge, HopId, Iface, LastHopKey, Load, NextHop, Notice, REASON_SLOTS, Real, RealId, Service,
    ServiceId, ServiceKey, Sticky, StickyKey, Tick, VlanKey,
};
use lb_common::engine::capture::Carried;
use lb_common::engine::tables::{InsertError, LoadChange, Table};
use lb_common::engine::{
    Action, Flows, PacketBytes, Scratch, Tables, Verdict, expire, is_ipv6, walk,
};
use lb_common::host::{Frame, HostTables, Kept};
use lb_common::wire::{Addr4, Addr6, Port};
use lb_tests::packets::{self, End, Flags, Taken};
use lb_tests::world::{IFINDEX, VIP, World};

/// A client.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 1);

/// What an insert finds in its way.
pub(crate) type Obstacle = fn(&Bed, Table, &FlowKey) -> Option<InsertError>;

/// Host tables and what is wrong with them. Counts reasons itself, as the shells do.
pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) host: HostTables,
    reasons: RefCell<Vec<u64>>,
    /// Asked before every insert into a flow table of IPv4.
    pub(crate) obstacle: Cell<Option<Obstacle>>,
    /// STICKY takes nothing more.
    pub(crate) sticky_full: Cell<bool>,
    /// CONFIG cannot be read.
    pub(crate) no_config: Cell<bool>,
    /// There is no scratch memory.
    pub(crate) no_scratch: Cell<bool>,
}

/// One packet's fate.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) verdict: Verdict,
    pub(crate) bytes: Vec<u8>,
}

impl Sent {
    /// Whether it left rewritten.
    pub(crate) fn left(&self) -> bool {
        self.verdict.slot() == 0 && self.verdict.action() == Action::Redirect
    }

    /// The packet as it left, checksums proven.
    #[track_caller]
    pub(crate) fn taken(&self) -> Taken {
        assert!(self.left(), "{:?}", self.verdict);
        packets::take(&self.bytes)
    }
}

/// A connection as its two ends see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conn {
    pub(crate) client: End,
    pub(crate) vip: End,
    /// The real server.
    pub(crate) real: End,
    /// Who the real server believes to talk to.
    pub(crate) local: End,
}

impl Conn {
    /// A segment of the client's.
    pub(crate) fn up(&self, flags: Flags, payload: &[u8]) -> Vec<u8> {
        packets::tcp(self.client, self.vip, flags, payload)
    }

    /// A segment of the real server's.
    pub(crate) fn down(&self, flags: Flags, payload: &[u8]) -> Vec<u8> {
        packets::tcp(self.real, self.local, flags, payload)
    }

    /// The key of the request direction.
    pub(crate) fn key(&self) -> FlowKey {
        tuple(self.client, self.vip, 6)
    }

    /// The key of the reply direction.
    pub(crate) fn reply_key(&self) -> FlowKey {
        tuple(self.real, self.local, 6)
    }
}

/// A packet's tuple.
pub(crate) fn tuple(from: End, to: End, proto: u8) -> FlowKey {
    let (src, dst) = (from.0.into(), to.0.into());
    let (sport, dport) = (Port::new(from.1), Port::new(to.1));
    FlowKey { src, dst, sport, dport, proto, ..FlowKey::default() }
}

/// Captures put a frame as it arrived together from its beginning and the rest as it left.
#[track_caller]
fn only_headers_are_written(arrived: &[u8], left: &Frame) {
    let carried =
        if is_ipv6(left) { Carried::by_ipv6(left) } else { Carried::by_ipv4(left) }.expect("IP");
    let written = match carried.written() {
        // A later fragment: the IP header.
        0 => CAPTURE_HEAD,
        written => written,
    };
    assert_eq!(left.bytes.get(written..), arrived.get(written..), "written behind {written} bytes");
}

impl Bed {
    pub(crate) fn new(flows: u32) -> Self {
        Self::of(World::new(flows))
    }

    pub(crate) fn of(world: World) -> Self {
        Self {
            host: world.on_host(),
            world,
            reasons: RefCell::new(vec![0; REASON_SLOTS as usize]),
            obstacle: Cell::default(),
            sticky_full: Cell::default(),
            no_config: Cell::default(),
            no_scratch: Cell::default(),
        }
    }

    /// One packet through the engine.
    pub(crate) fn send(&self, frame: &[u8]) -> Sent {
        self.send_by(frame, IFINDEX)
    }

    /// One that comes in by another interface.
    pub(crate) fn send_by(&self, frame: &[u8], ifindex: u32) -> Sent {
        let mut packet = Frame { ifindex, ..Frame::new(frame.to_vec()) };
        let verdict = self.walk(&mut packet);
        if verdict.leaves() && verdict.slot() == 0 && packet.bytes.len() == frame.len() {
            only_headers_are_written(frame, &packet);
        }
        Sent { verdict, bytes: packet.bytes }
    }

    /// The same for any kind of packet.
    pub(crate) fn walk<P: PacketBytes>(&self, packet: &mut P) -> Verdict {
        let verdict = walk(packet, self);
        if verdict.slot() != 0 {
            self.reasons.borrow_mut()[verdict.slot() as usize] += 1;
        }
        verdict
    }

    /// REASONS.
    pub(crate) fn reasons(&self) -> Vec<u64> {
        self.reasons.borrow().clone()
    }

    /// A SYN to a service.
    pub(crate) fn syn(&self, client: End, port: u16) -> Sent {
        self.send(&packets::tcp(client, (VIP, port), Flags::SYN, b""))
    }

    /// A half-open connection.
    #[track_caller]
    pub(crate) fn open(&self, client: End, port: u16) -> Conn {
        let at_real = self.syn(client, port).taken();
        Conn { client, vip: (VIP, port), real: at_real.to, local: at_real.from }
    }

    /// A connection after its handshake.
    #[track_caller]
    pub(crate) fn establish(&self, client: End, port: u16) -> Conn {
        let conn = self.open(client, port);
        for frame in [conn.down(Flags::SYN_ACK, b""), conn.up(Flags::ACK, b"")] {
            assert!(self.send(&frame).left());
        }
        assert_eq!(self.state(&conn), Some(ConnState::Established));
        conn
    }

    /// A flow's state, if both of its entries are in FLOWS4 and agree.
    pub(crate) fn state(&self, conn: &Conn) -> Option<ConnState> {
        let (one, other) = (self.host.flow(&conn.key())?, self.host.flow(&conn.reply_key())?);
        assert_eq!(one.state(), other.state(), "both directions know the state");
        ConnState::from_raw(one.state())
    }

    /// A half-open flow's state.
    pub(crate) fn half_open_state(&self, conn: &Conn) -> Option<ConnState> {
        ConnState::from_raw(self.host.half_open(&conn.key())?.state())
    }

    /// The id of the real server of a connection.
    pub(crate) fn real_of(&self, conn: &Conn) -> RealId {
        let entry = self.host.flow(&conn.key()).or_else(|| self.host.half_open(&conn.key()));
        entry.expect("a flow").rewrite().real
    }

    /// How many pairs a table holds.
    pub(crate) fn pairs(&self, table: Table) -> usize {
        self.host.entries(table).len() / 2
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, ticks: u32) {
        self.host.set_now(Tick(self.host.now().0.wrapping_add(ticks)));
    }

    /// Offers all keys of both tables to the expiry; how many flows it ended.
    pub(crate) fn sweep(&self) -> u32 {
        let keys: Vec<FlowKey> = [Table::Flows, Table::HalfOpen]
            .into_iter()
            .flat_map(|table| self.host.entries(table))
            .map(|(key, _)| key)
            .collect();
        let batches = keys.chunks(lb_common::abi::limits::EXPIRE_BATCH as usize);
        batches.map(|keys| self.expire(keys)).sum()
    }

    /// Offers one batch of keys to the expiry.
    pub(crate) fn expire(&self, keys: &[FlowKey]) -> u32 {
        expire::run::<Addr4, _, _>(&Frame::new(bytemuck::cast_slice(keys).to_vec()), self)
    }

    /// The same of IPv6.
    pub(crate) fn expire6(&self, keys: &[FlowKey<Addr6>]) -> u32 {
        expire::run::<Addr6, _, _>(&Frame::new(bytemuck::cast_slice(keys).to_vec()), self)
    }

    /// A service of this world, to be changed.
    pub(crate) fn service_mut(&mut self, port: u16) -> &mut Service {
        let mut all = self.host.services.iter_mut();
        all.find(|(key, _)| key.port.get() == port && !key.addr.is_ipv6())
            .expect("a service of this world")
            .1
    }

    /// A next hop, changed.
    pub(crate) fn change_hop(&self, id: HopId, change: impl FnOnce(&mut NextHop)) {
        let mut hop = *self.host.hop(id).expect("a hop");
        change(&mut hop);
        self.host.set_hop(id, hop);
    }
}

impl Tables for Bed {
    fn now(&self) -> Tick {
        self.host.now()
    }

    fn config(&self) -> Option<&Config> {
        if self.no_config.get() { None } else { self.host.config() }
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.host.service(key)
    }

    fn real(&self, id: RealId) -> Option<&Real> {
        self.host.real(id)
    }

    fn slot(&self, index: u32) -> Option<RealId> {
        self.host.slot(index)
    }

    fn next_pick(&self, service: ServiceId) -> Option<u32> {
        self.host.next_pick(service)
    }

    fn load(&self, id: RealId) -> Option<Load> {
        self.host.load(id)
    }

    fn add_load(&self, id: RealId, change: LoadChange) {
        self.host.add_load(id, change);
    }

    fn sticky(&self, key: &StickyKey) -> Option<Sticky> {
        self.host.sticky(key)
    }

    fn put_sticky(&self, key: &StickyKey, value: Sticky) -> bool {
        !self.sticky_full.get() && self.host.put_sticky(key, value)
    }

    fn hop(&self, id: HopId) -> Option<&NextHop> {
        self.host.hop(id)
    }

    fn put_hop(&self, id: HopId, hop: &NextHop) {
        self.host.put_hop(id, hop);
    }

    fn last_hop(&self, key: &LastHopKey) -> Option<HopId> {
        self.host.last_hop(key)
    }

    fn put_last_hop(&self, key: &LastHopKey, id: HopId) -> Result<(), InsertError> {
        self.host.put_last_hop(key, id)
    }

    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        self.host.vlan(key)
    }

    fn iface(&self, ifindex: u32) -> Option<&Iface> {
        self.host.iface(ifindex)
    }

    fn local(&self, index: u32) -> Option<&Addr6> {
        self.host.local(index)
    }

    fn port(&self, index: u32) -> Option<u16> {
        self.host.port(index)
    }

    fn add_gauge(&self, gauge: Gauge, by: i32) -> u32 {
        self.host.add_gauge(gauge, by)
    }

    fn count_packet(&self, real: RealId, reply: bool, bytes: u16) {
        self.host.count_packet(real, reply, bytes);
    }

    fn count_connection(&self, real: RealId) {
        self.host.count_connection(real);
    }

    fn notice(&self, notice: Notice) {
        self.reasons.borrow_mut()[notice.slot() as usize] += 1;
    }

    fn take(&self, budget: Budget, now: Tick) -> bool {
        self.host.take(budget, now)
    }
}

impl<A: Kept> Flows<A> for Bed {
    fn with_scratch<R>(
        &self,
        given_back: bool,
        work: impl FnOnce(&mut Scratch<A>) -> R,
    ) -> Option<R> {
        if self.no_scratch.get() { None } else { self.host.with_scratch(given_back, work) }
    }

    fn flow(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        self.host.flow(key)
    }

    fn half_open(&self, key: &FlowKey<A>) -> Option<FlowRef<'_, A>> {
        self.host.half_open(key)
    }

    fn insert(&self, table: Table, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), InsertError> {
        let ipv4 = (key as &dyn Any).downcast_ref::<FlowKey>();
        let obstacle = self.obstacle.get().zip(ipv4);
        match obstacle.and_then(|(obstacle, key)| obstacle(self, table, key)) {
            Some(error) => Err(error),
            None => self.host.insert(table, key, flow),
        }
    }

    fn remove(&self, table: Table, key: &FlowKey<A>) -> bool {
        self.host.remove(table, key)
    }

    fn swap_state(&self, entry: &FlowRef<'_, A>, from: u32, to: ConnState) -> bool {
        self.host.swap_state(entry, from, to)
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<&Fragmented<A>> {
        self.host.fragment(key)
    }

    fn put_fragment(&self, key: &FragmentKey<A>, first: &Fragmented<A>) {
        self.host.put_fragment(key, first);
    }
}
