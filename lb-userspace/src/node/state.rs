//! The picture of the host's network: kernel messages in, changes out. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use lb_common::wire::Mac;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
    VlanProtocol, XdpAttached,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    /// Switched on and with carrier: frames can leave.
    pub up: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// `None`: no Ethernet.
    pub mac: Option<Mac>,
    /// Switched on (`IFF_UP`), whatever the carrier.
    pub enabled: bool,
    /// The XDP program on it, if any.
    pub xdp: Option<XdpProgram>,
    /// What it is a VLAN of, if it is one.
    pub vlan: Option<Vlan>,
    /// The bond, bridge or other interface that its frames are, if it is a member of one.
    pub master: Option<u32>,
}

/// A VLAN's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The interface below it.
    pub on: u32,
    /// 1 to 4094.
    pub number: u16,
    /// Whether it is a provider's (IEEE 802.1ad).
    pub provider: bool,
}

/// An XDP program on an interface, as the link tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's id of the program.
    pub id: u32,
    /// Run by the network stack, not by the driver.
    pub generic: bool,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub ifindex: u32,
    pub address: IpAddr,
    pub prefix: u8,
    /// Not to be taken as a source: another address of the same subnet came first, or it is temporary or deprecated.
    pub secondary: bool,
    /// Scope global.
    pub global: bool,
}

/// What the kernel knows of a neighbour; its NUD states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighState {
    /// No entry, or one that says nothing.
    None,
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    Permanent,
    NoArp,
}

impl NeighState {
    /// Frames may be sent to the address of the entry.
    pub const fn usable(self) -> bool {
        matches!(
            self,
            Self::Reachable
                | Self::Stale
                | Self::Delay
                | Self::Probe
                | Self::Permanent
                | Self::NoArp
        )
    }
}

impl From<NeighbourState> for NeighState {
    fn from(state: NeighbourState) -> Self {
        match state {
            NeighbourState::Incomplete => Self::Incomplete,
            NeighbourState::Reachable => Self::Reachable,
            NeighbourState::Stale => Self::Stale,
            NeighbourState::Delay => Self::Delay,
            NeighbourState::Probe => Self::Probe,
            NeighbourState::Failed => Self::Failed,
            NeighbourState::Permanent => Self::Permanent,
            NeighbourState::Noarp => Self::NoArp,
            _ => Self::None,
        }
    }
}

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub mac: Option<Mac>,
    pub state: NeighState,
}

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    LinkChanged {
        ifindex: u32,
        name: String,
        up: bool,
        mtu: u32,
        mac: Option<Mac>,
    },
    LinkGone {
        ifindex: u32,
        name: String,
    },
    AddressesChanged {
        ifindex: u32,
    },
    /// A route or rule came or went: ask again for what matters.
    RoutesChanged,
    /// `state` is [`NeighState::None`] when the kernel forgot the entry.
    NeighbourChanged {
        ifindex: u32,
        address: IpAddr,
        mac: Option<Mac>,
        state: NeighState,
    },
    /// Events were lost, by the kernel or by a slow reader: what is known now is right, but anything may differ
    /// from what was told.
    Resynced,
}

