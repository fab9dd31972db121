//! The tensor: a cheap handle on sizes, strides and shared memory.

mod autograd;
mod convert;
mod copy;
mod create;
mod display;
mod index;
mod inplace;
#[cfg(feature = "ndarray")]
mod ndarray;
mod npy;
mod operators;
mod raw;
mod to;
mod view;

pub use autograd::HookHandle;
pub use convert::Nested;
pub use create::Create;
pub use display::{PrintOptions, printoptions, set_printoptions};
pub use index::{Ellipsis, IndexItem, IntoIndexItem, NewAxis, TensorIndex, s};
pub use operators::Operand;
pub use to::To;

use crate::autograd::{Edge, Hook, Node, is_inference_mode};
use crate::dtype::{Element, Stored};
use crate::shape::{Shape, Strides, contiguous_strides, is_contiguous, numel};
use crate::storage::{Memory, Read, Storage, Write};
use crate::{DType, Device, MemoryFormat, Result, bail};
use flambeau_cpu::alloc::Buffer;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// An n-dimensional array of one element type on one device, with automatic differentiation.
///
/// Cloning copies the handle: both are the same tensor, as two names are in PyTorch. Views made by
/// [`view`](Tensor::view), [`narrow`](Tensor::narrow) and the like share memory with their base.
///
/// # Types
/// Numbers take part by [`Tensor::result_type`]; functions such as [`exp`](Tensor::exp) give `f32` for
/// integers and bool. `[batch, channels, height, width]` in these pages is PyTorch's (N, C, H, W): the
/// last dimension is the innermost.
///
/// # In place
/// A method whose name ends in `_` writes into the tensor and returns it, and the history follows. It
/// errs where the result has another shape or a type of a higher category (bool, integer, floating
/// point), where the tensor is a leaf that requires gradients (but in [`no_grad`](crate::no_grad)),
/// was expanded, or was made in [`inference_mode`](crate::inference_mode).
///
/// ```
/// use flambeau_core::Tensor;
/// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?.requires_grad_(true)?;
/// let y = (&x * &x).sum()?;
/// y.backward()?;
/// assert_eq!(y.item::<f32>()?, 30.0);
/// assert_eq!(x.grad().unwrap().to_vec2::<f32>()?, [[2.0, 4.0], [6.0, 8.0]]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Besides what each method says, all that make a tensor err where memory does not suffice.
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) storage: Storage,
    pub(crate) shape: Shape,
    pub(crate) strides: Strides,
    pub(crate) offset: usize,
    pub(crate) dtype: DType,
    flags: AtomicU8,
    /// The tensor whose memory this one views, for histories that in-place operations rewrite.
    pub(crate) base: Option<Tensor>,
    /// How often an in-place operation has rewritten this tensor's history.
    generation: AtomicU32,
    /// The base's generation that this view's history belongs to.
    base_generation: AtomicU32,
    /// The operation that made this tensor.
    node: Mutex<Option<Arc<Node>>>,
    meta: Mutex<Option<Box<Meta>>>,
}

/// Takes part in differentiation: a leaf that requires a gradient, or the result of a node.
const TRACKED: u8 = 1;
/// Made under `inference_mode`.
const INFERENCE: u8 = 2;
/// A number from the program: weak in type promotion.
const NUMBER: u8 = 4;

/// A view made in `no_grad` or `inference_mode`: in-place operations on it could not be recorded
/// faithfully.
const NO_GRAD_VIEW: u8 = 8;
/// Elements follow each other in row-major order without gaps.
const CONTIGUOUS: u8 = 16;
/// On a CUDA device.
const CUDA: u8 = 32;

/// What few tensors carry.
#[derive(Default)]
pub(crate) struct Meta {
    pub(crate) grad: Option<Tensor>,
    pub(crate) hooks: Vec<(u64, Hook)>,
    pub(crate) retain_grad: bool,
}

/// The flag of the device that memory is on.
fn place_of(storage: &Storage) -> u8 {
    match storage.device() {
        Device::Cpu => 0,
        Device::Cuda(_) => CUDA,
    }
}

impl Tensor {
    pub(crate) fn make(
        storage: Storage,
        shape: Shape,
        strides: Strides,
        offset: usize,
        dtype: DType,
        base: Option<Tensor>,
    ) -> Tensor {
        // What shares an inference tensor's memory is one too.
        let inference = base
            .as_ref()
            .map_or(0, |b| b.0.flags.load(Ordering::Relaxed) & INFERENCE);
        let contiguous = if is_contiguous(&shape, &strides) {
            CONTIGUOUS
        } else {
            0
        };
        let flags = inference | contiguous | place_of(&storage);
        Tensor::assemble(storage, shape, strides, offset, dtype, base, flags)
    }

