//! The binary `xlb` against a daemon that is only a socket: what is printed, and which exit code it ends with.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::thread;

use tokio_util::sync::CancellationToken;
use xlb::api::{Answer, Handler, Refusal, RefusalKind, Reloaded, Reply, Request, Server};
use xlb::cli::detach::{DetachArgs, detach};
use xlb::cli::instance::InstanceArgs;
use xlb::cli::plan::{PlanArgs, plan};
use xlb::config::model::Config;
use xlb::control::diff::{Change, PlanLine};
use xlb::stats::conn::ConnRow;
use xlb::stats::listing::Listing;
use xlb::stats::report::Protocol;

const REPORT: &str = r#"{"schema":1,"instance":"xlb","mode":{"eth0":"xdp"},"generation":3,"uptime_s":12.5,
    "services":[{"address":"10.64.1.2","port":10000,"protocol":"tcp","fwmark":null,"group":null,
    "scheduler":"rr","flags":[],"kind":"NAT","persistence_s":10,"quorum_up":true,"sorry_active":false,
    "conns":1,"in_packets":2,"out_packets":3,"in_bytes":4,"out_bytes":5,"reals":[]}],
    "drops":{"no_neighbour":4},"passes":{"not_ipv4":9},"notices":{"held":2},
    "tables":{"established":{"used":0,"capacity":4096},"half_open":{"used":0,"capacity":1},
    "templates":{"used":0,"capacity":1,"refused":0},"fragments":{"used":0,"capacity":1}},"snat":[]}"#;

fn row(port: u16) -> ConnRow {
    ConnRow {
        protocol: Protocol::Tcp,
        client: ([192, 0, 2, 7], port).into(),
        service: ([10, 64, 1, 2], 10_000).into(),
        local: None,
        real: ([192, 168, 1, 100], 8089).into(),
        state: "ESTABLISHED".into(),
        expires_s: 899,
        in_packets: None,
        out_packets: None,
        in_bytes: None,
        out_bytes: None,
        template: false,
    }
}

struct Daemon {
    rejects: bool,
}

impl Handler for Daemon {
    async fn handle(&self, request: Request) -> Reply {
        match request {
            Request::Stats => Reply::One(Answer::Stats(serde_json::from_str(REPORT).unwrap())),
            Request::List => Reply::One(Answer::List(Listing { size: 4096, services: vec![] })),
            Request::Conns(_) => {
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                tokio::spawn(async move {
                    for port in 1..=20_000 {
                        if sender.send(vec![row(port)]).await.is_err() {
                            break;
                        }
                    }
                });
                Reply::Rows(receiver)
            }
            Request::Reload if self.rejects => {
                Reply::refused(RefusalKind::Configuration, "error: no such word\n")
            }
            Request::Reload => Reply::One(Answer::Reload(Reloaded {
                generation: 4,
                changes: vec![PlanLine {
                    change: Change::Add,
                    text: "virtual_server 10.64.1.2:10001 tcp rr NAT".into(),
                }],
                diagnostics: "warning: odd\n".into(),
            })),
            _ => Reply::refused(RefusalKind::Failed, "not asked here"),
        }
    }
}

/// Runs `work` while a daemon answers in the run directory it is given.
fn with_daemon(daemon: Daemon, work: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let (ready, started) = std::sync::mpsc::channel();
    let (run_dir, stopped) = (dir.path().to_owned(), stop.clone());
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(&run_dir).unwrap();
            ready.send(()).unwrap();
            server.serve(daemon, stopped).await;
        });
    });
    started.recv().unwrap();
    work(dir.path());
    stop.cancel();
    serving.join().unwrap();
}

fn command(run_dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xlb"));
    command.args(line.split_whitespace()).arg("--run-dir").arg(run_dir);
    command
}

/// Exit code, standard output, standard error.
fn run(run_dir: &Path, line: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(run_dir, line).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn answers_are_printed() {
    with_daemon(Daemon { rejects: false }, |dir| {
        let (code, out, err) = run(dir, "stats");
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(
            out,
            "instance xlb, generation 3, up 12 s, eth0: xdp, flows 0/4096\n\
             IP Virtual Server version 1.2.1 (size=4096)\n\
             Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n\
             \x20 -> RemoteAddress:Port\n\
             TCP  10.64.1.2:10000                     1        2        3        4        5\n"
        );
        let (code, out, _) = run(dir, "stats --json");
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, json), (0, serde_json::from_str(REPORT).unwrap()));
        let (code, out, _) = run(dir, "stats --drops");
        assert_eq!(code, 0);
        assert!(out.contains("no_neighbour                      4  the next hop has no"), "{out}");
        let (code, out, _) = run(dir, "stats --rate");
        assert_eq!(code, 0);
        assert!(
            out.ends_with(
                "10.64.1.2:10000                     0        0        0        0        0\n"
            ),
            "{out}"
        );
        let (code, out, _) = run(dir, "list -n");
        assert_eq!((code, out.lines().count()), (0, 3));
        let (code, out, _) = run(dir, "conns --json --client :7 --limit 5");
        assert_eq!((code, out), (0, serde_json::to_string(&row(7)).unwrap() + "\n"));
        let (code, out, err) = run(dir, "reload");
        assert_eq!((code, err.as_str()), (0, "warning: odd\n"));
        assert_eq!(out, "+ virtual_server 10.64.1.2:10001 tcp rr NAT\ngeneration 4 is in force\n");
    });
}

