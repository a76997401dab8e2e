//! Standard output that may be closed by whoever reads it.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use super::exit;

/// Runs `print` on a buffered standard output. A reader that has seen enough (`xlb conns | head`) is no failure.
pub fn print(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    outcome(print(&mut out).and_then(|()| out.flush()))
}

/// The exit code of writing to standard output.
pub fn outcome(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("xlb: cannot write to standard output: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// `value` as JSON on one line.
pub fn print_json(value: &impl serde::Serialize) -> ExitCode {
    print(|out| {
        serde_json::to_writer(&mut *out, value)?;
        writeln!(out)
    })
}
