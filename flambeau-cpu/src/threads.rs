//! One persistent pool of threads for data-parallel loops.
//!
//! Work is cut into chunks by the size of the problem alone, never by the number of threads, so
//! that a computation whose chunks are independent yields the same bits on any machine. Each thread
//! begins with its own part of the chunks, the caller with the first, and then helps with the parts
//! of others: so loops over the same data, one after the other, find it in the cache of the core
//! that they run on. (One counter for all gave each chunk to another core each time; the traffic
//! between the cores made small loops slower than one thread is.) A caller that finds the pool
//! busy (another user thread is in a loop), or that is itself inside a chunk, runs its chunks by
//! itself, in order: nothing ever waits for the pool and nesting cannot deadlock.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long an idle worker, or a caller waiting for the last chunk, looks for a change before it
/// sleeps: longer than what a small model does between two parallel loops, because waking a thread
/// takes as long as a small loop does (on a virtual machine 10 us and more, part of it the caller's).
const SPIN: Duration = Duration::from_millis(1);
/// For how long of that it keeps its core to itself. After that it offers the core to whoever
/// else wants it (a thread that loads data, say) between two looks.
const ALONE: Duration = Duration::from_micros(100);

/// The most parts that the chunks of a loop are cut into; further threads help with these.
const MAX_PARTS: usize = 32;

/// The most threads a pool may have.
const MAX_THREADS: usize = 1024;

thread_local! {
    /// Whether this thread is running a chunk.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Number of threads a parallel loop may use, the caller included; 0 until first asked for.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that parallel loops use, the calling one included.
///
/// By default the environment variable `FLAMBEAU_NUM_THREADS` or, without it, the number of
/// cores this process may use.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let n = std::env::var("FLAMBEAU_NUM_THREADS")
                .ok()
                .and_then(|v| v.trim().parse().ok())
                .filter(|&n| n > 0)
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
            set_num_threads(n);
            n.min(MAX_THREADS)
        }
        n => n,
    }
}

/// Sets the number of threads that parallel loops use; 0 counts as 1, and 1,024 is the most.
///
/// Results do not depend on it. Threads are started when first needed.
pub fn set_num_threads(n: usize) {
    THREADS.store(n.clamp(1, MAX_THREADS), Ordering::Relaxed);
}

/// Cuts `0..n` into chunks of at most `grain`, equal to within one, and calls `f` on each, possibly
/// at the same time on several threads. Returns when all are done.
///
/// The chunks depend on `n` and `grain` (0 counts as 1) alone; a few are made 2, 4, 8 or 16, so that
/// threads, whose number is mostly even, have as much to do each. Every chunk is run by the caller,
/// in order, if there is only one, if [`num_threads`] is 1, inside another parallel loop, or
/// while another thread uses the pool. A chunk should last some microseconds or more.
///
/// # Panics
/// A panic in `f` is passed on to the caller once the running chunks have ended; chunks not yet
/// begun are dropped.
#[inline]
pub fn parallel_for(n: usize, grain: usize, f: impl Fn(Range<usize>) + Sync) {
    run_chunks(n, grain, &f);
}

/// The body of [`parallel_for`], compiled once. It alone calls `f`, so that the body of each loop is
/// compiled once too.
#[inline(never)]
fn run_chunks(n: usize, grain: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    if n <= grain {
        if n > 0 {
            f(0..n);
        }
        return;
    }
    let chunks = match n.div_ceil(grain.max(1)) {
        few @ ..16 => few.next_power_of_two().min(n),
        many => many,
    };
    let (each, longer) = (n / chunks.max(1), n % chunks.max(1));
    let start = |i: usize| i * each + i.min(longer);
    let run = |i: usize| f(start(i)..start(i + 1));
    if chunks <= 1 || num_threads() == 1 || INSIDE.get() {
        return (0..chunks).for_each(run);
    }
    if !Pool::get().run(chunks, &run) {
        (0..chunks).for_each(run);
    }
}

/// Cuts `out` into pieces of `chunk` elements (the last may be shorter; `chunk` 0 counts as 1) and
/// calls `f(index, piece)` on each, possibly at the same time on several threads.
///
/// As [`parallel_for`] in all else.
///
/// ```
/// let mut squares = vec![0usize; 10];
/// flambeau_cpu::threads::parallel_chunks_mut(&mut squares, 4, |i, piece| {
///     for (j, x) in piece.iter_mut().enumerate() {
///         *x = (i * 4 + j).pow(2);
///     }
/// });
/// assert_eq!(squares[9], 81);
/// ```
#[inline]
pub fn parallel_chunks_mut<T: Send>(
    out: &mut [T],
    chunk: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let (len, chunk) = (out.len(), chunk.max(1));
    let base = SyncPtr(out.as_mut_ptr());
    // A division takes longer than all else here.
    let chunks = if len <= chunk {
        len.min(1)
    } else {
        len.div_ceil(chunk)
    };
    parallel_for(chunks, 1, |range| {
        for i in range {
            let start = i * chunk;
            // SAFETY: each index is handed out once, so the pieces are disjoint parts of `out`,
            // which stays borrowed until `parallel_for` returns; `T: Send` lets them move.
            let piece = unsafe {
                std::slice::from_raw_parts_mut(base.get().add(start), chunk.min(len - start))
            };
            f(i, piece);
        }
    });
}

