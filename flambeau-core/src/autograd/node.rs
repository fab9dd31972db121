//! The recorded graph: nodes, edges and the tensors saved for the backward pass.

use super::Later;
use crate::dispatch::Op;
use crate::shape::{Shape, Strides};
use crate::storage::Storage;
use crate::tensor::{Inner, Tensor};
use crate::{DType, Device, Error, Result};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Where a gradient flows next.
#[derive(Clone)]
pub(crate) enum Edge {
    /// The input takes no part in differentiation.
    None,
    /// A leaf, whose `grad` accumulates.
    Leaf(Tensor),
    /// The node that made the input.
    Node(Arc<Node>),
}

/// An input of a recorded operation.
pub(crate) struct Input {
    pub(crate) edge: Edge,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
}

impl Input {
    pub(crate) fn of(t: &Tensor) -> Input {
        Input {
            edge: t.edge(),
            shape: t.0.shape.clone(),
            dtype: t.dtype(),
            device: t.device(),
        }
    }
}

pub(crate) type Hook = Arc<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;

/// Hooks with the numbers that remove them, and the tensors that retain the gradient.
pub(crate) type Called = (Vec<(u64, Hook)>, Vec<Tensor>);

/// What is called with a node's gradient: hooks in the order of registration, then the tensors
/// that retain theirs.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) list: Vec<(u64, Hook)>,
    retained: Vec<Weak<Inner>>,
}

impl Hooks {
    /// Keeps the gradient in `t.grad()` from now on.
    pub(crate) fn retain(&mut self, t: &Tensor) {
        self.retained.push(Arc::downgrade(&t.0));
    }

    /// Does so no longer.
    pub(crate) fn release(&mut self, t: &Tensor) {
        self.retained.retain(|w| w.as_ptr() != Arc::as_ptr(&t.0));
    }

    fn is_empty(&self) -> bool {
        self.list.is_empty() && self.retained.is_empty()
    }

    /// The hooks and the tensors, to be called without the lock.
    fn snapshot(&self) -> Called {
        let retained = self.retained.iter().filter_map(Weak::upgrade).map(Tensor);
        (self.list.clone(), retained.collect())
    }
}

/// One recorded operation.
pub(crate) struct Node<O: Op + ?Sized = dyn Op> {
    /// Grows with creation, over all threads: an edge always leads to a smaller number, so that
    /// the largest pending number is always ready to run.
    pub(crate) seq: u64,
    pub(crate) inputs: SmallVec<[Input; 2]>,
    /// `None` once a backward pass has used it up.
    pub(crate) saved: Mutex<Option<SavedSet>>,
    /// Few nodes have any.
    hooks: OnceLock<Box<Mutex<Hooks>>>,
    pub(crate) location: &'static Location<'static>,
    pub(crate) op: O,
}

impl<O: Op> Node<O> {
    pub(crate) fn new(
        op: O,
        inputs: SmallVec<[Input; 2]>,
        saved: SavedSet,
        location: &'static Location<'static>,
    ) -> Node<O> {
        Node {
            seq: SEQUENCE.fetch_add(1, Ordering::Relaxed),
            inputs,
            saved: Mutex::new(Some(saved)),
            hooks: OnceLock::new(),
            location,
            op,
        }
    }
}

impl Node {
    /// The hooks, to be added to or taken from.
    pub(crate) fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.get_or_init(Box::default).lock()
    }

    /// The hooks and the tensors that retain their gradient, where there are any.
    pub(crate) fn hooked(&self) -> Option<Called> {
        let hooks = self.hooks.get()?.lock();
        (!hooks.is_empty()).then(|| hooks.snapshot())
    }
}

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// The number the next node will have.
pub(crate) fn current_sequence() -> u64 {
    SEQUENCE.load(Ordering::Relaxed)
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}Backward #{}>", self.op.name(), self.seq)
    }
}

/// A tensor as it stood when it was saved. The parts are kept rather than the handle, because an
/// in-place operation may later give the handle a newer history, which would lead back to the
/// node that saved it: a cycle, and a wrong gradient.
#[derive(Clone)]
pub(crate) struct Saved {
    storage: Storage,
    shape: Shape,
    strides: Strides,
    offset: usize,
    dtype: DType,
    version: u32,
    edge: Edge,
}

impl Saved {
    pub(crate) fn new(tensor: &Tensor, edge: Edge) -> Saved {
        let t = &tensor.0;
        Saved {
            storage: t.storage.clone(),
            shape: t.shape.clone(),
            strides: t.strides.clone(),
            offset: t.offset,
            dtype: t.dtype,
            version: t.storage.version(),
            edge,
        }
    }

    /// Whether it lies in `storage`.
    pub(crate) fn is_in(&self, storage: &Storage) -> bool {
        self.storage.same(storage)
    }

    /// Moves to `storage`, which holds or will hold the same elements in the same places, at
    /// `version`.
    pub(crate) fn move_to(&mut self, storage: &Storage, version: u32) {
        self.storage = storage.clone();
        self.version = version;
    }

