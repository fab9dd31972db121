//! A caching allocator: 64-byte-aligned byte buffers that are kept after use, so that a steady
//! state asks the system for nothing and touches no fresh pages.
//!
//! Sizes are rounded up to classes, four to a doubling. Small blocks (up to 64 KiB) go through
//! lists of the thread, without locks; lists that overflow, and large blocks, go through one
//! shared table. Unused large blocks are bounded by the most that was ever in use.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Every buffer starts at a multiple of this: a cache line, an AVX-512 vector.
pub const ALIGN: usize = 64;

/// Blocks up to here are kept by the thread that frees them.
const SMALL_MAX: usize = 64 << 10;
/// From here on blocks are mapped from the system directly, in huge pages where it has them.
const MAPPED_MIN: usize = 1 << 20;
/// The most bytes a thread keeps in one class before it hands half to the shared table.
const LIST_BYTES: usize = 256 << 10;
/// Unused large blocks may always take this much, however little has been in use.
const CACHE_MIN: i64 = 64 << 20;
/// Counts a thread may hold back from the shared statistics.
const SLACK_BYTES: i64 = 64 << 10;
const SLACK_COUNT: u64 = 1 << 10;

/// Types whose values are plain numbers: every bit pattern is valid and there is no padding.
///
/// # Safety
/// The implementor promises the sentence above, and an alignment of at most [`ALIGN`].
pub unsafe trait Pod: Copy + Send + Sync + 'static {}

macro_rules! pod {
    ($($t:ty),*) => { $(
        // SAFETY: a plain number (or a wrapper of one), without padding or invalid patterns.
        unsafe impl Pod for $t {}
    )* };
}
pod!(
    f32,
    f64,
    half::f16,
    half::bf16,
    i64,
    i32,
    i16,
    i8,
    u64,
    u32,
    u16,
    u8,
    usize,
    isize,
    u128
);

/// The bytes as values of type `T`; bytes left over at the end are not seen.
///
/// ```
/// assert_eq!(flambeau_cpu::alloc::cast::<u8>(&[1, 2]), [1, 2]);
/// ```
///
/// # Panics
/// If they are not aligned as `T` has to be. Elements of a [`Buffer`] are.
pub fn cast<T: Pod>(bytes: &[u8]) -> &[T] {
    let start = bytes.as_ptr().cast::<T>();
    assert!(start.is_aligned(), "cast: bytes that are not aligned");
    // SAFETY: aligned, as long as `bytes` at most, and any bytes form a `T: Pod`.
    unsafe { std::slice::from_raw_parts(start, bytes.len() / size_of::<T>()) }
}

/// The same, to be written.
///
/// ```
/// let mut bytes = [1, 2];
/// flambeau_cpu::alloc::cast_mut::<i8>(&mut bytes)[1] = -1;
/// assert_eq!(bytes, [1, 255]);
/// ```
///
/// # Panics
/// As [`cast`].
pub fn cast_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    let start = bytes.as_mut_ptr().cast::<T>();
    assert!(start.is_aligned(), "cast_mut: bytes that are not aligned");
    // SAFETY: as in `cast`, `bytes` is borrowed mutably, and a `T: Pod` has no padding.
    unsafe { std::slice::from_raw_parts_mut(start, bytes.len() / size_of::<T>()) }
}

/// The system has no memory left, or the size asked for is no possible size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// The number of bytes asked for; `usize::MAX` if it does not fit a `usize`.
    pub bytes: usize,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot allocate {} bytes ({:.1} GiB) of CPU memory; {} bytes are in use",
            self.bytes,
            self.bytes as f64 / (1u64 << 30) as f64,
            stats().allocated_bytes
        )
    }
}

impl std::error::Error for AllocError {}

/// What the allocator has done so far, over all threads. Other threads may be up to 64 KiB and
/// 1,024 allocations behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocStats {
    /// Bytes in live buffers, rounded up to their classes.
    pub allocated_bytes: u64,
    /// The most that `allocated_bytes` has been.
    pub peak: u64,
    /// Bytes kept for reuse in the shared table and this thread's lists.
    pub cached: u64,
    /// Buffers handed out.
    pub allocs: u64,
    /// Buffers handed out without asking the system.
    pub hits: u64,
}

