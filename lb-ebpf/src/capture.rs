//! What the programs of a capture do around the engine: they note how a frame arrives, and show it to the daemon once its
//! verdict has fallen. Programs that are on the interfaces at other times have none of this.

use core::hint::black_box;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, BPF_F_CURRENT_CPU, xdp_md};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_perf_event_output, bpf_skb_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::abi::program::Next;
use lb_common::abi::{CAPTURE_HEAD, CaptureFilter, CaptureRoom, CapturedHead, DropReason};
use lb_common::engine::{PacketBytes, Verdict, capture};

use crate::packet::Frame;
use crate::skb::Skb;
use crate::{Shell, maps};

/// What a shell must do for captures.
pub trait Shown: PacketBytes {
    /// Copies the beginning of the frame; how many bytes that were.
    fn keep(&self, head: &mut [u8; CAPTURE_HEAD]) -> usize;
    /// What the helpers want to be given.
    fn raw(&self) -> *mut core::ffi::c_void;
}

impl Shown for Frame {
    #[inline(always)]
    fn keep(&self, head: &mut [u8; CAPTURE_HEAD]) -> usize {
        let mut at = 0;
        for bytes in head.as_chunks_mut::<STRIDE>().0 {
            let Some(stride) = self.far::<[u8; STRIDE]>(at) else { break };
            *bytes = *stride;
            at += STRIDE;
        }
        at
    }

    #[inline(always)]
    fn raw(&self) -> *mut core::ffi::c_void {
        self.context().as_ptr()
    }
}

/// Bytes that are copied at a time: headers end at even offsets.
const STRIDE: usize = 2;

impl Shown for Skb {
    /// By the helper, which reaches what lies in other pages, too.
    #[inline(always)]
    fn keep(&self, head: &mut [u8; CAPTURE_HEAD]) -> usize {
        // Said again where the verifier sees it.
        let wanted = black_box(self.len().min(CAPTURE_HEAD)) & 0x1ff;
        if wanted == 0 || wanted > CAPTURE_HEAD {
            return 0;
        }
        // SAFETY: the context is this run's; `head` has room for as many bytes.
        let failed =
            unsafe { bpf_skb_load_bytes(self.raw(), 0, head.as_mut_ptr().cast(), wanted as u32) };
        if failed == 0 { wanted } else { 0 }
    }

    #[inline(always)]
    fn raw(&self) -> *mut core::ffi::c_void {
        self.context().as_ptr()
    }
}

#[inline(always)]
fn room<'a>() -> Option<&'a mut CaptureRoom> {
    // SAFETY: a per-CPU element. The programs run where frames arrive, one after the other; frames that are given back
    // run through the others.
    maps::CAPTURE_ROOM.get_ptr_mut(0).map(|room| unsafe { &mut *room })
}

/// Notes how a frame arrives: its beginning, its length, whether it is wanted as it is.
#[inline(always)]
fn arrived<P: Shown>(packet: &P) -> u32 {
    let (Some(room), Some(filter)) = (room(), maps::CAPTURE.get(0)) else { return 0 };
    let event = &mut room.event;
    event.arrived = length(packet);
    event.ifindex = packet.ingress();
    event.kept = packet.keep(&mut event.head) as u32;
    event.concerned = u32::from(capture::concerns(filter, packet));
    0
}

/// Bytes of the frame. Hidden from the optimiser, which would store the halves of two pointers: the verifier refuses that.
#[inline(always)]
fn length<P: PacketBytes>(packet: &P) -> u32 {
    black_box(packet.len()) as u32
}

/// [`arrived`] at XDP. Exported, and so a global function to the verifier: checked once, on its own. The return value says
/// nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_arrived(ctx: *mut xdp_md) -> u32 {
    arrived(&Frame::new(XdpContext::new(ctx)))
}

/// The same at tc.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn skb_arrived(ctx: *mut __sk_buff) -> u32 {
    arrived(&Skb::new(TcContext::new(ctx)))
}

/// Goes on with the program that shows the packet and carries out its verdict; returns only if that is not there, because
/// the capture has ended meanwhile.
#[inline(always)]
pub fn show<P: Shell>(packet: &P, verdict: Verdict) {
    if let Some(room) = room() {
        room.event.verdict = verdict.words();
        packet.go_on(Next::Show);
    }
}

/// Hands the packet over if it is wanted; its verdict.
#[inline(always)]
pub fn hand_over<P: Shown>(packet: &P) -> Verdict {
    let (Some(room), Some(filter)) = (room(), maps::CAPTURE.get(0)) else {
        return Verdict::drop(DropReason::BadMapValue);
    };
    let verdict = Verdict::from_words(room.event.verdict);
    if is_wanted(packet, filter, room.event.concerned != 0, verdict) {
        room.counts.matched += 1;
        if (room.counts.matched - 1).is_multiple_of(u64::from(filter.sample)) {
            let length = length(packet);
            let event = &mut room.event;
            // SAFETY: the helper has no preconditions.
            event.time = unsafe { bpf_ktime_get_ns() };
            event.left = length;
            event.taken = if length < filter.length { length } else { filter.length };
            if !is_sent(packet, event) {
                room.counts.lost += 1;
            }
        }
    }
    verdict
}

#[inline(always)]
fn is_wanted<P: Shown>(
    packet: &P,
    filter: &CaptureFilter,
    concerned: bool,
    verdict: Verdict,
) -> bool {
    filter.sample != 0
        && filter.wants(verdict.slot())
        && (concerned || verdict.leaves() && capture::concerns(filter, packet))
}

#[inline(always)]
fn is_sent<P: Shown>(packet: &P, event: &CapturedHead) -> bool {
    // The upper half tells the helper how much of the frame to append.
    let flags = u64::from(event.taken) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
    // SAFETY: context and map are this object's; the event is readable for its size.
    unsafe {
        bpf_perf_event_output(
            packet.raw(),
            (&raw const maps::CAPTURED).cast_mut().cast(),
            flags,
            core::ptr::from_ref(event).cast_mut().cast(),
            size_of::<CapturedHead>() as u64,
        ) == 0
    }
}
