//! Pinned memory of the host: a device copies from and to it by itself, while the host goes on.
//!
//! Blocks are powers of two and kept for reuse, as in PyTorch's caching host allocator. One that is
//! given back while a copy still uses it waits until that copy has run.

use crate::device::{Buffer, Device};
use crate::driver::{Fault, Mark};
use crate::error::{Error, Result, fail};
use crate::launch::Pod;
use crate::report::human;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a copy of pinned memory stands in a device's stream.
struct Until {
    device: &'static Device,
    mark: Mark,
}

impl Until {
    /// Behind all that was started so far; an error only once all of that has run.
    fn now(device: &'static Device) -> Result<Until> {
        let mark = device.driver().mark().inspect_err(|_| {
            let _ = device.driver().synchronize();
        })?;
        Ok(Until { device, mark })
    }

    /// Whether the stream has come there; what failed does not run any more.
    fn reached(&self) -> bool {
        self.device.driver().reached(self.mark).unwrap_or(true)
    }

    fn wait(&self) -> Result<()> {
        self.device.driver().wait(self.mark)
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        self.device.driver().unmark(self.mark);
    }
}

/// A block's address, or where it is used yet: copies that were not waited for.
struct Block {
    address: usize,
    uses: Vec<Until>,
}

/// Pinned memory that is kept for reuse.
#[derive(Default)]
pub(crate) struct HostPool {
    /// By size; each is looked at before it is given out.
    free: HashMap<usize, Vec<Block>>,
    /// Every block there is, with its size.
    all: BTreeMap<usize, usize>,
    stats: PinnedStats,
}

/// What the allocator of pinned memory holds and has done (`torch.cuda.host_memory_stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinnedStats {
    /// Bytes in use.
    pub allocated: u64,
    /// Bytes held: in use, and kept for reuse.
    pub reserved: u64,
    /// How often memory was asked for.
    pub requests: u64,
    /// How often the driver had to be asked.
    pub driver_requests: u64,
}

/// The least size of a block.
const LEAST: usize = 512;

impl HostPool {
    pub(crate) fn stats(&self) -> PinnedStats {
        self.stats
    }

    /// Whether an address lies in pinned memory.
    fn holds(&self, address: usize) -> bool {
        let before = self.all.range(..=address).next_back();
        before.is_some_and(|(&start, &size)| address - start < size)
    }

    fn take(&mut self, device: &Device, bytes: usize, size: usize) -> Result<usize> {
        self.stats.requests += 1;
        let free = self.free.entry(size).or_default();
        let ready = free.iter().position(|b| b.uses.iter().all(Until::reached));
        let address = match ready {
            Some(i) => free.swap_remove(i).address,
            None => {
                self.stats.driver_requests += 1;
                let got = device.driver().pin(size).map_err(|fault| match fault {
                    Fault::OutOfMemory => Error::new(format!(
                        "the system does not give {} of pinned memory; {} are pinned. pin_memory(false), a smaller batch or fewer batches ahead need less",
                        human(bytes as u64),
                        human(self.stats.reserved),
                    )),
                    Fault::Other(words) => {
                        Error::new(format!("pinning {}: {words}", human(bytes as u64)))
                    }
                })? as usize;
                // SAFETY: fresh memory of that size, which nobody else knows; from now on all of it
                // is initialised.
                unsafe { std::ptr::write_bytes(got as *mut u8, 0, size) };
                self.all.insert(got, size);
                self.stats.reserved += size as u64;
                got
            }
        };
        self.stats.allocated += size as u64;
        Ok(address)
    }

    /// Gives what is not in use back to the system.
    pub(crate) fn empty(&mut self, device: &Device) {
        for block in self.free.drain().flat_map(|(_, blocks)| blocks) {
            block.uses.iter().for_each(|u| drop(u.wait()));
            if let Some(size) = self.all.remove(&block.address) {
                self.stats.reserved -= size as u64;
            }
            // SAFETY: of `pin`, in no tensor's use, and the copies from and to it have run.
            unsafe { device.driver().unpin(block.address as *mut u8) };
        }
    }
}

impl Device {
    /// Pinned memory with arbitrary contents, of which any device may copy.
    ///
    /// # Errors
    /// Where the system gives no more.
    pub fn pin(&'static self, bytes: usize) -> Result<Pinned> {
        let size = bytes.max(LEAST).checked_next_power_of_two();
        let Some(size) = size.filter(|&s| s <= isize::MAX as usize) else {
            fail!("{bytes} bytes are no size of memory");
        };
        let address = self.host().take(self, bytes, size)?;
        Ok(Pinned {
            device: self,
            address,
            bytes,
            size,
            uses: Mutex::default(),
        })
    }

