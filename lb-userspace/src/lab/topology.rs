//! Laboratories as data: hosts, their interfaces, what is plugged into what.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Hosts and wires. Interfaces with the same `segment` are on one wire; more than two get a switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    pub hosts: Vec<HostSpec>,
    pub mtu: u32,
    pub offloads: Offloads,
}

/// What the ends of the wires leave to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloads {
    /// Nothing, as on a real wire: checksums are whole, packets are those that the wire carries.
    #[default]
    Wire,
    /// What veth does by itself: packets of 64 KiB, checksums half-made.
    Usual,
    /// The same, and packets are merged where they arrive (GRO).
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    pub name: String,
    pub nics: Vec<NicSpec>,
    /// Operands of `ip route add`.
    pub routes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NicSpec {
    pub name: String,
    pub segment: String,
    pub addresses: Vec<Ipv4Net>,
}

/// What may differ between laboratories of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Real servers: 192.168.1.100, .101, ...
    pub reals: u8,
    /// Whether the real servers have a default route, to the director. Full-NAT must not need it.
    pub real_gateway: bool,
    /// Addresses of the client: 10.64.1.10, .11, ...
    pub clients: u8,
    pub mtu: u32,
    /// Virtual addresses of the director beside 10.64.1.2.
    pub more_vips: Vec<Ipv4Addr>,
    /// An origin at 10.99.0.10 behind the real servers.
    pub origin: bool,
    pub offloads: Offloads,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reals: 2,
            real_gateway: true,
            clients: 32,
            mtu: 1500,
            more_vips: Vec::new(),
            origin: false,
            offloads: Offloads::Wire,
        }
    }
}

impl Options {
    /// The addresses the client may speak from.
    pub fn client_addresses(&self) -> Vec<Ipv4Addr> {
        (0..self.clients).map(|n| Ipv4Addr::new(10, 64, 1, 10 + n)).collect()
    }
}

/// The sample configuration's virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 2);
/// The origin behind the gateways.
pub const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 10);

const DIRECTOR_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// Address of real server `n`, from 0.
pub const fn real_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, 100 + n)
}

/// client - eth0 director eth1 - switch - real1 real2 ...
pub fn two_arm(options: &Options) -> Topology {
    let director = host("director").nic("eth0", "outside", director_outside(options)).nic(
        "eth1",
        "inside",
        vec![net(DIRECTOR_INSIDE, 24)],
    );
    topology(director, "outside", "inside", options)
}

/// client, director and real servers on one switch; the director has one interface with an address in both networks.
pub fn one_arm(options: &Options) -> Topology {
    let mut addresses = director_outside(options);
    addresses.push(net(DIRECTOR_INSIDE, 24));
    let director = host("director").nic("eth0", "lan", addresses);
    topology(director, "lan", "lan", options)
}

fn director_outside(options: &Options) -> Vec<Ipv4Net> {
    let vips = options.more_vips.iter().map(|vip| net(*vip, 32));
    [net(Ipv4Addr::new(10, 64, 1, 1), 24), net(VIP, 32)].into_iter().chain(vips).collect()
}

fn topology(director: HostSpec, outside: &str, inside: &str, options: &Options) -> Topology {
    let addresses = options.client_addresses().into_iter().map(|address| net(address, 24));
    let mut client = host("client").nic("eth0", outside, addresses.collect());
    for vip in options.more_vips.iter().filter(|vip| vip.octets()[..3] != [10, 64, 1]) {
        client = client.route(format!("{vip}/32 via 10.64.1.1"));
    }
    let mut hosts = vec![client, director];
    for n in 0..options.reals {
        let mut real =
            host(&format!("real{}", n + 1)).nic("eth0", inside, vec![net(real_address(n), 24)]);
        if options.real_gateway {
            real = real.route(format!("default via {DIRECTOR_INSIDE}"));
        }
        if options.origin {
            real = real.nic("eth1", "beyond", vec![net(Ipv4Addr::new(10, 99, 0, 100 + n), 24)]);
        }
        hosts.push(real);
    }
    if options.origin {
        hosts.push(host("origin").nic("eth0", "beyond", vec![net(ORIGIN, 24)]));
    }
    Topology { hosts, mtu: options.mtu, offloads: options.offloads }
}

fn host(name: &str) -> HostSpec {
    HostSpec { name: name.to_owned(), nics: Vec::new(), routes: Vec::new() }
}

/// `length` is at most 32.
fn net(address: Ipv4Addr, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, length)
}

impl HostSpec {
    fn nic(mut self, name: &str, segment: &str, addresses: Vec<Ipv4Net>) -> Self {
        let (name, segment) = (name.to_owned(), segment.to_owned());
        self.nics.push(NicSpec { name, segment, addresses });
        self
    }

    fn route(mut self, route: String) -> Self {
        self.routes.push(route);
        self
    }
}
