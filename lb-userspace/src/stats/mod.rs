//! Counters as data, and the layouts they are printed in.
//!
//! [`report`] is what `xlb stats --json` shows, [`listing`] what `ipvsadm -Ln` would list, [`conn`] one connection,
//! [`capture`] packets that were seen and [`pcapng`] the file that they are written to.
//! [`text`] lays them out as ipvsadm does, [`lines`] packets. Nothing here reads a map, a clock or a socket: the daemon fills the data
//! in, the commands print it.

pub mod capture;
pub mod conn;
pub mod lines;
pub mod listing;
pub mod pcapng;
pub mod rates;
pub mod report;
pub mod text;
