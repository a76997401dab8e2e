//! The words of `HTTP_GET`, `SSL_GET` and their `url`. keepalived-spec section 9.

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::keywords::Block;
use super::super::model::{HttpCheck, Url};
use super::known;
use super::values::{Out, bad, bad_value, boolean, number, uint};
use super::virtual_server::host_name;

/// Options that PCRE2 takes by keepalived's names.
const REGEX_OPTIONS: &[&str] = &[
    "allow_empty_class",
    "alt_bsux",
    "alt_circumflex",
    "alt_verbnames",
    "anchored",
    "auto_callout",
    "caseless",
    "dollar_endonly",
    "dotall",
    "dupnames",
    "endanchored",
    "extended",
    "extended_more",
    "firstline",
    "literal",
    "match_unset_backref",
    "multiline",
    "never_backslash_c",
    "never_ucp",
    "never_utf",
    "no_auto_capture",
    "no_auto_possess",
    "no_dotstar_anchor",
    "no_start_optimize",
    "ucp",
    "ungreedy",
    "use_offset_limit",
    "utf",
];

/// An empty check.
pub(super) fn new(tls: bool) -> HttpCheck {
    HttpCheck {
        tls,
        http_protocol: "1.0".to_owned(),
        fast_recovery: false,
        enable_sni: false,
        sni_name: None,
        urls: Vec::new(),
    }
}

/// A word of `HTTP_GET` or `SSL_GET` that is not common to all checkers.
pub(super) fn statement_in(out: &mut Out, statement: &Statement, check: &mut HttpCheck) {
    match statement.name() {
        "url" => check.urls.extend(url(out, statement)),
        "http_protocol" => match statement.argument(0).map(str::to_ascii_uppercase).as_deref() {
            Some(version @ ("1.0" | "1.0C" | "1.1")) => {
                version.clone_into(&mut check.http_protocol);
            }
            _ => bad(out, statement, 0, "1.0, 1.0C or 1.1"),
        },
        "fast_recovery" => {
            check.fast_recovery = boolean(out, statement).unwrap_or(check.fast_recovery);
        }
        "enable_sni" => check.enable_sni = boolean(out, statement).unwrap_or(check.enable_sni),
        "sni_name" => {
            check.sni_name = statement.argument(0).map(str::to_owned);
            check.enable_sni = true;
        }
        _ => {}
    }
}

fn url(out: &mut Out, block: &Statement) -> Option<Url> {
    let mut url = Url {
        path: String::new(),
        digest: None,
        status: Vec::new(),
        virtualhost: None,
        regex: None,
        regex_no_match: false,
        regex_options: Vec::new(),
        regex_min_offset: 0,
        regex_max_offset: None,
    };
    let mut path = None;
    for statement in block.statements() {
        if !known(out, statement, Block::Url) {
            continue;
        }
        match statement.name() {
            "path" => path = statement.argument(0).map(str::to_owned),
            "digest" => digest(out, statement, &mut url.digest),
            "status_code" => status(out, statement, &mut url.status),
            "virtualhost" => host_name(out, statement, &mut url.virtualhost),
            "regex" => regex(out, statement, &mut url.regex),
            "regex_no_match" => url.regex_no_match = true,
            "regex_options" => options(out, statement, &mut url.regex_options),
            "regex_min_offset" => {
                url.regex_min_offset =
                    number(out, statement, 0, u64::MAX).unwrap_or(url.regex_min_offset);
            }
            "regex_max_offset" => {
                url.regex_max_offset = number(out, statement, 0, u64::MAX).or(url.regex_max_offset);
            }
            _ => {}
        }
    }
    let Some(path) = path else {
        let message = "a `url` without `path` is dropped";
        out.push(Diag::new(Code::UrlIgnored, block.keyword.span, message).help("write `path /`"));
        return None;
    };
    url.path = path;
    merge(&mut url.status);
    Some(url)
}

