//! The tree of statements, as written: words and spans, nothing judged.

use super::keywords::Keyword;
use super::source::Span;
use super::words::Word;

/// One statement.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub keyword: Word,
    pub arguments: Vec<Word>,
    /// The table's row; `None` if the word is not known where it stands (or any word may stand there).
    pub known: Option<&'static Keyword>,
    /// The statements in braces; `None` without braces, empty if they were skipped.
    pub block: Option<Vec<Statement>>,
}

impl Statement {
    /// The keyword's text.
    pub(super) fn name(&self) -> &str {
        &self.keyword.text
    }

    /// Keyword and arguments.
    pub(super) fn span(&self) -> Span {
        self.arguments.last().map_or(self.keyword.span, |last| self.keyword.span.to(last.span))
    }

    /// Text of the argument at `index`.
    pub(super) fn argument(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).map(|word| word.text.as_str())
    }

    /// Where the argument at `index` stands; the keyword if there is none.
    pub(super) fn argument_span(&self, index: usize) -> Span {
        self.arguments.get(index).map_or(self.keyword.span, |word| word.span)
    }

    /// The statements inside, if any.
    pub(super) fn statements(&self) -> &[Self] {
        self.block.as_deref().unwrap_or(&[])
    }
}
