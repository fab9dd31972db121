//! Random tensors, and the generator they draw from.
//!
//! The numbers are PyTorch's: after [`manual_seed`] the tensors made here equal those that
//! PyTorch's CPU generator gives for the same seed and calls.
//!
//! - [`manual_seed`], [`get_rng_state`], [`set_rng_state`]: the default generator, which all threads
//!   share; [`with_default`] holds it for several draws.
//! - New tensors: [`Tensor::rand`], [`Tensor::randn`], [`Tensor::randint`], [`Tensor::randperm`],
//!   [`normal`].
//! - In place: [`Tensor::uniform_`], [`Tensor::normal_`], [`Tensor::bernoulli_`], [`Tensor::random_`],
//!   [`Tensor::exponential_`].
//! - On a CUDA device these draw from a generator of the device, Philox as PyTorch's; what follows,
//!   and [`Tensor::random_`] and [`Tensor::exponential_`], from the CPU's.
//! - By a tensor's probabilities: [`Tensor::bernoulli`], [`Tensor::multinomial`].
//!
//! ```standalone_crate
//! use flambeau_core::{Tensor, manual_seed, random};
//! manual_seed(1);
//! let state = random::get_rng_state();
//! let first = Tensor::randn([3])?;
//! random::set_rng_state(&state)?;
//! assert!(Tensor::randn([3])?.equal(&first)?);
//! # Ok::<(), flambeau_core::Error>(())
//! ```

use crate::dtype::Scalar;
use crate::shape::{Dims, sizes};
use crate::{Create, DType, Device, Error, Result, Tensor, bail, cuda, default_device};
use flambeau_cpu::random::{Generator, RandomError};
use flambeau_cuda::kernels::Random;
use parking_lot::Mutex;
use std::sync::LazyLock;

static DEFAULT: LazyLock<Mutex<Generator>> = LazyLock::new(|| Mutex::new(Generator::new()));

/// Seeds the default generator
/// ([`torch.manual_seed`](https://pytorch.org/docs/stable/generated/torch.manual_seed.html)).
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// manual_seed(0);
/// // torch.manual_seed(0); torch.rand(2)
/// assert_eq!(Tensor::rand([2])?.to_vec::<f32>()?, [0.49625659, 0.7682218]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub fn manual_seed(seed: u64) {
    DEFAULT.lock().manual_seed(seed);
    cuda::seed(seed);
}

/// Runs `f` with the default generator; other threads wait.
///
/// ```standalone_crate
/// use flambeau_core::manual_seed;
/// use flambeau_core::random::with_default;
/// manual_seed(0);
/// let order = with_default(|g| g.randperm(4)).map_err(|e| e.to_string())?;
/// assert_eq!(order, [0, 1, 3, 2]);
/// # Ok::<(), String>(())
/// ```
pub fn with_default<R>(f: impl FnOnce(&mut Generator) -> R) -> R {
    f(&mut DEFAULT.lock())
}

/// The default generator's state
/// ([`torch.get_rng_state`](https://pytorch.org/docs/stable/generated/torch.get_rng_state.html)),
/// for [`set_rng_state`].
pub fn get_rng_state() -> Vec<u8> {
    DEFAULT.lock().state()
}

/// Brings the default generator back to a state that [`get_rng_state`] gave
/// ([`torch.set_rng_state`](https://pytorch.org/docs/stable/generated/torch.set_rng_state.html)).
///
/// # Errors
/// Where the bytes are not such a state; the generator is then unchanged.
#[track_caller]
pub fn set_rng_state(state: &[u8]) -> Result<()> {
    DEFAULT
        .lock()
        .set_state(state)
        .map_err(|e| Error::new("set_rng_state", e.to_string()))
}

/// Random numbers of a floating-point type on a CUDA device.
#[track_caller]
fn real_on_cuda(
    op: &'static str,
    kind: Random,
    shape: &[usize],
    dtype: DType,
    device: Device,
) -> Result<Tensor> {
    if !dtype.is_floating_point() {
        bail!(
            op,
            "random numbers of this kind are floating-point; {dtype} is not"
        );
    }
    cuda::random(op, kind, shape, dtype, device)
}

