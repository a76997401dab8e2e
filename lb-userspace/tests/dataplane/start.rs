//! Start, take-over, end, and what stands in their way.

use lb_common::abi::{Config, HopState, NextHop, limits};
use xlb::dataplane::attach::AttachedMode;
use xlb::dataplane::detach::{detach, detach_dead};
use xlb::dataplane::error::{LoadError, Notice};
use xlb::dataplane::link::TcHook;
use xlb::dataplane::load::Options;
use xlb::dataplane::maps::Maps;
use xlb::dataplane::preflight::{Mode, Obstacle};

use crate::host::{Host, on_host};

#[test]
fn second_daemon_takes_over_maps_and_links_of_the_first() {
    on_host(|host| {
        // K-15, K-16, K-19, K-25
        let first = host.open(&["a0", "b0"]);
        assert!(first.notices().is_empty(), "{:?}", first.notices());
        assert!(first.attached().iter().all(|link| link.mode == AttachedMode::Xdp));
        let pins = host.pins();
        for pin in
            ["links/a0", "links/b0", "progs/xdp", "progs/expire", "progs/clock", "maps/FLOWS4"]
        {
            assert!(pins.iter().any(|there| there == pin), "{pin} of {pins:?}");
        }
        let maps = Maps::open(&host.pin_dir).unwrap();
        maps.gauges.put(&0, &7).unwrap();
        let old_program = host.fact("a0").xdp_prog_id.unwrap();
        drop(first);
        assert_eq!(host.fact("a0").xdp_prog_id, Some(old_program), "forwards without a daemon");

        let start = std::time::Instant::now();
        let second = host.open(&["a0", "b0"]);
        println!("taken over in {:?}", start.elapsed());
        assert_eq!(second.notices(), [Notice::Adopted { maps: 26 }]);
        assert_eq!(second.reader().flows().unwrap(), 7);
        let new_program = host.fact("a0").xdp_prog_id.unwrap();
        assert_ne!(new_program, old_program);
        assert_eq!(host.fact("b0").xdp_prog_id, Some(new_program));
        // What its programs go on with is the new load's own.
        let (ours, others): (Vec<_>, Vec<_>) =
            host.pins().into_iter().partition(|pin| pin.starts_with("progs/next-"));
        assert_eq!(ours.len(), 1, "{ours:?}");
        assert!(!pins.contains(&ours[0]), "{ours:?}");
        assert!(others.iter().all(|pin| pins.contains(pin)) && others.len() + 1 == pins.len());
        drop(second);

        let removed = detach(&host.pin_dir).unwrap();
        assert_eq!(removed.interfaces, ["a0", "b0"]);
        let (next, programs) = removed.programs.split_at(3).1.split_at(1);
        assert_eq!(removed.programs[..3], ["clock", "expire", "expire6"]);
        assert!(next[0].starts_with("next-") && programs == ["xdp"], "{:?}", removed.programs);
        assert_eq!(removed.maps.len(), 26);
        assert!(!host.pin_dir.exists());
        assert_eq!(host.fact("a0").xdp_prog_id, None);
        assert!(detach(&host.pin_dir).unwrap().is_empty(), "twice is no error");
    });
}

#[test]
fn second_daemon_beside_a_running_one_is_refused() {
    on_host(|host| {
        // K-22
        let first = host.open(&["a0"]);
        let error = host.try_open(&host.options(&["a0"])).err().unwrap();
        assert!(matches!(error, LoadError::Locked { .. }), "{error}");
        let error = detach_dead(&host.pin_dir, &host.run_dir).unwrap_err();
        assert!(matches!(error, LoadError::Locked { .. }), "{error}");
        drop(first);
        assert_eq!(detach_dead(&host.pin_dir, &host.run_dir).unwrap().interfaces, ["a0"]);
    });
}

