//! From a topology to namespaces: the commands as text (pure), and their execution.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use super::host::checked;
use super::remains::{BPFFS, FOLDERS, Remains, sweep};
use super::{Host, LabError, Offloads, Tool, Topology, nic, require, signals, until};

/// The host whose interfaces xlb owns; its offloads stay as they are.
const DIRECTOR: &str = "director";

/// How long the kernel may take to see both ends of a wire up.
const LINK_LIMIT: Duration = Duration::from_secs(10);

/// A running laboratory. Dropping it removes all of it.
#[derive(Debug)]
pub struct Lab {
    hosts: BTreeMap<String, Host>,
    folder: PathBuf,
    remains: Arc<Remains>,
}

impl Lab {
    /// Builds `topology`. Names carry the process id, so that laboratories never meet.
    pub fn build(topology: &Topology) -> Result<Self, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        require(&[Tool::IP])?;
        signals::watch();
        sweep();
        let label = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let plan = Plan::of(topology, &label);
        let folder = Path::new(FOLDERS).join(&label);
        let remains =
            Remains::register(plan.namespaces.values().cloned().collect(), folder.clone());
        // From here on a failure is cleared by `Drop`.
        let mut lab = Self { hosts: BTreeMap::new(), folder, remains };
        lab.mount_bpffs()?;
        batch(&[], &plan.wiring)?;
        for (name, namespace) in &plan.namespaces {
            let host = Host::open(name, namespace, &lab.folder, &lab.remains)?;
            prepare(&host, &plan.nics[name], topology.offloads)?;
            lab.hosts.insert(name.clone(), host);
        }
        // Only now: a veth that comes up before its far end has GRO refuses redirected frames from then on.
        for (name, namespace) in &plan.namespaces {
            batch(&["-n", namespace], &plan.setup[name])?;
        }
        for (name, nics) in &plan.nics {
            wait_for_links(&lab.hosts[name], nics)?;
        }
        Ok(lab)
    }

    pub fn host(&self, name: &str) -> Result<&Host, LabError> {
        self.hosts.get(name).ok_or_else(|| LabError::NoSuchHost { name: name.to_owned() })
    }

    pub fn client(&self) -> Result<&Host, LabError> {
        self.host("client")
    }

    pub fn director(&self) -> Result<&Host, LabError> {
        self.host(DIRECTOR)
    }

    /// Real server `n`, from 1.
    pub fn real(&self, n: usize) -> Result<&Host, LabError> {
        self.host(&format!("real{n}"))
    }

    /// A folder for files of this laboratory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A private bpffs: pins in it vanish with the laboratory.
    pub fn bpffs(&self) -> PathBuf {
        self.folder.join(BPFFS)
    }

    fn mount_bpffs(&self) -> Result<(), LabError> {
        let path = self.bpffs();
        fs::create_dir_all(&path).map_err(LabError::path("create", &path))?;
        mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(|errno| LabError::path("mount a bpffs on", &path)(errno.into()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.remains.clear();
    }
}

/// Kernel settings that must hold before addresses come up.
fn prepare(host: &Host, nics: &[String], offloads: Offloads) -> Result<(), LabError> {
    host.set_sysctl("net.ipv4.ip_forward", "0")?;
    host.set_sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
    host.set_sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
    if host.name() != DIRECTOR {
        // Clients make many connections. The director keeps its own range: full-NAT's ports are those outside of it.
        host.set_sysctl("net.ipv4.ip_local_port_range", "10000 65535")?;
    }
    let set = |name: &String| {
        match offloads {
            Offloads::Wire if host.name() == DIRECTOR => nic::finish_checksums(name),
            Offloads::Wire => nic::behave_like_a_wire(name),
            Offloads::Usual => Ok(()),
            Offloads::All => nic::merge(name),
        }
        .map_err(LabError::io("set the offloads of", name))
    };
    host.enter(|| nics.iter().try_for_each(set))?
}

/// An interface drops what it is given until the kernel has noted that its far end is up.
fn wait_for_links(host: &Host, nics: &[String]) -> Result<(), LabError> {
    host.enter(|| {
        nics.iter().try_for_each(|name| {
            until(
                &format!("`{name}` of `{}` up", host.name()),
                LINK_LIMIT,
                || match nic::is_running(name) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("no carrier".to_owned()),
                    Err(error) => Err(error.to_string()),
                },
            )
        })
    })?
}

/// `ip -batch` with these lines.
fn batch(options: &[&str], lines: &str) -> Result<(), LabError> {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::io("start", "ip"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).map_err(LabError::io("write to", "ip"))?;
    }
    let output = child.wait_with_output().map_err(LabError::io("wait for", "ip"))?;
    checked(&format!("ip {} -batch", options.join(" ")), &output).map(drop)
}

/// What `ip` has to do.
#[derive(Debug)]
struct Plan {
    /// Host, switches included → namespace.
    namespaces: BTreeMap<String, String>,
    /// Host → its interfaces on wires.
    nics: BTreeMap<String, Vec<String>>,
    /// Run in the host's namespace: namespaces and wires.
    wiring: String,
    /// Host → run in its namespace: addresses, routes, bridges.
    setup: BTreeMap<String, String>,
    /// Interfaces numbered so far.
    numbered: u32,
}

