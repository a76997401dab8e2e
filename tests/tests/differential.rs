//! Sequences of packets through the kernel's IPVS and through xlb, where there is IPVS: in `cargo xtask vm`. Ten thousand
//! of them by `cargo xtask vm --kernel 6.12 --differential 10000`.

use std::process::Command;

use lb_tests::differential::director::Director;
use lb_tests::differential::report::Report;
use lb_tests::differential::sequence::Sequence;
use lb_tests::differential::trial;

/// As many as a test among others may cost under emulation.
const SEQUENCES: u64 = 100;

fn have_ipvs() -> bool {
    // Where they are built in or loaded, or cannot be, modprobe says nothing that helps.
    let _ = Command::new("modprobe").args(["-a", "ip_vs", "ip_vs_rr", "tun"]).output();
    let have = std::path::Path::new("/proc/net/ip_vs").exists();
    if !have {
        println!("skipped: this kernel has no IPVS; `cargo xtask vm` has one that does");
    }
    have
}

// P-82
#[test]
fn random_sequences_come_out_of_ipvs_and_of_xlb_the_same() {
    if !have_ipvs() {
        return;
    }
    let mut ipvs = Director::new().expect("a namespace");
    let mut bare = Director::new().expect("a namespace");
    ipvs.serve((0..SEQUENCES).map(Sequence::port)).expect("ipvsadm");
    let mut report = Report::default();
    for number in 0..SEQUENCES {
        trial::run(82, number, &mut ipvs, &mut bare, &mut report)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }
    assert!(report.unexplained.is_empty(), "{}", report.unexplained.join("\n"));
    println!("{report}");
}
