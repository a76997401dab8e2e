//! What the kernel programs and the daemon of xlb share.
//!
//! - [`wire`]: bytes on the wire, typed; no logic.
//! - [`abi`]: the layout of every map; a change needs an ADR and a new [`abi::LAYOUT`].
//! - [`engine`]: a packet's way through xlb; pure, generic over packet bytes and tables.
//!
//! `wire` ◄ `abi` ◄ `engine`, never the other way. The feature `user` adds what only the host needs and
//! changes no behaviour.
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![warn(missing_docs)]

pub mod abi;
pub mod engine;
#[cfg(any(test, feature = "host"))]
pub mod host;
pub mod wire;
