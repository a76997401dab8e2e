use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::control::diff::{Change, PlanLine};

use super::message::{decode, encode};
use super::*;
use crate::stats::capture;
use crate::stats::conn::{ConnFilter, ConnRow};
use crate::stats::listing::Listing;
use crate::stats::report::{self, Protocol};

fn row(port: u16) -> ConnRow {
    ConnRow {
        protocol: Protocol::Tcp,
        client: ([192, 0, 2, 7], port).into(),
        service: ([10, 64, 1, 2], 10_000).into(),
        local: None,
        real: ([192, 168, 1, 100], 8089).into(),
        state: "ESTABLISHED".into(),
        expires_s: 900,
        in_packets: None,
        out_packets: None,
        in_bytes: None,
        out_bytes: None,
        template: false,
    }
}

/// Answers like a daemon with `rows` connections; counts the rows that were taken from it.
#[derive(Clone, Default)]
struct Fake {
    rows: u16,
    taken: Arc<AtomicU64>,
}

impl Handler for Fake {
    async fn handle(&self, request: Request) -> Reply {
        match request {
            Request::Stats => Reply::One(Answer::Stats(Box::new(report::sample()))),
            Request::List => Reply::One(Answer::List(Listing { size: 4096, services: vec![] })),
            Request::Conns(_) => {
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                let fake = self.clone();
                tokio::spawn(async move {
                    for port in 0..fake.rows {
                        if sender.send(vec![row(port)]).await.is_err() {
                            break;
                        }
                        fake.taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
                Reply::Rows(receiver)
            }
            Request::Reload => Reply::refused(RefusalKind::Configuration, "line 7: no such word"),
            Request::Plan { path } => Reply::One(Answer::Plan(Planned {
                generation: 3,
                changes: vec![PlanLine { change: Change::Add, text: path.display().to_string() }],
                diagnostics: String::new(),
            })),
            Request::Version => Reply::One(Answer::Version(Version {
                version: "0.0.0".into(),
                instance: "xlb".into(),
                pid: 1,
            })),
            Request::Capture(wish) => {
                let (answers, receiver) = tokio::sync::mpsc::channel(1);
                let (fake, stop) = (self.clone(), CancellationToken::new());
                let stopped = stop.clone();
                tokio::spawn(async move { fake.capture(wish, answers, stopped).await });
                Reply::Stream { answers: receiver, stop }
            }
        }
    }
}

impl Fake {
    /// A packet at once; then, once it is told to stop or its caller is gone, another and the end.
    async fn capture(
        self,
        wish: capture::Wish,
        answers: tokio::sync::mpsc::Sender<Answer>,
        stop: CancellationToken,
    ) {
        let image = capture::Image { length: wish.length, bytes: vec![0xab; 4] };
        let packet = capture::Packet {
            time_ns: 1,
            came_in_by: 2,
            fate: capture::Fate::Pass,
            reason: Some("no_service".into()),
            arrived: image,
            left: None,
        };
        let began = capture::Began { interfaces: vec![(2, "eth0".into())] };
        let _ = answers.send(Answer::CaptureBegan(began)).await;
        let _ = answers.send(Answer::Captured(vec![packet.clone()])).await;
        stop.cancelled().await;
        self.taken.fetch_add(1, Ordering::Relaxed);
        let _ = answers.send(Answer::Captured(vec![packet])).await;
        let why = "ended by the caller".to_owned();
        let ended = capture::Ended { packets: 2, matched: 2, lost: 0, why };
        let _ = answers.send(Answer::CaptureEnded(ended)).await;
    }
}

fn wish() -> capture::Wish {
    capture::Wish {
        host: Some([192, 0, 2, 7].into()),
        port: None,
        protocol: None,
        reason: None,
        dropped: false,
        count: None,
        bytes: 1_000,
        seconds: 60,
        length: 60,
        sample: 1,
    }
}

#[test]
fn what_is_on_its_way_still_comes_after_the_caller_has_had_enough() {
    let fake = Fake::default();
    let server = Running::start(fake.clone());
    let mut client = server.client();
    let stopper = client.stopper().unwrap();
    let (names, ended) = client
        .capture(
            &wish(),
            |began| Ok(began.interfaces.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>()),
            |names, packets| {
                assert_eq!(packets[0].arrived, capture::Image { length: 60, bytes: vec![0xab; 4] });
                names.push("packet".into());
                stopper.stop();
                Ok(())
            },
        )
        .unwrap();
    assert_eq!(names, ["eth0", "packet", "packet"]);
    assert_eq!((ended.packets, ended.why.as_str()), (2, "ended by the caller"));
    assert_eq!(fake.taken.load(Ordering::Relaxed), 1);
}

#[test]
fn a_capture_hears_that_its_caller_is_gone() {
    let fake = Fake::default();
    let server = Running::start(fake.clone());
    let mut client = server.client();
    let gone =
        client.capture(&wish(), |_| Ok(()), |(), _| Err(std::io::ErrorKind::StorageFull.into()));
    assert!(matches!(gone, Err(ClientError::Output(_))), "{gone:?}");
    drop(client);
    let until = Instant::now() + Duration::from_secs(5);
    while fake.taken.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < until, "it was not told");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server on a thread of its own; stopped and waited for when dropped.
struct Running {
    dir: tempfile::TempDir,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(handler: impl Handler) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let (ready, started) = std::sync::mpsc::channel();
        let (run_dir, stopped) = (dir.path().to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(&run_dir).unwrap();
                ready.send(()).unwrap();
                server.serve(handler, stopped).await;
            });
        });
        started.recv().unwrap();
        Self { dir, stop, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::connect(self.dir.path(), "xlb").unwrap()
    }