#[test]
fn other_instance_on_the_same_interface_is_refused() {
    on_host(|host| {
        // K-24
        let first = host.open(&["a0"]);
        let options = Options {
            pin_dir: host.pin_dir.with_file_name("other"),
            run_dir: host.run_dir.with_file_name("other"),
            ..host.options(&["a0"])
        };
        let error = host.try_open(&options).err().unwrap();
        assert!(matches!(error, LoadError::ForeignProgram { .. }), "{error}");
        assert!(!options.pin_dir.exists());
        assert_eq!(first.attached().len(), 1);
    });
}

#[test]
fn pins_of_another_layout_are_refused_and_left_alone() {
    on_host(|host| {
        // C-67, K-20, K-21
        drop(host.open(&["a0"]));
        let maps = Maps::open(&host.pin_dir).unwrap();
        let config = maps.config().unwrap();
        maps.config.put(&0, &Config { layout: 4711, ..config }).unwrap();
        let (pins, program) = (host.pins(), host.fact("a0").xdp_prog_id);
        let error = host.try_open(&host.options(&["a0"])).err().unwrap().to_string();
        assert!(error.contains("layout 4711") && error.contains("xlb detach"), "{error}");
        assert_eq!((host.pins(), host.fact("a0").xdp_prog_id), (pins, program));
    });
}

#[test]
fn pin_replaced_by_a_map_of_another_shape_is_refused() {
    on_host(|host| {
        // S-10
        drop(host.open(&["a0"]));
        let maps = host.pin_dir.join("maps");
        std::fs::rename(maps.join("SLOTS"), maps.join("REALS")).unwrap();
        let error = host.try_open(&host.options(&["a0"])).err().unwrap().to_string();
        assert!(error.contains("REALS is type 2 key 4B value 4B"), "{error}");
    });
}

#[test]
fn other_capacity_than_pinned_is_not_taken_but_told() {
    on_host(|host| {
        // C-66
        drop(host.open(&["a0"]));
        let options = Options { flows: 4096, ..host.options(&["a0"]) };
        let again = host.try_open(&options).unwrap();
        let told = Notice::KeptCapacity { map: "FLOWS4".into(), asked: 8192, kept: 2048 };
        assert!(again.notices().contains(&told), "{:?}", again.notices());
        assert_eq!(again.capacity().flows, 1024);
    });
}

#[test]
fn interface_made_again_is_attached_afresh() {
    on_host(|host| {
        // K-32
        drop(host.open(&["a0", "b0"]));
        host.ip("link del a0");
        host.ip("link add a0 type veth peer name a1");
        host.ip("link set a0 up");
        let again = host.open(&["a0", "b0"]);
        let told = Notice::SeveredLink { interface: "a0".into() };
        assert!(again.notices().contains(&told), "{:?}", again.notices());
        assert!(host.fact("a0").xdp_prog_id.is_some());
        let maps = Maps::open(&host.pin_dir).unwrap();
        let mut devices = Vec::new();
        maps.devices.for_each(|&ifindex, _| devices.push(ifindex)).unwrap();
        devices.sort_unstable();
        let mut attached = again.attached().iter().map(|link| link.ifindex).collect::<Vec<_>>();
        attached.sort_unstable();
        assert_eq!(devices, attached);
    });
}

#[test]
fn renamed_interfaces_keep_their_links() {
    on_host(|host| {
        drop(host.open(&["a0", "b0"]));
        for (from, to) in [("a0", "tmp"), ("b0", "a0"), ("tmp", "b0")] {
            host.ip(&format!("link set {from} down"));
            host.ip(&format!("link set {from} name {to}"));
        }
        host.ip("link set b0 name wan.7");
        host.ip("link set wan.7 up");
        host.ip("link set a0 up");
        let again = host.open(&["a0", "wan.7"]);
        let renamed =
            |from: &str, to: &str| Notice::RenamedLink { from: from.into(), to: to.into() };
        assert!(again.notices().contains(&renamed("b0", "a0")), "{:?}", again.notices());
        assert!(again.notices().contains(&renamed("a0", "wan.7")), "{:?}", again.notices());
        let links =
            host.pins().into_iter().filter(|pin| pin.starts_with("links")).collect::<Vec<_>>();
        assert_eq!(links, ["links/a0", "links/wan%2e7"]);
    });
}

