//! Named situations of the language; the big picture is in the conformance cases.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::model::{Config, Kind, ReplyPath};
use super::reader::{MemoryReader, OsReader};
use super::render::{self, Format};
use super::{LoadOptions, Loaded, Verdict, load, load_with};

const MAIN: &str = "/etc/xlb/xlb.conf";

fn read_files(reader: &MemoryReader) -> Loaded {
    load_with(reader, Path::new(MAIN), &LoadOptions { config_id: "lb1".to_owned() })
}

fn read(text: &str) -> Loaded {
    read_files(&MemoryReader::default().with(MAIN, text))
}

/// A virtual server that gives no diagnostics, with room for more statements.
fn server(more: &str, in_real: &str) -> String {
    format!(
        "virtual_server 192.0.2.1 80 {{\n{more}\nprotocol TCP\nlb_algo rr\nlb_kind NAT\nreal_server 198.51.100.1 80 \
         {{\n{in_real}\n}}\n}}\n"
    )
}

fn codes(loaded: &Loaded) -> Vec<(&'static str, u32)> {
    loaded.diagnostics.iter().map(|diag| (diag.code.name(), diag.span.line)).collect()
}

fn model(loaded: &Loaded) -> &Config {
    loaded.config.as_ref().unwrap_or_else(|| panic!("rejected: {:?}", loaded.diagnostics))
}

// K-01
#[test]
fn diagnostics_name_place_word_and_remedy() {
    let loaded = read(&server("\tlb_algo wrrr", ""));
    assert_eq!(
        render::diagnostics(&loaded, Format::Full),
        "warn[config::bad-value]: bad value `wrrr` for `lb_algo`; the statement has no effect\n\
         \x20 --> /etc/xlb/xlb.conf:2:10\n\
         \x20  2 |     lb_algo wrrr\n\
         \x20    |             ^^^^ expected one of rr, wrr, lc, wlc, lblc, lblcr, sh, mh, dh, sed, nq, fo, ovf, twos\n\
         \x20 help: did you mean `wrr`?\n\n"
    );
    assert_eq!(
        render::diagnostics(&loaded, Format::Short),
        "/etc/xlb/xlb.conf:2:10: warn bad-value: bad value `wrrr` for `lb_algo`; the statement has no effect\n"
    );
    assert_eq!(
        render::summary(&loaded),
        "warn: 1 virtual server, 1 real server; 0 errors, 1 warning"
    );
}

#[test]
fn terminal_escapes_in_a_file_are_not_printed() {
    let loaded = read(&server("lb_algo \u{1b}[2J", ""));
    assert!(!render::diagnostics(&loaded, Format::Full).contains('\u{1b}'));
    assert!(!render::diagnostics(&loaded, Format::Short).contains('\u{1b}'));
}

#[test]
fn statements_without_effect_warn_where_they_stand() {
    for (more, in_real, expected) in [
        ("persistence_granularity 24", "", "bad-value"),
        ("persistence_engine dip", "", "bad-value"),
        ("virtualhost", "", "bad-value"),
        ("ip_family inet6", "", "family-mismatch"),
        ("hysteresis x", "", "bad-value"),
        ("delay_loop 5s", "", "bad-value"),
        ("lb_kind NAT junk", "", "bad-value"),
        ("lb_kind TUN type gre remcsum", "", "bad-value"),
        ("lb_kind TUN type ipip port 3", "", "bad-value"),
        ("persistence_granuality 255.0.0.0", "", "unknown-keyword"),
        ("lb_algo \\", "", "unknown-keyword"),
        ("laddr_group_name nobody", "", "unknown-group"),
    ] {
        let loaded = read(&server(more, in_real));
        let found = codes(&loaded);
        assert!(found.contains(&(expected, 2)), "{more}: {found:?}");
        assert_eq!(loaded.verdict, Verdict::Warn, "{more}");
    }
    for (in_real, expected) in [
        ("lb_kind DR", "unknown-keyword"),
        ("TCP_CHECK { connect_ip x\n}", "bad-address"),
        ("TCP_CHECK { bind_if a-name-far-too-long\n}", "bad-value"),
        ("FILE_CHECK { track_file x\n}", "checker-unsupported"),
        ("HTTP_GET {\n}", "checker-ignored"),
        ("HTTP_GET { url {\n} }", "url-ignored"),
        ("MISC_CHECK {\n}", "checker-ignored"),
        ("DNS_CHECK { name a..b\n}", "bad-value"),
        ("UDP_CHECK { payload zz\n}", "bad-value"),
        ("SMTP_CHECK { host {\nconnect_port 26\n} }", "deprecated"),
    ] {
        let found = codes(&read(&server("", in_real)));
        assert!(found.contains(&(expected, 7)), "{in_real}: {found:?}");
    }
}