    /// What the server says to these bytes, until it hangs up.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.dir.path().join(SOCKET)).unwrap();
        // The server may have heard enough before all is sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn one_connection_serves_one_request_after_the_other() {
    let server = Running::start(Fake::default());
    let mut client = server.client();
    assert_eq!(client.stats().unwrap(), report::sample());
    assert_eq!(client.list().unwrap().size, 4096);
    assert_eq!(client.version().unwrap().instance, "xlb");
    let planned = client.plan(Path::new("/etc/xlb/xlb.conf")).unwrap();
    assert_eq!(planned.changes[0].text, "/etc/xlb/xlb.conf");
    let refused = client.reload().unwrap_err();
    assert_eq!(refused.refusal(), Some(RefusalKind::Configuration));
    assert_eq!(refused.to_string(), "line 7: no such word");
    assert_eq!(client.stats().unwrap().generation, 3, "a refused request does not end the session");
}

#[test]
fn rows_are_streamed_filtered_and_limited() {
    let server = Running::start(Fake { rows: 1000, ..Fake::default() });
    let mut client = server.client();
    let mut ports = Vec::new();
    let count = client
        .conns(&ConnFilter::default(), |row| {
            ports.push(row.client.port());
            Ok(())
        })
        .unwrap();
    assert_eq!((count, ports.len()), (1000, 1000));
    assert!(ports.is_sorted());
    let one = ConnFilter { client: Some(":77".parse().unwrap()), ..ConnFilter::default() };
    assert_eq!(client.conns(&one, |_| Ok(())).unwrap(), 1);
    let few = ConnFilter { limit: Some(3), ..ConnFilter::default() };
    assert_eq!(client.conns(&few, |_| Ok(())).unwrap(), 3);
    assert_eq!(client.stats().unwrap().generation, 3, "the session goes on after rows");
}

