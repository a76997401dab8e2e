//! Files to pieces: comments, includes, conditions, definitions and sequences are gone, braces stand alone.
//!
//! keepalived-spec section 2; keepalived: `lib/parser.c`. Every loop here draws on a budget, so that no file, however
//! malicious, takes more than bounded time and memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::LoadOptions;
use super::definitions::{self, Builtins, Definition, Definitions};
use super::diag::{Code, Diag, Level};
use super::include::{self, Care};
use super::reader::Reader;
use super::sequence::{self, Sequence};
use super::source::{FileId, Sources, Span};
use super::text::{Mark, Text, marks, without_comment};

/// Lines that expansion may produce, over all files.
pub(super) const MOST_EXPANDED_LINES: u64 = 100_000;
/// Bytes that replacement may produce, over all files.
const MOST_EXPANDED_BYTES: usize = 16 << 20;
/// Bytes of text, over all files.
const MOST_BYTES: u64 = 16 << 20;
/// Files read by include, each time counted.
const MOST_INCLUDES: usize = 4096;
/// Files inside files.
const MOST_DEPTH: usize = 32;
/// Expansions inside expansions.
const MOST_FRAMES: usize = 512;
/// Rounds of replacement in one line.
const MOST_ROUNDS: usize = 128;
/// Longest line after expansion, beyond its own length.
const MOST_GROWTH: usize = 64 << 10;
/// Longest line of a file; the language promises 64 KiB.
const LONGEST_LINE: usize = 1 << 20;
/// keepalived's line buffer.
const KEEPALIVED_LINE: usize = 1023;

/// What the parser sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text between braces or line ends; not blank.
    Segment(Text),
    Open(Span),
    Close(Span),
    /// The next segment holds a quote that its line does not close.
    OpenQuote(Span),
    EndOfFile,
}

enum Frame {
    File {
        id: FileId,
        next: u32,
    },
    /// Files that one include names, opened one after the other.
    Includes {
        paths: VecDeque<PathBuf>,
        care: Care,
        at: Span,
    },
    Lines(VecDeque<Text>),
    Sequence {
        sequence: Sequence,
        hidden: Vec<(String, Option<Definition>)>,
    },
}

/// Pulls pieces out of a tree of files.
pub(super) struct Lexer<'a> {
    reader: &'a dyn Reader,
    options: &'a LoadOptions,
    /// What was read so far.
    pub sources: Sources,
    /// What was found so far.
    pub diags: Vec<Diag>,
    /// Set when a limit ended the reading: whatever seems missing afterwards is no fault of the file.
    pub stopped: bool,
    definitions: Definitions,
    frames: Vec<Frame>,
    ready: VecDeque<Piece>,
    care: Care,
    random: u64,
    lines_left: u64,
    bytes_left: usize,
    file_bytes_left: u64,
}

impl<'a> Lexer<'a> {
    /// Opens the main file.
    pub(super) fn new(reader: &'a dyn Reader, path: &Path, options: &'a LoadOptions) -> Self {
        let mut lexer = Self {
            reader,
            options,
            sources: Sources::default(),
            diags: Vec::new(),
            stopped: false,
            definitions: Definitions::default(),
            frames: Vec::new(),
            ready: VecDeque::new(),
            care: Care::default(),
            random: options
                .config_id
                .bytes()
                .fold(0x9e37, |hash, byte| hash * 31 + u64::from(byte))
                | 1,
            lines_left: MOST_EXPANDED_LINES,
            bytes_left: MOST_EXPANDED_BYTES,
            file_bytes_left: MOST_BYTES,
        };
        match reader.read(path, MOST_BYTES) {
            Ok(bytes) => lexer.enter(path, &bytes),
            Err(error) => {
                let span = Span { line: 0, ..Span::default() };
                lexer.sources.add(path.to_owned(), b"");
                let message = format!("cannot read the configuration: {error}");
                lexer.diags.push(
                    Diag::new(Code::UnreadableFile, span, message)
                        .help("name a readable regular file of at most 16 MiB"),
                );
                lexer.stopped = true;
            }
        }
        lexer
    }

