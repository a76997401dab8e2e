//! The kernel side of xlb: shells around the engine of `lb-common`, no decisions of their own.
//!
//! | program | what runs it |
//! | --- | --- |
//! | `xlb_xdp` | every frame that arrives on an interface of `--iface` |
//! | `xlb_tc` | the same in mode tc: every frame that the network stack takes in there |
//! | `xlb_xdp6`, `xlb_tc6` | those, for IPv6, as a tail call |
//! | `xlb_expire`, `xlb_expire6` | the daemon's reaper, by BPF_PROG_TEST_RUN, with flow keys as its packet |
//! | `xlb_clock` | the daemon at start, by BPF_PROG_TEST_RUN, to learn what jiffies are |
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the BPF target has no core::sync::atomic; see atomic.rs")]

mod atomic;
mod maps;
mod packet;
mod skb;
mod tables;
mod window;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_redirect};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::abi::program::Next;
use lb_common::abi::{DropReason, PassReason};
use lb_common::engine::{self, Action, PacketBytes, Verdict};
use lb_common::wire::{Addr4, Addr6};

use packet::Frame;
use skb::Skb;
use tables::Kernel;

/// The data path.
#[xdp]
pub fn xlb_xdp(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx);
    if engine::is_ipv6(&frame) {
        return ipv6(&frame);
    }
    carry_out(engine::walk::<Addr4, _, _>(&mut frame, &Kernel))
}

/// The data path of IPv6.
#[xdp]
pub fn xlb_xdp6(ctx: XdpContext) -> u32 {
    carry_out(engine::walk::<Addr6, _, _>(&mut Frame::new(ctx), &Kernel))
}

/// The data path behind GRO. What it passes goes on to other programs there, and to the stack.
#[classifier]
pub fn xlb_tc(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(ctx);
    if skb.is_tagged() {
        return send(Verdict::pass(PassReason::NotIpv4));
    }
    if engine::is_ipv6(&skb) {
        // SAFETY: the context is this run's; a failure returns.
        unsafe { maps::TC_NEXT.tail_call(&skb.context(), Next::Ipv6 as u32) };
        return send(Verdict::pass(PassReason::NotIpv4));
    }
    skb.show_ipv4();
    send(engine::walk::<Addr4, _, _>(&mut skb, &Kernel))
}

/// The same of IPv6.
#[classifier]
pub fn xlb_tc6(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(ctx);
    skb.show_ipv6();
    send(engine::walk::<Addr6, _, _>(&mut skb, &Kernel))
}

/// Counts a verdict's reason and turns it into tc's.
#[inline(always)]
fn send(verdict: Verdict) -> i32 {
    count(verdict);
    match verdict.action() {
        Action::Pass => TC_ACT_UNSPEC,
        Action::Drop => TC_ACT_SHOT,
        // SAFETY: the helper has no preconditions.
        Action::Bounce | Action::Redirect => unsafe { bpf_redirect(verdict.ifindex(), 0) as i32 },
    }
}

/// Goes on with [`xlb_xdp6`]; returns only if it is not there.
#[inline(always)]
fn ipv6(frame: &Frame) -> u32 {
    // SAFETY: the context is this run's; a failure returns.
    unsafe { maps::XDP_NEXT.tail_call(frame.context(), Next::Ipv6 as u32) };
    carry_out(Verdict::pass(PassReason::NotIpv4))
}

/// Counts a verdict's reason and turns it into the driver's.
#[inline(always)]
fn carry_out(verdict: Verdict) -> u32 {
    count(verdict);
    match verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Bounce => xdp_action::XDP_TX,
        Action::Redirect => maps::DEVICES.redirect(verdict.ifindex(), 0).unwrap_or_else(|_| {
            // The way leads by an interface that is none of this instance's.
            tables::count_reason(DropReason::BadMapValue.slot());
            xdp_action::XDP_DROP
        }),
    }
}

/// Counts why, where there is a reason.
#[inline(always)]
fn count(verdict: Verdict) {
    if verdict.slot() != 0 {
        tables::count_reason(verdict.slot());
    }
}

/// Ends expired flows among the keys in its packet; the number ended is its return value.
#[xdp]
pub fn xlb_expire(ctx: XdpContext) -> u32 {
    engine::expire::run::<Addr4, _, _>(&Frame::new(ctx), &Kernel)
}

/// The same of IPv6.
#[xdp]
pub fn xlb_expire6(ctx: XdpContext) -> u32 {
    engine::expire::run::<Addr6, _, _>(&Frame::new(ctx), &Kernel)
}

/// Writes jiffies into the first eight bytes of its packet.
#[xdp]
pub fn xlb_clock(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx);
    let Some(bytes) = frame.at_mut::<[u8; 8]>(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the helper has no preconditions (kernel 5.5 and later).
    *bytes = unsafe { bpf_jiffies64() }.to_ne_bytes();
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the engine has no panicking path that survives optimisation, or the program would not link.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
