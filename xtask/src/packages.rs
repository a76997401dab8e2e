//! Distribution packages that tests and demo use, installed only where their programs are missing.

use anyhow::{Context, Result, bail};

use crate::process::{as_root, run, say, which};

/// A program and the Debian package that has it.
pub(crate) struct Package {
    program: &'static str,
    package: &'static str,
}

const fn needs(program: &'static str, package: &'static str) -> Package {
    Package { program, package }
}

/// What `cargo xtask demo` runs: namespaces, a proxy as real server, a client.
pub(crate) const DEMO: &[Package] = &[
    needs("ip", "iproute2"),
    needs("ethtool", "ethtool"),
    needs("curl", "curl"),
    needs("tinyproxy", "tinyproxy-bin"),
];

/// What the tests run beside that: another client and server, address probes, a reader of captures, and keepalived as the
/// oracle for configurations.
pub(crate) const TESTS: &[Package] = &[
    needs("socat", "socat"),
    needs("arping", "iputils-arping"),
    needs("tcpdump", "tcpdump"),
    needs("keepalived", "keepalived"),
];

/// What `cargo xtask vm` runs here, and what a job in the guest, which sees the same programs, may want beside that.
pub(crate) const VM: &[Package] = &[
    needs("qemu-system-x86_64", "qemu-system-x86"),
    needs("depmod", "kmod"),
    needs("xz", "xz-utils"),
    needs("ipvsadm", "ipvsadm"),
    needs("iptables", "iptables"),
    needs("nft", "nftables"),
    needs("conntrack", "conntrack"),
    needs("ps", "procps"),
    needs("ping", "iputils-ping"),
    needs("python3", "python3"),
];

/// Installs the packages whose programs are missing.
pub(crate) fn ensure(wanted: &[&[Package]]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .flat_map(|packages| packages.iter())
        .filter(|package| which(package.program).is_none())
        .map(|package| package.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if which("apt-get").is_none() {
        bail!(
            "missing programs, and no apt-get to install them; hint: install {}",
            missing.join(" ")
        );
    }
    say(&format!("installing {}", missing.join(" ")));
    install(&missing)
        // Lists that are missing or old: fetch them, once.
        .or_else(|_| {
            run(as_root("apt-get")?.args(["-qq", "update"])).and_then(|()| install(&missing))
        })
        .with_context(|| format!("cannot install {}", missing.join(" ")))
}

fn install(packages: &[&str]) -> Result<()> {
    // RUNLEVEL=1 tells invoke-rc.d to start no services that come with a package.
    let mut command = as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-qq", "install"]);
    command.args(["-y", "--no-install-recommends"]).args(packages);
    run(&mut command)
}