    /// Applies `include_check`, which works on what is read after it.
    pub(super) fn include_check<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) {
        self.care = self.care.with_words(words);
    }

    /// The next piece; at the end, [`Piece::EndOfFile`] for ever.
    pub(super) fn next_piece(&mut self) -> Piece {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return piece;
            }
            match self.next_line() {
                Some((line, physical)) => self.process(&line, physical),
                None => return Piece::EndOfFile,
            }
        }
    }

    /// Ends everything: a limit was reached.
    pub(super) fn stop(&mut self, diag: Diag) {
        self.diags.push(diag);
        self.frames.clear();
        self.ready.clear();
        self.stopped = true;
    }

    fn enter(&mut self, path: &Path, bytes: &[u8]) {
        self.file_bytes_left = self.file_bytes_left.saturating_sub(bytes.len() as u64);
        let id = self.sources.add(path.to_owned(), bytes);
        self.frames.push(Frame::File { id, next: 1 });
    }

    /// The next line of whatever is on top, and whether it is a line of a file.
    fn next_line(&mut self) -> Option<(Text, bool)> {
        loop {
            let generated = match self.frames.last_mut()? {
                Frame::File { id, next } => {
                    if let Some(line) = self.sources.file(*id).and_then(|file| file.line(*next)) {
                        let text = Text::physical(line, *id, *next);
                        *next += 1;
                        return Some((text, true));
                    }
                    None
                }
                Frame::Includes { paths, care, at } => {
                    if let Some(path) = paths.pop_front() {
                        let (care, at) = (*care, *at);
                        self.open_include(&path, care, at);
                        continue;
                    }
                    None
                }
                Frame::Lines(lines) => lines.pop_front(),
                Frame::Sequence { sequence, .. } => sequence.values.next().map(|values| {
                    for (name, value) in sequence.names.iter().zip(values) {
                        self.definitions.insert(name.clone(), Definition { lines: vec![value] });
                    }
                    sequence.rest.clone()
                }),
            };
            let Some(line) = generated else {
                self.leave();
                continue;
            };
            let repeated = matches!(self.frames.last(), Some(Frame::Sequence { .. }));
            if repeated && !self.charge(1, line.as_str().len(), line.whole_span()) {
                return None;
            }
            return Some((line, false));
        }
    }

    /// Takes lines and bytes that expansion produces from what is left; false if that was too much.
    fn charge(&mut self, lines: u64, bytes: usize, at: Span) -> bool {
        self.lines_left = self.lines_left.saturating_sub(lines);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        let message = if self.lines_left == 0 {
            format!("expansion gives more than {MOST_EXPANDED_LINES} lines")
        } else if self.bytes_left == 0 {
            format!("expansion gives more than {MOST_EXPANDED_BYTES} bytes")
        } else {
            return true;
        };
        self.stop(Diag::new(Code::BadSequence, at, message));
        false
    }

    /// Drops the finished top frame and what it defined.
    fn leave(&mut self) {
        if let Some(Frame::Sequence { hidden, .. }) = self.frames.pop() {
            for (name, before) in hidden {
                match before {
                    Some(definition) => self.definitions.insert(name, definition),
                    None => self.definitions.remove(&name),
                };
            }
        }
    }

    fn push_frame(&mut self, frame: Frame, at: Span) {
        if self.frames.len() >= MOST_FRAMES {
            self.stop(Diag::new(Code::ExpansionLoop, at, "expansions inside expansions never end"));
        } else {
            self.frames.push(frame);
        }
    }

    fn process(&mut self, line: &Text, physical: bool) {
        let raw_length = line.as_str().len();
        if physical && raw_length > KEEPALIVED_LINE {
            let message = format!("the line has {raw_length} bytes; keepalived reads at most 1023");
            self.diags.push(Diag::new(Code::LongLine, line.whole_span(), message));
        }
        if raw_length > LONGEST_LINE {
            let message =
                format!("the line has {raw_length} bytes; at most {LONGEST_LINE} are read");
            self.stop(Diag::new(Code::TooLarge, line.span(0..1), message));
            return;
        }
        let mut line = strip(line);
        if physical && let Some((care, start)) = include::directive(line.as_str()) {
            self.include(&line, care, start);
            return;
        }
        let longest = line.as_str().len() + MOST_GROWTH;
        for _ in 0..MOST_ROUNDS {
            match self.condition(&line) {
                Some(rest) => line = rest,
                None => return,
            }
            if let Some((name, start)) = definitions::definition_start(line.as_str()) {
                let name = name.to_owned();
                self.define(name, &line.tail(start));
                return;
            }
            if let Some(head) = sequence::head(line.as_str()) {
                self.sequence(head, &line);
                return;
            }
            let known = std::mem::take(&mut self.definitions);
            let replaced = definitions::replace(&line, &known, self);
            self.definitions = known;
            let Some(replaced) = replaced else {
                self.cut(&line);
                return;
            };
            if !replaced.further.is_empty() {
                let at = line.span(replaced.further_column..line.as_str().len());
                let bytes = replaced.further.iter().map(String::len).sum();
                if !self.charge(replaced.further.len() as u64, bytes, at) {
                    return;
                }
                let lines = replaced.further.iter().map(|text| Text::inserted(text, at)).collect();
                self.push_frame(Frame::Lines(lines), at);
            }
            let length = replaced.text.as_str().len();
            self.bytes_left = self.bytes_left.saturating_sub(length);
            if length > longest || self.bytes_left == 0 {
                break;
            }
            line = strip(&replaced.text);
        }
        let message = "replacing the definitions in this line never ends";
        self.stop(
            Diag::new(Code::ExpansionLoop, line.whole_span(), message).note(
                "a definition that contains itself, directly or through others, grows for ever",
            ),
        );
    }

    /// `@ID rest` and `@^ID rest`, stacked. `None`: the line is dropped.
    fn condition(&self, line: &Text) -> Option<Text> {
        let mut rest = line.as_str();
        while let Some(condition) = rest.strip_prefix('@') {
            let (wanted, id) = match condition.strip_prefix('^') {
                Some(id) => (false, id),
                None => (true, condition),
            };
            let end = id.find([' ', '\t'])?;
            if (id[..end] == self.options.config_id) != wanted {
                return None;
            }
            rest = id[end..].trim_ascii_start();
        }
        Some(line.tail(line.as_str().len() - rest.len()))
    }

    fn define(&mut self, name: String, value: &Text) {
        let mut lines = Vec::new();
        let mut value = value.trimmed();
        // A value that ends in a backslash goes on in the next line of the same file or expansion.
        while let Some(first) = value.as_str().strip_suffix('\\') {
            lines.push(first.trim_ascii().to_owned());
            let next = match self.frames.last_mut() {
                Some(Frame::File { id, next }) => {
                    let line = self.sources.file(*id).and_then(|file| file.line(*next));
                    let text = line.map(|line| Text::physical(line, *id, *next));
                    *next += 1;
                    text
                }
                Some(Frame::Lines(more)) => more.pop_front(),
                _ => None,
            };
            match next {
                Some(text) => {
                    let bare = without_comment(text.as_str()).len();
                    value = text.slice(0..bare).trimmed();
                }
                None => value = value.emptied(),
            }
        }
        lines.push(value.as_str().to_owned());
        if lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        self.definitions.insert(name, Definition { lines });
    }

    fn sequence(&mut self, head: Result<sequence::Head, &'static str>, line: &Text) {
        let span = line.whole_span();
        let parsed = head.map_err(str::to_owned).and_then(|head| {
            let (start, end) = head.arguments();
            let mut arguments = line.slice(start..end);
            let known = std::mem::take(&mut self.definitions);
            for _ in 0..MOST_ROUNDS {
                match definitions::replace(&arguments, &known, self) {
                    Some(more) if more.text.as_str().len() <= MOST_GROWTH => arguments = more.text,
                    _ => break,
                }
            }
            self.definitions = known;
            let rest = line.tail(end + 1).trimmed();
            sequence::parse(head, arguments.as_str(), rest, MOST_EXPANDED_LINES)
        });
        match parsed {
            Ok(sequence) => {
                let hidden = sequence
                    .names
                    .iter()
                    .map(|name| (name.clone(), self.definitions.get(name).cloned()));
                let hidden = hidden.collect();
                self.push_frame(Frame::Sequence { sequence, hidden }, span);
            }
            Err(why) => self.diags.push(Diag::new(Code::BadSequence, span, why).note(
                "written ~SEQ(NAME, [START, [STEP,]] END) line, or ~LST(NAME, VALUE, ...) line",
            )),
        }
    }

    fn include(&mut self, line: &Text, care: Option<Care>, start: usize) {
        let span = line.whole_span();
        let depth =
            self.frames.iter().filter(|frame| matches!(frame, Frame::Includes { .. })).count();
        if depth >= MOST_DEPTH {
            let message = format!("files include each other more than {MOST_DEPTH} deep");
            self.stop(Diag::new(Code::ExpansionLoop, span, message));
            return;
        }
        let current = self.current_file().to_owned();
        let base = current.parent().unwrap_or(Path::new(""));
        let pattern = line.tail(start);
        let care = care.unwrap_or(self.care);
        let (paths, diags) = include::resolve(self.reader, base, pattern.as_str(), care, span);
        self.diags.extend(diags);
        self.push_frame(Frame::Includes { paths: paths.into(), care, at: span }, span);
    }

    /// Reads one file of an include.
    fn open_include(&mut self, path: &Path, care: Care, at: Span) {
        let limit = self.file_bytes_left;
        let too_many = self.sources.files().count() > MOST_INCLUDES;
        match self.reader.read(path, limit) {
            Ok(bytes) if !too_many => self.enter(path, &bytes),
            Err(error) if error.kind() != std::io::ErrorKind::FileTooLarge => {
                let message = format!("`{}` is not included: {error}", path.display());
                let level = if care.readable { Level::Error } else { Level::Note };
                self.diags.push(Diag::new(Code::IncludeNotRegular, at, message).at_level(level));
            }
            _ => {
                let message = format!(
                    "with `{}` the files are more than {MOST_INCLUDES} or larger than 16 MiB",
                    path.display()
                );
                self.stop(Diag::new(Code::TooLarge, at, message));
            }
        }
    }

    fn current_file(&self) -> &Path {
        let file = self.frames.iter().rev().find_map(|frame| match frame {
            Frame::File { id, .. } => Some(*id),
            _ => None,
        });
        self.sources.path(file.unwrap_or(0))
    }

    /// Cuts a finished line at its braces.
    fn cut(&mut self, line: &Text) {
        let line = glue_backslash(line);
        let text = line.as_str();
        let found: Vec<(usize, Mark)> = marks(text).collect();
        let quote = found.iter().find(|(_, mark)| *mark == Mark::OpenQuote).map(|(at, _)| *at);
        let mut from = 0;
        for (at, mark) in found {
            let piece = match mark {
                Mark::Open => Piece::Open(line.span(at..at + 1)),
                Mark::Close => Piece::Close(line.span(at..at + 1)),
                Mark::Comment | Mark::OpenQuote => continue,
            };
            self.segment(&line, from..at);
            self.ready.push_back(piece);
            from = at + 1;
        }
        if let Some(at) = quote {
            self.ready.push_back(Piece::OpenQuote(line.span(at..text.len())));
        }
        self.segment(&line, from..text.len());
    }

    fn segment(&mut self, line: &Text, range: std::ops::Range<usize>) {
        if !line.as_str()[range.clone()].trim_ascii().is_empty() {
            self.ready.push_back(Piece::Segment(line.slice(range).trimmed()));
        }
    }
}

