//! Who is at the other end of the socket, as the kernel says.
//!
//! The file's mode (0660) decides who may connect; this decides what they may ask, and catches a mode that somebody
//! has widened.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use std::os::unix::fs::MetadataExt;

use tokio::net::UnixStream;

/// What a peer may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Root and the daemon's own user: everything.
    Full,
    /// The socket's group: whatever only reads.
    Reader,
    /// Anybody else.
    Nobody,
}

/// The level of the peer of `stream`, which came in by the socket at `path`.
pub(super) fn level(stream: &UnixStream, path: &Path) -> io::Result<Level> {
    let peer = stream.peer_cred()?;
    let socket_group = std::fs::symlink_metadata(path)?.gid();
    let own = nix::unistd::geteuid().as_raw();
    if peer.uid() == 0 || peer.uid() == own {
        return Ok(Level::Full);
    }
    if peer.gid() == socket_group || supplementary_groups(stream)?.contains(&socket_group) {
        return Ok(Level::Reader);
    }
    Ok(Level::Nobody)
}

/// The peer's supplementary groups when it connected: `SO_PEERGROUPS` (Linux 4.13).
fn supplementary_groups(stream: &UnixStream) -> io::Result<Vec<libc::gid_t>> {
    // NGROUPS_MAX (include/uapi/linux/limits.h): no process has more.
    let mut groups = vec![0 as libc::gid_t; 65_536];
    let mut len = size_of_val(groups.as_slice()) as libc::socklen_t;
    // SAFETY: `groups` is valid for `len` bytes, of which the kernel writes at most that many and says how many.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(len as usize / size_of::<libc::gid_t>());
    Ok(groups)
}