#[test]
fn interface_no_longer_listed_is_detached() {
    on_host(|host| {
        drop(host.open(&["a0", "b0"]));
        let again = host.open(&["b0"]);
        let told = Notice::Detached { interface: "a0".into() };
        assert!(again.notices().contains(&told), "{:?}", again.notices());
        assert_eq!(host.fact("a0").xdp_prog_id, None);
        assert!(host.fact("b0").xdp_prog_id.is_some());
    });
}

#[test]
fn failed_start_leaves_nothing() {
    on_host(|host| {
        // K-27
        let other = Options {
            pin_dir: host.pin_dir.with_file_name("other"),
            run_dir: host.run_dir.with_file_name("other"),
            ..host.options(&["b0"])
        };
        let other = host.try_open(&other).unwrap();
        let mut options = host.options(&["a0", "b0"]);
        // Attached since the facts were gathered, so that a0 is attached first and b0 fails.
        let taken = options.facts.iter_mut().find(|facts| facts.name == "b0").unwrap();
        taken.xdp_prog_id = None;
        let error = host.try_open(&options).err().unwrap();
        assert!(matches!(&error, LoadError::Attach { name, .. } if name == "b0"), "{error}");
        assert!(!host.pin_dir.exists(), "{:?}", host.pins());
        assert_eq!(host.fact("a0").xdp_prog_id, None);
        drop(other);

        let too_much = Options { flows: u32::MAX / 4, ..host.options(&["a0"]) };
        let error = host.try_open(&too_much).err().unwrap().to_string();
        assert!(error.contains("fewer flows"), "{error}");
        assert!(!host.pin_dir.exists(), "{:?}", host.pins());
    });
}

#[test]
fn failed_take_over_leaves_what_was_there() {
    on_host(|host| {
        // K-27
        drop(host.open(&["a0"]));
        let pins = host.pins();
        let mut options = host.options(&["a0", "b0"]);
        options.facts.iter_mut().find(|facts| facts.name == "b0").unwrap().ifindex = 4711;
        assert!(host.try_open(&options).is_err());
        assert_eq!(host.pins(), pins);
        assert!(host.fact("a0").xdp_prog_id.is_some());
        assert_eq!(host.fact("b0").xdp_prog_id, None);
    });
}

// K-12
#[test]
fn interface_that_is_down_keeps_its_place_and_ways_back_learn_its_new_mtu() {
    on_host(|host| {
        let mut dataplane = host.open(&["a0", "b0"]);
        let maps = Maps::open(&host.pin_dir).unwrap();
        let ifindex = host.fact("a0").ifindex;
        let learned = NextHop {
            state: HopState::Valid as u8,
            flags: NextHop::LEARNED,
            mtu: 1500,
            ifindex,
            ..NextHop::default()
        };
        maps.next_hops.put(&limits::REALS, &learned).unwrap();
        for step in ["a0 down", "a0 mtu 1400", "a0 up"] {
            host.ip(&format!("link set {step}"));
            // One that is unfit is no other's business.
            let _ = dataplane.reattach(&host.facts());
            assert!(maps.ifaces.get(&ifindex).unwrap().is_some(), "{step}");
            assert!(maps.devices.get(&ifindex).unwrap().is_some(), "{step}");
        }
        assert_eq!(maps.next_hops.get(&limits::REALS).unwrap().map(|hop| hop.mtu), Some(1400));
    });
}

// P-75
#[test]
fn port_of_a_bridge_is_refused_by_name_of_the_bridge() {
    on_host(|host| {
        host.ip("link add br0 type bridge");
        host.ip("link set br0 up");
        host.ip("link set a0 master br0");
        let refused = host.try_open(&host.options(&["a0"])).map(drop).unwrap_err().to_string();
        assert!(refused.contains("`--iface br0`"), "{refused}");
        assert!(!host.pin_dir.exists(), "{:?}", host.pins());
    });
}

