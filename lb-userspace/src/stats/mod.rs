//! Counters as data, and the layouts they are printed in.
//!
//! [`report`] is what `xlb stats --json` shows, [`listing`] what `ipvsadm -Ln` would list, [`conn`] one connection.
//! [`text`] lays them out as ipvsadm does. Nothing here reads a map, a clock or a socket: the daemon fills the data
//! in, the commands print it.

pub mod conn;
pub mod listing;
pub mod rates;
pub mod report;
pub mod text;
