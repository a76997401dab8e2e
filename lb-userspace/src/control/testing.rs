//! Builders and a small world for the tests of this module: a state, a data path, a clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use lb_common::abi::{RealFlags, RealId, Service, ServiceKey};
use lb_common::wire::{Addr6, Mac};

use super::arena::GRACE;
use super::event::{CheckStatus, Event, HopInfo, RealIdent, ServiceIdent, Status};
use super::slots::NOBODY;
use super::{ControlError, Effect, Host, HostPorts, LogEntry, State, configure, step};
use crate::config::model::{
    CheckKind, Checker, Config, Kind, Protocol, RealServer, Scheduler, ServiceMatch, VirtualServer,
};
use crate::dataplane::fake::Fake;
use crate::dataplane::{Dataplane, MapOp};

pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

pub(super) fn host() -> Host {
    Host {
        interfaces: 2,
        tunnel_checksums: true,
        ticks_per_1024_s: NonZeroU32::new(4000).unwrap(),
        flow_limit: 1000,
        budgets: [10, 10],
        seed: 1,
    }
}

pub(super) fn real_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

pub(super) fn checker() -> Checker {
    Checker {
        delay_loop: Duration::from_secs(5),
        warmup: Duration::ZERO,
        retry: 1,
        delay_before_retry: Duration::from_secs(1),
        alpha: false,
        log_all_failures: false,
        target: None,
        kind: CheckKind::Tcp,
    }
}

/// A checked NAT real server on 192.0.2.n:80.
pub(super) fn real(n: u8, weight: u32) -> RealServer {
    RealServer {
        ip: IpAddr::V4(real_ip(n)),
        port: 80,
        weight,
        kind: Kind::Nat,
        tunnel: None,
        inhibit_on_failure: false,
        alpha: false,
        uthreshold: 0,
        lthreshold: 0,
        notify_up: None,
        notify_down: None,
        checkers: vec![checker()],
    }
}

/// A TCP virtual server on 203.0.113.1.
pub(super) fn service(port: u16, scheduler: Scheduler, reals: Vec<RealServer>) -> VirtualServer {
    VirtualServer {
        service: ServiceMatch::Address { ip: IpAddr::V4(VIP), port },
        protocol: Some(Protocol::Tcp),
        scheduler,
        flags: Vec::new(),
        kind: Kind::Nat,
        persistence: None,
        delay_loop: Duration::from_secs(5),
        quorum: 1,
        hysteresis: 0,
        quorum_up: None,
        quorum_down: None,
        alpha: false,
        omega: false,
        ha_suspend: false,
        sorry_server: None,
        real_servers: reals,
        local_addresses: None,
        mss: None,
    }
}

pub(super) fn model(virtual_servers: Vec<VirtualServer>) -> Config {
    Config { virtual_servers, ..Config::default() }
}

pub(super) fn ident(port: u16) -> ServiceIdent {
    ServiceIdent {
        service: ServiceMatch::Address { ip: IpAddr::V4(VIP), port },
        protocol: Some(Protocol::Tcp),
    }
}

pub(super) fn key(port: u16) -> ServiceKey {
    ident(port).key().unwrap()
}

pub(super) fn check(port: u16, n: u8, status: Status) -> Event {
    Event::Check(CheckStatus {
        service: ident(port),
        real: RealIdent { ip: IpAddr::V4(real_ip(n)), port: 80 },
        status,
        reason: "test".to_owned(),
        weight_delta: 0,
    })
}

pub(super) fn resolved(n: u8) -> HopInfo {
    HopInfo {
        ifindex: 3,
        dst: Mac([2, 0, 0, 0, 0, n]),
        src: Mac([2, 0, 0, 0, 1, 0]),
        mtu: 1500,
        source: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254))),
        tx: true,
        tagged: false,
        gateway: false,
    }
}

/// When the data path stops to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The daemon dies after so many operations.
    Crash(usize),
    /// The operation after so many does not take.
    Fail(usize),
}

/// A daemon and its tables. Every operation is followed by a look at what a reader could see.
pub(super) struct World {
    pub(super) state: State,
    pub(super) fake: Fake,
    pub(super) now: Instant,
    pub(super) fault: Option<Fault>,
    /// Everything else that was asked for.
    pub(super) effects: Vec<Effect>,
    /// When each slot table, by place and length, was last in use.
    tables: HashMap<(u32, u32), Instant>,
}

/// The daemon died.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crashed;

impl World {
    pub(super) fn new() -> Self {
        Self {
            state: State::new(host(), HostPorts::default()),
            fake: Fake::default(),
            now: Instant::now(),
            fault: None,
            effects: Vec::new(),
            tables: HashMap::new(),
        }
    }

