//! A private host: namespaces of one thread, with a pair of veth interfaces.

use std::path::PathBuf;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use xlb::dataplane::bpf::BpfDataplane;
use xlb::dataplane::error::LoadError;
use xlb::dataplane::link::TcHook;
use xlb::dataplane::load::{self, Options};
use xlb::dataplane::object::OBJECT;
use xlb::dataplane::preflight::{InterfaceFacts, Mode};

pub(crate) struct Host {
    pub(crate) pin_dir: PathBuf,
    pub(crate) run_dir: PathBuf,
}

/// Runs `case` on a host of its own, or says what it lacks.
pub(crate) fn on_host(case: impl FnOnce(&Host) + Send + 'static) {
    // A thread, because namespaces are a thread's: nothing is left of them when it ends.
    let thread = std::thread::spawn(move || {
        let separate = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_ok();
        if !separate
            || !Command::new("ip").arg("-V").output().is_ok_and(|done| done.status.success())
        {
            return skip("CAP_BPF, CAP_SYS_ADMIN and iproute2");
        }
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let bpffs = dir.path().join("bpf");
        std::fs::create_dir(&bpffs).unwrap();
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), none).unwrap();
        let host = Host { pin_dir: bpffs.join("xlb"), run_dir: dir.path().join("run") };
        host.ip("link add a0 type veth peer name a1");
        host.ip("link add b0 type veth peer name b1");
        for name in ["a0", "a1", "b0", "b1"] {
            host.ip(&format!("link set {name} up"));
        }
        case(&host);
        nix::mount::umount2(&bpffs, nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn skip(missing: &str) {
    let required = std::env::var("XLB_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == "bpf"), "needs {missing}");
    println!("skipped: needs {missing}");
}

impl Host {
    /// Runs `ip` in this thread's network namespace.
    pub(crate) fn ip(&self, args: &str) -> String {
        self.command("ip", args)
    }

    /// The same with `tc`.
    pub(crate) fn tc(&self, args: &str) -> String {
        self.command("tc", args)
    }

    #[expect(
        clippy::unused_self,
        reason = "a host is the proof that this thread has namespaces of its own"
    )]
    fn command(&self, program: &str, args: &str) -> String {
        let done = Command::new(program).args(args.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {args}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// What `node` would tell.
    pub(crate) fn facts(&self) -> Vec<InterfaceFacts> {
        let links: serde_json::Value = serde_json::from_str(&self.ip("-j -d link")).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().map(|n| n as u32);
        links
            .as_array()
            .unwrap()
            .iter()
            .map(|link| InterfaceFacts {
                name: link["ifname"].as_str().unwrap().into(),
                ifindex: number(&link["ifindex"]).unwrap(),
                mtu: number(&link["mtu"]).unwrap(),
                up: link["flags"].as_array().unwrap().iter().any(|flag| flag == "UP"),
                driver: link["linkinfo"]["info_kind"].as_str().unwrap_or_default().into(),
                // What the program makes of it is the engine's business.
                mac: lb_common::wire::Mac::default(),
                address: lb_common::wire::Addr4::UNSPECIFIED,
                address6: lb_common::wire::Addr6::UNSPECIFIED,
                lro: false,
                // As if the pairs were prepared for XDP; nothing is sent over them.
                tx_checksum: false,
                xdp_prog_id: number(&link["xdp"]["prog"]["id"]),
                // XDP_ATTACHED_SKB
                xdp_generic: number(&link["xdp"]["mode"]) == Some(2),
                vlan: None,
                master: link["master"].as_str().and_then(|master| {
                    links
                        .as_array()?
                        .iter()
                        .find(|other| other["ifname"] == master)
                        .and_then(|other| number(&other["ifindex"]))
                }),
            })
            .collect()
    }

    pub(crate) fn fact(&self, name: &str) -> InterfaceFacts {
        self.facts().into_iter().find(|facts| facts.name == name).unwrap()
    }

    pub(crate) fn options(&self, interfaces: &[&str]) -> Options {
        Options {
            pin_dir: self.pin_dir.clone(),
            run_dir: self.run_dir.clone(),
            interfaces: interfaces.iter().map(|&name| name.into()).collect(),
            facts: self.facts(),
            mode: Mode::Auto,
            hook: TcHook::of_kernel(),
            flows: 1024,
            half_open: 1024,
            templates: 1024,
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "a host is the proof that this thread has namespaces of its own"
    )]
    pub(crate) fn try_open(&self, options: &Options) -> Result<BpfDataplane, LoadError> {
        load::open(OBJECT, options)
    }

    pub(crate) fn open(&self, interfaces: &[&str]) -> BpfDataplane {
        self.try_open(&self.options(interfaces)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Every pin, by its path under the pin directory.
    pub(crate) fn pins(&self) -> Vec<String> {
        let pins = xlb::dataplane::pins::Pins::new(&self.pin_dir).all().unwrap();
        pins.iter()
            .map(|path| path.strip_prefix(&self.pin_dir).unwrap().display().to_string())
            .collect()
    }
}
