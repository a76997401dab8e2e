//! The daemon's side of the admin socket.
//!
//! Every bound is here: how long a request may be, how long anything may take, how many callers at once. A caller
//! that is slow or goes away costs a task, never the owner's time.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handler::{Handler, Reply};
use super::message::{self, Answer, DecodeError, Refusal, RefusalKind, Request};
use super::peer::{self, Level};
use super::{MAX_REQUEST, PROTOCOL, SOCKET};
use crate::stats::conn::{ConnFilter, ConnRow};

/// Callers at once; more wait in the socket's backlog.
const CALLERS: usize = 64;
/// How long a caller may take to send a request, or between requests.
const IDLE: Duration = Duration::from_secs(10);
/// How long a caller may take to accept what is sent to it before it is given up.
const STALLED: Duration = Duration::from_secs(10);
/// How long the owner may take to answer.
const ANSWER: Duration = Duration::from_mins(1);

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot create the run directory `{path}`; hint: `--run-dir` names another")]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "another xlb answers at `{path}`; hint: stop it, or give this one another `--instance`"
    )]
    Taken { path: PathBuf },
    #[error("`{path}` is in the way and is no socket; hint: look at it and move it away")]
    NotSocket { path: PathBuf },
    #[error("cannot listen at `{path}`")]
    Listen { path: PathBuf, source: io::Error },
}

/// The socket, listening. The file goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that only our own file is removed.
    file: (u64, u64),
}