impl Builtins for Lexer<'_> {
    fn builtin(&mut self, name: &str, arguments: &str) -> Option<String> {
        match name {
            "_PWD" => {
                let directory = self.current_file().parent()?;
                let here = directory.as_os_str().is_empty();
                Some(if here { ".".to_owned() } else { directory.display().to_string() })
            }
            "_INSTANCE" => Some(self.options.config_id.clone()),
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            "_ENV" => Some(self.reader.variable(arguments).unwrap_or_default()),
            "_RANDOM" => {
                let mut bounds = arguments.split_ascii_whitespace().map(str::parse::<u64>);
                let low = bounds.next().and_then(Result::ok).unwrap_or(0);
                let high = bounds.next().and_then(Result::ok).unwrap_or(32767);
                // xorshift: the same file gives the same numbers, so that a reload changes nothing.
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let width = high.saturating_sub(low).saturating_add(1);
                Some((low + self.random % width).to_string())
            }
            _ => None,
        }
    }
}

/// Without comment and outer white space.
fn strip(line: &Text) -> Text {
    let bare = without_comment(line.as_str()).len();
    if bare == line.as_str().len() && line.as_str().trim_ascii().len() == bare {
        return line.clone();
    }
    line.slice(0..bare).trimmed()
}

/// A backslash at the end of an ordinary line continues nothing; keepalived glues it to the word before.
fn glue_backslash(line: &Text) -> Text {
    let text = line.as_str();
    match text.strip_suffix('\\') {
        Some(before) if !before.ends_with('\\') => {
            let bare = before.trim_ascii_end().len();
            let mut glued = line.slice(0..bare);
            glued.push_part(line, text.len() - 1..text.len());
            glued
        }
        _ => line.clone(),
    }
}
