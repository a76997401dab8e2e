//! The MSS clamp, as both ends' sockets know it.

use anyhow::ensure;
use xlb::lab::{Daemon, Offloads, Options};

use super::bed::{Arms, Bed, client_address};
use super::client::{Talk, VIP};
use super::config::Service;

const STREAM: u64 = 20_000_000;
/// Of every segment: both ends of these laboratories use time stamps (RFC 7323).
const STAMPS: u32 = 12;

fn sizes_are(bed: &Bed, (client, server): (u32, u32)) -> anyhow::Result<()> {
    let sizes = Talk::open(&bed.client()?, client_address(0), VIP)?.segments()?;
    let expected = (client - STAMPS, server - STAMPS);
    ensure!(sizes == expected, "client and server use {sizes:?}, not {expected:?}");
    Ok(())
}

fn streams(bed: &Bed) -> anyhow::Result<()> {
    let client = bed.client()?;
    Talk::open(&client, client_address(1), VIP)?.download(|seen| seen > STREAM)?;
    Talk::open(&client, client_address(2), VIP)?.upload(|sent| sent > STREAM)?;
    Ok(())
}

/// Both ends use what the service is set to, and after a reload what it is then; a value that is larger than theirs
/// raises nothing, and connections that are open keep theirs. // P-54
pub fn both_ends_are_told() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let bed = Bed::two_arm()?;
        let set = |mss: &str| Service::new(kind).more(mss).text();
        let daemon = bed.start(&set("xlb_mss 1000"))?;
        sizes_are(&bed, (1_000, 1_000))?;
        let mut open = Talk::open(&bed.client()?, client_address(3), VIP)?;
        streams(&bed)?;
        for (mss, expected) in [("xlb_mss 536", 536), ("xlb_mss 9000", 1_460), ("", 1_460)] {
            daemon.reload(&set(mss))?;
            sizes_are(&bed, (expected, expected))?;
        }
        ensure!(open.segments()? == (1_000 - STAMPS, 1_000 - STAMPS), "{kind}: it was open");
    }
    Ok(())
}

/// At tc, where the sender leaves checksums to the device. // P-54 P-04
pub fn half_made_checksums_stay_right() -> anyhow::Result<()> {
    for offloads in [Offloads::Usual, Offloads::All] {
        for kind in ["NAT", "FNAT"] {
            let bed = Bed::new(Arms::Two, &Options { offloads, ..Options::default() })?;
            let mut spec = bed.spec()?;
            spec.mode = "tc".into();
            let text = Service::new(kind).more("xlb_mss 1001").text();
            let _daemon = Daemon::start(&bed.lab, &spec, &text)?;
            sizes_are(&bed, (1_001, 1_001))?;
            streams(&bed)?;
        }
    }
    Ok(())
}
