//! Variance, standard deviation and norms.

use super::{count, expect_float, kept_shape, reduced_last};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{lane_of, to_contiguous};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, wrap_dims};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, cuda};
use flambeau_cpu::fold::{Fold, SUM_F32, SUM_F64, fold_rows};
use flambeau_cpu::reduce::{sum_map_f32, sum_map_f64};
use flambeau_cuda::kernels::Reduce;
use smallvec::smallvec;

/// The sums of squared distances from the mean of each row of so many elements.
type Squares<T> = fn(&[T], usize, &[T], &mut [T]);

flambeau_cpu::simd_fn! {
    fn squares_f32(x: &[f32], n: usize, means: &[f32], out: &mut [f32]) {
        for ((x, &mean), o) in x.chunks_exact(n).zip(means).zip(out) {
            *o = sum_map_f32(x, mean, |v| (v - mean) * (v - mean));
        }
    }
    fn squares_f64(x: &[f64], n: usize, means: &[f64], out: &mut [f64]) {
        for ((x, &mean), o) in x.chunks_exact(n).zip(means).zip(out) {
            *o = sum_map_f64(x, mean, |v| (v - mean) * (v - mean));
        }
    }
}

/// What is made of the sum of squares over `dims`.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Distances from the mean, over their number less `correction`.
    Var { correction: f64 },
    /// The root of that.
    Std { correction: f64 },
    /// The root of the sum of squares itself.
    Norm,
}

/// A second moment; reduced dimensions are kept as size 1.
#[derive(Debug)]
struct Second {
    moment: Moment,
    dims: Shape,
}

impl Op for Second {
    fn name(&self) -> &'static str {
        match self.moment {
            Moment::Var { .. } => "var",
            Moment::Std { .. } => "std",
            Moment::Norm => "norm",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let shape = kept_shape(x.shape(), &self.dims, true);
        let lane = lane_of(x.dtype());
        let (rows, n) = reduced_last(self.name(), x, &self.dims, lane)?;
        let finish = |sum: f64| match self.moment {
            Moment::Var { correction } => sum / (n as f64 - correction).max(0.0),
            Moment::Std { correction } => (sum / (n as f64 - correction).max(0.0)).sqrt(),
            Moment::Norm => sum.sqrt(),
        };
        let out = if lane == DType::F64 {
            self.rows(&rows, n, &shape, lane, &SUM_F64, squares_f64, finish)
        } else {
            self.rows(&rows, n, &shape, lane, &SUM_F32, squares_f32, finish)
        }?;
        let out = if lane == x.dtype() {
            out
        } else {
            to_contiguous(self.name(), &out, x.dtype())?
        };
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let kind = match self.moment {
            Moment::Var { correction } => Reduce::Var { correction },
            Moment::Std { correction } => Reduce::Std { correction },
            Moment::Norm => Reduce::Norm2,
        };
        let x = inputs[0];
        Ok(cuda::reduce(self.name(), kind, x, &self.dims, x.dtype())?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        match self.moment {
            Moment::Var { .. } => Saves::INPUTS,
            _ => Saves::OUTPUT.input(0),
        }
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let x = ctx.input(0)?;
        // At zero the root has no slope; the gradient there is 0, as in PyTorch.
        let per_root = || {
            let root = ctx.output()?;
            root.eq(0)?.where_(0.0, grad.div(&root)?)
        };
        let n = count(x.shape(), &self.dims);
        let distances = || x.sub(x.mean_dim(self.dims.clone(), true)?);
        let g = match self.moment {
            Moment::Var { correction } => {
                let scale = 2.0 / (n as f64 - correction).max(0.0);
                distances()?.mul(grad.mul(scale)?)?
            }
            Moment::Std { correction } => {
                let scale = 1.0 / (n as f64 - correction).max(0.0);
                distances()?.mul(per_root()?.mul(scale)?)?
            }
            Moment::Norm => x.mul(per_root()?)?,
        };
        Ok(smallvec![Some(g)])
    }
}

impl Second {
    #[allow(clippy::too_many_arguments)]
    fn rows<T: Stored>(
        &self,
        rows: &Tensor,
        n: usize,
        shape: &[usize],
        lane: DType,
        sum: &Fold<T>,
        squares: Squares<T>,
        finish: impl Fn(f64) -> f64,
    ) -> Result<Tensor> {
        let read = rows.read();
        let x = &read.slice::<T>()[..rows.numel()];
        Tensor::build::<T>(self.name(), shape, lane, |out| {
            let mut means = vec![T::default(); out.len()];
            if !matches!(self.moment, Moment::Norm) {
                sum.run(x, n, 1, &mut means);
                for m in &mut means {
                    *m = T::from_f64(m.to_f64() / n as f64);
                }
            }
            if n > 0 {
                let of_rows = |row: usize, x: &[T], out: &mut [T]| {
                    squares(x, x.len() / out.len(), &means[row..], out);
                };
                fold_rows(x, n, out, of_rows, |parts, out| {
                    sum.run(parts, parts.len(), 1, out)
                });
            } else {
                out.fill(T::default());
            }
            for o in out {
                *o = T::from_f64(finish(o.to_f64()));
            }
        })
    }
}

impl Tensor {
    #[track_caller]
    fn second(
        &self,
        op: &'static str,
        moment: Moment,
        dim: impl Dims,
        keepdim: bool,
    ) -> Result<Tensor> {
        expect_float(op, self)?;
        let dims = wrap_dims(op, &dim.dims(), self.dim())?;
        let second = Second {
            moment,
            dims: dims.clone(),
        };
        let out = dispatch::call(second, &[self])?;
        if keepdim || dims.is_empty() {
            Ok(out)
        } else {
            out.drop_dims(&dims)
        }
    }

