//! The node and its keeper against a real kernel: a director and its neighbour, each in a namespace.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lb_common::wire::Mac;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::netns::Netns;
use super::*;

const DIRECTOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const REAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const OLD: &str = "02:00:00:00:00:10";
const NEW: &str = "02:00:00:00:00:20";

/// A change of the host is to be told within this.
const SOON: Duration = Duration::from_secs(1);
/// For what depends on the kernel's own timers.
const LATER: Duration = Duration::from_secs(20);

/// `d0` 192.0.2.1/24 on the director's side; `r0` with the real server and the router on the other.
struct Lab {
    director: Netns,
    peer: Arc<Netns>,
}

impl Lab {
    fn new() -> Option<Self> {
        let (director, peer) = (Netns::new()?, Netns::new()?);
        director.cable("d0", &peer, "r0");
        peer.ip(&format!("link set r0 address {OLD}"));
        director.ip("address add 192.0.2.1/24 dev d0");
        peer.ip("address add 192.0.2.10/24 dev r0");
        peer.ip("address add 192.0.2.254/24 dev r0");
        director.ip("route add 203.0.113.0/24 via 192.0.2.254");
        // Silence is noticed sooner; the logic does not know.
        director.sysctl("ipv4/neigh/d0/retrans_time_ms", "100");
        Some(Self { director, peer: Arc::new(peer) })
    }

    /// Runs a test on the director, with the neighbour at hand.
    fn play<F, T>(&self, test: F)
    where
        F: FnOnce(Arc<Netns>) -> T + Send + 'static,
        T: Future<Output = ()>,
    {
        let peer = Arc::clone(&self.peer);
        self.director.run(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test(peer));
        });
    }
}

fn ip(arguments: &str) {
    let output = std::process::Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

fn mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(digits, 16).unwrap();
    }
    Mac(bytes)
}

/// A node and a keeper that watches these destinations, all resolved.
struct Kept {
    node: Node,
    events: mpsc::Receiver<NodeEvent>,
    keeper: Keeper,
    changes: mpsc::Receiver<HopChanged>,
}

impl Kept {
    async fn new(destinations: &[IpAddr]) -> Self {
        let (sender, events) = mpsc::channel(1024);
        let node = Node::start(sender).await.unwrap();
        let (sender, changes) = mpsc::channel(16);
        let keeper = Keeper::start(&node, sender);
        keeper.watch(destinations.to_vec());
        assert_eq!(keeper.resolve_all(LATER).await, []);
        let mut kept = Self { node, events, keeper, changes };
        let mut waiting = destinations.to_vec();
        while !waiting.is_empty() {
            let change = kept.change(SOON).await;
            if change.hop.is_some() {
                waiting.retain(|d| *d != change.destination);
            }
        }
        kept
    }

    async fn change(&mut self, limit: Duration) -> HopChanged {
        timeout(limit, self.changes.recv()).await.expect("no change was told").unwrap()
    }

    /// Waits until the node knows it.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Node) -> bool) {
        let deadline = Instant::now() + LATER;
        while !holds(&self.node) {
            let event = tokio::time::timeout_at(deadline, self.events.recv()).await;
            event.unwrap_or_else(|_| panic!("not in time: {what}"));
        }
    }

    fn state(node: &Node) -> Option<NeighState> {
        let d0 = node.link_by_name("d0").unwrap().ifindex;
        node.neighbour(d0, REAL).map(|(_, state)| state)
    }

    async fn stop(self) {
        timeout(SOON, self.node.stop()).await.expect("the tasks did not end");
    }
}

