//! keepalived.conf: bytes → lexer → pieces → parser → tree → lowering → [`model::Config`] and diagnostics.
//!
//! Knows the language and nothing else: no health, no maps, no clock. The specification's sections are named
//! where a rule is followed.

mod ast;
pub mod compat;
mod definitions;
pub mod diag;
mod glob;
mod include;
pub mod json;
pub mod keywords;
mod lexer;
mod lower;
pub mod model;
mod parser;
pub mod reader;
pub mod render;
mod sequence;
pub mod source;
mod text;
pub mod unbuilt;
mod words;

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

use std::path::Path;

use diag::{Code, Diag, Level};
use model::Config;
use reader::{OsReader, Reader};
use source::Sources;

/// More diagnostics than anybody reads.
const MOST_DIAGNOSTICS: usize = 10_000;

/// What reading depends on besides the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// `-i/--config-id`, against which `@ID` lines are judged. keepalived's default is the host name up to its first
    /// dot.
    pub config_id: String,
}

/// The verdict on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say but notes.
    Accept,
    /// Usable; some statements have no effect or another one than written.
    Warn,
    /// Not usable.
    Reject,
}

impl Verdict {
    /// As JSON writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }

    /// Exit status of `xlb check`.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Accept => 0,
            Self::Warn => 5,
            Self::Reject => 2,
        }
    }

    /// What a set of diagnostics amounts to.
    pub fn of<'d>(diagnostics: impl IntoIterator<Item = &'d Diag>) -> Self {
        match diagnostics.into_iter().map(|diag| diag.level).min() {
            Some(Level::Error) => Self::Reject,
            Some(Level::Warn) => Self::Warn,
            Some(Level::Note) | None => Self::Accept,
        }
    }
}

/// A configuration as read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `None` exactly if the verdict is [`Verdict::Reject`].
    pub config: Option<Config>,
    /// In the order of files and lines.
    pub diagnostics: Vec<Diag>,
    pub verdict: Verdict,
    /// What the diagnostics' spans point into.
    pub sources: Sources,
}

/// Reads a configuration from the file system.
pub fn load(path: &Path, options: &LoadOptions) -> Loaded {
    load_with(&OsReader, path, options)
}

/// Reads a configuration through `reader`. Never panics; time and memory are bounded whatever the files hold.
pub fn load_with(reader: &dyn Reader, path: &Path, options: &LoadOptions) -> Loaded {
    let mut lexer = lexer::Lexer::new(reader, path, options);
    let statements = parser::parse(&mut lexer);
    let broken = lexer.diags.iter().any(|diag| diag.level == Level::Error);
    // After a limit there is only a part of the file, and most often no honest one.
    let statements = if lexer.stopped { Vec::new() } else { statements };
    let mut lowered = lower::lower(&statements, broken);
    lexer.diags.append(&mut lowered.diags);
    let mut diagnostics = lexer.diags;
    if Verdict::of(&diagnostics) != Verdict::Reject {
        diagnostics.extend(unbuilt::check(&lowered.config, &lowered.places));
    }
    diagnostics.sort_by_key(|diag| diag.span);
    limit(&mut diagnostics);
    let verdict = Verdict::of(&diagnostics);
    let config = (verdict != Verdict::Reject).then_some(lowered.config);
    Loaded { config, diagnostics, verdict, sources: lexer.sources }
}

/// Keeps the number of diagnostics readable, the errors among them first.
fn limit(diagnostics: &mut Vec<Diag>) {
    if diagnostics.len() <= MOST_DIAGNOSTICS {
        return;
    }
    let dropped = diagnostics.len() - MOST_DIAGNOSTICS;
    diagnostics.sort_by_key(|diag| (diag.level, diag.span));
    diagnostics.truncate(MOST_DIAGNOSTICS);
    diagnostics.sort_by_key(|diag| diag.span);
    let span = diagnostics.last().map_or_else(source::Span::default, |diag| diag.span);
    diagnostics.push(Diag::new(Code::MoreDiagnostics, span, format!("and {dropped} more")));
}
