//! What must be true of the host before anything is touched. Pure, but for [`host`]; facts about interfaces come
//! from `node`.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};

use lb_common::abi::Tag;
use lb_common::wire::{Addr4, Addr6, Mac};

use super::error::LoadError;

/// What `node` knows of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each on its own")]
pub struct InterfaceFacts {
    pub name: String,
    pub ifindex: u32,
    pub mtu: u32,
    /// Primary IPv4 address; 0.0.0.0: none.
    pub address: Addr4,
    /// The same of IPv6.
    pub address6: Addr6,
    /// All zero: no Ethernet.
    pub mac: Mac,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// As `ethtool -i` says; empty where there is none.
    pub driver: String,
    /// Whether large-receive-offload is on.
    pub lro: bool,
    /// Whether checksums of what it sends are left to the device (`tx-checksumming`).
    pub tx_checksum: bool,
    /// `IFLA_XDP_PROG_ID`.
    pub xdp_prog_id: Option<u32>,
    /// Whether that program runs in generic mode (`IFLA_XDP_ATTACHED` is `XDP_ATTACHED_SKB`).
    pub xdp_generic: bool,
    /// What it is a VLAN of, if it is one.
    pub vlan: Option<VlanOf>,
    /// Ifindex of the bond, bridge or other interface that it is a member of.
    pub master: Option<u32>,
}

/// A VLAN's interface lies on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanOf {
    /// Ifindex of that.
    pub on: u32,
    /// Of its frames.
    pub tag: Tag,
}

/// How the programs shall be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver where all interfaces are fit for it, else at tc.
    #[default]
    Auto,
    /// In the driver or not at all.
    Xdp,
    /// By the network stack, on any interface.
    XdpGeneric,
    /// At tc's ingress, behind GRO, on any interface.
    Tc,
}

/// What makes an interface unfit for XDP in its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The MTU is larger than the driver takes a program with.
    Mtu { mtu: u32, limit: u32 },
    /// Its frames carry checksums that XDP would lose the mark of.
    HalfMadeChecksums,
    /// A bond hands frames to the program in its members' names.
    Bond,
    /// The driver does not take the program.
    Driver { why: String },
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mtu { mtu, limit } => {
                write!(f, "its MTU of {mtu} is more than the {limit} that XDP takes in its driver")
            }
            Self::HalfMadeChecksums => f.write_str(
                "it is a veth with offloads on, whose frames have half-made checksums that XDP would send on as they are",
            ),
            Self::Bond => f.write_str("it is a bond, whose members XDP in their drivers would name instead of it"),
            Self::Driver { why } => f.write_str(why),
        }
    }
}

/// What is known before trying to stand in the way of XDP in the driver. // P-04
pub fn obstacle(facts: &InterfaceFacts) -> Option<Obstacle> {
    if facts.driver == "bonding" {
        return Some(Obstacle::Bond);
    }
    if facts.driver != "veth" {
        return None;
    }
    if facts.mtu > VETH_MTU {
        return Some(Obstacle::Mtu { mtu: facts.mtu, limit: VETH_MTU });
    }
    // The far end, whose frames arrive here, may be in a namespace that nobody can look into. Both ends are made with
    // the same offloads, and whoever prepares a pair for XDP switches them off at both.
    facts.tx_checksum.then_some(Obstacle::HalfMadeChecksums)
}

/// The largest MTU at which veth takes a program that knows no fragments (measured on 6.18; drivers/net/veth.c). The
/// driver looks at the peer's, which the other end may hide; the two are the same where anything works.
const VETH_MTU: u32 = 3506;

