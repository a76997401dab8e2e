//! Persistence: a client stays with its server for the time, then is scheduled as a new one.

use anyhow::ensure;

use super::bed::{Bed, client_address};
use super::client::{Talk, VIP, ask, ask_udp};
use super::config::Service;

/// rr would alternate; persistence holds each client, across a reload, too. // C-60
pub fn a_client_stays() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let config = Service::new("NAT").more("persistence_timeout 50");
    let daemon = bed.start(&config.text())?;
    let client = bed.client()?;
    let first: Vec<_> =
        (0..6).map(|n| ask(&client, client_address(n), VIP)).collect::<Result<_, _>>()?;
    ensure!(first.iter().filter(|answer| answer.server == "real1").count() == 3, "{first:?}");
    for round in 0..3 {
        if round == 1 {
            daemon.reload(&config.clone().more("delay_loop 7").text())?;
        }
        for (n, before) in (0..6).zip(&first) {
            let now = ask(&client, client_address(n), VIP)?;
            ensure!(now.server == before.server, "{} moved in round {round}", client_address(n));
        }
    }
    let templates = daemon.conns()?.iter().filter(|flow| flow["template"] == true).count();
    ensure!(templates == 6, "{templates} templates");
    Ok(())
}

/// After the time-out, with no connection left, the next connection is scheduled anew.
pub fn a_client_is_free_after_the_timeout() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let daemon = bed.start(&Service::new("NAT").more("persistence_timeout 2").text())?;
    let client = bed.client()?;
    let ours = client_address(0);
    // A reset leaves an entry of 10 s, the shortest, so the template is not held up by it for long.
    let mut talk = Talk::open(&client, ours, VIP)?;
    let first = talk.who()?.server;
    talk.reset()?;
    let mut talk = Talk::open(&client, ours, VIP)?;
    ensure!(talk.who()?.server == first);
    talk.reset()?;
    super::watch("the end of the template", || {
        let templates = daemon.conns()?.iter().filter(|flow| flow["template"] == true).count();
        ensure!(templates == 0, "{templates} templates");
        Ok(())
    })?;
    // rr goes on where it was: the other server is next.
    ensure!(ask(&client, ours, VIP)?.server != first, "still {first}");
    Ok(())
}

/// The mask of `persistence_granularity` binds a whole network. // C-61
pub fn granularity_binds_a_network() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let config = Service::new("NAT")
        .more("persistence_timeout 50")
        .more("persistence_granularity 255.255.255.0");
    let _daemon = bed.start(&config.text())?;
    let client = bed.client()?;
    let first = ask(&client, client_address(0), VIP)?.server;
    for n in 1..8 {
        ensure!(ask(&client, client_address(n), VIP)?.server == first);
    }
    Ok(())
}

/// UDP: another socket of the same client goes to the same server.
pub fn udp_clients_stay_too() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let _daemon = bed.start(&Service::new("FNAT").udp().more("persistence_timeout 50").text())?;
    let client = bed.client()?;
    let first = ask_udp(&client, client_address(0), VIP)?.server;
    for _ in 0..4 {
        ensure!(ask_udp(&client, client_address(0), VIP)?.server == first);
    }
    Ok(())
}
