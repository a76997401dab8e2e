//! An XDP frame as the engine's `PacketBytes`.

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_F_CURRENT_CPU, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_perf_event_output, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{GIVEN_BACK, HeldHead, LAST_TRY, Method};
use lb_common::engine::family::place::Place;
use lb_common::engine::family::{ipv4, ipv6};
use lb_common::engine::parse::IP;
use lb_common::engine::{PacketBytes, mss, sum};
use lb_common::wire::Wire;
use lb_common::wire::eth::Ethernet;

use crate::maps;
use crate::window::Window;

/// The frame of a run, whole in its window.
pub struct Frame {
    bytes: Window,
    /// By value: a reference to it would cost two words of the stack where this costs one.
    ctx: XdpContext,
    /// As [`PacketBytes::ingress`]; 0: as the context has it.
    vlan: u32,
}

impl Frame {
    /// The frame of this run.
    #[inline(always)]
    pub fn new(ctx: XdpContext) -> Self {
        Self { bytes: Window::new(ctx.data(), ctx.data_end()), ctx, vlan: 0 }
    }

    /// What the kernel handed to the program.
    #[inline(always)]
    pub fn context(&self) -> &XdpContext {
        &self.ctx
    }

    #[inline(always)]
    fn reload(&mut self) {
        self.bytes = Window::new(self.ctx.data(), self.ctx.data_end());
    }

    /// What the daemon wrote in front of the frame; 0 where nobody did.
    #[inline(always)]
    fn metadata(&self) -> u32 {
        let metadata = self.ctx.metadata();
        if metadata + size_of::<u32>() > self.ctx.data() {
            return 0;
        }
        // SAFETY: the four bytes lie between `data_meta` and `data`; metadata is a multiple of four bytes long.
        unsafe { *(metadata as *const u32) }
    }
}

/// What [`sum_bytes`] returns where there is no sum: a folded one has 16 bits.
const NO_SUM: u32 = u32::MAX;

/// The loop over a stretch of the frame. Exported, and so a global function to the verifier: checked once, on its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum_bytes(ctx: *mut xdp_md, from: u32, len: u32) -> u32 {
    let frame = Frame::new(XdpContext::new(ctx));
    // Headers are nowhere near the mask's end; it is what the verifier sees of that.
    sum::of(&frame, (from & 0x7ff) as usize, len as usize).map_or(NO_SUM, u32::from)
}

/// Where the transport header of an IPv4 packet with options is. Global for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ipv4_place(ctx: *mut xdp_md) -> u64 {
    ipv4::behind_options(&Frame::new(XdpContext::new(ctx))).0
}

/// The same of an IPv6 packet with extension headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ipv6_place(ctx: *mut xdp_md) -> u64 {
    ipv6::behind_extensions(&Frame::new(XdpContext::new(ctx))).0
}

/// Where the MSS of a segment lies whose TCP header starts at `l4`; 0: nowhere. Global for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mss_place(ctx: *mut xdp_md, l4: u32) -> u32 {
    mss::find(&Frame::new(XdpContext::new(ctx)), l4 as usize) as u32
}

impl PacketBytes for Frame {
    #[inline(always)]
    fn mss_place(&mut self, l4: usize) -> usize {
        mss_place(self.ctx.ctx, l4 as u32) as usize
    }

    #[inline(always)]
    fn ipv4_place(&self) -> Place {
        Place(ipv4_place(self.ctx.ctx))
    }

    #[inline(always)]
    fn ipv6_place(&self) -> Place {
        Place(ipv6_place(self.ctx.ctx))
    }

    #[inline(always)]
    fn sum(&self, from: usize, len: usize) -> Option<u16> {
        let sum = sum_bytes(self.ctx.ctx, from as u32, len as u32);
        (sum != NO_SUM).then_some(sum as u16)
    }

    #[inline(always)]
    fn far<T: Wire>(&self, off: usize) -> Option<&T> {
        self.bytes.far(off)
    }

    #[inline(always)]
    fn far_mut<T: Wire>(&mut self, off: usize) -> Option<&mut T> {
        self.bytes.far_mut(off)
    }

    #[inline(always)]
    fn at<T: Wire>(&self, off: usize) -> Option<&T> {
        self.bytes.at(off)
    }

    #[inline(always)]
    fn at_mut<T: Wire>(&mut self, off: usize) -> Option<&mut T> {
        self.bytes.at_mut(off)
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        if self.vlan != 0 {
            return self.vlan;
        }
        // SAFETY: the context is valid for the whole run of the program.
        unsafe { (*self.ctx.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn came_by(&mut self, ifindex: u32) {
        self.vlan = ifindex;
    }

    /// The end is read once more, where the compiler cannot see that it is the same: else it concludes from "the packet is
    /// no longer than the frame" that a look at the frame is needless, which the verifier does not.
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is valid for the whole run of the program.
        let end = unsafe { (&raw const (*self.ctx.ctx).data_end).read_volatile() };
        end as usize - self.bytes.start()
    }

    #[inline(always)]
    fn make_quotation(&mut self, front: usize, quoted: usize, _l4: usize) -> bool {
        // SAFETY: the context is valid; the packet pointers are read again below.
        let grown = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(front as i32)) } == 0;
        self.reload();
        // Hidden: else the two pointers and the length are added up in whatever order, and not all are allowed.
        let surplus = black_box(self.len()) as i32 - (IP + front + quoted) as i32;
        // SAFETY: as above.
        let done = grown && unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, -surplus) } == 0;
        self.reload();
        done
    }

    #[inline(always)]
    fn open(&mut self, bytes: usize, _tunnel: Option<(Method, u8)>) -> bool {
        // SAFETY: the context is valid; the packet pointers are read again below.
        let grown = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(bytes as i32)) } == 0;
        self.reload();
        let Some(&ethernet) = self.far::<[u8; Ethernet::LEN]>(bytes) else { return false };
        let Some(front) = self.at_mut(0) else { return false };
        *front = ethernet;
        grown
    }

    #[inline(always)]
    fn close(&mut self, bytes: usize) -> bool {
        let Some(&ethernet) = self.at::<[u8; Ethernet::LEN]>(0) else { return false };
        let Some(front) = self.far_mut(bytes) else { return false };
        *front = ethernet;
        // SAFETY: as above.
        let done = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, bytes as i32) } == 0;
        self.reload();
        done
    }

    #[inline(always)]
    fn is_given_back(&self) -> bool {
        self.metadata() | (GIVEN_BACK ^ LAST_TRY) == GIVEN_BACK
    }

    #[inline(always)]
    fn hand_over(&self, head: &HeldHead) -> bool {
        // The upper half tells the helper how much of the frame to append.
        let flags = u64::from(head.len) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
        self.metadata() != LAST_TRY
            // SAFETY: context and map are this object's; `head` is readable for its size.
            && unsafe {
                bpf_perf_event_output(
                    self.ctx.ctx.cast(),
                    (&raw const maps::HELD).cast_mut().cast(),
                    flags,
                    core::ptr::from_ref(head).cast_mut().cast(),
                    size_of::<HeldHead>() as u64,
                )
            } == 0
    }
}
