use lb_common::abi::{FlowFlags, HopId, Method, RealFlags, ServiceId, Sticky, StickyKey, Tick};
use lb_common::wire::ipv4::Ipv4;
use lb_common::wire::{Addr6, Mac};

use super::super::packet::{Flags, NOBODYS};
use super::*;
use crate::stats::report::sample;

const VIP: Addr4 = Addr4([10, 64, 1, 2]);
const KEY: ServiceKey =
    ServiceKey { addr: Addr6::mapped(VIP), port: Port::new(10_000), proto: Ipv4::TCP, pad: 0 };

fn packet() -> Packet {
    Packet {
        from: "10.64.1.10:40000".parse().unwrap(),
        to: "10.64.1.2:10000".parse().unwrap(),
        protocol: Protocol::Tcp,
        flags: Flags::parse("syn").unwrap(),
        source: NOBODYS,
        destination: Mac([2, 0, 0, 0, 0, 2]),
    }
}

/// Real servers 0 and 1 of the sample.
fn real(n: u8, flags: u8, weight: u32) -> (RealId, Real, Load) {
    let real = Real {
        addr: Addr4([192, 168, 1, 100 + n]).into(),
        port: Port::new([8089, 18_089][usize::from(n)]),
        method: Method::Nat as u8,
        flags,
        weight,
        service: KEY,
        ..Real::default()
    };
    (RealId(u32::from(n)), real, Load { active: 5, inactive: 2 })
}

const UP: u8 = RealFlags::USED | RealFlags::UP;

fn service(scheduler: Scheduler, slots_len: u32) -> Look {
    let service = Service {
        id: ServiceId(1),
        scheduler: scheduler as u8,
        slots_len,
        sticky_ticks: 40,
        ..Service::default()
    };
    Look::Service { key: KEY, found: Some(service) }
}

fn template(real: u32) -> Look {
    let key = StickyKey { client: Addr4([10, 64, 1, 10]).into(), service: ServiceId(1) };
    Look::Template { key, found: Some(Sticky { real: RealId(real), stamp: Tick(1) }) }
}

fn tell(slot: u32, action: Action, looks: Vec<Look>, around: &Around) -> Answer {
    let (packet, names) = (packet(), HashMap::from([(2, "eth0".to_owned())]));
    let frame = packet.frame();
    let rehearsed = Rehearsed {
        action,
        slot,
        leaves_by: 2,
        frame: frame.clone(),
        looks,
        agreed: true,
        same_program: true,
    };
    let report = sample();
    let facts = Facts {
        packet: &packet,
        frame: &frame,
        rehearsed: &rehearsed,
        ifindex: 2,
        names: &names,
        sender_known: true,
        report: Some(&report),
    };
    compose(&facts, around)
}

fn around(chosen: Option<usize>, reals: Vec<(RealId, Real, Load)>) -> Around {
    let real = chosen.map(|n| (reals[n].0, reals[n].1));
    Around { known: None, real, reals, template: Some(Duration::from_secs(3)) }
}

fn has(answer: &Answer, text: &str) {
    assert!(answer.steps.iter().any(|step| step.contains(text)), "no `{text}` in {answer:#?}");
}

#[test]
fn a_refusal_names_each_server_and_why() {
    let slot = DropReason::NoUsableReal.slot();
    let reals = vec![real(0, UP, 0), real(1, RealFlags::USED, 1)];
    let looks = vec![service(Scheduler::Cycle, 0)];
    let answer = tell(slot, Action::Redirect, looks, &around(None, reals));
    assert_eq!((answer.verdict, answer.reason), ("drop", "no_usable_real"));
    assert_eq!(answer.service, Some("10.64.1.2:10000".parse().unwrap()));
    assert_eq!((answer.real, &answer.rewrite), (None, &None));
    has(&answer, "matches (exact port): rr");
    has(&answer, "no real server may take new connections");
    has(&answer, "not 192.168.1.100:8089: weight 0: it keeps its connections");
    has(&answer, "not 192.168.1.101:18089: down: connection refused");
    has(&answer, DropReason::NoUsableReal.sentence());
    has(&answer, "the ICMP error leaves by eth0");
}

