//! The kernel side of xlb: shells around the engine of `lb-common`, no decisions of their own.
//!
//! | program | what runs it |
//! | --- | --- |
//! | `xlb_xdp` | every frame that arrives on an interface of `--iface` |
//! | `xlb_tc` | the same in mode tc: every frame that the network stack takes in there |
//! | `xlb_xdp6`, `xlb_tc6` | those, for IPv6, as a tail call |
//! | `xlb_xdp_tagged` | those with VLAN tags |
//! | `xlb_xdp_outer`, `xlb_tc_outer` | those that leave by a tunnel or a VLAN |
//! | `xlb_xdp_slow`, `xlb_xdp_icmp`, `xlb_tc_slow`, `xlb_tc_icmp`, the same with a 6 | those, for what is not established |
//! | `xlb_xdp_watch`, `xlb_tc_watch`, the same with a 6 | those frames instead, while somebody captures |
//! | `xlb_xdp_show`, `xlb_tc_show` | all of them, as the way out of a packet that was watched |
//! | `xlb_expire`, `xlb_expire6` | the daemon's reaper, by BPF_PROG_TEST_RUN, with flow keys as its packet |
//! | `xlb_clock` | the daemon at start, by BPF_PROG_TEST_RUN, to learn what jiffies are |
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the BPF target has no core::sync::atomic; see atomic.rs")]

mod atomic;
mod capture;
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
use lb_common::abi::{DropReason, PassReason, Tags};
use lb_common::engine::{self, Action, PacketBytes, Stage, Verdict, outer};
use lb_common::wire::{Addr4, Addr6};

use packet::Frame;
use skb::Skb;
use tables::{Kernel, Maps};

/// A hook of the kernel's: how programs there go on with others, and what they return.
trait Shell: PacketBytes {
    /// Goes on with another program; returns only if that is not there. The frame must be looked at afresh then: verifiers
    /// from 6.12 on hold that the other program may have moved it.
    fn go_on(&self, next: Next);
    /// Turns a verdict into the hook's. What is bare goes on with what puts something in front of it.
    fn send(&self, verdict: Verdict) -> i32;
    /// Counts a verdict's reason and does what it says.
    #[inline(always)]
    fn carry_out(&self, verdict: Verdict) -> i32 {
        if verdict.slot() != 0 {
            tables::count_reason(verdict.slot());
        }
        if verdict.is_bare() {
            let bare = maps::BARE.get_ptr_mut(u32::from(self.is_given_back()));
            if let Some(bare) = bare {
                // SAFETY: a per-CPU element, as the scratch memory.
                unsafe { *bare = verdict.words() };
                self.go_on(Next::Outer);
            }
            tables::count_reason(DropReason::BadMapValue.slot());
            return self.send(LOST);
        }
        self.send(verdict)
    }
}

impl Shell for Frame {
    #[inline(always)]
    fn go_on(&self, next: Next) {
        // SAFETY: the context is this run's; a failure returns.
        unsafe { maps::XDP_NEXT.tail_call(self.context(), next as u32) };
    }

    #[inline(always)]
    fn send(&self, verdict: Verdict) -> i32 {
        let action = match verdict.action() {
            Action::Pass => xdp_action::XDP_PASS,
            Action::Drop => xdp_action::XDP_DROP,
            Action::Bounce => xdp_action::XDP_TX,
            Action::Redirect => maps::DEVICES.redirect(verdict.ifindex(), 0).unwrap_or_else(|_| {
                // The way leads by an interface that is none of this instance's.
                tables::count_reason(DropReason::BadMapValue.slot());
                xdp_action::XDP_DROP
            }),
        };
        action as i32
    }
}

impl Shell for Skb {
    #[inline(always)]
    fn go_on(&self, next: Next) {
        // SAFETY: as above.
        unsafe { maps::TC_NEXT.tail_call(&self.context(), next as u32) };
    }

    #[inline(always)]
    fn send(&self, verdict: Verdict) -> i32 {
        match verdict.action() {
            Action::Pass => TC_ACT_UNSPEC,
            Action::Drop => TC_ACT_SHOT,
            // SAFETY: the helper has no preconditions.
            Action::Bounce | Action::Redirect => unsafe {
                bpf_redirect(verdict.ifindex(), 0) as i32
            },
        }
    }
}

/// The way out of every program of the data path.
#[inline(always)]
fn leave<P: Shell>(packet: &P, verdict: Verdict, shown: bool) -> i32 {
    if shown {
        capture::show(packet, verdict);
    }
    packet.carry_out(verdict)
}

