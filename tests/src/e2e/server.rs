//! Servers on the real servers. A TCP server obeys lines:
//!
//! - `who`: answers `<name> <address:port it sees>` and reads the next line;
//! - `stream`: sends [`pattern`] for as long as the client reads;
//! - `segment`: answers with how many bytes of data it puts into a segment;
//! - `bye`: closes the connection, as the first of the two;
//! - `GET` and `POST`: HTTP (`http.rs`);
//! - `take`: expects [`pattern`] until the client ends its direction, then answers how many bytes were right.
//!
//! A UDP server answers every datagram as `who`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use xlb::lab::Host;

use super::http;

/// Bytes that show any loss, repetition or swap: pseudo-random and repeated with a period that no buffer has.
pub fn pattern() -> &'static [u8] {
    const PERIOD: usize = 1_048_573;
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let step = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        };
        std::iter::repeat_with(step).take(PERIOD).collect()
    });
    &BYTES
}

/// Compares what arrives with [`pattern`].
#[derive(Debug, Default)]
pub struct Checker {
    /// How many bytes were right.
    pub seen: u64,
}

impl Checker {
    /// Fails at the first byte that is not as it should be.
    pub fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let whole = pattern();
        while !bytes.is_empty() {
            let at = (self.seen % whole.len() as u64) as usize;
            let length = bytes.len().min(whole.len() - at);
            if bytes[..length] != whole[at..at + length] {
                return Err(io::Error::other(format!("wrong bytes after {}", self.seen)));
            }
            self.seen += length as u64;
            bytes = &bytes[length..];
        }
        Ok(())
    }
}

/// A running TCP server; dropping it closes its listener and all its connections.
#[derive(Debug)]
pub struct TcpServer {
    listener: TcpListener,
    open: Arc<Mutex<HashMap<u64, TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    pub fn start(host: &Host, name: &str, address: impl Into<SocketAddr>) -> anyhow::Result<Self> {
        let address = address.into();
        let listener = host.enter(|| listen(address))??;
        let accepting = listener.try_clone()?;
        let open = Arc::new(Mutex::new(HashMap::new()));
        let (name, table) = (name.to_owned(), Arc::clone(&open));
        let thread = std::thread::spawn(move || accept(&accepting, &name, &table));
        Ok(Self { listener, open, thread: Some(thread) })
    }

    /// New connections are refused from now on; those there are go on.
    pub fn stop_listening(&mut self) {
        // SAFETY: shutdown(2) on an open socket; it wakes the thread that accepts.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A backlog that a thousand clients at once do not overflow.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, name: &str, open: &Arc<Mutex<HashMap<u64, TcpStream>>>) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    while let Ok((stream, peer)) = listener.accept() {
        let (name, open) = (name.to_owned(), Arc::clone(open));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if let Ok(twin) = stream.try_clone() {
            open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, twin);
        }
        std::thread::spawn(move || {
            // A client that goes away is the client's business.
            let _ = serve(&stream, &name, peer);
            open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        });
    }
}

fn serve(mut stream: &TcpStream, name: &str, peer: SocketAddr) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        match line.trim_end() {
            "who" => stream.write_all(format!("{name} {peer}\n").as_bytes())?,
            "segment" => {
                let bytes = socket2::SockRef::from(stream).tcp_mss()?;
                stream.write_all(format!("{bytes}\n").as_bytes())?;
            }
            "bye" => return stream.shutdown(Shutdown::Both),
            request if request.contains(" HTTP/") => {
                return http::answer(request, &mut reader, stream);
            }
            "stream" => loop {
                stream.write_all(pattern())?;
            },
            "take" => {
                let seen = take(&mut reader)?;
                stream.write_all(format!("{seen}\n").as_bytes())?;
            }
            other => return Err(io::Error::other(format!("unknown word `{other}`"))),
        }
        line.clear();
    }
    Ok(())
}

fn take(reader: &mut impl Read) -> io::Result<u64> {
    let (mut buffer, mut checker) = (vec![0; 65_536], Checker::default());
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(checker.seen),
            length => checker.check(&buffer[..length])?,
        }
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop_listening();
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A running UDP server.
#[derive(Debug)]
pub struct UdpServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    pub fn start(host: &Host, name: &str, address: impl Into<SocketAddr>) -> anyhow::Result<Self> {
        let address = address.into();
        let socket = host.enter(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (name.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(format!("{name} {peer}\n").as_bytes(), peer);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
