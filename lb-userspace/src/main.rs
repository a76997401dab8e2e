//! The binary `xlb`: parses the command line and turns the outcome into an exit code.

fn main() {}
