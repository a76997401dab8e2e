//! `TCP_CHECK`: connect within `connect_timeout`, then close.
//!
//! As in keepalived (`layer4.c`, `check_tcp.c`) an error before the connection is attempted is this host's
//! and says nothing about the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::config::model::CheckTarget;

use super::Outcome;

/// Runs one check.
pub async fn check(target: &CheckTarget) -> Outcome {
    let peer = SocketAddr::new(target.connect_ip, target.connect_port);
    let socket = match open(target, peer) {
        Ok(socket) => socket,
        Err(source) => return Outcome::NotRun(format!("cannot open the check's socket: {source}")),
    };
    match timeout(target.connect_timeout, socket.connect(peer)).await {
        Ok(Ok(stream)) => connected(&stream, target),
        Ok(Err(source)) => refused(&source),
        Err(_) => {
            Outcome::Failed(format!("connect timed out after {}", seconds(target.connect_timeout)))
        }
    }
}

/// A socket that is bound as the checker says and not yet connected.
fn open(target: &CheckTarget, peer: SocketAddr) -> io::Result<TcpSocket> {
    let socket =
        Socket::new(Domain::for_address(peer), Type::STREAM.nonblocking().cloexec(), None)?;
    if let Some(mark) = target.fwmark {
        socket.set_mark(mark)?;
    }
    if let Some(interface) = &target.bind_if {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if target.bindto.is_some() || target.bind_port.is_some() {
        let any = match peer {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        if target.bind_port.is_some() {
            socket.set_reuse_address(true)?;
        }
        let local = SocketAddr::new(target.bindto.unwrap_or(any), target.bind_port.unwrap_or(0));
        socket.bind(&local.into())?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn connected(stream: &TcpStream, target: &CheckTarget) -> Outcome {
    if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr())
        && local == peer
    {
        // The kernel chose the port we connect to as our own and the socket answered itself: only for an
        // address of this host, and nobody listens there.
        return Outcome::Failed("connection refused".into());
    }
    if target.bind_port.is_some() {
        // A fixed port would stay in TIME-WAIT for a minute and the next check could not connect. If it
        // does not work the check still passed.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    Outcome::Passed
}

/// Errors of connect(2) that are this host's own; all others are the network's answer.
fn refused(source: &io::Error) -> Outcome {
    match source.raw_os_error() {
        Some(
            libc::EADDRINUSE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN,
        ) => Outcome::NotRun(format!("cannot connect from this host: {}", words(source))),
        _ => Outcome::Failed(words(source)),
    }
}

/// The system's sentence without its number, in lower case: "connection refused".
fn words(source: &io::Error) -> String {
    let text = source.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn target(peer: SocketAddr) -> CheckTarget {
        CheckTarget {
            connect_ip: peer.ip(),
            connect_port: peer.port(),
            bindto: None,
            bind_port: None,
            bind_if: None,
            fwmark: None,
            connect_timeout: Duration::from_millis(300),
        }
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn listening_server_passes_and_sees_the_source_that_was_asked_for() {
        let (listener, address) = listener();
        let mut target = target(address);
        target.bindto = Some("127.0.0.9".parse().unwrap());
        assert_eq!(check(&target).await, Outcome::Passed);
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), "127.0.0.9".parse::<IpAddr>().unwrap());
    }

    #[tokio::test]
    async fn fixed_source_port_serves_check_after_check() {
        let (listener, address) = listener();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut target = target(address);
        target.bind_port = Some(free);
        for _ in 0..3 {
            assert_eq!(check(&target).await, Outcome::Passed);
            let (_, from) = listener.accept().unwrap();
            assert_eq!(from.port(), free);
        }
    }

    #[tokio::test]
    async fn closed_port_fails_with_the_reason() {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(check(&target(address)).await, Outcome::Failed("connection refused".into()));
    }

    #[tokio::test]
    async fn interface_and_mark_are_set_on_the_socket() {
        let (_listener, address) = listener();
        let mut target = target(address);
        target.bind_if = Some("lo".into());
        target.fwmark = Some(7);
        let socket = match open(&target, address) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                println!("skipped: needs CAP_NET_ADMIN");
                return;
            }
            other => other.unwrap(),
        };
        let seen = SockRef::from(&socket);
        assert_eq!(seen.mark().unwrap(), 7);
        assert_eq!(seen.device().unwrap().as_deref(), Some(&b"lo"[..]));
        drop(socket);
        assert_eq!(check(&target).await, Outcome::Passed);
    }

    // K-44
    #[tokio::test]
    async fn full_backlog_times_out_at_the_deadline() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        // A backlog of 0 holds one connection; the kernel ignores further SYNs.
        let _held = std::net::TcpStream::connect(address).unwrap();
        let outcome = check(&target(address)).await;
        assert_eq!(outcome, Outcome::Failed("connect timed out after 0.3s".into()));
    }

    #[tokio::test]
    async fn what_this_host_lacks_is_not_held_against_the_server() {
        let (_listener, address) = listener();
        let mut by_interface = target(address);
        by_interface.bind_if = Some("xlb-no-such".into());
        let mut by_address = target(address);
        by_address.bindto = Some("203.0.113.7".parse().unwrap());
        for target in [by_interface, by_address] {
            assert!(matches!(check(&target).await, Outcome::NotRun(_)), "{target:?}");
        }
    }
}
