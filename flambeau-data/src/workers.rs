//! Loading batches: one after the other, or by threads ahead of the loop.
//!
//! The loop alone decides what is loaded (it draws the indices, so that generators advance with
//! the loop, not with the workers) and takes results in order. Between loop and workers stands one
//! short queue under one lock.
//!
//! Waking a thread costs more than loading a few small pictures, and a worker that has to share its
//! core can keep the loop waiting for long. So the loop loads batches itself while they are cheap
//! ([`CHEAP`]), as well as a batch that it would wait for and that nobody has begun; and a sleeping
//! worker is woken only once half of the queue waits to be loaded.

use crate::{Dataset, SampleRng};
use flambeau_core::{Error, Result};
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Batches that load in less than this are loaded by the loop: about what handing over to a thread
/// costs when it has to be woken.
const CHEAP: Duration = Duration::from_micros(20);

/// A batch to load.
pub(crate) struct Job {
    pub indices: Vec<usize>,
    /// The place in the epoch of the first sample.
    pub place: u64,
}

/// Why a batch could not be loaded.
pub(crate) struct Failure {
    message: String,
    source: Option<Error>,
}

impl Failure {
    fn new(message: String) -> Failure {
        Failure {
            message,
            source: None,
        }
    }

    /// As the error of the loop at `location`.
    pub fn at(self, location: &'static Location<'static>) -> Error {
        let error = Error::at("DataLoader", self.message, location);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

/// A dataset with its collate function; the item's type is hidden from the loader.
pub(crate) trait Fetch<B>: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;
    /// Loads a batch; gives up between samples once `stop` says so.
    fn fetch(&self, job: &Job, seed: u64, stop: &dyn Fn() -> bool) -> Result<B, Failure>;
}

pub(crate) struct Source<D, F> {
    pub dataset: D,
    pub collate: F,
}

impl<D, B, F> Fetch<B> for Source<D, F>
where
    D: Dataset,
    F: Fn(Vec<D::Item>) -> Result<B> + Send + Sync,
{
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn fetch(&self, job: &Job, seed: u64, stop: &dyn Fn() -> bool) -> Result<B, Failure> {
        // The sample that is being read, for the message of a panic.
        let current = Cell::new(None);
        let load = || {
            let len = self.dataset.len();
            let mut samples = Vec::with_capacity(job.indices.len());
            for (&index, place) in job.indices.iter().zip(job.place..) {
                if stop() {
                    return Err(Failure::new("the loader was stopped".into()));
                }
                current.set(Some(index));
                if index >= len {
                    return Err(Failure::new(format!(
                        "the sampler gave index {index}, but {} has {len} samples",
                        self.dataset.name()
                    )));
                }
                let sample = self.dataset.get(index, &mut SampleRng::new(seed, place));
                samples.push(sample.map_err(|e| self.failure(Some(index), job, Some(e)))?);
            }
            current.set(None);
            (self.collate)(samples).map_err(|e| self.failure(None, job, Some(e)))
        };
        catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
            let mut failure = self.failure(current.get(), job, None);
            failure.message += &format!(": panicked: {}", panic_text(&*panic));
            Err(failure)
        })
    }
}

/// Batches of another source, in pinned memory.
pub(crate) struct Pinning<B> {
    pub fetch: Arc<dyn Fetch<B>>,
    pub pin: fn(B) -> Result<B>,
}

impl<B> Fetch<B> for Pinning<B> {
    fn len(&self) -> usize {
        self.fetch.len()
    }

    fn fetch(&self, job: &Job, seed: u64, stop: &dyn Fn() -> bool) -> Result<B, Failure> {
        let batch = self.fetch.fetch(job, seed, stop)?;
        (self.pin)(batch).map_err(|e| Failure {
            message: "a batch cannot be pinned".into(),
            source: Some(e),
        })
    }
}

impl<D: Dataset, F> Source<D, F> {
    /// A failure at a sample, or where there is none, in collating.
    fn failure(&self, index: Option<usize>, job: &Job, source: Option<Error>) -> Failure {
        let name = self.dataset.name();
        let message = match index {
            Some(index) => format!("sample {index} of {name}"),
            None => {
                let shown = &job.indices[..job.indices.len().min(8)];
                let more = if shown.len() < job.indices.len() {
                    " and more"
                } else {
                    ""
                };
                format!("a batch of samples {shown:?}{more} of {name}")
            }
        };
        Failure { message, source }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}

/// The threads of one epoch.
pub(crate) struct Workers<B> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
    /// Batches given out and not taken yet: what `State::slots` holds.
    outstanding: usize,
    /// The most of them.
    ahead: usize,
    timeout: Option<Duration>,
    timed_out: bool,
}

struct Shared<B> {
    fetch: Arc<dyn Fetch<B>>,
    seed: u64,
    stop: AtomicBool,
    state: Mutex<State<B>>,
    /// There is a job to begin, or the end has come.
    work: Condvar,
    /// The batch that the loop waits for is there.
    ready: Condvar,
}

struct State<B> {
    /// The batches given out, in order. Those at the end, as many as there are `jobs`, are not
    /// begun yet.
    slots: VecDeque<Slot<B>>,
    jobs: VecDeque<Job>,
    /// How many batches were taken before `slots[0]`.
    taken: u64,
    /// Workers asleep.
    idle: usize,
    /// What a batch takes to load: the last measurement, but growing slowly, so that a thread that
    /// lost its core does not make cheap batches look dear.
    cost: Option<Duration>,
}

struct Slot<B> {
    /// The first sample, for messages.
    first: Option<usize>,
    batch: Option<Result<B, Failure>>,
}