#[test]
fn statements_without_their_argument_refuse_the_file() {
    for (more, in_real) in [
        ("delay_loop", ""),
        ("quorum_up", ""),
        ("sorry_server", ""),
        ("sorry_server 192.0.2.9\nsorry_server_lvs_method", ""),
        ("", "uthreshold"),
        ("", "TCP_CHECK { connect_port\n}"),
        ("", "HTTP_GET { url { path\n} }"),
    ] {
        let loaded = read(&server(more, in_real));
        assert_eq!(loaded.verdict, Verdict::Reject, "{more}{in_real}");
        assert!(loaded.config.is_none());
        assert_eq!(codes(&loaded)[0].0, "missing-parameter");
    }
    for text in ["virtual_server {\n}", "virtual_server fwmark {\n}", "virtual_server_group {\n}"] {
        assert_eq!(codes(&read(text))[0].0, "missing-parameter", "{text}");
    }
}

#[test]
fn own_words_take_effect_and_are_named() {
    let loaded = read(
        "local_address_group snat {\n192.0.2.100-103\n192.0.2.128/30\n}\n\
         virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind FULLNAT\nladdr_group_name snat\n\
         persistent_timeout 10\nreal_server 198.51.100.1 80 { lvs_method FNAT }\n}\n",
    );
    assert_eq!(loaded.verdict, Verdict::Accept, "{:?}", loaded.diagnostics);
    let notes = [
        ("extension", 1),
        ("extension", 8),
        ("extension", 9),
        ("alias-keyword", 10),
        ("extension", 11),
    ];
    assert_eq!(codes(&loaded), notes);
    let server = &model(&loaded).virtual_servers[0];
    assert_eq!(server.kind, Kind::FullNat);
    assert_eq!(server.real_servers[0].kind, Kind::FullNat);
    let ranges = server.local_addresses.as_ref().expect("a group");
    let ranges: Vec<String> =
        ranges.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
    assert_eq!(ranges, ["192.0.2.100-192.0.2.103", "192.0.2.128-192.0.2.131"]);
}

// P-54
#[test]
fn an_mss_is_a_size_that_a_segment_can_have() {
    for (word, expected) in [
        ("88", Some(88)),
        ("1220", Some(1220)),
        ("65495", Some(65_495)),
        ("87", None),
        ("65496", None),
        ("70000", None),
        ("0", None),
        ("-5", None),
        ("1k", None),
    ] {
        let loaded = read(&server(&format!("xlb_mss {word}"), ""));
        assert_eq!(model(&loaded).virtual_servers[0].mss, expected, "{word}");
        let found = codes(&loaded);
        assert!(found.contains(&("extension", 2)), "{word}: {found:?}");
        assert_eq!(found.contains(&("bad-value", 2)), expected.is_none(), "{word}: {found:?}");
    }
    assert_eq!(
        render::diagnostics(&read(&server("\txlb_mss 40", "")), Format::Full)
            .split_once("\n\n")
            .map(|(_, warning)| warning),
        Some(
            "warn[config::bad-value]: bad value `40` for `xlb_mss`; the statement has no effect\n\
             \x20 --> /etc/xlb/xlb.conf:2:10\n\
             \x20  2 |     xlb_mss 40\n\
             \x20    |             ^^ expected a whole number from 88 to 65495\n\
             \x20 help: write the smallest MTU on the way less the headers: 40 bytes with IPv4, 60 with IPv6\n\n"
        )
    );
    let missing = read(&server("xlb_mss", ""));
    assert_eq!(codes(&missing)[0], ("missing-parameter", 2));
    assert_eq!(missing.verdict, Verdict::Reject);
}

