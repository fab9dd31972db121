//! Activation checkpointing: operations of a function are recorded without what they would save,
//! and the function runs again when the backward pass asks for it.
//!
//! While the function first runs, each node that has something to save gets a [`Later`] instead:
//! the frame of the call and the node's number in it. The backward walk hands the first one it
//! meets to [`Later::resolve`], which runs the function again; the same operations then make twins
//! of the nodes, in the same order, and each twin gives its node what it saved. Only inputs and
//! numbers are kept in between, so the graph, its edges, hooks and `grad` are those of a function
//! that was not checkpointed.

use super::node::What;
use super::{Input, Node, Saved, SavedSet, is_grad_enabled, set_grad_enabled};
use crate::autocast::State;
use crate::random::{get_rng_state, set_rng_state};
use crate::tensor::Tensor;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Options of [`checkpoint_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Whether the second run draws the random numbers of the first, so that dropout drops the
    /// same elements. Default true.
    pub preserve_rng_state: bool,
}

impl Default for CheckpointOptions {
    fn default() -> CheckpointOptions {
        CheckpointOptions {
            preserve_rng_state: true,
        }
    }
}

/// Calls `function` with `inputs` without keeping what its gradient needs: the backward pass calls
/// it again ([`torch.utils.checkpoint.checkpoint`](https://pytorch.org/docs/stable/checkpoint.html)
/// with `use_reentrant=False`; Chen et al., arXiv
/// 1604.06174). A third more arithmetic for a fraction of the memory.
///
/// The function must do the same both times. It may return anything, use parameters that it
/// captured, and call `checkpoint` itself. As a graph may outlive its network, the function owns
/// what it captures: put a block of layers into an [`Arc`] and give a clone of that. Batch norm
/// counts a batch in its running statistics in both runs, as in PyTorch.
///
/// ```
/// use flambeau_core::{Tensor, autograd::checkpoint};
/// let w = Tensor::new([2.0f32, 3.0])?.requires_grad_(true)?;
/// let x = Tensor::new([1.0f32, 2.0])?;
/// let captured = w.clone();
/// let y = checkpoint(&[&x], move |x| x[0].mul(&captured)?.exp()?.tanh())?;
/// y.sum()?.backward()?;
/// let checkpointed = w.grad().unwrap();
/// w.zero_grad();
/// x.mul(&w)?.exp()?.tanh()?.sum()?.backward()?;
/// assert_eq!(checkpointed.to_vec::<f32>()?, w.grad().unwrap().to_vec::<f32>()?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Those of `function`. The backward pass fails where the second run records other operations or
/// shapes than the first, or an input was changed in place in between.
#[track_caller]
pub fn checkpoint<R>(
    inputs: &[&Tensor],
    function: impl Fn(&[Tensor]) -> Result<R> + Send + Sync + 'static,
) -> Result<R> {
    checkpoint_with(CheckpointOptions::default(), inputs, function)
}

/// [`checkpoint`] with options.
///
/// ```standalone_crate
/// use flambeau_core::Tensor;
/// use flambeau_core::autograd::CheckpointOptions;
/// use flambeau_core::autograd::checkpoint_with;
/// let x = Tensor::new([1.0f32])?.requires_grad_(true)?;
/// let options = CheckpointOptions { preserve_rng_state: false };
/// checkpoint_with(options, &[&x], |x| x[0].square()?.exp())?.backward()?;
/// assert!(x.grad().unwrap().allclose(&Tensor::new([5.43656f32])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// As [`checkpoint`].
#[track_caller]
pub fn checkpoint_with<R>(
    options: CheckpointOptions,
    inputs: &[&Tensor],
    function: impl Fn(&[Tensor]) -> Result<R> + Send + Sync + 'static,
) -> Result<R> {
    let own: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    // Within another one that runs for the first time this is a part of that: it must not keep
    // its inputs. When that one runs again, this one gets a frame.
    if !is_grad_enabled() || ACTIVE.with_borrow(|a| a.frame.is_some()) {
        return function(&own);
    }
    let function = Arc::new(function);
    let again = function.clone();
    let frame = Arc::new(Frame {
        function: Box::new(move |inputs| again(inputs).map(drop)),
        inputs: inputs.iter().map(|x| Saved::new(x, x.edge())).collect(),
        random: options.preserve_rng_state.then(get_rng_state),
        types: State::current(),
        count: AtomicUsize::new(0),
        twins: Mutex::default(),
        location: Location::caller(),
    });
    let _active = defer_to(frame);
    function(&own)
}

type Function = Box<dyn Fn(&[Tensor]) -> Result<()> + Send + Sync>;
/// The nodes of a second run by number; `None` once they have given what they saved.
type Twins = Vec<Option<Arc<Node>>>;

/// One call of [`checkpoint`].
struct Frame {
    function: Function,
    inputs: Vec<Saved>,
    random: Option<Vec<u8>>,
    types: State,
    /// How many nodes wait for the second run.
    count: AtomicUsize,
    twins: Mutex<Twins>,
    location: &'static Location<'static>,
}

/// What stands in a node for what it would have saved.
#[derive(Clone)]
pub(crate) struct Later {
    frame: Arc<Frame>,
    number: usize,
}

/// What is done with the nodes that are recorded on this thread.
#[derive(Default)]
struct Active {
    /// They save nothing and count in this frame.
    frame: Option<Arc<Frame>>,
    /// They are put here.
    twins: Option<Twins>,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static ACTIVE: RefCell<Active> = const { RefCell::new(Active { frame: None, twins: None }) };
}

/// Restores what was done before.
struct Restore {
    frame: Option<Arc<Frame>>,
    /// Where the function runs again.
    twins: Option<Option<Twins>>,
    on: bool,
}

/// Nodes that are recorded from now on save nothing and count in `frame`.
fn defer_to(frame: Arc<Frame>) -> Restore {
    ACTIVE.with_borrow_mut(|a| Restore {
        frame: a.frame.replace(frame),
        twins: None,
        on: ON.replace(true),
    })
}

/// Nodes that are recorded from now on are collected.
fn collect() -> Restore {
    ACTIVE.with_borrow_mut(|a| Restore {
        frame: a.frame.take(),
        twins: Some(a.twins.replace(Vec::new())),
        on: ON.replace(true),
    })
}

impl Drop for Restore {
    fn drop(&mut self) {
        let (frame, outer) = (self.frame.take(), self.twins.take());
        // Dropped outside of the borrow: freeing a graph may run anything.
        let _inner = ACTIVE.with_borrow_mut(|a| {
            let twins = outer.and_then(|outer| std::mem::replace(&mut a.twins, outer));
            (std::mem::replace(&mut a.frame, frame), twins)
        });
        ON.set(self.on);
    }
}

/// Whether a node that saves something belongs to a checkpoint and is to be [noted](note); where the
/// function runs for the first time, `saved` is let go.
#[inline]
pub(crate) fn checkpointed(saved: &mut SavedSet) -> bool {
    if !ON.get() || saved.is_empty() {
        return false;
    }
    if let Some(frame) = ACTIVE.with_borrow(|a| a.frame.clone()) {
        let number = frame.count.fetch_add(1, Ordering::Relaxed);
        *saved = Later { frame, number }.into();
    }
    true
}

/// Notes a node of the second run.
pub(crate) fn note(node: Arc<Node>) {
    ACTIVE.with_borrow_mut(|a| {
        if let Some(twins) = &mut a.twins {
            twins.push(Some(node));
        }
    });
}

/// The frames that a backward walk has run again; what is left of them is forgotten with it.
#[derive(Default)]
pub(crate) struct Touched(Vec<Weak<Frame>>);

impl Drop for Touched {
    fn drop(&mut self) {
        for frame in self.0.iter().filter_map(Weak::upgrade) {
            let left = std::mem::take(&mut *frame.twins.lock());
            drop(left);
        }
    }
}

impl Later {
    /// What `node` would have saved.
    pub(crate) fn resolve(&self, node: &Arc<Node>, touched: &mut Touched) -> Result<SavedSet> {
        let frame = &self.frame;
        let mut twins = frame.twins.lock();
        if !matches!(twins.get(self.number), Some(Some(_))) {
            *twins = frame.run_again(node)?;
            touched.0.push(Arc::downgrade(frame));
        }
        let twin = twins[self.number].take();
        drop(twins);
        let saved = twin.as_ref().and_then(|twin| {
            let alike = |(a, b): (&Input, &Input)| a.shape == b.shape && a.dtype == b.dtype;
            let same = twin.op.name() == node.op.name()
                && twin.inputs.len() == node.inputs.len()
                && twin.inputs.iter().zip(&node.inputs).all(alike);
            same.then(|| twin.saved.lock().take()).flatten()
        });
        let Some(mut saved) = saved else {
            let shapes = |n: &Node| {
                n.inputs
                    .iter()
                    .map(|i| i.shape.to_vec())
                    .collect::<Vec<_>>()
            };
            return Err(frame.differs(format!(
                "{} of {:?} was followed by {} of {:?}",
                node.op.name(),
                shapes(node),
                twin.as_ref().map_or("nothing", |t| t.op.name()),
                twin.as_ref().map_or(Vec::new(), |t| shapes(t)),
            )));
        };
        saved.redirect(&node.inputs);
        Ok(saved)
    }
}

impl Frame {
    /// Runs the function again, for what the nodes of its operations save.
    fn run_again(&self, node: &Arc<Node>) -> Result<Twins> {
        let inputs = (self.inputs.iter().enumerate())
            .map(|(i, x)| x.unpack(None, What::OfCheckpoint(i), node))
            .collect::<Result<Vec<_>>>()?;
        let _recording = set_grad_enabled(true);
        let _types = self.types.enter();
        let active = collect();
        let now = self.random.as_ref().map(|_| get_rng_state());
        let result = match &self.random {
            Some(then) => set_rng_state(then).and_then(|()| (self.function)(&inputs)),
            None => (self.function)(&inputs),
        };
        let twins = ACTIVE.with_borrow_mut(|a| a.twins.take());
        drop(active);
        if let Some(now) = now {
            set_rng_state(&now)?;
        }
        result?;
        let (twins, count) = (
            twins.unwrap_or_default(),
            self.count.load(Ordering::Relaxed),
        );
        if twins.len() != count {
            return Err(self.differs(format!(
                "{count} operations had something to save, then {}",
                twins.len()
            )));
        }
        Ok(twins)
    }

    fn differs(&self, how: String) -> Error {
        Error::at(
            "checkpoint",
            format!(
                "the function did not do the same when it ran again for the backward pass: {how}. It must not depend on anything that changes in between"
            ),
            self.location,
        )
    }
}
