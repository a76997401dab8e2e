//! A client that uses the same source port again at once, as clients behind a NAT do.

use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::bed::{Bed, client_address};
use super::client::{Talk, VIP};
use super::config::Service;

/// Twice as many as real servers, several times over, so that each server meets the port while it is in `TIME_WAIT`.
const ROUNDS: usize = 12;
const LIMIT: Duration = Duration::from_secs(5);

/// NAT: every connection is answered, none waits for a SYN sent again. // C-31
pub fn nat_does_not_stall() -> anyhow::Result<()> {
    reuse("NAT")
}

/// Full-NAT likewise. // C-33
pub fn fullnat_does_not_stall() -> anyhow::Result<()> {
    reuse("FNAT")
}

fn reuse(kind: &'static str) -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new(kind).text())?;
    let client = bed.client()?;
    let source = SocketAddrV4::new(client_address(0), 5555);
    for round in 0..ROUNDS {
        let (start, talk) = xlb::lab::until("the source port free", LIMIT, || {
            let start = Instant::now();
            match client.enter(|| Talk::open_here(source, VIP)) {
                // The last connection's last segment is still on its way.
                Ok(Err(error)) if error.kind() == ErrorKind::AddrInUse => Err(error.to_string()),
                other => Ok(other.map(|talk| (start, talk))),
            }
        })??;
        let mut talk = talk?;
        talk.who()?;
        talk.server_closes()?;
        let took = start.elapsed();
        ensure!(took < Duration::from_millis(900), "round {round} took {took:?}");
    }
    Ok(())
}