impl Server {
    /// Listens at `admin.sock` in `run_dir`, which is made if it is not there. A socket that a dead daemon left is
    /// replaced. Must be called within a tokio runtime.
    pub fn bind(run_dir: &Path) -> Result<Self, BindError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_dir)
            .map_err(|source| BindError::Directory { path: run_dir.to_owned(), source })?;
        let path = run_dir.join(SOCKET);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotSocket { path });
            }
            Ok(_) if StdUnixStream::connect(&path).is_ok() => {
                return Err(BindError::Taken { path });
            }
            _ => {}
        }
        // Made beside its place and moved there, so that it is never seen with another mode.
        let draft = run_dir.join(format!(".{}.sock", std::process::id()));
        let _ = fs::remove_file(&draft);
        let (listener, file) = listen(&draft, &path).map_err(|source| {
            let _ = fs::remove_file(&draft);
            BindError::Listen { path: path.clone(), source }
        })?;
        Ok(Self { listener, path, file })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until `stop`; callers are cut off then.
    pub async fn serve(self, handler: impl Handler, stop: CancellationToken) {
        let handler = Arc::new(handler);
        let callers = Arc::new(Semaphore::new(CALLERS));
        let tasks = TaskTracker::new();
        while let Some(permit) = until(&stop, Arc::clone(&callers).acquire_owned()).await {
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            match until(&stop, self.listener.accept()).await {
                None => break,
                Some(Ok((stream, _))) => {
                    let call = call(stream, permit, Arc::clone(&handler), self.path.clone());
                    let stop = stop.clone();
                    tasks.spawn(async move { until(&stop, call).await });
                }
                Some(Err(error)) => {
                    // Out of file descriptors, most likely; the backlog keeps the callers meanwhile.
                    tracing::warn!(%error, "cannot accept a caller at the admin socket");
                    let _ = until(&stop, tokio::time::sleep(Duration::from_secs(1))).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen(draft: &Path, path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let listener = UnixListener::bind(draft)?;
    fs::set_permissions(draft, fs::Permissions::from_mode(0o660))?;
    let made = fs::symlink_metadata(draft)?;
    fs::rename(draft, path)?;
    Ok((listener, (made.dev(), made.ino())))
}

/// What `work` gives, or `None` once the daemon stops.
async fn until<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

/// One caller, from its first request to its last. Errors of its socket end it; they are of interest to nobody.
async fn call<H: Handler>(
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
    handler: Arc<H>,
    path: PathBuf,
) {
    let level = peer::level(&stream, &path).unwrap_or(Level::Nobody);
    let (input, output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut output = BufWriter::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut input).take(MAX_REQUEST as u64);
        let Ok(Ok(1..)) = timeout(IDLE, bounded.read_until(b'\n', &mut line)).await else {
            return;
        };
        let outcome = if line.last() == Some(&b'\n') {
            answer(&line, level, &*handler).await
        } else {
            // Cut off by the bound or by the caller: nothing after it can be understood.
            let message = format!("a request ends with a line end within {MAX_REQUEST} bytes");
            Outcome::refused(RefusalKind::Protocol, message)
        };
        let mut last = outcome.last;
        let sent = match outcome.reply {
            Reply::One(answer) => send(&mut output, &answer).await,
            Reply::Rows(rows) => send_rows(&mut output, rows, &outcome.filter).await,
            Reply::Stream { answers, stop } => {
                // Its end is said by closing, after which there is nothing more to ask.
                last = true;
                send_stream(&mut output, &mut input, answers, &stop).await
            }
        };
        if sent.is_err() || flush(&mut output).await.is_err() || last {
            return;
        }
    }
}

/// What a line led to.
struct Outcome {
    reply: Reply,
    /// For [`Reply::Rows`].
    filter: ConnFilter,
    /// The caller is not heard again.
    last: bool,
}

impl Outcome {
    fn refused(kind: RefusalKind, message: impl Into<String>) -> Self {
        let reply = Reply::refused(kind, message);
        Self { reply, filter: ConnFilter::default(), last: true }
    }
}

async fn answer<H: Handler>(line: &[u8], level: Level, handler: &H) -> Outcome {
    if level == Level::Nobody {
        let message = "only root, the daemon's user and the socket's group may ask";
        return Outcome::refused(RefusalKind::Forbidden, message);
    }
    let request: Request = match message::decode(line) {
        Ok(request) => request,
        Err(DecodeError::OtherVersion { theirs }) => {
            let message = format!(
                "this daemon is xlb {} and speaks version {PROTOCOL} of the admin protocol, the caller \
                 version {theirs}; hint: use the `xlb` command that the daemon was started from",
                env!("CARGO_PKG_VERSION")
            );
            return Outcome::refused(RefusalKind::Protocol, message);
        }
        Err(error @ DecodeError::Malformed(_)) => {
            return Outcome::refused(RefusalKind::Protocol, error.to_string());
        }
    };
    if request.is_privileged() && level != Level::Full {
        let message = "only root and the daemon's user may ask this";
        return Outcome::refused(RefusalKind::Forbidden, message);
    }
    let filter = match &request {
        Request::Conns(filter) => filter.clone(),
        _ => ConnFilter::default(),
    };
    match timeout(ANSWER, handler.handle(request)).await {
        Ok(reply) => Outcome { reply, filter, last: false },
        Err(_) => Outcome::refused(
            RefusalKind::Busy,
            format!("the daemon did not answer within {} s", ANSWER.as_secs()),
        ),
    }
}

async fn send_rows<W: AsyncWrite + Unpin>(
    output: &mut W,
    mut batches: mpsc::Receiver<Vec<ConnRow>>,
    filter: &ConnFilter,
) -> io::Result<()> {
    let limit = filter.limit.unwrap_or(u64::MAX);
    let mut rows = 0;
    'batches: while let Some(batch) = batches.recv().await {
        for row in batch {
            if rows == limit {
                break 'batches;
            }
            if filter.matches(&row) {
                send(output, &Answer::Conn(row)).await?;
                rows += 1;
            }
        }
    }
    // Tells the task that dumps the table to stop.
    drop(batches);
    send(output, &Answer::End { rows }).await
}

/// Sends what comes, at once, until there is no more. Anything that the caller says, its going away above all, means that
/// it wants no more; what is on its way is sent still.
async fn send_stream<W: AsyncWrite + Unpin, R: AsyncBufRead + Unpin>(
    output: &mut W,
    input: &mut R,
    mut answers: mpsc::Receiver<Answer>,
    stop: &CancellationToken,
) -> io::Result<()> {
    loop {
        let answer = tokio::select! {
            answer = answers.recv() => answer,
            _ = input.fill_buf(), if !stop.is_cancelled() => {
                stop.cancel();
                continue;
            }
        };
        let Some(answer) = answer else { return Ok(()) };
        send(output, &answer).await?;
        flush(output).await?;
    }
}

async fn send<W: AsyncWrite + Unpin>(output: &mut W, answer: &Answer) -> io::Result<()> {
    let line = message::encode(answer).or_else(|error| {
        let message = format!("the answer cannot be written as JSON: {error}");
        message::encode(&Answer::Refused(Refusal::new(RefusalKind::Failed, message)))
    })?;
    timeout(STALLED, output.write_all(&line)).await?
}

async fn flush<W: AsyncWrite + Unpin>(output: &mut W) -> io::Result<()> {
    timeout(STALLED, output.flush()).await?
}
