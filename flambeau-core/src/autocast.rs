//! Mixed precision (`torch.autocast`): inside a region, operations that gain by it compute in a half
//! type, those that need the range compute in `f32`, and all others in the type of their inputs.
//!
//! [`autocast`] runs a function in a region, [`Autocast`] has its options (and
//! [`enter`](Autocast::enter) for a guard instead of a function), [`autocast_dtype`] says whether one
//! is in force.
//!
//! Each operation says its class itself ([`Op::autocast`](crate::dispatch::Op::autocast)), a
//! function made of several operations with [`Composite`]. `dispatch::call` brings the operands to
//! it, so that conversions are recorded and gradients arrive in the parameters' own type. PyTorch's
//! classes on a CUDA device are others; where they differ they stand in `class`.

use crate::autograd::is_grad_enabled;
use crate::tensor::{Inner, Tensor};
use crate::{DType, Device, Result, bail};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

/// What an autocast region does with an operation's floating-point operands. `f64` is always left
/// alone, and so are integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// As they come.
    Keep,
    /// To the region's half type.
    Low,
    /// To `f32`.
    Full,
    /// To `f32` where one of them is that.
    Widest,
}

/// Options of [`autocast`]. The default is `bf16` with a cache, for tensors on any device; made from
/// a [`Device`] alone it is PyTorch's default there, `f16` on CUDA, and for tensors there.
///
/// ```
/// use flambeau_core::{Autocast, DType, Tensor, autocast};
/// let x = Tensor::ones([2, 2])?;
/// let off = Autocast::new().enabled(false);
/// let y = autocast(off, || x.matmul(&x))?;
/// assert_eq!(y.dtype(), DType::F32);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autocast {
    /// `None`: wherever an operation's tensors are.
    device: Option<Device>,
    dtype: DType,
    enabled: bool,
    cache: bool,
}

impl Default for Autocast {
    fn default() -> Autocast {
        Autocast {
            device: None,
            dtype: DType::BF16,
            enabled: true,
            cache: true,
        }
    }
}

impl From<DType> for Autocast {
    fn from(dtype: DType) -> Autocast {
        Autocast {
            dtype,
            ..Autocast::default()
        }
    }
}

impl From<(Device, DType)> for Autocast {
    fn from((device, dtype): (Device, DType)) -> Autocast {
        Autocast {
            device: Some(device),
            dtype,
            ..Autocast::default()
        }
    }
}

impl From<Device> for Autocast {
    fn from(device: Device) -> Autocast {
        let dtype = match device {
            Device::Cpu => DType::BF16,
            Device::Cuda(_) => DType::F16,
        };
        (device, dtype).into()
    }
}

impl Autocast {
    /// The defaults.
    pub fn new() -> Autocast {
        Autocast::default()
    }

    /// Whether operands are converted at all: `false` makes a region of full precision inside
    /// another one. Default true.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Autocast {
        self.enabled = enabled;
        self
    }

    /// Whether a parameter's conversion is kept for its next use in the region. Default true.
    #[must_use]
    pub fn cache_enabled(mut self, cache: bool) -> Autocast {
        self.cache = cache;
        self
    }

    /// Begins a region that ends when the guard is dropped.
    ///
    /// # Errors
    /// Where the type is not `bf16` or `f16`, or the device is not there.
    #[track_caller]
    pub fn enter(self) -> Result<AutocastGuard> {
        self.device.unwrap_or_default().check()?;
        if !matches!(self.dtype, DType::BF16 | DType::F16) {
            bail!(
                "autocast",
                "the type is {}; autocast computes in bfloat16 or float16",
                self.dtype
            );
        }
        let mut state = State::current();
        let low = self.enabled.then_some(self.dtype);
        if self.device.is_none_or(|d| d == Device::Cpu) {
            state.cpu = low;
        }
        if self.device.is_none_or(|d| d != Device::Cpu) {
            state.cuda = low;
        }
        state.cache = self.cache;
        Ok(state.enter())
    }
}

/// Ends a region of [`autocast`] when dropped. Of the thread that made it.
///
/// ```
/// use flambeau_core::{Autocast, DType, autocast_dtype};
/// let guard = Autocast::new().enter()?;
/// assert_eq!(autocast_dtype(), Some(DType::BF16));
/// drop(guard);
/// assert_eq!(autocast_dtype(), None);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[must_use = "the region ends when the guard is dropped"]
pub struct AutocastGuard {
    outer: State,
    // Not Send: the region belongs to a thread.
    _thread: PhantomData<*const ()>,
}

