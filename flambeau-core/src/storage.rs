//! The memory behind tensors: shared by views, guarded by a lock, counted in versions.
//!
//! Readers take a shared lock, in-place operations an exclusive one, so that safe programs
//! cannot race on elements. An operation never waits for a second lock while it holds an
//! exclusive one; that rule keeps concurrent in-place operations free of deadlock.

use crate::dtype::Stored;
use crate::{Device, Error, Result};
use flambeau_cpu::alloc::Buffer;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone)]
pub(crate) struct Storage(Arc<Inner>);

struct Inner {
    data: RwLock<Buffer>,
    /// How often an in-place operation has written here; saved tensors compare it.
    version: AtomicU32,
}

/// Shared access to a storage's elements from an offset on.
pub(crate) struct Read<'a> {
    guard: RwLockReadGuard<'a, Buffer>,
    offset: usize,
}

impl Read<'_> {
    /// All elements from the tensor's offset to the storage's end; `T` must be the stored type.
    pub(crate) fn slice<T: Stored>(&self) -> &[T] {
        &self.guard.as_slice::<T>()[self.offset..]
    }

    /// The whole storage.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.guard.as_bytes()
    }
}

/// Exclusive access to a storage's elements from an offset on.
pub(crate) struct Write<'a> {
    guard: RwLockWriteGuard<'a, Buffer>,
    offset: usize,
}

impl Write<'_> {
    /// All elements from the tensor's offset to the storage's end; `T` must be the stored type.
    pub(crate) fn slice<T: Stored>(&mut self) -> &mut [T] {
        &mut self.guard.as_mut_slice::<T>()[self.offset..]
    }
}

/// A buffer of `bytes` whose contents are arbitrary.
#[track_caller]
pub(crate) fn allocate(op: &'static str, bytes: usize) -> Result<Buffer> {
    Buffer::uninit(bytes).map_err(|e| Error::new(op, e.to_string()))
}

/// A list of `count` copies of `value`.
#[track_caller]
pub(crate) fn filled<T: Clone>(op: &'static str, value: T, count: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    if list.try_reserve_exact(count).is_err() {
        return Err(Error::new(
            op,
            format!("{count} positions do not fit into memory"),
        ));
    }
    list.resize(count, value);
    Ok(list)
}

impl Storage {
    pub(crate) fn new(buffer: Buffer) -> Storage {
        Storage(Arc::new(Inner {
            data: RwLock::new(buffer),
            version: AtomicU32::new(0),
        }))
    }

    pub(crate) fn device(&self) -> Device {
        Device::Cpu
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.data.read_recursive().as_bytes().len()
    }

    /// Recursive: one thread may read a storage twice (`&x * &x`) while another waits to write.
    pub(crate) fn read(&self, offset: usize) -> Read<'_> {
        Read {
            guard: self.0.data.read_recursive(),
            offset,
        }
    }

    pub(crate) fn write(&self, offset: usize) -> Write<'_> {
        Write {
            guard: self.0.data.write(),
            offset,
        }
    }

    /// As [`read`](Storage::read) where no writer holds it.
    pub(crate) fn try_read(&self, offset: usize) -> Option<Read<'_>> {
        let guard = self.0.data.try_read_recursive()?;
        Some(Read { guard, offset })
    }

    /// As [`write`](Storage::write) where nobody holds it.
    pub(crate) fn try_write(&self, offset: usize) -> Option<Write<'_>> {
        let guard = self.0.data.try_write()?;
        Some(Write { guard, offset })
    }

    /// Exchanges the contents of two storages of the same size. No other thread may know of
    /// `other`: two locks are held at once.
    pub(crate) fn swap(&self, other: &Storage) {
        let mut theirs = other.0.data.write();
        std::mem::swap(&mut *self.0.data.write(), &mut *theirs);
    }

    pub(crate) fn same(&self, other: &Storage) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many tensors and saved tensors hold it.
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(crate) fn version(&self) -> u32 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(crate) fn bump_version(&self) {
        self.0.version.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as *const () as usize
    }
}
