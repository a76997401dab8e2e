//! The one keyword table: what may stand where, how many words it needs, and how far xlb obeys it.
//!
//! The parser splits run-on statements with it, lowering reports unknown words with it, and
//! `docs/keepalived-compat.md` is printed from it. The rows are in one file a group of blocks.

mod checkers;
mod globals;
mod servers;

/// Where a statement may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Block {
    Top,
    GlobalDefs,
    /// One mail address a statement.
    EmailList,
    Ssl,
    /// `virtual_server_group`: one member a statement.
    Group,
    /// `local_address_group`: one member a statement.
    LocalGroup,
    /// `xlb_mark`.
    Mark,
    VirtualServer,
    RealServer,
    TcpCheck,
    HttpGet,
    SslGet,
    Url,
    SmtpCheck,
    SmtpHost,
    DnsCheck,
    UdpCheck,
    PingCheck,
    MiscCheck,
    BfdCheck,
    FileCheck,
    /// Belongs to somebody else: only braces count.
    Opaque,
}

impl Block {
    /// As messages and the compatibility page call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Top => "top level",
            Self::GlobalDefs => "global_defs",
            Self::EmailList => "notification_email",
            Self::Ssl => "SSL",
            Self::Group => "virtual_server_group",
            Self::LocalGroup => "local_address_group",
            Self::Mark => "xlb_mark",
            Self::VirtualServer => "virtual_server",
            Self::RealServer => "real_server",
            Self::TcpCheck => "TCP_CHECK",
            Self::HttpGet => "HTTP_GET",
            Self::SslGet => "SSL_GET",
            Self::Url => "url",
            Self::SmtpCheck => "SMTP_CHECK",
            Self::SmtpHost => "host",
            Self::DnsCheck => "DNS_CHECK",
            Self::UdpCheck => "UDP_CHECK",
            Self::PingCheck => "PING_CHECK",
            Self::MiscCheck => "MISC_CHECK",
            Self::BfdCheck => "BFD_CHECK",
            Self::FileCheck => "FILE_CHECK",
            Self::Opaque => "skipped block",
        }
    }

    /// Statements here start with any word.
    pub const fn is_list(self) -> bool {
        matches!(self, Self::EmailList | Self::Group | Self::LocalGroup)
    }

    /// Several statements may share a line here (keepalived-spec section 3).
    pub const fn runs_on(self) -> bool {
        !matches!(
            self,
            Self::Top
                | Self::GlobalDefs
                | Self::EmailList
                | Self::Ssl
                | Self::Group
                | Self::LocalGroup
                | Self::Mark
                | Self::Opaque
        )
    }
}

/// How far xlb obeys a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Does what keepalived does.
    Supported,
    /// Read and checked for braces, nothing else: harmless here or somebody else's business.
    WithoutEffect,
    /// xlb's own word; keepalived warns.
    Extension,
}

/// How the words after a keyword are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Split once; a keyword among them starts a new statement where statements run on.
    Plain,
    /// Split once; all words up to the brace or the line's end belong to it.
    All,
    /// Split by the shell-like rule (scripts): the first word is the command.
    Script,
    /// Split by the shell-like rule and all of it belongs here.
    ScriptAll,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    pub name: &'static str,
    pub blocks: &'static [Block],
    /// Fewer words are fatal, in keepalived too.
    pub needs: usize,
    pub words: Words,
    /// The block it opens.
    pub opens: Option<Block>,
    pub class: Class,
    /// Form of the arguments.
    pub arguments: &'static str,
    pub default: &'static str,
    pub doc: &'static str,
    /// File of keepalived 2.2.7 that reads it; empty for xlb's own words.
    pub source: &'static str,
}

const fn row(blocks: &'static [Block], name: &'static str, needs: usize) -> Keyword {
    Keyword {
        name,
        blocks,
        needs,
        words: Words::Plain,
        opens: None,
        class: Class::Supported,
        arguments: "",
        default: "",
        doc: "",
        source: "check/check_parser.c",
    }
}

impl Keyword {
    const fn takes(mut self, arguments: &'static str) -> Self {
        self.arguments = arguments;
        self
    }
    const fn else_(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
    const fn opens(mut self, block: Block) -> Self {
        self.opens = Some(block);
        self
    }
    const fn words(mut self, words: Words) -> Self {
        self.words = words;
        self
    }
    const fn from(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }
    const fn ignored(mut self) -> Self {
        self.class = Class::WithoutEffect;
        self
    }
    const fn own(mut self) -> Self {
        self.class = Class::Extension;
        self.source = "";
        self
    }
}

/// All rows, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Keyword> {
    globals::ROWS.iter().chain(servers::ROWS).chain(checkers::ROWS)
}

/// The row for a word in a block.
pub fn find(block: Block, word: &str) -> Option<&'static Keyword> {
    all().find(|row| {
        row.blocks.contains(&block)
            && match row.name.strip_suffix('*') {
                Some(prefix) => word.starts_with(prefix),
                None => row.name == word,
            }
    })
}

/// The words known in a block, for suggestions.
pub fn names(block: Block) -> impl Iterator<Item = &'static str> {
    all()
        .filter(move |row| row.blocks.contains(&block) && !row.name.ends_with('*'))
        .map(|row| row.name)
}

/// Blocks in which a word is known, for "belongs into".
pub fn blocks_of(word: &str) -> Vec<Block> {
    all().filter(|row| row.name == word).flat_map(|row| row.blocks).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Block, all, find};

    #[test]
    fn a_word_has_one_row_in_a_block() {
        let mut seen = HashSet::new();
        for row in all() {
            for block in row.blocks {
                assert!(seen.insert((row.name, *block)), "{} twice in {}", row.name, block.name());
            }
            assert!(!row.doc.is_empty(), "{} has no description", row.name);
        }
    }

    #[test]
    fn words_are_looked_up_by_block() {
        assert!(find(Block::VirtualServer, "lb_kind").is_some());
        assert!(find(Block::RealServer, "lb_kind").is_none());
        assert!(find(Block::HttpGet, "nb_get_retry").is_some());
        assert!(find(Block::TcpCheck, "nb_get_retry").is_none());
        assert!(find(Block::GlobalDefs, "vrrp_garp_master_refresh").is_some());
        assert!(find(Block::GlobalDefs, "lvs_id").is_none());
    }
}