// P-54
#[test]
fn an_mss_is_tcps_and_appears_where_it_is_set() {
    let loaded = read(&server("xlb_mss 1400", ""));
    assert_eq!(super::json::virtual_server(&model(&loaded).virtual_servers[0])["mss"], 1400);
    let without = read(&server("", ""));
    let json = super::json::virtual_server(&model(&without).virtual_servers[0]);
    assert_eq!(json.get("mss"), None);
    let udp = read(&server("xlb_mss 1400", "").replace("protocol TCP", "protocol UDP"));
    assert_eq!(model(&udp).virtual_servers[0].mss, None);
    assert!(codes(&udp).contains(&("flag-ignored", 2)), "{:?}", codes(&udp));
}

#[test]
fn another_programs_local_address_group_is_skipped() {
    let loaded = read("local_address_group laddr {\n192.0.2.5 dpdk0\n}\n");
    assert_eq!(codes(&loaded), [("unknown-keyword", 1)]);
}

#[test]
fn a_mark_lists_what_carries_it() {
    let loaded =
        read("xlb_mark 7 {\naddress 192.0.2.0/30\nprotocol TCP\nport 80\nport 8000-8010\n}\n");
    let marks = &model(&loaded).globals.marks;
    assert_eq!((marks[0].mark, &marks[0].ports), (7, &vec![(80, 80), (8000, 8010)]));
    assert_eq!(codes(&loaded), [("extension", 1), ("not-built-yet", 1)]);
}

#[test]
fn words_that_are_not_built_yet_warn_and_stay_in_the_model() {
    for (more, in_real, line) in [
        ("lb_algo mh", "", 4),
        ("ha_suspend", "", 2),
        ("sorry_server 192.0.2.9", "", 0),
        ("", "notify_up /bin/true", 7),
        ("", "uthreshold 5", 7),
        ("", "lvs_method DR", 0),
        ("", "lvs_method TUN type gue port 6080 csum", 0),
        ("", "weight 5\nweight 9", 0),
    ] {
        let text = server(more, in_real)
            .replace("lb_algo rr", if more.is_empty() { "lb_algo rr" } else { "" });
        let text = if more.starts_with("lb_algo") { text } else { server(more, in_real) };
        let found = codes(&read(&text));
        let lines: Vec<u32> = found
            .iter()
            .filter(|(code, _)| *code == "not-built-yet")
            .map(|(_, line)| *line)
            .collect();
        match line {
            0 => assert!(lines.is_empty(), "{more}{in_real}: {found:?}"),
            _ => assert_eq!(lines.len(), 1, "{more}{in_real}: {found:?}"),
        }
    }
    let loaded = read(&server("", "HTTP_GET { url { path / } }"));
    assert_eq!(codes(&loaded), [("run-on", 7), ("not-built-yet", 7)][1..]);
    assert!(loaded.diagnostics[0].notes[0].contains("always up"));
    assert_eq!(model(&loaded).virtual_servers[0].real_servers[0].checkers.len(), 1);
}

#[test]
fn direct_routing_servers_that_become_one_are_one() {
    let text = "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind DR\n\
                real_server 198.51.100.1 80 {\n}\nreal_server 198.51.100.1 81 {\n}\n}\n";
    let loaded = read(text);
    assert_eq!(model(&loaded).virtual_servers[0].real_servers.len(), 1);
    assert!(codes(&loaded).contains(&("duplicate-real-server", 7)));
}

#[test]
fn scheduler_flags_are_named_by_the_final_scheduler() {
    let loaded = read(&server("flag-1\nflag-2", "").replace("lb_algo rr", "lb_algo sh"));
    assert_eq!(model(&loaded).virtual_servers[0].flags, ["sh-fallback", "sh-port"]);
}

#[test]
fn global_settings_reach_the_model() {
    let loaded = read(
        "global_defs {\nrouter_id lb1\nlvs_timeouts tcp 7200 udp 60\nscript_user nobody\n}\n\
         global_defs {\nlvs_timeouts tcpfin 30 tcp 99999999\n}\nSSL {\nca /ca.pem\n}\n",
    );
    let globals = &model(&loaded).globals;
    assert_eq!(globals.router_id.as_deref(), Some("lb1"));
    assert_eq!(globals.timeout_tcp, Some(Duration::from_hours(2)));
    assert_eq!(globals.timeout_tcp_fin, Some(Duration::from_secs(30)));
    assert_eq!(globals.timeout_udp, Some(Duration::from_mins(1)));
    assert_eq!(globals.ssl.ca.as_deref(), Some("/ca.pem"));
    assert_eq!(codes(&loaded), [("bad-value", 7)]);
}