/// Cuts `out` into slices that are equal to within `unit` elements, of `grain` at most if that is a
/// whole unit, and calls `f(first element, slice)` on each, possibly at the same time on several
/// threads. Each begins with a whole unit; the last may end within one.
///
/// As [`parallel_for`] in all else; equal slices are what a few threads share best.
///
/// ```
/// let mut squares = vec![0usize; 10];
/// flambeau_cpu::threads::parallel_slices_mut(&mut squares, 2, 4, |start, slice| {
///     for (j, x) in slice.iter_mut().enumerate() {
///         *x = (start + j).pow(2);
///     }
/// });
/// assert_eq!(squares[9], 81);
/// ```
#[inline]
pub fn parallel_slices_mut<T: Send>(
    out: &mut [T],
    unit: usize,
    grain: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let len = out.len();
    let base = SyncPtr(out.as_mut_ptr());
    // Divisions take longer than all else where there is one slice.
    let (unit, units, grain) = if len <= grain {
        (len, len.min(1), 1)
    } else {
        let unit = unit.max(1);
        (unit, len.div_ceil(unit), grain / unit)
    };
    parallel_for(units, grain, |range| {
        let (start, end) = (range.start * unit, len.min(range.end * unit));
        // SAFETY: each unit is handed out once, so the slices are disjoint parts of `out`, which
        // stays borrowed until `parallel_for` returns; `T: Send` lets them move.
        f(start, unsafe {
            std::slice::from_raw_parts_mut(base.get().add(start), end - start)
        });
    });
}

/// A pointer that chunks on several threads may share, because each touches its own part.
///
/// What is done with it stays `unsafe` and needs that reason.
pub(crate) struct SyncPtr<T>(pub *mut T);
// SAFETY: the pointer itself is a number; each use of it is an `unsafe` block of its own.
unsafe impl<T> Send for SyncPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SyncPtr<T> {}

impl<T> SyncPtr<T> {
    /// The pointer. A method, so that closures capture the wrapper and not its field.
    #[inline(always)]
    pub fn get(&self) -> *mut T {
        self.0
    }
}

/// What the caller lends to the workers for one loop. Lives in the pool; valid while `open`.
struct Job {
    /// The caller's `&(dyn Fn(usize) + Sync)` with its lifetime erased.
    run: *const (dyn Fn(usize) + Sync),
    chunks: usize,
    /// How many parts the chunks are cut into.
    parts: usize,
    /// Workers with an index at or above this stay out.
    workers: usize,
    caller: Option<Thread>,
}

struct Worker {
    thread: Thread,
    sleeping: Arc<AtomicBool>,
}

/// A counter in a cache line of its own.
#[repr(align(64))]
struct Cursor(AtomicUsize);

struct Pool {
    /// Held by the thread whose loop runs.
    busy: AtomicBool,
    /// `epoch << 32 | OPEN | number of workers inside`. Workers enter an open job by adding one;
    /// the caller closes it and waits for the number to fall to zero before it takes back `job`.
    state: AtomicU64,
    /// The next chunk to be taken of each part.
    next: [Cursor; MAX_PARTS],
    job: UnsafeCell<Job>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Touched by the holder of `busy` only, and so never waited for.
    workers: Mutex<Vec<Worker>>,
}

const OPEN: u64 = 1 << 31;
const INSIDE_MASK: u64 = OPEN - 1;

// SAFETY: `job` is written only by the holder of `busy` while no worker is inside, and read by
// workers only while inside; the rest is atomic or locked.
unsafe impl Sync for Pool {}
// SAFETY: as above.
unsafe impl Send for Pool {}

