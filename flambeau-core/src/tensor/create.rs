//! Tensors from nothing: `zeros`, `ones`, `full`, `arange`, … and their random kin.

use super::Tensor;
use crate::dtype::{Element, Scalar, Stored};
use crate::shape::{Dims, sizes};
use crate::{DType, Device, Result, bail};
use flambeau_cpu::threads::parallel_slices_mut;

/// What a creation function leaves to choose: type and device. `Create::default()` is the function's
/// own type, on the [default device](crate::default_device).
///
/// ```
/// use flambeau_core::{Create, DType, Device, Tensor};
/// let half = Create { dtype: Some(DType::F16), ..Create::default() };
/// assert_eq!(Tensor::zeros_with([2], half)?.dtype(), DType::F16);
/// // A type, a device, or both will do as well.
/// assert_eq!(Tensor::zeros_with([2], (DType::I32, Device::Cpu))?.dtype(), DType::I32);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Create {
    /// The element type; `None` means the function's default.
    pub dtype: Option<DType>,
    /// The device.
    pub device: Device,
}

impl Default for Create {
    fn default() -> Create {
        Create {
            dtype: None,
            device: crate::default_device(),
        }
    }
}
impl From<DType> for Create {
    fn from(dtype: DType) -> Create {
        Create {
            dtype: Some(dtype),
            ..Create::default()
        }
    }
}
impl From<Device> for Create {
    fn from(device: Device) -> Create {
        Create {
            dtype: None,
            device,
        }
    }
}
impl From<(DType, Device)> for Create {
    fn from((dtype, device): (DType, Device)) -> Create {
        Create {
            dtype: Some(dtype),
            device,
        }
    }
}