// K-14
#[test]
fn caller_that_reads_nothing_stops_neither_others_nor_the_dump() {
    let fake = Fake { rows: u16::MAX, ..Fake::default() };
    let taken = Arc::clone(&fake.taken);
    let server = Running::start(fake);
    let mut slow = UnixStream::connect(server.dir.path().join(SOCKET)).unwrap();
    slow.write_all(&encode(&Request::Conns(ConnFilter::default())).unwrap()).unwrap();
    for _ in 0..10 {
        assert_eq!(server.client().stats().unwrap().generation, 3);
    }
    drop(slow);
    // The dump ends with the caller: what was taken stays where it is, well before the end.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut before = u64::MAX;
    while before != taken.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "still dumping");
        before = taken.load(Ordering::Relaxed);
        server.client().version().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(before < u64::from(u16::MAX), "{before} rows were dumped for nobody");
}

#[test]
fn owner_answers_through_the_channel_and_its_end_is_told() {
    let (sender, mut asks) = channel(4);
    let server = Running::start(sender);
    let owner = std::thread::spawn(move || {
        let ask = asks.blocking_recv().unwrap();
        assert_eq!(ask.request, Request::List);
        let _ = ask.reply.send(Reply::One(Answer::List(Listing::default())));
        // One that is dropped unanswered, then the owner is gone.
        drop(asks.blocking_recv());
    });
    let mut client = server.client();
    client.list().unwrap();
    assert_eq!(client.stats().unwrap_err().to_string(), "the daemon is stopping");
    owner.join().unwrap();
    assert_eq!(client.stats().unwrap_err().refusal(), Some(RefusalKind::Busy));
}

// K-23
#[test]
fn caller_of_another_version_is_told_so() {
    let server = Running::start(Fake::default());
    let answer = server.raw(b"{\"xlb\":2,\"verb\":\"frobnicate\"}\n");
    assert!(answer.contains("\"kind\":\"protocol\""), "{answer}");
    assert!(
        answer.contains("speaks version 1 of the admin protocol, the caller version 2"),
        "{answer}"
    );
}

