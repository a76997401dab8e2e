//! Exit codes, and how a failure becomes one.

use std::error::Error;
use std::process::ExitCode;

use crate::api::{ClientError, RefusalKind};

/// All went well.
pub const OK: u8 = 0;
/// The command failed, or its arguments are wrong.
pub const FAILED: u8 = 1;
/// The configuration is rejected.
pub const CONFIGURATION: u8 = 2;
/// The host refuses: kernel, driver, permission.
pub const HOST: u8 = 3;
/// The configuration is usable, with warnings; only `xlb check`.
pub const WARNINGS: u8 = 5;

/// Prints `error` and its causes on standard error.
pub fn fail(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("xlb: {}", chain(error));
    ExitCode::from(code)
}

/// As [`fail`], with the code that the daemon's answer calls for.
pub fn fail_client(error: &ClientError) -> ExitCode {
    let code = match error.refusal() {
        Some(RefusalKind::Configuration) => CONFIGURATION,
        Some(RefusalKind::Host) => HOST,
        _ => FAILED,
    };
    if code == CONFIGURATION {
        // Rendered diagnostics: they start with a word and a place of their own.
        eprintln!("{}", error.to_string().trim_end());
        return ExitCode::from(code);
    }
    fail(error, code)
}

/// `error: cause: cause of the cause`. A cause that the text above it already tells is not repeated.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::api::Refusal;

    fn code_of(error: &ClientError) -> String {
        format!("{:?}", fail_client(error))
    }

    #[test]
    fn refusals_have_the_codes_of_their_fault() {
        let refused = |kind| code_of(&ClientError::Refused(Refusal::new(kind, "reason")));
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(refused(RefusalKind::Configuration), code(2));
        assert_eq!(refused(RefusalKind::Host), code(3));
        for kind in
            [RefusalKind::Protocol, RefusalKind::Forbidden, RefusalKind::Busy, RefusalKind::Failed]
        {
            assert_eq!(refused(kind), code(1));
        }
        let path = PathBuf::from("/run/xlb/admin.sock");
        assert_eq!(code_of(&ClientError::NoDaemon { instance: "xlb".into(), path }), code(1));
    }

    #[test]
    fn causes_follow_once() {
        let path = PathBuf::from("/run/xlb/admin.sock");
        let source = io::Error::other("disk on fire");
        assert_eq!(
            chain(&ClientError::Io { path, source }),
            "cannot talk to xlb at /run/xlb/admin.sock: disk on fire"
        );
    }
}