impl Tensor {
    /// `size` zeros of type `f32`
    /// ([`torch.zeros`](https://pytorch.org/docs/stable/generated/torch.zeros.html)).
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::zeros([2, 3])?.shape(), [2, 3]);
    /// assert_eq!(Tensor::zeros_with([2], DType::I64)?.to_vec::<i64>()?, [0, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For negative sizes and where memory does not suffice.
    #[track_caller]
    pub fn zeros(size: impl Dims) -> Result<Tensor> {
        Tensor::zeros_with(size, Create::default())
    }

    /// [`zeros`](Tensor::zeros) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::zeros_with([2], DType::I64)?.to_vec::<i64>()?, [0, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros`](Tensor::zeros), and where the device is not there.
    #[track_caller]
    pub fn zeros_with(size: impl Dims, options: impl Into<Create>) -> Result<Tensor> {
        let options = options.into();
        Tensor::full_with(
            size,
            0,
            Create {
                dtype: Some(options.dtype.unwrap_or(DType::F32)),
                ..options
            },
        )
    }

    /// `size` ones of type `f32`
    /// ([`torch.ones`](https://pytorch.org/docs/stable/generated/torch.ones.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::ones([2, 2])?.to_vec2::<f32>()?, [[1.0, 1.0], [1.0, 1.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros`](Tensor::zeros).
    #[track_caller]
    pub fn ones(size: impl Dims) -> Result<Tensor> {
        Tensor::ones_with(size, Create::default())
    }

    /// [`ones`](Tensor::ones) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::ones_with([2], DType::F64)?.to_vec::<f64>()?, [1.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros_with`](Tensor::zeros_with).
    #[track_caller]
    pub fn ones_with(size: impl Dims, options: impl Into<Create>) -> Result<Tensor> {
        let options = options.into();
        Tensor::full_with(
            size,
            1,
            Create {
                dtype: Some(options.dtype.unwrap_or(DType::F32)),
                ..options
            },
        )
    }

    /// `size` copies of `value`, of the value's own type: bool, `i64` or `f32`
    /// ([`torch.full`](https://pytorch.org/docs/stable/generated/torch.full.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::full([3], 0.5)?.to_vec::<f32>()?, [0.5, 0.5, 0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros`](Tensor::zeros).
    #[track_caller]
    pub fn full(size: impl Dims, value: impl Into<Scalar>) -> Result<Tensor> {
        Tensor::full_with(size, value, Create::default())
    }

    /// [`full`](Tensor::full) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::full_with([2], 7, DType::F64)?.to_vec::<f64>()?, [7.0, 7.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros_with`](Tensor::zeros_with).
    #[track_caller]
    pub fn full_with(
        size: impl Dims,
        value: impl Into<Scalar>,
        options: impl Into<Create>,
    ) -> Result<Tensor> {
        let (value, options) = (value.into(), options.into());
        options.device.check()?;
        Tensor::filled(&sizes("full", size)?, value, options)
    }

    #[track_caller]
    fn filled(shape: &[usize], value: Scalar, options: Create) -> Result<Tensor> {
        let dtype = options.dtype.unwrap_or(value.dtype());
        if options.device != Device::Cpu {
            return crate::cuda::fill("full", shape, dtype, options.device, value);
        }
        crate::with_stored!(dtype, T => {
            let v: T = if dtype == DType::Bool {
                T::from_i64((value.to_f64() != 0.0) as i64)
            } else {
                match value {
                    Scalar::Float(f) => T::from_f64(f),
                    other => T::from_i64(other.to_i64()),
                }
            };
            Tensor::build::<T>("full", shape, dtype, |out| {
                parallel_slices_mut(out, 64, 1 << 15, |_, out| out.fill(v));
            })
        })
    }

    /// A tensor whose elements are arbitrary
    /// ([`torch.empty`](https://pytorch.org/docs/stable/generated/torch.empty.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::empty([2, 3])?.shape(), [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros`](Tensor::zeros).
    #[track_caller]
    pub fn empty(size: impl Dims) -> Result<Tensor> {
        Tensor::empty_with(size, Create::default())
    }

    /// [`empty`](Tensor::empty) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::empty_with([2], DType::I64)?.dtype(), DType::I64);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`zeros_with`](Tensor::zeros_with).
    #[track_caller]
    pub fn empty_with(size: impl Dims, options: impl Into<Create>) -> Result<Tensor> {
        Tensor::uninit(&size, options.into())
    }

    #[track_caller]
    fn uninit(size: &dyn Dims, options: Create) -> Result<Tensor> {
        options.device.check()?;
        let (shape, dtype) = (sizes("empty", size)?, options.dtype.unwrap_or(DType::F32));
        if dtype == DType::Bool {
            return Tensor::filled(&shape, false.into(), options);
        }
        if options.device != Device::Cpu {
            return crate::cuda::build("empty", &shape, dtype, options.device, |_| Ok(()));
        }
        crate::with_stored!(dtype, T => Tensor::build::<T>("empty", &shape, dtype, |_| ()))
    }

    /// Zeros of this tensor's shape, type and device
    /// ([`torch.zeros_like`](https://pytorch.org/docs/stable/generated/torch.zeros_like.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.zeros_like()?.to_vec::<i64>()?, [0, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn zeros_like(&self) -> Result<Tensor> {
        Ok(Tensor::zeros_with(self.shape(), (self.dtype(), self.device()))?.in_layout_of(self))
    }

    /// Ones of this tensor's shape, type and device
    /// ([`torch.ones_like`](https://pytorch.org/docs/stable/generated/torch.ones_like.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.ones_like()?.to_vec::<i64>()?, [1, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn ones_like(&self) -> Result<Tensor> {
        Ok(Tensor::ones_with(self.shape(), (self.dtype(), self.device()))?.in_layout_of(self))
    }

    /// Zeros of this tensor's shape; type and device are its own where `options` say nothing else.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::new([1i64, 2])?.zeros_like_with(DType::F32)?.to_vec::<f32>()?,
    ///     [0.0, 0.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn zeros_like_with(&self, options: impl Into<Create>) -> Result<Tensor> {
        Ok(Tensor::zeros_with(self.shape(), self.like(options))?.in_layout_of(self))
    }

    /// Ones of this tensor's shape; type and device are its own where `options` say nothing else.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::new([1i64, 2])?.ones_like_with(DType::F32)?.to_vec::<f32>()?,
    ///     [1.0, 1.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn ones_like_with(&self, options: impl Into<Create>) -> Result<Tensor> {
        Ok(Tensor::ones_with(self.shape(), self.like(options))?.in_layout_of(self))
    }

    /// Arbitrary elements of this tensor's shape; type and device are its own where `options` say nothing else.
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn empty_like_with(&self, options: impl Into<Create>) -> Result<Tensor> {
        Ok(Tensor::empty_with(self.shape(), self.like(options))?.in_layout_of(self))
    }

    /// Copies of `value` in this tensor's shape, type and device
    /// ([`torch.full_like`](https://pytorch.org/docs/stable/generated/torch.full_like.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.full_like(7)?.to_vec::<i64>()?, [7, 7]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn full_like(&self, value: impl Into<Scalar>) -> Result<Tensor> {
        Ok(
            Tensor::full_with(self.shape(), value, (self.dtype(), self.device()))?
                .in_layout_of(self),
        )
    }

    /// Copies of `value` in this tensor's shape; type and device are its own where `options` say
    /// nothing else.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::new([1i64, 2])?.full_like_with(0.5, DType::F32)?.to_vec::<f32>()?,
    ///     [0.5, 0.5]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn full_like_with(
        &self,
        value: impl Into<Scalar>,
        options: impl Into<Create>,
    ) -> Result<Tensor> {
        Ok(Tensor::full_with(self.shape(), value, self.like(options))?.in_layout_of(self))
    }

    fn like(&self, options: impl Into<Create>) -> Create {
        let options = options.into();
        Create {
            dtype: Some(options.dtype.unwrap_or(self.dtype())),
            ..options
        }
    }

    /// Arbitrary elements in this tensor's shape, type and device
    /// ([`torch.empty_like`](https://pytorch.org/docs/stable/generated/torch.empty_like.html)).
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::new([1i64, 2])?.empty_like()?.dtype(), DType::I64);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn empty_like(&self) -> Result<Tensor> {
        Ok(Tensor::empty_with(self.shape(), (self.dtype(), self.device()))?.in_layout_of(self))
    }

    /// The numbers from `start` to before `end` in steps of `step`
    /// ([`torch.arange`](https://pytorch.org/docs/stable/generated/torch.arange.html)): `i64` where
    /// all three are integers, else `f32`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::arange(1, 8, 3)?.to_vec::<i64>()?, [1, 4, 7]);
    /// assert_eq!(Tensor::arange(0.0, 1.0, 0.25)?.to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `step` is zero or leads away from `end`, or a bound is not finite.
    #[track_caller]
    pub fn arange(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        step: impl Into<Scalar>,
    ) -> Result<Tensor> {
        Tensor::arange_with(start, end, step, Create::default())
    }

    /// [`arange`](Tensor::arange) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::arange_with(0, 3, 1, DType::F32)?.to_vec::<f32>()?, [0.0, 1.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`arange`](Tensor::arange), and where the device is not there.
    #[track_caller]
    pub fn arange_with(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        step: impl Into<Scalar>,
        options: impl Into<Create>,
    ) -> Result<Tensor> {
        Tensor::progression([start.into(), end.into(), step.into()], options.into())
    }

    #[track_caller]
    fn progression([start, end, step]: [Scalar; 3], options: Create) -> Result<Tensor> {
        options.device.check()?;
        let integers = [start, end, step]
            .iter()
            .all(|s| !matches!(s, Scalar::Float(_)));
        let dtype = options
            .dtype
            .unwrap_or(if integers { DType::I64 } else { DType::F32 });
        let (a, b, s) = (start.to_f64(), end.to_f64(), step.to_f64());
        if s == 0.0 || !(a.is_finite() && b.is_finite() && s.is_finite()) {
            bail!(
                "arange",
                "bounds must be finite and the step not zero; got {a} to {b} by {s}"
            );
        }
        if (b - a) * s < 0.0 {
            bail!(
                "arange",
                "a step of {s} leads away from {b}, starting at {a}"
            );
        }
        let n = if integers {
            let (a, b, s) = (start.to_i64(), end.to_i64(), step.to_i64());
            (b as i128 - a as i128)
                .unsigned_abs()
                .div_ceil(s.unsigned_abs() as u128) as usize
        } else {
            ((b - a) / s).ceil() as usize
        };
        let shape = sizes("arange", [n])?;
        let out = crate::with_stored!(dtype, T => Tensor::build::<T>("arange", &shape, dtype, |out| {
            let whole = integers || dtype.is_integer();
            let (start, step) = (start.to_i64(), step.to_i64());
            parallel_slices_mut(out, 64, 1 << 15, |first, out| {
                flambeau_cpu::simd::dispatch(
                    #[inline(always)]
                    || {
                        if whole {
                            for (i, o) in out.iter_mut().enumerate() {
                                let i = (first + i) as i64;
                                *o = T::from_i64(start.wrapping_add(step.wrapping_mul(i)));
                            }
                        } else {
                            for (i, o) in out.iter_mut().enumerate() {
                                *o = T::from_f64(a + s * (first + i) as f64);
                            }
                        }
                    },
                );
            });
        }))?;
        out.to_device(options.device)
    }

    /// `steps` numbers evenly spaced from `start` to `end`, both included
    /// ([`torch.linspace`](https://pytorch.org/docs/stable/generated/torch.linspace.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5)?.to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize) -> Result<Tensor> {
        Tensor::linspace_with(start, end, steps, Create::default())
    }

    /// [`linspace`](Tensor::linspace) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::linspace_with(0.0, 1.0, 3, DType::F64)?.to_vec::<f64>()?,
    ///     [0.0, 0.5, 1.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn linspace_with(
        start: f64,
        end: f64,
        steps: usize,
        options: impl Into<Create>,
    ) -> Result<Tensor> {
        let options = options.into();
        options.device.check()?;
        let (shape, dtype) = (
            sizes("linspace", [steps])?,
            options.dtype.unwrap_or(DType::F32),
        );
        // From both ends towards the middle, in the result's own precision, as PyTorch does.
        let out = crate::with_stored!(dtype, T => Tensor::build::<T>("linspace", &shape, dtype, |out| {
            let n = out.len();
            let (start, end) = if dtype.is_integer() { (start.trunc(), end.trunc()) } else { (start, end) };
            let step = (end - start) / (n.max(2) - 1) as f64;
            for (i, o) in out.iter_mut().enumerate() {
                *o = if dtype == DType::F64 || dtype.is_integer() {
                    T::from_f64(if i < n / 2 { start + step * i as f64 } else { end - step * (n - 1 - i) as f64 })
                } else {
                    let (a, b) = (start as f32, end as f32);
                    let s = (b - a) / (n.max(2) - 1) as f32;
                    T::from_f32(if i < n / 2 { a + s * i as f32 } else { b - s * (n - 1 - i) as f32 })
                };
            }
            if n == 1 {
                out[0] = T::from_f64(start);
            }
        }))?;
        out.to_device(options.device)
    }

    /// `steps` powers of `base`, their exponents evenly spaced from `start` to `end`, both included
    /// ([`torch.logspace`](https://pytorch.org/docs/stable/generated/torch.logspace.html), whose
    /// base is 10 where not given).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::logspace(0.0, 2.0, 3, 10.0)?.to_vec::<f32>()?, [1.0, 10.0, 100.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn logspace(start: f64, end: f64, steps: usize, base: f64) -> Result<Tensor> {
        Tensor::logspace_with(start, end, steps, base, Create::default())
    }

    /// [`logspace`](Tensor::logspace) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::logspace_with(0.0, 3.0, 4, 2.0, DType::I64)?.to_vec::<i64>()?,
    ///     [1, 2, 4, 8]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn logspace_with(
        start: f64,
        end: f64,
        steps: usize,
        base: f64,
        options: impl Into<Create>,
    ) -> Result<Tensor> {
        let options = options.into();
        options.device.check()?;
        let (shape, dtype) = (
            sizes("logspace", [steps])?,
            options.dtype.unwrap_or(DType::F32),
        );
        let out = crate::with_stored!(dtype, T => Tensor::build::<T>("logspace", &shape, dtype, |out| {
            let n = out.len();
            let step = (end - start) / (n.max(2) - 1) as f64;
            for (i, o) in out.iter_mut().enumerate() {
                let exponent = if n == 1 || i < n / 2 { start + step * i as f64 } else { end - step * (n - 1 - i) as f64 };
                *o = T::from_f64(base.powf(exponent));
            }
        }))?;
        out.to_device(options.device)
    }

    /// The `n` by `m` matrix of type `f32` with ones on the diagonal
    /// ([`torch.eye`](https://pytorch.org/docs/stable/generated/torch.eye.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::eye(2, 3)?.to_vec2::<f32>()?, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn eye(n: usize, m: usize) -> Result<Tensor> {
        Tensor::eye_with(n, m, Create::default())
    }

    /// [`eye`](Tensor::eye) of a given type or device.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(Tensor::eye_with(2, 2, DType::I64)?.to_vec2::<i64>()?, [[1, 0], [0, 1]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not there.
    #[track_caller]
    pub fn eye_with(n: usize, m: usize, options: impl Into<Create>) -> Result<Tensor> {
        let options = options.into();
        options.device.check()?;
        let (shape, dtype) = (sizes("eye", [n, m])?, options.dtype.unwrap_or(DType::F32));
        let out = crate::with_stored!(dtype, T => Tensor::build::<T>("eye", &shape, dtype, |out| {
            out.fill(T::default());
            out.iter_mut()
                .step_by(m + 1)
                .take(n.min(m))
                .for_each(|o| *o = T::from_i64(1));
        }))?;
        out.to_device(options.device)
    }

    /// Rows and columns of the lower triangle of a `row` by `column` matrix, on and below the
    /// diagonal `offset`, as an `i64` tensor of two rows
    /// ([`torch.tril_indices`](https://pytorch.org/docs/stable/generated/torch.tril_indices.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::tril_indices(2, 3, 0)?.to_vec2::<i64>()?, [[0, 1, 1], [0, 0, 1]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn tril_indices(row: usize, column: usize, offset: i64) -> Result<Tensor> {
        let count = clamped(row, offset as i128 + 1, column);
        let first = row.min(usize::try_from(offset.saturating_neg()).unwrap_or(0));
        triangle("tril_indices", first..row, count, |i| {
            0..within(i as i128 + offset as i128 + 1, column)
        })
    }

    /// The same of the upper triangle, on and above the diagonal
    /// ([`torch.triu_indices`](https://pytorch.org/docs/stable/generated/torch.triu_indices.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::triu_indices(2, 3, 1)?.to_vec2::<i64>()?, [[0, 0, 1], [1, 2, 2]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn triu_indices(row: usize, column: usize, offset: i64) -> Result<Tensor> {
        let above = clamped(row, offset as i128, column);
        let count = (row as u128)
            .saturating_mul(column as u128)
            .saturating_sub(above);
        triangle("triu_indices", 0..row, count, |i| {
            within(i as i128 + offset as i128, column)..column
        })
    }

    /// Coordinate grids over vectors: output `k` varies along dimension `k` with `tensors[k]`
    /// ([`torch.meshgrid`](https://pytorch.org/docs/stable/generated/torch.meshgrid.html),
    /// `indexing="ij"`). Views of the inputs.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let grid = Tensor::meshgrid(&[&Tensor::new([1i64, 2])?, &Tensor::new([5i64, 6, 7])?])?;
    /// assert_eq!(grid[0].to_vec2::<i64>()?, [[1, 1, 1], [2, 2, 2]]);
    /// assert_eq!(grid[1].to_vec2::<i64>()?, [[5, 6, 7], [5, 6, 7]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an input has more than one dimension, or types differ.
    #[track_caller]
    pub fn meshgrid(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
        let mut shape = Vec::with_capacity(tensors.len());
        for (k, t) in tensors.iter().enumerate() {
            if t.dim() > 1 || t.dtype() != tensors[0].dtype() {
                bail!(
                    "meshgrid",
                    "input {k} has shape {:?} and type {}; vectors of one type are needed, and the first is {}",
                    t.shape(),
                    t.dtype(),
                    tensors[0].dtype()
                );
            }
            shape.push(t.numel());
        }
        let grid = |(k, t): (usize, &&Tensor)| {
            let mut own = vec![1; shape.len()];
            own[k] = shape[k];
            t.view(own)?.expand(&shape)
        };
        tensors.iter().enumerate().map(grid).collect()
    }

    /// A 0-d tensor of one number.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::scalar(2.5f32)?;
    /// assert_eq!((x.dim(), x.item::<f32>()?), (0, 2.5));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn scalar<T: Element>(value: T) -> Result<Tensor> {
        Tensor::build::<T::Stored>("tensor", &[], T::DTYPE, |out| out[0] = value.store())
    }
}