// S-37
#[test]
fn the_reply_path_is_strict_unless_it_is_any() {
    let globals = |word: &str| format!("global_defs {{\nxlb_reply_path {word}\n}}\n");
    for (text, expected, more) in [
        (String::new(), ReplyPath::Strict, vec![]),
        (globals("strict"), ReplyPath::Strict, vec![("extension", 2)]),
        (globals("any"), ReplyPath::Any, vec![("extension", 2)]),
        (globals("loose"), ReplyPath::Strict, vec![("extension", 2), ("bad-value", 2)]),
    ] {
        let loaded = read(&text);
        assert_eq!(model(&loaded).globals.reply_path, expected, "{text}");
        assert_eq!(codes(&loaded), more, "{text}");
    }
    let shown = render::diagnostics(&read(&globals("anny")), Format::Full);
    assert!(shown.contains("expected strict or any"), "{shown}");
    assert!(shown.contains("did you mean `any`?"), "{shown}");
    assert_eq!(codes(&read("global_defs {\nxlb_reply_path\n}\n"))[0], ("missing-parameter", 2));
}

#[test]
fn broken_quotes_and_unknown_words_in_foreign_blocks_are_their_business() {
    let loaded =
        read("vrrp_instance V {\nnonsense \"open\nvirtual_ipaddress {\n192.0.2.1/24\n}\n}\n");
    assert_eq!(loaded.verdict, Verdict::Accept, "{:?}", loaded.diagnostics);
}

// S-21
#[test]
fn scripts_without_script_security_are_noted() {
    let text = server("quorum_up /bin/true\nquorum_down /bin/false", "");
    assert!(codes(&read(&text)).contains(&("scripts-not-secured", 2)));
    let secured = format!("global_defs {{\nenable_script_security\n}}\n{text}");
    assert!(!codes(&read(&secured)).iter().any(|(code, _)| *code == "scripts-not-secured"));
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let mut text = b"\xef\xbb\xbf".to_vec();
    text.extend_from_slice(server("", "").as_bytes());
    let loaded = read_files(&MemoryReader::default().with(MAIN, text));
    assert_eq!(loaded.verdict, Verdict::Accept);
}

#[test]
fn stricter_includes_refuse_what_plain_ones_pass() {
    for (line, code, verdict) in [
        ("include none", "include-no-match", Verdict::Accept),
        ("includer none", "include-no-match", Verdict::Accept),
        ("includem none", "include-no-match", Verdict::Reject),
        ("includem none-*", "include-no-match", Verdict::Accept),
        ("includew none-*", "include-no-match", Verdict::Reject),
        ("includeb {a,none}.inc", "include-no-match", Verdict::Reject),
        ("include {a,none}.inc", "", Verdict::Accept),
        ("includer sub", "include-not-regular", Verdict::Reject),
        ("include sub", "include-not-regular", Verdict::Accept),
        (
            "global_defs {\ninclude_check match\n}\ninclude none",
            "include-no-match",
            Verdict::Reject,
        ),
        ("global_defs {\ninclude_check\n}\ninclude sub", "include-not-regular", Verdict::Reject),
    ] {
        let reader = MemoryReader::default()
            .with(MAIN, format!("{line}\n"))
            .with("/etc/xlb/a.inc", "")
            .with("/etc/xlb/sub/b", "");
        let loaded = read_files(&reader);
        assert_eq!(loaded.verdict, verdict, "{line}: {:?}", loaded.diagnostics);
        assert_eq!(codes(&loaded).first().map_or("", |(code, _)| *code), code, "{line}");
    }
}

#[test]
fn many_included_files_are_no_loop() {
    let mut reader = MemoryReader::default().with(MAIN, "include conf.d/*\n");
    for number in 0..60 {
        let text = server("", "").replace("192.0.2.1", &format!("192.0.2.{number}"));
        reader = reader.with(format!("/etc/xlb/conf.d/{number:02}.conf"), text);
    }
    let loaded = read_files(&reader);
    assert_eq!(model(&loaded).virtual_servers.len(), 60);
}

#[test]
fn conditions_choose_lines_by_the_configuration_id() {
    let text = server("@lb1 weight 3\n@lb2 weight 4\n@^lb2 @^lb3 quorum 1\n@lb1", "");
    let loaded = read(&text);
    assert_eq!(model(&loaded).virtual_servers[0].real_servers[0].weight, 3);
}

