//! The memory behind tensors: shared by views, guarded by a lock, counted in versions.
//!
//! Memory is the host's, pinned or not, or a CUDA device's. What reads or writes elements on the host
//! works on both: of a device's memory it gets a copy, which goes back where it was written to.
//! Kernels take the device's buffer itself.
//!
//! Readers take a shared lock, in-place operations an exclusive one, so that safe programs
//! cannot race on elements. An operation never waits for a second lock while it holds an
//! exclusive one; that rule keeps concurrent in-place operations free of deadlock.

use crate::dtype::Stored;
use crate::{DType, Device, Error, Result};
use flambeau_cpu::alloc::Buffer;
use flambeau_cuda as cuda;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone)]
pub(crate) struct Storage(Arc<Inner>);

/// Where elements lie.
pub(crate) enum Memory {
    Host(Buffer),
    /// The host's, of which a device copies by itself.
    Pinned(Box<cuda::Pinned>),
    Cuda(cuda::Buffer),
}

impl Memory {
    fn len(&self) -> usize {
        match self {
            Memory::Host(b) => b.as_bytes().len(),
            Memory::Pinned(b) => b.len(),
            Memory::Cuda(b) => b.len(),
        }
    }

    fn device(&self) -> Device {
        match self {
            Memory::Host(_) | Memory::Pinned(_) => Device::Cpu,
            Memory::Cuda(b) => Device::Cuda(b.device().index()),
        }
    }
}

struct Inner {
    data: RwLock<Memory>,
    device: Device,
    /// How often an in-place operation has written here; saved tensors compare it.
    version: AtomicU32,
}

/// Shared access to a storage's elements from an offset on.
pub(crate) struct Read<'a> {
    guard: RwLockReadGuard<'a, Memory>,
    /// A copy of a device's memory, made when it is first asked for; in a box, for most have none.
    staged: OnceLock<Box<Buffer>>,
    offset: usize,
}

impl<'a> Read<'a> {
    #[inline]
    fn new(guard: RwLockReadGuard<'a, Memory>, offset: usize) -> Read<'a> {
        let staged = OnceLock::new();
        Read {
            guard,
            staged,
            offset,
        }
    }

    /// All elements of the storage.
    #[inline]
    fn whole<T: Stored>(&self) -> &[T] {
        match &*self.guard {
            Memory::Host(buffer) => buffer.as_slice(),
            Memory::Pinned(pinned) => pinned.slice().unwrap_or_else(|e| lost(e)),
            Memory::Cuda(buffer) => {
                let copy = self.staged.get_or_init(|| Box::new(staged(buffer)));
                copy.as_slice()
            }
        }
    }

    /// All elements from the tensor's offset to the storage's end; `T` must be the stored type.
    pub(crate) fn slice<T: Stored>(&self) -> &[T] {
        &self.whole::<T>()[self.offset..]
    }

    /// The whole storage.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.whole()
    }

    /// The device's buffer, where it is one's.
    pub(crate) fn cuda(&self) -> Option<&cuda::Buffer> {
        match &*self.guard {
            Memory::Host(_) | Memory::Pinned(_) => None,
            Memory::Cuda(buffer) => Some(buffer),
        }
    }

    /// The host's memory, where it is pinned.
    pub(crate) fn pinned(&self) -> Option<&cuda::Pinned> {
        match &*self.guard {
            Memory::Pinned(pinned) => Some(pinned),
            _ => None,
        }
    }
}

/// Exclusive access to a storage's elements from an offset on.
pub(crate) struct Write<'a> {
    guard: RwLockWriteGuard<'a, Memory>,
    /// A copy of a device's memory, which is written back at the end.
    staged: Option<Box<Buffer>>,
    offset: usize,
}