impl Pool {
    fn get() -> &'static Pool {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Pool {
            busy: AtomicBool::new(false),
            state: AtomicU64::new(0),
            next: [const { Cursor(AtomicUsize::new(0)) }; MAX_PARTS],
            job: UnsafeCell::new(Job {
                run: &|_: usize| {},
                chunks: 0,
                parts: 1,
                workers: 0,
                caller: None,
            }),
            panic: Mutex::new(None),
            workers: Mutex::new(Vec::new()),
        })
    }

    /// Runs `run(0), ..., run(chunks - 1)`; false, with nothing done, if the pool is busy.
    fn run(&'static self, chunks: usize, run: &(dyn Fn(usize) + Sync)) -> bool {
        if self.busy.swap(true, Ordering::Acquire) {
            return false;
        }
        let helpers = (num_threads() - 1).min(chunks - 1);
        let parts = (helpers + 1).min(MAX_PARTS);
        let epoch = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
        // SAFETY: `busy` is held and no worker is inside (the last job was closed and drained).
        // The lifetime of `run` is erased; workers use it only between entering and leaving,
        // and this function does not return before the job is closed and all have left.
        unsafe {
            *self.job.get() = Job {
                run: std::mem::transmute::<
                    *const (dyn Fn(usize) + Sync + '_),
                    *const (dyn Fn(usize) + Sync + 'static),
                >(run),
                chunks,
                parts,
                workers: helpers,
                caller: Some(std::thread::current()),
            };
        }
        for (part, next) in self.next[..parts].iter().enumerate() {
            next.0.store(chunks * part / parts, Ordering::Relaxed);
        }
        // Publishes the job. SeqCst pairs with a worker's announcement that it falls asleep.
        self.state.store(epoch | OPEN, Ordering::SeqCst);
        self.wake(helpers);
        self.work(run, chunks, parts, 0);
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spin = Spin::new();
        while self.state.load(Ordering::Acquire) & INSIDE_MASK != 0 {
            if !spin.turn() {
                std::thread::park();
            }
        }
        let panic = match self.panic.lock() {
            Ok(mut p) => p.take(),
            Err(_) => None,
        };
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        true
    }

    /// Wakes the first `helpers` workers, starting those that do not exist yet.
    fn wake(&'static self, helpers: usize) {
        let Ok(mut workers) = self.workers.lock() else {
            return;
        };
        for worker in workers.iter().take(helpers) {
            if worker.sleeping.load(Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
        while workers.len() < helpers {
            let sleeping = Arc::new(AtomicBool::new(false));
            let (index, flag) = (workers.len(), sleeping.clone());
            let spawned = std::thread::Builder::new()
                .name(format!("flambeau-{}", index + 1))
                .spawn(move || self.serve(index, &flag));
            // A system out of threads is not an error: the caller does the work.
            let Ok(handle) = spawned else { break };
            workers.push(Worker {
                thread: handle.thread().clone(),
                sleeping,
            });
        }
    }

    /// A worker's life: look for a job, look a little longer, sleep.
    fn serve(&self, index: usize, sleeping: &AtomicBool) {
        let mut seen = 0;
        let mut spin = Spin::new();
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state & OPEN != 0 && state >> 32 != seen {
                if self
                    .state
                    .compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    seen = state >> 32;
                    self.help(index);
                    spin = Spin::new();
                }
                continue;
            }
            if spin.turn() {
                continue;
            }
            sleeping.store(true, Ordering::SeqCst);
            let now = self.state.load(Ordering::SeqCst);
            if now & OPEN == 0 || now >> 32 == seen {
                std::thread::park();
            }
            sleeping.store(false, Ordering::Relaxed);
            // Woken for nothing, or for a job that is already done: sleep again soon.
            spin = Spin::new();
        }
    }

    /// Works on the job that this worker has entered, and leaves it.
    fn help(&self, index: usize) {
        // SAFETY: this worker is counted in `state`, so the caller neither changes the job nor
        // returns before the count goes down below.
        let job = unsafe { &*self.job.get() };
        let caller = job.caller.clone();
        if index < job.workers {
            // SAFETY: as above; the closure the caller lent is alive.
            self.work(unsafe { &*job.run }, job.chunks, job.parts, index + 1);
        }
        let left = self.state.fetch_sub(1, Ordering::AcqRel) - 1;
        if left & (OPEN | INSIDE_MASK) == 0
            && let Some(caller) = caller
        {
            caller.unpark();
        }
    }

    /// Takes chunks, first those of part `mine`, until there are none left; keeps the first panic
    /// for the caller.
    fn work(&self, run: &(dyn Fn(usize) + Sync), chunks: usize, parts: usize, mine: usize) {
        INSIDE.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            for part in (mine..mine + parts).map(|part| part % parts) {
                let (next, end) = (&self.next[part].0, chunks * (part + 1) / parts);
                // A look first: a part that is done stays in the caches of all.
                while next.load(Ordering::Relaxed) < end {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i < end {
                        run(i);
                    }
                }
            }
        }));
        INSIDE.set(false);
        if let Err(payload) = result {
            let all = self.next[..parts].iter();
            all.for_each(|next| next.0.store(chunks, Ordering::Relaxed));
            if let Ok(mut slot) = self.panic.lock() {
                slot.get_or_insert(payload);
            }
        }
    }
}