#[test]
fn a_missing_file_is_refused_with_its_name() {
    let loaded = load(Path::new("/nonexistent/xlb.conf"), &LoadOptions::default());
    assert_eq!(loaded.verdict, Verdict::Reject);
    let text = render::diagnostics(&loaded, Format::Full);
    assert!(text.contains("/nonexistent/xlb.conf") && text.contains("No such file"), "{text}");
}

// S-25
#[test]
fn configuration_bombs_end_soon_with_a_message() {
    let mut doubling = String::from("$A0=x\n");
    for level in 1..40 {
        let below = level - 1;
        writeln!(doubling, "$A{level}=${{A{below}}} ${{A{below}}}").expect("a string takes all");
    }
    doubling.push_str("${A39}\n");
    let long = format!("~SEQ(A, 1, 99999) {}\n", "x ".repeat(30_000));
    let nested = "~SEQ(A, 1, 1000) ~SEQ(B, 1, 1000) ~SEQ(C, 1, 1000) $X=$A\n";
    for (name, text, code) in [
        ("a definition of itself", "$A=$A\n$A\n", "expansion-loop"),
        ("doubling definitions", doubling.as_str(), "expansion-loop"),
        ("a definition that grows by lines", "$A=x \\\n$A\n\n$A\n", "expansion-loop"),
        ("a long line repeated", long.as_str(), "bad-sequence"),
        ("a long sequence", "~SEQ(A, 1, 1000000000) x\n", "bad-sequence"),
        ("nested sequences", nested, "bad-sequence"),
        ("a sequence of itself", "$A=~SEQ(B, 1, 2) $A\n$A\n", "expansion-loop"),
        ("a file that includes itself", "include xlb.conf\n", "expansion-loop"),
        (
            "a file that includes itself twice",
            "include xlb.conf\ninclude xlb.conf\n",
            "expansion-loop",
        ),
    ] {
        let start = Instant::now();
        let loaded = read(text);
        assert_eq!(loaded.verdict, Verdict::Reject, "{name}");
        assert!(
            codes(&loaded).iter().any(|(found, _)| *found == code),
            "{name}: {:?}",
            loaded.diagnostics
        );
        assert!(start.elapsed() < Duration::from_mins(1), "{name}: {:?}", start.elapsed());
    }
}

// S-25
#[test]
fn endless_files_are_not_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let main = directory.path().join("main.conf");
    std::fs::write(&main, format!("include /dev/zero\n{}", server("", ""))).expect("written");
    let loaded = load_with(&OsReader, &main, &LoadOptions::default());
    assert_eq!(loaded.verdict, Verdict::Accept, "{:?}", loaded.diagnostics);
    assert_eq!(codes(&loaded), [("include-not-regular", 1)]);
    assert_eq!(load(Path::new("/dev/zero"), &LoadOptions::default()).verdict, Verdict::Reject);
}

// S-24
#[test]
fn ten_megabytes_of_anything_end_soon() {
    for (name, unit) in [
        ("words", "a "),
        ("lines", "a\n"),
        ("open braces", "{"),
        ("open braces on lines", "{\n"),
        ("close braces", "}\n"),
        ("servers", "virtual_server 192.0.2.1 80 {\n"),
        ("quotes", "\""),
        ("definitions", "$A=$A\n"),
        (
            "services",
            "virtual_server 192.0.2.1 80 { real_server 192.0.2.2 80 { TCP_CHECK { } } }\n",
        ),
    ] {
        end_soon(name, &unit.repeat((10 << 20) / unit.len()));
    }
}

// S-24: what a quadratic walk over one line would take hours for
#[test]
fn long_lines_of_anything_end_soon() {
    for unit in ["$A ", "${", "@^a ", "a ", "{", "\\", "quorum_up a ", "~SEQ(A,1,2) ", "weight 1 "]
    {
        let text = unit.repeat((1 << 19) / unit.len());
        end_soon(unit, &format!("{text}\n"));
        end_soon(unit, &server(&text, ""));
    }
}

fn end_soon(name: &str, text: &str) {
    let start = Instant::now();
    let loaded = read(text);
    let took = start.elapsed();
    // About a second when optimised; tests are not, and share the machine.
    assert!(took < Duration::from_mins(1), "{name}: {took:?}");
    assert!(loaded.diagnostics.len() <= super::MOST_DIAGNOSTICS + 1, "{name}");
}