    #[inline]
    fn assemble(
        storage: Storage,
        shape: Shape,
        strides: Strides,
        offset: usize,
        dtype: DType,
        base: Option<Tensor>,
        flags: u8,
    ) -> Tensor {
        let base_generation = base
            .as_ref()
            .map_or(0, |b| b.0.generation.load(Ordering::Acquire));
        Tensor(Arc::new(Inner {
            storage,
            shape,
            strides,
            offset,
            dtype,
            flags: AtomicU8::new(flags),
            base,
            generation: AtomicU32::new(0),
            base_generation: AtomicU32::new(base_generation),
            node: Mutex::new(None),
            meta: Mutex::new(None),
        }))
    }

    /// A contiguous tensor over a buffer of exactly its size.
    #[inline(never)]
    pub(crate) fn from_buffer(buffer: Buffer, shape: &[usize], dtype: DType) -> Tensor {
        debug_assert_eq!(buffer.as_bytes().len(), numel(shape) * dtype.size());
        Tensor::assemble(
            Storage::new(buffer),
            Shape::from_slice(shape),
            contiguous_strides(shape),
            0,
            dtype,
            None,
            CONTIGUOUS | if is_inference_mode() { INFERENCE } else { 0 },
        )
    }

    /// A contiguous tensor over memory of exactly its size.
    pub(crate) fn from_memory(memory: Memory, shape: &[usize], dtype: DType) -> Tensor {
        let storage = Storage::of(memory);
        let inference = if is_inference_mode() { INFERENCE } else { 0 };
        let flags = CONTIGUOUS | inference | place_of(&storage);
        let (shape, strides) = (Shape::from_slice(shape), contiguous_strides(shape));
        Tensor::assemble(storage, shape, strides, 0, dtype, None, flags)
    }

    /// A contiguous tensor whose elements `fill` writes; they are arbitrary before. `T` is what
    /// storage holds for `dtype`.
    #[track_caller]
    pub(crate) fn build<T: Stored>(
        op: &'static str,
        shape: &[usize],
        dtype: DType,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<Tensor> {
        let mut buffer = Tensor::room(op, shape, dtype)?;
        fill(buffer.as_mut_slice::<T>());
        Ok(Tensor::from_buffer(buffer, shape, dtype))
    }

    /// Memory for the elements of a tensor, with arbitrary contents.
    // Out of line, like what makes a tensor of it: `build` is compiled for each of its callers.
    #[inline(never)]
    #[track_caller]
    fn room(op: &'static str, shape: &[usize], dtype: DType) -> Result<Buffer> {
        let n = crate::shape::check_numel(op, shape)?;
        crate::storage::allocate(op, n * dtype.size())
    }

    /// A view on the same memory that keeps the link to its base.
    pub(crate) fn alias(&self, shape: Shape, strides: Strides, offset: usize) -> Tensor {
        let base = self.0.base.as_ref().unwrap_or(self).clone();
        Tensor::make(
            self.0.storage.clone(),
            shape,
            strides,
            offset,
            self.0.dtype,
            Some(base),
        )
    }

    /// A tensor from the parts a node saved.
    pub(crate) fn from_saved(
        storage: &Storage,
        shape: &Shape,
        strides: &Strides,
        offset: usize,
        dtype: DType,
        node: Option<Arc<Node>>,
    ) -> Tensor {
        let mut t = Tensor::make(
            storage.clone(),
            shape.clone(),
            strides.clone(),
            offset,
            dtype,
            None,
        );
        if let Some(node) = node {
            t.set_first_node(node);
        }
        t
    }

    /// The sizes of the dimensions.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The size of dimension `dim`, counted from the end where negative
    /// ([`torch.Tensor.size`](https://pytorch.org/docs/stable/generated/torch.Tensor.size.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2, 3])?;
    /// assert_eq!((x.size(0)?, x.size(-1)?), (2, 3));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension; a 0-d tensor has none.
    #[track_caller]
    pub fn size(&self, dim: i64) -> Result<usize> {
        match self.shape().get(self.dim_index("size", dim)?) {
            Some(&size) => Ok(size),
            None => bail!(
                "size",
                "a 0-d tensor has no dimension {dim}; unsqueeze(0) gives it one"
            ),
        }
    }

    /// Elements to step over, in memory, to the next index of each dimension.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.t()?.strides(), [1, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[inline]
    pub fn strides(&self) -> &[usize] {
        &self.0.strides
    }

    /// Where the first element lies in the storage, in elements.
    pub fn storage_offset(&self) -> usize {
        self.0.offset
    }

    /// The number of dimensions.
    #[inline]
    pub fn dim(&self) -> usize {
        self.0.shape.len()
    }

    /// The number of elements.
    #[inline]
    pub fn numel(&self) -> usize {
        numel(&self.0.shape)
    }

    /// The number of dimensions ([`dim`](Tensor::dim) under NumPy's name).
    #[inline]
    pub fn ndim(&self) -> usize {
        self.dim()
    }

    /// The size of the first dimension, as Python's `len`.
    ///
    /// # Errors
    /// For a 0-d tensor.
    #[track_caller]
    pub fn len(&self) -> Result<usize> {
        match self.shape().first() {
            Some(&n) => Ok(n),
            None => bail!("len", "a 0-d tensor has no length; numel() is 1"),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.numel() == 0
    }

    /// Bytes of one element.
    #[inline]
    pub fn element_size(&self) -> usize {
        self.dtype().size()
    }

    /// Bytes of all elements.
    #[inline]
    pub fn nbytes(&self) -> usize {
        self.numel() * self.element_size()
    }

    /// Whether the elements are of one of the four floating-point types.
    #[inline]
    pub fn is_floating_point(&self) -> bool {
        self.dtype().is_floating_point()
    }

    /// The element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Whether it lives on a CUDA device.
    #[inline]
    pub(crate) fn on_cuda(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & CUDA != 0
    }

    /// Where the tensor lives.
    pub fn device(&self) -> Device {
        self.0.storage.device()
    }

    /// Whether elements follow each other in row-major order without gaps.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2, 3])?;
    /// assert!(x.is_contiguous() && !x.t()?.is_contiguous());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & CONTIGUOUS != 0
    }

    /// Whether both handles are the same tensor.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2])?;
    /// assert!(x.is(&x.clone()) && !x.is(&x.copy()?));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn is(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether both use the same memory.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([4])?;
    /// assert!(x.shares_storage(&x.view([2, 2])?) && !x.shares_storage(&x.copy()?));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn shares_storage(&self, other: &Tensor) -> bool {
        self.0.storage.same(&other.0.storage)
    }

