//! What the admin socket's callers get.

use std::path::Path;

use super::owner::Owner;
use super::{capture, report, rows, trial};
use crate::api::{Answer, Ask, Planned, Refusal, RefusalKind, Reply, Request, Version};

/// Answers one request. Nobody may be listening any more, which is no error.
pub(super) async fn answer(owner: &mut Owner, ask: Ask) {
    let reply = match ask.request {
        Request::Stats => of(report::stats(owner).map(|report| Answer::Stats(Box::new(report)))),
        Request::List => of(report::list(owner).map(Answer::List)),
        Request::Conns(_) => Reply::Rows(rows::start(owner.reader.clone())),
        Request::Capture(wish) => capture::begin(owner, &wish),
        Request::Reload => match owner.reload().await {
            Ok(reloaded) => Reply::One(Answer::Reload(reloaded)),
            Err(refusal) => {
                tracing::error!("reload refused: {}", refusal.message.trim_end());
                Reply::One(Answer::Refused(refusal))
            }
        },
        Request::Plan { path } => match plan(owner, &path) {
            Ok(planned) => Reply::One(Answer::Plan(planned)),
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

/// What a reload would change, or why it would be refused.
fn plan(owner: &Owner, path: &Path) -> Result<Planned, Refusal> {
    let (model, diagnostics) = owner.read(Some(path))?;
    trial(&owner.args, &model, &owner.node)
        .map_err(|error| Refusal::new(RefusalKind::Configuration, error.to_string()))?;
    let changes = owner.changes_to(&model);
    Ok(Planned { generation: owner.state.generation(), changes, diagnostics })
}

fn of<E: std::fmt::Display>(outcome: Result<Answer, E>) -> Reply {
    match outcome {
        Ok(answer) => Reply::One(answer),
        Err(error) => Reply::refused(RefusalKind::Host, error.to_string()),
    }
}
