//! Diagnostics for people: the full layout with the source line, and one line each for editors and scripts.

use std::fmt::Write as _;

use super::Loaded;
use super::diag::Diag;
use super::source::Sources;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// With the source line, a caret, notes and help.
    #[default]
    Full,
    /// `FILE:LINE:COL: level code: text`.
    Short,
}

/// All diagnostics.
pub fn diagnostics(loaded: &Loaded, format: Format) -> String {
    let mut out = String::new();
    for diag in &loaded.diagnostics {
        match format {
            Format::Full => full(&mut out, diag, &loaded.sources),
            Format::Short => short(&mut out, diag, &loaded.sources),
        }
    }
    out
}

/// The one line at the end.
pub fn summary(loaded: &Loaded) -> String {
    let count = |level| loaded.diagnostics.iter().filter(|diag| diag.level == level).count();
    let (errors, warnings) = (count(super::diag::Level::Error), count(super::diag::Level::Warn));
    let found = match &loaded.config {
        Some(config) => {
            let reals: usize =
                config.virtual_servers.iter().map(|server| server.real_servers.len()).sum();
            format!(
                "{}, {}",
                plural(config.virtual_servers.len(), "virtual server"),
                plural(reals, "real server")
            )
        }
        None => "not usable".to_owned(),
    };
    let said = format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"));
    format!("{}: {found}; {said}", loaded.verdict.name())
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn place(diag: &Diag, sources: &Sources) -> String {
    let path = clean(&sources.path(diag.span.file).display().to_string());
    if diag.span.line == 0 {
        return path;
    }
    format!("{path}:{}:{}", diag.span.line, sources.column(diag.span))
}

fn short(out: &mut String, diag: &Diag, sources: &Sources) {
    let path = clean(&sources.path(diag.span.file).display().to_string());
    let (line, column) = (diag.span.line, sources.column(diag.span));
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{path}:{line}:{column}: {} {}: {}",
        diag.level.name(),
        diag.code.name(),
        clean(&diag.message)
    );
}

fn full(out: &mut String, diag: &Diag, sources: &Sources) {
    let (level, code) = (diag.level.name(), diag.code.name());
    let _ = writeln!(out, "{level}[config::{code}]: {}", clean(&diag.message));
    let _ = writeln!(out, "  --> {}", place(diag, sources));
    if let Some(line) = sources.line_of(diag.span) {
        let (shown, skip, width) = window(line, diag.span.start as usize, diag.span.end as usize);
        let number = diag.span.line.to_string();
        let margin = number.len().max(3);
        let _ = writeln!(out, " {number:>margin$} | {shown}");
        let label =
            diag.label.as_deref().map(|label| format!(" {}", clean(label))).unwrap_or_default();
        let _ = writeln!(out, " {:>margin$} | {:skip$}{}{label}", "", "", "^".repeat(width));
    }
    if let Some(help) = &diag.help {
        let _ = writeln!(out, "  help: {}", clean(help));
    }
    for note in &diag.notes {
        let _ = writeln!(out, "  note: {}", clean(note));
    }
    out.push('\n');
}

/// The line as shown, how far the caret is from its start, and how wide it is. Long lines are cut around the caret.
fn window(line: &str, start: usize, end: usize) -> (String, usize, usize) {
    const BEFORE: usize = 60;
    const AFTER: usize = 60;
    let before = line.char_indices().filter(|(at, _)| *at < start).count();
    let marked = line.char_indices().filter(|(at, _)| (start..end).contains(at)).count();
    let first = if before > BEFORE + 20 { before - BEFORE } else { 0 };
    let width = marked.clamp(1, AFTER);
    let mut shown = String::new();
    let mut skip = 0;
    let mut caret = 0;
    if first > 0 {
        shown.push_str("...");
        skip = 3;
    }
    for (at, c) in line.chars().enumerate().skip(first).take(before - first + width + AFTER) {
        let piece = match c {
            '\t' => "    ".to_owned(),
            c if c.is_control() => "\u{fffd}".to_owned(),
            c => c.to_string(),
        };
        let columns = piece.chars().count();
        if at < before {
            skip += columns;
        } else if at < before + width {
            caret += columns;
        }
        shown.push_str(&piece);
    }
    (shown, skip, caret.max(1))
}

/// Files may hold anything, but a terminal must not obey it.
fn clean(text: &str) -> String {
    let cleaned: String =
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match cleaned.char_indices().nth(400) {
        Some((at, _)) => format!("{}...", &cleaned[..at]),
        None => cleaned,
    }
}
