//! A test that lacks a capability prints which and is skipped; `XLB_REQUIRE=bpf,netns` makes that a failure.

/// What a test may need of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Loading BPF programs.
    Bpf,
    /// Making network namespaces.
    Netns,
}

impl Need {
    const fn word(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Netns => "netns",
        }
    }
}

/// Whether the test may go on. Both needs are root's today.
///
/// # Panics
///
/// Where `XLB_REQUIRE` names the need and it is not met.
pub fn have(need: Need) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let word = need.word();
    let required = std::env::var("XLB_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == word), "XLB_REQUIRE asks for {word}: be root");
    println!("skipped: needs {word} (root)");
    false
}
