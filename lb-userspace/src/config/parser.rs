//! Pieces to tree: statements, run-on statements and blocks. keepalived-spec section 3.
//!
//! Reports what is wrong with braces and quotes and goes on; judges no value. Inside blocks that belong to somebody
//! else, and inside unknown blocks, only braces count.

use super::MOST_DIAGNOSTICS;
use super::ast::Statement;
use super::diag::{Code, Diag};
use super::keywords::{self, Block, Keyword, Words};
use super::lexer::{Lexer, Piece};
use super::source::Span;
use super::text::Text;
use super::words::{self, Word};

/// A command, its user and its group.
const SCRIPT_WORDS: usize = 3;

/// More words than a file of any real size has; each takes about a hundred bytes until the model is made.
const MOST_WORDS: usize = 1_500_000;

/// Words kept of a statement that has no use for more: enough for every form, and for messages.
const KEPT_WORDS: usize = 12;

/// Reads everything. Diagnostics are left in the lexer.
pub(super) fn parse(lexer: &mut Lexer<'_>) -> Vec<Statement> {
    let mut parser = Parser { lexer, peeked: None, words: 0, last_run_on: None };
    parser.block(Block::Top, None)
}

struct Parser<'p, 'a> {
    lexer: &'p mut Lexer<'a>,
    peeked: Option<Piece>,
    words: usize,
    /// File and line of the last run-on note: one a line is enough.
    last_run_on: Option<(u32, u32)>,
}

impl Parser<'_, '_> {
    fn next(&mut self) -> Piece {
        match self.peeked.take() {
            Some(piece) => piece,
            None => self.lexer.next_piece(),
        }
    }

    fn peek(&mut self) -> &Piece {
        if self.peeked.is_none() {
            self.peeked = Some(self.lexer.next_piece());
        }
        // Filled just above.
        self.peeked.as_ref().unwrap_or(&Piece::EndOfFile)
    }

    fn report(&mut self, diag: Diag) {
        // After a limit the rest of the file is unread; what is missing then is no news.
        if self.lexer.stopped {
            return;
        }
        let span = diag.span;
        self.lexer.diags.push(diag);
        if self.lexer.diags.len() >= MOST_DIAGNOSTICS {
            self.stop(Diag::new(
                Code::TooLarge,
                span,
                "too many errors; the rest of the file is not read",
            ));
        }
    }

    /// Statements up to the brace that closes the block opened by `opener`.
    fn block(&mut self, context: Block, opener: Option<(&str, Span)>) -> Vec<Statement> {
        let mut statements = Vec::new();
        loop {
            match self.next() {
                Piece::Segment(text) => self.segment(context, &text, &mut statements),
                Piece::OpenQuote(span) => self.report(
                    Diag::new(Code::UnterminatedQuote, span, "this quote is not closed on its line")
                        .help("add the closing `\"`; write `\\\"` for the character itself"),
                ),
                Piece::Open(span) => {
                    self.report(
                        Diag::new(Code::UnexpectedBrace, span, "no statement here opens a block")
                            .label("unexpected `{`"),
                    );
                    self.skip(span, "{");
                }
                Piece::Close(span) if opener.is_none() => self.report(
                    Diag::new(Code::ExtraClose, span, "this `}` closes nothing")
                        .help("every block is closed already; remove the brace or look for one too many above"),
                ),
                Piece::Close(_) => return statements,
                Piece::EndOfFile => {
                    if let Some((name, span)) = opener {
                        self.missing_close(name, span);
                    }
                    return statements;
                }
            }
        }
    }

    fn missing_close(&mut self, name: &str, span: Span) {
        self.report(
            Diag::new(Code::MissingClose, span, format!("the block of `{name}` is never closed"))
                .label("opened here")
                .help("add the missing `}`"),
        );
    }

    /// Skips a block whose `{` was read already.
    fn skip(&mut self, opener: Span, name: &str) {
        let mut depth = 1usize;
        while depth > 0 {
            match self.next() {
                Piece::Open(_) => depth += 1,
                Piece::Close(_) => depth -= 1,
                Piece::Segment(_) | Piece::OpenQuote(_) => {}
                Piece::EndOfFile => {
                    self.missing_close(name, opener);
                    return;
                }
            }
        }
    }

    fn segment(&mut self, context: Block, text: &Text, statements: &mut Vec<Statement>) {
        let mut split = split(context, text);
        if split.len() > 1 {
            self.run_on(&split);
        }
        let Some(last) = split.pop() else { return };
        self.words += split
            .iter()
            .chain([&last])
            .map(|statement| statement.arguments.len() + 1)
            .sum::<usize>();
        if self.words > MOST_WORDS {
            let message = format!("the configuration has more than {MOST_WORDS} words");
            self.stop(Diag::new(Code::TooLarge, last.keyword.span, message));
            return;
        }
        for statement in split {
            if let Some(keyword) = statement.known
                && keyword.opens.is_some()
            {
                self.missing_open(&statement);
            }
            statements.push(statement);
        }
        let finished = self.finish(last);
        if context == Block::GlobalDefs && finished.name() == "include_check" {
            self.lexer.include_check(finished.arguments.iter().map(|word| word.text.as_str()));
        }
        statements.push(finished);
    }

    /// Reports and forgets the rest of the input.
    fn stop(&mut self, diag: Diag) {
        self.peeked = None;
        self.lexer.stop(diag);
    }

