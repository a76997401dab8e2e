//! A socket buffer at tc's ingress as the engine's `PacketBytes`.
//!
//! Here the kernel's own packets arrive: several of a flow merged into one (GRO), or not yet taken apart by their
//! sender (GSO), data beyond the headers in pages that the program cannot reach, checksums that a device shall finish
//! (`CHECKSUM_PARTIAL`: the field holds the sum of the pseudo-header alone) or has summed already
//! (`CHECKSUM_COMPLETE`: `skb->csum` is the sum of the packet). The helpers know which; the program is not told.

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    BPF_F_ADJ_ROOM_ENCAP_L4_GRE, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO,
    BPF_F_CURRENT_CPU, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode,
};
use aya_ebpf::helpers::generated::{
    bpf_l4_csum_replace, bpf_perf_event_output, bpf_skb_adjust_room, bpf_skb_change_tail,
    bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use lb_common::abi::{FlowRewrite, GIVEN_BACK, HeldHead, LAST_TRY, Method};
use lb_common::engine::family::place::Place;
use lb_common::engine::family::{ipv4, ipv6};
use lb_common::engine::parse::{self, IP};
use lb_common::engine::{Family, PacketBytes, icmp, mss, sum};
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::ipv6::Ipv6;
use lb_common::wire::tcp::Tcp;
use lb_common::wire::{Addr4, Addr6, Wire};

use crate::maps;
use crate::window::Window;

/// What an ICMP message must show, and a packet with something before its transport header: all that is ever looked at.
const MESSAGE: usize = IP + Ipv6::LEN + sum::MOST;
/// Bytes of a packet that an error quotes at most: they are copied one by one.
const QUOTABLE: usize = 96;
/// Bytes of a TCP header with all the options that fit.
const LONGEST_TCP: usize = 60;
/// Bytes that the kernel is made to notice a checksum's end by.
const NUDGE: usize = 4;

/// A socket buffer and the part of it that lies in one piece.
pub struct Skb {
    bytes: Window,
    ctx: *mut __sk_buff,
}

impl Skb {
    /// The buffer of this run.
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        Self { bytes: Window::new(ctx.data(), ctx.data_end()), ctx: ctx.skb.skb }
    }

    /// What the kernel handed to the program.
    #[inline(always)]
    pub fn context(&self) -> TcContext {
        TcContext::new(self.ctx)
    }

    /// Brings the headers of an IPv4 packet within reach.
    #[inline(always)]
    pub fn show_ipv4(&mut self) {
        self.pull(<Addr4 as Family>::L4 + Tcp::LEN);
        let plain = |ip: &Ipv4| {
            ip.version_and_length() == 0x45 && matches!(ip.protocol(), parse::TCP | parse::UDP)
        };
        if self.at::<Ipv4>(IP).is_some_and(|ip| !plain(ip)) {
            self.pull(MESSAGE);
        }
    }

    /// The same of IPv6.
    #[inline(always)]
    pub fn show_ipv6(&mut self) {
        self.pull(<Addr6 as Family>::L4 + Tcp::LEN);
        let plain = |ip: &Ipv6| matches!(ip.next_header(), parse::TCP | parse::UDP);
        if self.at::<Ipv6>(IP).is_some_and(|ip| !plain(ip)) {
            self.pull(MESSAGE);
        }
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
    let skb = Skb::new(TcContext::new(ctx));
    // Headers are nowhere near the mask's end; it is what the verifier sees of that.
    sum::of(&skb, (from & 0x7ff) as usize, len as usize).map_or(NO_SUM, u32::from)
}

/// As `ipv4_place` of the XDP shell.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ipv4_skb_place(ctx: *mut __sk_buff) -> u64 {
    ipv4::behind_options(&Skb::new(TcContext::new(ctx))).0
}

/// As `ipv6_place` of the XDP shell.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ipv6_skb_place(ctx: *mut __sk_buff) -> u64 {
    ipv6::behind_extensions(&Skb::new(TcContext::new(ctx))).0
}

/// As `mss_place` of the XDP shell.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mss_skb_place(ctx: *mut __sk_buff, l4: u32) -> u32 {
    mss::find(&Skb::new(TcContext::new(ctx)), l4 as usize) as u32
}

