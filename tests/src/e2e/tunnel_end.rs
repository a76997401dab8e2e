//! The real server's end of a tunnel, as a program: kernels in virtual machines and sandboxes often lack ipip, gre and fou.
//!
//! What is inside a packet goes to the kernel by a tun device; its TCP answers the client directly.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use xlb::lab::Host;

const DEVICE: &str = "tun0";
/// `TUNSETIFF`, `IFF_TUN`, `IFF_NO_PI` of `include/uapi/linux/if_tun.h`.
const SET_DEVICE: libc::Ioctl = 0x4004_54ca;
const TUN_WITHOUT_HEADER: libc::c_short = 0x0001 | 0x1000;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A tunnel's kind; GUE with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ipip,
    Gre,
    Gue(u16),
}

/// A running end. Dropping it closes it.
#[derive(Debug)]
pub struct TunnelEnd {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    proven: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl TunnelEnd {
    pub fn start(host: &Host, kind: Kind) -> anyhow::Result<Self> {
        let (device, socket) = host.enter(|| -> anyhow::Result<_> {
            let device = device().context("make a tun device")?;
            Ok((device, socket(kind).with_context(|| format!("a socket for {kind:?}"))?))
        })??;
        host.ip(&format!("link set {DEVICE} up"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let [taken, proven] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let (stopped, count, right) = (Arc::clone(&stop), Arc::clone(&taken), Arc::clone(&proven));
        let thread =
            std::thread::spawn(move || pump(kind, &socket, device, &stopped, (&count, &right)));
        Ok(Self { stop, taken, proven, thread: Some(thread) })
    }

    /// Packets that came out of the tunnel.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// GRE packets among them that came with a checksum, and a right one. GRO merges GRE packets on the way and leaves the
    /// first one's checksum on the whole, so that not all of them can be right.
    pub fn proven(&self) -> u64 {
        self.proven.load(Ordering::Relaxed)
    }
}

impl Drop for TunnelEnd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn device() -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = TUN_WITHOUT_HEADER;
    // SAFETY: the request outlives the call; the kernel reads and writes no more than it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), SET_DEVICE, &raw mut request) };
    if result == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}

fn socket(kind: Kind) -> io::Result<Socket> {
    let raw = |number| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(number)));
    let socket = match kind {
        Kind::Ipip => raw(4)?,
        Kind::Gre => raw(47)?,
        Kind::Gue(port) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.bind(&std::net::SocketAddrV4::new(0.into(), port).into())?;
            socket
        }
    };
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20))
        .map_err(io::Error::from)?;
    Ok(socket)
}

fn pump(
    kind: Kind,
    socket: &Socket,
    mut device: File,
    stop: &AtomicBool,
    (count, right): (&AtomicU64, &AtomicU64),
) {
    let mut buffer = vec![0; 1 << 17];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = io::Read::read(&mut &*socket, &mut buffer) else { continue };
        let Some(start) = inside(kind, &buffer[..length], right) else { continue };
        let packet = &mut buffer[start..length];
        finish_checksum(packet);
        // A packet that the kernel does not want is as good as lost.
        if device.write_all(packet).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where the packet inside starts; `None` for what is not of this tunnel, or broken.
fn inside(kind: Kind, bytes: &[u8], right: &AtomicU64) -> Option<usize> {
    // A raw socket is given the outer header, too.
    let outer = |bytes: &[u8]| bytes.first().map(|byte| usize::from(byte & 15) * 4);
    match kind {
        Kind::Ipip => outer(bytes),
        Kind::Gre => {
            let at = outer(bytes)?;
            let header = bytes.get(at..at + 4)?;
            match header[..] {
                [0, 0, 8, 0] => Some(at + 4),
                [0x80, 0, 8, 0] => {
                    right.fetch_add(u64::from(sum(0, &bytes[at..]) == 0xffff), Ordering::Relaxed);
                    Some(at + 8)
                }
                _ => None,
            }
        }
        // Version 0, no control message, IPv4 inside, no flags.
        Kind::Gue(_) => match *bytes.get(..4)? {
            [words @ 0..32, 4, 0, 0] => Some(4 + 4 * usize::from(words)),
            _ => None,
        },
    }
}

/// Between virtual wires a checksum may be half-made: that of the pseudo-header, for the device to go on with. The device
/// is this program. A checksum that is wrong otherwise stays so.
fn finish_checksum(packet: &mut [u8]) {
    let Some(&first) = packet.first() else { return };
    let at = usize::from(first & 15) * 4;
    if packet.len() < at + 20 {
        return;
    }
    let protocol = packet[9];
    let field = match protocol {
        TCP => at + 16,
        UDP => at + 6,
        _ => return,
    };
    let length = (packet.len() - at) as u32;
    let pseudo = sum(u32::from(protocol) + length, &packet[12..20]);
    if packet[field..field + 2] == pseudo.to_be_bytes() {
        let check = !sum(0, &packet[at..]);
        packet[field..field + 2].copy_from_slice(&check.to_be_bytes());
    }
}

/// The folded sum (RFC 1071).
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [a, b] => u32::from(u16::from_be_bytes([a, b])),
        [a] => u32::from(a) << 8,
        _ => 0,
    });
    let mut sum = u64::from(start) + words.map(u64::from).sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