#[test]
fn driver_without_xdp_takes_all_interfaces_to_tc_and_is_told() {
    on_host(|host| {
        host.ip("link add br0 type bridge");
        host.ip("link set br0 up");
        let refused = Options { mode: Mode::Xdp, ..host.options(&["a0", "br0"]) };
        let error = host.try_open(&refused).err().unwrap();
        assert!(matches!(error, LoadError::NoNativeXdp { .. }), "{error}");
        assert!(error.to_string().contains("--mode tc"), "{error}");
        // Twice: the second start takes over what the first has made.
        for _ in 0..2 {
            let dataplane = host.open(&["a0", "br0"]);
            assert!(dataplane.attached().iter().all(|link| link.mode == AttachedMode::Tc));
            let chosen = |notice: &&Notice| matches!(notice, Notice::ChoseTc { interface, .. } if interface == "br0");
            assert_eq!(dataplane.notices().iter().filter(chosen).count(), 1);
            assert_eq!(host.fact("a0").xdp_prog_id, None, "not in XDP, too");
            let pinned = host.pins().contains(&"links/a0".to_owned());
            assert_eq!(pinned, TcHook::of_kernel() == TcHook::Tcx);
        }
        assert_eq!(detach(&host.pin_dir).unwrap().interfaces, ["a0", "br0"]);
    });
}

#[test]
fn unprepared_veth_takes_all_interfaces_to_tc_and_is_told() {
    on_host(|host| {
        // P-04
        let mut options = host.options(&["a0", "b0"]);
        let usual = options.facts.iter_mut().find(|facts| facts.name == "b0").unwrap();
        usual.tx_checksum = true;
        let dataplane = host.try_open(&options).unwrap();
        let why = Obstacle::HalfMadeChecksums;
        assert_eq!(dataplane.notices(), [Notice::ChoseTc { interface: "b0".into(), why }]);
        assert!(dataplane.attached().iter().all(|link| link.mode == AttachedMode::Tc));
        drop(dataplane);
        // Asked for all the same: done, and told.
        let dataplane = host.try_open(&Options { mode: Mode::Xdp, ..options }).unwrap();
        assert!(dataplane.attached().iter().all(|link| link.mode == AttachedMode::Xdp));
        let told = Notice::HalfMadeChecksums { interface: "b0".into() };
        assert!(dataplane.notices().contains(&told), "{:?}", dataplane.notices());
    });
}

