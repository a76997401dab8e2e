//! The kernel object, as `build.rs` left it: part of this binary, aligned as the loader wants it.

/// The programs and maps of xlb, an ELF object.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb.bpf.o"));
