//! `docs/keepalived-compat.md`, printed from the keyword table.

use std::fmt::Write as _;

use super::keywords::{self, Block, Class, Keyword};
use super::unbuilt;

const ORDER: [Block; 20] = [
    Block::Top,
    Block::GlobalDefs,
    Block::Ssl,
    Block::Mark,
    Block::VirtualServer,
    Block::RealServer,
    Block::TcpCheck,
    Block::HttpGet,
    Block::SslGet,
    Block::Url,
    Block::SmtpCheck,
    Block::SmtpHost,
    Block::DnsCheck,
    Block::UdpCheck,
    Block::PingCheck,
    Block::MiscCheck,
    Block::BfdCheck,
    Block::FileCheck,
    Block::Group,
    Block::LocalGroup,
];

const INTRODUCTION: &str = "\
# keepalived.conf under xlb

Generated from the keyword table in `lb-userspace/src/config/keywords`; `XLB_BLESS=1 cargo test -p xlb compat` writes it
anew.

- **works**: does what keepalived 2.2.7 does;
- **not built yet**: read, checked and warned about (`not-built-yet`); has no effect in this version;
- **accepted**: read without a warning, without effect: harmless here, or it stays with `keepalived -P`;
- **xlb**: xlb's own word; keepalived warns about it.

A word that is in no table is reported as `unknown-keyword` and ignored together with its block. In `global_defs` a star
stands for any ending.
";

/// The whole page.
pub fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    for block in ORDER {
        let rows: Vec<&Keyword> =
            keywords::all().filter(|row| row.blocks.contains(&block)).collect();
        if rows.is_empty() {
            continue;
        }
        // Writing to a string does not fail.
        let _ = write!(out, "\n## {}\n\n", block.name());
        out.push_str("| word | arguments | default | state | meaning | read by |\n");
        out.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for row in rows {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} |",
                row.name,
                cell(row.arguments),
                cell(row.default),
                state(block, row),
                meaning(block, row),
                cell(row.source),
            );
        }
    }
    out
}

fn state(block: Block, row: &Keyword) -> &'static str {
    match (unbuilt::keyword(block, row.name), row.class) {
        (Some(_), _) => "not built yet",
        (None, Class::Supported) => "works",
        (None, Class::WithoutEffect) => "accepted",
        (None, Class::Extension) => "xlb",
    }
}

fn meaning(block: Block, row: &Keyword) -> String {
    match unbuilt::keyword(block, row.name) {
        Some(effect) => format!("{}; so far: {effect}", cell(row.doc)),
        None => cell(row.doc),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_committed_page_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/keepalived-compat.md");
        let page = super::page();
        if std::env::var("XLB_BLESS").is_ok_and(|value| value == "1") {
            std::fs::write(&path, &page).expect("written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == page,
            "docs/keepalived-compat.md is stale; XLB_BLESS=1 cargo test -p xlb compat writes it anew"
        );
    }
}