/// Names of the filters at an interface's ingress.
fn filters(host: &Host, interface: &str) -> Vec<String> {
    let text = host.tc(&format!("filter show dev {interface} ingress"));
    let name = |line: &str| {
        let (_, rest) = line.split_once("handle 0x1 ")?;
        rest.split_once(" direct-action").map(|(name, _)| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn without_tcx_filters_are_made_taken_over_and_deleted() {
    on_host(|host| {
        // K-15, K-16, K-19, K-25
        let name = format!("xlb {}", host.pin_dir.display());
        let options =
            || Options { mode: Mode::Tc, hook: TcHook::Clsact, ..host.options(&["a0", "b0"]) };
        let first = host.try_open(&options()).unwrap();
        assert!(first.attached().iter().all(|link| link.mode == AttachedMode::Tc));
        assert_eq!(filters(host, "a0"), [name.as_str()]);
        let before = host.tc("filter show dev a0 ingress");
        drop(first);
        // In its place, by a new program.
        let second = host.try_open(&options()).unwrap();
        assert_eq!(filters(host, "a0"), [name.as_str()]);
        assert_ne!(host.tc("filter show dev a0 ingress"), before);
        drop(second);
        // Only one of them, and the other one renamed.
        host.ip("link set a0 down");
        host.ip("link set a0 name wan.7");
        host.ip("link set wan.7 up");
        let renamed = Options { mode: Mode::Tc, hook: TcHook::Clsact, ..host.options(&["wan.7"]) };
        let third = host.try_open(&renamed).unwrap();
        assert!(third.notices().contains(&Notice::Detached { interface: "b0".into() }));
        assert_eq!(filters(host, "b0"), [""; 0]);
        assert!(
            !host.tc("qdisc show dev b0").contains("clsact"),
            "the last one takes the qdisc along"
        );
        drop(third);
        // Another's filter beside ours stays, and so does the qdisc that it is in.
        let program = host.pin_dir.join("progs/tc_ingress");
        host.tc(&format!(
            "filter add dev wan.7 ingress bpf direct-action pinned {}",
            program.display()
        ));
        assert_eq!(filters(host, "wan.7").len(), 2);
        assert_eq!(detach(&host.pin_dir).unwrap().interfaces, ["wan.7"]);
        let left = filters(host, "wan.7");
        assert!(left.len() == 1 && left[0] != name, "{left:?}");
        assert!(detach(&host.pin_dir).unwrap().is_empty(), "twice is no error");
    });
}

#[test]
fn start_that_fails_takes_its_filters_away_and_no_others() {
    on_host(|host| {
        // K-27
        let options = |names: &[&str]| Options {
            mode: Mode::Tc,
            hook: TcHook::Clsact,
            ..host.options(names)
        };
        drop(host.try_open(&options(&["a0"])).unwrap());
        // A folder where the pin of a program belongs: the last step of a start.
        let pin = host.pin_dir.join("progs/tc_ingress");
        std::fs::remove_file(&pin).unwrap();
        std::fs::create_dir(&pin).unwrap();
        assert!(host.try_open(&options(&["a0", "b0"])).is_err());
        assert_eq!(filters(host, "a0").len(), 1, "that of the start before");
        assert_eq!(filters(host, "b0"), [""; 0]);
        assert!(!host.tc("qdisc show dev b0").contains("clsact"));
    });
}

#[test]
fn filter_deleted_behind_the_daemon_is_put_back() {
    on_host(|host| {
        // K-12
        let options = Options { mode: Mode::Tc, hook: TcHook::Clsact, ..host.options(&["a0"]) };
        let mut dataplane = host.try_open(&options).unwrap();
        assert_eq!(dataplane.reattach(&host.facts()).unwrap(), []);
        host.tc("qdisc del dev a0 clsact");
        let told = dataplane.reattach(&host.facts()).unwrap();
        assert_eq!(told, [Notice::Reattached { interface: "a0".into() }]);
        assert_eq!(filters(host, "a0").len(), 1);
        assert_eq!(dataplane.shut_down().unwrap().interfaces, ["a0"]);
        assert!(!host.tc("qdisc show dev a0").contains("clsact"));
    });
}

#[test]
fn mode_change_attaches_afresh() {
    on_host(|host| {
        use AttachedMode::{Tc, Xdp, XdpGeneric};
        let told = Notice::ModeChanged { interface: "a0".into() };
        drop(host.open(&["a0"]));
        for (asked, mode) in [
            (Mode::XdpGeneric, XdpGeneric),
            (Mode::Tc, Tc),
            (Mode::Xdp, Xdp),
            (Mode::Tc, Tc),
            (Mode::Auto, Xdp),
        ] {
            let options = Options { mode: asked, ..host.options(&["a0"]) };
            let again = host.try_open(&options).unwrap();
            assert_eq!(again.attached()[0].mode, mode);
            assert!(again.notices().contains(&told), "{mode:?}: {:?}", again.notices());
            assert_eq!(host.fact("a0").xdp_generic, mode == XdpGeneric);
            assert_eq!(host.fact("a0").xdp_prog_id.is_none(), mode == Tc);
            let pins = host.pins();
            assert_eq!(pins.contains(&"progs/tc_ingress".to_owned()), mode == Tc);
            assert_eq!(pins.contains(&"progs/xdp".to_owned()), mode != Tc);
            let links = pins.iter().filter(|pin| pin.starts_with("links/")).count();
            // A filter has no pin.
            let filter = mode == Tc && TcHook::of_kernel() == TcHook::Clsact;
            assert_eq!(links, usize::from(!filter), "{mode:?}");
            // Until it is deleted altogether, a link that was just replaced may still be listed.
            let held = xlb::dataplane::attach::attached_programs(&host.pin_dir);
            assert_eq!(held.len(), 1, "{mode:?}");
        }
    });
}

#[test]
fn mtu_beyond_the_driver_is_refused_by_name() {
    on_host(|host| {
        host.ip("link set a0 mtu 9000");
        host.ip("link set a1 mtu 9000");
        let xdp = || Options { mode: Mode::Xdp, ..host.options(&["a0"]) };
        let error = host.try_open(&xdp()).err().unwrap();
        assert!(matches!(error, LoadError::Mtu { .. }), "{error}");
        // Said by the kernel, were it not for the check: the translation of its refusal.
        let mut options = xdp();
        options.facts.iter_mut().for_each(|facts| facts.driver = "unheard-of".into());
        let error = host.try_open(&options).err().unwrap();
        assert!(matches!(error, LoadError::Mtu { .. }), "{error}");
        // Neither of them is in the way of tc.
        let tc = host.try_open(&Options { mode: Mode::Auto, ..options }).unwrap();
        assert_eq!(tc.attached()[0].mode, AttachedMode::Tc);
        tc.shut_down().unwrap();
        assert_eq!(host.open(&["a0"]).attached()[0].mode, AttachedMode::Tc);
        detach(&host.pin_dir).unwrap();
        host.ip("link set a0 mtu 1500");
        let error = host.try_open(&xdp()).err().unwrap().to_string();
        assert!(error.contains("the peer's counts"), "{error}");
        assert!(!host.pin_dir.exists());
    });
}

#[test]
fn pin_dir_off_the_bpf_file_system_is_refused_with_the_mount_command() {
    on_host(|host| {
        // K-26
        let options = Options { pin_dir: host.run_dir.join("pins"), ..host.options(&["a0"]) };
        let error = host.try_open(&options).err().unwrap().to_string();
        assert!(error.contains("mount -t bpf bpf"), "{error}");
    });
}

#[test]
fn program_taken_off_behind_the_daemon_is_put_back() {
    on_host(|host| {
        // K-12, K-32
        let mut dataplane = host.open(&["a0", "b0"]);
        assert_eq!(dataplane.reattach(&host.facts()).unwrap(), []);
        let program = host.fact("b0").xdp_prog_id;
        std::fs::remove_file(host.pin_dir.join("links/a0")).unwrap();
        // The kernel lets go of an unpinned link some time later.
        while host.fact("a0").xdp_prog_id.is_some() {
            std::thread::yield_now();
        }
        let told = dataplane.reattach(&host.facts()).unwrap();
        assert_eq!(told, [Notice::Reattached { interface: "a0".into() }]);
        assert_eq!(host.fact("a0").xdp_prog_id, program);
        assert_eq!(host.fact("b0").xdp_prog_id, program);

        host.ip("link del b0");
        assert_eq!(dataplane.reattach(&host.facts()).unwrap(), [], "waits for the interface");
        host.ip("link add b0 type veth peer name b1");
        host.ip("link set b0 up");
        let told = dataplane.reattach(&host.facts()).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(host.fact("b0").xdp_prog_id, program);
        let ifindex = host.fact("b0").ifindex;
        assert!(dataplane.attached().iter().any(|link| link.ifindex == ifindex));

        let removed = dataplane.shut_down().unwrap();
        assert_eq!(removed.interfaces, ["a0", "b0"]);
        assert_eq!(host.fact("b0").xdp_prog_id, None);
    });
}