/// The interfaces called `names`, each fit to carry a program. `ours` tells whether a program is one of the
/// instance's own.
pub fn interfaces(
    names: &[String],
    there: &[InterfaceFacts],
    mode: Mode,
    ours: impl Fn(u32) -> bool,
) -> Result<Vec<InterfaceFacts>, LoadError> {
    if names.is_empty() {
        return Err(LoadError::NoInterfaces);
    }
    // K-28: all of them are looked up before any other fault is told.
    let wanted = names
        .iter()
        .map(|name| {
            there.iter().find(|facts| &facts.name == name).ok_or_else(|| LoadError::NoInterface {
                name: name.clone(),
                there: there
                    .iter()
                    .map(|facts| format!("`{}`", facts.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    for facts in &wanted {
        if let Some(master) = joined(facts, there) {
            let (name, master) = (facts.name.clone(), master.name.clone());
            return Err(LoadError::Member { name, master });
        }
        interface(facts, mode, &ours)?;
    }
    Ok(wanted.into_iter().cloned().collect())
}

/// The bond, team or bridge that an interface is a member of: frames that it takes in are that one's, and so are addresses
/// and routes. A VRF leaves its members what they are. P-75
pub(super) fn joined<'f>(
    facts: &InterfaceFacts,
    there: &'f [InterfaceFacts],
) -> Option<&'f InterfaceFacts> {
    let master = there.iter().find(|other| Some(other.ifindex) == facts.master)?;
    matches!(master.driver.as_str(), "bonding" | "team" | "bridge").then_some(master)
}

/// Whether one interface is fit.
fn interface(
    facts: &InterfaceFacts,
    mode: Mode,
    ours: impl Fn(u32) -> bool,
) -> Result<(), LoadError> {
    let name = || facts.name.clone();
    if !facts.up {
        return Err(LoadError::InterfaceDown { name: name() });
    }
    // K-24. At tc it is not in the way: it lets through what it likes.
    if let Some(program) = facts.xdp_prog_id.filter(|&id| mode != Mode::Tc && !ours(id)) {
        return Err(LoadError::ForeignProgram { name: name(), program });
    }
    if facts.lro {
        return Err(LoadError::Lro { name: name() });
    }
    match obstacle(facts) {
        Some(Obstacle::Mtu { mtu, limit }) if mode == Mode::Xdp => {
            Err(LoadError::Mtu { name: name(), mtu, driver: facts.driver.clone(), limit })
        }
        Some(Obstacle::Bond) if mode == Mode::Xdp => Err(LoadError::Bond { name: name() }),
        _ => Ok(()),
    }
}

/// Capabilities of this process and the file system of the pins; mounts it where that is what everybody does.
pub fn host(pin_dir: &Path) -> Result<(), LoadError> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(LoadError::file("read", "/proc/self/status"))?;
    capabilities(&status)?;
    bpffs(pin_dir)
}

/// Numbers of linux/capability.h.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Whether the effective set in `/proc/self/status` suffices.
fn capabilities(status: &str) -> Result<(), LoadError> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u32| effective >> capability & 1 == 1;
    // Before Linux 5.8 SYS_ADMIN was both of the others, and it still is.
    let needed = [
        ("CAP_NET_ADMIN", has(NET_ADMIN)),
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN)),
        ("CAP_PERFMON", has(PERFMON) || has(SYS_ADMIN)),
    ];
    match needed.into_iter().find(|(_, there)| !there) {
        Some((missing, _)) => Err(LoadError::Capability { missing }),
        None => Ok(()),
    }
}

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// Where a BPF file system is mounted by custom.
const CUSTOMARY: &str = "/sys/fs/bpf";

