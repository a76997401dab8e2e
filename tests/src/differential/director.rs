//! A director in a network namespace of its own, between two TAP devices whose other ends are this process.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use super::counts::Counts;
use super::sequence::{EMPTY, OUTER, REALS, ROUTER_OF_CLIENTS, SERVERS, VIP};
use crate::packets::{CLIENT_MAC, OUR_MAC};
use crate::world::INNER_MAC;

/// Where a frame is: towards the clients, or towards the real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Clients = 0,
    Servers = 1,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Clients, Self::Servers];
}

/// A frame and where it is.
pub type Seen = (Side, Vec<u8>);

/// Both ends of the wires, and the namespace.
pub struct Director {
    taps: [File; 2],
    namespace: File,
    counts: Counts,
}

/// Link addresses of the real servers.
pub const fn server_mac(index: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, index]
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// A program with its arguments in one line.
fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let program = words.next().context("a program")?;
    let output = Command::new(program).args(words).output().with_context(|| line.to_owned())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
    fs::write(&path, value).with_context(|| format!("cannot write {path}"))
}

/// A TAP device in this namespace.
fn tap(name: &str) -> Result<File> {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("cannot open /dev/net/tun; hint: modprobe tun")?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let text = CString::new(name)?;
    for (to, from) in request.ifr_name.iter_mut().zip(text.as_bytes_with_nul()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    // SAFETY: the descriptor is open and `request` lives through the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    ensure!(done == 0, "cannot make {name}: {}", std::io::Error::last_os_error());
    Ok(file)
}

impl Director {
    /// A namespace with addresses, routes and neighbours; this thread is in it afterwards.
    pub fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let taps = [tap("eth0")?, tap("eth1")?];
        for name in ["ipv6.conf.all.disable_ipv6", "ipv6.conf.default.disable_ipv6"] {
            sysctl(name, "1")?;
        }
        for name in ["all", "default", "eth0", "eth1"] {
            sysctl(&format!("ipv4.conf.{name}.rp_filter"), "0")?;
        }
        sysctl("ipv4.ip_forward", "1")?;
        sysctl("ipv4.icmp_ratelimit", "0")?;
        run("ip link set lo up")?;
        run(&format!("ip link set eth0 address {} up", mac(OUR_MAC)))?;
        run(&format!("ip link set eth1 address {} up", mac(INNER_MAC.0)))?;
        run(&format!("ip addr add {OUTER}/24 dev eth0"))?;
        run(&format!("ip addr add {VIP}/32 dev eth0"))?;
        run(&format!("ip addr add {SERVERS}/24 dev eth1"))?;
        let client = mac(CLIENT_MAC);
        run(&format!("ip neigh add {ROUTER_OF_CLIENTS} lladdr {client} dev eth0 nud permanent"))?;
        run(&format!("ip route add default via {ROUTER_OF_CLIENTS}"))?;
        for (index, real) in (0..).zip(REALS) {
            let mac = mac(server_mac(index));
            run(&format!("ip neigh add {real} lladdr {mac} dev eth1 nud permanent"))?;
        }
        let namespace = File::open("/proc/thread-self/ns/net").context("a namespace")?;
        Ok(Self { taps, namespace, counts: Counts::here()? })
    }

    /// Puts IPVS's services of some ports in force in this director, each with all real servers, picked from the first on.
    /// Connections of earlier ones stay, and bother nobody.
    pub fn serve(&self, ports: impl Iterator<Item = u16>) -> Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")?;
        run("ipvsadm -C")?;
        let mut rules = vec![format!("-A -t {VIP}:{EMPTY} -s rr")];
        for port in ports {
            for (kind, inner) in
                [("t", super::sequence::TCP_PORT), ("u", super::sequence::UDP_PORT)]
            {
                rules.push(format!("-A -{kind} {VIP}:{port} -s rr"));
                // The last one added is the first picked.
                let add = |real| format!("-a -{kind} {VIP}:{port} -r {real}:{inner} -m -w 1");
                rules.extend(REALS.iter().rev().map(add));
            }
        }
        let mut child = Command::new("ipvsadm").arg("-R").stdin(Stdio::piped()).spawn()?;
        let text = rules.join("\n") + "\n";
        child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
        ensure!(child.wait()?.success(), "ipvsadm -R refused its rules");
        Ok(())
    }

    /// How many connections IPVS has to the real servers of a TCP service that it serves.
    pub fn connections(&self, port: u16) -> Result<u32> {
        self.counts.of_tcp(VIP, port)
    }

    /// Sends a frame in; the IPv4 frames that come out for it.
    pub fn pass(&mut self, (side, frame): &Seen) -> Result<Vec<Seen>> {
        self.taps[*side as usize].write_all(frame).context("the director takes no frame")?;
        let mut left = Vec::new();
        for side in Side::BOTH {
            let mut frame = vec![0; 2_048];
            loop {
                match self.taps[side as usize].read(&mut frame) {
                    Ok(length) if frame[12..14] == [8, 0] => {
                        left.push((side, frame[..length].to_vec()));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("the director gives no frame"),
                }
            }
        }
        Ok(left)
    }
}
