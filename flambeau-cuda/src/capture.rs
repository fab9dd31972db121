//! A run of work captured into a graph, which is then replayed as a whole: launching it costs once
//! what each of its kernels costs otherwise.
//!
//! A graph repeats the same kernels on the same addresses. So that these mean the same at every replay:
//! what is allocated while it is captured comes from an arena of its own, which lives as long as the
//! graph; memory from elsewhere that it uses is held, even if the tensor is dropped; and what changes
//! from step to step (where random numbers stand, an optimizer's numbers) is read from a block of
//! words that the host writes before each replay.

use crate::device::{Buffer, Device};
use crate::driver::{Address, GraphHandle};
use crate::error::{Result, fail};
use crate::kernels::{NUMBERS, Philox};
use crate::launch::Launch;
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::thread::ThreadId;

/// How many updates of an optimizer a graph takes.
const UPDATES: usize = 512;
/// Bytes of the words before them: seed and offset of the random numbers.
const GENERATOR: usize = 16;

/// The numbers of an update, and the statements that read them.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// The statements.
    pub body: &'static str,
    /// `p[0]` and so on.
    pub numbers: [f64; NUMBERS],
}

/// What is known of a capture that is under way.
pub(crate) struct Capturing {
    thread: ThreadId,
    arena: u32,
    holds: BTreeSet<Address>,
    /// Where the words lie that the host writes before each replay.
    words: Address,
    updates: Vec<Numbers>,
    /// By how much random numbers have advanced.
    random: u64,
}

impl Device {
    /// What the capture of this thread knows; `None` where none is under way.
    ///
    /// # Errors
    /// Where another thread captures: all work of a device goes through one stream.
    pub(crate) fn captured<R>(&self, f: impl FnOnce(&mut Capturing) -> R) -> Result<Option<R>> {
        if !self.is_capturing() {
            return Ok(None);
        }
        let mut state = self.capture_state();
        match &mut *state {
            Some(c) if c.thread != std::thread::current().id() => fail!(
                "another thread captures a graph on {self:?}; its work cannot go on beside that"
            ),
            other => Ok(other.as_mut().map(f)),
        }
    }

    /// Refuses what would wait for the device, or copy from or to the host, in a capture.
    pub(crate) fn check_host(&self, what: &str) -> Result<()> {
        match self.captured(|_| ())? {
            None => Ok(()),
            Some(()) => fail!(
                "{what} while a graph is captured on {self:?}: kernels do not run then, so that there is nothing to be read or waited for yet, and a replay would not copy again. Move it (item(), printing, to_device, copies of the host's tensors) out of the captured function"
            ),
        }
    }

    /// Holds for the graph that is captured, if one is, the memory that words point into. What puts
    /// work on the stream calls it with the addresses that the work uses.
    pub(crate) fn hold(&self, words: &[u64]) -> Result<()> {
        self.captured(|c| self.pool().hold(c.arena, words, &mut c.holds))
            .map(|_| ())
    }

    /// Begins to capture what this thread puts on the device; nothing of it runs before
    /// [`Capture::end`].
    ///
    /// # Errors
    /// Where a capture is under way, or the device fails.
    pub fn capture(&'static self) -> Result<Capture> {
        let _one = self
            .exclusive
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_capturing() {
            fail!("a graph is captured already on {self:?}; captures do not nest");
        }
        let words = self.allocate(GENERATOR + UPDATES * size_of::<[f64; NUMBERS]>())?;
        self.driver().begin_capture()?;
        let arena = self.pool().open_arena();
        *self.capture_state() = Some(Capturing {
            thread: std::thread::current().id(),
            arena,
            holds: BTreeSet::new(),
            words: words.address(),
            updates: Vec::new(),
            random: 0,
        });
        self.set_capturing(true);
        Ok(Capture {
            device: self,
            words: Some(words),
        })
    }

    /// Where a generator stands for `draw`, and that it advances by what this returns beside its
    /// result: the one given, unless a graph is captured, whose replays say it themselves.
    pub(crate) fn draw<R>(
        &self,
        given: Philox,
        draw: impl FnOnce(Philox) -> Result<(R, u64)>,
    ) -> Result<(R, u64)> {
        let captured = self.captured(|c| Philox {
            seed: 0,
            offset: c.random,
            state: c.words,
        })?;
        let Some(generator) = captured else {
            return draw(given);
        };
        let (result, grows) = draw(generator)?;
        self.captured(|c| c.random += grows)?;
        Ok((result, 0))
    }

    /// Where an update reads its numbers: on the device, in a capture; else 0, for those given with
    /// the launch.
    pub(crate) fn numbers(&self, body: &'static str, numbers: [f64; NUMBERS]) -> Result<Address> {
        let slot = self.captured(|c| {
            if c.updates.len() == UPDATES {
                fail!("a graph takes no more than {UPDATES} updates of an optimizer");
            }
            c.updates.push(Numbers { body, numbers });
            let before = (c.updates.len() - 1) * size_of::<[f64; NUMBERS]>();
            Ok(c.words + (GENERATOR + before) as u64)
        })?;
        slot.unwrap_or(Ok(0))
    }
}

