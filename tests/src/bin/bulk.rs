//! Bulk TCP through xlb in mode tc against plain kernel forwarding: `cargo run --release -p lb-tests --bin bulk
//! [ROUNDS]`.
//!
//! One laboratory with veth's own offloads, or with GRO too; the same client, director and real server take part in
//! both. A round is one transfer by each path and in each direction, xlb running only in its own; the first path
//! changes from round to round. Printed are the rates and the median of the rounds' ratios: absolute rates are the
//! machine's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lb_tests::e2e::binary;
use lb_tests::e2e::client::VIP;
use lb_tests::e2e::config::Service;
use xlb::lab::{Daemon, DaemonSpec, Host, Lab, Offloads, Options, real_address, two_arm};

/// How long a transfer is measured, after a start that is not.
const SPAN: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(300);
/// Of one read or write.
const CHUNK: usize = 1 << 18;

/// Where the real server listens: sends to who says `d`, else takes.
const REAL: SocketAddrV4 = SocketAddrV4::new(real_address(0), 8089);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Download,
    Upload,
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> anyhow::Result<()> {
    let rounds = match std::env::args().nth(1) {
        Some(text) => text.parse().context("the argument is the number of rounds")?,
        None => 11,
    };
    for (offloads, kind) in [
        (Offloads::Usual, "NAT"),
        (Offloads::Usual, "FNAT"),
        (Offloads::All, "NAT"),
        (Offloads::All, "FNAT"),
    ] {
        compare(offloads, kind, rounds)?;
    }
    Ok(())
}

fn compare(offloads: Offloads, kind: &'static str, rounds: usize) -> anyhow::Result<()> {
    let lab = Lab::build(&two_arm(&Options { offloads, ..Options::default() }))?;
    let (client, real) = (lab.client()?.clone(), lab.real(1)?.clone());
    lab.director()?.set_sysctl("net.ipv4.ip_forward", "1")?;
    client.ip("route add 192.168.1.0/24 via 10.64.1.1")?;
    let listener = real.enter(|| TcpListener::bind(REAL))??;
    std::thread::spawn(move || serve(&listener));

    let spec = DaemonSpec { mode: "tc".into(), ..DaemonSpec::two_arm(&binary::xlb()?) };
    let config = Service::new(kind).weights(&[1]).text();
    let mut daemon = Daemon::prepare(&lab, &spec, &config)?;
    for direction in [Direction::Download, Direction::Upload] {
        let (mut forwarded, mut balanced, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let plain = || transfer(&client, REAL, direction);
            let mut xlb = || -> anyhow::Result<f64> {
                daemon.run()?;
                let rate = transfer(&client, VIP, direction);
                daemon.stop()?;
                rate
            };
            let (one, other) = if round % 2 == 0 {
                let one = plain()?;
                (one, xlb()?)
            } else {
                let other = xlb()?;
                (plain()?, other)
            };
            forwarded.push(one);
            balanced.push(other);
            ratios.push(other / one);
        }
        ensure!(!ratios.is_empty(), "no rounds");
        println!(
            "{offloads:?} {kind:<4} {direction:?}: forwarding {:.2} Gbit/s, xlb {:.2} Gbit/s, median ratio {:.3} (of {rounds}: {:.3} to {:.3})",
            median(&mut forwarded),
            median(&mut balanced),
            median(&mut ratios),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
    Ok(())
}

/// Sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Gbit/s that arrive.
fn transfer(client: &Host, to: SocketAddrV4, direction: Direction) -> anyhow::Result<f64> {
    client.enter(|| transfer_here(to, direction))?.with_context(|| format!("{direction:?} by {to}"))
}

fn transfer_here(to: SocketAddrV4, direction: Direction) -> io::Result<f64> {
    let mut stream = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = vec![0; CHUNK];
    if direction == Direction::Download {
        stream.write_all(b"d")?;
        let mut counted = Counted::begin();
        while !counted.is_over() {
            counted.add(stream.read(&mut buffer)?);
        }
        return Ok(counted.rate());
    }
    stream.write_all(b"u")?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut sender = stream.try_clone()?;
        let over = &over;
        let sending = scope.spawn(move || -> io::Result<()> {
            let chunk = vec![0; CHUNK];
            while !over.load(Ordering::Relaxed) {
                sender.write_all(&chunk)?;
            }
            sender.shutdown(Shutdown::Write)
        });
        // The server tells what has arrived: eight bytes, when it has measured.
        let mut rate = [0; 8];
        let told = stream.read_exact(&mut rate);
        over.store(true, Ordering::Relaxed);
        sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        told.map(|()| f64::from_ne_bytes(rate))
    })
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that has measured goes away.
        std::thread::spawn(move || serve_one(stream));
    }
}

fn serve_one(mut stream: TcpStream) -> io::Result<()> {
    let (mut what, mut buffer) = ([0], vec![0; CHUNK]);
    stream.read_exact(&mut what)?;
    if what == *b"d" {
        loop {
            stream.write_all(&buffer)?;
        }
    }
    let mut counted = Counted::begin();
    while !counted.is_over() {
        counted.add(stream.read(&mut buffer)?);
    }
    stream.write_all(&counted.rate().to_ne_bytes())?;
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Bytes since the warm-up.
struct Counted {
    start: Instant,
    from: Option<Instant>,
    bytes: usize,
}

impl Counted {
    fn begin() -> Self {
        Self { start: Instant::now(), from: None, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        if self.from.is_some() {
            self.bytes += bytes;
        } else if self.start.elapsed() > WARM_UP {
            self.from = Some(Instant::now());
        }
    }

    fn is_over(&self) -> bool {
        self.start.elapsed() > WARM_UP + SPAN
    }

    fn rate(&self) -> f64 {
        let span = self.from.map_or(SPAN, |from| from.elapsed());
        let kilobytes = u32::try_from(self.bytes / 1_000).unwrap_or(u32::MAX);
        8.0 * f64::from(kilobytes) / span.as_secs_f64() / 1e6
    }
}
