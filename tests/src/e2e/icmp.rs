//! What routers and hosts say about packets of connections, and what xlb says itself.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::bed::{Bed, client_address};
use super::client::{Talk, VIP, ask_udp_on};
use super::config::Service;
use super::routed::{BEYOND, CLIENT, INSIDE, Link, MIDDLE, OUTSIDE, Routed};

/// What goes through a narrow link each way, and how long that may take.
const BYTES: u64 = 10_000_000;
const LIMIT: Duration = Duration::from_secs(5);
/// What the narrow link takes.
const NARROW: u32 = 1_400;

/// Ten megabytes each way through a link of 1,400 bytes, by both methods.
fn a_narrow_link_is_found(link: Link) -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let routed = Routed::start(kind, "TCP", Some((link, NARROW)))?;
        let client = routed.client()?;
        let enough = |bytes| bytes >= BYTES;
        for (what, transfer) in [
            ("download", Talk::download as fn(Talk, fn(u64) -> bool) -> std::io::Result<u64>),
            ("upload", Talk::upload),
        ] {
            let talk = Talk::open(&client, CLIENT, VIP)?;
            let start = Instant::now();
            transfer(talk, enough).with_context(|| format!("{kind} {what}"))?;
            ensure!(start.elapsed() < LIMIT, "{kind} {what} took {:?}", start.elapsed());
        }
    }
    Ok(())
}

/// Behind the next router of the clients: the real server has to learn it. // P-51
pub fn a_narrow_link_on_the_clients_side() -> anyhow::Result<()> {
    a_narrow_link_is_found(MIDDLE)
}

/// Behind the next router of the real servers: the client has to learn it. // P-51
pub fn a_narrow_link_on_the_real_servers_side() -> anyhow::Result<()> {
    a_narrow_link_is_found(BEYOND)
}

/// The director's own inner link: xlb tells the client. // P-52
pub fn a_narrow_inner_link() -> anyhow::Result<()> {
    a_narrow_link_is_found(INSIDE)
}

/// The director's own outer link: xlb tells the real server. // P-52
pub fn a_narrow_outer_link() -> anyhow::Result<()> {
    a_narrow_link_is_found(OUTSIDE)
}

/// A datagram whose time to live ends at the director is answered, and so is one that ends behind it. // P-32 P-34
pub fn an_ended_time_to_live_is_told() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let routed = Routed::start(kind, "UDP", None)?;
        let client = routed.client()?;
        // Hops: r1, r2, the director, r3, r4.
        for ttl in 3..=5 {
            let socket = client.enter(|| UdpSocket::bind((CLIENT, 0)))??;
            socket.set_ttl(ttl)?;
            // Else the kernel keeps errors that may pass to itself.
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv4RecvErr, &true)?;
            let error = ask_udp_on(&socket, VIP).err().context("answered all the same")?;
            ensure!(error.kind() == ErrorKind::HostUnreachable, "{kind}, {ttl} hops: {error}");
        }
        ensure!(routed.stat("drops", "ttl_expired")? == 1);
        let socket = client.enter(|| UdpSocket::bind((CLIENT, 0)))??;
        socket.set_ttl(6)?;
        ask_udp_on(&socket, VIP).context("enough hops")?;
    }
    Ok(())
}

/// A datagram to a real server that does not listen is refused as if the virtual server did. // P-39
pub fn a_refused_datagram_is_told() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let bed = Bed::two_arm()?;
        let reals = vec![("192.168.1.100 9".to_owned(), 1, String::new())];
        let service = Service { protocol: "UDP", reals, ..Service::new(kind) };
        let _daemon = bed.start(&service.text())?;
        let client = bed.client()?;
        let socket = client.enter(|| UdpSocket::bind((client_address(0), 0)))??;
        let error = ask_udp_on(&socket, VIP).err().context("answered all the same")?;
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{kind}: {error}");
    }
    Ok(())
}

/// Echo to the virtual address is answered by the host, whatever its size. // P-55
pub fn echo_is_answered() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").text())?;
    for size in ["0", "56", "1472"] {
        bed.client()?.run("ping", &["-c", "2", "-i", "0.2", "-W", "2", "-s", size, "10.64.1.2"])?;
    }
    let stats = daemon.stats()?;
    ensure!(stats["passes"]["icmp_query"] == 6, "{}", stats["passes"]);
    Ok(())
}

/// A thousand forged errors of all kinds about a live connection: it goes on. // P-50 S-34 S-35
pub fn forged_errors_end_nothing() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").text())?;
    let client = bed.client()?;
    let mut talk = Talk::open(&client, client_address(0), VIP)?;
    let before = talk.who()?;
    let std::net::SocketAddr::V4(local) = talk.local()? else { unreachable!("bound to IPv4") };
    // From the client's wire, about packets that the virtual server sent to the client.
    client.enter(|| -> anyhow::Result<()> {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::RAW,
            Some(socket2::Protocol::ICMPV4),
        )?;
        for n in 0..1_000_u32 {
            let (kind, code) =
                [(3, (n % 16) as u8), (11, 0), (4, 0), (5, 1), (12, 0)][n as usize % 5];
            let message = error_about(VIP, local, kind, code);
            socket.send_to(&message, &SocketAddrV4::new(*VIP.ip(), 0).into())?;
        }
        Ok(())
    })??;
    ensure!(talk.who()? == before, "the connection changed its server");
    let stats = daemon.stats()?;
    ensure!(stats["drops"]["icmp_type"] == 600, "{}", stats["drops"]);
    ensure!(stats["drops"]["icmp_small_mtu"].as_u64() > Some(0), "{}", stats["drops"]);
    Ok(())
}

/// An ICMP message about a TCP segment between two ends.
fn error_about(from: SocketAddrV4, to: SocketAddrV4, kind: u8, code: u8) -> Vec<u8> {
    let address = |end: SocketAddrV4| -> Ipv4Addr { *end.ip() };
    let segment = crate::packets::tcp(
        (address(from), from.port()),
        (address(to), to.port()),
        crate::packets::Flags::ACK,
        b"",
    );
    let quote = &crate::packets::ip_packet(&segment)[..28];
    let error = crate::packets::icmp(address(to), address(from), (kind, code, [0; 4]), quote);
    crate::packets::ip_packet(&error)[20..].to_vec()
}
