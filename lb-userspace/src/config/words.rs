//! Words of a statement: the ordinary rule, and the shell-like rule for scripts and regular expressions.
//!
//! keepalived-spec sections 2.3, 2.9 and 2.10; keepalived: `lib/vector.c`, `lib/parser.c`.

use std::ops::Range;

use super::source::Span;
use super::text::Text;

/// A word with its place. `offset` is where it ends in the text it was split from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    pub span: Span,
    pub end: usize,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r' | b'\n')
}

/// Ordinary words: only `"` quotes, and a quote ends the word before it.
pub(super) fn ordinary(text: &Text) -> Vec<Word> {
    let line = text.as_str();
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if is_blank(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        let mut word = Vec::new();
        let quoted = bytes[at] == b'"';
        at += usize::from(quoted);
        while at < bytes.len() {
            match bytes[at] {
                b'"' => break,
                byte if !quoted && is_blank(byte) => break,
                b'\\'
                    if matches!(bytes.get(at + 1), Some(b'"'))
                        || (!quoted && matches!(bytes.get(at + 1), Some(b'#' | b'!'))) =>
                {
                    word.push(bytes[at + 1]);
                    at += 2;
                }
                byte => {
                    word.push(byte);
                    at += 1;
                }
            }
        }
        if quoted && at < bytes.len() {
            at += 1;
        }
        words.push(Word {
            text: String::from_utf8_lossy(&word).into_owned(),
            span: text.span(start..at),
            end: at,
        });
    }
    words
}

/// Up to `most` shell-like words of a part of the line: both quotes, and backslash escapes.
pub(super) fn shell_like(text: &Text, range: Range<usize>, most: usize) -> Vec<Word> {
    let bytes = &text.as_str().as_bytes()[..range.end];
    let mut words = Vec::new();
    let mut at = range.start;
    while at < bytes.len() && words.len() < most {
        if is_blank(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        let mut word = Vec::new();
        let mut quote = None;
        while at < bytes.len() {
            let byte = bytes[at];
            match quote {
                None if is_blank(byte) => break,
                None if byte == b'"' || byte == b'\'' => quote = Some(byte),
                Some(open) if byte == open => quote = None,
                _ if byte == b'\\' && at + 1 < bytes.len() => {
                    at += 1 + escape(&bytes[at + 1..], &mut word);
                    continue;
                }
                _ => word.push(byte),
            }
            at += 1;
        }
        words.push(Word {
            text: String::from_utf8_lossy(&word).into_owned(),
            span: text.span(start..at),
            end: at,
        });
    }
    words
}

/// Splits a command line that is itself one word.
pub(super) fn command_line(word: &Word) -> Vec<String> {
    let text = Text::inserted(&word.text, word.span);
    shell_like(&text, 0..word.text.len(), usize::MAX).into_iter().map(|part| part.text).collect()
}

/// Decodes what follows a backslash; returns how many bytes it took (at least one: `rest` is not empty).
fn escape(rest: &[u8], word: &mut Vec<u8>) -> usize {
    let simple = match rest[0] {
        b'a' => Some(0x07),
        b'b' => Some(0x08),
        b'E' => Some(0x1b),
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(0x0b),
        _ => None,
    };
    if let Some(byte) = simple {
        word.push(byte);
        return 1;
    }
    match rest[0] {
        b'0'..=b'7' => {
            let digits =
                rest.iter().take(3).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
            let value =
                rest[..digits].iter().fold(0u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
            word.push(value as u8);
            digits
        }
        b'x' => {
            let digits =
                rest[1..].iter().take(2).take_while(|digit| digit.is_ascii_hexdigit()).count();
            if digits == 0 {
                word.push(b'x');
                return 1;
            }
            let value = rest[1..=digits]
                .iter()
                .filter_map(|digit| char::from(*digit).to_digit(16))
                .fold(0, |sum, digit| sum * 16 + digit);
            word.push(value as u8);
            1 + digits
        }
        b'c' if rest.len() > 1 => {
            word.push(rest[1].to_ascii_uppercase() & 0x1f);
            2
        }
        byte => {
            word.push(byte);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, ordinary, shell_like};

    fn texts(words: Vec<super::Word>) -> Vec<String> {
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn ordinary_words_follow_the_double_quote_only() {
        for (line, expected) in [
            ("a\"b c\"d", vec!["a", "b c", "d"]),
            ("lb_algo 'rr'", vec!["lb_algo", "'rr'"]),
            ("weight \"5\"", vec!["weight", "5"]),
            ("path /frag\\#ment", vec!["path", "/frag#ment"]),
            ("x \"\" y", vec!["x", "", "y"]),
        ] {
            assert_eq!(texts(ordinary(&Text::physical(line, 0, 1))), expected, "{line}");
        }
    }

    #[test]
    fn shell_like_words_know_both_quotes_and_escapes() {
        for (line, expected) in [
            (r#""/x/y a 'b c'""#, vec!["/x/y a 'b c'"]),
            (r"/x/y a 'b c'", vec!["/x/y", "a", "b c"]),
            (r#"\x41\102 "\"q\"""#, vec!["AB", "\"q\""]),
            (r"a\ b", vec!["a b"]),
        ] {
            assert_eq!(
                texts(shell_like(&Text::physical(line, 0, 1), 0..line.len(), 9)),
                expected,
                "{line}"
            );
        }
    }
}
