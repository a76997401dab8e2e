//! How many connections IPVS has, as it tells `ipvsadm` (`include/uapi/linux/ip_vs.h`).

use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

/// `IP_VS_SO_GET_DESTS`: the real servers of a service.
const GET_DESTS: libc::c_int = 64 + 1_024 + 64 + 4;

/// `struct ip_vs_get_dests`, with as many entries as a service has here.
#[repr(C)]
#[derive(Clone, Copy)]
struct Question {
    proto: u16,
    pad: u16,
    addr: [u8; 4],
    port: [u8; 2],
    pad2: u16,
    mark: u32,
    reals: u32,
    pad3: u32,
    entries: [Entry; super::sequence::REALS.len()],
}

/// `struct ip_vs_dest_entry`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Address, port, flags, weight, both thresholds.
    before: [u32; 6],
    active: u32,
    inactive: u32,
    persistent: u32,
    pad: u32,
    /// Figures of packets.
    stats: [u64; 7],
}

/// A socket that lives in a director's namespace, wherever the thread that asks has gone since.
pub struct Counts(Socket);

impl Counts {
    /// For the namespace in which this thread is.
    pub fn here() -> Result<Self> {
        Ok(Self(Socket::new(Domain::IPV4, Type::DGRAM, None).context("a socket")?))
    }

    /// Connections to the real servers of a TCP service, active and inactive.
    pub fn of_tcp(&self, addr: Ipv4Addr, port: u16) -> Result<u32> {
        let mut question = Question {
            proto: libc::IPPROTO_TCP as u16,
            pad: 0,
            addr: addr.octets(),
            port: port.to_be_bytes(),
            pad2: 0,
            mark: 0,
            reals: super::sequence::REALS.len() as u32,
            pad3: 0,
            entries: [Entry::default(); super::sequence::REALS.len()],
        };
        let mut length = size_of::<Question>() as libc::socklen_t;
        // SAFETY: the descriptor is open; `question` is as long as `length` says and any bytes are valid for it.
        let done = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::IPPROTO_IP,
                GET_DESTS,
                (&raw mut question).cast(),
                &raw mut length,
            )
        };
        ensure!(
            done == 0 && length as usize == size_of::<Question>(),
            "IPVS does not tell the real servers of {addr}:{port}: {}",
            std::io::Error::last_os_error()
        );
        Ok(question.entries.iter().map(|entry| entry.active + entry.inactive).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_long_as_the_kernels() {
        assert_eq!(size_of::<Entry>(), 96);
        assert_eq!(size_of::<Question>(), 24 + 3 * 96);
    }
}
