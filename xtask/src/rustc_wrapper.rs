//! xtask in the role of cargo's `RUSTC_WRAPPER`: makes the names inside the object independent of where things lie.
//!
//! Cargo gives each crate a `-C metadata` that depends on the absolute path of packages outside the workspace: the
//! compiler's library and `lb-common`. It ends up in symbol and unit names, and through their order in the code. Here
//! it becomes a hash of what the crate *is*: name, version and features.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

/// Set for cargo when it is to call us as the compiler.
pub(crate) const SWITCH: &str = "XLB_XTASK_AS_RUSTC";

/// Becomes the compiler; returns only if that fails.
pub(crate) fn exec() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(compiler) = words.next() else {
        eprintln!("xtask as a compiler wrapper wants the compiler as its first argument");
        return ExitCode::FAILURE;
    };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let arguments = normalised(words.collect(), &version);
    let error = Command::new(&compiler).args(arguments).env_remove(SWITCH).exec();
    eprintln!("cannot run {}: {error}", compiler.to_string_lossy());
    ExitCode::FAILURE
}

/// The arguments with a `-C metadata=` that no path went into.
fn normalised(mut arguments: Vec<OsString>, version: &str) -> Vec<OsString> {
    let mut identity = Sha256::new();
    identity.update(version);
    for pair in arguments.windows(2) {
        if ["--crate-name", "--crate-type", "--cfg", "--edition"]
            .iter()
            .any(|&flag| pair[0] == flag)
        {
            identity.update(b"\0");
            identity.update(pair[1].as_encoded_bytes());
        }
    }
    let identity = identity.finalize();
    let identity = u64::from_be_bytes(std::array::from_fn(|at| identity[at]));
    for argument in &mut arguments {
        if argument.to_str().is_some_and(|text| text.starts_with("metadata=")) {
            *argument = format!("metadata={identity:016x}").into();
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn metadata_from_two_places_becomes_the_same() {
        let here = words("--crate-name core --edition=2024 -C metadata=aaaa -C opt-level=3");
        let there = words("--crate-name core --edition=2024 -C metadata=bbbb -C opt-level=3");
        assert_eq!(normalised(here, "0.0.0"), normalised(there, "0.0.0"));
    }

    #[test]
    fn two_versions_of_a_crate_keep_different_metadata() {
        let crate_ = words("--crate-name syn -C metadata=aaaa");
        assert_ne!(normalised(crate_.clone(), "1.0.0"), normalised(crate_, "2.0.0"));
    }

    #[test]
    fn other_arguments_stay() {
        let query = words("-vV");
        assert_eq!(normalised(query.clone(), ""), query);
    }
}
