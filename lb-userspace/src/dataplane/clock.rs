//! The kernel's coarse clock: jiffies, shifted so that a tick is about a quarter of a second.
//!
//! Only a program can read jiffies, so a program that writes them into its packet is run. How many there are
//! in a second is a choice of whoever built the kernel; it is measured against the monotonic clock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::{Config, Tick};

use super::{sys, test_run};

/// What the clock program is given: an Ethernet frame's least, whose first 8 bytes it overwrites.
const FRAME: usize = 64;

/// Rates that kernels are built with (kernel/Kconfig.hz).
const RATES: [u32; 4] = [100, 250, 300, 1000];

/// Jiffies of this kernel as ticks.
#[derive(Clone, Debug)]
pub struct Clock {
    program: Arc<OwnedFd>,
    hz: u32,
    shift: u32,
}

impl Clock {
    /// A clock whose ticks are jiffies shifted right by `shift`.
    pub(super) fn new(program: OwnedFd, hz: u32, shift: u32) -> Self {
        Self { program: Arc::new(program), hz, shift }
    }

    /// Now, in the ticks that the programs stamp with.
    pub fn now_tick(&self) -> io::Result<Tick> {
        jiffies(self.program.as_fd()).map(|jiffies| Tick((jiffies >> self.shift) as u32))
    }

    /// Jiffies in a second.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// How far jiffies are shifted.
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// `Config::ticks_per_1024_s`.
    pub fn ticks_per_1024_s(&self) -> u32 {
        ticks_per_1024_s(self.hz, self.shift)
    }

    /// A span in ticks, rounded up: a timeout never ends early.
    pub fn ticks(&self, span: Duration) -> u32 {
        let ticks = (span.as_millis() * u128::from(self.ticks_per_1024_s())).div_ceil(1_024_000);
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// The kernel's exact clock, which captured packets are stamped with (`bpf_ktime_get_ns`).
pub fn monotonic() -> Duration {
    sys::monotonic()
}

/// The length of `ticks` under a configuration; nothing before the daemon has measured the clock.
pub fn span(ticks: u32, config: &Config) -> Duration {
    match config.ticks_per_1024_s {
        0 => Duration::ZERO,
        rate => Duration::from_millis(u64::from(ticks) * 1_024_000 / u64::from(rate)),
    }
}

/// The shift that makes a tick about a quarter of a second: between an eighth and a half.
pub(super) fn shift_for(hz: u32) -> u32 {
    // 250 -> 6 (256 ms), 1000 -> 8 (256 ms), 300 -> 6 (213 ms), 100 -> 5 (320 ms)
    let quarter = f64::from(hz) / 4.0;
    let off = |shift: &u32| (f64::from(1_u32 << shift) / quarter).log2().abs();
    (0..16).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0)
}

/// Ticks in 1,024 seconds.
pub(super) fn ticks_per_1024_s(hz: u32, shift: u32) -> u32 {
    (1024 * hz) >> shift
}

/// Jiffies in a second: what two measurements in a row agree on. One alone may be spoilt by a busy machine, or by a
/// hypervisor that lets jiffies stand still and catch up.
pub(super) fn measure_hz(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut last = None;
    let mut best = (f64::INFINITY, RATES[0]);
    for _ in 0..20 {
        let (from, start) = edge(program)?;
        std::thread::sleep(Duration::from_millis(50));
        let (to, end) = edge(program)?;
        // A span too long for 32 bits is no rate that is known, like any other nonsense.
        let jiffies = u32::try_from(to.wrapping_sub(from)).unwrap_or(u32::MAX);
        let (off, rate) = nearest(f64::from(jiffies) / end.saturating_sub(start).as_secs_f64());
        if off < best.0 {
            best = (off, rate);
        }
        if off < 0.04 && last == Some(rate) {
            return Ok(rate);
        }
        last = (off < 0.04).then_some(rate);
    }
    Ok(best.1)
}

/// The known rate nearest to a measured one, and how far off it is.
fn nearest(measured: f64) -> (f64, u32) {
    RATES
        .into_iter()
        .map(|rate| ((measured / f64::from(rate) - 1.0).abs(), rate))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((f64::INFINITY, RATES[0]))
}

/// How closely the moment of a change must be known.
const CLOSE: Duration = Duration::from_micros(500);

/// Waits until jiffies change; what they are then, and when that is. Changes that happened while this thread was
/// off its CPU say little about when, so others are waited for, as long as that makes sense.
fn edge(program: BorrowedFd<'_>) -> io::Result<(u64, Duration)> {
    let mut since = sys::monotonic();
    let mut before = jiffies(program)?;
    let give_up = since + Duration::from_secs(1);
    loop {
        let start = sys::monotonic();
        let now = jiffies(program)?;
        let end = sys::monotonic();
        if now != before && (end.saturating_sub(since) < CLOSE || end > give_up) {
            return Ok((now, end));
        }
        (before, since) = (now, start);
    }
}

/// `jiffies_64` of the kernel.
pub(super) fn jiffies(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut frame = [0; FRAME];
    test_run::run(program, &[0; FRAME], &mut frame)?;
    Ok(bytemuck::pod_read_unaligned(&frame[..size_of::<u64>()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_about_a_quarter_of_a_second_at_every_rate() {
        for (hz, shift) in [(100, 5), (250, 6), (300, 6), (1000, 8)] {
            assert_eq!(shift_for(hz), shift, "HZ {hz}");
            let tick = f64::from(1_u32 << shift) / f64::from(hz);
            assert!((0.125..=0.5).contains(&tick), "HZ {hz}: {tick}");
        }
        assert_eq!(ticks_per_1024_s(250, 6), 4000);
    }

    #[test]
    fn measured_rates_round_to_what_kernels_are_built_with() {
        for (measured, rate) in [(97.0, 100), (254.0, 250), (295.0, 300), (1010.0, 1000)] {
            assert_eq!(nearest(measured).1, rate);
        }
    }
}