/// A capture that is under way; dropped, it is given up.
#[derive(Debug)]
pub struct Capture {
    device: &'static Device,
    words: Option<Buffer>,
}

impl Capture {
    /// Ends it.
    ///
    /// # Errors
    /// Where the device refuses what was captured.
    pub fn end(mut self) -> Result<Graph> {
        let device = self.device;
        let (handle, state) = self.stop();
        let (Some(state), Some(words)) = (state, self.words.take()) else {
            fail!("no graph is captured on {device:?}");
        };
        match handle {
            Ok(handle) => Ok(Graph {
                device,
                handle,
                arena: state.arena,
                holds: state.holds,
                words,
                updates: state.updates,
                random: state.random,
            }),
            Err(e) => {
                forget(device, &state);
                Err(e)
            }
        }
    }

    fn stop(&mut self) -> (Result<GraphHandle>, Option<Capturing>) {
        let state = self.device.capture_state().take();
        self.device.set_capturing(false);
        self.device.pool().close_arena();
        (self.device.driver().end_capture(), state)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.words.is_some() {
            let (handle, state) = self.stop();
            if let Ok(handle) = handle {
                // SAFETY: it has never run.
                unsafe { self.device.driver().drop_graph(handle) };
            }
            if let Some(state) = state {
                forget(self.device, &state);
            }
        }
    }
}

fn forget(device: &Device, state: &Capturing) {
    let mut pool = device.pool();
    pool.release(&state.holds);
    pool.merge_arena(state.arena);
}

/// Captured work. Dropped, its memory goes to everybody; tensors that lie in it stay as they are.
#[derive(Debug)]
pub struct Graph {
    device: &'static Device,
    handle: GraphHandle,
    arena: u32,
    holds: BTreeSet<Address>,
    words: Buffer,
    updates: Vec<Numbers>,
    random: u64,
}

impl Graph {
    /// Where it runs.
    pub fn device(&self) -> &'static Device {
        self.device
    }

    /// By how much a replay advances the device's generator of random numbers.
    pub fn random(&self) -> u64 {
        self.random
    }

    /// The updates of optimizers that it holds, in order, with the numbers of the next replay.
    pub fn updates(&self) -> &[Numbers] {
        &self.updates
    }

    /// Gives the next replays other numbers.
    ///
    /// # Errors
    /// Where they are not those of the same updates in the same order; nothing is changed then.
    pub fn set_updates(&mut self, updates: Vec<Numbers>) -> Result<()> {
        if updates.len() != self.updates.len() {
            fail!(
                "{} updates were captured, and {} would be done now",
                self.updates.len(),
                updates.len()
            );
        }
        let same = |(old, new): (&Numbers, &Numbers)| std::ptr::eq(old.body, new.body);
        if let Some(i) = self.updates.iter().zip(&updates).position(|p| !same(p)) {
            fail!("update {i} has another formula than when it was captured");
        }
        self.updates = updates;
        Ok(())
    }

    /// Puts all of it on the device's stream once more, with random numbers from `seed` and `offset`
    /// on.
    ///
    /// # Errors
    /// Where a graph is being captured on the device, or the device fails.
    pub fn replay(&mut self, (seed, offset): (u64, u64)) -> Result<()> {
        let device = self.device;
        device.check_host("replaying a graph")?;
        let bytes = GENERATOR + self.updates.len() * size_of::<[f64; NUMBERS]>();
        if self.random > 0 || !self.updates.is_empty() {
            let mut host = device.pin(bytes)?;
            let words = host.slice_mut::<u64>()?;
            words[..2].copy_from_slice(&[seed, offset]);
            let numbers = self.updates.iter().flat_map(|u| u.numbers);
            for (word, number) in words[2..].iter_mut().zip(numbers) {
                *word = number.to_bits();
            }
            self.words.upload_pinned(0, &host, 0, bytes)?;
        }
        // SAFETY: what the captured work uses is in the graph's arena or held by it, and stays where
        // it is; the stream runs it after all that was started before.
        unsafe { device.driver().replay(self.handle)? };
        device.started()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // It may still run; a failed device has nothing that runs.
        let _ = self.device.driver().synchronize();
        // SAFETY: it does not run any more.
        unsafe { self.device.driver().drop_graph(self.handle) };
        let mut pool = self.device.pool();
        pool.release(&self.holds);
        pool.merge_arena(self.arena);
    }
}

/// The words of a launch that may be addresses.
pub(crate) fn words(launch: &Launch) -> &[u64] {
    launch.args.words()
}