/// Runs a fill on the stored type of a tensor to be made, bool included.
macro_rules! fill {
    ($op:expr, $shape:expr, $dtype:expr, |$out:ident| $fill:expr) => {{
        let mut result: Result<(), RandomError> = Ok(());
        let filled = crate::with_stored!($dtype, S => Tensor::build::<S>($op, $shape, $dtype, |$out| result = $fill))?;
        result.map_err(|e| Error::new($op, e.to_string()))?;
        filled
    }};
}
/// The same for the floating-point types alone.
macro_rules! fill_real {
    ($op:expr, $shape:expr, $dtype:expr, |$out:ident| $fill:expr) => {{
        let mut result: Result<(), RandomError> = Ok(());
        let filled = match $dtype {
            DType::F32 => Tensor::build::<f32>($op, $shape, $dtype, |$out| result = $fill),
            DType::F64 => Tensor::build::<f64>($op, $shape, $dtype, |$out| result = $fill),
            DType::F16 => Tensor::build::<half::f16>($op, $shape, $dtype, |$out| result = $fill),
            DType::BF16 => Tensor::build::<half::bf16>($op, $shape, $dtype, |$out| result = $fill),
            d => bail!(
                $op,
                "random numbers of this kind are floating-point; {d} is not"
            ),
        }?;
        result.map_err(|e| Error::new($op, e.to_string()))?;
        filled
    }};
}

impl Tensor {
    /// Uniform numbers from `[0, 1)`
    /// ([`torch.rand`](https://pytorch.org/docs/stable/generated/torch.rand.html)), `f32`.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let expected = Tensor::new([[0.49626f32, 0.76822], [0.08848, 0.13203]])?;
    /// assert!(Tensor::rand([2, 2])?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros`](Tensor::zeros).
    #[track_caller]
    pub fn rand(size: impl Dims) -> Result<Tensor> {
        Tensor::rand_with(size, Create::default())
    }

    /// [`rand`](Tensor::rand) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::rand_with([2], DType::F64)?.dtype(), DType::F64);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros_with`](Tensor::zeros_with), and for types that are not floating point.
    #[track_caller]
    pub fn rand_with(size: impl Dims, options: impl Into<Create>) -> Result<Tensor> {
        Tensor::uniform_of(&size, options.into())
    }

    #[track_caller]
    fn uniform_of(size: &dyn Dims, options: Create) -> Result<Tensor> {
        options.device.check()?;
        let (shape, dtype) = (sizes("rand", size)?, options.dtype.unwrap_or(DType::F32));
        if options.device != Device::Cpu {
            let kind = Random::Uniform {
                low: 0.0,
                high: 1.0,
            };
            return real_on_cuda("rand", kind, &shape, dtype, options.device);
        }
        let new = fill_real!("rand", &shape, dtype, |out| with_default(
            |g| g.uniform(out, 0.0, 1.0)
        ));
        new.to_device(options.device)
    }

    /// Numbers from the standard normal distribution
    /// ([`torch.randn`](https://pytorch.org/docs/stable/generated/torch.randn.html)), `f32`.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let expected = Tensor::new([[1.541f32, -0.29343], [-2.17879, 0.56843]])?;
    /// assert!(Tensor::randn([2, 2])?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros`](Tensor::zeros).
    #[track_caller]
    pub fn randn(size: impl Dims) -> Result<Tensor> {
        Tensor::randn_with(size, Create::default())
    }

    /// [`randn`](Tensor::randn) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::randn_with([2], DType::BF16)?.dtype(), DType::BF16);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`rand_with`](Tensor::rand_with).
    #[track_caller]
    pub fn randn_with(size: impl Dims, options: impl Into<Create>) -> Result<Tensor> {
        Tensor::normal_of(&size, options.into())
    }

