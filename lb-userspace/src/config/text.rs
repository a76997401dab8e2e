//! A line on its way through expansion: every byte remembers the column it came from.

use std::ops::Range;

use super::source::{FileId, Span};

/// One logical line or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    bytes: String,
    /// For each byte, the byte column in the source line. Same length.
    columns: Vec<u32>,
    file: FileId,
    line: u32,
}

impl Text {
    /// A line as it stands in its file.
    pub(super) fn physical(text: &str, file: FileId, line: u32) -> Self {
        Self { bytes: text.to_owned(), columns: (0..text.len() as u32).collect(), file, line }
    }

    /// Text that did not stand there but was put in the place of `at`.
    pub(super) fn inserted(text: &str, at: Span) -> Self {
        Self {
            bytes: text.to_owned(),
            columns: vec![at.start; text.len()],
            file: at.file,
            line: at.line,
        }
    }

    /// The characters.
    pub(super) fn as_str(&self) -> &str {
        &self.bytes
    }

    /// A part of it; `range` lies on character boundaries.
    #[must_use]
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        Self {
            bytes: self.bytes[range.clone()].to_owned(),
            columns: self.columns[range].to_vec(),
            file: self.file,
            line: self.line,
        }
    }

    /// From `start` to the end.
    #[must_use]
    pub(super) fn tail(&self, start: usize) -> Self {
        self.slice(start..self.bytes.len())
    }

    /// Without white space at both ends.
    #[must_use]
    pub(super) fn trimmed(&self) -> Self {
        let start = self.bytes.len() - self.bytes.trim_ascii_start().len();
        let end = self.bytes.trim_ascii_end().len();
        self.slice(start..end.max(start))
    }

    /// Appends a part of another text, columns kept.
    pub(super) fn push_part(&mut self, other: &Self, range: Range<usize>) {
        self.bytes.push_str(&other.bytes[range.clone()]);
        self.columns.extend_from_slice(&other.columns[range]);
    }

    /// Appends text that all came from column `column`.
    pub(super) fn push_inserted(&mut self, text: &str, column: u32) {
        self.bytes.push_str(text);
        self.columns.resize(self.bytes.len(), column);
    }

    /// Empty, in the same line.
    #[must_use]
    pub(super) fn emptied(&self) -> Self {
        Self { bytes: String::new(), columns: Vec::new(), file: self.file, line: self.line }
    }

    /// Column of the byte at `at`; past the end, that of the last byte plus one.
    pub(super) fn column(&self, at: usize) -> u32 {
        match self.columns.get(at) {
            Some(column) => *column,
            None => self.columns.last().map_or(0, |column| column + 1),
        }
    }

    /// Where a part stands in the source.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let start = self.column(range.start);
        let last = if range.end > range.start { self.column(range.end - 1) } else { start };
        Span { file: self.file, line: self.line, start, end: last.max(start) + 1 }
    }

    /// Where all of it stands.
    pub(super) fn whole_span(&self) -> Span {
        self.span(0..self.bytes.len())
    }
}

/// What the scanner sees at a byte outside or inside quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// `!` or `#` outside quotes.
    Comment,
    Open,
    Close,
    /// The closing quote is missing; the position is that of the opening one.
    OpenQuote,
}

/// Walks over a line by the rules for double quotes and backslashes and yields the marks that cut it.
///
/// A backslash takes the next byte with it, inside quotes and outside, so that `\"` opens and closes nothing.
pub(super) fn marks(line: &str) -> impl Iterator<Item = (usize, Mark)> + '_ {
    let bytes = line.as_bytes();
    let mut at = 0;
    let mut quote: Option<usize> = None;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let here = at;
            at += 1;
            match (bytes[here], quote) {
                (b'\\', _) => at += 1,
                (b'"', None) => quote = Some(here),
                (b'"', Some(_)) => quote = None,
                (b'!' | b'#', None) => return Some((here, Mark::Comment)),
                (b'{', None) => return Some((here, Mark::Open)),
                (b'}', None) => return Some((here, Mark::Close)),
                _ => {}
            }
        }
        quote.take().map(|from| (from, Mark::OpenQuote))
    })
}

/// The line without its comment.
pub(super) fn without_comment(line: &str) -> &str {
    match marks(line).find(|(_, mark)| *mark == Mark::Comment) {
        Some((at, _)) => &line[..at],
        None => line,
    }
}
