use super::super::listing::ListedReal;
use super::super::report::sample;
use super::*;

fn shown(print: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn real(
    address: &str,
    port: u16,
    kind: Kind,
    weight: u32,
    active: u32,
    inactive: u32,
) -> ListedReal {
    ListedReal { address: address.parse().unwrap(), port, kind, weight, active, inactive }
}

fn service(address: &str, port: u16, protocol: Protocol, scheduler: &str) -> ListedService {
    ListedService {
        address: Some(address.parse().unwrap()),
        port: Some(port),
        protocol: Some(protocol),
        fwmark: None,
        fwmark_v6: false,
        scheduler: scheduler.into(),
        flags: vec![],
        persistence_s: None,
        persistence_mask: None,
        persistence_engine: None,
        reals: vec![],
    }
}

/// As recorded from ipvsadm 1.31 for the same configuration.
#[test]
fn list_is_what_ipvsadm_prints() {
    let mut first = service("10.64.1.2", 10_000, Protocol::Tcp, "rr");
    first.persistence_s = Some(10);
    first.reals = vec![
        real("192.168.1.101", 18_089, Kind::Nat, 1, 0, 0),
        real("192.168.1.100", 8089, Kind::Nat, 1, 0, 0),
    ];
    let listing = Listing { size: 4096, services: vec![first] };
    assert_eq!(
        shown(|out| list(out, &listing)),
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  10.64.1.2:10000 rr persistent 10\n\
         \x20 -> 192.168.1.100:8089           Masq    1      0          0         \n\
         \x20 -> 192.168.1.101:18089          Masq    1      0          0         \n"
    );
}

#[test]
fn list_prints_flags_masks_marks_and_families_in_ipvsadms_order() {
    let mut mark = service("0.0.0.0", 0, Protocol::Tcp, "rr");
    (mark.address, mark.port, mark.protocol, mark.fwmark) = (None, None, None, Some(5));
    mark.persistence_s = Some(10);
    mark.reals = vec![real("192.168.1.100", 0, Kind::Dr, 1, 1, 3)];
    let mut hashed = service("10.64.1.2", 53, Protocol::Udp, "sh");
    hashed.flags = vec!["sh-fallback".into(), "sh-port".into(), "ops".into()];
    hashed.reals = vec![real("192.168.1.100", 53, Kind::FullNat, 70_000, 12, 34)];
    let mut masked = service("10.64.1.2", 443, Protocol::Tcp, "wlc");
    masked.flags = vec!["flag-3".into()];
    masked.persistence_s = Some(360);
    masked.persistence_mask = Some("255.255.255.0".into());
    let mut six = service("2001:db8::2", 443, Protocol::Tcp, "wrr");
    six.reals = vec![real("2001:db8:1::100", 443, Kind::Tun, 1, 0, 0)];
    let listing = Listing { size: 1_048_576, services: vec![mark, six, hashed, masked] };
    assert_eq!(
        shown(|out| list(out, &listing)).lines().skip(3).collect::<Vec<_>>(),
        [
            "TCP  10.64.1.2:443 wlc (flag-3) persistent 360 mask 255.255.255.0",
            "UDP  10.64.1.2:53 sh (sh-fallback,sh-port) ops",
            "  -> 192.168.1.100:53             FullNat 70000  12         34        ",
            "TCP  [2001:db8::2]:443 wrr",
            "  -> [2001:db8:1::100]:443        Tunnel  1      0          0         ",
            "FWM  5 rr persistent 10",
            "  -> 192.168.1.100:0              Route   1      1          3         ",
        ]
    );
}

/// The table is as recorded from `ipvsadm -L -n --stats`; the first line and the remarks are xlb's.
#[test]
fn stats_are_what_ipvsadm_prints_under_a_line_on_the_instance() {
    assert_eq!(
        shown(|out| stats(out, &sample())),
        "instance xlb, generation 3, up 12 s, eth0: xdp, eth1: xdp-generic, flows 3/1048576\n\
         IP Virtual Server version 1.2.1 (size=1048576)\n\
         Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n\
         \x20 -> RemoteAddress:Port\n\
         TCP  10.64.1.2:10000                     6       24       12     1296      672\n\
         \x20 -> 192.168.1.100:8089                  2        8        4      432      224\n\
         \x20 -> 192.168.1.101:18089                 4       16        8      864      448  down: connection refused\n"
    );
}

#[test]
fn rate_has_ipvsadms_titles() {
    let text = shown(|out| rate(out, &sample()));
    assert_eq!(
        text.lines().nth(2).unwrap(),
        "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS"
    );
}

#[test]
fn reason_of_a_failed_check_cannot_control_the_terminal() {
    let mut report = sample();
    report.services[0].reals[1].health_reason = "banner \u{1b}[2J\r\n".into();
    report.services[0].reals[1].draining = true;
    let text = shown(|out| stats(out, &report));
    assert!(text.ends_with("  down: banner \\u{1b}[2J\\r\\n  draining\n"), "{text}");
}

#[test]
fn large_numbers_lose_digits_as_in_ipvsadm() {
    let columns =
        |n: u64| Columns(Counters { conns: n, ..Counters::default() }).to_string()[..9].to_owned();
    for (number, text) in [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (99_999_999_999_999, "   99999G"),
        (100_000_000_000_000, "     100T"),
        (u64::MAX, "18446744T"),
    ] {
        assert_eq!(columns(number), text);
    }
}

#[test]
fn connections_are_what_ipvsadm_prints() {
    let row = |state: &str, client: &str, expires_s| ConnRow {
        protocol: Protocol::Tcp,
        client: client.parse().unwrap(),
        service: "10.64.1.2:10000".parse().unwrap(),
        local: None,
        real: "192.168.1.101:18089".parse().unwrap(),
        state: state.into(),
        expires_s,
        in_packets: None,
        out_packets: None,
        in_bytes: None,
        out_bytes: None,
        template: false,
    };
    let text = shown(|out| {
        conns_title(out)?;
        conn(out, &row("ASSURED", "10.65.0.1:0", 9))?;
        conn(out, &row("TIME_WAIT", "10.65.0.1:30101", 119))?;
        conn(out, &row("ESTABLISHED", "10.65.0.1:30102", 86_399))
    });
    assert_eq!(
        text,
        "IPVS connection entries\n\
         pro expire state       source             virtual            destination\n\
         TCP 00:09  ASSURED     10.65.0.1:0        10.64.1.2:10000    192.168.1.101:18089\n\
         TCP 01:59  TIME_WAIT   10.65.0.1:30101    10.64.1.2:10000    192.168.1.101:18089\n\
         TCP 1439:59 ESTABLISHED 10.65.0.1:30102    10.64.1.2:10000    192.168.1.101:18089\n"
    );
}

#[test]
fn reasons_that_occurred_come_first() {
    let mut report = sample();
    report.drops = Tally::of_drops(|r| u64::from(r == DropReason::NoNeighbour) * 7);
    report.notices = Tally::of_notices(|n| u64::from(n == Notice::Held) * 5);
    let text = shown(|out| reasons(out, &report));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "Dropped                     Packets  Meaning");
    assert_eq!(
        lines[1],
        "no_neighbour                      7  the next hop has no link-layer address: it does not answer ARP or neighbour solicitations"
    );
    assert!(lines[2].starts_with("no_usable_real                    0  the service has no real"));
    let titles = [lines.iter().position(|line| line.starts_with("Noted ")), Some(lines.len())];
    let [Some(noted), Some(end)] = titles else { panic!("no notices in {text}") };
    assert!(lines[noted + 1].starts_with("held                              5  the next hop"));
    assert_eq!(end - noted, 1 + Notice::ALL.len());
    assert_eq!(noted, 2 + 2 + DropReason::ALL.len() + PassReason::ALL.len());
}
