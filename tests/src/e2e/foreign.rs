//! What is attached beside xlb, without a library: somebody else's XDP program, two instructions that pass every frame;
//! and whether anything is at tc.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;

/// `mov r0, XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    flags: [u32; 2],
    programs: u64,
    count: u32,
    pad: u32,
    more: [u64; 4],
}

/// How many programs are at the tcx ingress of an interface of the calling thread's namespace; none on kernels without.
pub(super) fn at_tcx(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: a string that ends in 0.
    let target_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let mut query = Query { target_ifindex, attach_type: BPF_TCX_INGRESS, ..Query::default() };
    match call(BPF_PROG_QUERY, &mut query) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(0),
        done => done.map(|_| query.count),
    }
}

/// Attaches it to an interface of the calling thread's namespace until the result is dropped.
pub(super) fn attach(interface: &str) -> anyhow::Result<OwnedFd> {
    let mut load = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: PASS.len() as u32,
        insns: PASS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    let program = bpf(BPF_PROG_LOAD, &mut load)?;
    let name = CString::new(interface)?;
    // SAFETY: a string that ends in 0.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let mut link = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags: 0,
    };
    Ok(bpf(BPF_LINK_CREATE, &mut link)?)
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes and what they point to outlive the call; the size is theirs.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}
