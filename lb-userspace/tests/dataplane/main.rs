//! The data path on a real kernel: start, take-over and end; the tables; the reaper. Each case has a network
//! namespace, a mount namespace and a BPF file system of its own, which end with its thread.

mod host;
mod retire;
mod start;
mod sweep;
mod tables;
