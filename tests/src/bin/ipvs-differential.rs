//! Random sequences of packets through the kernel's IPVS and through xlb: `ipvs-differential SEQUENCES [SEED [THREADS]]`.
//! Needs root and a kernel with IPVS and TAP devices; `cargo xtask vm --kernel 6.12 --differential 10000` has one.
//! `XLB_DIFFERENTIAL_FIRST` is the number of the first sequence: with it, SEED and 1, one that differed comes back alone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::differential::director::Director;
use lb_tests::differential::report::Report;
use lb_tests::differential::sequence::Sequence;
use lb_tests::differential::trial;

/// Sequences whose services are put in force at a time.
const BATCH: u64 = 100;

/// Time between two words on how far it has come.
const PROGRESS: Duration = Duration::from_secs(20);

/// Sums of all threads.
struct Sums {
    report: Report,
    /// When it was last said how far it has come.
    said: Instant,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sequences: u64 = arguments.next().context("how many sequences?")?.parse()?;
    let seed = match arguments.next() {
        Some(seed) => seed.parse()?,
        None => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs(),
    };
    let threads: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let first: u64 = std::env::var("XLB_DIFFERENTIAL_FIRST").map_or(Ok(0), |text| text.parse())?;
    println!("seed {seed}, sequences {first} to {}", first + sequences.saturating_sub(1));

    let start = Instant::now();
    let (next, end) = (AtomicU64::new(first), first + sequences);
    let sums = Mutex::new(Sums { report: Report::default(), said: start });
    std::thread::scope(|scope| {
        let work = || {
            let done = batches(seed, &next, end, start, &sums);
            if done.is_err() {
                // What one director cannot do, the others need not begin.
                next.store(end, Ordering::Relaxed);
            }
            done
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread panicked"))
    })?;
    let report = sums.into_inner().expect("no one panicked under it").report;
    println!("{report}\nseed {seed}, {:.1?}", start.elapsed());
    ensure!(report.sequences == sequences, "only {} sequences were run", report.sequences);
    ensure!(report.unexplained.is_empty(), "see what is not explained above");
    Ok(())
}

/// Runs batches until none is left, with directors of this thread's own.
fn batches(
    seed: u64,
    next: &AtomicU64,
    end: u64,
    start: Instant,
    sums: &Mutex<Sums>,
) -> Result<()> {
    let (mut ipvs, mut bare) = (Director::new()?, Director::new()?);
    loop {
        let batch = next.fetch_add(BATCH, Ordering::Relaxed);
        if batch >= end {
            return Ok(());
        }
        let numbers = batch..end.min(batch + BATCH);
        ipvs.serve(numbers.clone().map(Sequence::port))?;
        let mut report = Report::default();
        for number in numbers {
            trial::run(seed, number, &mut ipvs, &mut bare, &mut report)?;
        }
        let mut sums = sums.lock().expect("no one panics under it");
        for difference in &report.unexplained {
            println!("{difference}");
        }
        sums.report.add(report);
        if sums.said.elapsed() > PROGRESS {
            sums.said = Instant::now();
            println!("{:>5} s: {}", start.elapsed().as_secs(), sums.report.progress());
        }
    }
}
