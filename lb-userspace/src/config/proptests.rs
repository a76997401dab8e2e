//! Properties of the whole road from bytes to model (keepalived-spec section 16).

use std::path::Path;

use proptest::prelude::*;

use super::model::Config;
use super::reader::MemoryReader;
use super::{LoadOptions, Loaded, load_with};

fn read(bytes: &[u8]) -> Loaded {
    let reader = MemoryReader::default().with("/c/main.conf", bytes);
    load_with(&reader, Path::new("/c/main.conf"), &LoadOptions { config_id: "lb1".to_owned() })
}

/// One word, brace or line end of a good file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Keyword(&'static str),
    Argument(&'static str),
    Open,
    Close,
    End,
}

/// A file with a bit of everything, as tokens: what may be done to it is done between and to them.
fn sample() -> Vec<Token> {
    use Token::{Argument, Close, End, Keyword, Open};
    let text = [
        "global_defs {",
        "lvs_timeouts tcp 7200",
        "}",
        "virtual_server 192.0.2.1 80 {",
        "protocol TCP",
        "lb_algo wrr",
        "lb_kind NAT",
        "persistence_timeout 30",
        "persistence_granularity 255.255.255.0",
        "delay_loop 1.5",
        "quorum 2",
        "quorum_up /bin/up root",
        "sorry_server 192.0.2.9 8080",
        "virtualhost www.example.com",
        "real_server 198.51.100.1 80 {",
        "weight 3",
        "inhibit_on_failure on",
        "TCP_CHECK {",
        "connect_timeout 2",
        "connect_port 8080",
        "}",
        "}",
        "real_server 198.51.100.2 80 {",
        "HTTP_GET {",
        "url {",
        "path /x",
        "status_code 200 204-206",
        "}",
        "retry 2",
        "}",
        "MISC_CHECK {",
        "misc_path /bin/check",
        "misc_timeout 4",
        "}",
        "}",
        "}",
        "virtual_server_group g {",
        "192.0.2.10-12 443",
        "}",
        "virtual_server group g {",
        "protocol UDP",
        "lb_algo sh",
        "sh-port",
        "lvs_method DR",
        "real_server 198.51.100.3 443 {",
        "}",
        "}",
    ];
    let mut tokens = Vec::new();
    for line in text {
        for (index, word) in line.split(' ').enumerate() {
            tokens.push(match word {
                "{" => Open,
                "}" => Close,
                word if index == 0 => Keyword(word),
                word => Argument(word),
            });
        }
        tokens.push(End);
    }
    tokens
}

/// Writes the tokens down, drawing a byte of `choices` for each decision.
fn write(tokens: &[Token], choices: &[u8]) -> String {
    let mut choices = choices.iter().copied().cycle();
    let mut pick = move || choices.next().unwrap_or(0);
    let mut out = String::new();
    let mut script = false;
    for token in tokens {
        match token {
            Token::Keyword(word) => {
                // The rest of a script's line is split by other rules, so its quotes are left alone.
                script = matches!(*word, "quorum_up" | "misc_path");
                out.push_str(word);
            }
            Token::Argument(word) if pick() % 4 == 0 && !script => {
                out.extend(["\"", *word, "\""]);
            }
            Token::Argument(word) => out.push_str(word),
            Token::Open if pick() % 3 == 0 => {
                out.push_str(["\n{", "\n\n  {", "# c }\n{"][pick() as usize % 3]);
            }
            Token::Open => out.push('{'),
            Token::Close => out.push('}'),
            Token::End => {
                out.push_str(
                    ["\n", "\r\n", " ! comment \" {\n", "# }\n", "\t\n\n", "   \n! whole line\n"]
                        [pick() as usize % 6],
                );
                continue;
            }
        }
        out.push_str([" ", "\t", "   ", " \t "][pick() as usize % 4]);
    }
    out
}

fn model(text: &str) -> Option<Config> {
    read(text.as_bytes()).config
}

/// Words that lead deep into the parser.
fn fragment() -> impl Strategy<Value = String> {
    let words: Vec<&'static str> = super::keywords::all().map(|row| row.name).collect();
    let signs = prop::sample::select(vec![
        "{",
        "}",
        "\n",
        " ",
        "\"",
        "'",
        "\\",
        "#",
        "!",
        "$A=",
        "$A",
        "${A}",
        "${_PWD}",
        "${_RANDOM 1 0}",
        "${",
        "~SEQ(A, 1, 3) ",
        "~SEQx(",
        "~LST({A,B}, {1,2}) ",
        "@lb1 ",
        "@^lb1 ",
        "@",
        "include main.conf\n",
        "includea {a,b}*[\n",
        "\r\n",
        "\u{feff}",
        "192.0.2.1",
        "2001:db8::1",
        "192.0.2.0/24",
        "192.0.2.1-9",
        "fe80::1",
        "fwmark",
        "group",
        "80",
        "-1",
        "0",
        "1.0000005",
        "99999999999999999999",
        "on",
        "g",
        "TUN type gue port 80",
        "\\x",
        "\\\n",
        "\u{0}",
        "ü",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        3 => prop::sample::select(words).prop_map(|word| format!("{word} ")),
        3 => signs,
        1 => prop::sample::select(vec![
            "virtual_server 192.0.2.1 80 {\n", "real_server 192.0.2.2 80 {\n", "HTTP_GET {\n", "url {\n", "virtual_server_group g {\n",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    // S-24
    #[test]
    fn any_bytes_end_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        read(&bytes);
    }

    // S-24
    #[test]
    fn any_words_end_without_panic(parts in prop::collection::vec(fragment(), 0..120)) {
        let loaded = read(parts.concat().as_bytes());
        prop_assert_eq!(loaded.config.is_none(), loaded.verdict == super::Verdict::Reject);
        super::render::diagnostics(&loaded, super::render::Format::Full);
        super::render::diagnostics(&loaded, super::render::Format::Short);
        super::json::render(&loaded);
    }

    #[test]
    fn comments_space_braces_and_quotes_change_no_model(choices in prop::collection::vec(any::<u8>(), 1..400)) {
        let tokens = sample();
        let plain = model(&write(&tokens, &[1]));
        prop_assert!(plain.is_some());
        let text = write(&tokens, &choices);
        prop_assert_eq!(plain, model(&text), "{}", text);
    }
}
