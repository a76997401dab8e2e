//! The binary `xlb`: parses the command line and turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    xlb::cli::dispatch::dispatch(std::env::args_os())
}