    #[track_caller]
    fn normal_of(size: &dyn Dims, options: Create) -> Result<Tensor> {
        options.device.check()?;
        let (shape, dtype) = (sizes("randn", size)?, options.dtype.unwrap_or(DType::F32));
        if options.device != Device::Cpu {
            let kind = Random::Normal {
                mean: 0.0,
                std: 1.0,
            };
            return real_on_cuda("randn", kind, &shape, dtype, options.device);
        }
        let new = fill_real!("randn", &shape, dtype, |out| with_default(
            |g| g.normal(out, 0.0, 1.0)
        ));
        new.to_device(options.device)
    }

    /// Integers from `low` to before `high`
    /// ([`torch.randint`](https://pytorch.org/docs/stable/generated/torch.randint.html)), `i64`.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// assert_eq!(Tensor::randint(0, 10, [6])?.to_vec::<i64>()?, [4, 9, 3, 0, 3, 9]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `high` is not above `low`, or the type does not hold the bounds.
    #[track_caller]
    pub fn randint(low: i64, high: i64, size: impl Dims) -> Result<Tensor> {
        Tensor::randint_with(low, high, size, Create::default())
    }

    /// [`randint`](Tensor::randint) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::randint_with(0, 10, [2], DType::U8)?.dtype(), DType::U8);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`randint`](Tensor::randint), and where the device is not there.
    #[track_caller]
    pub fn randint_with(
        low: i64,
        high: i64,
        size: impl Dims,
        options: impl Into<Create>,
    ) -> Result<Tensor> {
        Tensor::integers_of((low, high), &size, options.into())
    }

    #[track_caller]
    fn integers_of((low, high): (i64, i64), size: &dyn Dims, options: Create) -> Result<Tensor> {
        options.device.check()?;
        let (shape, dtype) = (sizes("randint", size)?, options.dtype.unwrap_or(DType::I64));
        if options.device != Device::Cpu {
            // Refuses bounds without drawing.
            fill!("randint", &[0], dtype, |out| with_default(
                |g| g.random_from_to(out, low, Some(high))
            ));
            let (base, range) = (low, high.wrapping_sub(low) as u64);
            let kind = Random::Integers { base, range };
            return cuda::random("randint", kind, &shape, dtype, options.device);
        }
        let new = fill!("randint", &shape, dtype, |out| with_default(
            |g| g.random_from_to(out, low, Some(high))
        ));
        new.to_device(options.device)
    }

