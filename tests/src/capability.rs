//! What this machine can do. A test that needs more is skipped aloud, or fails where `XLB_REQUIRE` names the capability.

use std::path::Path;

/// Something a test may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Loading and attaching programs.
    Bpf,
    /// Making network namespaces.
    Netns,
}

impl Capability {
    /// As `XLB_REQUIRE` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Netns => "netns",
        }
    }

    fn is_here(self) -> bool {
        let root = nix::unistd::geteuid().is_root();
        root && Path::new(match self {
            Self::Bpf => "/sys/fs/bpf",
            Self::Netns => "/proc/self/ns/net",
        })
        .exists()
    }
}

/// Whether all of `needed` are here. If not, says so, and panics if `XLB_REQUIRE` (a list with commas) asks for one.
pub fn have(needed: &[Capability]) -> bool {
    let required = std::env::var("XLB_REQUIRE").unwrap_or_default();
    let missing: Vec<&str> =
        needed.iter().filter(|one| !one.is_here()).map(|one| one.name()).collect();
    let asked = required.split(',').find(|word| missing.contains(&word.trim()));
    assert!(asked.is_none(), "XLB_REQUIRE asks for {asked:?}, which this machine or user lacks");
    if !missing.is_empty() {
        eprintln!("skipped: this machine or user lacks {missing:?}");
    }
    missing.is_empty()
}
