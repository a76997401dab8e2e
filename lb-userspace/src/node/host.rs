//! Facts of this host that decide what a data path may do: drivers, offloads, ports in use.
//!
//! Reads `/proc` and asks by ethtool's ioctl; changes nothing. Of the network namespace of the calling thread.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Why a fact is not known.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path} holds `{text}`, which is not what this kernel file is known to hold")]
    Unknown { path: &'static str, text: String },
    #[error("cannot ask interface `{interface}` for its {subject}: {source}")]
    Ethtool {
        interface: String,
        subject: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("`{interface}` is not a name of an interface: 1 to 15 bytes, none of them 0")]
    Name { interface: String },
}

/// Local ports that some socket of this host holds, over IPv4 or IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundPorts {
    pub tcp: BTreeSet<u16>,
    pub udp: BTreeSet<u16>,
}

/// The driver's name as `ethtool -i` prints it: `veth`, `ixgbe`, `virtio_net`.
pub fn driver_name(interface: &str) -> Result<String, HostError> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ethtool(interface, "driver", &mut info)?;
    let name = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Whether the interface merges frames before XDP sees them; `false` where the driver knows no such thing.
pub fn lro_enabled(interface: &str) -> Result<bool, HostError> {
    value(interface, ETHTOOL_GFLAGS).map(|flags| flags & ETH_FLAG_LRO != 0)
}

/// Whether the interface finishes the checksums of what it sends; `false` where the driver knows no such thing.
pub fn tx_checksum_enabled(interface: &str) -> Result<bool, HostError> {
    value(interface, ETHTOOL_GTXCSUM).map(|on| on != 0)
}

/// An offload's value; 0 where the driver knows no such thing.
fn value(interface: &str, command: u32) -> Result<u32, HostError> {
    let mut flags = Value { command, data: 0 };
    match ethtool(interface, "offloads", &mut flags) {
        Ok(()) => Ok(flags.data),
        Err(HostError::Ethtool { source, .. })
            if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
        {
            Ok(0)
        }
        Err(other) => Err(other),
    }
}

/// Ports that the kernel gives to sockets which did not ask for one.
pub fn ip_local_port_range() -> Result<RangeInclusive<u16>, HostError> {
    const PATH: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = read(PATH)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
        _ => Err(HostError::Unknown { path: PATH, text }),
    }
}

/// Ports within that range that the kernel leaves alone.
pub fn ip_local_reserved_ports() -> Result<Vec<RangeInclusive<u16>>, HostError> {
    const PATH: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let text = read(PATH)?;
    ranges(&text).ok_or(HostError::Unknown { path: PATH, text })
}

/// All local ports in use now.
pub fn bound_ports() -> Result<BoundPorts, HostError> {
    let mut ports = BoundPorts::default();
    // `/proc/net` is the namespace of the process's first thread, which need not be ours.
    let files = [
        ("/proc/thread-self/net/tcp", &mut ports.tcp),
        ("/proc/thread-self/net/udp", &mut ports.udp),
    ];
    for (path, set) in files {
        local_ports(&read(path)?, set);
    }
    let files = [
        ("/proc/thread-self/net/tcp6", &mut ports.tcp),
        ("/proc/thread-self/net/udp6", &mut ports.udp),
    ];
    for (path, set) in files {
        match read(path) {
            Ok(text) => local_ports(&text, set),
            // A kernel without IPv6.
            Err(HostError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(other),
        }
    }
    Ok(ports)
}

fn read(path: &'static str) -> Result<String, HostError> {
    read_to_string(path).map_err(|source| HostError::Read { path, source })
}

/// `1000-1010,8080`.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let items = text.trim().split(',').filter(|item| !item.is_empty());
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    items.map(range).collect()
}

/// Second column of `/proc/net/tcp` and its kin: `0100007F:1F90`.
fn local_ports(text: &str, into: &mut BTreeSet<u16>) {
    let port = |line: &str| {
        let local = line.split_whitespace().nth(1)?;
        u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
    };
    // Port 0: a raw or unconnected socket that holds none.
    into.extend(text.lines().skip(1).filter_map(port).filter(|port| *port != 0));
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_drvinfo` of linux/ethtool.h, as far as it is read.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

const _: () = assert!(size_of::<DriverInfo>() == 196 && size_of::<Value>() == 8);

/// Argument structures of SIOCETHTOOL.
///
/// # Safety
///
/// `repr(C)`, begins with a command whose structure in linux/ethtool.h is not larger, any bytes are a value.
unsafe trait Command {}
// SAFETY: `ethtool_drvinfo` for ETHTOOL_GDRVINFO, the size is asserted above.
unsafe impl Command for DriverInfo {}
// SAFETY: `ethtool_value` for ETHTOOL_GFLAGS, the size is asserted above.
unsafe impl Command for Value {}

fn ethtool<C: Command>(
    interface: &str,
    subject: &'static str,
    command: &mut C,
) -> Result<(), HostError> {
    let name = interface.as_bytes();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(&0) {
        return Err(HostError::Name { interface: interface.into() });
    }
    let failed = |source| HostError::Ethtool { interface: interface.into(), subject, source };
    let any: OwnedFd =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
    // SAFETY: all zeroes is a value of this C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast();
    // SAFETY: `request` and what it points to live until the call returns; `Command` promises that the kernel
    // writes no more than the structure has.
    let answer = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if answer < 0 { Err(failed(io::Error::last_os_error())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn reserved_ports_are_numbers_and_ranges() {
        assert_eq!(ranges("\n"), Some(vec![]));
        assert_eq!(ranges("8080,1000-1010\n"), Some(vec![8080..=8080, 1000..=1010]));
        assert_eq!(ranges("many\n"), None);
    }

    #[test]
    fn local_port_is_the_second_column_of_the_kernels_table() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n   \
                    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
                    1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A\n   \
                    2: 00000000:0000 00000000:0000 07\n";
        let mut ports = BTreeSet::new();
        local_ports(text, &mut ports);
        assert_eq!(ports, BTreeSet::from([8080, 22]));
    }

    #[test]
    fn sockets_of_this_process_are_seen() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = bound_ports().unwrap();
        assert!(ports.tcp.contains(&tcp.local_addr().unwrap().port()));
        assert!(ports.udp.contains(&udp.local_addr().unwrap().port()));
        let range = ip_local_port_range().unwrap();
        assert!(range.contains(&tcp.local_addr().unwrap().port()));
        ip_local_reserved_ports().unwrap();
    }

    #[test]
    fn unknown_interface_is_named() {
        let error = driver_name("xlb-no-such").unwrap_err().to_string();
        assert!(error.contains("`xlb-no-such`") && error.contains("No such device"), "{error}");
        let long = driver_name("a-name-longer-than-15");
        assert!(matches!(long, Err(HostError::Name { .. })));
    }
}
