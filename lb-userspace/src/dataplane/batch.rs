//! Walks over a whole map: many elements a call where the kernel can, one by one where it cannot.
//!
//! A hash map's elements never change their bucket, and a batch takes whole buckets under their lock: what is
//! in the table from the beginning to the end of a walk is seen exactly once, however many inserts and
//! deletions run beside it. Positions are the kernel's business; nothing here knows what an element means.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

use bytemuck::Pod;

use super::sys::{self, MAX_KEY};

/// `ENOTSUPP`, the kernel's own number for "this kind of map has no such operation"; not in errno.h.
const ENOTSUPP: i32 = 524;

/// Elements per call: enough to make the call cheap, few enough for the buffers to stay in the cache.
pub const BATCH: u32 = 2048;

/// Calls `visit` for each element until it breaks or the map ends. Buckets larger than `batch_size` make the
/// buffers grow.
pub fn walk<K: Pod, V: Pod>(
    fd: BorrowedFd<'_>,
    batch_size: u32,
    mut visit: impl FnMut(&K, &V) -> ControlFlow<()>,
) -> io::Result<()> {
    let info = checked_shape::<K, V>(fd)?;
    let mut room = batch_size.clamp(1, info.max_entries.max(1));
    let mut keys = vec![K::zeroed(); room as usize];
    let mut values = vec![V::zeroed(); room as usize];
    let mut position: Option<[u8; MAX_KEY]> = None;
    loop {
        let mut next = [0; MAX_KEY];
        let buffers = (
            bytemuck::cast_slice_mut::<K, u8>(&mut keys),
            bytemuck::cast_slice_mut::<V, u8>(&mut values),
        );
        // SAFETY: `checked_shape` compared the sizes of K and V with the map's; both vectors hold `room` elements.
        let step = unsafe { sys::lookup_batch(fd, position.as_ref(), &mut next, buffers, room) };
        for (key, value) in keys.iter().zip(&values).take(step.count as usize) {
            if visit(key, value).is_break() {
                return Ok(());
            }
        }
        match step.end.as_ref().map(|error| error.raw_os_error().unwrap_or(0)) {
            None => position = Some(next),
            Some(libc::ENOENT) => return Ok(()),
            // One bucket holds more than the buffers; the position has not moved.
            Some(libc::ENOSPC) => {
                room = room.saturating_mul(2);
                keys.resize(room as usize, K::zeroed());
                values.resize(room as usize, V::zeroed());
            }
            Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP) if position.is_none() => {
                return walk_one_by_one(fd, info.max_entries, visit);
            }
            Some(_) => return Err(step.end.unwrap_or_else(|| io::ErrorKind::Other.into())),
        }
    }
}

/// The same by `get_next_key`, for maps and kernels without batches. Where the key that the walk stands on is
/// deleted the kernel starts over, so the steps are bounded, and an element may be seen twice.
pub fn walk_one_by_one<K: Pod, V: Pod>(
    fd: BorrowedFd<'_>,
    max_entries: u32,
    mut visit: impl FnMut(&K, &V) -> ControlFlow<()>,
) -> io::Result<()> {
    checked_shape::<K, V>(fd)?;
    let mut last: Option<K> = None;
    for _ in 0..u64::from(max_entries) * 2 {
        let mut key = K::zeroed();
        let from = last.as_ref().map(bytemuck::bytes_of);
        // SAFETY: K is as long as the map's keys, by `checked_shape`.
        match unsafe { sys::next_key(fd, from, bytemuck::bytes_of_mut(&mut key)) } {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut value = V::zeroed();
        let room = bytemuck::bytes_of_mut(&mut value);
        // SAFETY: as above, for V too.
        match unsafe { sys::lookup(fd, bytemuck::bytes_of(&key), room) } {
            Ok(()) if visit(&key, &value).is_break() => return Ok(()),
            Ok(()) => {}
            // Deleted since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        last = Some(key);
    }
    Ok(())
}

/// Refuses a map whose elements are not of these types' sizes: the kernel would write past the buffers.
fn checked_shape<K: Pod, V: Pod>(fd: BorrowedFd<'_>) -> io::Result<sys::MapInfo> {
    let info = sys::map_info(fd)?;
    let fits = info.key_size as usize == size_of::<K>()
        && info.value_size as usize == size_of::<V>()
        && size_of::<K>() <= MAX_KEY
        && !PER_CPU_KINDS.contains(&info.kind);
    if fits { Ok(info) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Kinds of map whose values are one for each CPU: `PERCPU_HASH`, `PERCPU_ARRAY`, `LRU_PERCPU_HASH`,
/// `PERCPU_CGROUP_STORAGE`.
pub(super) const PER_CPU_KINDS: [u32; 4] = [5, 6, 10, 21];
