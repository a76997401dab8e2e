//! The programs a laboratory uses, and a clear word when one is missing.

use std::env;
use std::path::PathBuf;

use super::LabError;

/// Where administrators' programs are when `PATH` is a user's.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
}

impl Tool {
    pub const IP: Self = Self { program: "ip", package: "iproute2" };
    pub const CURL: Self = Self { program: "curl", package: "curl" };
    pub const TINYPROXY: Self = Self { program: "tinyproxy", package: "tinyproxy-bin" };
    pub const NGINX: Self = Self { program: "nginx", package: "nginx-light" };

    /// Where it is.
    pub fn find(self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(MORE_FOLDERS.iter().map(PathBuf::from))
            .map(|folder| folder.join(self.program))
            .find(|file| file.is_file())
    }
}

/// Fails with one message that names every missing tool and the command that installs them; asks for root first.
pub fn require(tools: &[Tool]) -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| tool.find().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let join = |words: Vec<&str>, by: &str| words.join(by);
    Err(LabError::MissingTools {
        missing: join(missing.iter().map(|tool| tool.program).collect(), ", "),
        packages: join(missing.iter().map(|tool| tool.package).collect(), " "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        const NOWHERE: Tool = Tool { program: "no-such-program", package: "no-such-package" };
        assert_eq!(NOWHERE.find(), None);
        let error = LabError::MissingTools {
            missing: NOWHERE.program.into(),
            packages: NOWHERE.package.into(),
        };
        assert_eq!(
            error.to_string(),
            "cannot find no-such-program; hint: apt-get install no-such-package"
        );
    }
}
