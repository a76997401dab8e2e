//! Who answers: the seam between the socket and the owner of the state.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::message::{Answer, Refusal, RefusalKind, Request};
use crate::stats::conn::ConnRow;

/// How the daemon answers one request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each request under way, no more")]
pub enum Reply {
    /// One answer.
    One(Answer),
    /// Rows in batches until the channel closes; for [`Request::Conns`]. The channel is bounded by whoever makes it:
    /// a slow client holds up the sender, so the rows must come from a task of their own, never from the owner.
    Rows(mpsc::Receiver<Vec<ConnRow>>),
    /// Answers until the channel closes; for [`Request::Capture`]. They come from a task of their own, too, which ends
    /// when it is told that the caller wants no more, or has gone.
    Stream { answers: mpsc::Receiver<Answer>, stop: CancellationToken },
}

impl Reply {
    /// A refusal.
    pub fn refused(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self::One(Answer::Refused(Refusal::new(kind, message)))
    }
}

/// Answers requests, many at a time.
pub trait Handler: Send + Sync + 'static {
    /// Must come back: the server waits no longer than its deadline and then tells the client so.
    fn handle(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// A request on its way to the owner, and where the owner puts its reply.
#[derive(Debug)]
pub struct Ask {
    pub request: Request,
    /// Sending never blocks; nobody may be listening any more.
    pub reply: oneshot::Sender<Reply>,
}

/// The [`Handler`] that passes requests to an owner that folds events one by one.
#[derive(Clone, Debug)]
pub struct Sender(mpsc::Sender<Ask>);

/// A handler and the owner's end of it; `capacity` requests may wait.
pub fn channel(capacity: usize) -> (Sender, mpsc::Receiver<Ask>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Sender(sender), receiver)
}

impl Handler for Sender {
    async fn handle(&self, request: Request) -> Reply {
        let (reply, answered) = oneshot::channel();
        let stopping = || Reply::refused(RefusalKind::Busy, "the daemon is stopping");
        if self.0.send(Ask { request, reply }).await.is_err() {
            return stopping();
        }
        answered.await.unwrap_or_else(|_| stopping())
    }
}