#[test]
fn links_addresses_and_routes_are_known_and_followed() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|_| async {
        let (sender, mut events) = mpsc::channel(1024);
        let node = Node::start(sender).await.unwrap();
        let d0 = node.link_by_name("d0").unwrap();
        assert!(d0.up && d0.mtu == 1500 && d0.mac.is_some());
        assert_eq!(node.links().len(), 2);
        assert_eq!(node.primary_ipv4(d0.ifindex).map(IpAddr::from), Some(DIRECTOR));

        let near = Route { ifindex: d0.ifindex, gateway: None, prefsrc: Some(DIRECTOR) };
        assert_eq!(node.route_to(REAL).await.unwrap(), near);
        let far = Route { gateway: Some(ROUTER), ..near };
        assert_eq!(node.route_to(FAR).await.unwrap(), far);
        assert!(matches!(node.route_to(DIRECTOR).await, Err(NodeError::Local { .. })));
        let error = node.route_to(Ipv4Addr::new(198, 51, 100, 1).into()).await.unwrap_err();
        assert!(error.to_string().starts_with("no route to 198.51.100.1: no route covers it"));
        ip("route add unreachable 198.51.100.0/24");
        let error = node.route_to(Ipv4Addr::new(198, 51, 100, 1).into()).await.unwrap_err();
        assert!(error.to_string().contains("a route says unreachable"), "{error}");

        ip("address add 192.0.2.2/24 dev d0");
        ip("link set d0 mtu 1400");
        ip("link add d9 type veth peer name d8");
        ip("link delete d9");
        let (mut addresses, mut mtu, mut routes, mut gone) = (false, false, false, false);
        let deadline = Instant::now() + SOON;
        while !(addresses && mtu && routes && gone) {
            let event = tokio::time::timeout_at(deadline, events.recv()).await;
            match event.expect("an event is missing").unwrap() {
                NodeEvent::AddressesChanged { ifindex } => addresses |= ifindex == d0.ifindex,
                NodeEvent::LinkChanged { ifindex, mtu: new, .. } => {
                    mtu |= (ifindex, new) == (d0.ifindex, 1400);
                }
                NodeEvent::RoutesChanged => routes = true,
                NodeEvent::LinkGone { name, .. } => gone |= name == "d9",
                _ => {}
            }
        }
        // The second address of a subnet is secondary: it is not the primary one.
        assert_eq!(node.primary_ipv4(d0.ifindex).map(IpAddr::from), Some(DIRECTOR));
        let of_d0 =
            node.addresses().into_iter().filter(|a| a.ifindex == d0.ifindex && a.address.is_ipv4());
        assert_eq!(of_d0.map(|a| a.secondary).collect::<Vec<_>>(), [false, true]);
        node.stop().await;
    });
}

#[test]
fn watched_destinations_are_resolved_without_any_traffic() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|_| async {
        let kept = Kept::new(&[REAL, FAR]).await;
        let d0 = kept.node.link_by_name("d0").unwrap();
        let expected = Resolved {
            ifindex: d0.ifindex,
            address: REAL,
            dst_mac: mac(OLD),
            src_mac: d0.mac.unwrap(),
            mtu: 1500,
            source: Some(DIRECTOR),
        };
        assert_eq!(kept.keeper.hop(REAL), Some(expected));
        assert_eq!(kept.keeper.hop(FAR), Some(Resolved { address: ROUTER, ..expected }));
        kept.stop().await;
    });
}

#[test]
fn what_cannot_be_resolved_is_named_with_the_reason() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|_| async {
        let mut kept = Kept::new(&[REAL]).await;
        let silent = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
        let nowhere = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
        kept.keeper.watch(vec![REAL, silent, nowhere, DIRECTOR]);
        let d0 = kept.node.link_by_name("d0").unwrap().ifindex;
        let failed = Some(Neighbour { mac: None, state: NeighState::Failed });
        kept.until("silence", |n| n.read(|s| s.neighbour(d0, silent)) == failed).await;
        let missing = kept.keeper.resolve_all(Duration::from_millis(50)).await;
        let [(a, own), (b, no_answer), (c, no_route)] = &missing[..] else {
            panic!("{missing:?}");
        };
        assert_eq!((*a, *b, *c), (DIRECTOR, silent, nowhere));
        assert!(own.contains("an address of this host"), "{own}");
        assert_eq!(no_answer, "192.0.2.99 does not answer to ARP on `d0`");
        assert!(no_route.contains("no route covers it"), "{no_route}");
        kept.stop().await;
    });
}

// K-35
#[test]
fn gratuitous_arp_changes_the_hop_at_once() {
    let Some(lab) = Lab::new() else { return };
    // The kernel announces a new Ethernet address by itself, as a machine that takes over does.
    lab.peer.sysctl("ipv4/conf/r0/arp_notify", "1");
    lab.play(|peer| async move {
        let mut kept = Kept::new(&[REAL, FAR]).await;
        // Each within the second in which `locktime` refuses other ARP than gratuitous.
        for to in [NEW, OLD, NEW] {
            let start = Instant::now();
            peer.ip(&format!("link set r0 address {to}"));
            let mut moved = Vec::new();
            while moved.len() < 2 {
                let change = kept.change(SOON).await;
                assert_eq!(change.hop.unwrap().dst_mac, mac(to), "{change:?}");
                assert!(change.reason.contains("moved from"), "{change:?}");
                moved.push(change.destination);
            }
            println!("told {:?} after the change", start.elapsed());
        }
        kept.stop().await;
    });
}

