//! Rates from two samples, for `xlb stats --rate`.

use std::time::Duration;

use super::report::{Counters, Report};

/// `after`, its counters replaced by their growth per second since `before`, rounded to the nearest integer.
///
/// A service or real server that `before` does not know grew from 0; a counter that fell (the real server's id was
/// given to another) counts as 0.
pub fn between(before: &Report, after: &Report, elapsed: Duration) -> Report {
    let mut rates = after.clone();
    for service in &mut rates.services {
        let old = before.services.iter().find(|old| {
            (old.address, old.port, old.protocol, old.fwmark, &old.group)
                == (service.address, service.port, service.protocol, service.fwmark, &service.group)
        });
        let base = old.map_or_else(Counters::default, |old| old.counters);
        service.counters = per_second(base, service.counters, elapsed);
        for real in &mut service.reals {
            let base = old
                .and_then(|old| {
                    old.reals
                        .iter()
                        .find(|old| (old.address, old.port) == (real.address, real.port))
                })
                .map_or_else(Counters::default, |old| old.counters);
            real.counters = per_second(base, real.counters, elapsed);
        }
    }
    rates
}

fn per_second(before: Counters, after: Counters, elapsed: Duration) -> Counters {
    let micros = elapsed.as_micros().max(1);
    let rate = |before: u64, after: u64| {
        let scaled = u128::from(after.saturating_sub(before)) * 1_000_000;
        ((scaled + micros / 2) / micros) as u64
    };
    Counters {
        conns: rate(before.conns, after.conns),
        in_packets: rate(before.in_packets, after.in_packets),
        out_packets: rate(before.out_packets, after.out_packets),
        in_bytes: rate(before.in_bytes, after.in_bytes),
        out_bytes: rate(before.out_bytes, after.out_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_divided_by_the_time_between() {
        let before = Counters { conns: 10, in_packets: 5, in_bytes: 100, ..Counters::default() };
        let after = Counters { conns: 20, in_packets: 4, in_bytes: 103, ..Counters::default() };
        let rates = per_second(before, after, Duration::from_secs(2));
        assert_eq!(
            rates,
            Counters { conns: 5, in_packets: 0, in_bytes: 2, ..Counters::default() },
            "a counter that fell is 0, halves round up"
        );
        assert_eq!(per_second(before, before, Duration::ZERO), Counters::default());
    }
}
