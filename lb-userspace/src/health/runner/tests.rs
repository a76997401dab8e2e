//! The runner against real sockets on the loopback interface.

use std::net::{SocketAddr, TcpListener};

use nix::sys::resource::setrlimit;
use socket2::{Domain, Socket, Type};
use tokio::time::{timeout, timeout_at};

use super::super::spec::tests::{real, service, tcp_checker};
use super::super::spec::{configured, specs};
use super::*;
use crate::config::model::{Checker, ServiceMatch};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn every(peer: SocketAddr, pause: Duration) -> Checker {
    let mut checker = tcp_checker(peer);
    checker.delay_loop = pause;
    checker.delay_before_retry = pause;
    checker
}

/// One service with one real server for each checker.
fn list(checkers: Vec<Checker>) -> Vec<CheckSpec> {
    let address = ServiceMatch::Address { ip: "198.51.100.1".parse().unwrap(), port: 80 };
    let reals = checkers.into_iter().map(|checker| {
        let target = checker.target.clone().unwrap();
        real((target.connect_ip, target.connect_port).into(), vec![checker])
    });
    specs(&[service(address, reals.collect())], |_, real| configured(real))
}

async fn next(reports: &mut mpsc::Receiver<CheckReport>) -> CheckReport {
    timeout(Duration::from_secs(10), reports.recv()).await.expect("no report").unwrap()
}

#[test]
fn jitter_is_even_bounded_and_repeatable() {
    let bound = Duration::from_secs(10);
    let draw = |seed| {
        let mut jitter = Jitter(seed);
        (0..10_000).map(|_| jitter.below(bound)).collect::<Vec<_>>()
    };
    let drawn = draw(1);
    assert_eq!(drawn, draw(1));
    assert_ne!(drawn, draw(2));
    assert!(drawn.iter().all(|d| *d < bound));
    let mut seconds = [0; 10];
    for d in drawn {
        seconds[d.as_secs() as usize] += 1;
    }
    assert!(seconds.iter().all(|n| (850..1150).contains(n)), "{seconds:?}");
    assert_eq!(Jitter(1).below(Duration::ZERO), Duration::ZERO);
}

#[tokio::test]
async fn server_that_stops_and_comes_back_is_reported_with_reasons() {
    let (server, address) = listener();
    let (sender, mut reports) = mpsc::channel(16);
    let mut runner = Runner::new(sender, 1);
    let start = Instant::now();
    runner.set(list(vec![every(address, Duration::from_millis(20))]));
    let report = next(&mut reports).await;
    assert!(report.at - start >= FIRST_CHECK);
    assert_eq!((report.status, report.changed, report.first), (Status::Up, false, true));
    assert!(report.reason.starts_with("connected in"), "{report:?}");

    drop(server);
    let down = loop {
        let report = next(&mut reports).await;
        if report.changed {
            break report;
        }
    };
    assert_eq!((down.status, down.reason.as_str()), (Status::Down, "connection refused"));
    let _server = TcpListener::bind(address).unwrap();
    let up = loop {
        let report = next(&mut reports).await;
        if report.changed {
            break report;
        }
    };
    assert_eq!(up.status, Status::Up);
    timeout(Duration::from_secs(1), runner.stop()).await.expect("the tasks did not end");
}

// K-08
#[tokio::test]
async fn reload_keeps_a_failed_checker_and_takes_its_new_timers() {
    let (server, address) = listener();
    drop(server);
    let (sender, mut reports) = mpsc::channel(16);
    let mut runner = Runner::new(sender, 1);
    runner.set(list(vec![every(address, Duration::from_hours(1))]));
    assert_eq!(next(&mut reports).await.status, Status::Down);
    // The next check would be in an hour; the new timer counts from now, and nothing is first or changed.
    runner.set(list(vec![every(address, Duration::from_millis(50))]));
    let report = next(&mut reports).await;
    assert_eq!((report.status, report.changed, report.first), (Status::Down, false, false));
    let _server = TcpListener::bind(address).unwrap();
    let up = loop {
        let report = next(&mut reports).await;
        if report.changed {
            break report;
        }
    };
    assert_eq!(up.status, Status::Up);
}

// K-09
#[tokio::test]
async fn new_checker_that_starts_down_says_up_only_after_a_check() {
    let (_server, address) = listener();
    let (sender, mut reports) = mpsc::channel(16);
    let mut runner = Runner::new(sender, 1);
    let mut checks = list(vec![tcp_checker(address)]);
    checks[0].initial = Status::Down;
    runner.set(checks);
    let report = next(&mut reports).await;
    assert_eq!((report.status, report.changed, report.first), (Status::Up, true, true));
}

#[tokio::test]
async fn removed_checker_reports_no_more() {
    let (_server, address) = listener();
    let (sender, mut reports) = mpsc::channel(16);
    let mut runner = Runner::new(sender, 1);
    runner.set(list(vec![every(address, Duration::from_millis(20))]));
    next(&mut reports).await;
    runner.set(vec![]);
    assert!(runner.is_empty());
    runner.stop().await;
    // The task is gone, and with it the last sender: the channel drains and ends.
    while timeout(Duration::from_secs(1), reports.recv()).await.unwrap().is_some() {}
}