impl<B: Send + 'static> Workers<B> {
    pub fn start(
        fetch: Arc<dyn Fetch<B>>,
        seed: u64,
        count: usize,
        ahead: usize,
        timeout: Option<Duration>,
    ) -> Result<Self> {
        let state = State {
            slots: VecDeque::new(),
            jobs: VecDeque::new(),
            taken: 0,
            idle: 0,
            cost: None,
        };
        let mut workers = Workers {
            shared: Arc::new(Shared {
                fetch,
                seed,
                stop: AtomicBool::new(false),
                state: Mutex::new(state),
                work: Condvar::new(),
                ready: Condvar::new(),
            }),
            threads: Vec::new(),
            outstanding: 0,
            ahead,
            timeout,
            timed_out: false,
        };
        for i in 0..count {
            let shared = workers.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("flambeau-loader-{i}"))
                .spawn(move || shared.work());
            workers.threads.push(thread.map_err(|e| {
                let message = format!("cannot start worker {i} of {count}; use fewer");
                Error::new("DataLoader", message).with_source(e)
            })?);
        }
        Ok(workers)
    }

    /// The next batch, with more given out from `plan`.
    ///
    /// # Errors
    /// Where the dataset, the collation or a worker failed, or the limit of time was passed.
    pub fn next(&mut self, plan: &mut dyn Iterator<Item = Job>) -> Option<Result<B, Failure>> {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        // With a timeout somebody must be left to look at the clock.
        let helps = self.timeout.is_none();
        if !(helps && state.cost.is_some_and(|cost| cost < CHEAP)) {
            // Drawn outside of the lock, which workers need; one, except in the beginning.
            drop(state);
            let drawn: SmallVec<[Job; 1]> = plan.take(self.ahead - self.outstanding).collect();
            self.outstanding += drawn.len();
            state = shared.state.lock();
            for job in drawn {
                let first = job.indices.first().copied();
                state.slots.push_back(Slot { first, batch: None });
                state.jobs.push_back(job);
            }
        }
        let Some(slot) = state.slots.front() else {
            // Only cheap batches leave the queue empty; or the end has come.
            drop(state);
            let (batch, cost) = shared.load(&plan.next()?, &|| false);
            shared.state.lock().measured(cost);
            return Some(batch);
        };
        if helps && slot.batch.is_none() && state.jobs.len() == state.slots.len() {
            let job = state.jobs.pop_front()?;
            if state.idle > 0 && !state.jobs.is_empty() {
                shared.work.notify_all();
            }
            drop(state);
            let (batch, cost) = shared.load(&job, &|| false);
            let mut state = shared.state.lock();
            state.measured(cost);
            state.take_first();
            self.outstanding -= 1;
            return Some(batch);
        }
        let waits = slot.batch.is_none();
        if state.idle > 0 && !state.jobs.is_empty() {
            if waits {
                shared.work.notify_all();
            } else if state.jobs.len() * 2 >= self.ahead {
                shared.work.notify_one();
            }
        }
        // A time that no clock can show is none.
        let deadline = self
            .timeout
            .and_then(|limit| Instant::now().checked_add(limit));
        while state.slots.front()?.batch.is_none() {
            let late = match deadline {
                Some(deadline) => shared.ready.wait_until(&mut state, deadline).timed_out(),
                None => {
                    shared.ready.wait(&mut state);
                    false
                }
            };
            if late && state.slots.front()?.batch.is_none() {
                self.timed_out = true;
                let first = state.slots.front()?.first;
                return Some(Err(Failure::new(format!(
                    "the batch that begins with sample {} took longer than the timeout of {:?}; the workers are stuck or too slow",
                    first.map_or("(none)".into(), |i| i.to_string()),
                    self.timeout.unwrap_or_default()
                ))));
            }
        }
        self.outstanding -= 1;
        state.take_first()?.batch
    }
}

impl<B> State<B> {
    fn measured(&mut self, cost: Duration) {
        let most = self
            .cost
            .map_or(cost, |old| old * 3 / 2 + Duration::from_nanos(1));
        self.cost = Some(cost.min(most));
    }

    fn take_first(&mut self) -> Option<Slot<B>> {
        self.taken += 1;
        self.slots.pop_front()
    }
}

impl<B> Shared<B> {
    /// Loads a batch and measures how long that takes.
    fn load(&self, job: &Job, stop: &dyn Fn() -> bool) -> (Result<B, Failure>, Duration) {
        let start = Instant::now();
        let batch = self.fetch.fetch(job, self.seed, stop);
        (batch, start.elapsed())
    }

    /// What a worker does.
    fn work(&self) {
        let stopped = || self.stop.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        while !stopped() {
            let number = state.taken + (state.slots.len() - state.jobs.len()) as u64;
            let Some(job) = state.jobs.pop_front() else {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
                continue;
            };
            drop(state);
            let (batch, cost) = self.load(&job, &stopped);
            state = self.state.lock();
            state.measured(cost);
            // The loop takes slots in order and only once they are filled, so this one is there.
            let at = (number - state.taken) as usize;
            state.slots[at].batch = Some(batch);
            if at == 0 {
                self.ready.notify_one();
            }
        }
    }
}

impl<B> Drop for Workers<B> {
    fn drop(&mut self) {
        {
            // Under the lock, lest a worker look before and fall asleep after.
            let _state = self.shared.state.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.work.notify_all();
        // Who kept the loop waiting beyond its patience may never come back.
        if !self.timed_out {
            for thread in self.threads.drain(..) {
                // A worker catches what its work panics with, so this does not fail.
                let _ = thread.join();
            }
        }
    }
}
