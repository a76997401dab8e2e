//! Interfaces by ioctl: offloads, and whether the far end is up.
//!
//! Some offloads veth must not have at the ends of a wire when XDP forwards between them. A real wire carries whole checksums. veth with `tx` offload carries half-made ones, which native XDP would pass on as
//! they are; and a frame redirected to a veth is only received if the far end runs NAPI, which GRO switches on.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_STXCSUM` and `ETHTOOL_SGRO` of include/uapi/linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;
const SET_GRO: u32 = 0x2c;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Checksums whole, GRO on, for an interface of the calling thread's namespace.
pub(super) fn behave_like_a_wire(interface: &str) -> io::Result<()> {
    finish_checksums(interface)?;
    merge(interface)
}

/// Checksums whole. The far end's count where XDP forwards; the near end's tell xlb that the pair is prepared for it.
pub(super) fn finish_checksums(interface: &str) -> io::Result<()> {
    set(interface, SET_TX_CHECKSUM, 0)
}

/// GRO on.
pub(super) fn merge(interface: &str) -> io::Result<()> {
    set(interface, SET_GRO, 1)
}

/// Whether an interface of the calling thread's namespace is up and its far end, too.
pub(super) fn is_running(interface: &str) -> io::Result<bool> {
    let mut request = named(interface)?;
    call(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: this request fills the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_RUNNING != 0)
}

fn set(interface: &str, command: u32, data: u32) -> io::Result<()> {
    let mut value = EthtoolValue { command, data };
    let mut request = named(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    call(SIOCETHTOOL, &mut request)
}

fn named(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn call(number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request and what it points to outlive the call; the kernel reads and writes no more than them.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