// K-23
#[test]
fn daemon_of_another_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap();
    let daemon = std::thread::spawn(move || {
        for answer in ["{\"xlb\":7,\"body\":{\"wonders\":1}}\n", "SSH-2.0-x\n", "{\"xlb\":1,"] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let ask = || Client::connect(dir.path(), "xlb").unwrap().stats().unwrap_err().to_string();
    let text = ask();
    assert!(
        text.contains("the other side speaks version 7 of the protocol, this one version 1"),
        "{text}"
    );
    let text = ask();
    assert!(text.contains("not a message of xlb's admin protocol"), "{text}");
    let text = ask();
    assert!(text.ends_with("hung up in the middle of an answer"), "{text}");
    daemon.join().unwrap();
}

// S-12
#[test]
fn oversize_and_garbled_requests_are_refused_and_the_server_lives() {
    let server = Running::start(Fake::default());
    let mut long = vec![b' '; 4 * MAX_REQUEST];
    long.push(b'\n');
    server.raw(&long);
    for text in [
        "",
        "\n",
        "{}\n",
        "null\n",
        "{\"xlb\":1}\n",
        "{\"xlb\":1,\"body\":\"stat\"}\n",
        "\0\u{ff}\n",
    ] {
        let answer = server.raw(text.as_bytes());
        assert!(answer.is_empty() || answer.contains("refused"), "{text:?}: {answer}");
    }
    let unfinished = server.raw(b"{\"xlb\":1,\"body\":\"stats\"}");
    assert!(unfinished.contains("line end"), "{unfinished}");
    assert_eq!(server.client().stats().unwrap().generation, 3);
}

// S-11
#[test]
fn socket_is_for_owner_and_group_and_goes_with_the_server() {
    let server = Running::start(Fake::default());
    let path = server.dir.path().join(SOCKET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let entries = std::fs::read_dir(server.dir.path()).unwrap().count();
    assert_eq!(entries, 1, "the draft is gone");
    server.stop.cancel();
    let deadline = Instant::now() + Duration::from_secs(5);
    while path.exists() {
        assert!(Instant::now() < deadline, "the socket is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nobody_there_is_said_with_instance_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::connect(dir.path(), "west").unwrap_err();
    assert!(error.is_no_daemon());
    let path: PathBuf = dir.path().join(SOCKET);
    assert_eq!(
        error.to_string(),
        format!("no xlb instance `west` answers at {}; is `xlb run` running?", path.display())
    );
    // A dead daemon's socket is the same to a caller.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Client::connect(dir.path(), "west").unwrap_err().is_no_daemon());
}

// K-22, S-13
#[tokio::test]
async fn bind_replaces_a_dead_socket_but_neither_a_live_one_nor_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("made");
    let path = run_dir.join(SOCKET);
    let first = Server::bind(&run_dir).unwrap();
    assert!(matches!(Server::bind(&run_dir), Err(BindError::Taken { .. })));
    drop(first);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let second = Server::bind(&run_dir).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody's").unwrap();
    drop(second);
    assert!(path.exists(), "only our own file is removed");
    assert!(matches!(Server::bind(&run_dir), Err(BindError::NotSocket { .. })));
    std::fs::remove_file(&path).unwrap();
    let target = dir.path().join("elsewhere");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(matches!(Server::bind(&run_dir), Err(BindError::NotSocket { .. })));
    assert!(!target.exists());
}

#[test]
fn requests_have_the_promised_form() {
    for (request, line) in [
        (Request::Stats, "{\"xlb\":1,\"body\":\"stats\"}\n"),
        (
            Request::Conns(ConnFilter { limit: Some(5), ..ConnFilter::default() }),
            "{\"xlb\":1,\"body\":{\"conns\":{\"limit\":5}}}\n",
        ),
        (
            Request::Plan { path: "/x".into() },
            "{\"xlb\":1,\"body\":{\"plan\":{\"path\":\"/x\"}}}\n",
        ),
    ] {
        assert_eq!(encode(&request).unwrap(), line.as_bytes());
        assert_eq!(decode::<Request>(line.as_bytes()).unwrap(), request);
    }
}

#[test]
fn only_what_changes_or_opens_something_is_privileged() {
    assert!(Request::Reload.is_privileged());
    assert!(Request::Plan { path: "/etc/shadow".into() }.is_privileged());
    assert!(Request::Capture(wish()).is_privileged());
    for request in
        [Request::Stats, Request::List, Request::Conns(ConnFilter::default()), Request::Version]
    {
        assert!(!request.is_privileged());
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let endpoint = prop_oneof![
        Just("192.0.2.0/24:80".to_owned()),
        Just(":443".to_owned()),
        Just("[2001:db8::1]:53".to_owned())
    ]
    .prop_map(|text| text.parse().unwrap());
    let conns = (proptest::option::of(endpoint), proptest::option::of(any::<u64>()), ".{0,20}")
        .prop_map(|(client, limit, state)| {
            Request::Conns(ConnFilter {
                client,
                limit,
                state: Some(state),
                ..ConnFilter::default()
            })
        });
    prop_oneof![
        Just(Request::Stats),
        Just(Request::List),
        Just(Request::Reload),
        Just(Request::Version),
        conns,
        ".{0,64}".prop_map(|path| Request::Plan { path: path.into() }),
    ]
}

// S-12
proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Answer>(&bytes);
    }

    #[test]
    fn any_request_survives_the_way_and_is_one_line(request in any_request()) {
        let line = encode(&request).unwrap();
        prop_assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
        prop_assert_eq!(decode::<Request>(&line).unwrap(), request);
    }

    #[test]
    fn damaged_requests_are_decoded_or_refused(request in any_request(), at in any::<usize>(), byte in any::<u8>()) {
        let mut line = encode(&request).unwrap();
        let at = at % line.len();
        line[at] = byte;
        let _ = decode::<Request>(&line);
        line.truncate(at);
        let _ = decode::<Request>(&line);
    }
}
