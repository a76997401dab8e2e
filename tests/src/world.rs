//! The laboratory of the packet tests: one virtual address of each family, some services, two real servers each.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::abi::{
    Config, ConnState, HopState, Iface, LAYOUT, Method, NextHop, Real, RealFlags, RealId,
    Scheduler, Service, ServiceId, ServiceKey, Tag, Tags, Timeouts, VlanKey,
};
use lb_common::engine::outer;
use lb_common::host::HostTables;
use lb_common::wire::vlan::Vlan;
use lb_common::wire::{Addr4, Addr6, Mac, Port};

use crate::packets::{self, End};

/// The virtual address of all services.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 2);
/// TCP, rr, NAT.
pub const NAT: u16 = 10_000;
/// TCP, rr, full-NAT.
pub const FULL_NAT: u16 = 10_001;
/// TCP, wlc, NAT; the second real server weighs three times the first.
pub const WLC: u16 = 10_002;
/// TCP, rr, NAT, persistent.
pub const STICKY: u16 = 10_003;
/// TCP with an empty pool.
pub const EMPTY: u16 = 10_004;
/// TCP, sh, NAT.
pub const SH: u16 = 10_005;
/// TCP, the first real of [`NAT`] again, alone: reverse tuples can clash.
pub const TWIN: u16 = 10_006;
/// UDP, rr, NAT.
pub const DNS: u16 = 53;
/// UDP, rr, full-NAT.
pub const UDP_FULL_NAT: u16 = 54;

/// TCP, rr, direct routing. This and those below are in [`World::with_outer_headers`] alone.
pub const DR: u16 = 10_007;
/// TCP, rr, IP in IP.
pub const IPIP: u16 = 10_008;
/// TCP, rr, GRE; with a checksum to the second real server.
pub const GRE: u16 = 10_009;
/// TCP, rr, GUE; the same.
pub const GUE: u16 = 10_010;
/// TCP, rr; IPv4 in tunnels of IPv6, IPv6 in GRE over IPv4.
pub const ACROSS: u16 = 10_011;
/// UDP, rr, direct routing.
pub const DR_UDP: u16 = 55;
/// Where GUE is received.
pub const GUE_PORT: u16 = 6_080;
/// The interface of VLAN 100.
pub const VLAN: u32 = 100;
/// The interface of VLAN 7 in the provider's VLAN 200.
pub const QINQ: u32 = 207;

/// The real servers of every service but [`TWIN`].
pub const REALS: [End; 2] =
    [(Ipv4Addr::new(192, 168, 1, 100), 8_089), (Ipv4Addr::new(192, 168, 1, 101), 18_089)];
/// The full-NAT source address.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// The interface's own address.
pub const OUTER: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 1);
/// The virtual address of IPv6's.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
/// Their real servers.
pub const REALS6: [(Ipv6Addr, u16); 2] = [
    (Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x100), 8_089),
    (Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x101), 18_089),
];
/// Their full-NAT source address.
pub const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
/// The interface's own IPv6 address.
pub const OUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The only interface; in `BPF_PROG_TEST_RUN` packets come from the loopback device.
pub const IFINDEX: u32 = 1;
/// Ticks a template lives.
pub const STICKY_TICKS: u32 = 40;

/// What the daemon would have written.
#[derive(Clone)]
pub struct World {
    pub config: Config,
    pub services: Vec<(ServiceKey, Service)>,
    pub reals: Vec<(RealId, Real)>,
    pub hops: Vec<(RealId, NextHop)>,
    pub slots: Vec<RealId>,
    pub locals: Vec<Addr6>,
    pub ports: Vec<u16>,
    pub iface: Iface,
    /// VLANs on the interface: their tags, their own interfaces.
    pub vlans: Vec<(VlanKey, u32, Iface)>,
}

/// The address of a real server's link.
pub const fn real_mac(id: RealId) -> Mac {
    Mac([2, 0, 0, 0, 1, id.0 as u8])
}

/// Our own address on the real servers' side.
pub const INNER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

