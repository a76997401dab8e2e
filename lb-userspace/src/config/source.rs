//! Which text came from where: files, lines, and the spans that diagnostics point with.
//!
//! Knows nothing of the language.

use std::path::{Path, PathBuf};

/// A file's place in [`Sources`].
pub type FileId = u32;

/// A stretch of one line. `line` counts from 1; `start` and `end` are byte offsets in that line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub file: FileId,
    pub line: u32,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `last` if both stand in one line, else `self`.
    #[must_use]
    pub fn to(self, last: Self) -> Self {
        if self.file == last.file && self.line == last.line && last.end > self.end {
            Self { end: last.end, ..self }
        } else {
            self
        }
    }
}

/// One file as read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    text: String,
    /// Byte range of each line, without its LF and CRs.
    lines: Vec<(usize, usize)>,
}

impl SourceFile {
    fn new(path: PathBuf, bytes: &[u8]) -> Self {
        // Comments in old encodings are common; a replacement character there hurts nobody.
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        let mut lines = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end_matches('\n').trim_end_matches('\r');
            lines.push((at, at + bare.len()));
            at += line.len();
        }
        Self { path, text, lines }
    }

    /// Line `number`, counted from 1.
    pub fn line(&self, number: u32) -> Option<&str> {
        let (start, end) = *self.lines.get((number as usize).checked_sub(1)?)?;
        self.text.get(start..end)
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }
}

/// All files of one configuration, the main file first, in the order of reading.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Adds a file; the same path may be read more than once.
    pub fn add(&mut self, path: PathBuf, bytes: &[u8]) -> FileId {
        self.files.push(SourceFile::new(path, bytes));
        // At most a few thousand files are ever read.
        (self.files.len() - 1) as FileId
    }

    /// The file with this id.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id as usize)
    }

    /// Path of a file; empty if there is none.
    pub fn path(&self, id: FileId) -> &Path {
        self.files.get(id as usize).map_or(Path::new(""), |file| &file.path)
    }

    /// Every file that was read.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// The text of the line a span stands in.
    pub fn line_of(&self, span: Span) -> Option<&str> {
        self.files.get(span.file as usize)?.line(span.line)
    }

    /// Column of a span, counted in characters from 1.
    pub fn column(&self, span: Span) -> usize {
        let line = self.line_of(span).unwrap_or("");
        line.char_indices().take_while(|(at, _)| *at < span.start as usize).count() + 1
    }
}