// K-44
#[tokio::test]
async fn stuck_check_delays_no_other() {
    let stuck = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    stuck.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    stuck.listen(0).unwrap();
    let stuck_address = stuck.local_addr().unwrap().as_socket().unwrap();
    let _held = std::net::TcpStream::connect(stuck_address).unwrap();
    let (_server, address) = listener();

    let (sender, mut reports) = mpsc::channel(16);
    let mut runner = Runner::new(sender, 1);
    let mut slow = every(stuck_address, Duration::from_secs(1));
    slow.target.as_mut().unwrap().connect_timeout = Duration::from_secs(2);
    runner.set(list(vec![slow, every(address, Duration::from_millis(50))]));
    let mut others = 0;
    let report = loop {
        let report = next(&mut reports).await;
        if report.id.real.1 == stuck_address.port() {
            break report;
        }
        assert_eq!(report.status, Status::Up);
        others += 1;
    };
    assert_eq!(report.reason, "connect timed out after 2s");
    assert!(report.latency < Duration::from_millis(2900), "{:?}", report.latency);
    assert!(others > 10, "{others} checks of the other server while one was stuck");
}

// K-34
#[test]
fn silence_while_the_process_stood_still_says_nothing() {
    // The connect timeout is 1 s.
    let spec = list(vec![tcp_checker("192.0.2.10:80".parse().unwrap())]).remove(0);
    let silence = Outcome::Failed("connect timed out after 1s".into());
    let after = |seconds| believable(silence.clone(), Duration::from_secs(seconds), &spec);
    assert_eq!(after(1), silence);
    assert!(matches!(after(60), Outcome::NotRun(_)));
    assert_eq!(believable(Outcome::Passed, Duration::from_mins(1), &spec), Outcome::Passed);
}

// K-34
#[tokio::test]
async fn process_that_stood_still_runs_what_is_overdue_once() {
    const CHECKS: u8 = 50;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let accepts = tokio::spawn(async move { while server.accept().await.is_ok() {} });
    let (sender, mut reports) = mpsc::channel(1024);
    let mut runner = Runner::new(sender, 1);
    let pause = Duration::from_millis(200);
    // One server, asked from many addresses, so that the checkers differ.
    let one = list(vec![every(address, pause)]).remove(0);
    let checks = (0..CHECKS).map(|n| {
        let mut spec = one.clone();
        let from = Some(std::net::IpAddr::from([127, 0, 1, n]));
        spec.id.checker.bindto = from;
        spec.checker.target.as_mut().unwrap().bindto = from;
        spec
    });
    runner.set(checks.collect());
    for _ in 0..2 * CHECKS {
        assert_eq!(next(&mut reports).await.status, Status::Up);
    }
    // This test has one thread: blocking it is what SIGSTOP does to the process. Ten pauses long.
    std::thread::sleep(pause * 10);
    while reports.try_recv().is_ok() {}
    let awake = Tick::now();
    let mut runs = HashMap::new();
    while runs.len() < usize::from(CHECKS) {
        let report = timeout_at(awake + FIRST_CHECK, reports.recv()).await.unwrap().unwrap();
        assert_eq!(report.status, Status::Up, "{report:?}");
        *runs.entry(report.id).or_insert(0_u32) += 1;
    }
    // Some were in their second regular round when the last came; none caught up on ten.
    let rounds = 1 + awake.elapsed().as_millis() / pause.as_millis();
    assert!(runs.values().all(|n| u128::from(*n) <= rounds), "{rounds}: {runs:?}");
    runner.stop().await;
    accepts.abort();
}

// K-40
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_checks_start_spread_and_all_run() {
    const CHECKS: u32 = 10_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(20_000), most).unwrap();
    let (server, address) = listener();
    let (sender, mut reports) = mpsc::channel(1024);
    let mut runner = Runner::new(sender, 7);
    // As many addresses of the loopback network. Refused is an answer too, and needs nobody who accepts.
    drop(server);
    let checkers = (0..CHECKS).map(|n| {
        let ip = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(127, 1, 0, 0)) + n);
        let mut checker = tcp_checker((ip, address.port()).into());
        checker.warmup = Duration::from_secs(2);
        checker
    });
    let start = Instant::now();
    runner.set(list(checkers.collect()));
    assert_eq!(runner.len(), CHECKS as usize);
    let mut firsts = Vec::new();
    while firsts.len() < CHECKS as usize {
        let report = next(&mut reports).await;
        assert_eq!(report.status, Status::Down, "{report:?}");
        if report.first {
            firsts.push(report.at - start);
        }
    }
    firsts.sort_unstable();
    let (middle, last) = (firsts[firsts.len() / 2], firsts[firsts.len() - 1]);
    println!("first check {:?}, half {middle:?}, all {last:?}", firsts[0]);
    assert!(firsts[0] >= FIRST_CHECK);
    assert!(middle > Duration::from_millis(1500), "not spread: {middle:?}");
    assert!(last < Duration::from_secs(8), "{last:?}");
    runner.stop().await;
}