impl AllocStats {
    /// Bytes held from the system: those in use and those kept for reuse.
    pub fn reserved(&self) -> u64 {
        self.allocated_bytes + self.cached
    }
}

/// A block of bytes, aligned to [`ALIGN`] and always initialised; dropping it keeps the memory
/// for the next one.
pub struct Buffer {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Buffer` owns its block; shared access to it only reads, except through
// `as_ptr`, whose users have to reason for themselves.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `bytes` bytes with arbitrary contents.
    ///
    /// Arbitrary, not uninitialised: fresh memory is zero and recycled memory holds what it
    /// last held, so reading it is always defined.
    ///
    /// # Errors
    /// [`AllocError`] if the system refuses.
    pub fn uninit(bytes: usize) -> Result<Buffer, AllocError> {
        Ok(allocate(bytes)?.0)
    }

    /// A buffer of `bytes` zero bytes. Fresh large blocks are zero already and are not touched.
    ///
    /// # Errors
    /// [`AllocError`] if the system refuses.
    pub fn zeroed(bytes: usize) -> Result<Buffer, AllocError> {
        let (mut buffer, fresh) = allocate(bytes)?;
        if !fresh {
            crate::threads::parallel_chunks_mut(buffer.as_bytes_mut(), 1 << 20, |_, c| c.fill(0));
        }
        Ok(buffer)
    }

    /// [`Buffer::uninit`] for `count` values of type `T`, minding overflow.
    ///
    /// # Errors
    /// [`AllocError`] if the size overflows or the system refuses.
    pub fn uninit_of<T: Pod>(count: usize) -> Result<Buffer, AllocError> {
        Buffer::uninit(size_of_many::<T>(count)?)
    }

    /// [`Buffer::zeroed`] for `count` values of type `T`, minding overflow.
    ///
    /// # Errors
    /// [`AllocError`] if the size overflows or the system refuses.
    pub fn zeroed_of<T: Pod>(count: usize) -> Result<Buffer, AllocError> {
        Buffer::zeroed(size_of_many::<T>(count)?)
    }

    /// A buffer holding a copy of `values`.
    ///
    /// # Errors
    /// [`AllocError`] if the system refuses.
    pub fn from_slice<T: Pod>(values: &[T]) -> Result<Buffer, AllocError> {
        let mut buffer = Buffer::uninit_of::<T>(values.len())?;
        buffer.as_mut_slice().copy_from_slice(values);
        Ok(buffer)
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first byte; never null, aligned to [`ALIGN`]. The memory may be written
    /// through it, by code that makes sure that nothing else reads or writes the same bytes.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.as_slice()
    }

    /// The bytes, to be written.
    #[inline]
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }

    /// The contents as values of type `T`; bytes left over at the end are not seen.
    #[inline]
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        // SAFETY: the block is initialised, aligned to ALIGN, at least `len` bytes long, and any
        // bytes form a `T: Pod`; it is borrowed as long as the slice.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), self.len / size_of::<T>()) }
    }

    /// The contents as values of type `T`, to be written.
    #[inline]
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        let n = self.len / size_of::<T>();
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), n) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.len > 0 {
            release(Block(self.ptr), class_of(self.len));
        }
    }
}

fn size_of_many<T>(count: usize) -> Result<usize, AllocError> {
    count
        .checked_mul(size_of::<T>())
        .ok_or(AllocError { bytes: usize::MAX })
}

// Size classes: 64, 128, 192, 256, and from there four to a doubling (320, 384, 448, 512, 640, ...).

const CLASSES: usize = 4 * 58;

/// The class whose blocks hold `bytes` (at least 1, at most `isize::MAX`).
#[inline]
fn class_of(bytes: usize) -> usize {
    let lines = bytes.div_ceil(ALIGN);
    if lines <= 4 {
        return lines - 1;
    }
    // The top bit of the last byte's offset gives the doubling, the two below it the quarter.
    let last = lines * ALIGN - 1;
    let log = last.ilog2() as usize;
    4 * (log - 7) + (last >> (log - 2) & 3)
}

/// The size of the blocks of a class.
#[inline]
const fn class_size(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * ALIGN;
    }
    (5 + class % 4) << (class / 4 + 5)
}

/// An unused block, owned by whoever holds this.
struct Block(NonNull<u8>);
// SAFETY: a block is memory that nothing else refers to.
unsafe impl Send for Block {}

/// Asks the system for a zeroed block of a class.
fn system_alloc(class: usize) -> Option<Block> {
    let size = class_size(class);
    if size >= MAPPED_MIN {
        return map::alloc(size);
    }
    let layout = Layout::from_size_align(size, ALIGN).ok()?;
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).map(Block)
}

/// Gives a block of a class back to the system.
fn system_free(block: Block, class: usize) {
    let size = class_size(class);
    if size >= MAPPED_MIN {
        return map::free(block, size);
    }
    // SAFETY: `system_alloc` made the block with this layout, which it found valid.
    unsafe {
        dealloc(
            block.0.as_ptr(),
            Layout::from_size_align_unchecked(size, ALIGN),
        )
    }
}

/// Large blocks straight from the system: lazily zero, and in huge pages where possible (fewer
/// TLB misses in matrix products, fewer faults on first touch).
#[cfg(all(target_os = "linux", not(miri)))]
mod map {
    use super::{Block, NonNull};

    const HUGE: usize = 2 << 20;

    pub fn alloc(size: usize) -> Option<Block> {
        // Room to cut out a part that starts at a huge page.
        let whole = size.checked_add(HUGE)?;
        // SAFETY: an anonymous private mapping; no existing memory is touched.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = base.cast::<u8>();
        let head = base.align_offset(HUGE);
        // SAFETY: head <= HUGE, so `start..start + size` lies within the mapping; what is
        // unmapped lies outside it. Sizes are multiples of the page (MAPPED_MIN / 4 divides
        // them). madvise is only advice: its failure changes nothing.
        unsafe {
            let start = base.add(head);
            if head > 0 {
                libc::munmap(base.cast(), head);
            }
            if HUGE - head > 0 {
                libc::munmap(start.add(size).cast(), HUGE - head);
            }
            if size >= HUGE {
                libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE);
            }
            NonNull::new(start).map(Block)
        }
    }

    pub fn free(block: Block, size: usize) {
        // SAFETY: the block is the mapping of `size` bytes that `alloc` left.
        unsafe { libc::munmap(block.0.as_ptr().cast(), size) };
    }
}

/// Elsewhere large blocks come from the global allocator. An alignment above that of `malloc`
/// would make it write zeros by hand, so the alignment is made here.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod map {
    use super::{ALIGN, Block, Layout, NonNull, alloc_zeroed, dealloc};

    // The block starts ALIGN bytes or less after the allocation; the last byte before it says
    // how many.
    fn layout(size: usize) -> Option<Layout> {
        Layout::from_size_align(size.checked_add(ALIGN)?, 1).ok()
    }

    pub fn alloc(size: usize) -> Option<Block> {
        let layout = layout(size)?;
        // SAFETY: the size is not zero; 1 <= head <= ALIGN keeps block and mark inside.
        unsafe {
            let base = alloc_zeroed(layout);
            if base.is_null() {
                return None;
            }
            let head = ALIGN - base as usize % ALIGN;
            let start = base.add(head);
            start.sub(1).write(head as u8);
            NonNull::new(start).map(Block)
        }
    }

    pub fn free(block: Block, size: usize) {
        let Some(layout) = layout(size) else { return };
        // SAFETY: `alloc` wrote the distance to the start of the allocation before the block.
        unsafe {
            let head = *block.0.as_ptr().sub(1) as usize;
            dealloc(block.0.as_ptr().sub(head), layout);
        }
    }
}

/// Unused blocks that any thread may take.
struct Shared {
    lists: [Vec<Block>; CLASSES],
    /// Bytes in `lists`.
    cached: i64,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared {
    lists: [const { Vec::new() }; CLASSES],
    cached: 0,
});

static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
static ALLOCS: AtomicU64 = AtomicU64::new(0);
static HITS: AtomicU64 = AtomicU64::new(0);

/// Number of classes up to SMALL_MAX.
const SMALL_CLASSES: usize = {
    let mut c = 0;
    while class_size(c) <= SMALL_MAX {
        c += 1;
    }
    c
};

/// A thread's own lists, and the part of the statistics it has not yet published.
struct Local {
    lists: RefCell<[Vec<Block>; SMALL_CLASSES]>,
    live: Cell<i64>,
    allocs: Cell<u64>,
    hits: Cell<u64>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            lists: RefCell::new([const { Vec::new() }; SMALL_CLASSES]),
            live: Cell::new(0),
            allocs: Cell::new(0),
            hits: Cell::new(0),
        }
    };
}

impl Drop for Local {
    fn drop(&mut self) {
        self.publish();
        let mut shared = lock();
        for (class, list) in self.lists.get_mut().iter_mut().enumerate() {
            shared.cached += (list.len() * class_size(class)) as i64;
            shared.lists[class].append(list);
        }
    }
}

impl Local {
    /// Counts `bytes` more (or fewer) in use.
    #[inline]
    fn count(&self, bytes: i64, allocs: u64, hits: u64) {
        self.live.set(self.live.get() + bytes);
        self.allocs.set(self.allocs.get() + allocs);
        self.hits.set(self.hits.get() + hits);
        if self.live.get().abs() >= SLACK_BYTES || self.allocs.get() >= SLACK_COUNT {
            self.publish();
        }
    }

    #[cold]
    fn publish(&self) {
        publish(self.live.take(), self.allocs.take(), self.hits.take());
    }
}

fn publish(bytes: i64, allocs: u64, hits: u64) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
    ALLOCS.fetch_add(allocs, Ordering::Relaxed);
    HITS.fetch_add(hits, Ordering::Relaxed);
}

/// Counts in the thread's statistics, or in the shared ones while the thread ends.
#[inline]
fn count(bytes: i64, allocs: u64, hits: u64) {
    if LOCAL.try_with(|l| l.count(bytes, allocs, hits)).is_err() {
        publish(bytes, allocs, hits);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Shared> {
    // Nothing panics while the lock is held, so a poisoned table is still whole.
    SHARED.lock().unwrap_or_else(|e| e.into_inner())
}

/// A buffer, and whether its memory is fresh from the system and so zero.
#[inline]
fn allocate(bytes: usize) -> Result<(Buffer, bool), AllocError> {
    if bytes == 0 {
        let ptr = NonNull::<Line>::dangling().cast();
        return Ok((Buffer { ptr, len: 0 }, true));
    }
    if bytes > isize::MAX as usize / 2 {
        return Err(AllocError { bytes });
    }
    let class = class_of(bytes);
    let size = class_size(class) as i64;
    let local = match class < SMALL_CLASSES {
        true => LOCAL
            .try_with(|l| {
                let block = l.lists.borrow_mut()[class].pop()?;
                l.count(size, 1, 1);
                Some(block)
            })
            .unwrap_or(None),
        false => None,
    };
    if let Some(block) = local {
        return Ok((
            Buffer {
                ptr: block.0,
                len: bytes,
            },
            false,
        ));
    }
    allocate_slow(bytes, class)
}

/// A type as strict as the alignment, for the address of empty buffers.
#[repr(align(64))]
struct Line;

#[cold]
fn allocate_slow(bytes: usize, class: usize) -> Result<(Buffer, bool), AllocError> {
    let size = class_size(class) as i64;
    if let Some(block) = take_shared(class) {
        count(size, 1, 1);
        return Ok((
            Buffer {
                ptr: block.0,
                len: bytes,
            },
            false,
        ));
    }
    let block = system_alloc(class).or_else(|| {
        empty_cache();
        system_alloc(class)
    });
    let block = block.ok_or(AllocError { bytes })?;
    count(size, 1, 0);
    Ok((
        Buffer {
            ptr: block.0,
            len: bytes,
        },
        true,
    ))
}

/// A block from the shared table; for a small class, also some more for this thread's list.
fn take_shared(class: usize) -> Option<Block> {
    let size = class_size(class);
    let mut shared = lock();
    let block = shared.lists[class].pop()?;
    shared.cached -= size as i64;
    if class < SMALL_CLASSES {
        let n = shared.lists[class].len().min(list_limit(class) / 2);
        let at = shared.lists[class].len() - n;
        // A thread that is ending has no lists any more; the blocks then stay.
        let moved = LOCAL.try_with(|l| {
            l.lists.borrow_mut()[class].extend(shared.lists[class].drain(at..));
        });
        if moved.is_ok() {
            shared.cached -= (n * size) as i64;
        }
    }
    Some(block)
}

/// The most blocks a thread keeps of a class.
#[inline]
fn list_limit(class: usize) -> usize {
    (LIST_BYTES / class_size(class)).max(4)
}

#[inline]
fn release(block: Block, class: usize) {
    let bytes = -(class_size(class) as i64);
    let mut block = Some(block);
    if class < SMALL_CLASSES {
        let _ = LOCAL.try_with(|l| {
            l.count(bytes, 0, 0);
            let list = &mut l.lists.borrow_mut()[class];
            list.extend(block.take());
            if list.len() > list_limit(class) {
                spill(list, class);
            }
        });
    }
    if let Some(block) = block {
        count(bytes, 0, 0);
        release_shared(block, class);
    }
}

/// Hands the older half of a full list to the shared table.
#[cold]
fn spill(list: &mut Vec<Block>, class: usize) {
    let n = list.len() / 2;
    let mut shared = lock();
    shared.cached += (n * class_size(class)) as i64;
    shared.lists[class].extend(list.drain(..n));
}

/// Keeps a block, at the expense of others where there are too many: what was released last is
/// what a program in a steady state asks for next.
#[cold]
fn release_shared(block: Block, class: usize) {
    let size = class_size(class) as i64;
    let limit = PEAK.load(Ordering::Relaxed).max(CACHE_MIN);
    let mut evicted = Vec::new();
    let mut shared = lock();
    for other in (0..CLASSES).rev().filter(|&c| c != class) {
        while shared.cached + size > limit
            && let Some(block) = shared.lists[other].pop()
        {
            shared.cached -= class_size(other) as i64;
            evicted.push((block, other));
        }
    }
    if shared.cached + size <= limit {
        shared.cached += size;
        shared.lists[class].push(block);
    } else {
        evicted.push((block, class));
    }
    drop(shared);
    evicted
        .into_iter()
        .for_each(|(block, class)| system_free(block, class));
}

/// The allocator's statistics.
pub fn stats() -> AllocStats {
    let mut cached = 0;
    let _ = LOCAL.try_with(|l| {
        l.publish();
        for (class, list) in l.lists.borrow().iter().enumerate() {
            cached += list.len() * class_size(class);
        }
    });
    AllocStats {
        allocated_bytes: LIVE.load(Ordering::Relaxed).max(0) as u64,
        peak: PEAK.load(Ordering::Relaxed).max(0) as u64,
        cached: cached as u64 + lock().cached.max(0) as u64,
        allocs: ALLOCS.load(Ordering::Relaxed),
        hits: HITS.load(Ordering::Relaxed),
    }
}

/// Counts the peak anew from what is in use now (`torch.cuda.reset_peak_memory_stats`).
///
/// ```standalone_crate
/// use flambeau_cpu::alloc::{Buffer, reset_peak, stats};
/// drop(Buffer::uninit(1 << 26));
/// reset_peak();
/// let before = stats();
/// drop(Buffer::uninit(1 << 20));
/// assert!(before.peak < 1 << 26 && stats().peak >= before.allocated_bytes + (1 << 20));
/// ```
pub fn reset_peak() {
    let _ = LOCAL.try_with(Local::publish);
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Gives every block that the shared table and this thread's lists keep back to the system.
pub fn empty_cache() {
    let mut all = Vec::new();
    let _ = LOCAL.try_with(|l| {
        for (class, list) in l.lists.borrow_mut().iter_mut().enumerate() {
            all.push((class, std::mem::take(list)));
        }
    });
    let mut shared = lock();
    for (class, list) in shared.lists.iter_mut().enumerate() {
        all.push((class, std::mem::take(list)));
    }
    shared.cached = 0;
    drop(shared);
    for (class, list) in all {
        list.into_iter().for_each(|b| system_free(b, class));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_sizes_and_waste_little() {
        for bytes in (1..5000).chain((12..40).flat_map(|s| {
            let b = 1usize << s;
            [b - 1, b, b + 1, b + b / 4, b + b / 2 + 1]
        })) {
            let c = class_of(bytes);
            let size = class_size(c);
            assert!(
                size >= bytes && size.is_multiple_of(ALIGN),
                "{bytes} -> {size}"
            );
            assert!(c == 0 || class_size(c - 1) < bytes, "{bytes} -> {size}");
            assert!(size <= bytes + (bytes / 4).max(ALIGN), "{bytes} -> {size}");
        }
        assert!(class_of(isize::MAX as usize / 2) < CLASSES);
        assert_eq!(class_size(class_of(SMALL_MAX)), SMALL_MAX);
        assert_eq!(class_of(SMALL_MAX) + 1, SMALL_CLASSES);
    }

    #[test]
    fn buffers_are_aligned_zeroed_and_typed() {
        let sizes = [0, 1, 63, 64, 1000, 70_000, 1 << 20, (5 << 20) + 3];
        for bytes in &sizes[..if cfg!(miri) { 5 } else { 8 }] {
            let bytes = *bytes;
            for _ in 0..3 {
                let mut b = Buffer::zeroed(bytes).unwrap();
                assert_eq!((b.len(), b.as_ptr() as usize % ALIGN), (bytes, 0));
                assert!(b.as_bytes().iter().all(|&x| x == 0));
                b.as_bytes_mut().fill(0xff);
            }
        }
        let b = Buffer::from_slice(&[1.5f32, -2.0]).unwrap();
        assert_eq!(b.as_slice::<f32>(), [1.5, -2.0]);
        assert_eq!(b.as_slice::<u32>()[0], 1.5f32.to_bits());
        assert_eq!(b.as_slice::<u64>().len(), 1);
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert_eq!(Buffer::zeroed(usize::MAX).unwrap_err().bytes, usize::MAX);
        assert!(Buffer::uninit_of::<f64>(usize::MAX / 4).is_err());
        if cfg!(miri) {
            return; // It ends the program where memory ends.
        }
        let e = Buffer::uninit(isize::MAX as usize / 2).unwrap_err();
        assert!(e.to_string().contains("4611686018427387903 bytes"), "{e}");
    }

    #[test]
    fn memory_is_reused_within_and_across_threads() {
        let first = Buffer::uninit(3000).unwrap();
        let at = first.as_ptr() as usize;
        drop(first);
        assert_eq!(Buffer::uninit(2900).unwrap().as_ptr() as usize, at);
        // Made on one thread, freed on another: the lists must not grow without bound.
        let bytes = 9_999;
        for _ in 0..50 {
            let made = std::thread::spawn(move || {
                (0..20)
                    .map(|_| Buffer::uninit(bytes).unwrap())
                    .collect::<Vec<_>>()
            });
            drop(made.join().unwrap());
        }
        // Of the 1,000 some hundreds would be here if each thread had asked the system.
        let kept = lock().lists[class_of(bytes)].len();
        assert!(kept < 100, "{kept} blocks");
    }
}
