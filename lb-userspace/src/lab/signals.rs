//! SIGINT, SIGTERM and SIGHUP clear every laboratory of the process before they end it.
//!
//! A handler may do next to nothing, so it writes the signal's number to a pipe and a thread does the work.

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};

use super::remains;

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Where the handler writes; -1 before [`watch`].
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(number: libc::c_int) {
    let byte = [number.to_le_bytes()[0]];
    // SAFETY: write(2) is async-signal-safe; the descriptor stays open for the life of the process.
    unsafe { libc::write(PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
}

/// Starts watching, once for the process. Without a pipe or a thread signals keep their default action; the next
/// laboratory then sweeps what this one leaves.
pub(super) fn watch() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let Ok((reader, writer)) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC) else { return };
        PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
        let started = std::thread::Builder::new().name("lab-signals".into()).spawn(move || {
            clear_and_end(reader.as_raw_fd());
        });
        if started.is_err() {
            return;
        }
        let action =
            SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        for number in SIGNALS {
            // SAFETY: the handler only calls write(2).
            let _ = unsafe { signal::sigaction(number, &action) };
        }
    });
}

fn clear_and_end(pipe: RawFd) {
    let mut byte = [0_u8];
    loop {
        // SAFETY: the buffer is one byte long; the thread owns the read end.
        match unsafe { libc::read(pipe, byte.as_mut_ptr().cast(), 1) } {
            1 => break,
            -1 if nix::errno::Errno::last() == nix::errno::Errno::EINTR => {}
            _ => return,
        }
    }
    remains::clear_all();
    if let Ok(number) = Signal::try_from(i32::from(byte[0])) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action is no handler.
        let _ = unsafe { signal::sigaction(number, &default) };
        let _ = signal::raise(number);
        let _ = signal::kill(nix::unistd::Pid::this(), number);
    }
}
