//! The engine on the host: situations packet by packet, every reason by name, properties over random packets.
//! Needs no rights; that the kernel's program does the same is what the parity tests show.

mod bed;
mod bytes;
mod counts;
mod direct;
mod expiry;
mod flags;
mod fragment;
mod handshake;
mod hold;
mod icmp;
mod inspect;
mod ipv6;
mod mss;
mod options;
mod packets;
mod reasons;
mod reply_path;
mod schedule;
mod snat;
mod sticky;
mod tcp_states;
mod tracking;
mod tunnel;
mod vlan;