/// The established path; what is not goes on with another program. `SHOWN`: somebody captures.
#[inline(always)]
fn enter<A: Maps, P: Shell, const SHOWN: bool>(packet: &mut P, tags: Tags) -> i32 {
    let taken_up = match engine::established(packet, &Kernel) {
        // SAFETY: the only one in this run.
        Ok(seen) => match unsafe { tables::scratch::<A>(packet.is_given_back()) } {
            Some(scratch) => {
                scratch.shown = SHOWN.into();
                engine::take_up(packet, &Kernel, &seen, tags, scratch)
            }
            None => Err(LOST),
        },
        Err(verdict) => Err(verdict),
    };
    let verdict = match taken_up {
        Ok(stage) => {
            packet.go_on(if stage == Stage::Slow { A::SLOW } else { A::ERRORS });
            LOST
        }
        Err(verdict) => outer::put_back(packet, tags, verdict),
    };
    leave(packet, verdict, SHOWN)
}

/// There is no such program or no memory to share with it: the object is not whole.
const LOST: Verdict = Verdict::drop(DropReason::BadMapValue);

/// Goes on with a packet that another program has taken up.
#[inline(always)]
fn resume<A: Maps, P: Shell, const ERRORS: bool>(packet: &mut P) -> i32 {
    // SAFETY: the only one in this run.
    let Some(scratch) = (unsafe { tables::scratch::<A>(packet.is_given_back()) }) else {
        return packet.carry_out(LOST);
    };
    packet.came_by(scratch.ifindex);
    let verdict = if ERRORS {
        engine::icmp::walk(packet, &Kernel, scratch)
    } else {
        engine::slow::walk(packet, &Kernel, scratch)
    };
    let verdict = outer::put_back(packet, scratch.tags, verdict);
    leave(packet, verdict, scratch.shown != 0)
}

/// Puts in front of a packet what its verdict says, and sends it.
#[inline(always)]
fn put_on<P: Shell>(packet: &mut P) -> i32 {
    // SAFETY: a per-CPU element that the program before has just written.
    let bare =
        maps::BARE.get_ptr_mut(u32::from(packet.is_given_back())).map(|bare| unsafe { *bare });
    let verdict = match bare {
        Some(words) => outer::put_on(packet, &Kernel, Verdict::from_words(words)),
        None => LOST,
    };
    // What it was before has been counted.
    if verdict.action() == Action::Drop {
        return packet.carry_out(verdict);
    }
    packet.send(verdict)
}

/// The data path.
#[xdp]
pub fn xlb_xdp(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx);
    if engine::is_ipv6(&frame) {
        frame.go_on(Next::Ipv6);
        return frame.carry_out(Verdict::pass(PassReason::NotIpv4)) as u32;
    }
    if engine::is_tagged(&frame) {
        frame.go_on(Next::Tagged);
        return frame.carry_out(LOST) as u32;
    }
    enter::<Addr4, _, false>(&mut frame, Tags::default()) as u32
}

/// The data path of IPv6.
#[xdp]
pub fn xlb_xdp6(ctx: XdpContext) -> u32 {
    enter::<Addr6, _, false>(&mut Frame::new(ctx), Tags::default()) as u32
}

/// Frames with tags, of both families.
#[xdp]
pub fn xlb_xdp_tagged(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx);
    let sent = match outer::take_off(&mut frame, &Kernel) {
        Ok(tags) if engine::is_ipv6(&frame) => enter::<Addr6, _, false>(&mut frame, tags),
        Ok(tags) => enter::<Addr4, _, false>(&mut frame, tags),
        Err(verdict) => frame.carry_out(verdict),
    };
    sent as u32
}

/// Tunnel headers and tags.
#[xdp]
pub fn xlb_xdp_outer(ctx: XdpContext) -> u32 {
    put_on(&mut Frame::new(ctx)) as u32
}

/// What is not established.
#[xdp]
pub fn xlb_xdp_slow(ctx: XdpContext) -> u32 {
    resume::<Addr4, _, false>(&mut Frame::new(ctx)) as u32
}

/// The same of IPv6.
#[xdp]
pub fn xlb_xdp_slow6(ctx: XdpContext) -> u32 {
    resume::<Addr6, _, false>(&mut Frame::new(ctx)) as u32
}

/// ICMP.
#[xdp]
pub fn xlb_xdp_icmp(ctx: XdpContext) -> u32 {
    resume::<Addr4, _, true>(&mut Frame::new(ctx)) as u32
}

