//! The commands' side of the admin socket: blocking, one request after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::message::{
    self, Answer, DecodeError, Planned, Refusal, RefusalKind, Reloaded, Request, Version,
};
use super::{MAX_ANSWER, SOCKET};
use crate::stats::capture::{Began, Ended, Packet, Wish};
use crate::stats::conn::{ConnFilter, ConnRow};
use crate::stats::listing::Listing;
use crate::stats::report::Report;

/// Longer than the daemon gives its own owner, so that its word on the matter arrives.
const PATIENCE: Duration = Duration::from_secs(75);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no xlb instance `{instance}` answers at {path}; is `xlb run` running?")]
    NoDaemon { instance: String, path: PathBuf },
    #[error(
        "may not talk to xlb at {path}: permission denied; hint: run as root or in the socket's group"
    )]
    Denied { path: PathBuf },
    #[error("{0}")]
    Refused(Refusal),
    #[error("cannot talk to xlb at {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("xlb at {path} did not answer within {} s", PATIENCE.as_secs())]
    Late { path: PathBuf },
    #[error("xlb at {path} hung up in the middle of an answer")]
    HungUp { path: PathBuf },
    #[error("what answers at {path} is no xlb of this version: {source}; this command is xlb {}", env!("CARGO_PKG_VERSION"))]
    Other { path: PathBuf, source: DecodeError },
    #[error("xlb at {path} answered something else than was asked")]
    Unexpected { path: PathBuf },
    /// What was to be done with a row could not be done.
    #[error("cannot write the rows out")]
    Output(#[source] io::Error),
}

impl ClientError {
    /// Whether there is no daemon at all.
    pub const fn is_no_daemon(&self) -> bool {
        matches!(self, Self::NoDaemon { .. })
    }

    /// Whose fault the daemon says it is, if it answered.
    pub const fn refusal(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind),
            _ => None,
        }
    }
}

/// Ends a capture from another thread.
#[derive(Debug)]
pub struct Stopper(UnixStream);

impl Stopper {
    /// The daemon hears that no more is wanted; what it has seen still comes.
    pub fn stop(&self) {
        // A connection that is gone has ended.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

/// A connection to the daemon of one instance.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the instance whose run directory is `run_dir`; `instance` is only named in errors.
    pub fn connect(run_dir: &Path, instance: &str) -> Result<Self, ClientError> {
        let path = run_dir.join(SOCKET);
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(source) => {
                return Err(match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        ClientError::NoDaemon { instance: instance.to_owned(), path }
                    }
                    io::ErrorKind::PermissionDenied => ClientError::Denied { path },
                    _ => ClientError::Io { path, source },
                });
            }
        };
        let bounded = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        match bounded {
            Ok(()) => Ok(Self { stream: BufReader::new(stream), path }),
            Err(source) => Err(ClientError::Io { path, source }),
        }
    }

    /// The counters.
    pub fn stats(&mut self) -> Result<Report, ClientError> {
        match self.ask(&Request::Stats)? {
            Answer::Stats(report) => Ok(*report),
            _ => Err(self.unexpected()),
        }
    }

    /// The table.
    pub fn list(&mut self) -> Result<Listing, ClientError> {
        match self.ask(&Request::List)? {
            Answer::List(listing) => Ok(listing),
            _ => Err(self.unexpected()),
        }
    }

    /// Calls `row` for each connection; returns how many there were.
    pub fn conns(
        &mut self,
        filter: &ConnFilter,
        mut row: impl FnMut(&ConnRow) -> io::Result<()>,
    ) -> Result<u64, ClientError> {
        self.send(&Request::Conns(filter.clone()))?;
        loop {
            match self.receive()? {
                Answer::Conn(conn) => row(&conn).map_err(ClientError::Output)?,
                Answer::End { rows } => return Ok(rows),
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Reads the configuration again.
    pub fn reload(&mut self) -> Result<Reloaded, ClientError> {
        match self.ask(&Request::Reload)? {
            Answer::Reload(done) => Ok(done),
            _ => Err(self.unexpected()),
        }
    }

    /// What a reload of the file at `path`, absolute, would change.
    pub fn plan(&mut self, path: &Path) -> Result<Planned, ClientError> {
        match self.ask(&Request::Plan { path: path.to_owned() })? {
            Answer::Plan(planned) => Ok(planned),
            _ => Err(self.unexpected()),
        }
    }

    /// Which daemon it is.
    pub fn version(&mut self) -> Result<Version, ClientError> {
        match self.ask(&Request::Version)? {
            Answer::Version(version) => Ok(version),
            _ => Err(self.unexpected()),
        }
    }

    /// Captures until a bound is reached or [`Stopper::stop`] is called. `began` is told first, `packets` what comes.
    pub fn capture<T>(
        &mut self,
        wish: &Wish,
        began: impl FnOnce(&Began) -> io::Result<T>,
        mut packets: impl FnMut(&mut T, &[Packet]) -> io::Result<()>,
    ) -> Result<(T, Ended), ClientError> {
        self.send(&Request::Capture(wish.clone()))?;
        let Answer::CaptureBegan(beginning) = self.receive()? else {
            return Err(self.unexpected());
        };
        // Nothing may come for as long as the capture may last.
        let patience = PATIENCE.saturating_add(Duration::from_secs(wish.seconds));
        self.stream.get_mut().set_read_timeout(Some(patience)).map_err(|error| self.io(error))?;
        let mut kept = began(&beginning).map_err(ClientError::Output)?;
        loop {
            match self.receive()? {
                Answer::Captured(come) => {
                    packets(&mut kept, &come).map_err(ClientError::Output)?;
                }
                Answer::CaptureEnded(ended) => return Ok((kept, ended)),
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// For another thread, to end a capture.
    pub fn stopper(&self) -> Result<Stopper, ClientError> {
        self.stream.get_ref().try_clone().map(Stopper).map_err(|source| self.io(source))
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let sent = message::encode(request)
            .map_err(io::Error::from)
            .and_then(|line| self.stream.get_mut().write_all(&line));
        match sent {
            // It has refused us already and hung up; its reason is waiting to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|source| self.io(source)),
        }
    }

    fn receive(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        (&mut self.stream)
            .take(MAX_ANSWER)
            .read_until(b'\n', &mut line)
            .map_err(|source| self.io(source))?;
        if line.last() != Some(&b'\n') {
            return Err(ClientError::HungUp { path: self.path.clone() });
        }
        match message::decode(&line) {
            Ok(Answer::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Ok(answer) => Ok(answer),
            Err(source) => Err(ClientError::Other { path: self.path.clone(), source }),
        }
    }

    fn io(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Late { path },
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ClientError::HungUp { path }
            }
            _ => ClientError::Io { path, source },
        }
    }

    fn unexpected(&self) -> ClientError {
        ClientError::Unexpected { path: self.path.clone() }
    }
}