fn digest(out: &mut Out, statement: &Statement, slot: &mut Option<String>) {
    let word = statement.argument(0).unwrap_or("");
    if slot.is_some() {
        let message = "`digest` was given already; the first one stays";
        out.push(Diag::new(Code::Duplicate, statement.keyword.span, message));
    } else if word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        *slot = Some(word.to_ascii_lowercase());
    } else {
        bad(out, statement, 0, "the 32 hexadecimal digits of an MD5 sum");
    }
}

/// Good items add up; bad ones are dropped singly.
fn status(out: &mut Out, statement: &Statement, ranges: &mut Vec<(u16, u16)>) {
    for (index, word) in statement.arguments.iter().enumerate() {
        let (low, high) = word.text.split_once('-').unwrap_or((&word.text, &word.text));
        let code = |text: &str| uint(text).filter(|code| (100..=599).contains(code));
        match (code(low), code(high)) {
            (Some(low), Some(high)) if low <= high => ranges.push((low as u16, high as u16)),
            _ => {
                let mut diag = bad_value(statement, index, "N or N-M, from 100 to 599");
                diag.message = format!("bad status code `{}`; it is left out", word.text);
                out.push(diag);
            }
        }
    }
}

/// Sorts and joins what touches; nothing at all means 200 to 299.
fn merge(ranges: &mut Vec<(u16, u16)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (low, high) in ranges.drain(..) {
        match merged.last_mut() {
            Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
            _ => merged.push((low, high)),
        }
    }
    if merged.is_empty() {
        merged.push((200, 299));
    }
    *ranges = merged;
}

/// A pattern whose brackets do not pair can't compile in any engine.
fn regex(out: &mut Out, statement: &Statement, slot: &mut Option<String>) {
    let Some(pattern) = statement.argument(0).filter(|pattern| !pattern.is_empty()) else {
        bad(out, statement, 0, "a pattern");
        return;
    };
    if brackets_pair(pattern) {
        *slot = Some(pattern.to_owned());
    } else {
        bad(out, statement, 0, "a pattern whose parentheses and brackets pair");
    }
}

fn brackets_pair(pattern: &str) -> bool {
    let mut depth = 0usize;
    let mut class: Option<usize> = None;
    let mut escaped = false;
    let mut last_escaped = false;
    for (at, c) in pattern.chars().enumerate() {
        last_escaped = false;
        if escaped {
            escaped = false;
            continue;
        }
        match (c, class) {
            ('\\', _) => {
                escaped = true;
                last_escaped = true;
            }
            // `]` right after `[` or `[^` is a member.
            (']', Some(start)) if at > start + 1 => class = None,
            ('^', Some(start)) if at == start + 1 => class = Some(start + 1),
            ('[', None) => class = Some(at),
            ('(', None) => depth += 1,
            (')', None) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0 && class.is_none() && !last_escaped
}

fn options(out: &mut Out, statement: &Statement, list: &mut Vec<String>) {
    for (index, word) in statement.arguments.iter().enumerate() {
        if !REGEX_OPTIONS.contains(&word.text.as_str()) {
            out.push(
                bad_value(statement, index, "a PCRE2 option")
                    .suggest(&word.text, REGEX_OPTIONS.iter().copied()),
            );
        } else if !list.contains(&word.text) {
            list.push(word.text.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{brackets_pair, merge};

    #[test]
    fn touching_ranges_join() {
        let mut ranges =
            vec![(301, 301), (206, 208), (207, 210), (200, 200), (204, 204), (205, 205)];
        merge(&mut ranges);
        assert_eq!(ranges, [(200, 200), (204, 210), (301, 301)]);
    }

    #[test]
    fn unpaired_brackets_are_seen() {
        for (pattern, good) in [
            ("^a(b|c)$", true),
            ("(a", false),
            ("a)", false),
            ("[(]", true),
            ("[]a]", true),
            ("[^]]", true),
            (r"\(", true),
            ("[a", false),
            ("a\\", false),
        ] {
            assert_eq!(brackets_pair(pattern), good, "{pattern}");
        }
    }
}