impl<'a> Write<'a> {
    #[inline]
    fn new(guard: RwLockWriteGuard<'a, Memory>, offset: usize) -> Write<'a> {
        let staged = None;
        Write {
            guard,
            staged,
            offset,
        }
    }

    /// All elements of the storage.
    fn whole<T: Stored>(&mut self) -> &mut [T] {
        match &mut *self.guard {
            Memory::Host(buffer) => buffer.as_mut_slice(),
            Memory::Pinned(pinned) => pinned.slice_mut().unwrap_or_else(|e| lost(e)),
            Memory::Cuda(buffer) => {
                let copy = self.staged.get_or_insert_with(|| Box::new(staged(buffer)));
                copy.as_mut_slice()
            }
        }
    }

    /// All elements from the tensor's offset to the storage's end; `T` must be the stored type.
    pub(crate) fn slice<T: Stored>(&mut self) -> &mut [T] {
        let offset = self.offset;
        &mut self.whole()[offset..]
    }

    /// The memory of `n` elements of type `dtype` from the tensor's offset on.
    pub(crate) fn bytes(&mut self, n: usize, dtype: DType) -> &mut [u8] {
        let (first, size) = (self.offset, dtype.size());
        &mut self.whole::<u8>()[first * size..(first + n) * size]
    }

    /// The device's buffer, where it is one's.
    pub(crate) fn cuda(&mut self) -> Option<&mut cuda::Buffer> {
        match &mut *self.guard {
            Memory::Host(_) | Memory::Pinned(_) => None,
            Memory::Cuda(buffer) => Some(buffer),
        }
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if let (Some(host), Memory::Cuda(buffer)) = (&self.staged, &mut *self.guard)
            && let Err(e) = buffer.upload(0, host.as_bytes())
        {
            lost(e);
        }
    }
}

/// A copy of a device's memory on the host.
fn staged(buffer: &cuda::Buffer) -> Buffer {
    let copy = || {
        let mut host = Buffer::uninit(buffer.len()).map_err(|e| e.to_string())?;
        let downloaded = buffer.download(0, host.as_bytes_mut());
        downloaded.map(|()| host).map_err(|e| e.to_string())
    };
    copy().unwrap_or_else(|e| lost(e))
}

/// Elements that are neither on the device nor here: nothing that is computed from now on is right.
/// Copies whose failure can be reported (`to_device`, `item`, `to_vec`) come before these.
fn lost(reason: impl std::fmt::Display) -> ! {
    panic!("elements could not be copied between the host and a CUDA device: {reason}")
}

/// A buffer of `bytes` whose contents are arbitrary.
#[track_caller]
pub(crate) fn allocate(op: &'static str, bytes: usize) -> Result<Buffer> {
    Buffer::uninit(bytes).map_err(|e| Error::new(op, e.to_string()))
}

impl Storage {
    pub(crate) fn new(buffer: Buffer) -> Storage {
        Storage::of(Memory::Host(buffer))
    }

    #[inline]
    pub(crate) fn of(memory: Memory) -> Storage {
        Storage(Arc::new(Inner {
            device: memory.device(),
            data: RwLock::new(memory),
            version: AtomicU32::new(0),
        }))
    }

    #[inline]
    pub(crate) fn device(&self) -> Device {
        self.0.device
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.data.read_recursive().len()
    }

    /// Recursive: one thread may read a storage twice (`&x * &x`) while another waits to write.
    #[inline]
    pub(crate) fn read(&self, offset: usize) -> Read<'_> {
        Read::new(self.0.data.read_recursive(), offset)
    }

    pub(crate) fn write(&self, offset: usize) -> Write<'_> {
        Write::new(self.0.data.write(), offset)
    }

    /// As [`read`](Storage::read) where no writer holds it.
    pub(crate) fn try_read(&self, offset: usize) -> Option<Read<'_>> {
        let guard = self.0.data.try_read_recursive()?;
        Some(Read::new(guard, offset))
    }

    /// As [`write`](Storage::write) where nobody holds it.
    pub(crate) fn try_write(&self, offset: usize) -> Option<Write<'_>> {
        let guard = self.0.data.try_write()?;
        Some(Write::new(guard, offset))
    }

    /// Exchanges the contents of two storages of the same size, on one device. No other thread may know of
    /// `other`: two locks are held at once.
    ///
    /// # Errors
    /// Where a device fails that has to copy, for a graph knows the addresses.
    pub(crate) fn swap(&self, other: &Storage) -> cuda::Result<()> {
        let mut theirs = other.0.data.write();
        let mut ours = self.0.data.write();
        match (&mut *ours, &mut *theirs) {
            (Memory::Cuda(a), Memory::Cuda(b)) => return a.swap(b),
            // Pinned memory stays where it is.
            (Memory::Pinned(a), Memory::Host(b)) | (Memory::Host(b), Memory::Pinned(a)) => {
                a.slice_mut::<u8>()?.swap_with_slice(b.as_bytes_mut());
            }
            (a, b) => std::mem::swap(a, b),
        }
        Ok(())
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