/// A bounded busy wait.
struct Spin {
    turns: u32,
    start: Option<Instant>,
}

impl Spin {
    fn new() -> Self {
        Spin {
            turns: 0,
            start: None,
        }
    }

    /// Waits a moment; false once [`SPIN`] is over.
    fn turn(&mut self) -> bool {
        std::hint::spin_loop();
        self.turns += 1;
        if !self.turns.is_multiple_of(32) {
            return true;
        }
        let waited = self.start.get_or_insert_with(Instant::now).elapsed();
        if waited > ALONE {
            std::thread::yield_now();
        }
        waited < SPIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// The number of threads is shared by all tests; those that set it take turns.
    fn with_threads(n: usize, f: impl FnOnce()) {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        let before = num_threads();
        set_num_threads(n);
        f();
        set_num_threads(before);
    }

    #[test]
    fn every_index_once_whatever_the_threads() {
        for threads in [1, 2, 3, 8] {
            with_threads(threads, || {
                let cases = [
                    (0, 1, 0),
                    (1, 1, 1),
                    (7, 0, 7),
                    (1000, 1, 1000),
                    (1000, 7, 143),
                    (5, 100, 1),
                    (24, 21, 2),
                    (1000, 400, 4),
                    (1000, 100, 16),
                    (5, 1, 5),
                ];
                for (n, grain, count) in cases {
                    let hits: Vec<AtomicU32> = (0..n).map(|_| AtomicU32::new(0)).collect();
                    let chunks = Mutex::new(Vec::new());
                    parallel_for(n, grain, |r| {
                        r.clone().for_each(|i| {
                            hits[i].fetch_add(1, Ordering::Relaxed);
                        });
                        chunks.lock().unwrap().push((r.start, r.end));
                    });
                    assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
                    let mut chunks = chunks.into_inner().unwrap();
                    chunks.sort_unstable();
                    assert_eq!(chunks.len(), count, "{n} by {grain}");
                    let lengths = chunks.iter().map(|(start, end)| end - start);
                    assert!(lengths.clone().max() <= Some(grain.max(1)));
                    assert!(lengths.clone().max() <= lengths.min().map(|least| least + 1));
                }
            });
        }
    }

    #[test]
    fn slices_are_equal_and_whole_units() {
        with_threads(3, || {
            for (len, unit, grain) in [(0, 4, 8), (7, 4, 8), (8, 0, 0), (50, 4, 16), (99, 10, 7)] {
                let mut v = vec![usize::MAX; len];
                let slices = Mutex::new(Vec::new());
                parallel_slices_mut(&mut v, unit, grain, |start, slice| {
                    slices.lock().unwrap().push((start, slice.len()));
                    slice.iter_mut().zip(start..).for_each(|(x, i)| *x = i);
                });
                assert!(v.iter().copied().eq(0..len), "{len} by {unit} and {grain}");
                let (unit, slices) = (unit.max(1), slices.into_inner().unwrap());
                let most = grain.max(unit);
                assert!(slices.iter().all(|s| s.0 % unit == 0 && s.1 <= most));
                let units = slices.iter().map(|s| s.1.div_ceil(unit));
                assert!(units.clone().max() <= units.min().map(|least| least + 1));
            }
        });
    }

    #[test]
    fn nested_and_concurrent_loops_finish() {
        let rounds = if cfg!(miri) { 3 } else { 200 };
        with_threads(4, || {
            let total = AtomicUsize::new(0);
            std::thread::scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        for _ in 0..rounds {
                            parallel_for(8, 1, |_| {
                                parallel_for(4, 1, |_| {
                                    total.fetch_add(1, Ordering::Relaxed);
                                });
                            });
                        }
                    });
                }
            });
            assert_eq!(total.into_inner(), 4 * rounds * 32);
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        with_threads(3, || {
            for bad in [0, 50, 99] {
                let caught = catch_unwind(|| {
                    parallel_for(100, 1, |r| assert!(r.start != bad, "chunk {bad}"));
                });
                let text = *caught.unwrap_err().downcast::<String>().unwrap();
                assert_eq!(text, format!("chunk {bad}"));
            }
            let n = AtomicUsize::new(0);
            parallel_for(100, 1, |_| {
                n.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(n.into_inner(), 100);
        });
    }

    #[test]
    fn sleeping_workers_wake() {
        with_threads(2, || {
            for _ in 0..20 {
                std::thread::sleep(SPIN * 5);
                let mut v = [0; 64];
                parallel_chunks_mut(&mut v, 3, |i, c| c.fill(i + 1));
                assert!(v.iter().enumerate().all(|(j, &x)| x == j / 3 + 1));
            }
        });
    }
}
