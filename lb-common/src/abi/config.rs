//! What the daemon tells the programs about time and policy.

use bytemuck::{Pod, Zeroable};

use super::{Budget, ConnState};

/// Timeouts in ticks, indexed by [`ConnState`]. Defaults are IPVS's (`tcp_timeouts`[] in `ip_vs_proto_tcp.c`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Timeouts {
    /// One for each state.
    pub by_state: [u32; ConnState::COUNT],
}

impl Timeouts {
    /// IPVS's defaults in whole seconds: established 900, FIN_WAIT and TIME_WAIT 120, UDP 300, ...
    pub const IPVS_SECONDS: [u32; ConnState::COUNT] =
        [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120, 300, 0];

    /// The timeout of `state` in ticks.
    #[inline(always)]
    pub fn of(&self, state: ConnState) -> u32 {
        // Hidden from the optimiser, which knows that no state is out of bounds and would leave the check out; verifiers
        // up to kernel 6.18 do not know it and refuse the access.
        self.by_state.get(core::hint::black_box(state as usize)).copied().unwrap_or(0)
    }
}

/// [`Config::ticks_per_1024_s`] before the daemon has measured it.
pub const TICKS_UNKNOWN: u32 = 0;

/// The one element of CONFIG.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
pub struct Config {
    /// [`LAYOUT`](super::LAYOUT) of the daemon that wrote this.
    pub layout: u32,
    /// Counts the configurations that were put in force.
    pub generation: u32,
    /// Flows that FLOWS4 may hold: half its entries.
    pub flow_limit: u32,
    /// How many entries of PORTS are filled.
    pub ports: u32,
    /// Ticks in 1,024 seconds: the length of a tick, for every reader of these maps.
    pub ticks_per_1024_s: u32,
    /// How often one CPU may do in a tick what [`Budget`] names.
    pub budgets: [u32; Budget::COUNT as usize],
    /// Per-state timeouts.
    pub timeouts: Timeouts,
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, `bytemuck::Pod`.
    unsafe impl aya::Pod for super::Config {}
}