    /// How often in-place operations have written to this tensor's memory.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2])?;
    /// x.add_(1)?;
    /// assert_eq!(x.version(), 1);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn version(&self) -> u32 {
        self.0.storage.version()
    }

    /// Whether this is a view of another tensor.
    pub fn is_view(&self) -> bool {
        self.0.base.is_some()
    }

    #[track_caller]
    pub(crate) fn dim_index(&self, op: &'static str, dim: i64) -> Result<usize> {
        crate::shape::wrap_dim(op, dim, self.dim())
    }

    pub(crate) fn read(&self) -> Read<'_> {
        self.0.storage.read(self.0.offset)
    }

    pub(crate) fn write(&self) -> Write<'_> {
        self.0.storage.write(self.0.offset)
    }

    pub(crate) fn try_read(&self) -> Option<Read<'_>> {
        self.0.storage.try_read(self.0.offset)
    }

    pub(crate) fn try_write(&self) -> Option<Write<'_>> {
        self.0.storage.try_write(self.0.offset)
    }

    /// Marks a 0-d tensor as a number of the program, weak in promotion.
    pub(crate) fn into_number(self) -> Tensor {
        self.0.flags.fetch_or(NUMBER, Ordering::Relaxed);
        self
    }

    pub(crate) fn is_number(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & NUMBER != 0
    }

    pub(crate) fn mark_inference(&self) {
        self.0.flags.fetch_or(INFERENCE, Ordering::Relaxed);
    }

    /// Marks a fresh view as made while nothing was recorded.
    pub(crate) fn mark_no_grad_view(&self) {
        self.0.flags.fetch_or(NO_GRAD_VIEW, Ordering::Relaxed);
    }

    pub(crate) fn is_no_grad_view(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & NO_GRAD_VIEW != 0
    }

    /// Whether it was made under [`inference_mode`](crate::inference_mode).
    pub fn is_inference(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & INFERENCE != 0
    }

    /// The only element, as a Rust number.
    ///
    /// # Errors
    /// Where the tensor has not exactly one element.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::full([1, 1], 2.5)?.item::<f32>()?, 2.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[track_caller]
    pub fn item<T: Element>(&self) -> Result<T> {
        if self.numel() != 1 {
            bail!(
                "item",
                "a tensor of shape {:?} has {} elements; item() needs exactly one",
                self.shape(),
                self.numel()
            );
        }
        if self.on_cuda() {
            return self.cpu()?.item();
        }
        let guard = self.read();
        Ok(crate::with_stored!(self.dtype(), S => {
            let v: S = guard.slice::<S>()[0];
            crate::ops::elementwise::cast_one::<S, T>(v)
        }))
    }
}