fn xdp(facts: &[LinkXdp]) -> Option<XdpProgram> {
    let id = facts.iter().find_map(|fact| match fact {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let generic =
        facts.iter().any(|fact| matches!(fact, LinkXdp::Attached(XdpAttached::SocketBuffer)));
    Some(XdpProgram { id, generic })
}

/// Number and kind of a VLAN.
fn vlan(info: &[LinkInfo]) -> Option<(u16, bool)> {
    let data = info.iter().find_map(|part| match part {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let number = data.iter().find_map(|part| match part {
        InfoVlan::Id(number) => Some(*number),
        _ => None,
    })?;
    let provider =
        data.iter().any(|part| matches!(part, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    Some((number, provider))
}

impl NodeEvent {
    fn link(link: &Link) -> Self {
        Self::LinkChanged {
            ifindex: link.ifindex,
            name: link.name.clone(),
            up: link.up,
            mtu: link.mtu,
            mac: link.mac,
        }
    }
}

/// What the kernel said last.
#[derive(Debug, Default)]
pub struct State {
    links: BTreeMap<u32, Link>,
    addresses: Vec<Address>,
    neighbours: HashMap<(u32, IpAddr), Neighbour>,
}

impl State {
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    pub fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub fn primary_address(&self, ifindex: u32, ipv6: bool) -> Option<IpAddr> {
        let fits = |a: &&Address| a.ifindex == ifindex && a.address.is_ipv6() == ipv6;
        self.addresses.iter().filter(fits).find(|a| !a.secondary && a.global).map(|a| a.address)
    }

    pub fn neighbour(&self, ifindex: u32, address: IpAddr) -> Option<Neighbour> {
        self.neighbours.get(&(ifindex, address)).copied()
    }

    pub fn neighbours(&self) -> impl Iterator<Item = (u32, IpAddr, Mac)> {
        self.neighbours
            .iter()
            .filter_map(|(&(ifindex, address), entry)| Some((ifindex, address, entry.mac?)))
    }

    /// Folds one message; `None` if it says nothing new.
    pub fn apply(&mut self, message: &RouteNetlinkMessage) -> Option<NodeEvent> {
        match message {
            RouteNetlinkMessage::NewLink(message) => self.link_is(message),
            RouteNetlinkMessage::DelLink(message) => self.link_gone(message),
            RouteNetlinkMessage::NewAddress(message) => self.address_is(message),
            RouteNetlinkMessage::DelAddress(message) => self.address_gone(message),
            RouteNetlinkMessage::NewNeighbour(message) => self.neighbour_is(message),
            RouteNetlinkMessage::DelNeighbour(message) => self.neighbour_gone(message),
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewRule(_)
            | RouteNetlinkMessage::DelRule(_) => Some(NodeEvent::RoutesChanged),
            _ => None,
        }
    }

    fn link_is(&mut self, message: &LinkMessage) -> Option<NodeEvent> {
        // Bridges tell of their ports by messages of their own family, which lack half of the attributes.
        if message.header.interface_family == AddressFamily::Bridge {
            return None;
        }
        let ifindex = message.header.index;
        let wanted = LinkFlags::Up | LinkFlags::LowerUp;
        let mut link = Link {
            ifindex,
            name: String::new(),
            up: message.header.flags.contains(wanted),
            mtu: 0,
            mac: None,
            enabled: message.header.flags.contains(LinkFlags::Up),
            xdp: None,
            vlan: None,
            master: None,
        };
        let (mut below, mut info, mut here) = (0, None, true);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Controller(ifindex) => {
                    link.master = Some(*ifindex).filter(|ifindex| *ifindex != 0);
                }
                LinkAttribute::Link(ifindex) => below = *ifindex,
                // The number below is another namespace's.
                LinkAttribute::LinkNetNsId(_) => here = false,
                LinkAttribute::LinkInfo(found) => info = vlan(found),
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes)
                    if message.header.link_layer_type == LinkLayerType::Ether =>
                {
                    link.mac = mac(bytes);
                }
                LinkAttribute::Xdp(facts) => link.xdp = xdp(facts),
                _ => {}
            }
        }
        link.vlan =
            info.filter(|_| here).map(|(number, provider)| Vlan { on: below, number, provider });
        if self.links.get(&ifindex) == Some(&link) {
            return None;
        }
        let event = NodeEvent::link(&link);
        self.links.insert(ifindex, link);
        Some(event)
    }

    fn link_gone(&mut self, message: &LinkMessage) -> Option<NodeEvent> {
        if message.header.interface_family == AddressFamily::Bridge {
            return None;
        }
        let ifindex = message.header.index;
        let link = self.links.remove(&ifindex)?;
        self.addresses.retain(|address| address.ifindex != ifindex);
        self.neighbours.retain(|(on, _), _| *on != ifindex);
        Some(NodeEvent::LinkGone { ifindex, name: link.name })
    }

    fn address_is(&mut self, message: &AddressMessage) -> Option<NodeEvent> {
        let address = address(message)?;
        let same = |a: &Address| {
            (a.ifindex, a.address, a.prefix) == (address.ifindex, address.address, address.prefix)
        };
        match self.addresses.iter_mut().find(|a| same(a)) {
            Some(known) if *known == address => return None,
            Some(known) => *known = address,
            None => self.addresses.push(address),
        }
        Some(NodeEvent::AddressesChanged { ifindex: address.ifindex })
    }

    fn address_gone(&mut self, message: &AddressMessage) -> Option<NodeEvent> {
        let gone = address(message)?;
        let before = self.addresses.len();
        self.addresses.retain(|a| {
            (a.ifindex, a.address, a.prefix) != (gone.ifindex, gone.address, gone.prefix)
        });
        (self.addresses.len() != before)
            .then_some(NodeEvent::AddressesChanged { ifindex: gone.ifindex })
    }

    fn neighbour_is(&mut self, message: &NeighbourMessage) -> Option<NodeEvent> {
        let (ifindex, address, mac) = neighbour(message)?;
        let state = NeighState::from(message.header.state);
        let before = self.neighbour(ifindex, address).map(|n| n.state);
        let entry = match state {
            // A neighbour that does not answer fails out of PROBE (which the kernel tells) or out of an entry
            // without an address. Failing out of a good state is how the kernel announces a deletion.
            NeighState::Failed if before.is_some_and(deleted_from) => {
                Neighbour { mac: None, state: NeighState::None }
            }
            NeighState::Failed => Neighbour { mac: None, state },
            _ => Neighbour { mac, state },
        };
        self.set_neighbour(ifindex, address, entry)
    }

    fn neighbour_gone(&mut self, message: &NeighbourMessage) -> Option<NodeEvent> {
        let (ifindex, address, _) = neighbour(message)?;
        self.set_neighbour(ifindex, address, Neighbour { mac: None, state: NeighState::None })
    }

    fn set_neighbour(
        &mut self,
        ifindex: u32,
        address: IpAddr,
        entry: Neighbour,
    ) -> Option<NodeEvent> {
        let key = (ifindex, address);
        let before = if entry.state == NeighState::None {
            self.neighbours.remove(&key)
        } else {
            self.neighbours.insert(key, entry)
        };
        if before == Some(entry) || (before.is_none() && entry.state == NeighState::None) {
            return None;
        }
        let Neighbour { mac, state } = entry;
        Some(NodeEvent::NeighbourChanged { ifindex, address, mac, state })
    }
}

const fn deleted_from(state: NeighState) -> bool {
    state.usable() && !matches!(state, NeighState::Probe)
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().map(Mac)
}

/// `None` for families other than IPv4 and IPv6.
fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut peer = None;
    // IPv6 calls the same bit "temporary" (RFC 8981).
    let header = AddressHeaderFlags::Secondary | AddressHeaderFlags::Deprecated;
    let mut secondary = message.header.flags.intersects(header);
    let more = AddressFlags::Secondary | AddressFlags::Deprecated;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(flags) => secondary |= flags.intersects(more),
            _ => {}
        }
    }
    Some(Address {
        ifindex: message.header.index,
        // On a point-to-point interface the other one is the far end's.
        address: local.or(peer)?,
        prefix: message.header.prefix_len,
        secondary,
        global: message.header.scope == AddressScope::Universe,
    })
}

