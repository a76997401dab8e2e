//! `cargo xtask golden`: the golden packets under `tests/golden`, held against every data path, or written anew.

use anyhow::Result;

use crate::process::{cargo, run, say};

/// The test of that name makes the files, or sees that they are what it would make.
const MAKES: &str = "the_committed_files_are_what_the_generators_make";

/// `write`: makes the files anew first. What is different then is a change of behaviour, to be read.
pub(crate) fn golden(write: bool) -> Result<()> {
    let test = ["test", "--package", "lb-tests", "--test", "golden"];
    if write {
        run(cargo().args(test).arg(MAKES).env("XLB_GOLDEN", "write"))?;
        say("written; `git diff tests/golden` shows what is different");
    }
    run(cargo().args(test).args(["--", "--nocapture"]))
}
