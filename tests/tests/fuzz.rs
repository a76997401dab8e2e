//! Malformed packets through the engine, and a sample of them through the program in the kernel.
//!
//! `XLB_FUZZ_PACKETS` says how many (`cargo xtask test` asks for 20 million), `XLB_FUZZ_SEED` from which seed, which is
//! printed; with `XLB_FUZZ_ROUND` one round of it runs alone.

use std::time::Instant;

use lb_tests::capability::{Capability, have};
use lb_tests::fuzz::campaign::{self, ROUND};
use lb_tests::fuzz::kernel_log::Complaints;

/// As many as a test among others may cost.
const FEW: u64 = 200_000;
/// Of each condition's rounds, so many packets go through the kernel, too.
const SAMPLE: u64 = 20_000;
const SAMPLE_ROUND: u64 = 1_250;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    let digits: String = text.chars().filter(|digit| *digit != '_').collect();
    Some(digits.parse().unwrap_or_else(|_| panic!("{variable}={text}: no number")))
}

/// From the environment, else another one each time: the clock's.
fn seed() -> u64 {
    number("XLB_FUZZ_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("a clock after 1970").as_nanos() as u64
    })
}

// S-28, S-29, X-20: I-1, I-2, I-3, I-4, I-5, I-6, I-7, I-8, I-9, I-10
#[test]
fn no_malformed_packet_breaks_an_invariant() {
    let goldens = campaign::goldens().expect("committed");
    let (seed, start) = (seed(), Instant::now());
    println!("seed {seed}");
    let report = match number("XLB_FUZZ_ROUND") {
        Some(round) => campaign::round(seed, round, &goldens),
        None => campaign::run(seed, number("XLB_FUZZ_PACKETS").unwrap_or(FEW), &goldens),
    };
    let report = report.unwrap_or_else(|broken| panic!("{broken}"));
    let (packets, took) = (report.tally.all(), start.elapsed());
    println!("{packets} packets in rounds of {ROUND}, {took:.1?}, 0 broken invariants");
    println!("{:?}; made as {:?}\n{:?}", report.tally, report.kinds, report.reasons);
    assert!(report.tally.forwarded * 20 > packets, "hardly any was forwarded");
    assert!(report.kinds.values().all(|made| *made > 0));
}

// S-28, S-29: I-1, I-11
#[test]
fn a_sample_of_malformed_packets_is_the_same_in_the_kernel() {
    if !have(&[Capability::Bpf]) {
        return;
    }
    let before = Complaints::now();
    let goldens = campaign::goldens().expect("committed");
    let seed = seed();
    println!("seed {seed}");
    let run = campaign::in_kernel(seed, SAMPLE / SAMPLE_ROUND, SAMPLE_ROUND, &goldens)
        .unwrap_or_else(|broken| panic!("{broken:#}"));
    let after = Complaints::now();
    println!("{run} packets on both; the kernel's log can be read: {}", after.lines.is_some());
    assert_eq!(after.since(&before), Vec::<String>::new(), "the kernel complains");
}
