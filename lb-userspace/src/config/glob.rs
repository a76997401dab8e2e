//! File name patterns of `include`: `*`, `?`, `[...]` and csh braces, over a [`Reader`].
//!
//! Follows glob(3) with `GLOB_BRACE`: each brace alternative is sorted by itself, names starting with a dot need a
//! dot in the pattern.

use std::path::{Path, PathBuf};

use super::reader::Reader;

/// More alternatives or matches than any real configuration has.
const MOST: usize = 4096;

/// The longest path Linux takes.
const LONGEST: usize = 4096;

/// What one brace alternative matched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    pub pattern: String,
    pub has_wildcard: bool,
    /// In byte order. Without a wildcard: the name itself if it exists.
    pub matches: Vec<PathBuf>,
}

/// Expands `pattern`, relative to `base`.
pub(super) fn expand(reader: &dyn Reader, base: &Path, pattern: &str) -> Vec<Alternative> {
    let pattern = if pattern.len() > LONGEST { "" } else { pattern };
    braces(pattern)
        .into_iter()
        .map(|pattern| {
            let matches = matches(reader, base, &pattern);
            Alternative { has_wildcard: has_wildcard(&pattern), matches, pattern }
        })
        .collect()
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// csh braces, innermost alternatives in order; unbalanced braces stay as they are.
fn braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(next) = open.pop() {
        match first_group(&next) {
            Some((start, parts, end)) if done.len() + open.len() + parts.len() <= MOST => {
                for part in parts.iter().rev() {
                    open.push(format!("{}{part}{}", &next[..start], &next[end..]));
                }
            }
            _ => done.push(next),
        }
    }
    done
}

/// The first balanced group: where it starts, its alternatives, where it ends.
fn first_group(pattern: &str) -> Option<(usize, Vec<&str>, usize)> {
    let start = pattern.find('{')?;
    let mut depth = 0usize;
    let mut from = start + 1;
    let mut parts = Vec::new();
    for (at, byte) in pattern.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b',' if depth == 1 => {
                parts.push(&pattern[from..at]);
                from = at + 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&pattern[from..at]);
                    return Some((start, parts, at + 1));
                }
            }
            _ => {}
        }
    }
    None
}

fn matches(reader: &dyn Reader, base: &Path, pattern: &str) -> Vec<PathBuf> {
    let start = if pattern.starts_with('/') { PathBuf::from("/") } else { base.to_owned() };
    let mut found = vec![start];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for directory in &found {
            if has_wildcard(part) {
                let mut names = reader.list(directory).unwrap_or_default();
                names.retain(|name| {
                    (part.starts_with('.') || !name.starts_with('.')) && name_matches(part, name)
                });
                next.extend(names.iter().map(|name| directory.join(name)));
            } else {
                next.push(directory.join(part));
            }
            if next.len() > MOST {
                next.truncate(MOST);
                break;
            }
        }
        found = next;
    }
    found.retain(|path| reader.kind(path).is_ok());
    found.sort();
    found
}

/// One component against one pattern: the usual two-pointer walk, linear in practice and quadratic at worst.
fn name_matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('?') => {
                p += 1;
                n += 1;
                continue;
            }
            Some('[') => {
                let after = match class(&pattern[p..], name[n]) {
                    Some((true, after)) => after,
                    // A bracket that is never closed is a plain character.
                    None if name[n] == '[' => 1,
                    _ => 0,
                };
                if after > 0 {
                    p += after;
                    n += 1;
                    continue;
                }
            }
            Some('\\') if pattern.get(p + 1) == Some(&name[n]) => {
                p += 2;
                n += 1;
                continue;
            }
            Some(literal) if *literal == name[n] => {
                p += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, taken)) = star else { return false };
        star = Some((after_star, taken + 1));
        p = after_star;
        n = taken + 1;
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

/// A `[...]` class at the start of `pattern`: does it hold `c`, and how long is it.
fn class(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = 1 + usize::from(negated);
    let close = pattern.iter().skip(first + 1).position(|end| *end == ']')? + first + 1;
    let set = &pattern[first..close];
    let mut hit = false;
    let mut at = 0;
    while at < set.len() {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            hit |= (set[at]..=set[at + 2]).contains(&c);
            at += 3;
        } else {
            hit |= set[at] == c;
            at += 1;
        }
    }
    Some((hit != negated, close + 1))
}

#[cfg(test)]
mod tests {
    use super::{braces, name_matches};

    #[test]
    fn braces_nest() {
        assert_eq!(braces("a{b,c/{d,e}}f"), ["abf", "ac/df", "ac/ef"]);
        assert_eq!(braces("a{b"), ["a{b"]);
    }

    #[test]
    fn wildcards_match_as_in_glob() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("vs-?.conf", "vs-a.conf", true),
            ("vs-[!a].conf", "vs-a.conf", false),
            ("[a-c]*", "beta", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("[", "[", true),
        ] {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
