//! How a daemon goes: nothing of it is left, unless it was asked to stay.

use anyhow::ensure;

use super::bed::{Bed, client_address};
use super::client::{VIP, ask};
use super::config::SAMPLE;
use super::refusal::{attached, nothing_attached};

/// SIGTERM: exit code 0, programs detached, pins gone. // K-25
pub fn a_clean_stop_leaves_nothing() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(SAMPLE)?;
    ask(&bed.client()?, client_address(0), VIP)?;
    let code = daemon.stop()?;
    ensure!(code == Some(0), "{code:?}");
    nothing_attached(&bed, &["eth0", "eth1"])?;
    ensure!(!daemon.pin_dir().exists(), "pins are left in {}", daemon.pin_dir().display());
    Ok(())
}

/// `xlb detach` removes what a dead daemon has left; a new daemon starts afresh after it.
pub fn detach_removes_what_kill_9_left() -> anyhow::Result<()> {
    let bed = Bed::two_arm()?;
    let mut daemon = bed.start(SAMPLE)?;
    daemon.kill()?;
    ensure!(!attached(&bed, "eth0")?.is_empty());
    daemon.xlb(&["detach"])?;
    nothing_attached(&bed, &["eth0", "eth1"])?;
    ensure!(!daemon.pin_dir().exists(), "pins are left in {}", daemon.pin_dir().display());
    daemon.run()?;
    ask(&bed.client()?, client_address(0), VIP)?;
    Ok(())
}
