//! Script words: a command line, a user, a group. keepalived-spec section 2.9.

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::model::Script;
use super::super::words::command_line;
use super::values::{Out, bad};

/// Reads `notify_up` and its siblings. The first one wins.
pub(super) fn read_once(out: &mut Out, statement: &Statement, slot: &mut Option<Script>) {
    if slot.is_some() {
        let message = format!("`{}` was given already; the first one stays", statement.name());
        out.push(Diag::new(Code::Duplicate, statement.keyword.span, message));
        return;
    }
    let argv = statement.arguments.first().map(command_line).unwrap_or_default();
    if argv.is_empty() {
        bad(out, statement, 0, "a command");
        return;
    }
    *slot = Some(Script {
        argv,
        user: statement.argument(1).map(str::to_owned),
        group: statement.argument(2).map(str::to_owned),
    });
}

/// The argv of a `misc_path`, which takes the whole line.
pub(super) fn misc_path(statement: &Statement) -> Vec<String> {
    statement.arguments.first().map(command_line).unwrap_or_default()
}
