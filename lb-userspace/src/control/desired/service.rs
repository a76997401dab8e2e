//! How a virtual server lies in the tables.

use lb_common::abi::{Scheduler, ServiceFlags, limits};
use lb_common::wire::Addr6;

use super::accepted::Accepted;
use super::{DesiredReal, DesiredService, Inputs, layout, real, sorry, ticks};
use crate::config::model::{self, Granularity, VirtualServer};
use crate::control::error::ControlError;
use crate::control::ids::Ids;
use crate::control::slots;

/// The program's scheduler; `None`: this version has none of that name.
pub(super) fn scheduler(scheduler: model::Scheduler) -> Option<Scheduler> {
    Some(match scheduler {
        model::Scheduler::Rr | model::Scheduler::Wrr => Scheduler::Cycle,
        model::Scheduler::Lc => Scheduler::Lc,
        model::Scheduler::Wlc => Scheduler::Wlc,
        model::Scheduler::Sh => Scheduler::SourceHash,
        model::Scheduler::Dh => Scheduler::DestinationHash,
        _ => return None,
    })
}

/// The tables of a virtual server.
pub(super) fn build(
    inputs: &Inputs<'_>,
    accepted: &Accepted<'_>,
    ids: &mut Ids,
) -> Result<DesiredService, ControlError> {
    let server = accepted.server;
    let layout = layout(server.scheduler, &server.flags);
    let slots_error = |source| ControlError::Slots { service: accepted.ident.to_string(), source };
    slots::check(layout, accepted.reals.len()).map_err(slots_error)?;
    let id = ids.service(accepted.key).map_err(|_| ControlError::TooManyServices {
        wanted: inputs.model.virtual_servers.len(),
        limit: limits::SERVICES,
    })?;
    let mut built = Vec::with_capacity(accepted.reals.len());
    for real in &accepted.reals {
        built.push(real::build(inputs, accepted, real, id, ids)?);
    }
    if let Some(server) = &accepted.sorry {
        let has_quorum = inputs.quorums.get(&accepted.key).copied().unwrap_or(false);
        let sorry = real::build(inputs, accepted, server, id, ids)?;
        sorry::join(&mut built, sorry, server.inhibit, &accepted.reals, !has_quorum);
    }
    let hash_port = server.scheduler == model::Scheduler::Sh
        && server.flags.iter().any(|flag| flag == "sh-port");
    let (sticky_ticks, sticky_mask) = stickiness(inputs, server);
    Ok(DesiredService {
        key: accepted.key,
        id,
        scheduler: scheduler(server.scheduler).unwrap_or(Scheduler::Wlc),
        flags: if hash_port { ServiceFlags::HASH_PORT } else { 0 },
        sticky_ticks,
        sticky_mask,
        slots: slots::table(layout, &candidates(&built)),
        reals: built.into_iter().map(|built| built.real).collect(),
    })
}

/// Who is in IPVS's list: all that are up. A server that nobody could reach yet waits outside as long as
/// another can be reached.
fn candidates(built: &[real::Built]) -> Vec<(lb_common::abi::RealId, u32)> {
    let entry = |built: &real::Built| {
        let DesiredReal { id, real, .. } = &built.real;
        (*id, real.weight)
    };
    let listed = || built.iter().filter(|built| built.listed);
    if listed().any(|built| built.reachable && built.real.real.weight > 0) {
        listed().filter(|built| built.reachable).map(entry).collect()
    } else {
        listed().map(entry).collect()
    }
}

fn stickiness(inputs: &Inputs<'_>, server: &VirtualServer) -> (u32, Addr6) {
    let Some(persistence) = &server.persistence else { return (0, Addr6::UNSPECIFIED) };
    let mask = match persistence.granularity {
        // Of a mapped address the first bits are those of every other.
        Granularity::Mask4(mask) => {
            let [a, b, c, d] = mask.octets();
            Addr6::new(std::array::from_fn(|at| {
                [a, b, c, d].get(at.wrapping_sub(12)).map_or(0xff, |byte| *byte)
            }))
        }
        Granularity::Prefix6(bits) => {
            let ones = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            Addr6::new(ones.to_be_bytes())
        }
    };
    (ticks(persistence.timeout, inputs.host).max(1), mask)
}