fn within(v: i128, size: usize) -> usize {
    v.clamp(0, size as i128) as usize
}

/// The sum over rows `i` below `rows` of `i + shift`, each cut to 0 to `size`.
fn clamped(rows: usize, shift: i128, size: usize) -> u128 {
    let (rows, size) = (rows as i128, size as i128);
    // Rows from `first` on are above 0, from `full` on at `size`.
    let first = (-shift).clamp(0, rows);
    let full = (size - shift).clamp(first, rows);
    let slope = (full - first).saturating_mul(2 * shift + first + full - 1) / 2;
    slope
        .saturating_add((rows - full).saturating_mul(size))
        .max(0) as u128
}

/// The places of the columns, `count` altogether, that `columns` gives for each of `rows`.
#[track_caller]
fn triangle(
    op: &'static str,
    rows: std::ops::Range<usize>,
    count: u128,
    columns: impl Fn(usize) -> std::ops::Range<usize>,
) -> Result<Tensor> {
    let n = usize::try_from(count).unwrap_or(usize::MAX);
    let shape = sizes(op, [2, n])?;
    let places = rows.flat_map(|i| columns(i).map(move |j| (i as i64, j as i64)));
    Tensor::build::<i64>(op, &shape, DType::I64, |out| {
        let (rows, cols) = out.split_at_mut(n);
        for ((r, c), (i, j)) in rows.iter_mut().zip(cols).zip(places) {
            (*r, *c) = (i, j);
        }
    })
}
