//! A pinned map with its types: what the rest of this tree reads and writes through.
//!
//! Handles are shared and clonable; the kernel orders what happens to one element.

use std::io;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;

use super::batch::{self, BATCH, PER_CPU_KINDS};
use super::sys;

/// An operation on a map that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} map {map}: {cause}")]
pub struct TableError {
    /// Name of the map.
    pub map: &'static str,
    /// What was tried.
    pub action: &'static str,
    /// What the kernel said.
    pub cause: io::Error,
}

/// A map from `K` to `V`, of any kind that has one value a key.
pub struct Table<K, V> {
    name: &'static str,
    fd: Arc<OwnedFd>,
    capacity: u32,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        let fd = Arc::clone(&self.fd);
        Self { name: self.name, fd, capacity: self.capacity, types: PhantomData }
    }
}

impl<K, V> AsFd for Table<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// Opens the pin `name` in `maps`; refuses a map whose keys or values are of another size.
    pub fn open(maps: &Path, name: &'static str) -> Result<Self, TableError> {
        let failed = |cause| TableError { map: name, action: "open", cause };
        let fd = sys::open_pin(&maps.join(name)).map_err(failed)?;
        let info = sys::map_info(fd.as_fd()).map_err(failed)?;
        let fits = info.key_size as usize == size_of::<K>()
            && info.value_size as usize == size_of::<V>()
            && !PER_CPU_KINDS.contains(&info.kind);
        if !fits {
            return Err(failed(other_shape(info)));
        }
        Ok(Self { name, fd: Arc::new(fd), capacity: info.max_entries, types: PhantomData })
    }

    /// Elements it can hold.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        let mut value = V::zeroed();
        let room = bytemuck::bytes_of_mut(&mut value);
        // SAFETY: `open` compared the sizes of K and V with the map's.
        match unsafe { sys::lookup(self.as_fd(), bytemuck::bytes_of(key), room) } {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.failed("read", cause)),
        }
    }

    /// Inserts or replaces.
    pub fn put(&self, key: &K, value: &V) -> Result<(), TableError> {
        let bytes = bytemuck::bytes_of(value);
        // SAFETY: as in `get`.
        unsafe { sys::update(self.as_fd(), bytemuck::bytes_of(key), bytes) }
            .map_err(|cause| self.failed("write", cause))
    }

    /// Removes; says whether there was anything to remove.
    pub fn remove(&self, key: &K) -> Result<bool, TableError> {
        // SAFETY: as in `get`.
        match unsafe { sys::delete(self.as_fd(), bytemuck::bytes_of(key)) } {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(self.failed("delete from", cause)),
        }
    }

    /// Calls `visit` for each element until it breaks. C-14
    pub fn walk(&self, visit: impl FnMut(&K, &V) -> ControlFlow<()>) -> Result<(), TableError> {
        batch::walk(self.as_fd(), BATCH, visit).map_err(|cause| self.failed("walk", cause))
    }

    /// Calls `visit` for each element.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) -> Result<(), TableError> {
        self.walk(|key, value| {
            visit(key, value);
            ControlFlow::Continue(())
        })
    }

    fn failed(&self, action: &'static str, cause: io::Error) -> TableError {
        TableError { map: self.name, action, cause }
    }
}

impl<V> AsFd for PerCpu<V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An array that has one value for each CPU.
pub struct PerCpu<V> {
    name: &'static str,
    fd: Arc<OwnedFd>,
    capacity: u32,
    cpus: usize,
    types: PhantomData<fn() -> V>,
}

impl<V> Clone for PerCpu<V> {
    fn clone(&self) -> Self {
        let fd = Arc::clone(&self.fd);
        Self { name: self.name, fd, capacity: self.capacity, cpus: self.cpus, types: PhantomData }
    }
}

impl<V: Pod> PerCpu<V> {
    /// Values lie 8 bytes apart at least, so a type of another size would have gaps between them.
    const WHOLE_WORDS: () = assert!(size_of::<V>().is_multiple_of(8));

    /// Opens the pin `name` in `maps`.
    pub fn open(maps: &Path, name: &'static str) -> Result<Self, TableError> {
        let () = Self::WHOLE_WORDS;
        let failed = |cause| TableError { map: name, action: "open", cause };
        let fd = sys::open_pin(&maps.join(name)).map_err(failed)?;
        let info = sys::map_info(fd.as_fd()).map_err(failed)?;
        let fits = info.key_size == 4
            && info.value_size as usize == size_of::<V>()
            && PER_CPU_KINDS.contains(&info.kind);
        if !fits {
            return Err(failed(other_shape(info)));
        }
        let cpus = possible_cpus().map_err(failed)?;
        Ok(Self { name, fd: Arc::new(fd), capacity: info.max_entries, cpus, types: PhantomData })
    }

    /// Elements it holds.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The values of all CPUs at `index`; empty past the end.
    pub fn get(&self, index: u32) -> Result<Vec<V>, TableError> {
        let mut values = vec![V::zeroed(); self.cpus];
        let room = bytemuck::cast_slice_mut(&mut values);
        // SAFETY: V is as long as the map's values, a multiple of 8, and there is one for each possible CPU.
        match unsafe { sys::lookup(self.fd.as_fd(), &index.to_ne_bytes(), room) } {
            Ok(()) => Ok(values),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(TableError { map: self.name, action: "read", cause }),
        }
    }

    /// Makes the values of all CPUs at `index` zero.
    pub fn reset(&self, index: u32) -> Result<(), TableError> {
        self.put(index, &vec![V::zeroed(); self.cpus])
    }

    /// Writes the values of all CPUs at `index`: as many as [`get`](Self::get) returns.
    pub fn put(&self, index: u32, values: &[V]) -> Result<(), TableError> {
        assert_eq!(values.len(), self.cpus, "a value for each possible CPU");
        // SAFETY: as in `get`.
        unsafe { sys::update(self.fd.as_fd(), &index.to_ne_bytes(), bytemuck::cast_slice(values)) }
            .map_err(|cause| TableError { map: self.name, action: "write", cause })
    }
}

/// CPUs that this kernel could ever have; per-CPU maps hold a value for each.
pub(super) fn possible_cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

fn other_shape(info: sys::MapInfo) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "it holds {}-byte keys and {}-byte values, which is another layout",
            info.key_size, info.value_size
        ),
    )
}