    /// The variance of all elements, dividing by their number less 1
    /// ([`torch.var`](https://pytorch.org/docs/stable/generated/torch.var.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, 3.0, 5.0])?.var()?.item::<f32>()?, 4.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than floating-point tensors.
    #[track_caller]
    pub fn var(&self) -> Result<Tensor> {
        self.var_dim((), 1.0, false)
    }

    /// The variance over dimensions `dim` (all where empty), dividing by their number less
    /// `correction`: PyTorch's default is 1, `unbiased=False` is 0. Without a degree of freedom
    /// it is NaN or infinite
    /// ([`torch.var`](https://pytorch.org/docs/stable/generated/torch.var.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1.0f32, 3.0], [2.0, 6.0]])?;
    /// assert_eq!(x.var_dim(1, 1.0, false)?.to_vec::<f32>()?, [2.0, 8.0]);
    /// assert_eq!(x.var_dim(1, 0.0, false)?.to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than floating-point tensors, and dimensions out of range.
    #[track_caller]
    pub fn var_dim(&self, dim: impl Dims, correction: f64, keepdim: bool) -> Result<Tensor> {
        self.second("var", Moment::Var { correction }, dim, keepdim)
    }

    /// The standard deviation of all elements: the root of [`var`](Tensor::var)
    /// ([`torch.std`](https://pytorch.org/docs/stable/generated/torch.std.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, 3.0, 5.0])?.std()?.item::<f32>()?, 2.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`var`](Tensor::var).
    #[track_caller]
    pub fn std(&self) -> Result<Tensor> {
        self.std_dim((), 1.0, false)
    }

    /// The standard deviation over dimensions: the root of [`var_dim`](Tensor::var_dim)
    /// ([`torch.std`](https://pytorch.org/docs/stable/generated/torch.std.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.41421f32, 2.82843])?;
    /// let y = Tensor::new([[1.0f32, 3.0], [2.0, 6.0]])?.std_dim(1, 1.0, false)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`var_dim`](Tensor::var_dim).
    #[track_caller]
    pub fn std_dim(&self, dim: impl Dims, correction: f64, keepdim: bool) -> Result<Tensor> {
        self.second("std", Moment::Std { correction }, dim, keepdim)
    }

    /// Variance and mean over dimensions
    /// ([`torch.var_mean`](https://pytorch.org/docs/stable/generated/torch.var_mean.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (var, mean) = Tensor::new([1.0f32, 3.0, 5.0])?.var_mean((), 1.0, false)?;
    /// assert_eq!((var.item::<f32>()?, mean.item::<f32>()?), (4.0, 3.0));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`var_dim`](Tensor::var_dim).
    #[track_caller]
    pub fn var_mean(
        &self,
        dim: impl Dims,
        correction: f64,
        keepdim: bool,
    ) -> Result<(Tensor, Tensor)> {
        Ok((
            self.var_dim(&dim, correction, keepdim)?,
            self.mean_dim(&dim, keepdim)?,
        ))
    }

    /// Standard deviation and mean over dimensions
    /// ([`torch.std_mean`](https://pytorch.org/docs/stable/generated/torch.std_mean.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (std, mean) = Tensor::new([1.0f32, 3.0, 5.0])?.std_mean((), 1.0, false)?;
    /// assert_eq!((std.item::<f32>()?, mean.item::<f32>()?), (2.0, 3.0));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`var_dim`](Tensor::var_dim).
    #[track_caller]
    pub fn std_mean(
        &self,
        dim: impl Dims,
        correction: f64,
        keepdim: bool,
    ) -> Result<(Tensor, Tensor)> {
        Ok((
            self.std_dim(&dim, correction, keepdim)?,
            self.mean_dim(&dim, keepdim)?,
        ))
    }

