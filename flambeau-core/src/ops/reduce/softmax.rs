//! `softmax`, `log_softmax`, `logsumexp`.

use super::{around, expect_float, in_lane, kept_shape, reduced_last};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{lane_of, to_contiguous};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, numel, wrap_dims};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, cuda};
use flambeau_cpu::float::Float;
use flambeau_cpu::softmax as kernels;
use smallvec::smallvec;

#[derive(Debug)]
struct Softmax {
    dim: usize,
    log: bool,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let lane = lane_of(inputs[0].dtype());
        let x = in_lane(self.name(), inputs[0], lane)?;
        fn each<T: Float + Stored>(op: &Softmax, x: &Tensor) -> Result<Tensor> {
            let read = x.read();
            let (outer, n, inner) = around(x, op.dim);
            Tensor::build::<T>(op.name(), x.shape(), x.dtype(), |out| {
                let x = &read.slice::<T>()[..out.len()];
                if !out.is_empty() {
                    kernels::forward(x, out, [outer, n, inner], op.log);
                }
            })
        }
        let out = match lane {
            DType::F64 => each::<f64>(self, &x),
            _ => each::<f32>(self, &x),
        }?;
        if lane == inputs[0].dtype() {
            Ok(out.into())
        } else {
            Ok(to_contiguous(self.name(), &out, inputs[0].dtype())?.into())
        }
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (outer, n, inner) = around(inputs[0], self.dim);
        Ok(cuda::softmax(self.name(), self.log, inputs[0], [outer, n, inner])?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::OUTPUT
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let op = SoftmaxBackward {
            dim: self.dim,
            log: self.log,
        };
        Ok(smallvec![Some(dispatch::call(
            op,
            &[grad, &ctx.output()?]
        )?)])
    }
}

/// From the gradient `g` of the output and the output `y`: `(g - sum(g * y)) * y`, for the
/// logarithm `g - exp(y) * sum(g)`.
#[derive(Debug)]
struct SoftmaxBackward {
    dim: usize,
    log: bool,
}

impl SoftmaxBackward {
    /// The same over other operations, for what the kernels do not cover.
    fn composite(&self, g: &Tensor, y: &Tensor) -> Result<Tensor> {
        if self.log {
            g.sub(y.exp()?.mul(g.sum_dim(self.dim, true)?)?)
        } else {
            g.sub(g.mul(y)?.sum_dim(self.dim, true)?)?.mul(y)
        }
    }
}

impl Op for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax_backward"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (g, y) = (inputs[0], inputs[1]);
        let lane = y.dtype();
        if g.dtype() != lane || !matches!(lane, DType::F32 | DType::F64) {
            return Ok(self.composite(g, y)?.into());
        }
        let (g, y) = (
            in_lane(self.name(), g, lane)?,
            in_lane(self.name(), y, lane)?,
        );
        fn each<T: Float + Stored>(op: &SoftmaxBackward, g: &Tensor, y: &Tensor) -> Result<Tensor> {
            let (g_read, y_read) = (g.read(), y.read());
            let (outer, n, inner) = around(y, op.dim);
            Tensor::build::<T>(op.name(), y.shape(), y.dtype(), |out| {
                let g = &g_read.slice::<T>()[..out.len()];
                let y = &y_read.slice::<T>()[..out.len()];
                if !out.is_empty() {
                    kernels::backward(g, y, out, [outer, n, inner], op.log);
                }
            })
        }
        let out = match lane {
            DType::F64 => each::<f64>(self, &g, &y),
            _ => each::<f32>(self, &g, &y),
        }?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (g, y) = (inputs[0], inputs[1]);
        if g.dtype() != y.dtype() || g.shape() != y.shape() {
            return Ok(self.composite(g, y)?.into());
        }
        let (outer, n, inner) = around(y, self.dim);
        let out = cuda::softmax_backward(self.name(), self.log, (g, y), [outer, n, inner])?;
        Ok(out.into())
    }

    fn backward(&self, ctx: &Ctx<'_>, u: &Tensor) -> Result<Grads> {
        let (g, y) = (ctx.input(0)?, ctx.input(1)?);
        let sum = |t: &Tensor| t.sum_dim(self.dim, true);
        if self.log {
            // d/dg: u - sum(u * exp(y)); d/dy: -u * exp(y) * sum(g).
            let p = y.exp()?;
            let up = u.mul(&p)?;
            let dg = u.sub(sum(&up)?)?;
            Ok(smallvec![Some(dg), Some(up.mul(sum(&g)?.neg()?)?)])
        } else {
            // d/dg: the same map; d/dy: u * (g - sum(g * y)) - g * sum(u * y).
            let op = SoftmaxBackward {
                dim: self.dim,
                log: false,
            };
            let dg = dispatch::call(op, &[u, &y])?;
            let dy = u
                .mul(g.sub(sum(&g.mul(&y)?)?)?)?
                .sub(g.mul(sum(&u.mul(&y)?)?)?)?;
            Ok(smallvec![Some(dg), Some(dy)])
        }
    }
}