/// An edge for gradients and the flags around it.
impl Tensor {
    /// Whether operations on this tensor may have to be recorded.
    #[inline]
    pub(crate) fn tracked(&self) -> bool {
        match &self.0.base {
            // An in-place operation has since rewritten the base's history, and so this view's.
            Some(base) if self.view_is_stale(base) => base.tracked(),
            _ => self.0.flags.load(Ordering::Acquire) & TRACKED != 0,
        }
    }

    pub(crate) fn set_tracked(&self, on: bool) {
        if on {
            self.0.flags.fetch_or(TRACKED, Ordering::Release);
        } else {
            self.0.flags.fetch_and(!TRACKED, Ordering::Release);
        }
    }

    /// Whether this handle alone holds the tensor and its memory, so that it may be overwritten.
    pub(crate) fn is_sole_owner(&self) -> bool {
        let others = match &self.0.base {
            None => 0,
            Some(base) if Arc::strong_count(&base.0) == 1 => 1,
            Some(_) => return false,
        };
        Arc::strong_count(&self.0) == 1 && self.0.storage.owners() == 1 + others && !self.tracked()
    }

    /// The same tensor without its base, where it is that base over: a sole owner need not stay a
    /// view.
    pub(crate) fn without_base(self) -> Tensor {
        if self.0.base.is_none() || !self.is_whole() {
            return self;
        }
        let t = &self.0;
        let (shape, strides) = (t.shape.clone(), t.strides.clone());
        Tensor::make(t.storage.clone(), shape, strides, 0, t.dtype, None)
    }

    /// Whether the elements are the whole storage, in row-major order.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.offset == 0
            && self.is_contiguous()
            && self.numel() * self.dtype().size() == self.0.storage.bytes()
    }

    /// Whether the elements are the whole storage, in some order of the dimensions.
    pub(crate) fn fills_storage(&self) -> bool {
        self.0.offset == 0
            && self.is_contiguous_format(MemoryFormat::Preserve)
            && self.numel() * self.dtype().size() == self.0.storage.bytes()
    }

    pub(crate) fn with_meta<R>(&self, f: impl FnOnce(&mut Meta) -> R) -> R {
        f(self.0.meta.lock().get_or_insert_default())
    }

    /// Reads the meta data where there is any.
    pub(crate) fn peek_meta<R: Default>(&self, f: impl FnOnce(&Meta) -> R) -> R {
        self.0.meta.lock().as_deref().map_or_else(R::default, f)
    }

    /// [`set_node`](Tensor::set_node) for a new result, which has no history yet; without locks
    /// where this handle is the only one.
    pub(crate) fn set_first_node(&mut self, node: Arc<Node>) {
        match Arc::get_mut(&mut self.0) {
            Some(t) if t.base.is_none() => {
                *t.node.get_mut() = Some(node);
                *t.flags.get_mut() |= TRACKED;
            }
            _ => self.set_node(node),
        }
    }

    /// Gives the tensor a history.
    pub(crate) fn set_node(&self, node: Arc<Node>) {
        // The old one is dropped outside of the lock.
        let old = self.0.node.lock().replace(node.clone());
        self.set_tracked(true);
        // Last: who finds the view fresh must find the new history too.
        if let Some(base) = &self.0.base {
            self.0
                .base_generation
                .store(base.0.generation.load(Ordering::Acquire), Ordering::Release);
        }
        if let Some(old) = old
            && self.peek_meta(|m| m.retain_grad)
        {
            old.hooks().release(self);
            node.hooks().retain(self);
        }
    }

    /// Gives the tensor a new history after an in-place operation; its views will follow.
    pub(crate) fn rewrite_history(&self, node: Arc<Node>) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        self.set_node(node);
    }

    /// Takes the tensor out of the graph.
    pub(crate) fn forget_node(&self) {
        let old = self.0.node.lock().take();
        if let Some(old) = old
            && self.with_meta(|m| std::mem::take(&mut m.retain_grad))
        {
            old.hooks().release(self);
        }
        self.set_tracked(false);
    }

    /// Whether the base's history was rewritten after this view's was made.
    fn view_is_stale(&self, base: &Tensor) -> bool {
        base.0.generation.load(Ordering::Acquire) != self.0.base_generation.load(Ordering::Acquire)
    }

    /// The node that made this tensor; a view whose base was since changed in place gets a new one.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        if let Some(base) = &self.0.base
            && self.view_is_stale(base)
        {
            if !base.tracked() {
                return None;
            }
            self.set_node(crate::ops::strided::as_view_of(self, base));
        }
        if self.0.flags.load(Ordering::Acquire) & TRACKED == 0 {
            return None;
        }
        self.0.node.lock().clone()
    }

    /// Where this tensor's gradient flows.
    pub(crate) fn edge(&self) -> Edge {
        if !self.tracked() {
            return Edge::None;
        }
        match self.node() {
            Some(node) => Edge::Node(node),
            None => Edge::Leaf(self.clone()),
        }
    }
}