/// Makes sure that `pin_dir` is, or can be made, on a BPF file system. K-26
fn bpffs(pin_dir: &Path) -> Result<(), LoadError> {
    let parent = existing_ancestor(pin_dir);
    if is_bpffs(&parent) {
        // The file system's own rule (kernel/bpf/inode.c, bpf_lookup); said before the kernel says EPERM.
        let below = pin_dir.strip_prefix(&parent).unwrap_or(pin_dir);
        if below.as_os_str().as_encoded_bytes().contains(&b'.') {
            return Err(LoadError::DottedPinDir { dir: pin_dir.to_owned() });
        }
        return Ok(());
    }
    let not_there = || LoadError::NotBpffs {
        dir: pin_dir.to_owned(),
        mount_at: pin_dir.parent().unwrap_or(pin_dir).to_owned(),
    };
    // As bpftool does: mount it at the customary place if nobody has.
    if pin_dir.starts_with(CUSTOMARY) && parent == Path::new(CUSTOMARY) {
        mount(Some("bpf"), CUSTOMARY, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(|_| not_there())?;
        return bpffs(pin_dir);
    }
    Err(not_there())
}

fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether `path` lies on a BPF file system.
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> InterfaceFacts {
        InterfaceFacts {
            name: name.into(),
            ifindex: 7,
            mtu: 1500,
            up: true,
            driver: "veth".into(),
            ..InterfaceFacts::default()
        }
    }

    fn refusal(facts: InterfaceFacts, mode: Mode) -> String {
        let name = facts.name.clone();
        interfaces(&[name], &[facts], mode, |id| id == 5)
            .map_or_else(|e| e.to_string(), |_| String::new())
    }

    #[test]
    fn each_unfit_interface_is_refused_with_the_command_that_mends_it() {
        // K-24, K-28, P-71
        let cases = [
            (InterfaceFacts { up: false, ..facts("a") }, "ip link set dev a up"),
            (InterfaceFacts { xdp_prog_id: Some(9), ..facts("a") }, "ip link set dev a xdp off"),
            (InterfaceFacts { lro: true, ..facts("a") }, "ethtool -K a lro off"),
            (InterfaceFacts { mtu: 9000, ..facts("a") }, "ip link set dev a mtu 3506"),
        ];
        for (facts, command) in cases {
            let refused = refusal(facts, Mode::Xdp);
            assert!(refused.contains(command), "{refused}");
        }
        assert_eq!(refusal(facts("a"), Mode::Auto), "");
        assert_eq!(refusal(InterfaceFacts { xdp_prog_id: Some(5), ..facts("a") }, Mode::Xdp), "");
        for mode in [Mode::Auto, Mode::XdpGeneric, Mode::Tc] {
            assert_eq!(refusal(InterfaceFacts { mtu: 9000, ..facts("a") }, mode), "");
        }
        assert_eq!(refusal(InterfaceFacts { xdp_prog_id: Some(9), ..facts("a") }, Mode::Tc), "");
    }

    #[test]
    fn what_speaks_against_xdp_is_known_before_it_is_tried() {
        // P-04
        let large = InterfaceFacts { mtu: 9000, tx_checksum: true, ..facts("a") };
        assert_eq!(obstacle(&large), Some(Obstacle::Mtu { mtu: 9000, limit: VETH_MTU }));
        let usual = InterfaceFacts { tx_checksum: true, ..facts("a") };
        assert_eq!(obstacle(&usual), Some(Obstacle::HalfMadeChecksums));
        assert_eq!(obstacle(&facts("a")), None);
        // A card finishes its checksums before the wire, in both directions.
        assert_eq!(obstacle(&InterfaceFacts { driver: "ixgbe".into(), ..large }), None);
    }

    // P-75
    #[test]
    fn a_bond_runs_at_tc_and_its_members_are_refused() {
        let bond = InterfaceFacts { driver: "bonding".into(), ifindex: 9, ..facts("bond0") };
        assert_eq!(obstacle(&bond), Some(Obstacle::Bond));
        assert_eq!(refusal(bond.clone(), Mode::Auto), "");
        let refused = refusal(bond.clone(), Mode::Xdp);
        assert!(refused.contains("`bond0`") && refused.contains("--mode tc"), "{refused}");
        for (driver, member) in
            [("bonding", true), ("bridge", true), ("team", true), ("vrf", false)]
        {
            let master = InterfaceFacts { driver: driver.into(), ..bond.clone() };
            let eth0 = InterfaceFacts { master: Some(9), ..facts("eth0") };
            let found = interfaces(&["eth0".into()], &[eth0, master], Mode::Auto, |_| false);
            let refused = found.map_or_else(|error| error.to_string(), |_| String::new());
            assert_eq!(refused.contains("`--iface bond0`"), member, "{driver}: {refused}");
        }
    }

    #[test]
    fn missing_interface_is_refused_with_those_that_are_there() {
        // K-28
        let there = [facts("eth0"), facts("lan")];
        let refused =
            interfaces(&["eth0".into(), "wan".into()], &there, Mode::Auto, |_| false).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("`wan`") && text.contains("`eth0`, `lan`"), "{text}");
        assert_eq!(refused.exit_code(), 3);
    }

    #[test]
    fn first_missing_capability_is_named() {
        let status = |bits: u64| format!("Name:\tx\nCapEff:\t{bits:016x}\nCapBnd:\t0\n");
        let all = 1 << NET_ADMIN | 1 << BPF | 1_u64 << PERFMON;
        capabilities(&status(all)).unwrap();
        capabilities(&status(1 << NET_ADMIN | 1 << SYS_ADMIN)).unwrap();
        for (without, name) in [(NET_ADMIN, "NET_ADMIN"), (BPF, "CAP_BPF"), (PERFMON, "PERFMON")] {
            let refused = capabilities(&status(all & !(1 << without))).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("setcap"), "{refused}");
        }
    }
}
