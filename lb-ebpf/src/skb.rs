//! A socket buffer at tc's ingress as the engine's `PacketBytes`.
//!
//! Here the kernel's own packets arrive: several of a flow merged into one (GRO), or not yet taken apart by their
//! sender (GSO), data beyond the headers in pages that the program cannot reach, checksums that a device shall finish
//! (`CHECKSUM_PARTIAL`: the field holds the sum of the pseudo-header alone) or has summed already
//! (`CHECKSUM_COMPLETE`: `skb->csum` is the sum of the packet). The helpers know which; the program is not told.

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_CURRENT_CPU, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode,
};
use aya_ebpf::helpers::generated::{
    bpf_l4_csum_replace, bpf_perf_event_output, bpf_skb_adjust_room, bpf_skb_change_tail,
    bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use lb_common::abi::{FlowRewrite, GIVEN_BACK, HeldHead, LAST_TRY};
use lb_common::engine::parse::{IP, L4};
use lb_common::engine::{PacketBytes, icmp, refuse, sum};
use lb_common::wire::Wire;
use lb_common::wire::icmp::IcmpError;
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::tcp::Tcp;

use crate::maps;
use crate::window::Window;

/// What every packet of a flow must show of itself: Ethernet, IPv4, TCP without options.
const HEADERS: usize = L4 + Tcp::LEN;
/// What an ICMP message must show: all that is summed.
const MESSAGE: usize = L4 + sum::MOST;
/// Bytes that are taken off the front on the way to a quotation: the checksum's part begins before what the first
/// leaves, and the second makes the kernel notice.
const CUTS: [usize; 2] = [40, 4];

/// Bytes of the frame before that.
const LONGER: usize = refuse::ERROR + CUTS[0] + CUTS[1];

const _: () = assert!(CUTS[0] > L4 - IP && IP + IcmpError::QUOTE <= LONGER - IcmpError::QUOTE);

/// A socket buffer and the part of it that lies in one piece.
pub struct Skb {
    bytes: Window,
    ctx: *mut __sk_buff,
}

impl Skb {
    /// The buffer of this run, its headers within reach.
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        let mut skb = Self { bytes: Window::new(ctx.data(), ctx.data_end()), ctx: ctx.skb.skb };
        skb.pull(HEADERS);
        if skb.at::<Ipv4>(IP).is_some_and(|ip| ip.protocol() == Ipv4::ICMP) {
            skb.pull(MESSAGE);
        }
        skb
    }

    /// Whether it has a VLAN tag that was taken out of the frame. The VLAN's own interface sees it without.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: the context is valid for the whole run of the program.
        unsafe { (*self.ctx).vlan_present != 0 }
    }

    /// Brings the first `wanted` bytes within reach, or as many as there are.
    #[inline(always)]
    fn pull(&mut self, wanted: usize) {
        let wanted = wanted.min(self.len());
        if self.bytes.len() < wanted {
            // SAFETY: the context is valid; the packet pointers are read again below. A failure leaves what there was.
            unsafe { bpf_skb_pull_data(self.ctx, wanted as u32) };
            self.reload();
        }
    }

    #[inline(always)]
    fn reload(&mut self) {
        let ctx = TcContext::new(self.ctx);
        self.bytes = Window::new(ctx.data(), ctx.data_end());
    }

    /// Cuts or pads the end. The packet pointers are stale afterwards.
    #[inline(always)]
    fn set_len(&mut self, len: usize) -> bool {
        // SAFETY: the context is valid; the caller reads the packet pointers again.
        unsafe { bpf_skb_change_tail(self.ctx, len as u32, 0) == 0 }
    }

    /// Takes bytes off behind the Ethernet header. The packet pointers are stale afterwards.
    #[inline(always)]
    fn cut_front(&mut self, bytes: usize) -> bool {
        let mode = bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
        // SAFETY: as in `set_len`.
        unsafe { bpf_skb_adjust_room(self.ctx, -(bytes as i32), mode, 0) == 0 }
    }

    /// Moves the transport checksum `at` by a sum. The packet pointers are stale afterwards.
    #[inline(always)]
    fn move_checksum(&mut self, at: usize, delta: u16, flags: u32) -> bool {
        // SAFETY: the context is valid; the caller reads the packet pointers again. From 0 by a sum that is ready-made.
        unsafe {
            bpf_l4_csum_replace(self.ctx, at as u32, 0, u64::from(delta), u64::from(flags)) == 0
        }
    }

    /// What the daemon marked a frame with that it gives back; frames from elsewhere have other marks, or none.
    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: the context is valid.
        unsafe { (*self.ctx).mark }
    }
}

