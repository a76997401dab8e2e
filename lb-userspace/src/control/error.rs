//! Why a configuration cannot be put in force. The running one stays as it was.

use std::net::IpAddr;

use super::slots::SlotsError;

/// One cause each; all are the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("{wanted} virtual servers, at most {limit} are possible")]
    TooManyServices { wanted: usize, limit: u32 },

    #[error(
        "no id left for real server {real} of virtual server {service}: {limit} are possible, those \
         counted that were removed and still have connections; hint: wait for them to end or remove others"
    )]
    TooManyReals { service: String, real: String, limit: u32 },

    #[error("virtual server {service}: {source}")]
    Slots { service: String, source: SlotsError },

    #[error(
        "the slot tables of all virtual servers need {wanted} entries, at most {limit} are possible; hint: \
         smaller weights make wrr's tables shorter"
    )]
    TooManySlots { wanted: u64, limit: u32 },

    #[error("local addresses for full-NAT: {wanted} over all groups, at most {limit} are possible")]
    TooManyLocals { wanted: u64, limit: u32 },

    #[error(
        "virtual server {service}: real server {real} is NAT, which needs two interfaces: on one arm the \
         answers go round the director; hint: name both interfaces in --iface, or use lb_kind FNAT"
    )]
    NatOnOneArm { service: String, real: String },

    #[error(
        "no source port left for full-NAT: net.ipv4.ip_local_port_range, \
         net.ipv4.ip_local_reserved_ports and listening sockets cover 1024 to 65535; hint: make \
         net.ipv4.ip_local_port_range smaller, for example `32768 60999`"
    )]
    NoPorts,

    #[error(
        "virtual server {service}: laddr_group_name holds no IPv4 address that full-NAT to {real} could use"
    )]
    NoLocalAddress { service: String, real: IpAddr },
}
