//! Ten thousand short connections from 32 clients at once: none may fail, none may be slow because of a lost packet.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use xlb::lab::{Host, Options};

use super::bed::{Arms, Bed, client_address, number};
use super::client::{VIP, ask_here};
use super::config::Service;

const CLIENTS: u8 = 32;
const CONNECTIONS: usize = 10_000;

/// NAT, two interfaces.
pub fn nat_two_arm() -> anyhow::Result<()> {
    churn(Arms::Two, "NAT")
}

/// Full-NAT, two interfaces.
pub fn fullnat_two_arm() -> anyhow::Result<()> {
    churn(Arms::Two, "FNAT")
}

/// Full-NAT, one interface.
pub fn fullnat_one_arm() -> anyhow::Result<()> {
    churn(Arms::One, "FNAT")
}

fn churn(arms: Arms, kind: &'static str) -> anyhow::Result<()> {
    let bed = Bed::new(arms, &Options::default())?;
    let daemon = bed.start(&Service::new(kind).text())?;
    let start = Instant::now();
    let outcome = hammer(&bed.client()?, VIP, CONNECTIONS)?;
    let stats = daemon.stats()?;
    eprintln!(
        "{CONNECTIONS} connections in {:?}, slowest {:?}, shares {:?}",
        start.elapsed(),
        outcome.slowest,
        outcome.shares,
    );
    ensure!(outcome.failures.is_empty(), "{:?}; {stats}", outcome.failures);
    ensure!(outcome.shares == [CONNECTIONS / 2, CONNECTIONS / 2], "{:?}", outcome.shares);
    // A lost SYN is sent again after a second.
    ensure!(outcome.slowest < Duration::from_secs(1), "slowest {:?}; {stats}", outcome.slowest);
    ensure!(number(&stats["services"][0]["conns"])? == CONNECTIONS as u64, "{stats}");
    Ok(())
}

/// What the clients have seen.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) failures: Vec<String>,
    /// Of real1 and of the others.
    pub(super) shares: [usize; 2],
    pub(super) slowest: Duration,
}

/// A thread for each client address, all inside the client's namespace, until `total` connections are made.
pub(super) fn hammer(host: &Host, to: SocketAddrV4, total: usize) -> anyhow::Result<Outcome> {
    let left = AtomicUsize::new(total);
    let work = |n: u8| {
        let mut own = Outcome::default();
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            let start = Instant::now();
            match ask_here(SocketAddrV4::new(client_address(n), 0), to) {
                Ok(answer) if answer.server == "real1" => own.shares[0] += 1,
                Ok(_) => own.shares[1] += 1,
                Err(error) => own.failures.push(format!("{}: {error}", client_address(n))),
            }
            own.slowest = own.slowest.max(start.elapsed());
        }
        own
    };
    let parts = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..CLIENTS).map(|n| scope.spawn(move || host.enter(|| work(n)))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut whole = Outcome::default();
    for part in parts {
        whole.failures.extend(part.failures);
        whole.shares[0] += part.shares[0];
        whole.shares[1] += part.shares[1];
        whole.slowest = whole.slowest.max(part.slowest);
    }
    Ok(whole)
}
