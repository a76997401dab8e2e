//! What the admin socket's callers get.

use crate::api::{Answer, Ask, Planned, RefusalKind, Reply, Request, Version};
use crate::cli::run::owner::Owner;

use super::{report, rows};

/// Answers one request. Nobody may be listening any more, which is no error.
pub(super) async fn answer(owner: &mut Owner, ask: Ask) {
    let reply = match ask.request {
        Request::Stats => of(report::stats(owner).map(|report| Answer::Stats(Box::new(report)))),
        Request::List => of(report::list(owner).map(Answer::List)),
        Request::Conns(_) => Reply::Rows(rows::start(owner.reader.clone())),
        Request::Reload => match owner.reload().await {
            Ok(reloaded) => Reply::One(Answer::Reload(reloaded)),
            Err(refusal) => Reply::One(Answer::Refused(refusal)),
        },
        Request::Plan { path } => match owner.read(Some(&path)) {
            Ok((model, diagnostics)) => Reply::One(Answer::Plan(Planned {
                generation: owner.state.generation(),
                changes: owner.changes_to(&model),
                diagnostics,
            })),
            Err(refusal) => Reply::One(Answer::Refused(refusal)),
        },
        Request::Version => Reply::One(Answer::Version(Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: owner.args.instance.instance.clone(),
            pid: std::process::id(),
        })),
    };
    let _ = ask.reply.send(reply);
}

fn of<E: std::fmt::Display>(outcome: Result<Answer, E>) -> Reply {
    match outcome {
        Ok(answer) => Reply::One(answer),
        Err(error) => Reply::refused(RefusalKind::Host, error.to_string()),
    }
}
