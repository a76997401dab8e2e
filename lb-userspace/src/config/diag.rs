//! Diagnostics as data: what is wrong, where, why it matters and what to do. Rendering is [`super::render`]'s.

use super::source::Span;

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The file is refused.
    Error,
    /// Something in the file has no effect or another one than written.
    Warn,
    /// Worth knowing; never changes the verdict.
    Note,
}

impl Level {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Note => "note",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $level:ident;)*) => {
        /// Stable names of all diagnostics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $name] $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As printed and as scripts may match it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The level it normally has.
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)* }
            }
        }
    };
}

codes! {
    UnreadableFile = "unreadable-file", Error;
    MissingParameter = "missing-parameter", Error;
    MissingOpen = "missing-open", Error;
    MissingClose = "missing-close", Error;
    ExtraClose = "extra-close", Error;
    UnexpectedBrace = "unexpected-brace", Error;
    UnterminatedQuote = "unterminated-quote", Error;
    BadSequence = "bad-sequence", Error;
    ExpansionLoop = "expansion-loop", Error;
    TooLarge = "too-large", Error;
    UnknownKeyword = "unknown-keyword", Warn;
    BadValue = "bad-value", Warn;
    TooPrecise = "too-precise", Warn;
    BadAddress = "bad-address", Warn;
    BadRange = "bad-range", Warn;
    FamilyMismatch = "family-mismatch", Warn;
    FlagIgnored = "flag-ignored", Warn;
    Duplicate = "duplicate", Warn;
    Deprecated = "deprecated", Warn;
    LongLine = "long-line", Warn;
    NoSorryServer = "no-sorry-server", Warn;
    CheckerIgnored = "checker-ignored", Warn;
    UrlIgnored = "url-ignored", Warn;
    CheckerUnsupported = "checker-unsupported", Warn;
    NoRealServers = "no-real-servers", Warn;
    EmptyGroup = "empty-group", Warn;
    MixedGroup = "mixed-group", Warn;
    UnknownGroup = "unknown-group", Warn;
    NoProtocol = "no-protocol", Warn;
    ProtocolIgnored = "protocol-ignored", Warn;
    OpsNeedsUdp = "ops-needs-udp", Warn;
    ZeroPort = "zero-port", Warn;
    NoScheduler = "no-scheduler", Warn;
    NoKind = "no-kind", Warn;
    HaSuspendFwmark = "ha-suspend-fwmark", Warn;
    DuplicateRealServer = "duplicate-real-server", Warn;
    DuplicateVirtualServer = "duplicate-virtual-server", Warn;
    SorryInhibitDiffers = "sorry-inhibit-differs", Warn;
    QuorumTooHigh = "quorum-too-high", Warn;
    HysteresisTooHigh = "hysteresis-too-high", Warn;
    PortMismatch = "port-mismatch", Warn;
    PortIgnored = "port-ignored", Warn;
    NotBuiltYet = "not-built-yet", Warn;
    AliasKeyword = "alias-keyword", Note;
    Extension = "extension", Note;
    RunOn = "run-on", Note;
    SurplusWord = "surplus-word", Note;
    IncludeNoMatch = "include-no-match", Note;
    IncludeNotRegular = "include-not-regular", Note;
    NamespaceIgnored = "namespace-ignored", Note;
    SyncIgnored = "sync-ignored", Note;
    ScriptsNotSecured = "scripts-not-secured", Note;
    MoreDiagnostics = "more-diagnostics", Note;
}

/// One thing to say about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diag {
    pub level: Level,
    pub code: Code,
    pub span: Span,
    /// One sentence: what is wrong. Lower case, no full stop.
    pub message: String,
    /// Beside the caret: what was expected.
    pub label: Option<String>,
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diag {
    /// A diagnostic at its code's usual level.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            level: code.level(),
            code,
            span,
            message: message.into(),
            label: None,
            notes: Vec::new(),
            help: None,
        }
    }

    /// Another level than the code's usual one.
    #[must_use]
    pub fn at_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Says beside the caret what was expected.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    /// Adds background.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds "did you mean" if one of `known` is close to `word`.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match closest(word, known) {
            Some(better) => self.help(format!("did you mean `{better}`?")),
            None => self,
        }
    }
}

/// The known word nearest to `word`, if near enough to be a slip.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let folded = word.to_ascii_lowercase();
    let limit = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (distance(&folded, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(steps, _)| *steps <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance by one rolling row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        assert_eq!(closest("wrrr", ["rr", "wrr", "mh"]), Some("wrr"));
        assert_eq!(closest("nat", ["NAT", "DR"]), Some("NAT"));
        assert_eq!(
            closest("persistence_granuality", ["persistence_granularity"]),
            Some("persistence_granularity")
        );
        assert_eq!(closest("mystery_word", ["virtual_server", "weight"]), None);
    }
}
