//! A packet's way through xlb.