    /// A world that serves `model`; the next hops to 192.0.2.1 to 7 are resolved.
    pub(super) fn serving(model: Config) -> Self {
        let mut world = Self::new();
        world.configure(model).unwrap();
        for n in 1..8 {
            world.event(Event::Hop { destination: real_ip(n).into(), hop: Some(resolved(n)) });
        }
        world.effects.clear();
        world
    }

    pub(super) fn configure(&mut self, model: Config) -> Result<(), ControlError> {
        let effects = configure(&mut self.state, model, self.now)?;
        self.carry_out(effects).unwrap();
        Ok(())
    }

    pub(super) fn event(&mut self, event: Event) {
        self.try_event(event).unwrap();
    }

    pub(super) fn try_event(&mut self, event: Event) -> Result<(), Crashed> {
        let effects = step(&mut self.state, event, self.now);
        self.carry_out(effects)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.event(Event::Tick);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), Crashed> {
        let mut todo = effects;
        while !todo.is_empty() {
            let mut next = Vec::new();
            for effect in todo {
                match effect {
                    Effect::Apply(ops) => {
                        let failed = self.apply(&ops)?;
                        next = step(&mut self.state, Event::Applied { failed }, self.now);
                    }
                    other => self.effects.push(other),
                }
            }
            todo = next;
        }
        Ok(())
    }

    fn apply(&mut self, ops: &[MapOp]) -> Result<Option<usize>, Crashed> {
        for (index, op) in ops.iter().enumerate() {
            match &mut self.fault {
                Some(Fault::Crash(0)) => {
                    self.fault = None;
                    return Err(Crashed);
                }
                Some(Fault::Fail(0)) => {
                    self.fault = None;
                    return Ok(Some(index));
                }
                Some(Fault::Crash(left) | Fault::Fail(left)) => *left -= 1,
                None => {}
            }
            self.assert_unread(op);
            self.fake.apply_one(index, op).unwrap();
            self.look(op);
        }
        Ok(None)
    }

    /// No table is overwritten that a reader may have looked up a moment ago.
    fn assert_unread(&mut self, op: &MapOp) {
        for service in self.fake.services.values() {
            self.tables.insert((service.slots_at, service.slots_len), self.now);
        }
        let MapOp::PutSlots { at, slots } = op else { return };
        let end = at + slots.len() as u32;
        for ((start, len), last) in &self.tables {
            let overlaps = *start < end && *at < start + len;
            assert!(!overlaps || self.now - *last >= GRACE, "{start}+{len} overwritten by {op:?}");
        }
    }

    /// A new daemon over the same tables.
    pub(super) fn restart(&mut self) {
        self.tables.clear();
        self.state = State::new(host(), HostPorts::default());
        let snapshot = self.fake.snapshot().unwrap();
        self.try_event(Event::Restored(Box::new(snapshot))).unwrap();
    }

    /// No service names a real server that is missing, removed or of another service.
    fn look(&self, after: &MapOp) {
        for (key, service) in &self.fake.services {
            for id in self.slots(service) {
                let real = self.fake.reals[id.0 as usize];
                let whole = real.flags & RealFlags::USED != 0
                    && real.flags & RealFlags::REMOVED == 0
                    && real.service == *key
                    && real.service_id == service.id;
                assert!(whole, "{key:?} names {id:?} = {real:?} after {after:?}");
            }
        }
        let MapOp::PutReal { real, .. } = after else { return };
        let (from, len) = (real.locals_at as usize, real.locals_len as usize);
        let list = &self.fake.locals[from..from + len];
        assert!(list.iter().all(|local| *local != Addr6::UNSPECIFIED), "{after:?}");
    }

    fn slots(&self, service: &Service) -> impl Iterator<Item = RealId> {
        let from = service.slots_at as usize;
        let table = &self.fake.slots[from..from + service.slots_len as usize];
        table.iter().copied().filter(|id| *id != NOBODY)
    }

    /// The last bytes of the addresses in a service's slot table; 0 for nobody.
    pub(super) fn table(&self, port: u16) -> Vec<u8> {
        let service = &self.fake.services[&key(port)];
        let from = service.slots_at as usize;
        let name = |id: &RealId| match *id {
            NOBODY => 0,
            id => self.fake.reals[id.0 as usize].addr.octets()[15],
        };
        self.fake.slots[from..from + service.slots_len as usize].iter().map(name).collect()
    }

    /// The id of a real server in the tables.
    pub(super) fn id(&self, port: u16, n: u8) -> RealId {
        let real = RealIdent { ip: IpAddr::V4(real_ip(n)), port: 80 };
        self.state.ids.find_real(&real.key(key(port))).unwrap()
    }

    pub(super) fn logged(&self, wanted: impl Fn(&LogEntry) -> bool) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Log(entry) if wanted(entry)))
    }
}