impl Drop for AutocastGuard {
    fn drop(&mut self) {
        STATE.set(self.outer);
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            // Taken out first: freeing a graph may run anything.
            let kept = CASTS.try_with(|c| std::mem::take(&mut *c.borrow_mut()));
            drop(kept);
        }
    }
}

/// Runs `f` with mixed precision on this thread (`torch.autocast`): convolutions, matrix products
/// and layers made of them compute in the half type, losses in `f32`, and the rest in the type that
/// reaches it, after PyTorch's lists. Call `backward` and the optimizer outside: the
/// backward pass runs in the types that were recorded, and parameters keep theirs.
///
/// A parameter (a leaf of type `f32` that requires gradients) is converted once in the outermost
/// region. On CUDA devices the classes are PyTorch's for these. Regions nest; `Autocast::new().enabled(false)` makes an exception of a part.
///
/// ```
/// use flambeau_core::{Autocast, DType, Tensor, autocast};
/// let x = Tensor::ones([2, 3])?;
/// let w = Tensor::ones([4, 3])?.requires_grad_(true)?;
/// let (y, z) = autocast(DType::BF16, || {
///     let y = x.linear(&w, None)?;
///     let z = autocast(Autocast::new().enabled(false), || x.linear(&w, None))?;
///     Ok((y, z))
/// })?;
/// assert_eq!((y.dtype(), z.dtype()), (DType::BF16, DType::F32));
/// y.sum()?.backward()?;
/// assert_eq!(w.grad().unwrap().dtype(), DType::F32);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Those of `f`, and where the type is not `bf16` or `f16`.
#[track_caller]
pub fn autocast<R>(options: impl Into<Autocast>, f: impl FnOnce() -> Result<R>) -> Result<R> {
    let _region = options.into().enter()?;
    f()
}

/// The half type of the innermost region on this thread, for tensors on the CPU where there is one
/// for these; `None` outside of one, and where it is not enabled
/// ([`torch.is_autocast_enabled`](https://pytorch.org/docs/stable/generated/torch.is_autocast_enabled.html),
/// [`torch.get_autocast_dtype`](https://pytorch.org/docs/stable/generated/torch.get_autocast_dtype.html)).
///
/// ```
/// use flambeau_core::{DType, autocast, autocast_dtype};
/// assert_eq!(autocast(DType::F16, || Ok(autocast_dtype()))?, Some(DType::F16));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[inline]
pub fn autocast_dtype() -> Option<DType> {
    let state = STATE.get();
    state.cpu.or(state.cuda)
}

/// The same for tensors on `device` (`torch.is_autocast_enabled(device_type)`).
///
/// ```
/// use flambeau_core::{Autocast, DType, Device, autocast, autocast_dtype_on};
/// let region: Autocast = (Device::Cpu, DType::BF16).into();
/// autocast(region, || {
///     assert_eq!(autocast_dtype_on(Device::Cpu), Some(DType::BF16));
///     assert_eq!(autocast_dtype_on(Device::Cuda(0)), None);
///     Ok(())
/// })?;
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[inline]
pub fn autocast_dtype_on(device: Device) -> Option<DType> {
    STATE.get().low(device != Device::Cpu)
}

#[derive(Clone, Copy)]
pub(crate) struct State {
    /// The half types for tensors on the CPU and on CUDA devices.
    cpu: Option<DType>,
    cuda: Option<DType>,
    cache: bool,
}

const OFF: State = State {
    cpu: None,
    cuda: None,
    cache: true,
};

/// Whether a region is in force for tensors anywhere.
#[inline]
pub(crate) fn is_on() -> bool {
    let state = STATE.get();
    state.cpu.is_some() || state.cuda.is_some()
}

/// A parameter's conversion in the region, with the parameter, which it does not keep alive, and
/// the version that it was made from.
type Kept = (Weak<Inner>, u32, Tensor);