/// ICMPv6.
#[xdp]
pub fn xlb_xdp_icmp6(ctx: XdpContext) -> u32 {
    resume::<Addr6, _, true>(&mut Frame::new(ctx)) as u32
}

/// The data path behind GRO. What it passes goes on to other programs there, and to the stack.
#[classifier]
pub fn xlb_tc(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(ctx);
    if skb.is_tagged() {
        return skb.carry_out(Verdict::pass(PassReason::NotIpv4));
    }
    if engine::is_ipv6(&skb) {
        skb.go_on(Next::Ipv6);
        return skb.carry_out(Verdict::pass(PassReason::NotIpv4));
    }
    skb.show_ipv4();
    enter::<Addr4, _, false>(&mut skb, Tags::default())
}

/// The same of IPv6.
#[classifier]
pub fn xlb_tc6(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(ctx);
    skb.show_ipv6();
    enter::<Addr6, _, false>(&mut skb, Tags::default())
}

/// Tunnel headers.
#[classifier]
pub fn xlb_tc_outer(ctx: TcContext) -> i32 {
    put_on(&mut Skb::new(ctx))
}

/// What is not established.
#[classifier]
pub fn xlb_tc_slow(ctx: TcContext) -> i32 {
    resume::<Addr4, _, false>(&mut Skb::new(ctx))
}

/// The same of IPv6.
#[classifier]
pub fn xlb_tc_slow6(ctx: TcContext) -> i32 {
    resume::<Addr6, _, false>(&mut Skb::new(ctx))
}

/// ICMP.
#[classifier]
pub fn xlb_tc_icmp(ctx: TcContext) -> i32 {
    resume::<Addr4, _, true>(&mut Skb::new(ctx))
}

/// ICMPv6.
#[classifier]
pub fn xlb_tc_icmp6(ctx: TcContext) -> i32 {
    resume::<Addr6, _, true>(&mut Skb::new(ctx))
}

/// The data path while somebody captures.
#[xdp]
pub fn xlb_xdp_watch(ctx: XdpContext) -> u32 {
    capture::frame_arrived(ctx.ctx);
    let mut frame = Frame::new(ctx);
    if engine::is_ipv6(&frame) {
        frame.go_on(Next::Watch6);
        // The capture has ended meanwhile.
        frame.go_on(Next::Ipv6);
        return frame.carry_out(Verdict::pass(PassReason::NotIpv4)) as u32;
    }
    if engine::is_tagged(&frame) {
        // Those are not shown.
        frame.go_on(Next::Tagged);
        return frame.carry_out(LOST) as u32;
    }
    enter::<Addr4, _, true>(&mut frame, Tags::default()) as u32
}

/// The same of IPv6.
#[xdp]
pub fn xlb_xdp_watch6(ctx: XdpContext) -> u32 {
    enter::<Addr6, _, true>(&mut Frame::new(ctx), Tags::default()) as u32
}

/// What is behind the verdict of a packet that was watched.
#[xdp]
pub fn xlb_xdp_show(ctx: XdpContext) -> u32 {
    let frame = Frame::new(ctx);
    frame.carry_out(capture::hand_over(&frame)) as u32
}

/// As `xlb_xdp_watch`.
#[classifier]
pub fn xlb_tc_watch(ctx: TcContext) -> i32 {
    let mut skb = Skb::new(ctx);
    let is_ipv6 = engine::is_ipv6(&skb);
    if is_ipv6 {
        skb.show_ipv6();
    } else {
        skb.show_ipv4();
    }
    capture::skb_arrived(skb.context().skb.skb);
    if skb.is_tagged() {
        return leave(&skb, Verdict::pass(PassReason::NotIpv4), true);
    }
    if is_ipv6 {
        skb.go_on(Next::Watch6);
        skb.go_on(Next::Ipv6);
        return skb.carry_out(Verdict::pass(PassReason::NotIpv4));
    }
    enter::<Addr4, _, true>(&mut Skb::new(skb.context()), Tags::default())
}

/// As `xlb_xdp_watch6`.
#[classifier]
pub fn xlb_tc_watch6(ctx: TcContext) -> i32 {
    enter::<Addr6, _, true>(&mut Skb::new(ctx), Tags::default())
}

/// As `xlb_xdp_show`.
#[classifier]
pub fn xlb_tc_show(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx);
    skb.carry_out(capture::hand_over(&skb))
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