impl Plan {
    fn of(topology: &Topology, label: &str) -> Self {
        let mut plan = Self {
            namespaces: BTreeMap::new(),
            nics: BTreeMap::new(),
            wiring: String::new(),
            setup: BTreeMap::new(),
            numbered: 100,
        };
        for host in &topology.hosts {
            plan.add_host(&host.name, label);
        }
        for (segment, ends) in segments(topology) {
            plan.wire(segment, &ends, topology.mtu, label);
        }
        for host in &topology.hosts {
            let lines = plan.setup.entry(host.name.clone()).or_default();
            for nic in &host.nics {
                for address in &nic.addresses {
                    let _ = writeln!(lines, "address add {address} dev {}", nic.name);
                }
                let _ = writeln!(lines, "link set {} up", nic.name);
            }
            for route in &host.routes {
                let _ = writeln!(lines, "route add {route}");
            }
        }
        plan
    }

    fn add_host(&mut self, name: &str, label: &str) {
        let namespace = format!("xlb-{label}-{name}");
        let _ = writeln!(self.wiring, "netns add {namespace}");
        self.namespaces.insert(name.to_owned(), namespace);
        self.nics.insert(name.to_owned(), Vec::new());
        self.setup.insert(name.to_owned(), "link set lo up\n".to_owned());
    }

    fn wire(&mut self, segment: &str, ends: &[End<'_>], mtu: u32, label: &str) {
        if let [one, other] = ends {
            self.veth(*one, *other, mtu);
            return;
        }
        let switch = format!("switch-{segment}");
        self.add_host(&switch, label);
        let bridge = format!(
            "link add name br0 mtu {mtu} type bridge stp_state 0 mcast_snooping 0\nlink set br0 up\n"
        );
        self.append(&switch, &bridge);
        for (n, end) in ends.iter().enumerate() {
            let port = format!("p{n}");
            self.veth(*end, End { host: &switch, nic: &port }, mtu);
            self.append(&switch, &format!("link set {port} master br0 up\n"));
        }
    }

    fn append(&mut self, host: &str, lines: &str) {
        self.setup.entry(host.to_owned()).or_default().push_str(lines);
    }

    /// Numbers are unique in the laboratory: two ends with the same number look to the kernel like no wire, and it then
    /// takes up to a second to notice that they are up.
    fn veth(&mut self, one: End<'_>, other: End<'_>, mtu: u32) {
        let _ = write!(self.wiring, "link add {} type veth peer ", self.end(one, mtu, 1));
        let peer = self.end(other, mtu, 2);
        let _ = writeln!(self.wiring, "{peer}");
        self.numbered += 2;
        for end in [one, other] {
            self.nics.entry(end.host.to_owned()).or_default().push(end.nic.to_owned());
        }
    }

    fn end(&self, end: End<'_>, mtu: u32, number: u32) -> String {
        let (index, namespace) = (self.numbered + number, &self.namespaces[end.host]);
        format!("name {} index {index} mtu {mtu} netns {namespace}", end.nic)
    }
}

/// One end of a wire.
#[derive(Clone, Copy, Debug)]
struct End<'a> {
    host: &'a str,
    nic: &'a str,
}

fn segments(topology: &Topology) -> BTreeMap<&str, Vec<End<'_>>> {
    let mut segments = BTreeMap::<&str, Vec<End<'_>>>::new();
    for host in &topology.hosts {
        for nic in &host.nics {
            segments
                .entry(&nic.segment)
                .or_default()
                .push(End { host: &host.name, nic: &nic.name });
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Options, one_arm, two_arm};

    #[test]
    fn two_interfaces_on_a_segment_are_one_wire() {
        let plan = Plan::of(&two_arm(&Options::default()), "1-0");
        assert!(plan.wiring.contains("netns xlb-1-0-client type veth peer"));
        assert!(!plan.namespaces.contains_key("switch-outside"));
    }

    #[test]
    fn more_interfaces_get_a_switch() {
        let plan = Plan::of(&two_arm(&Options::default()), "1-0");
        assert_eq!(plan.nics["switch-inside"], ["p0", "p1", "p2"]);
        assert!(plan.setup["switch-inside"].contains("link set p2 master br0 up"));
    }

    #[test]
    fn one_arm_puts_everything_on_one_switch() {
        let plan = Plan::of(&one_arm(&Options { reals: 3, ..Options::default() }), "1-0");
        assert_eq!(plan.nics["director"], ["eth0"]);
        assert_eq!(plan.nics["switch-lan"].len(), 5);
        assert!(plan.setup["director"].contains("address add 192.168.1.1/24 dev eth0"));
    }

    #[test]
    fn real_servers_may_lack_a_route_to_the_director() {
        let without = Options { real_gateway: false, ..Options::default() };
        assert!(!Plan::of(&two_arm(&without), "1-0").setup["real1"].contains("route add"));
        let with = Plan::of(&two_arm(&Options::default()), "1-0");
        assert!(with.setup["real1"].contains("route add default via 192.168.1.1"));
    }
}