/// `None` for families other than IPv4 and IPv6, and for groups, which nobody has to be asked for.
fn neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr, Option<Mac>)> {
    let mut address = None;
    let mut link_layer = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer = mac(bytes),
            _ => {}
        }
    }
    let address = address.filter(|address| !address.is_multicast())?;
    Some((message.header.ifindex, address, link_layer))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const GOOD: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn entry(state: NeighbourState, mac: Option<Mac>) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 7;
        message.header.state = state;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(IP)));
        if let Some(mac) = mac {
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        }
        RouteNetlinkMessage::NewNeighbour(message)
    }

    fn after(states: &[(NeighbourState, Option<Mac>)]) -> (NeighState, Option<Mac>) {
        let mut state = State::default();
        for (nud, mac) in states {
            state.apply(&entry(*nud, *mac));
        }
        state.neighbour(7, IP).map_or((NeighState::None, None), |n| (n.state, n.mac))
    }

    // K-36
    #[test]
    fn failing_out_of_probe_is_silence_and_out_of_a_good_state_is_a_deletion() {
        use NeighbourState::{Failed, Incomplete, Probe, Reachable, Stale};
        let cases = [
            (&[(Reachable, Some(GOOD)), (Failed, None)][..], NeighState::None),
            (&[(Stale, Some(GOOD)), (Failed, Some(GOOD))], NeighState::None),
            (&[(Probe, Some(GOOD)), (Failed, Some(GOOD))], NeighState::Failed),
            (&[(Incomplete, None), (Failed, None)], NeighState::Failed),
            (&[(Failed, None)], NeighState::Failed),
        ];
        for (states, expected) in cases {
            assert_eq!(after(states), (expected, None), "{states:?}");
        }
        assert_eq!(after(&[(Stale, Some(GOOD))]), (NeighState::Stale, Some(GOOD)));
    }

    #[test]
    fn repeated_message_is_no_event() {
        let mut state = State::default();
        let message = entry(NeighbourState::Reachable, Some(GOOD));
        assert!(state.apply(&message).is_some());
        assert!(state.apply(&message).is_none());
    }

    #[test]
    fn primary_address_is_the_first_global_one_that_is_not_secondary() {
        let mut state = State::default();
        let mut add = |ip: [u8; 4], scope, flags| {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.index = 7;
            message.header.prefix_len = 24;
            message.header.scope = scope;
            message.header.flags = flags;
            message.attributes.push(AddressAttribute::Local(IpAddr::from(ip)));
            state.apply(&RouteNetlinkMessage::NewAddress(message));
        };
        let none = AddressHeaderFlags::empty();
        add([169, 254, 0, 1], AddressScope::Link, none);
        add([192, 0, 2, 9], AddressScope::Universe, AddressHeaderFlags::Secondary);
        add([192, 0, 2, 1], AddressScope::Universe, none);
        add([192, 0, 2, 2], AddressScope::Universe, none);
        assert_eq!(state.primary_address(7, false), Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(state.primary_address(8, false), None);
    }
}