    fn run_on(&mut self, split: &[Statement]) {
        let span = split[1].keyword.span;
        if self.last_run_on != Some((span.file, span.line)) {
            self.last_run_on = Some((span.file, span.line));
            let words: Vec<String> = split[1..]
                .iter()
                .take(4)
                .map(|statement| format!("`{}`", statement.name()))
                .collect();
            let more = if split.len() > 5 { ", ..." } else { "" };
            self.report(
                Diag::new(
                    Code::RunOn,
                    span,
                    format!(
                        "several statements in one line: {}{more} read as statements of their own",
                        words.join(", ")
                    ),
                )
                .note("keepalived would take the whole line as arguments of its first word"),
            );
        }
    }

    fn missing_open(&mut self, statement: &Statement) {
        let name = statement.name();
        self.report(
            Diag::new(Code::MissingOpen, statement.span(), format!("`{name}` needs a block"))
                .label("expected `{` after this"),
        );
    }

    /// Reads the block of the last statement of a segment, if there is one.
    fn finish(&mut self, mut statement: Statement) -> Statement {
        let opens = matches!(self.peek(), Piece::Open(_));
        let brace = match self.peek() {
            Piece::Open(span) => *span,
            _ => statement.keyword.span,
        };
        match (statement.known.map(|keyword| keyword.opens), opens) {
            (Some(Some(inner)), true) => {
                self.next();
                let header = statement.span();
                if inner == Block::Opaque {
                    self.skip(header, statement.name());
                    statement.block = Some(Vec::new());
                } else {
                    let name = statement.keyword.text.clone();
                    statement.block = Some(self.block(inner, Some((&name, header))));
                }
            }
            (Some(Some(inner)), false) => {
                self.missing_open(&statement);
                // Most often the brace was forgotten and the block goes on; an empty one ends here.
                let ends = matches!(self.peek(), Piece::Close(_) | Piece::EndOfFile);
                if !ends && inner != Block::Opaque {
                    let name = statement.keyword.text.clone();
                    statement.block = Some(self.block(inner, Some((&name, statement.span()))));
                }
            }
            (Some(None), true) if !self.is_passed(&statement) => {
                self.next();
                let message = format!("`{}` takes no block", statement.name());
                self.report(
                    Diag::new(Code::UnexpectedBrace, brace, message).label("unexpected `{`"),
                );
                self.skip(brace, "{");
            }
            (_, true) => {
                self.next();
                self.skip(statement.span(), statement.name());
                statement.block = Some(Vec::new());
            }
            (_, false) => {}
        }
        statement
    }

    /// Words of other parts of keepalived, known by their prefix only, may or may not open a block.
    #[expect(clippy::unused_self, reason = "reads as a question to the parser beside its siblings")]
    fn is_passed(&self, statement: &Statement) -> bool {
        statement.known.is_some_and(|keyword| keyword.name.ends_with('*'))
    }
}

/// The statements of one segment.
fn split(context: Block, text: &Text) -> Vec<Statement> {
    let words = words::ordinary(text);
    let mut statements = Vec::new();
    let mut from = 0;
    while from < words.len() {
        let keyword = &words[from];
        if context.is_list() || context == Block::Opaque {
            let arguments = kept(&words[from + 1..]);
            statements.push(Statement {
                keyword: keyword.clone(),
                arguments,
                known: None,
                block: None,
            });
            break;
        }
        let known = keywords::find(context, &keyword.text);
        let (arguments, next) = match known {
            Some(known) => arguments(context, known, text, &words, from),
            // All of an unknown statement is ignored, as in keepalived.
            None => (kept(&words[from + 1..]), words.len()),
        };
        statements.push(Statement { keyword: keyword.clone(), arguments, known, block: None });
        from = next;
    }
    statements
}

/// The arguments of the statement that starts at word `from`, and the word at which the next one starts.
fn arguments(
    context: Block,
    known: &Keyword,
    text: &Text,
    words: &[Word],
    from: usize,
) -> (Vec<Word>, usize) {
    let first = from + 1;
    let ends_at = |start: usize| {
        (start..words.len())
            .find(|at| context.runs_on() && keywords::find(context, &words[*at].text).is_some())
            .unwrap_or(words.len())
    };
    match known.words {
        Words::All => (words[first..].to_vec(), words.len()),
        Words::ScriptAll => (
            words::shell_like(text, words[from].end..text.as_str().len(), SCRIPT_WORDS),
            words.len(),
        ),
        Words::Script => {
            // The command is one shell-like word; where it ends the ordinary words go on.
            let all = words::shell_like(text, words[from].end..text.as_str().len(), SCRIPT_WORDS);
            let Some(command_end) = all.first().map(|word| word.end) else {
                return (Vec::new(), words.len());
            };
            let resume = words[first..].iter().position(|word| word.end > command_end);
            let end = ends_at(resume.map_or(words.len(), |at| first + at));
            let limit = if end < words.len() { words[end - 1].end } else { text.as_str().len() };
            (words::shell_like(text, words[from].end..limit, SCRIPT_WORDS), end)
        }
        Words::Plain => {
            let end = ends_at((first + known.needs).min(words.len()));
            (kept(&words[first..end]), end)
        }
    }
}

fn kept(words: &[Word]) -> Vec<Word> {
    words[..words.len().min(KEPT_WORDS)].to_vec()
}