    /// The `p`-norm over dimensions `dim` (all where empty), for real `p`
    /// ([`torch.linalg.vector_norm`](https://pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html),
    /// [`torch.norm`](https://pytorch.org/docs/stable/generated/torch.norm.html)): infinity gives
    /// the greatest absolute value,
    /// minus infinity the least, 0 the count of nonzero elements.
    ///
    /// PyTorch's defaults: `p` 2, `dim` none, `keepdim` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([3.0f32, -4.0])?;
    /// assert_eq!(x.norm(2.0, (), false)?.item::<f32>()?, 5.0);
    /// assert_eq!(x.norm(f64::INFINITY, (), false)?.item::<f32>()?, 4.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than floating-point tensors, dimensions out of range, and infinite or negative `p`
    /// where there are no elements.
    #[track_caller]
    pub fn norm(&self, p: f64, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        expect_float("norm", self)?;
        if p == 2.0 {
            return self.second("norm", Moment::Norm, dim, keepdim);
        }
        let dim = dim.dims().to_vec();
        if p == f64::INFINITY {
            self.abs()?.amax(dim, keepdim)
        } else if p == f64::NEG_INFINITY {
            self.abs()?.amin(dim, keepdim)
        } else if p == 1.0 {
            self.abs()?.sum_dim(dim, keepdim)
        } else if p == 0.0 {
            // Nowhere a slope, but a gradient: zeros.
            let flat = self.sign()?.mul(0.0)?;
            flat.add(&self.ne(0)?.to_dtype(self.dtype())?)?
                .sum_dim(dim, keepdim)
        } else {
            self.power_norm(p, dim, keepdim)
        }
    }

    /// The `p`-th root of the sum of `p`-th powers. Zeros, where a power or the root may have no
    /// slope, are kept out of both and get a gradient of zero, as in PyTorch.
    #[track_caller]
    fn power_norm(&self, p: f64, dim: Vec<i64>, keepdim: bool) -> Result<Tensor> {
        if p.is_nan() {
            crate::bail!("norm", "p is not a number");
        }
        if p < 0.0 && self.numel() == 0 {
            crate::bail!(
                "norm",
                "there are no elements in shape {:?}, and no norm of negative p {p} of none",
                self.shape()
            );
        }
        let zero = self.eq(0)?;
        let power = if p > 0.0 { 0.0 } else { f64::INFINITY };
        let sum = self
            .abs()?
            .masked_fill(&zero, 1.0)?
            .pow(p)?
            .masked_fill(&zero, power)?
            .sum_dim(dim, keepdim)?;
        let zero = sum.eq(0)?;
        sum.masked_fill(&zero, 1.0)?
            .pow(1.0 / p)?
            .masked_fill(&zero, 0.0)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    type Var = fn(&Tensor, &[i64], f64, bool) -> Result<Vec<Tensor>>;
    let var = |name: &'static str, f: Var| {
        let torch = format!(
            "lambda x, d, c, k: torch.{name}(x, dim=tuple(d) if d else None, correction=c, keepdim=k)"
        );
        OpSpec::new(name, torch, move |a| {
            f(a[0].tensor()?, a[1].list()?, a[2].float()?, a[3].bool()?)
        })
        .samples(
            [
                (&[3, 4][..], &[][..], 1.0, false),
                (&[3, 4], &[0], 0.0, true),
                (&[2, 3, 4], &[0, 2], 1.0, false),
                (&[2, 3, 4], &[-1], 2.0, false),
            ]
            .map(|(shape, d, c, k)| {
                Sample::new(vec![
                    Arg::uniform(shape, (-2.0, 2.0)),
                    Arg::L(d.to_vec()),
                    Arg::F(c),
                    Arg::B(k),
                ])
            })
            .to_vec(),
        )
    };
    let infinity = f64::INFINITY;
    let norms = [2.0, 1.0, infinity, -infinity, 0.0, 0.5, 1.5, 3.0, -2.0]
        .into_iter()
        .flat_map(|p| {
            let options = move |x: Arg, d: &[i64], k: bool| {
                Sample::new(vec![x, Arg::F(p), Arg::L(d.to_vec()), Arg::B(k)])
            };
            let zeros = Arg::values([2, 3], &[0.0, -1.5, 2.5, 0.0, 0.0, 0.0]);
            [
                options(Arg::uniform([3, 4], (0.3, 2.0)), &[], false),
                options(Arg::uniform([3, 4], (-2.0, -0.3)), &[1], true),
                options(zeros, &[1], false).kinked(),
            ]
        })
        .collect();
    vec![
        var("var", |x, d, c, k| Ok(vec![x.var_dim(d, c, k)?])),
        var("std", |x, d, c, k| Ok(vec![x.std_dim(d, c, k)?])),
        var("var_mean", |x, d, c, k| {
            x.var_mean(d, c, k).map(|(v, m)| vec![v, m])
        }),
        var("std_mean", |x, d, c, k| {
            x.std_mean(d, c, k).map(|(v, m)| vec![v, m])
        }),
        OpSpec::new(
            "norm",
            "lambda x, p, d, k: torch.linalg.vector_norm(x, p, tuple(d) if d else None, keepdim=k)",
            |a| {
                let (x, p) = (a[0].tensor()?, a[1].float()?);
                Ok(vec![x.norm(p, a[2].list()?, a[3].bool()?)?])
            },
        )
        .samples(norms),
    ]
}