// K-35
#[test]
fn silent_change_of_address_is_found_by_probes() {
    let Some(lab) = Lab::new() else { return };
    lab.director.sysctl("ipv4/neigh/d0/base_reachable_time_ms", "1000");
    lab.play(|peer| async move {
        let mut kept = Kept::new(&[REAL]).await;
        peer.ip(&format!("link set r0 address {NEW}"));
        let start = Instant::now();
        // Whatever lies between, nothing says the old address once it failed.
        loop {
            let change = kept.change(LATER).await;
            match change.hop {
                Some(hop) if hop.dst_mac == mac(NEW) => break,
                Some(_) => panic!("{change:?}"),
                None => {}
            }
        }
        println!("found after {:?}", start.elapsed());
        kept.stop().await;
    });
}

// K-36
#[test]
fn stale_entry_is_checked_at_once() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|_| async {
        let mut kept = Kept::new(&[REAL]).await;
        kept.until("reachable", |n| Kept::state(n) == Some(NeighState::Reachable)).await;
        ip("neighbour change 192.0.2.10 dev d0 nud stale");
        kept.until("stale", |n| Kept::state(n) != Some(NeighState::Reachable)).await;
        let start = Instant::now();
        kept.until("reachable", |n| Kept::state(n) == Some(NeighState::Reachable)).await;
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(kept.changes.try_recv().is_err());
        kept.stop().await;
    });
}

// K-36
#[test]
fn deleted_entry_keeps_its_address_and_is_asked_for_again() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|_| async {
        let mut kept = Kept::new(&[REAL]).await;
        for command in ["neighbour delete 192.0.2.10 dev d0", "neighbour flush dev d0"] {
            kept.until("reachable", |n| Kept::state(n) == Some(NeighState::Reachable)).await;
            ip(command);
            kept.until("deleted", |n| Kept::state(n) != Some(NeighState::Reachable)).await;
            kept.until("reachable", |n| Kept::state(n) == Some(NeighState::Reachable)).await;
        }
        assert!(kept.changes.try_recv().is_err());
        assert_eq!(kept.keeper.hop(REAL).unwrap().dst_mac, mac(OLD));
        kept.stop().await;
    });
}

// K-36
#[test]
fn silent_neighbour_has_no_hop_until_it_answers_again() {
    let Some(lab) = Lab::new() else { return };
    lab.director.sysctl("ipv4/neigh/d0/base_reachable_time_ms", "1000");
    lab.play(|peer| async move {
        let mut kept = Kept::new(&[REAL]).await;
        peer.ip("address delete 192.0.2.10/24 dev r0");
        // Deleting the primary address took the others of its subnet with it.
        peer.ip("address replace 192.0.2.254/24 dev r0");
        let change = kept.change(LATER).await;
        assert_eq!((change.hop, kept.keeper.hop(REAL)), (None, None));
        assert_eq!(change.reason, "192.0.2.10 does not answer to ARP on `d0`");
        peer.ip("address add 192.0.2.10/24 dev r0");
        let change = kept.change(Duration::from_secs(3)).await;
        assert_eq!(change.hop.unwrap().dst_mac, mac(OLD));
        kept.stop().await;
    });
}

// K-37
#[test]
fn replaced_route_moves_the_hop_to_the_new_router() {
    let Some(lab) = Lab::new() else { return };
    lab.director.cable("d1", &lab.peer, "r1");
    lab.peer.ip(&format!("link set r1 address {NEW}"));
    lab.director.ip("address add 198.51.100.1/24 dev d1");
    lab.peer.ip("address add 198.51.100.254/24 dev r1");
    lab.play(|_| async {
        let mut kept = Kept::new(&[FAR]).await;
        ip("route replace 203.0.113.0/24 via 198.51.100.254");
        let deadline = Instant::now() + SOON;
        let hop = loop {
            let left = deadline - Instant::now();
            if let Some(hop) = kept.change(left).await.hop {
                break hop;
            }
        };
        let d1 = kept.node.link_by_name("d1").unwrap();
        assert_eq!((hop.ifindex, hop.dst_mac), (d1.ifindex, mac(NEW)));
        assert_eq!(hop.source, Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1))));
        ip("route delete 203.0.113.0/24");
        let change = kept.change(SOON).await;
        assert!(change.hop.is_none() && change.reason.contains("no route"), "{change:?}");
        kept.stop().await;
    });
}

// K-38
#[test]
fn flapping_route_ends_in_the_state_it_ends_in() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|_| async {
        let mut kept = Kept::new(&[FAR, REAL]).await;
        for _ in 0..50 {
            ip("route delete 203.0.113.0/24");
            ip("route add 203.0.113.0/24 via 192.0.2.254");
            tokio::task::yield_now().await;
        }
        ip("route delete 203.0.113.0/24");
        loop {
            let change = kept.change(SOON).await;
            assert_eq!(change.destination, FAR, "the other destination has nothing to do with it");
            if change.hop.is_none() {
                break;
            }
        }
        ip("route add 203.0.113.0/24 via 192.0.2.254");
        assert_eq!(kept.change(SOON).await.hop.unwrap().dst_mac, mac(OLD));
        kept.stop().await;
    });
}

