//! The caching allocator: memory that was given back is handed out again without asking the driver.
//!
//! All work of a device goes through one stream in order, so that memory may be reused as soon as
//! it is given back: what still reads it runs before what will write it. Sizes are rounded and
//! segments cut as PyTorch's allocator does, after "PyTorch: An Imperative Style" (2019), 5.3.

use crate::driver::{Address, Driver, Fault};
use crate::error::{Error, Result};
use crate::report::{Exhausted, human};
use crate::scope::{Role, Tag};
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
    state: State,
    arena: u32,
    tag: Tag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Used,
    /// Given back while a graph holds it.
    Orphan,
}

/// Free pieces by size, in large and in small segments.
type Free = [BTreeSet<(usize, Address)>; 2];

/// Memory held from the driver.
///
/// Segments belong to arenas: number 0 is for everybody, another one for what is captured into a
/// graph, so that nobody is given what the graph's replays write.
#[derive(Default)]
pub(crate) struct Pool {
    /// Every piece, by address: neighbours of a segment follow each other.
    blocks: BTreeMap<Address, Block>,
    free: HashMap<u32, Free>,
    /// Sizes of segments.
    segments: HashMap<Address, usize>,
    /// The arena that memory is taken from.
    arena: u32,
    last_arena: u32,
    /// Pieces that graphs use, and how many do.
    held: HashMap<Address, u32>,
    stats: Stats,
    steps: Steps,
}

/// What steps of training have taken.
#[derive(Default)]
struct Steps {
    /// Samples of the batch that is being worked on.
    samples: u64,
    /// The most in use since it came.
    high: u64,
    /// The most that a sample took in any step before.
    per_sample: f64,
    /// Bytes in use by role, and the most that gradients took.
    roles: [u64; 5],
    gradients: u64,
}

impl Steps {
    fn taken(&mut self, role: Role, bytes: u64, allocated: u64) {
        self.roles[role as usize] += bytes;
        self.high = self.high.max(allocated);
        self.gradients = self.gradients.max(self.roles[Role::Gradient as usize]);
    }
}

impl Pool {
    /// Memory of at least `bytes`, which are not 0; contents are arbitrary.
    pub(crate) fn take(&mut self, driver: &dyn Driver, bytes: usize, tag: Tag) -> Result<Address> {
        let size = bytes.checked_next_multiple_of(ROUND).unwrap_or(usize::MAX);
        self.stats.requests += 1;
        let small = size <= SMALL;
        let fit = self.free()[small as usize]
            .range((size, 0)..)
            .next()
            .copied();
        // A large request does not break up what a much larger one left.
        let fit = fit.filter(|&(found, _)| small || found - size <= LARGE_SEGMENT.max(size / 4));
        let address = match fit {
            Some((_, address)) => address,
            None => self.grow(driver, size, bytes)?,
        };
        let Some(block) = self.blocks.get(&address).copied() else {
            return Err(Error::new("the allocator lost a block"));
        };
        self.free()[small as usize].remove(&(block.bytes, address));
        let rest = block.bytes - size;
        let mut taken = Block {
            state: State::Used,
            tag,
            ..block
        };
        // What is left is kept apart where it is of use.
        if rest >= if small { ROUND } else { SMALL } {
            taken.bytes = size;
            let left = Block {
                bytes: rest,
                ..block
            };
            let at = address + size as u64;
            self.blocks.insert(at, left);
            self.free()[small as usize].insert((rest, at));
        }
        self.blocks.insert(address, taken);
        self.stats.allocated += taken.bytes as u64;
        self.stats.buffers += 1;
        self.stats.peak = self.stats.peak.max(self.stats.allocated);
        (self.steps).taken(tag.role, taken.bytes as u64, self.stats.allocated);
        Ok(address)
    }

    /// What is free in the arena that memory is taken from.
    fn free(&mut self) -> &mut Free {
        self.free.entry(self.arena).or_default()
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
        // Nothing can be waited for while a graph is captured, and so nothing given back.
        if matches!(got, Err(Fault::OutOfMemory)) && self.arena == 0 {
            self.empty(driver);
            got = driver.allocate(segment);
        }
        let address = got.map_err(|fault| match fault {
            Fault::OutOfMemory => Error::new(self.exhausted(driver, asked).message()),
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
                state: State::Free,
                arena: self.arena,
                tag: Tag::default(),
            },
        );
        self.free()[(size <= SMALL) as usize].insert((segment, address));
        Ok(address)
    }

    /// Takes memory back for reuse, or, where a graph holds it, for when it no longer does.
    pub(crate) fn give(&mut self, address: Address) {
        let held = self.held.contains_key(&address);
        let Some(block) = self.blocks.get_mut(&address) else {
            return;
        };
        if block.state != State::Used {
            return;
        }
        if held {
            block.state = State::Orphan;
            return;
        }
        self.recycle(address);
    }

