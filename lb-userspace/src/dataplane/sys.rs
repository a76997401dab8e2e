//! bpf(2), the few commands that are used while the programs run.
//!
//! Loading, relocation and attachment are aya's; reading and writing maps goes through here because every call
//! works on a shared descriptor: the kernel's tables need no exclusive handle, and so no lock of ours.
//! Knows nothing of what lies in the maps.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Numbers of `enum bpf_cmd` (include/uapi/linux/bpf.h).
pub(super) mod cmd {
    pub(super) const MAP_LOOKUP_ELEM: libc::c_int = 1;
    pub(super) const MAP_UPDATE_ELEM: libc::c_int = 2;
    pub(super) const MAP_DELETE_ELEM: libc::c_int = 3;
    pub(super) const MAP_GET_NEXT_KEY: libc::c_int = 4;
    pub(super) const OBJ_PIN: libc::c_int = 6;
    pub(super) const OBJ_GET: libc::c_int = 7;
    pub(in super::super) const PROG_TEST_RUN: libc::c_int = 10;
    pub(super) const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    pub(super) const PROG_QUERY: libc::c_int = 16;
    pub(super) const MAP_LOOKUP_BATCH: libc::c_int = 24;
    pub(super) const LINK_CREATE: libc::c_int = 28;
    pub(super) const LINK_UPDATE: libc::c_int = 29;
    pub(super) const LINK_DETACH: libc::c_int = 34;
}

/// Keys of maps are at most this long here; also the room for a batch's position, which is as long as a key.
pub(super) const MAX_KEY: usize = 64;

/// `struct bpf_map_info`, its oldest fields.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct MapInfo {
    /// `enum bpf_map_type`.
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// `struct bpf_link_info` of an XDP or tcx link.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// `enum bpf_link_type`; 6 is XDP, 11 tcx.
    kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    pad: u32,
    /// 0: the interface was deleted under the link.
    pub(super) ifindex: u32,
    /// tcx: `enum bpf_attach_type`.
    more: u32,
}

impl LinkInfo {
    /// Whether the program is at tc.
    pub(super) fn is_tcx(&self) -> bool {
        self.kind == 11
    }
}