/// The logarithm of the sum of exponentials; reduced dimensions are kept as size 1.
#[derive(Debug)]
struct LogSumExp {
    dims: Shape,
}

impl LogSumExp {
    /// The same over other operations.
    fn composite(&self, x: &Tensor) -> Result<Output> {
        let max = x.amax(self.dims.clone(), true)?;
        // An infinite greatest element would turn into NaN.
        let finite = max.sub(&max)?.eq(0)?;
        let max = finite.where_(&max, 0.0)?;
        let sum = x.sub(&max)?.exp()?.sum_dim(self.dims.clone(), true)?;
        Ok(sum.log()?.add(&max)?.into())
    }
}

impl Op for LogSumExp {
    fn name(&self) -> &'static str {
        "logsumexp"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0].detach();
        if self.dims.iter().any(|&d| x.shape()[d] == 0) {
            let shape = kept_shape(x.shape(), &self.dims, true);
            return Ok(
                Tensor::full_with(shape, f64::NEG_INFINITY, (x.dtype(), x.device()))?.into(),
            );
        }
        if x.on_cuda() {
            return self.composite(&x);
        }
        // Neighbouring dimensions are one; others are moved together.
        let adjacent = self.dims.windows(2).all(|w| w[1] == w[0] + 1);
        let lane = lane_of(x.dtype());
        let shape = kept_shape(x.shape(), &self.dims, true);
        let (x, sizes) = if adjacent && !self.dims.is_empty() {
            let (first, last) = (self.dims[0], self.dims[self.dims.len() - 1]);
            let around = [
                &x.shape()[..first],
                &x.shape()[first..=last],
                &x.shape()[last + 1..],
            ];
            let sizes = around.map(numel);
            (in_lane(self.name(), &x, lane)?, sizes)
        } else {
            let (rows, n) = reduced_last(self.name(), &x, &self.dims, lane)?;
            (rows, [numel(&shape), n, 1])
        };
        fn each<T: Float + Stored>(
            op: &LogSumExp,
            x: &Tensor,
            sizes: [usize; 3],
            shape: &[usize],
        ) -> Result<Tensor> {
            let read = x.read();
            Tensor::build::<T>(op.name(), shape, x.dtype(), |out| {
                kernels::log_sum_exp(&read.slice::<T>()[..x.numel()], out, sizes);
            })
        }
        let out = match lane {
            DType::F64 => each::<f64>(self, &x, sizes, &shape),
            _ => each::<f32>(self, &x, sizes, &shape),
        }?;
        Ok(match lane == inputs[0].dtype() {
            true => out,
            false => to_contiguous(self.name(), &out, inputs[0].dtype())?,
        }
        .into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::OUTPUT.input(0)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let share = ctx.input(0)?.sub(ctx.output()?)?.exp()?;
        Ok(smallvec![Some(share.mul(grad)?)])
    }
}

impl Tensor {
    #[track_caller]
    fn softmax_of(&self, dim: i64, log: bool) -> Result<Tensor> {
        let name = if log { "log_softmax" } else { "softmax" };
        expect_float(name, self)?;
        let dim = self.dim_index(name, dim)?;
        dispatch::call(Softmax { dim, log }, &[self])
    }

    /// `exp(x)` over its sum along dimension `dim`
    /// ([`F.softmax`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html)):
    /// each slice sums to 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let p = Tensor::new([[1000.0f32, 1000.0], [0.0, f32::NEG_INFINITY]])?.softmax(1)?;
    /// assert_eq!(p.to_vec::<f32>()?, [0.5, 0.5, 1.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than floating-point tensors (convert with [`to_dtype`](Tensor::to_dtype), which
    /// is what PyTorch's `dtype` argument does), and where there is no such dimension.
    #[track_caller]
    pub fn softmax(&self, dim: i64) -> Result<Tensor> {
        self.softmax_of(dim, false)
    }