/// Copies `len` bytes, at most [`QUOTABLE`], from the start of the IP packet to `to`; whether they
/// are there. The last first, for the two may overlap. Global for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_quotation(ctx: *mut __sk_buff, to: u32, len: u32) -> u32 {
    let mut skb = Skb::new(TcContext::new(ctx));
    let (to, len, mut done) = ((to & 0x7ff) as usize, (len & 0xff) as usize, 0);
    while done < QUOTABLE && done < len {
        done += 1;
        let at = len - done;
        let Some(&byte) = skb.far::<[u8; 1]>(IP + at) else { return 0 };
        let Some(there) = skb.far_mut::<[u8; 1]>(to + at) else { return 0 };
        *there = byte;
    }
    1
}

impl PacketBytes for Skb {
    #[inline(always)]
    fn ipv4_place(&self) -> Place {
        Place(ipv4_skb_place(self.ctx))
    }

    #[inline(always)]
    fn ipv6_place(&self) -> Place {
        Place(ipv6_skb_place(self.ctx))
    }

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
    fn forward_transport<A: Family, const FAR: bool>(
        &mut self,
        rewrite: &FlowRewrite<A>,
        l4: usize,
        is_tcp: bool,
    ) -> bool {
        let (check, none_stays) =
            if is_tcp { (icmp::TCP_CHECK, 0) } else { (icmp::UDP_CHECK, BPF_F_MARK_MANGLED_0) };
        let at = l4 + check;
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
        let both = if FAR { self.far_mut::<[u8; 4]>(l4) } else { self.at_mut::<[u8; 4]>(l4) };
        let Some(both) = both else { return false };
        *both = [a, b, c, d];
        true
    }

    /// A driver may leave the options in a page.
    #[inline(always)]
    fn mss_place(&mut self, l4: usize) -> usize {
        self.pull(l4 + LONGEST_TCP);
        mss_skb_place(self.ctx, l4 as u32) as usize
    }

    /// A half-made checksum covers none of it: the helper leaves that alone.
    #[inline(always)]
    fn replace_in_tcp(&mut self, l4: usize, at: usize, old: [u8; 2], new: [u8; 2]) -> bool {
        let done = self.move_checksum(l4 + icmp::TCP_CHECK, mss::delta(l4, at, old, new), 0);
        self.reload();
        if done && let Some(bytes) = self.far_mut::<[u8; 2]>(at) {
            *bytes = new;
        }
        done
    }

    #[inline(always)]
    fn quotable(&self) -> usize {
        QUOTABLE
    }

    /// Not by `bpf_skb_change_head` and a cut: a half-made checksum would be finished in the middle of the error by
    /// whatever device sends it, and forbids a frame that ends before its field. Nothing takes that mark off a buffer
    /// but taking bytes off its front when the checksum's part lies in front of it already (`skb_postpull_rcsum`): so
    /// the quotation is copied behind what two cuts in front take, of which the first goes beyond the transport header.
    /// Growing by a byte makes the kernel forget a sum that is no longer true (`__skb_grow_rcsum`).
    #[inline(always)]
    fn make_quotation(&mut self, front: usize, quoted: usize, l4: usize) -> bool {
        let cut = l4 - IP + NUDGE;
        let quotation = IP + front + cut + NUDGE;
        let longer = quotation + quoted;
        if !self.set_len(longer - 1) || !self.set_len(longer) {
            return false;
        }
        let copied = copy_quotation(self.ctx, quotation as u32, quoted as u32) != 0;
        let done = copied && self.cut_front(cut) && self.cut_front(NUDGE);
        self.reload();
        done
    }

    #[inline(always)]
    fn came_by(&mut self, _ifindex: u32) {}

    /// The kernel is told what the headers are, so that it can take apart what is several packets in one; each of them
    /// was measured, so none has to become smaller.
    #[inline(always)]
    fn open(&mut self, bytes: usize, tunnel: Option<(Method, u8)>) -> bool {
        let Some((method, version)) = tunnel else { return false };
        let network =
            if version == 6 { BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 } else { BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 };
        let transport = match method {
            Method::Gre => BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
            Method::Gue => BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
            _ => 0,
        };
        let flags = u64::from(network | transport | BPF_F_ADJ_ROOM_FIXED_GSO);
        let mode = bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
        // SAFETY: the context is valid; the packet pointers are read again below.
        let done = unsafe { bpf_skb_adjust_room(self.ctx, bytes as i32, mode, flags) } == 0;
        self.reload();
        done
    }

    /// Tags lie beside a buffer, not in it.
    #[inline(always)]
    fn close(&mut self, _bytes: usize) -> bool {
        false
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