impl World {
    /// The services above, room for `flows` flows.
    pub fn new(flows: u32) -> Self {
        let mut world = Self {
            config: Config {
                layout: LAYOUT,
                generation: 1,
                flow_limit: flows,
                ports: 64,
                ticks_per_1024_s: 4_000,
                budgets: [1_000, 1_000],
                timeouts: Timeouts::default(),
            },
            services: Vec::new(),
            reals: Vec::new(),
            hops: Vec::new(),
            slots: Vec::new(),
            locals: vec![Addr6::from(LOCAL), Addr6::from(LOCAL6)],
            ports: (0..64).map(|n| 20_000 + n * 7 % 64).collect(),
            iface: Iface {
                mac: Mac(packets::OUR_MAC),
                mtu: 1500,
                flags: 0,
                pad: [0; 3],
                addr: Addr4::from(OUTER),
                addr6: Addr6::from(OUTER6),
                tags: Tags::default(),
            },
            vlans: Vec::new(),
        };
        for (state, ticks) in world.config.timeouts.by_state.iter_mut().enumerate() {
            *ticks = Timeouts::IPVS_SECONDS[state] * 4;
        }
        world.serve(NAT, 6, Scheduler::Cycle, Method::Nat, [1, 1]);
        world.serve(FULL_NAT, 6, Scheduler::Cycle, Method::FullNat, [1, 1]);
        world.serve(WLC, 6, Scheduler::Wlc, Method::Nat, [1, 3]);
        world.serve(STICKY, 6, Scheduler::Cycle, Method::Nat, [1, 1]);
        world.serve(SH, 6, Scheduler::SourceHash, Method::Nat, [1, 1]);
        world.serve(DNS, 17, Scheduler::Cycle, Method::Nat, [1, 1]);
        world.serve(UDP_FULL_NAT, 17, Scheduler::Cycle, Method::FullNat, [1, 1]);
        world.serve(TWIN, 6, Scheduler::Cycle, Method::Nat, [1, 0]);
        world.serve(EMPTY, 6, Scheduler::Cycle, Method::Nat, [0, 0]);
        world.serve6(NAT, 6, Scheduler::Cycle, Method::Nat, [1, 1]);
        world.serve6(FULL_NAT, 6, Scheduler::Cycle, Method::FullNat, [1, 1]);
        world.serve6(STICKY, 6, Scheduler::Cycle, Method::Nat, [1, 1]);
        world.serve6(SH, 6, Scheduler::SourceHash, Method::Nat, [1, 1]);
        world.serve6(DNS, 17, Scheduler::Cycle, Method::Nat, [1, 1]);
        world.serve6(EMPTY, 6, Scheduler::Cycle, Method::Nat, [0, 0]);
        for (key, service) in &mut world.services {
            if key.port.get() == STICKY {
                service.sticky_ticks = STICKY_TICKS;
                // /24 of a mapped IPv4 address, /120 of an IPv6 one.
                service.sticky_mask = Addr6::new((u128::MAX << 8).to_be_bytes());
            }
        }
        world
    }

    /// The same, and services whose packets leave as they are, some in tunnels; and VLANs.
    pub fn with_outer_headers(flows: u32) -> Self {
        let mut world = Self::new(flows);
        for (port, method) in
            [(DR, Method::Dr), (IPIP, Method::Ipip), (GRE, Method::Gre), (GUE, Method::Gue)]
        {
            world.serve(port, 6, Scheduler::Cycle, method, [1, 1]);
            world.serve6(port, 6, Scheduler::Cycle, method, [1, 1]);
        }
        world.serve(DR_UDP, 17, Scheduler::Cycle, Method::Dr, [1, 1]);
        let (ipv4, ipv6) = (
            REALS.map(|(addr, port)| (Addr6::from(addr), port)),
            REALS6.map(|(addr, port)| (Addr6::from(addr), port)),
        );
        let rr = Scheduler::Cycle;
        world.serve_at((VIP.into(), ACROSS, 6), rr, Method::Ipip, (ipv6, 1), [1, 1]);
        world.serve_at((VIP6.into(), ACROSS, 6), rr, Method::Gre, (ipv4, 0), [1, 1]);
        for (tags, ifindex) in
            [([Vlan::CUSTOMER, [0, 100]], VLAN), ([Vlan::PROVIDER, [0, 200]], QINQ - 1)]
        {
            world.vlan(Tags([Tag::new(tags[0], tags[1]), Tag::default()]), ifindex);
        }
        let inner = Tag::new(Vlan::CUSTOMER, [0, 7]);
        world.vlan(Tags([Tag::new(Vlan::PROVIDER, [0, 200]), inner]), QINQ);
        world
    }

    fn vlan(&mut self, tags: Tags, ifindex: u32) {
        let key = VlanKey { tags, ifindex: IFINDEX, pad: 0 };
        let iface = Iface { tags, flags: NextHop::TAGGED, ..self.iface };
        self.vlans.push((key, ifindex, iface));
    }

