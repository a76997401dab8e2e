//! `$NAME` definitions and their use. keepalived-spec section 2.7; keepalived: `lib/parser.c`.
//!
//! Values are kept as written and expanded where they are used.

use std::collections::HashMap;

use super::text::Text;

/// Longest text between the braces of a reference.
const LONGEST_REFERENCE: usize = 256;

/// A value, or the several lines of one that ended in a backslash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Definition {
    pub lines: Vec<String>,
}

/// Names defined so far.
pub(super) type Definitions = HashMap<String, Definition>;

/// What the built-in names need from outside.
pub(super) trait Builtins {
    /// The text of `${_NAME arguments}`, if there is such a name.
    fn builtin(&mut self, name: &str, arguments: &str) -> Option<String>;
}

/// One round of replacement.
#[derive(Debug)]
pub(super) struct Replaced {
    pub text: Text,
    /// Further lines of a multi-line definition at the end of the line.
    pub further: Vec<String>,
    /// Where that reference stood.
    pub further_column: usize,
}

/// `NAME` and where the value starts, if the line is `$NAME=value`.
pub(super) fn definition_start(line: &str) -> Option<(&str, usize)> {
    let rest = line.strip_prefix('$')?;
    let length = name_length(rest);
    (length > 0 && rest[length..].starts_with('=')).then(|| (&rest[..length], length + 2))
}

fn name_length(text: &str) -> usize {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return 0;
    }
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// Replaces the references in a line once; `None` if nothing was to replace.
///
/// A reference at the very start is replaced alone: what it expands to decides how the rest is read.
pub(super) fn replace(
    line: &Text,
    known: &Definitions,
    builtins: &mut dyn Builtins,
) -> Option<Replaced> {
    let text = line.as_str();
    let mut out = line.emptied();
    let mut copied = 0;
    let mut further = Vec::new();
    let mut further_column = 0;
    let mut changed = false;
    let mut search = 0;
    while let Some(at) = text[search..].find('$').map(|found| found + search) {
        search = at + 1;
        let Some((name, arguments, end)) = reference(text, at) else { continue };
        let at_end = text[end..].trim_ascii_start().is_empty();
        let value = match known.get(name) {
            Some(definition) if definition.lines.len() <= 1 => {
                definition.lines.first().cloned().unwrap_or_default()
            }
            Some(definition) if at_end => {
                further = definition.lines[1..].to_vec();
                further_column = at;
                definition.lines[0].clone()
            }
            Some(_) => continue,
            None => match builtins.builtin(name, arguments) {
                Some(value) => value,
                None => continue,
            },
        };
        out.push_part(line, copied..at);
        out.push_inserted(&value, line.column(at));
        copied = end;
        search = end;
        changed = true;
        if at == 0 {
            break;
        }
    }
    out.push_part(line, copied..text.len());
    changed.then_some(Replaced { text: out, further, further_column })
}

/// Name, arguments and end of the reference at `at`, which is a `$`.
fn reference(text: &str, at: usize) -> Option<(&str, &str, usize)> {
    let rest = &text[at + 1..];
    if let Some(braced) = rest.strip_prefix('{') {
        let close = braced.bytes().take(LONGEST_REFERENCE).position(|byte| byte == b'}')?;
        let inside = &braced[..close];
        let length = name_length(inside);
        let arguments = &inside[length..];
        let plain = arguments.is_empty();
        let builtin = inside.starts_with('_') && arguments.starts_with([' ', '\t']);
        return (length > 0 && (plain || builtin)).then_some((
            &inside[..length],
            arguments.trim_ascii(),
            at + close + 3,
        ));
    }
    let length = name_length(rest);
    let ends =
        rest[length..].chars().next().is_none_or(|c| c.is_ascii_whitespace() || ",)".contains(c));
    (length > 0 && ends).then_some((&rest[..length], "", at + 1 + length))
}
