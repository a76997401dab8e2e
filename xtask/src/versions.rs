//! The one table of what the eBPF object is built with.
//!
//! The text of this file is part of the sources' hash: whoever changes a version or a flag here has to build the
//! object again. The compiler itself is pinned in `rust-toolchain.toml`.

/// The linker that turns LLVM bitcode into the object. 0.11 and later want LLVM development packages.
pub(crate) const BPF_LINKER: &str = "0.10.3";

/// Where rust-src comes from when rustup has none for us: a Debian package of exactly the compiler's version.
pub(crate) struct DebianRustSrc {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) suite: &'static str,
    /// The standard library's sources inside the package.
    pub(crate) library: &'static str,
}

/// For the compiler that `rust-toolchain.toml` names.
pub(crate) const DEBIAN_RUST_SRC: DebianRustSrc = DebianRustSrc {
    package: "rust-src",
    version: "1.95.0+dfsg1-2~bpo13+1",
    suite: "trixie-backports",
    library: "usr/src/rustc-1.95.0/library",
};

/// The target of the kernel side.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// Cargo's arguments for the kernel side, beside the target.
pub(crate) const BPF_CARGO_ARGS: &[&str] = &["--release", "--locked", "-Zbuild-std=core"];

/// Compiler flags of the kernel side, beside the path prefixes. `v3` gives 32-bit jumps and atomics (kernel 5.12).
pub(crate) const BPF_RUSTFLAGS: &[&str] = &[
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    "-Ctarget-feature=+allows-misaligned-mem-access",
];

/// The kernel's architecture that aya's bindings are for. Only tracing programs see a difference; left to itself it
/// would be the building machine's, and the object another one there.
pub(crate) const BPF_KERNEL_ARCH: (&str, &str) = ("AYA_BPF_TARGET_ARCH", "x86_64");
