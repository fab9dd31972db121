//! The caching allocator: memory that was given back is handed out again without asking the driver.
//!
//! All work of a device goes through one stream in order, so that memory may be reused as soon as
//! it is given back: what still reads it runs before what will write it. Sizes are rounded and
//! segments cut as PyTorch's allocator does, after "PyTorch: An Imperative Style" (2019), 5.3.

use crate::driver::{Address, Driver, Fault};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Sizes are multiples of this.
const ROUND: usize = 512;
/// Up to here a block is small: several share a segment of [`SMALL_SEGMENT`].
const SMALL: usize = 1 << 20;
const SMALL_SEGMENT: usize = 2 << 20;
/// Up to here a block is cut from a segment of [`LARGE_SEGMENT`]; from there on it has its own.
const LARGE: usize = 10 << 20;
const LARGE_SEGMENT: usize = 20 << 20;

/// What the allocator of a device holds and has done (`torch.cuda.memory_stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes in use by tensors.
    pub allocated: u64,
    /// The most that was ever in use.
    pub peak: u64,
    /// Bytes held from the driver: in use, and kept for reuse.
    pub reserved: u64,
    /// The most that was ever held.
    pub peak_reserved: u64,
    /// Buffers in use.
    pub buffers: u64,
    /// How often memory was asked for.
    pub requests: u64,
    /// How often the driver had to be asked.
    pub driver_requests: u64,
    /// The longest free run of memory among what is held.
    pub largest_free: u64,
}

/// A piece of a segment.
#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: usize,
    segment: Address,
    free: bool,
}

/// Memory held from the driver.
#[derive(Default)]
pub(crate) struct Pool {
    /// Every piece, by address: neighbours of a segment follow each other.
    blocks: BTreeMap<Address, Block>,
    /// Free pieces by size, in small and in large segments.
    free: [BTreeSet<(usize, Address)>; 2],
    /// Sizes of segments.
    segments: HashMap<Address, usize>,
    stats: Stats,
}

impl Pool {
    /// Memory of at least `bytes`, which are not 0; contents are arbitrary.
    pub(crate) fn take(&mut self, driver: &dyn Driver, bytes: usize) -> Result<Address> {
        let size = bytes.checked_next_multiple_of(ROUND).unwrap_or(usize::MAX);
        self.stats.requests += 1;
        let small = size <= SMALL;
        let fit = self.free[small as usize].range((size, 0)..).next().copied();
        // A large request does not break up what a much larger one left.
        let fit = fit.filter(|&(found, _)| small || found - size <= LARGE_SEGMENT.max(size / 4));
        let address = match fit {
            Some((_, address)) => address,
            None => self.grow(driver, size, bytes)?,
        };
        let Some(block) = self.blocks.get_mut(&address) else {
            return Err(Error::new("the allocator lost a block"));
        };
        self.free[small as usize].remove(&(block.bytes, address));
        let rest = block.bytes - size;
        block.free = false;
        // What is left is kept apart where it is of use.
        if rest >= if small { ROUND } else { SMALL } {
            block.bytes = size;
            let left = Block {
                bytes: rest,
                segment: block.segment,
                free: true,
            };
            let at = address + size as u64;
            self.blocks.insert(at, left);
            self.free[small as usize].insert((rest, at));
        }
        let taken = self.blocks.get(&address).map_or(0, |b| b.bytes) as u64;
        self.stats.allocated += taken;
        self.stats.buffers += 1;
        self.stats.peak = self.stats.peak.max(self.stats.allocated);
        Ok(address)
    }