/// What [`sum_skb_bytes`] returns where there is no sum: a folded one has 16 bits.
const NO_SUM: u32 = u32::MAX;

/// As `sum_bytes` of the XDP shell.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum_skb_bytes(ctx: *mut __sk_buff, from: u32, len: u32) -> u32 {
    let tc = TcContext::new(ctx);
    let skb = Skb { bytes: Window::new(tc.data(), tc.data_end()), ctx };
    // Headers are nowhere near the mask's end; it is what the verifier sees of that.
    sum::of(&skb, (from & 0x7ff) as usize, len as usize).map_or(NO_SUM, u32::from)
}

impl PacketBytes for Skb {
    #[inline(always)]
    fn sum(&self, from: usize, len: usize) -> Option<u16> {
        let sum = sum_skb_bytes(self.ctx, from as u32, len as u32);
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

    /// The device that the buffer is seen on; `ingress_ifindex` is the one below a VLAN.
    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is valid.
        unsafe { (*self.ctx).ifindex }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is valid.
        unsafe { (*self.ctx).len as usize }
    }

    #[inline(always)]
    fn segment(&self) -> u16 {
        // SAFETY: the context is valid. The kernel's own field has 16 bits.
        unsafe { (*self.ctx).gso_size as u16 }
    }

    /// The addresses are in the pseudo-header, and so in a half-made checksum too; the ports are not.
    #[inline(always)]
    fn forward_transport(&mut self, rewrite: &FlowRewrite, is_tcp: bool) -> bool {
        let (check, none_stays) =
            if is_tcp { (icmp::TCP_CHECK, 0) } else { (icmp::UDP_CHECK, BPF_F_MARK_MANGLED_0) };
        let at = L4 + check;
        if !self.move_checksum(at, rewrite.address_delta(), BPF_F_PSEUDO_HDR | none_stays) {
            return false;
        }
        let ports = rewrite.port_delta();
        if !matches!(ports, 0 | 0xffff) && !self.move_checksum(at, ports, none_stays) {
            return false;
        }
        self.reload();
        let [a, b] = rewrite.sport.0;
        let [c, d] = rewrite.dport.0;
        let Some(both) = self.at_mut::<[u8; 4]>(L4) else { return false };
        *both = [a, b, c, d];
        true
    }

    /// Not by `bpf_skb_change_head` and a cut: a half-made checksum would be finished in the middle of the error by
    /// whatever device sends it, and forbids a frame that ends before its field. Nothing takes that mark off a buffer
    /// but taking bytes off its front when the checksum's part lies in front of it already (`skb_postpull_rcsum`): so
    /// the quotation is copied behind what the two cuts in front take.
    /// Growing by a byte makes the kernel forget a sum that is no longer true (`__skb_grow_rcsum`).
    #[inline(always)]
    fn make_quotation(&mut self) -> bool {
        if !self.set_len(LONGER - 1) || !self.set_len(LONGER) {
            return false;
        }
        self.reload();
        let Some(bytes) = self.at_mut::<[u8; LONGER]>(0) else { return false };
        let mut at = 0;
        while at < IcmpError::QUOTE {
            bytes[LONGER - IcmpError::QUOTE + at] = bytes[IP + at];
            at += 1;
        }
        let done = self.cut_front(CUTS[0]) && self.cut_front(CUTS[1]);
        self.reload();
        done
    }

    #[inline(always)]
    fn is_given_back(&self) -> bool {
        self.mark() | (GIVEN_BACK ^ LAST_TRY) == GIVEN_BACK
    }

    /// Frames of several packets are not handed over: the daemon could send them as one only. TCP sends them again.
    #[inline(always)]
    fn hand_over(&self, head: &HeldHead) -> bool {
        // The upper half tells the helper how much of the frame to append.
        let flags = u64::from(head.len) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
        self.mark() != LAST_TRY
            && self.segment() == 0
            // SAFETY: context and map are this object's; `head` is readable for its size.
            && unsafe {
                bpf_perf_event_output(
                    self.ctx.cast(),
                    (&raw const maps::HELD).cast_mut().cast(),
                    flags,
                    core::ptr::from_ref(head).cast_mut().cast(),
                    size_of::<HeldHead>() as u64,
                )
            } == 0
    }
}