    /// Makes a block that nobody uses free, and joins it with its neighbours.
    fn recycle(&mut self, address: Address) {
        let Some(mut block) = self.blocks.remove(&address) else {
            return;
        };
        self.stats.allocated -= block.bytes as u64;
        self.stats.buffers -= 1;
        self.steps.roles[block.tag.role as usize] -= block.bytes as u64;
        let small = self.segments.get(&block.segment) == Some(&SMALL_SEGMENT);
        let free = &mut self.free.entry(block.arena).or_default()[small as usize];
        let mut start = address;
        let next = address + block.bytes as u64;
        let joins = |b: &Block| b.state == State::Free && b.segment == block.segment;
        if let Some(after) = self.blocks.get(&next).copied().filter(joins) {
            self.blocks.remove(&next);
            free.remove(&(after.bytes, next));
            block.bytes += after.bytes;
        }
        let before = self.blocks.range(..address).next_back();
        if let Some((at, before)) = before.map(|(&at, &b)| (at, b)).filter(|(_, b)| joins(b)) {
            self.blocks.remove(&at);
            free.remove(&(before.bytes, at));
            start = at;
            block.bytes += before.bytes;
        }
        block.state = State::Free;
        self.blocks.insert(start, block);
        free.insert((block.bytes, start));
    }

    /// Gives segments without a block in use back to the driver. The device must be idle.
    pub(crate) fn empty(&mut self, driver: &dyn Driver) {
        // What ran last may still use it; a failed device has nothing that runs.
        let _ = driver.synchronize();
        let segments = std::mem::take(&mut self.segments);
        for (address, size) in segments {
            // What a graph's replays write is its own, even while no tensor has it.
            let whole = |b: &Block| b.state == State::Free && b.bytes == size && b.arena == 0;
            if !self.blocks.get(&address).is_some_and(whole) {
                self.segments.insert(address, size);
                continue;
            }
            self.blocks.remove(&address);
            if let Some(free) = self.free.get_mut(&0) {
                free[(size == SMALL_SEGMENT) as usize].remove(&(size, address));
            }
            self.stats.reserved -= size as u64;
            // SAFETY: a whole segment from `allocate`, which no buffer uses.
            unsafe { driver.release(address) };
        }
    }

    /// Takes memory from an arena of its own from now on; its number.
    pub(crate) fn open_arena(&mut self) -> u32 {
        self.last_arena += 1;
        self.arena = self.last_arena;
        self.arena
    }

    /// Takes memory from the common arena again.
    pub(crate) fn close_arena(&mut self) {
        self.arena = 0;
    }

    /// Gives an arena's memory to the common one: its graph is gone.
    pub(crate) fn merge_arena(&mut self, arena: u32) {
        let blocks = self.blocks.values_mut().filter(|b| b.arena == arena);
        blocks.for_each(|b| b.arena = 0);
        let theirs = self.free.remove(&arena).unwrap_or_default();
        let common = self.free.entry(0).or_default();
        for (to, from) in common.iter_mut().zip(theirs) {
            to.extend(from);
        }
    }

    /// Holds the blocks that words point into, those of `arena` aside, for a graph that will use
    /// them. A number that only looks like an address holds a block too long, and does no harm.
    pub(crate) fn hold(&mut self, arena: u32, words: &[u64], holds: &mut BTreeSet<Address>) {
        for &word in words {
            let block = self.blocks.range(..=word).next_back();
            if let Some((&start, block)) = block
                && word - start < block.bytes as u64
                && block.state != State::Free
                && block.arena != arena
                && holds.insert(start)
            {
                *self.held.entry(start).or_default() += 1;
            }
        }
    }

    /// Gives up what a graph held.
    pub(crate) fn release(&mut self, holds: &BTreeSet<Address>) {
        for address in holds {
            let Some(count) = self.held.get_mut(address) else {
                continue;
            };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            self.held.remove(address);
            let orphan = |b: &Block| b.state == State::Orphan;
            if self.blocks.get(address).is_some_and(orphan) {
                self.recycle(*address);
            }
        }
    }

    /// Whether a graph reads or writes a block, so that its address is part of what it means.
    pub(crate) fn is_fixed(&self, address: Address) -> bool {
        let own = |b: &Block| b.arena != 0;
        self.held.contains_key(&address) || self.blocks.get(&address).is_some_and(own)
    }

    /// Says that a batch of `samples` came to the device: the step before it is over.
    pub(crate) fn note_batch(&mut self, samples: usize) {
        let steps = &mut self.steps;
        if steps.samples > 0 {
            let [parameters, optimizer] =
                [Role::Parameter, Role::Optimizer].map(|r| steps.roles[r as usize]);
            let lasting = parameters + optimizer + parameters.min(steps.gradients);
            let each = steps.high.saturating_sub(lasting) as f64 / steps.samples as f64;
            steps.per_sample = steps.per_sample.max(each);
        }
        (steps.samples, steps.high) = (samples as u64, self.stats.allocated);
    }

    /// Counts, and the longest free run.
    pub(crate) fn stats(&self) -> Stats {
        let free = self.free.values().flatten().filter_map(|f| f.last());
        let longest = free.map(|&(bytes, _)| bytes).max();
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

    fn exhausted(&self, driver: &dyn Driver, asked: usize) -> Exhausted {
        let stats = self.stats();
        let (free, total) = driver.memory().unwrap_or_default();
        let mut held: HashMap<Tag, (u64, u64)> = HashMap::new();
        for block in self.blocks.values().filter(|b| b.state != State::Free) {
            let (bytes, count) = held.entry(block.tag).or_default();
            *bytes += block.bytes as u64;
            *count += 1;
        }
        Exhausted {
            device: driver.name(),
            asked: asked as u64,
            total,
            free,
            allocated: stats.allocated,
            buffers: stats.buffers,
            reserved: stats.reserved,
            largest_free: stats.largest_free,
            held,
            samples: self.steps.samples,
            per_sample: self.steps.per_sample,
            gradients: self.steps.gradients,
        }
    }
}
