//! Random sequences of packets through the kernel's IPVS and through xlb: `ipvs-differential SEQUENCES [SEED]`. Needs
//! root and a kernel with IPVS and TAP devices; `cargo xtask vm --kernel 6.12 --differential 10000` has one.

use std::time::Instant;

use anyhow::{Context, Result};
use lb_tests::differential::director::Director;
use lb_tests::differential::sequence::Sequence;
use lb_tests::differential::trial::{self, Report};

/// Sequences whose services are put in force at a time.
const BATCH: u64 = 200;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sequences: u64 = arguments.next().context("how many sequences?")?.parse()?;
    let seed = match arguments.next() {
        Some(seed) => seed.parse()?,
        None => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs(),
    };
    println!("seed {seed}");
    let (mut ipvs, mut bare) = (Director::new()?, Director::new()?);
    let (mut report, start) = (Report::default(), Instant::now());
    let first: u64 = std::env::var("XLB_DIFFERENTIAL_FIRST").map_or(Ok(0), |text| text.parse())?;
    let end = first + sequences;
    for batch in (first..end).step_by(BATCH as usize) {
        let numbers = batch..end.min(batch + BATCH);
        ipvs.serve(numbers.clone().map(Sequence::port))?;
        for number in numbers {
            trial::run(seed, number, &mut ipvs, &mut bare, &mut report)?;
        }
    }
    let Report { sequences, packets, same, spelt, explained } = report;
    println!(
        "{sequences} sequences, {packets} packets, {same} frames came out the same; {:.1?}\n\
         written differently: {spelt:?}\ndifferences by rule: {explained:?}; unexplained: 0",
        start.elapsed()
    );
    Ok(())
}
