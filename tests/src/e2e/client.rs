//! Clients: real sockets in the client's namespace, each from an address of its own choice.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};
use xlb::lab::Host;

use super::server::{Checker, pattern};

/// The sample's virtual server.
pub const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 64, 1, 2), 10000);

/// Longer than a lost SYN needs, so that a loss shows as a slow answer and not as a failure of the test's own making.
const LIMIT: Duration = Duration::from_secs(10);

/// Who answered and whom they saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answer {
    pub server: String,
    pub seen: SocketAddr,
}

impl Answer {
    fn parse(line: &str) -> io::Result<Self> {
        let (server, seen) = line.trim_end().split_once(' ').ok_or(io::ErrorKind::UnexpectedEof)?;
        let seen = seen.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self { server: server.to_owned(), seen })
    }
}

/// An open TCP connection.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
}

impl Talk {
    /// Connects from `source` (port 0: any); for threads inside the namespace.
    pub fn open_here(source: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> io::Result<Self> {
        let (source, to) = (source.into(), to.into());
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&source.into())?;
        socket.connect_timeout(&to.into(), LIMIT)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self { stream: socket.into() })
    }

    /// Connects from a host.
    pub fn open(
        host: &Host,
        source: impl Into<IpAddr>,
        to: impl Into<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let (source, to) = (source.into(), to.into());
        host.enter(|| Self::open_here(SocketAddr::new(source, 0), to))?
            .with_context(|| format!("connect {source} to {to}"))
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Asks who is there.
    pub fn who(&mut self) -> io::Result<Answer> {
        self.stream.write_all(b"who\n")?;
        Answer::parse(&self.line()?)
    }

    /// Byte by byte, so that nothing behind the line is swallowed.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// How many bytes of data each end puts into a segment: the client, the server.
    pub fn segments(&mut self) -> io::Result<(u32, u32)> {
        self.stream.write_all(b"segment\n")?;
        let server = self.line()?.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok((socket2::SockRef::from(&self.stream).tcp_mss()?, server))
    }

    /// Has the server close first and closes then, so that the server is left in `TIME_WAIT`.
    pub fn server_closes(mut self) -> io::Result<()> {
        self.stream.write_all(b"bye\n")?;
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads the server's stream until `enough` says so; how many bytes, all of them right.
    pub fn download(mut self, mut enough: impl FnMut(u64) -> bool) -> io::Result<u64> {
        self.stream.write_all(b"stream\n")?;
        let (mut buffer, mut checker) = (vec![0; 262_144], Checker::default());
        while !enough(checker.seen) {
            let length = self.stream.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            checker.check(&buffer[..length])?;
        }
        Ok(checker.seen)
    }

    /// Sends the pattern until `enough` says so; the server's count of right bytes must be ours.
    pub fn upload(mut self, mut enough: impl FnMut(u64) -> bool) -> io::Result<u64> {
        self.stream.write_all(b"take\n")?;
        let mut sent = 0;
        while !enough(sent) {
            self.stream.write_all(pattern())?;
            sent += pattern().len() as u64;
        }
        self.stream.shutdown(Shutdown::Write)?;
        let mut line = String::new();
        BufReader::new(&self.stream).read_line(&mut line)?;
        if line.trim_end() == sent.to_string() {
            return Ok(sent);
        }
        Err(io::Error::other(format!("sent {sent}, the server took `{}`", line.trim_end())))
    }

    /// Ends the connection by a reset.
    pub fn reset(self) -> io::Result<()> {
        Socket::from(self.stream).set_linger(Some(Duration::ZERO))
    }
}

/// One short connection: connect, ask, close.
pub fn ask_here(source: SocketAddrV4, to: SocketAddrV4) -> io::Result<Answer> {
    Talk::open_here(source, to)?.who()
}

/// The same from a host.
pub fn ask(host: &Host, source: Ipv4Addr, to: SocketAddrV4) -> anyhow::Result<Answer> {
    Talk::open(host, source, to)?.who().with_context(|| format!("{source} asks {to}"))
}

/// One datagram and its answer, from a socket of its own; no second try.
pub fn ask_udp(
    host: &Host,
    source: impl Into<IpAddr>,
    to: impl Into<SocketAddr>,
) -> anyhow::Result<Answer> {
    let (source, to) = (source.into(), to.into());
    let socket = host.enter(|| UdpSocket::bind((source, 0)))??;
    ask_udp_on(&socket, to).with_context(|| format!("{source} asks {to} by UDP"))
}

/// One datagram and its answer on a given socket.
pub fn ask_udp_on(socket: &UdpSocket, to: impl Into<SocketAddr>) -> io::Result<Answer> {
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(to.into())?;
    socket.send(b"who\n")?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    Answer::parse(&String::from_utf8_lossy(&buffer[..length]))
}
