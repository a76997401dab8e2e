//! `include` lines: which word asks for how much care, and which files are read. keepalived-spec section 2.5.

use std::path::{Path, PathBuf};

use super::diag::{Code, Diag, Level};
use super::glob::{self, Alternative};
use super::reader::{FileKind, Reader};
use super::source::Span;

/// What an include must find. Plain `include` asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent demands, as keepalived words them"
)]
pub(super) struct Care {
    /// A match that can't be used is an error.
    pub readable: bool,
    /// A name without wildcards must exist.
    pub name: bool,
    /// A pattern with wildcards must match something.
    pub wildcard: bool,
    /// Each brace alternative must match.
    pub brace: bool,
}

impl Care {
    const ALL: Self = Self { readable: true, name: true, wildcard: true, brace: true };

    /// Applies the words of `include_check`; none means all.
    #[must_use]
    pub(super) fn with_words<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut care = Self::default();
        let mut any = false;
        for word in words {
            let (on, adds, kind) = match word.strip_prefix('-') {
                Some(kind) => (false, true, kind),
                None => (true, word.starts_with('+'), word.trim_start_matches('+')),
            };
            if !any && adds {
                care = self;
            }
            any = true;
            match kind {
                "readable" | "read" => care.readable = on,
                "match" => care.name = on,
                "wildcard_match" => care.wildcard = on,
                "brace_match" => care.brace = on,
                _ => {}
            }
        }
        if any { care } else { Self::ALL }
    }
}

/// If the line is an include: the care its word asks for (`None`: plain) and where the pattern starts.
pub(super) fn directive(line: &str) -> Option<(Option<Care>, usize)> {
    let end = line.find([' ', '\t'])?;
    let readable = Care { readable: true, ..Care::default() };
    let name = Care { name: true, ..readable };
    let wildcard = Care { wildcard: true, ..name };
    let care = match &line[..end] {
        "include" => None,
        "includer" => Some(readable),
        "includem" => Some(name),
        "includew" => Some(wildcard),
        "includeb" => Some(Care { brace: true, ..name }),
        "includea" => Some(Care::ALL),
        _ => return None,
    };
    Some((care, end + (line.len() - end - line[end..].trim_ascii_start().len())))
}

/// The files to read, in order, and what is to say about the others.
pub(super) fn resolve(
    reader: &dyn Reader,
    base: &Path,
    pattern: &str,
    care: Care,
    span: Span,
) -> (Vec<PathBuf>, Vec<Diag>) {
    let mut files = Vec::new();
    let mut diags = Vec::new();
    let alternatives = glob::expand(reader, base, pattern);
    let braces = alternatives.len() > 1;
    let mut any = false;
    for alternative in alternatives {
        if alternative.matches.is_empty() {
            if (care.brace && braces) || must_match(care, &alternative) {
                diags.push(no_match(&alternative.pattern, span).at_level(Level::Error));
            }
            continue;
        }
        any = true;
        for path in alternative.matches {
            match usable(reader, &path) {
                Ok(()) => files.push(path),
                Err(why) => diags.push(
                    Diag::new(
                        Code::IncludeNotRegular,
                        span,
                        format!("`{}` is not included: {why}", path.display()),
                    )
                    .at_level(if care.readable {
                        Level::Error
                    } else {
                        Level::Note
                    }),
                ),
            }
        }
    }
    if !any && diags.is_empty() {
        diags.push(no_match(pattern, span));
    }
    (files, diags)
}

fn must_match(care: Care, alternative: &Alternative) -> bool {
    if alternative.has_wildcard { care.wildcard } else { care.name }
}

fn no_match(pattern: &str, span: Span) -> Diag {
    let diag = Diag::new(Code::IncludeNoMatch, span, format!("no file matches `{pattern}`"));
    if pattern.contains('"') {
        diag.note("quotes are part of the name in an include")
    } else {
        diag
    }
}

fn usable(reader: &dyn Reader, path: &Path) -> Result<(), String> {
    match reader.kind(path) {
        Ok(FileKind::Regular { executable: false }) => Ok(()),
        Ok(FileKind::Regular { executable: true }) => Err("it is executable".to_owned()),
        Ok(FileKind::Directory) => Err("it is a directory".to_owned()),
        Ok(FileKind::Other) => Err("it is not a regular file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
