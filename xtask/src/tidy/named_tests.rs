//! Pages that name tests: each named one exists.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::process::root;
use crate::sources::Source;

/// Tables whose last column names tests.
const PAGES: &[&str] = &["docs/rfc-conformance.md"];

/// Names of tests in the pages that no function has.
pub(super) fn missing(rust: &[Source]) -> Result<Vec<String>> {
    let known = functions(rust);
    let mut missing = Vec::new();
    for page in PAGES {
        let text = std::fs::read_to_string(root().join(page))
            .with_context(|| format!("cannot read {page}"))?;
        let unknown = named(&text).filter(|name| !known.contains(name));
        missing.extend(unknown.map(|name| format!("{page}: no test is called `{name}`")));
    }
    Ok(missing)
}

fn functions(rust: &[Source]) -> BTreeSet<&str> {
    let lines = rust.iter().flat_map(|source| source.text.lines());
    lines
        .filter_map(|line| line.split_once("fn ").map(|(_, rest)| rest))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect()
}

/// The words in backticks in the last column of a page's tables.
fn named(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_last_column_of_tables() {
        let page = "`not`\n| a | `nor this` | `one`, `two` |\n| b | | |\n";
        assert_eq!(named(page).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn functions_are_known_by_their_names() {
        let text = "    pub fn one() {}\nasync fn two<T>(t: T) {}\n// three\n".to_owned();
        let rust = [Source { path: "a.rs".into(), text }];
        assert_eq!(functions(&rust), BTreeSet::from(["one", "two"]));
    }
}