    /// Moves to a copy of its elements.
    pub(crate) fn move_to_copy(&mut self) -> Result<()> {
        let (shape, strides) = (&self.shape, &self.strides);
        let t = Tensor::from_saved(&self.storage, shape, strides, self.offset, self.dtype, None);
        let copy = crate::ops::elementwise::to_contiguous("clone", &t, self.dtype)?;
        (self.strides, self.offset) = (copy.0.strides.clone(), 0);
        self.move_to(&copy.0.storage, copy.version());
        Ok(())
    }

    /// The tensor, with its history: `own` where it is the output of that node.
    pub(crate) fn unpack(&self, own: Option<&Arc<Node>>, what: What, by: &Node) -> Result<Tensor> {
        if self.storage.version() != self.version {
            return Err(self.changed(what, by));
        }
        let history = match &self.edge {
            Edge::Leaf(leaf) => return Ok(leaf.clone()),
            Edge::Node(n) => Some(n.clone()),
            Edge::None => own.cloned(),
        };
        Ok(Tensor::from_saved(
            &self.storage,
            &self.shape,
            &self.strides,
            self.offset,
            self.dtype,
            history,
        ))
    }

    #[cold]
    fn changed(&self, what: What, by: &Node) -> Error {
        let what = match what {
            What::Input(i) => format!("input {i}"),
            What::OfCheckpoint(i) => format!("input {i} of the checkpoint"),
            What::Output => "the output".into(),
        };
        Error::at(
            "backward",
            format!(
                "{what} of {} (shape {:?}), which its gradient needs, has been changed in place since: it is at version {}, \
                 saved at version {}{}. Use the out-of-place form there, or clone() before changing",
                by.op.name(),
                &self.shape[..],
                self.storage.version(),
                self.version,
                last_writer(&self.storage),
            ),
            by.location,
        )
    }
}

/// Which of a node's tensors.
#[derive(Clone, Copy)]
pub(crate) enum What {
    Input(usize),
    /// An input of the checkpointed function that the node belongs to.
    OfCheckpoint(usize),
    Output,
}

thread_local! {
    /// The last few in-place writes of this thread, for the error above: storage, operation, line.
    static WRITERS: RefCell<[(usize, &'static str, Option<&'static Location<'static>>); 16]> =
        const { RefCell::new([(0, "", None); 16]) };
    static NEXT_WRITER: Cell<usize> = const { Cell::new(0) };
}

/// Remembers that `op` wrote to the storage in place.
pub(crate) fn note_writer(
    storage: &Storage,
    op: &'static str,
    location: &'static Location<'static>,
) {
    WRITERS.with_borrow_mut(|w| {
        let i = NEXT_WRITER.get();
        w[i % w.len()] = (storage.address(), op, Some(location));
        NEXT_WRITER.set(i.wrapping_add(1));
    });
}

fn last_writer(storage: &Storage) -> String {
    WRITERS.with_borrow(|w| {
        let next = NEXT_WRITER.get();
        (1..=w.len())
            .map(|back| w[next.wrapping_sub(back) % w.len()])
            .find(|entry| entry.0 == storage.address())
            .map(|(_, op, at)| {
                at.map_or(String::new(), |at| {
                    format!("; {op} changed it at {}", crate::error::Place(at))
                })
            })
            .unwrap_or_default()
    })
}

/// What a node keeps for its backward pass. Rules that need no tensors cost no memory.
#[derive(Clone, Default)]
pub(crate) struct SavedSet(Option<Box<Kept>>);

#[derive(Clone, Default)]
struct Kept {
    /// With their positions, ascending.
    inputs: SmallVec<[(usize, Saved); 2]>,
    output: Option<Saved>,
    extras: SmallVec<[Tensor; 2]>,
    /// Where it is, the rest will be computed again.
    later: Option<Later>,
}

impl From<Later> for SavedSet {
    fn from(later: Later) -> SavedSet {
        SavedSet(Some(Box::new(Kept {
            later: Some(later),
            ..Kept::default()
        })))
    }
}

impl SavedSet {
    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn take_later(&mut self) -> Option<Later> {
        self.0.as_mut()?.later.take()
    }

    /// Lets the gradients of what was saved flow where those of `inputs` do.
    pub(crate) fn redirect(&mut self, inputs: &[Input]) {
        for (i, saved) in self.0.iter_mut().flat_map(|kept| &mut kept.inputs) {
            saved.edge = inputs[*i].edge.clone();
        }
    }

    /// Adds input `i`; they come in order.
    pub(crate) fn push_input(&mut self, i: usize, saved: Saved) {
        self.0.get_or_insert_default().inputs.push((i, saved));
    }

    pub(crate) fn set_output(&mut self, saved: Saved) {
        self.0.get_or_insert_default().output = Some(saved);
    }

    pub(crate) fn set_extras(&mut self, extras: &[Tensor]) {
        if !extras.is_empty() {
            self.0.get_or_insert_default().extras = extras.into();
        }
    }

    pub(crate) fn input(&self, i: usize) -> Option<&Saved> {
        let inputs = &self.0.as_ref()?.inputs;
        let at = inputs.binary_search_by_key(&i, |(i, _)| *i).ok()?;
        Some(&inputs[at].1)
    }

    pub(crate) fn output(&self) -> Option<&Saved> {
        self.0.as_ref()?.output.as_ref()
    }

    pub(crate) fn output_mut(&mut self) -> Option<&mut Saved> {
        self.0.as_mut()?.output.as_mut()
    }

    fn inputs_mut(&mut self) -> impl Iterator<Item = &mut Saved> {
        self.0
            .iter_mut()
            .flat_map(|kept| kept.inputs.iter_mut().map(|(_, saved)| saved))
    }
}

/// What a gradient rule may ask for.
pub struct Ctx<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) saved: &'a SavedSet,
    pub(crate) needs: &'a [bool],
}