    /// The logarithm of [`softmax`](Tensor::softmax), exact where that would round to 0
    /// ([`F.log_softmax`](https://pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-1000.0f32, 0.0])?;
    /// let y = Tensor::new([0.0f32, 1000.0])?.log_softmax(0)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`softmax`](Tensor::softmax).
    #[track_caller]
    pub fn log_softmax(&self, dim: i64) -> Result<Tensor> {
        self.softmax_of(dim, true)
    }

    /// [`softmax`](Tensor::softmax) of the negative
    /// ([`F.softmin`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softmin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.73106f32, 0.26894])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.softmin(0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`softmax`](Tensor::softmax).
    #[track_caller]
    pub fn softmin(&self, dim: i64) -> Result<Tensor> {
        self.neg()?.softmax_of(dim, false)
    }

    /// [`softmax`](Tensor::softmax) computed in and returned as `dtype`.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::new([0i64, 0])?.softmax_with(0, DType::F32)?.to_vec::<f32>()?,
    ///     [0.5, 0.5]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `dtype` is not floating point, and where there is no such dimension.
    #[track_caller]
    pub fn softmax_with(&self, dim: i64, dtype: DType) -> Result<Tensor> {
        self.to_dtype(dtype)?.softmax(dim)
    }

    /// [`log_softmax`](Tensor::log_softmax) computed in and returned as `dtype`.
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// let expected = Tensor::new([-0.69315f32, -0.69315])?;
    /// let y = Tensor::new([0i64, 0])?.log_softmax_with(0, DType::F32)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`softmax_with`](Tensor::softmax_with).
    #[track_caller]
    pub fn log_softmax_with(&self, dim: i64, dtype: DType) -> Result<Tensor> {
        self.to_dtype(dtype)?.log_softmax(dim)
    }

    /// `log(sum(exp(x)))` over dimensions `dim` (all where empty), without overflow; integers
    /// become `f32`. Of nothing it is minus infinity
    /// ([`torch.logsumexp`](https://pytorch.org/docs/stable/generated/torch.logsumexp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([1000.0f32, 1000.0])?.logsumexp(0, false)?;
    /// assert!((y.item::<f32>()? - 1000.69318).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a dimension is out of range or named twice.
    #[track_caller]
    pub fn logsumexp(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let dims = wrap_dims("logsumexp", &dim.dims(), self.dim())?;
        let x = self.to_dtype(self.dtype().to_float())?;
        let out = dispatch::call(LogSumExp { dims: dims.clone() }, &[&x])?;
        if keepdim || dims.is_empty() {
            Ok(out)
        } else {
            out.drop_dims(&dims)
        }
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    type Along = fn(&Tensor, i64) -> Result<Tensor>;
    let along = |name: &'static str, f: Along| {
        OpSpec::new(name, format!("F.{name}"), move |a| {
            Ok(vec![f(a[0].tensor()?, a[1].int()?)?])
        })
        .dtypes(&[DType::F32, DType::F64, DType::BF16])
        .samples(
            [
                (&[3, 4][..], 1),
                (&[3, 4], 0),
                (&[2, 37], -1),
                (&[2, 3, 4], 1),
                (&[], 0),
                (&[0, 3], 1),
            ]
            .map(|(shape, d)| Sample::new(vec![Arg::uniform(shape, (-2.0, 2.0)), Arg::I(d)]))
            .to_vec(),
        )
    };
    vec![
        along("softmax", Tensor::softmax),
        along("log_softmax", Tensor::log_softmax),
        along("softmin", Tensor::softmin),
        OpSpec::new(
            "logsumexp",
            "lambda x, d, k: torch.logsumexp(x, tuple(d), keepdim=k)",
            |a| Ok(vec![a[0].tensor()?.logsumexp(a[1].list()?, a[2].bool()?)?]),
        )
        .samples(
            [
                (&[3, 4][..], &[0][..], false),
                (&[3, 4], &[0, 1], true),
                (&[2, 3, 4], &[1], false),
                (&[0, 2], &[0], false),
            ]
            .map(|(shape, d, k)| {
                Sample::new(vec![
                    Arg::uniform(shape, (-2.0, 2.0)),
                    Arg::L(d.to_vec()),
                    Arg::B(k),
                ])
            })
            .to_vec(),
        ),
    ]
}
