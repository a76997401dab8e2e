//! Whether the live real servers of a virtual server are enough, as keepalived counts (`update_quorum_state` in ipwrapper.c).
//!
//! The sum of the effective weights of those that are up; hysteresis keeps it from flapping. It begins as lost.

use std::collections::HashMap;

use lb_common::abi::ServiceKey;

use super::desired::{Accepted, effective_weight};
use super::effect::Effect;
use super::health::HealthMap;

/// Which virtual servers have quorum.
pub type Quorums = HashMap<ServiceKey, bool>;

/// The next state. keepalived.conf's checker keeps `hysteresis < quorum`.
pub fn next(was_up: bool, live: u64, quorum: u32, hysteresis: u32) -> bool {
    let (quorum, hysteresis) = (u64::from(quorum), u64::from(hysteresis));
    let needed = if was_up { quorum.saturating_sub(hysteresis) } else { quorum + hysteresis };
    live > 0 && live >= needed
}

/// Of all virtual servers, from how it `was` and from health now.
pub fn states(accepted: &[Accepted<'_>], health: &HealthMap, was: &Quorums) -> Quorums {
    let state = |service: &Accepted<'_>| {
        let weight = |real: &super::desired::AcceptedReal<'_>| {
            let health = health.get(&real.key);
            let up = health.is_none_or(super::health::RealHealth::is_up);
            let delta = health.map_or(0, |health| health.weight_delta);
            if up { u64::from(effective_weight(real.weight, delta)) } else { 0 }
        };
        let live = service.reals.iter().map(weight).sum();
        let was_up = was.get(&service.key).copied().unwrap_or(false);
        let server = service.server;
        (service.key, next(was_up, live, server.quorum, server.hysteresis))
    };
    accepted.iter().map(state).collect()
}

/// What a change means for others. At start a missing quorum is news only if a sorry server steps in.
pub fn changes(accepted: &[Accepted<'_>], was: &Quorums, now: &Quorums) -> Vec<Effect> {
    let mut effects = Vec::new();
    for service in accepted {
        let is_up = now.get(&service.key).copied().unwrap_or(false);
        let changed = match was.get(&service.key) {
            Some(was_up) => *was_up != is_up,
            None => is_up || service.sorry.is_some(),
        };
        if changed {
            let server = service.server;
            effects.push(Effect::Quorum {
                service: service.ident.clone(),
                is_up,
                sorry_active: !is_up && service.sorry.is_some(),
                script: if is_up { server.quorum_up.clone() } else { server.quorum_down.clone() },
            });
        }
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // K-47
    fn thresholds_are_exact() {
        // Quorum, hysteresis, then live weights in turn, those marked that are enough.
        let cases = [
            (1, 0, "0 1+ 0"),
            (3, 1, "3 4+ 3+ 2+ 1 3"),
            (253, 0, "252 253+ 252"),
            // All weights 0.
            (0, 0, "0 0"),
        ];
        for (quorum, hysteresis, steps) in cases {
            let mut up = false;
            for step in steps.split(' ') {
                let live: u64 = step.trim_end_matches('+').parse().unwrap();
                up = next(up, live, quorum, hysteresis);
                assert_eq!(up, step.ends_with('+'), "{quorum} {hysteresis}: {step} of {steps}");
            }
        }
    }
}
