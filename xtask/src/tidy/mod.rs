//! `cargo xtask tidy`: the rules of the house that no compiler checks. Who may import whom, how long a file may be,
//! frozen numbers, fresh generated pages, nothing of the machine in tracked files.

mod files;
mod imports;
mod named_tests;

use anyhow::{Result, bail};

use crate::{coverage, docs, sources};

/// Checks all rules and tells everything that breaks one.
pub(crate) fn tidy() -> Result<()> {
    let rust = sources::rust()?;
    let mut broken = imports::broken(&rust);
    broken.extend(files::too_long(&rust));
    broken.extend(files::of_this_machine(&sources::tracked()?)?);
    broken.extend(named_tests::missing(&rust)?);
    for page in [docs::check(), coverage::coverage(false, true)] {
        broken.extend(page.err().map(|error| format!("{error:#}")));
    }
    if broken.is_empty() {
        println!("tidy: {} Rust files", rust.len());
        return Ok(());
    }
    for sentence in &broken {
        eprintln!("{sentence}");
    }
    bail!("{} rules of the house broken", broken.len())
}