#[test]
fn a_template_is_kept_to_or_its_end_is_told() {
    let hop = |id: u32| Look::Hop { id: HopId(id), hop: NextHop::default() };
    let slot = DropReason::NoNeighbour.slot();
    let both = || vec![real(0, UP, 1), real(1, UP, 0)];
    let kept = vec![service(Scheduler::Cycle, 2), template(1), hop(1)];
    let answer = tell(slot, Action::Drop, kept, &around(Some(1), both()));
    has(&answer, "a template to 192.168.1.101:18089, last used 3 s ago, which is kept to");
    has(&answer, "has no link-layer address");
    assert!(!answer.steps.iter().any(|step| step.contains("not 192")), "{answer:#?}");

    let turn = Look::Turn { service: ServiceId(1), turn: 4 };
    let looks = || vec![service(Scheduler::Cycle, 2), template(1), turn.clone(), hop(0)];
    let answer = tell(slot, Action::Drop, looks(), &around(Some(0), both()));
    has(&answer, "which is too old");
    has(&answer, "it is the turn of entry 1 of 2");
    let down = vec![real(0, UP, 1), real(1, RealFlags::USED, 1)];
    let answer = tell(slot, Action::Drop, looks(), &around(Some(0), down));
    has(&answer, "which is ignored: that real server is not up");
}

#[test]
fn loads_say_who_has_least() {
    let looks = vec![service(Scheduler::Wlc, 2), Look::Least { chosen: Some(RealId(1)) }];
    let mut reals = vec![real(0, UP, 1), real(1, UP, 3)];
    reals[1].2 = Load { active: 1, inactive: 0 };
    let answer = tell(DropReason::TtlExpired.slot(), Action::Drop, looks, &around(Some(1), reals));
    has(&answer, "takes 192.168.1.101:18089: least loaded: 1 active, 0 inactive, weight 3");
    has(&answer, "not 192.168.1.100:8089: no less loaded: 5 active, 2 inactive, weight 1");
}

#[test]
fn what_no_service_claims_is_the_kernels() {
    let any = ServiceKey { port: Port::ZERO, ..KEY };
    let looks = [KEY, any].map(|key| Look::Service { key, found: None }).to_vec();
    let answer = tell(PassReason::NoService.slot(), Action::Pass, looks, &around(None, vec![]));
    assert_eq!((answer.verdict, answer.reason, answer.service), ("pass", "no_service", None));
    has(&answer, "no virtual server is at 10.64.1.2:10000 by TCP");
    has(&answer, "left to the kernel: no_service");
}

#[test]
fn every_frozen_reason_has_a_verdict_and_a_sentence() {
    let run = |slot| Rehearsed {
        action: Action::Drop,
        slot,
        leaves_by: 0,
        frame: vec![],
        looks: vec![],
        agreed: true,
        same_program: true,
    };
    for reason in PassReason::ALL {
        assert_eq!(fate(&run(reason.slot()), false), ("pass", reason.name(), reason.sentence()));
    }
    for reason in DropReason::ALL {
        assert_eq!(fate(&run(reason.slot()), false), ("drop", reason.name(), reason.sentence()));
    }
    let held = Notice::Held;
    assert_eq!(fate(&run(held.slot()), false), ("drop", held.name(), held.sentence()));
}

#[test]
fn json_has_the_promised_names() {
    let answer = tell(PassReason::NoService.slot(), Action::Pass, vec![], &around(None, vec![]));
    let json = serde_json::to_value(&answer).unwrap();
    let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["verdict", "reason", "service", "real", "rewrite", "steps"]);
    let mut text = Vec::new();
    answer.write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with(
            "TCP segment SYN, 10.64.1.10:40000 > 10.64.1.2:10000, in by eth0\n\n\
             verdict   pass (no_service)\n\n 1. 54 bytes arrive at eth0 for 02:00:00:00:00:02"
        ),
        "{text}"
    );
}

// S-37
#[test]
fn an_answer_that_is_not_believed_is_told_where_it_should_come_from() {
    let flow = Flow::<Addr6> {
        rewrite: lb_common::abi::FlowRewrite { flags: FlowFlags::REPLY, ..Default::default() },
        ..Default::default()
    };
    let slot = DropReason::SpoofedReply.slot();
    for (ifindex, words) in [
        (2, "eth0 leads to that real server, and this came in by eth0"),
        (0, "no interface leads to that real server now"),
    ] {
        let hop = NextHop { ifindex, ..NextHop::default() };
        let known = Some((Table::Flows, flow, Duration::from_secs(9)));
        let around = Around { known, ..around(Some(0), vec![real(0, UP, 1)]) };
        let answer = tell(slot, Action::Drop, vec![Look::Hop { id: HopId(0), hop }], &around);
        assert_eq!((answer.verdict, answer.reason), ("drop", "spoofed_reply"));
        has(&answer, words);
        has(&answer, "`xlb_reply_path any`");
    }
}