    /// The integers from 0 to `n - 1` in random order
    /// ([`torch.randperm`](https://pytorch.org/docs/stable/generated/torch.randperm.html)), `i64`.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// assert_eq!(Tensor::randperm(5)?.to_vec::<i64>()?, [4, 0, 1, 3, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn randperm(n: usize) -> Result<Tensor> {
        let order = with_default(|g| g.randperm(n));
        Tensor::from_vec(
            order.map_err(|e| Error::new("randperm", e.to_string()))?,
            [n],
        )?
        .to_device(default_device())
    }

    /// [`rand`](Tensor::rand) in this tensor's shape, type and device
    /// ([`torch.rand_like`](https://pytorch.org/docs/stable/generated/torch.rand_like.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.rand_like()?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For tensors that are not floating point.
    #[track_caller]
    pub fn rand_like(&self) -> Result<Tensor> {
        Tensor::rand_with(self.shape(), (self.dtype(), self.device()))
    }

    /// [`randn`](Tensor::randn) in this tensor's shape, type and device
    /// ([`torch.randn_like`](https://pytorch.org/docs/stable/generated/torch.randn_like.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3])?.randn_like()?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For tensors that are not floating point.
    #[track_caller]
    pub fn randn_like(&self) -> Result<Tensor> {
        Tensor::randn_with(self.shape(), (self.dtype(), self.device()))
    }

    /// [`randint`](Tensor::randint) in this tensor's shape, type and device
    /// ([`torch.randint_like`](https://pytorch.org/docs/stable/generated/torch.randint_like.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert!(Tensor::zeros([99])?.randint_like(3, 5)?.lt(5)?.all()?.item::<bool>()?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`randint`](Tensor::randint).
    #[track_caller]
    pub fn randint_like(&self, low: i64, high: i64) -> Result<Tensor> {
        Tensor::randint_with(low, high, self.shape(), (self.dtype(), self.device()))
    }

    /// Refilled with uniform numbers from `[from, to)`
    /// ([`torch.Tensor.uniform_`](https://pytorch.org/docs/stable/generated/torch.Tensor.uniform_.html)).
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let expected = Tensor::new([-0.00749f32, 0.53644, -0.82305])?;
    /// assert!(Tensor::empty([3])?.uniform_(-1.0, 1.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `from` is greater than `to`, for tensors that are not floating point, and as every
    /// [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn uniform_(&self, from: f64, to: f64) -> Result<Tensor> {
        self.check_inplace("uniform_")?;
        if self.on_cuda() && from <= to {
            let (kind, shape) = (
                Random::Uniform {
                    low: from,
                    high: to,
                },
                self.shape(),
            );
            let new = real_on_cuda("uniform_", kind, shape, self.dtype(), self.device())?;
            return self.assign("uniform_", new);
        }
        let new = fill_real!("uniform_", self.shape(), self.dtype(), |out| with_default(
            |g| g.uniform(out, from, to)
        ));
        self.assign("uniform_", new)
    }

    /// Refilled with numbers from the normal distribution of that mean and standard deviation
    /// ([`torch.Tensor.normal_`](https://pytorch.org/docs/stable/generated/torch.Tensor.normal_.html)).
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let expected = Tensor::new([13.08199f32, 9.41314, 5.64242])?;
    /// assert!(Tensor::empty([3])?.normal_(10.0, 2.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `std` is negative, for tensors that are not floating point, and as every
    /// [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn normal_(&self, mean: f64, std: f64) -> Result<Tensor> {
        self.check_inplace("normal_")?;
        if self.on_cuda() && std >= 0.0 {
            let (kind, shape) = (Random::Normal { mean, std }, self.shape());
            let new = real_on_cuda("normal_", kind, shape, self.dtype(), self.device())?;
            return self.assign("normal_", new);
        }
        let new = fill_real!("normal_", self.shape(), self.dtype(), |out| with_default(
            |g| g.normal(out, mean, std)
        ));
        self.assign("normal_", new)
    }

    /// Refilled with 1 with probability `p`, else 0
    /// ([`torch.Tensor.bernoulli_`](https://pytorch.org/docs/stable/generated/torch.Tensor.bernoulli_.html)).
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// assert_eq!(
    ///     Tensor::empty([5])?.bernoulli_(0.3)?.to_vec::<f32>()?,
    ///     [0.0, 0.0, 0.0, 0.0, 0.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `p` lies outside 0 to 1, and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn bernoulli_(&self, p: f64) -> Result<Tensor> {
        self.check_inplace("bernoulli_")?;
        if self.on_cuda() && (0.0..=1.0).contains(&p) {
            let (kind, shape) = (Random::Bernoulli { p }, self.shape());
            let new = cuda::random("bernoulli_", kind, shape, self.dtype(), self.device())?;
            return self.assign("bernoulli_", new);
        }
        let new = fill!(
            "bernoulli_",
            self.shape(),
            self.dtype(),
            |out| with_default(|g| g.bernoulli(out, p))
        );
        self.assign("bernoulli_", new)
    }

    /// Refilled with integers over the type's range (for floats, those it holds exactly)
    /// ([`torch.Tensor.random_`](https://pytorch.org/docs/stable/generated/torch.Tensor.random_.html)).
    ///
    /// ```standalone_crate
    /// use flambeau_core::{DType, Tensor, manual_seed};
    /// manual_seed(0);
    /// assert_eq!(
    ///     Tensor::zeros_with([3], DType::U8)?.random_()?.to_dtype(DType::I64)?.to_vec::<i64>()?,
    ///     [172, 47, 117]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn random_(&self) -> Result<Tensor> {
        self.check_inplace("random_")?;
        if self.dtype() == DType::Bool {
            return self.bernoulli_(0.5);
        }
        let new = fill!("random_", self.shape(), self.dtype(), |out| {
            with_default(|g| g.random(out));
            Ok(())
        });
        self.assign("random_", new)
    }

    /// Refilled with numbers from the exponential distribution of rate `lambda`
    /// ([`torch.Tensor.exponential_`](https://pytorch.org/docs/stable/generated/torch.Tensor.exponential_.html)).
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let expected = Tensor::new([1.75416f32, 0.61519, 0.30752])?;
    /// assert!(Tensor::empty([3])?.exponential_(2.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `lambda` is not above 0, for tensors that are not floating point, and as every
    /// [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn exponential_(&self, lambda: f64) -> Result<Tensor> {
        self.check_inplace("exponential_")?;
        let new = fill_real!("exponential_", self.shape(), self.dtype(), |out| {
            with_default(|g| g.exponential(out, lambda))
        });
        self.assign("exponential_", new)
    }

    /// 1 with the probability that each element gives, else 0
    /// ([`torch.bernoulli`](https://pytorch.org/docs/stable/generated/torch.bernoulli.html)); no
    /// gradient
    /// flows.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([0.0f32, 1.0])?.bernoulli()?.to_vec::<f32>()?, [0.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a probability lies outside 0 to 1.
    #[track_caller]
    pub fn bernoulli(&self) -> Result<Tensor> {
        let p = self
            .detach()
            .contiguous()?
            .to_dtype(if self.dtype() == DType::F64 {
                DType::F64
            } else {
                DType::F32
            })?;
        let p = p.cpu()?;
        let guard = p.read();
        let n = p.numel();
        let new = if p.dtype() == DType::F64 {
            fill!("bernoulli", self.shape(), self.dtype(), |out| {
                with_default(|g| g.bernoulli_each(out, &guard.slice::<f64>()[..n]))
            })
        } else {
            fill!("bernoulli", self.shape(), self.dtype(), |out| {
                with_default(|g| g.bernoulli_each(out, &guard.slice::<f32>()[..n]))
            })
        };
        new.to_device(self.device())
    }

    /// `num_samples` indices drawn from each row of weights
    /// ([`torch.multinomial`](https://pytorch.org/docs/stable/generated/torch.multinomial.html)),
    /// `i64`.
    ///
    /// PyTorch's default: `replacement` false.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let weights = Tensor::new([0.1f32, 0.7, 0.2])?;
    /// assert_eq!(weights.multinomial(4, true)?.to_vec::<i64>()?, [2, 1, 1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where weights are negative, not finite or sum to zero, or more are drawn
    /// without replacement than there are.
    #[track_caller]
    pub fn multinomial(&self, num_samples: usize, replacement: bool) -> Result<Tensor> {
        let (categories, shape) = match *self.shape() {
            [n] => (n, vec![num_samples]),
            [rows, n] => (n, vec![rows, num_samples]),
            _ => bail!(
                "multinomial",
                "weights must have one or two dimensions, not shape {:?}",
                self.shape()
            ),
        };
        let weights = self
            .detach()
            .contiguous()?
            .to_dtype(if self.dtype() == DType::F64 {
                DType::F64
            } else {
                DType::F32
            })?;
        let weights = weights.cpu()?;
        let guard = weights.read();
        let n = weights.numel();
        let drawn = with_default(|g| {
            if weights.dtype() == DType::F64 {
                g.multinomial(
                    &guard.slice::<f64>()[..n],
                    categories,
                    num_samples,
                    replacement,
                )
            } else {
                g.multinomial(
                    &guard.slice::<f32>()[..n],
                    categories,
                    num_samples,
                    replacement,
                )
            }
        });
        Tensor::from_vec(
            drawn.map_err(|e| Error::new("multinomial", e.to_string()))?,
            shape,
        )?
        .to_device(self.device())
    }
}

/// Numbers from the normal distribution
/// ([`torch.normal`](https://pytorch.org/docs/stable/generated/torch.normal.html) with numbers),
/// `f32`.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_core::random::normal;
/// manual_seed(0);
/// let expected = Tensor::new([13.08199f32, 9.41314])?;
/// assert!(normal(10.0, 2.0, [2])?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where `std` is negative, and as [`Tensor::zeros`].
#[track_caller]
pub fn normal(mean: impl Into<Scalar>, std: impl Into<Scalar>, size: impl Dims) -> Result<Tensor> {
    Tensor::empty(size)?.normal_(mean.into().to_f64(), std.into().to_f64())
}