    /// What the allocator of pinned memory holds.
    pub fn pinned_stats(&self) -> PinnedStats {
        self.host().stats()
    }

    /// Whether bytes are pinned memory: the driver does not wait for copies of it.
    pub(crate) fn pins(&self, bytes: &[u8]) -> bool {
        self.host().holds(bytes.as_ptr() as usize)
    }
}

/// The copies of a block that may not have run yet.
#[derive(Default)]
struct Uses {
    /// The last one that reads it.
    read: Option<Until>,
    /// The last one that writes it.
    write: Option<Until>,
}

/// Pinned memory; dropped, it goes back to the device's allocator of such memory. Whoever looks at
/// its bytes waits for a copy that still writes them, and whoever changes them for every copy.
pub struct Pinned {
    device: &'static Device,
    address: usize,
    bytes: usize,
    /// Of the block.
    size: usize,
    uses: Mutex<Uses>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} bytes)", self.bytes)
    }
}

impl Pinned {
    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its elements, once the copy that writes them has run.
    ///
    /// # Errors
    /// Where the device has failed.
    pub fn slice<T: Pod>(&self) -> Result<&[T]> {
        if let Some(until) = self.uses().write.take() {
            until.wait()?;
        }
        let n = self.bytes / size_of::<T>();
        // SAFETY: a block of at least that size and aligned as pages are, initialised when it was
        // pinned; every pattern of bits is a `T`. No copy writes it: the last one was waited for,
        // and another needs `self` exclusively.
        Ok(unsafe { std::slice::from_raw_parts(self.address as *const T, n) })
    }

    /// The same for changing, once every copy has run.
    ///
    /// # Errors
    /// Where the device has failed.
    pub fn slice_mut<T: Pod>(&mut self) -> Result<&mut [T]> {
        let uses = std::mem::take(self.uses.get_mut().unwrap_or_else(PoisonError::into_inner));
        for until in uses.read.iter().chain(&uses.write) {
            until.wait()?;
        }
        let n = self.bytes / size_of::<T>();
        // SAFETY: as above; no copy reads it either, and `self` is borrowed exclusively.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address as *mut T, n) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let uses = std::mem::take(self.uses.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut host = self.device.host();
        host.stats.allocated -= self.size as u64;
        let uses = uses.read.into_iter().chain(uses.write).collect();
        let address = self.address;
        let free = host.free.entry(self.size).or_default();
        free.push(Block { address, uses });
    }
}

impl Buffer {
    /// Starts a copy of `bytes` bytes of pinned memory, from `start` on, to `offset`; the host does
    /// not wait.
    ///
    /// # Errors
    /// Where they do not fit, or the device fails.
    pub fn upload_pinned(
        &mut self,
        offset: usize,
        from: &Pinned,
        start: usize,
        bytes: usize,
    ) -> Result<()> {
        self.check(offset, bytes)?;
        within(from, start, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let device = self.device();
        device.check_host("copying from the host")?;
        let mut uses = from.uses();
        // A copy of another device's that writes it comes first.
        if let Some(until) = uses.write.take_if(|u| !std::ptr::eq(u.device, device)) {
            until.wait()?;
        }
        if let Some(until) = uses.read.take_if(|u| !std::ptr::eq(u.device, device)) {
            until.wait()?;
        }
        let (to, from) = (self.address() + offset as u64, from.address + start);
        // SAFETY: within both; `read` below keeps the block from being changed or given out before
        // the stream has come so far. On one device, copies run in order.
        unsafe { (device.driver()).start_upload(to, from as *const u8, bytes)? };
        uses.read = Some(Until::now(device)?);
        Ok(())
    }

    /// Starts a copy of `bytes` bytes from `start` on to the beginning of pinned memory; the host
    /// does not wait before it looks at them.
    ///
    /// # Errors
    /// Where they do not fit, or the device fails.
    pub fn download_pinned(&self, start: usize, to: &mut Pinned, bytes: usize) -> Result<()> {
        self.check(start, bytes)?;
        within(to, 0, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let device = self.device();
        device.check_host("copying to the host")?;
        to.slice_mut::<u8>()?;
        // SAFETY: within both; `write` below keeps everybody from the bytes before the stream has
        // come so far, and other copies of it have run.
        unsafe {
            (device.driver()).start_download(
                to.address as *mut u8,
                self.address() + start as u64,
                bytes,
            )?;
        }
        to.uses().write = Some(Until::now(device)?);
        Ok(())
    }
}

fn within(pinned: &Pinned, start: usize, bytes: usize) -> Result<()> {
    match start.checked_add(bytes) {
        Some(end) if end <= pinned.bytes => Ok(()),
        _ => fail!(
            "bytes {start} to {start} + {bytes} of pinned memory of {}",
            pinned.bytes
        ),
    }
}
