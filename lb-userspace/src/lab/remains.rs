//! What a laboratory leaves on the host, and its removal: from `Drop`, from a signal, or by a later laboratory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Where iproute2 keeps named namespaces.
pub(super) const NAMESPACES: &str = "/run/netns";
/// Where laboratories keep their files.
pub(super) const FOLDERS: &str = "/run/xlb-lab";
/// Below a laboratory's folder: its private bpffs.
pub(super) const BPFFS: &str = "bpf";

/// Laboratories of this process that are not cleared yet.
static LIVE: Mutex<Vec<Arc<Remains>>> = Mutex::new(Vec::new());

/// A panic elsewhere must not keep anything from being removed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything one laboratory has made outside its process. Clearing twice is harmless.
#[derive(Debug)]
pub(super) struct Remains {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    namespaces: Vec<String>,
    folder: PathBuf,
    /// Leaders of process groups, children of this process, not reaped yet.
    children: BTreeSet<i32>,
}

impl Remains {
    /// Notes the names before the things exist, so that a failure half-way leaves nothing.
    pub(super) fn register(namespaces: Vec<String>, folder: PathBuf) -> Arc<Self> {
        let state = State { namespaces, folder, children: BTreeSet::new() };
        let remains = Arc::new(Self { state: Mutex::new(state) });
        lock(&LIVE).push(Arc::clone(&remains));
        remains
    }

    pub(super) fn add_child(&self, pid: Pid) {
        lock(&self.state).children.insert(pid.as_raw());
    }

    /// Runs `wait` while the child is known to be ours to wait for; forgets it if `wait` says it is reaped.
    pub(super) fn with_child<T>(&self, pid: Pid, wait: impl FnOnce() -> (T, bool)) -> Option<T> {
        let mut state = lock(&self.state);
        if !state.children.contains(&pid.as_raw()) {
            return None;
        }
        let (value, reaped) = wait();
        if reaped {
            state.children.remove(&pid.as_raw());
        }
        Some(value)
    }

    /// Removes everything and forgets the laboratory.
    pub(super) fn clear(&self) {
        lock(&LIVE).retain(|other| !std::ptr::eq(other.as_ref(), self));
        let mut state = lock(&self.state);
        for pid in std::mem::take(&mut state.children) {
            end_child(Pid::from_raw(pid));
        }
        for name in std::mem::take(&mut state.namespaces) {
            remove_namespace(&name);
        }
        remove_folder(&state.folder);
    }
}

/// Clears every laboratory of this process.
pub(super) fn clear_all() {
    let all = std::mem::take(&mut *lock(&LIVE));
    for remains in all {
        remains.clear();
    }
}

/// Clears what processes that no longer exist have left.
pub(super) fn sweep() {
    for entry in entries(Path::new(NAMESPACES)) {
        if owner(&entry, "xlb-").is_some_and(is_gone) {
            remove_namespace(&entry);
        }
    }
    for entry in entries(Path::new(FOLDERS)) {
        if owner(&entry, "").is_some_and(is_gone) {
            remove_folder(&Path::new(FOLDERS).join(&entry));
        }
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(list) = fs::read_dir(folder) else { return Vec::new() };
    list.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The process id in `<prefix><pid>-...`.
fn owner(name: &str, prefix: &str) -> Option<i32> {
    let (pid, _) = name.strip_prefix(prefix)?.split_once('-')?;
    pid.parse().ok()
}

fn is_gone(pid: i32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn end_child(pid: Pid) {
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
}

/// Ends what still runs inside, then drops the name; the interfaces go with the last process and socket.
fn remove_namespace(name: &str) {
    let file = Path::new(NAMESPACES).join(name);
    if let Ok(meta) = fs::metadata(&file) {
        for pid in inhabitants(meta.dev(), meta.ino()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    let _ = umount2(&file, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&file);
}

/// Other processes whose network namespace has this device and inode.
fn inhabitants(dev: u64, ino: u64) -> Vec<Pid> {
    entries(Path::new("/proc"))
        .iter()
        .filter_map(|name| name.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| *pid != Pid::this())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|meta| meta.dev() == dev && meta.ino() == ino)
        })
        .collect()
}

fn remove_folder(folder: &Path) {
    let _ = umount2(&folder.join(BPFFS), MntFlags::MNT_DETACH);
    let _ = fs::remove_dir_all(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_process_that_made_them() {
        assert_eq!(owner("xlb-4711-2-client", "xlb-"), Some(4711));
        assert_eq!(owner("4711-2", ""), Some(4711));
        assert_eq!(owner("router", "xlb-"), None);
        assert_eq!(owner("xlb-mine", "xlb-"), None);
    }

    #[test]
    fn this_process_is_not_gone() {
        assert!(!is_gone(Pid::this().as_raw()));
    }
}
