//! Network namespaces for tests: a thread that lives in one of its own. It goes with the thread, nothing is
//! mounted or named.

use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, with the loopback interface up.
pub(crate) struct Netns {
    tid: i32,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Netns {
    /// `None`, and a word about it, where namespaces are not to be had and nobody requires them.
    pub(crate) fn new() -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid().as_raw());
            ready.send(made).unwrap();
            for job in queue {
                job();
            }
        });
        match is_ready.recv().unwrap() {
            Ok(tid) => {
                let this = Self { tid, jobs: Some(jobs), thread: Some(thread) };
                this.ip("link set lo up");
                Some(this)
            }
            Err(errno) => {
                let required = std::env::var("XLB_REQUIRE").unwrap_or_default();
                assert!(!required.split(',').any(|word| word == "netns"), "unshare: {errno}");
                println!("skipped: needs CAP_NET_ADMIN");
                None
            }
        }
    }

    /// Runs a job in the namespace and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, is_done) = mpsc::channel();
        let job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        is_done.recv().expect("the job panicked")
    }

    /// `ip ARGUMENTS`.
    pub(crate) fn ip(&self, arguments: &str) {
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let output = self.run(move || Command::new("ip").args(words).output().unwrap());
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }

    /// Writes `/proc/sys/net/PATH`.
    pub(crate) fn sysctl(&self, path: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/net/{path}"), value.to_owned());
        self.run(move || std::fs::write(&path, value).expect(&path));
    }

    /// A virtual cable from `here` to `there` in the other namespace, both ends up.
    pub(crate) fn cable(&self, here: &str, other: &Self, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.tid));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