impl Ctx<'_> {
    /// Input `i` of the forward pass, with its history.
    ///
    /// # Errors
    /// Where it was changed in place since.
    pub fn input(&self, i: usize) -> Result<Tensor> {
        match self.saved.input(i) {
            Some(saved) => saved.unpack(None, What::Input(i), self.node),
            None => Err(Error::at(
                "backward",
                format!("{} did not save its input {i}", self.node.op.name()),
                self.node.location,
            )),
        }
    }

    /// The output of the forward pass, with its history.
    ///
    /// # Errors
    /// Where it was changed in place since.
    pub fn output(&self) -> Result<Tensor> {
        match self.saved.output() {
            Some(saved) => saved.unpack(Some(self.node), What::Output, self.node),
            None => Err(Error::at(
                "backward",
                format!("{} did not save its output", self.node.op.name()),
                self.node.location,
            )),
        }
    }

    /// Extra result `i` of the forward pass (indices, statistics): no history.
    pub fn extra(&self, i: usize) -> &Tensor {
        &self
            .saved
            .0
            .as_ref()
            .expect("the operation gave extras")
            .extras[i]
    }

    /// Whether the gradient of input `i` is wanted.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }

    /// How many inputs there were.
    pub fn input_count(&self) -> usize {
        self.needs.len()
    }

    /// The shape input `i` had.
    pub fn shape(&self, i: usize) -> &[usize] {
        &self.node.inputs[i].shape
    }

    /// The type input `i` had.
    pub fn dtype(&self, i: usize) -> DType {
        self.node.inputs[i].dtype
    }
}

impl Node {
    /// Calls `visit` with every input saved by this node and those before it, back to number
    /// `since`.
    pub(crate) fn visit_saved(
        self: &Arc<Node>,
        since: u64,
        visit: &mut dyn FnMut(&mut Saved) -> Result<()>,
    ) -> Result<()> {
        let (mut stack, mut seen) = (vec![self.clone()], Vec::new());
        while let Some(node) = stack.pop() {
            if seen.contains(&node.seq) {
                continue;
            }
            seen.push(node.seq);
            if let Some(saved) = &mut *node.saved.lock() {
                saved.inputs_mut().try_for_each(&mut *visit)?;
            }
            for input in &node.inputs {
                match &input.edge {
                    Edge::Node(n) if n.seq >= since => stack.push(n.clone()),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// What a node holds, on the way to be freed. What is never read is held for its drop.
enum Part {
    Edge { _held: Edge },
    Saved { _held: SavedSet },
}

thread_local! {
    static DROPPING: Cell<bool> = const { Cell::new(false) };
    static QUEUE: RefCell<Vec<Part>> = const { RefCell::new(Vec::new()) };
}

/// Freeing a chain of a million nodes must not recurse: the outermost drop works off a queue into
/// which the inner ones put what they held.
impl<O: Op + ?Sized> Drop for Node<O> {
    fn drop(&mut self) {
        if DROPPING.replace(true) {
            // Without a queue the thread is ending: the parts are dropped as they are.
            let _ = QUEUE.try_with(|queue| {
                let mut queue = queue.borrow_mut();
                let edges = self.inputs.iter_mut().map(|input| &mut input.edge);
                queue.extend(
                    edges
                        .filter(|edge| !matches!(edge, Edge::None))
                        .map(|edge| Part::Edge {
                            _held: std::mem::replace(edge, Edge::None),
                        }),
                );
                if let Some(saved @ SavedSet(Some(_))) = self.saved.get_mut().take() {
                    queue.push(Part::Saved { _held: saved });
                }
            });
            return;
        }
        self.inputs.clear();
        *self.saved.get_mut() = None;
        while let Ok(Some(next)) = QUEUE.try_with(|q| q.borrow_mut().pop()) {
            drop(next);
        }
        DROPPING.set(false);
    }
}
