//! `BPF_PROG_TEST_RUN`: programs run by the daemon, over bytes of its own or as if over a frame that came in.

use std::io;
use std::os::fd::BorrowedFd;

use super::sys::{bpf, cmd, number};

#[repr(C)]
struct RunAttr {
    program: u32,
    returned: u32,
    in_len: u32,
    out_len: u32,
    input: u64,
    output: u64,
    repeat: u32,
    duration: u32,
    context_in_len: u32,
    context_out_len: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

impl RunAttr {
    /// Once over `input`; what it becomes goes to `output` unless that is empty.
    fn new(program: BorrowedFd<'_>, input: &[u8], output: &mut [u8]) -> Self {
        Self {
            program: number(program),
            returned: 0,
            in_len: input.len() as u32,
            out_len: output.len() as u32,
            input: input.as_ptr() as u64,
            output: if output.is_empty() { 0 } else { output.as_mut_ptr() as u64 },
            repeat: 1,
            duration: 0,
            context_in_len: 0,
            context_out_len: 0,
            context_in: 0,
            context_out: 0,
            flags: 0,
            cpu: 0,
            batch: 0,
            pad: 0,
        }
    }

    /// # Safety
    ///
    /// The buffers it names have the lengths it names and are still there.
    unsafe fn run(&mut self) -> io::Result<u32> {
        loop {
            // SAFETY: the caller's promise; the kernel writes no more than the lengths told.
            match unsafe { bpf(cmd::PROG_TEST_RUN, self) } {
                Ok(_) => return Ok(self.returned),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs a program once over `input` (at least 14 bytes: an Ethernet header) and returns what it returned. Where
/// `output` is not empty it receives the packet as the program left it and must be as long as `input`.
pub(super) fn run(program: BorrowedFd<'_>, input: &[u8], output: &mut [u8]) -> io::Result<u32> {
    let mut attr = RunAttr::new(program, input, output);
    // SAFETY: both buffers have the length told and outlive the call.
    unsafe { attr.run() }
}

/// `struct xdp_md`, the context of an XDP program. The first three are offsets from the start of the metadata.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// What a program made of a frame.
pub(super) struct FrameRun {
    /// `enum xdp_action`.
    pub(super) returned: u32,
    pub(super) frame: Vec<u8>,
}

/// Bytes by which a frame may grow in a run.
const GROWTH: usize = 128;

/// Runs an XDP program over a frame as if it came in by `ifindex` of this network namespace (kernel 5.15 and later).
/// `metadata`: a multiple of four bytes, 32 at most.
pub(super) fn run_frame(
    program: BorrowedFd<'_>,
    metadata: &[u8],
    frame: &[u8],
    ifindex: u32,
) -> io::Result<FrameRun> {
    let input = [metadata, frame].concat();
    let mut output = vec![0; input.len() + GROWTH];
    let came_in = XdpContext {
        data: metadata.len() as u32,
        data_end: input.len() as u32,
        ingress_ifindex: ifindex,
        ..XdpContext::default()
    };
    let mut left = XdpContext::default();
    let mut attr = RunAttr::new(program, &input, &mut output);
    attr.context_in = std::ptr::from_ref(&came_in) as u64;
    attr.context_in_len = size_of::<XdpContext>() as u32;
    attr.context_out = std::ptr::from_mut(&mut left) as u64;
    attr.context_out_len = size_of::<XdpContext>() as u32;
    // SAFETY: all four have the length told and outlive the call.
    let returned = unsafe { attr.run() }?;
    output.truncate(attr.out_len as usize);
    let frame = output.split_off((left.data as usize).min(output.len()));
    Ok(FrameRun { returned, frame })
}

/// The beginning of `struct __sk_buff`, the context of a tc program.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SkbContext {
    before: [u32; 2],
    mark: u32,
    between: [u32; 7],
    ifindex: u32,
}

/// Runs a tc program over a frame as if it came in by `ifindex` of this network namespace, with `mark`.
pub(super) fn run_skb(
    program: BorrowedFd<'_>,
    mark: u32,
    frame: &[u8],
    ifindex: u32,
) -> io::Result<FrameRun> {
    let mut output = vec![0; frame.len() + GROWTH];
    let came_in = SkbContext { mark, ifindex, ..SkbContext::default() };
    let mut attr = RunAttr::new(program, frame, &mut output);
    attr.context_in = std::ptr::from_ref(&came_in) as u64;
    attr.context_in_len = size_of::<SkbContext>() as u32;
    // SAFETY: all three have the length told and outlive the call.
    let returned = unsafe { attr.run() }?;
    output.truncate(attr.out_len as usize);
    Ok(FrameRun { returned, frame: output })
}