    /// Puts the real servers of a service behind a VLAN.
    pub fn move_to_vlan(&mut self, port: u16, ifindex: u32) {
        for ((_, hop), (_, real)) in self.hops.iter_mut().zip(&self.reals) {
            if real.service.port.get() == port {
                hop.ifindex = ifindex;
                hop.flags |= NextHop::TAGGED;
            }
        }
    }

    fn serve(&mut self, port: u16, proto: u8, how: Scheduler, method: Method, weights: [u32; 2]) {
        let reals = REALS.map(|(addr, port)| (addr.into(), port));
        self.serve_at((VIP.into(), port, proto), how, method, (reals, 0), weights);
    }

    fn serve6(&mut self, port: u16, proto: u8, how: Scheduler, method: Method, weights: [u32; 2]) {
        let reals = REALS6.map(|(addr, port)| (addr.into(), port));
        self.serve_at((VIP6.into(), port, proto), how, method, (reals, 1), weights);
    }

    fn serve_at(
        &mut self,
        (addr, port, proto): (Addr6, u16, u8),
        how: Scheduler,
        method: Method,
        (reals, locals_at): ([(Addr6, u16); 2], u32),
        weights: [u32; 2],
    ) {
        let id = ServiceId(self.services.len() as u32);
        let key = ServiceKey { addr, port: Port::new(port), proto, pad: 0 };
        let slots_at = self.slots.len() as u32;
        let mut usable = Vec::new();
        for ((addr, port), weight) in reals.into_iter().zip(weights) {
            let real = RealId(self.reals.len() as u32);
            let second = !usable.is_empty() && matches!(method, Method::Gre | Method::Gue);
            let checksum = if second { RealFlags::CHECKSUM } else { 0 };
            if weight > 0 {
                usable.push(real);
            }
            self.reals.push((
                real,
                Real {
                    addr,
                    port: Port::new(port),
                    method: method as u8,
                    // The second real server's tunnel has checksums.
                    flags: RealFlags::USED | RealFlags::UP | checksum,
                    weight,
                    locals_at,
                    locals_len: 1,
                    mss: 0,
                    service: key,
                    service_id: id,
                    tunnel_port: Port::new(GUE_PORT),
                },
            ));
            let (mtu, flags) = if method.is_tunnel() {
                (outer::mtu(1500, method, checksum, addr.is_ipv6()), NextHop::TUNNEL)
            } else {
                (1500, 0)
            };
            let hop = NextHop {
                dst: real_mac(real),
                state: HopState::Valid as u8,
                flags,
                src: INNER_MAC,
                mtu,
                ifindex: IFINDEX,
                pad: 0,
            };
            self.hops.push((real, hop));
        }
        if how == Scheduler::SourceHash {
            self.slots.extend(usable.iter().cycle().take(256));
        } else {
            self.slots.extend(&usable);
        }
        let slots_len = self.slots.len() as u32 - slots_at;
        let service =
            Service { id, scheduler: how as u8, slots_at, slots_len, ..Service::default() };
        self.services.push((key, service));
    }

    /// The id of a service's real server, `index` as in [`REALS`].
    ///
    /// # Panics
    ///
    /// Where there is no such service.
    pub fn real(&self, port: u16, index: usize) -> RealId {
        let at = self.services.iter().position(|(key, _)| key.port.get() == port);
        RealId((2 * at.expect("a service of this world") + index) as u32)
    }

    /// The timeout of a state in ticks.
    pub fn timeout(&self, state: ConnState) -> u32 {
        self.config.timeouts.of(state)
    }

    /// Host tables that hold this world.
    pub fn on_host(&self) -> HostTables {
        let mut tables = HostTables::new(self.config.flow_limit);
        tables.config = self.config;
        tables.services.extend(self.services.iter().copied());
        tables.reals.extend(self.reals.iter().copied());
        tables.slots.clone_from(&self.slots);
        tables.locals.clone_from(&self.locals);
        tables.ports.clone_from(&self.ports);
        tables.ifaces.insert(IFINDEX, self.iface);
        for (key, ifindex, iface) in &self.vlans {
            tables.vlans.insert(*key, *ifindex);
            tables.ifaces.insert(*ifindex, *iface);
        }
        for (real, hop) in &self.hops {
            tables.set_hop(real.hop(), *hop);
        }
        tables
    }
}