    /// A new segment for `size` bytes, all free.
    fn grow(&mut self, driver: &dyn Driver, size: usize, asked: usize) -> Result<Address> {
        let segment = if size <= SMALL {
            SMALL_SEGMENT
        } else if size < LARGE {
            LARGE_SEGMENT
        } else {
            size.checked_next_multiple_of(SMALL_SEGMENT).unwrap_or(size)
        };
        self.stats.driver_requests += 1;
        let mut got = driver.allocate(segment);
        if matches!(got, Err(Fault::OutOfMemory)) {
            self.empty(driver);
            got = driver.allocate(segment);
        }
        let address = got.map_err(|fault| match fault {
            Fault::OutOfMemory => self.exhausted(driver, asked),
            Fault::Other(words) => {
                Error::new(format!("allocating {}: {words}", human(asked as u64)))
            }
        })?;
        self.segments.insert(address, segment);
        self.stats.reserved += segment as u64;
        self.stats.peak_reserved = self.stats.peak_reserved.max(self.stats.reserved);
        self.blocks.insert(
            address,
            Block {
                bytes: segment,
                segment: address,
                free: true,
            },
        );
        self.free[(size <= SMALL) as usize].insert((segment, address));
        Ok(address)
    }

    /// Takes memory back for reuse.
    pub(crate) fn give(&mut self, address: Address) {
        let Some(mut block) = self.blocks.remove(&address).filter(|b| !b.free) else {
            return;
        };
        self.stats.allocated -= block.bytes as u64;
        self.stats.buffers -= 1;
        let small = self.segments.get(&block.segment) == Some(&SMALL_SEGMENT);
        let free = &mut self.free[small as usize];
        let mut start = address;
        let next = address + block.bytes as u64;
        if let Some(after) = self.blocks.get(&next).copied()
            && after.free
            && after.segment == block.segment
        {
            self.blocks.remove(&next);
            free.remove(&(after.bytes, next));
            block.bytes += after.bytes;
        }
        if let Some((&at, &before)) = self.blocks.range(..address).next_back()
            && before.free
            && before.segment == block.segment
        {
            self.blocks.remove(&at);
            free.remove(&(before.bytes, at));
            start = at;
            block.bytes += before.bytes;
        }
        block.free = true;
        self.blocks.insert(start, block);
        free.insert((block.bytes, start));
    }

    /// Gives segments without a block in use back to the driver. The device must be idle.
    pub(crate) fn empty(&mut self, driver: &dyn Driver) {
        // What ran last may still use it; a failed device has nothing that runs.
        let _ = driver.synchronize();
        let segments = std::mem::take(&mut self.segments);
        for (address, size) in segments {
            let whole = self
                .blocks
                .get(&address)
                .is_some_and(|b| b.free && b.bytes == size);
            if !whole {
                self.segments.insert(address, size);
                continue;
            }
            self.blocks.remove(&address);
            self.free[(size == SMALL_SEGMENT) as usize].remove(&(size, address));
            self.stats.reserved -= size as u64;
            // SAFETY: a whole segment from `allocate`, which no buffer uses.
            unsafe { driver.release(address) };
        }
    }

    /// Counts, and the longest free run.
    pub(crate) fn stats(&self) -> Stats {
        let longest = self
            .free
            .iter()
            .filter_map(|f| f.last())
            .map(|&(bytes, _)| bytes)
            .max();
        Stats {
            largest_free: longest.unwrap_or(0) as u64,
            ..self.stats
        }
    }

    /// The highest use from now on.
    pub(crate) fn reset_peak(&mut self) {
        self.stats.peak = self.stats.allocated;
        self.stats.peak_reserved = self.stats.reserved;
    }

    fn exhausted(&self, driver: &dyn Driver, asked: usize) -> Error {
        let stats = self.stats();
        let free = driver.memory().unwrap_or_default();
        let kept = stats.reserved - stats.allocated;
        Error::new(format!(
            "out of memory: {} asked of a device of {} with {} free. This process holds {} in {} tensors and {} for reuse, of which the longest run is {}. A smaller batch, no_grad where no gradient is wanted, or checkpoint() needs less",
            human(asked as u64),
            human(free.1),
            human(free.0),
            human(stats.allocated),
            stats.buffers,
            human(kept),
            human(stats.largest_free),
        ))
    }
}

/// Bytes for people.
pub(crate) fn human(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit < 3 {
        value /= 1024.0;
        unit += 1;
    }
    let name = ["bytes", "KiB", "MiB", "GiB"][unit];
    if unit == 0 {
        format!("{bytes} {name}")
    } else {
        format!("{value:.2} {name}")
    }
}