/// Calls bpf(2), again if a signal interrupted it.
///
/// # Safety
///
/// Every address in `attr` is valid for what `command` does with it, or 0 where the kernel takes that for none.
pub(super) unsafe fn bpf<A>(command: libc::c_int, attr: &mut A) -> io::Result<libc::c_long> {
    loop {
        // SAFETY: `attr` is a whole, initialised structure of the size told; its addresses are the caller's promise.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>())
        };
        if done >= 0 {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[repr(C)]
struct Element {
    fd: u32,
    pad: u32,
    key: u64,
    /// Of the value, or of the next key.
    value: u64,
    flags: u64,
}

impl Element {
    fn new(fd: BorrowedFd<'_>, key: *const u8, value: *const u8) -> Self {
        Self { fd: number(fd), pad: 0, key: key as u64, value: value as u64, flags: 0 }
    }
}

/// Descriptors are never negative.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Reads an element into `value`.
///
/// # Safety
///
/// `key` and `value` are as long as the map's keys and values (per-CPU maps: the values of all possible CPUs).
pub(super) unsafe fn lookup(fd: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = Element::new(fd, key.as_ptr(), value.as_mut_ptr());
    // SAFETY: both buffers are as long as the map asks for, by the contract above.
    unsafe { bpf(cmd::MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// Inserts or replaces an element.
///
/// # Safety
///
/// As [`lookup`].
pub(super) unsafe fn update(fd: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = Element::new(fd, key.as_ptr(), value.as_ptr());
    // SAFETY: as in `lookup`.
    unsafe { bpf(cmd::MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Deletes an element.
///
/// # Safety
///
/// `key` is as long as the map's keys.
pub(super) unsafe fn delete(fd: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr = Element::new(fd, key.as_ptr(), std::ptr::null());
    // SAFETY: as in `lookup`; the value is not used.
    unsafe { bpf(cmd::MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

/// Writes the key after `key` into `next`; the first one for `None`. `NotFound` ends the walk.
///
/// # Safety
///
/// Both are as long as the map's keys.
pub(super) unsafe fn next_key(
    fd: BorrowedFd<'_>,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<()> {
    let mut attr =
        Element::new(fd, key.map_or(std::ptr::null(), <[u8]>::as_ptr), next.as_mut_ptr());
    // SAFETY: as in `lookup`; no key means the first.
    unsafe { bpf(cmd::MAP_GET_NEXT_KEY, &mut attr) }.map(drop)
}

/// What one step of a batch walk brought.
pub(super) struct Batch {
    /// Elements written to the buffers.
    pub(super) count: u32,
    /// What ended the step: nothing (there is more), `NotFound` (the end) or a failure.
    pub(super) end: Option<io::Error>,
}

#[repr(C)]
struct BatchAttr {
    position: u64,
    next_position: u64,
    keys: u64,
    values: u64,
    count: u32,
    fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Reads up to `room` elements after `position` and says in `next` where to go on.
///
/// # Safety
///
/// `keys` and `values` hold `room` of the map's keys and values; the map's keys are at most [`MAX_KEY`] long.
pub(super) unsafe fn lookup_batch(
    fd: BorrowedFd<'_>,
    position: Option<&[u8; MAX_KEY]>,
    next: &mut [u8; MAX_KEY],
    (keys, values): (&mut [u8], &mut [u8]),
    room: u32,
) -> Batch {
    let mut attr = BatchAttr {
        position: position.map_or(0, |bytes| bytes.as_ptr() as u64),
        next_position: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: room,
        fd: number(fd),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the buffers have the room told; positions are a key or four bytes long, whichever is more.
    match unsafe { bpf(cmd::MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => Batch { count: attr.count, end: None },
        Err(end) => {
            // The kernel counts what it wrote also where it reports the end; other failures wrote nothing of use.
            let count = if end.raw_os_error() == Some(libc::ENOENT) { attr.count } else { 0 };
            Batch { count: count.min(room), end: Some(end) }
        }
    }
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// Fills `info` with what the kernel says about the object behind `fd`.
///
/// # Safety
///
/// `I` is the beginning of the kernel's structure for that kind of object, plain integers throughout.
unsafe fn info<I: Default>(fd: BorrowedFd<'_>) -> io::Result<I> {
    let mut info = I::default();
    let mut attr = InfoAttr {
        fd: number(fd),
        len: size_of::<I>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `info`.
    unsafe { bpf(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// Shape of a map.
pub(super) fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    // SAFETY: `MapInfo` is how `struct bpf_map_info` begins.
    unsafe { info(fd) }
}

/// `struct bpf_prog_info`, its oldest fields.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct ProgramInfo {
    /// `enum bpf_prog_type`.
    pub(super) kind: u32,
    pub(super) id: u32,
    /// A hash of the instructions as they were given to the kernel, addresses of maps left out.
    pub(super) tag: [u8; 8],
}

/// Which program it is.
pub(super) fn program_info(fd: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    // SAFETY: `ProgramInfo` is how `struct bpf_prog_info` begins.
    unsafe { info(fd) }
}

/// Program and interface of an XDP link.
pub(super) fn link_info(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: `LinkInfo` is how `struct bpf_link_info` begins for XDP links; other kinds leave integers there too.
    unsafe { info(fd) }
}

/// Where a program shall run on an interface.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    XdpGeneric,
    XdpDriver,
    Tcx,
}

impl Hook {
    /// `enum bpf_attach_type`, and for XDP its flags (`include/uapi/linux/if_link.h`).
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::XdpGeneric => (BPF_XDP, 1 << 1),
            Self::XdpDriver => (BPF_XDP, 1 << 2),
            // Behind the programs of others.
            Self::Tcx => (BPF_TCX_INGRESS, 0),
        }
    }
}

/// `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;

/// `struct tcx` follows, all zero.
#[repr(C)]
struct LinkAttr {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    revision: u64,
}

/// Attaches a program; it runs as long as the link is open or pinned somewhere.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: Hook,
) -> io::Result<OwnedFd> {
    let (attach_type, flags) = hook.numbers();
    let program = number(program);
    let mut attr =
        LinkAttr { program, ifindex, attach_type, flags, relative: 0, pad: 0, revision: 0 };
    // SAFETY: the structure holds no address.
    let fd = unsafe { bpf(cmd::LINK_CREATE, &mut attr) }?;
    // SAFETY: the kernel just gave us this descriptor, and only us; descriptors fit an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `attr.query` of bpf(2), up to the revision.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    more: [u64; 3],
    revision: u64,
}

/// Whether this kernel has tcx: whether it knows the place that is asked about, on the loopback interface.
pub(super) fn has_tcx() -> bool {
    let mut attr = QueryAttr { ifindex: 1, attach_type: BPF_TCX_INGRESS, ..QueryAttr::default() };
    // SAFETY: no address but null, which asks for the number alone.
    let asked = unsafe { bpf(cmd::PROG_QUERY, &mut attr) };
    !asked.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
}

#[repr(C)]
struct UpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Replaces the program of a live link between two packets. `ENOLINK`: its interface is gone.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        UpdateAttr { link: number(link), program: number(program), flags: 0, old_program: 0 };
    // SAFETY: the structure holds no address.
    unsafe { bpf(cmd::LINK_UPDATE, &mut attr) }.map(drop)
}

#[repr(C)]
struct DetachAttr {
    fd: u32,
    pad: u32,
}

/// Detaches a link at once. Closing its last descriptor does the same, but some time later.
pub(super) fn detach_link(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = DetachAttr { fd: number(fd), pad: 0 };
    // SAFETY: the structure holds no address.
    unsafe { bpf(cmd::LINK_DETACH, &mut attr) }.map(drop)
}

#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Pins a link, program or map.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: number(fd), flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    unsafe { bpf(cmd::OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens a pin, whatever it is of.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { bpf(cmd::OBJ_GET, &mut attr) }?;
    // SAFETY: the kernel just gave us this descriptor, and only us; descriptors fit an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A socket that sends whole frames and receives none.
pub(super) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: no address is passed. Protocol 0: nothing is received.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a frame out of an interface; never waits for room in its queue.
pub(super) fn send_frame(socket: BorrowedFd<'_>, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = ifindex.cast_signed();
    // SAFETY: frame and address are readable for the lengths told.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            std::ptr::from_ref(&to).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Time on a clock that no one sets (`CLOCK_MONOTONIC`).
pub(super) fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; this clock exists on every kernel that has bpf(2), so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // Nanoseconds of a second: never negative, never more than fits.
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}