#[test]
fn permanent_entry_is_used_and_left_alone() {
    let Some(lab) = Lab::new() else { return };
    lab.director.ip(&format!("neighbour add 192.0.2.10 lladdr {NEW} dev d0 nud permanent"));
    lab.play(|_| async {
        let mut kept = Kept::new(&[REAL]).await;
        assert_eq!(kept.keeper.hop(REAL).unwrap().dst_mac, mac(NEW));
        // Asking would take "permanent" off the entry.
        let d0 = kept.node.link_by_name("d0").unwrap().ifindex;
        kept.node.ask(d0, REAL, NeighState::Permanent).await.unwrap();
        let marker = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
        ip(&format!("neighbour add {marker} lladdr {OLD} dev d0 nud permanent"));
        kept.until("the marker", |node| node.neighbour(d0, marker).is_some()).await;
        assert_eq!(Kept::state(&kept.node), Some(NeighState::Permanent));
        ip(&format!("neighbour change 192.0.2.10 lladdr {OLD} dev d0 nud permanent"));
        while kept.keeper.hop(REAL).unwrap().dst_mac != mac(OLD) {
            kept.change(SOON).await;
        }
        assert_eq!(Kept::state(&kept.node), Some(NeighState::Permanent));
        kept.stop().await;
    });
}

#[test]
fn lost_notifications_are_made_good_by_reading_everything_again() {
    const MANY: u32 = 30_000;
    let Some(lab) = Lab::new() else { return };
    lab.director.ip("address add 10.0.0.1/8 dev d0");
    lab.play(|_| async {
        use std::io::Write;
        let mut kept = Kept::new(&[REAL]).await;
        let mut batch = tempfile::NamedTempFile::new().unwrap();
        for n in 0..MANY {
            let address = IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + n));
            writeln!(batch, "neighbour add {address} lladdr {NEW} dev d0 nud permanent").unwrap();
        }
        // This thread, which is the listener's too, waits for the end: the socket's buffer overflows.
        ip(&format!("-batch {}", batch.path().display()));
        ip(&format!("neighbour replace 192.0.2.10 lladdr {NEW} dev d0 nud permanent"));
        let deadline = Instant::now() + LATER;
        while tokio::time::timeout_at(deadline, kept.events.recv()).await.unwrap().unwrap()
            != NodeEvent::Resynced
        {}
        kept.until("the last entry", |node| {
            let d0 = node.link_by_name("d0").unwrap().ifindex;
            let last = IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + MANY - 1));
            node.neighbour(d0, last) == Some((mac(NEW), NeighState::Permanent))
        })
        .await;
        assert_eq!(kept.change(SOON).await.hop.unwrap().dst_mac, mac(NEW));
        kept.stop().await;
    });
}

// K-29
#[test]
fn hop_is_gone_while_the_link_is_down_and_back_within_a_second() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|peer| async move {
        let mut kept = Kept::new(&[REAL]).await;
        // Carrier loss, then switched off here.
        for (down, up) in [(Some(&peer), true), (None, false)] {
            let set = |to: &str| match down {
                Some(peer) => peer.ip(&format!("link set r0 {to}")),
                None => ip(&format!("link set d0 {to}")),
            };
            set("down");
            // The kernel tells of a lost carrier at most once a second; of one that is back it tells at once.
            let change = kept.change(LATER).await;
            assert_eq!(change.hop, None, "carrier {up}: {change:?}");
            set("up");
            let change = kept.change(SOON).await;
            assert_eq!(change.hop.unwrap().dst_mac, mac(OLD));
        }
        kept.stop().await;
    });
}

#[test]
fn unwatched_destination_is_told_no_more() {
    let Some(lab) = Lab::new() else { return };
    lab.play(|peer| async move {
        let mut kept = Kept::new(&[REAL, FAR]).await;
        kept.keeper.watch(vec![FAR]);
        // The kernel tells of a lost carrier at most once a second (net/core/link_watch.c).
        peer.ip("link set r0 down");
        assert_eq!(kept.change(LATER).await.destination, FAR);
        assert_eq!(kept.keeper.hop(REAL), None);
        assert!(kept.changes.try_recv().is_err());
        kept.stop().await;
    });
}

#[test]
fn driver_and_offloads_of_a_virtual_cable() {
    let Some(lab) = Lab::new() else { return };
    lab.director.run(|| {
        assert_eq!(host::driver_name("d0").unwrap(), "veth");
        assert!(!host::lro_enabled("d0").unwrap());
        assert_eq!(host::bound_ports().unwrap(), host::BoundPorts::default());
    });
}