#[test]
fn rejected_configuration_ends_with_2() {
    with_daemon(Daemon { rejects: true }, |dir| {
        let (code, out, err) = run(dir, "reload");
        assert_eq!((code, out.as_str(), err.as_str()), (2, "", "error: no such word\n"));
    });
}

#[test]
fn reader_that_has_seen_enough_is_no_failure() {
    with_daemon(Daemon { rejects: false }, |dir| {
        let mut child =
            command(dir, "conns").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(first, "IPVS connection entries\n");
        let end = child.wait_with_output().unwrap();
        assert_eq!(end.status.code(), Some(0));
        assert_eq!(String::from_utf8(end.stderr).unwrap(), "");
    });
}

#[test]
fn without_a_daemon_every_question_ends_with_1_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    for line in ["stats", "list", "conns", "reload"] {
        let (code, out, err) = run(dir.path(), line);
        assert_eq!((code, out.as_str()), (1, ""), "{line}");
        assert_eq!(
            err,
            format!(
                "xlb: no xlb instance `xlb` answers at {}; is `xlb run` running?\n",
                socket.display()
            ),
            "{line}"
        );
    }
}

#[test]
fn wrong_arguments_end_with_1_and_help_with_0() {
    let code = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_xlb")).args(args).output().unwrap().status.code().unwrap()
    };
    assert_eq!(code(&["stats", "--nonsense"]), 1);
    assert_eq!(code(&[]), 1);
    assert_eq!(code(&["--help"]), 0);
    assert_eq!(code(&["--version"]), 0);
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

fn instance(run_dir: &Path) -> InstanceArgs {
    InstanceArgs {
        instance: "xlb".into(),
        pin_dir: Some("/nonexistent/pins".into()),
        run_dir: Some(run_dir.to_owned()),
    }
}

#[test]
fn detach_leaves_a_running_instance_alone() {
    let called = Cell::new(0);
    let detach = |run_dir: &Path| {
        let args = DetachArgs { instance: instance(run_dir) };
        let code = detach(&args, |pins, run| {
            assert_eq!((pins, run), (Path::new("/nonexistent/pins"), run_dir));
            called.set(called.get() + 1);
            Ok::<_, io::Error>("detached from: eth0")
        });
        format!("{code:?}")
    };
    with_daemon(Daemon { rejects: false }, |dir| assert_eq!(detach(dir), code(1)));
    assert_eq!(called.get(), 0);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(detach(dir.path()), code(0));
    assert_eq!(called.get(), 1);
}

#[test]
fn plan_asks_the_daemon_and_reads_only_without_one() {
    let plan = |run_dir: &Path, read: &dyn Fn() -> Result<(Config, String), Refusal>| {
        let args = PlanArgs { file: "xlb.conf".into(), instance: instance(run_dir) };
        let code = plan(&args, |path| {
            assert!(path.is_absolute());
            read()
        });
        format!("{code:?}")
    };
    with_daemon(Daemon { rejects: false }, |dir| {
        assert_eq!(plan(dir, &|| panic!("read although a daemon answers")), code(1));
    });
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(plan(dir.path(), &|| Ok((Config::default(), String::new()))), code(0));
    let rejected = || Err(Refusal::new(RefusalKind::Configuration, "error: no such word"));
    assert_eq!(plan(dir.path(), &rejected), code(2));
}

/// The command run by an unprivileged user whose only other group is `group`; `None` if this host cannot do that.
fn as_nobody(group: u32, run_dir: &Path, line: &str) -> Option<(i32, String)> {
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--groups"])
        .arg(group.to_string())
        .arg(env!("CARGO_BIN_EXE_xlb"))
        .args(line.split_whitespace())
        .args(["--run-dir".as_ref(), run_dir.as_os_str()])
        .output()
        .ok()?;
    let err = String::from_utf8(output.stderr).unwrap();
    // setpriv speaks only when it could not change to that user or start the program.
    if err.starts_with("setpriv:") { None } else { Some((output.status.code()?, err)) }
}

// S-11
#[test]
fn callers_may_ask_what_the_kernel_says_they_are() {
    with_daemon(Daemon { rejects: false }, |dir| {
        let socket = dir.join("admin.sock");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        if chown(&socket, None, Some(4242)).is_err() {
            println!("skipped: root is missing");
            return;
        }
        let Some((code, err)) = as_nobody(4242, dir, "stats") else {
            println!("skipped: setpriv, or a way for others to the built program, is missing");
            return;
        };
        assert_eq!((code, err.as_str()), (0, ""), "the socket's group may read");
        let (code, err) = as_nobody(4242, dir, "reload").unwrap();
        assert_eq!(
            (code, err.as_str()),
            (1, "xlb: only root and the daemon's user may ask this\n")
        );
        let (code, err) = as_nobody(4243, dir, "stats").unwrap();
        assert_eq!(code, 1);
        assert!(err.contains("permission denied"), "{err}");
        // Somebody has widened the mode: the daemon still looks.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let (code, err) = as_nobody(4243, dir, "stats").unwrap();
        assert_eq!(code, 1);
        assert_eq!(err, "xlb: only root, the daemon's user and the socket's group may ask\n");
    });
}