thread_local! {
    static STATE: Cell<State> = const { Cell::new(OFF) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static CASTS: RefCell<HashMap<usize, Kept>> = RefCell::default();
}

/// Restores the state it found; does not count as leaving a region.
pub(crate) struct Restore(State);

impl Drop for Restore {
    fn drop(&mut self) {
        STATE.set(self.0);
    }
}

impl State {
    fn low(self, on_cuda: bool) -> Option<DType> {
        if on_cuda { self.cuda } else { self.cpu }
    }

    /// What is in force on this thread.
    pub(crate) fn current() -> State {
        STATE.get()
    }

    /// Begins a region with it.
    pub(crate) fn enter(self) -> AutocastGuard {
        DEPTH.set(DEPTH.get() + 1);
        AutocastGuard {
            outer: STATE.replace(self),
            _thread: PhantomData,
        }
    }

    /// Brings it into force again.
    pub(crate) fn resume(self) -> Restore {
        Restore(STATE.replace(self))
    }
}

/// Nothing is converted until the guard is dropped.
pub(crate) fn suspend() -> Restore {
    OFF.resume()
}

/// The class of an operation that says `on_cpu`: after PyTorch 2.15's lists for CUDA
/// (`ATen/autocast_mode.h`), which compute in `f32` what loses by a half type, where those for a CPU
/// leave that to the operation.
fn class(op: &str, on_cpu: Cast, on_cuda: bool) -> Cast {
    if !on_cuda {
        return on_cpu;
    }
    match op {
        "acos" | "asin" | "cosh" | "erfinv" | "exp" | "expm1" | "log" | "log10" | "log2"
        | "log1p" | "reciprocal" | "rsqrt" | "sinh" | "square" | "tan" | "pow" | "softplus"
        | "layer_norm" | "rms_norm" | "group_norm" | "norm" | "logsumexp" | "prod" | "softmax"
        | "log_softmax" | "cumprod" | "cumsum" | "sum" => Cast::Full,
        "mv" => Cast::Low,
        "addcdiv" | "addcmul" | "atan2" | "dot" | "index_put" | "scatter_add" => Cast::Widest,
        // Of the CPU's list alone.
        "max_pool3d" | "avg_pool3d" | "adaptive_avg_pool3d" => Cast::Keep,
        _ => on_cpu,
    }
}

/// The operands of an operation of that name as the region wants them; `None` where it leaves them.
#[cold]
pub(crate) fn operands(
    op: &str,
    on_cpu: Cast,
    inputs: &[&Tensor],
) -> Result<Option<SmallVec<[Tensor; 3]>>> {
    let on_cuda = inputs.iter().any(|x| x.on_cuda());
    match (State::current().low(on_cuda), class(op, on_cpu, on_cuda)) {
        (None, _) | (_, Cast::Keep) => Ok(None),
        (Some(low), cast) => prepare(cast, low, inputs).map(Some),
    }
}

/// Whether a region converts `t`.
fn eligible(t: &Tensor) -> bool {
    t.dtype().is_floating_point() && t.dtype() != DType::F64
}

/// The operands as class `cast` wants them in a region of type `low`.
pub(crate) fn prepare(cast: Cast, low: DType, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 3]>> {
    let target = match cast {
        Cast::Keep => None,
        Cast::Low => Some(low),
        Cast::Full => Some(DType::F32),
        Cast::Widest => inputs
            .iter()
            .any(|t| t.dtype() == DType::F32)
            .then_some(DType::F32),
    };
    inputs
        .iter()
        .map(|&t| match target {
            Some(dtype) if eligible(t) && t.dtype() != dtype => converted(t, dtype, low),
            _ => Ok(t.clone()),
        })
        .collect()
}

fn converted(t: &Tensor, dtype: DType, low: DType) -> Result<Tensor> {
    let is_parameter =
        dtype == low && t.dtype() == DType::F32 && !t.is_view() && t.is_leaf() && t.requires_grad();
    if !is_parameter || !STATE.get().cache {
        return t.to_dtype(dtype);
    }
    let (key, version) = (Arc::as_ptr(&t.0) as usize, t.version());
    let kept = CASTS.with_borrow(|casts| {
        casts
            .get(&key)
            .filter(|(_, v, cast)| *v == version && cast.dtype() == dtype)
            .map(|(.., cast)| cast.clone())
    });
    // One made while nothing was recorded has no way back to the parameter.
    if let Some(cast) = kept.filter(|cast| cast.requires_grad() || !is_grad_enabled()) {
        return Ok(cast);
    }
    let cast = t.to_dtype(dtype)?;
    let entry = (Arc::downgrade(&t.0), version, cast.clone());
    let old = CASTS.with_borrow_mut(|casts| casts.insert(key, entry));
    drop(old);
    Ok(cast)
}

/// A function made of several operations that counts as one of a class: while this lives, its
/// operands are converted, and its own operations are left alone.
///
/// ```
/// use flambeau_core::autocast::{Cast, Composite};
/// use flambeau_core::{DType, Result, Tensor, autocast};
/// fn distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
///     let region = Composite::new(Cast::Full, [a, b])?;
///     let [a, b] = region.inputs();
///     a.sub(b)?.square()?.sum()
/// }
/// let x = Tensor::ones_with([2], DType::BF16)?;
/// assert_eq!(distance(&x, &x)?.dtype(), DType::BF16);
/// assert_eq!(autocast(DType::BF16, || distance(&x, &x))?.dtype(), DType::F32);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[must_use = "operands are only converted while it lives"]
pub struct Composite<'a, const N: usize> {
    inputs: [&'a Tensor; N],
    converted: SmallVec<[Tensor; 3]>,
    region: Option<(Cast, DType, Restore)>,
}

impl<'a, const N: usize> Composite<'a, N> {
    /// Converts `inputs` where a region is in force.
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn new(cast: Cast, inputs: [&'a Tensor; N]) -> Result<Composite<'a, N>> {
        Composite::of([cast, cast], inputs)
    }

    /// The same of a class on the CPU and another one on CUDA devices.
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn of([on_cpu, on_cuda]: [Cast; 2], inputs: [&'a Tensor; N]) -> Result<Composite<'a, N>> {
        let (mut converted, mut region) = (SmallVec::new(), None);
        if !is_on() {
            return Ok(Composite {
                inputs,
                converted,
                region,
            });
        }
        let there = inputs.iter().any(|x| x.on_cuda());
        let cast = if there { on_cuda } else { on_cpu };
        if let Some(low) = State::current().low(there) {
            converted = prepare(cast, low, &inputs)?;
            region = Some((cast, low, suspend()));
        }
        Ok(Composite {
            inputs,
            converted,
            region,
        })
    }

    /// The operands, converted where that was called for.
    pub fn inputs(&self) -> [&Tensor; N] {
        std::array::from_fn(|i| self.converted.get(i).unwrap_or(self.inputs[i]))
    }

    /// Another operand, which may be left out.
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn optional(&self, operand: Option<&Tensor>) -> Result<Option<Tensor>> {
        let Some(operand) = operand else {
            return Ok(None);
        };
        match &self.region {
            None => Ok(Some(operand.clone())),
            Some((cast, low, _)) => Ok(prepare(*cast, *low, &[operand])?.pop()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::no_grad;

    fn kept() -> usize {
        CASTS.with_borrow(HashMap::len)
    }

    #[test]
    fn a_parameter_is_converted_once_in_the_outermost_region() -> Result<()> {
        let (x, w) = (Tensor::ones([2, 3])?, Tensor::ones([4, 3])?);
        let w = w.requires_grad_(true)?;
        autocast(DType::BF16, || {
            // Without recording first: that conversion must not serve the recorded call.
            assert!(!no_grad(|| x.linear(&w, None))?.requires_grad());
            let a = x.linear(&w, None)?;
            autocast(DType::BF16, || x.linear(&w, None))?;
            assert_eq!((a.requires_grad(), kept()), (true, 1));
            // A parameter that has changed since is converted anew.
            no_grad(|| w.mul_(2.0))?;
            assert_eq!(
                x.linear(&w, None)?.to_dtype(DType::F32)?.to_vec::<f32>()?,
                [6.0; 8]
            );
            autocast(Autocast::new().cache_enabled(false), || {
                x.linear(&Tensor::ones([1, 3])?.requires_grad_(true)?, None)
            })?;
            assert_eq!(kept(), 1);
            Ok(())
        })?;
        assert_eq!(kept(), 0);
        Ok(())
    }

    #[test]
    fn regions_nest_belong_to_a_thread_and_end_with_a_panic() -> Result<()> {
        assert_eq!(autocast_dtype(), None);
        let outer = Autocast::new().enter()?;
        assert_eq!(autocast_dtype(), Some(DType::BF16));
        autocast(DType::F16, || {
            assert_eq!(autocast_dtype(), Some(DType::F16));
            Ok(())
        })?;
        let off = Autocast::new().enabled(false).enter()?;
        assert_eq!(autocast_dtype(), None);
        drop(off);
        assert_eq!(autocast_dtype(), Some(DType::BF16));
        assert_eq!(std::thread::spawn(autocast_dtype).join().ok(), Some(None));
        drop(outer);
        let panicked = std::panic::catch_unwind(|| {
            let _ = autocast(DType::BF16, || -> Result<()> { panic!("inside") });
        });
        assert!(panicked.is_err());
        assert_eq!((autocast_dtype(), DEPTH.get()), (None, 0));
        let error = autocast(DType::F32, || Ok(())).unwrap_err().to_string();
        assert!(error.contains("bfloat16 or float16"), "{error}");
        Ok(())
    }
}
