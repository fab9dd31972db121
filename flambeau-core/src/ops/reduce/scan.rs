//! Running sums and products along a dimension, and the linear recurrence that is the gradient
//! of the latter.

use super::{around, in_lane};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{lane_of, to_contiguous};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, cuda};
use flambeau_cpu::threads::parallel_chunks_mut;
use flambeau_cuda::kernels::Scan as CudaScan;
use smallvec::smallvec;

/// Which running result.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `y[k] = x[k] + y[k - 1]`
    Sum,
    /// `y[k] = x[k] * y[k - 1]`
    Prod,
    /// `y[k] = x[k] + c[k] * y[k - 1]`, for the second input `c` of the same shape.
    Linear,
}

/// A scan along `dim`, from the last index down where `reverse`.
#[derive(Debug)]
struct Scan {
    kind: Kind,
    dim: usize,
    reverse: bool,
}

impl Op for Scan {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "cumsum",
            Kind::Prod => "cumprod",
            Kind::Linear => "linear_scan",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype().sum_type();
        let lane = lane_of(dtype);
        let read = |i: usize| {
            let t = inputs.get(i).unwrap_or(&inputs[0]);
            in_lane(self.name(), t, lane)
        };
        let (x, c) = (read(0)?, read(1)?);
        // Floating point accumulates in f64, as in PyTorch. A loop for each kind: a call for each
        // element would cost more than the element.
        let sum = |v, _, y| v + y;
        let product = |v, _, y| v * y;
        let linear = |v, c, y| v + c * y;
        let (wide, narrow) = (f32::to_f64, f32::from_f64);
        let out = match (lane, self.kind) {
            (DType::I64, Kind::Prod) => {
                self.run::<i64, i64>(&x, &c, |v, _, y| v.wrapping_mul(y), |v| v, |v| v)
            }
            (DType::I64, _) => {
                self.run::<i64, i64>(&x, &c, |v, _, y| v.wrapping_add(y), |v| v, |v| v)
            }
            (DType::F32, Kind::Sum) => self.run::<f32, f64>(&x, &c, sum, wide, narrow),
            (DType::F32, Kind::Prod) => self.run::<f32, f64>(&x, &c, product, wide, narrow),
            (DType::F32, Kind::Linear) => self.run::<f32, f64>(&x, &c, linear, wide, narrow),
            (_, Kind::Sum) => self.run::<f64, f64>(&x, &c, sum, |v| v, |v| v),
            (_, Kind::Prod) => self.run::<f64, f64>(&x, &c, product, |v| v, |v| v),
            (_, Kind::Linear) => self.run::<f64, f64>(&x, &c, linear, |v| v, |v| v),
        }?;
        if lane == dtype {
            Ok(out.into())
        } else {
            Ok(to_contiguous(self.name(), &out, dtype)?.into())
        }
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, dtype) = (inputs[0], inputs[0].dtype().sum_type());
        let kind = match self.kind {
            Kind::Sum => CudaScan::Sum,
            Kind::Prod => CudaScan::Prod,
            Kind::Linear => CudaScan::Linear,
        };
        let (outer, n, inner) = around(x, self.dim);
        let operands = (x, inputs.get(1).copied());
        let around = [outer, n, inner];
        Ok(cuda::scan(self.name(), kind, around, self.reverse, operands, dtype)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        match self.kind {
            Kind::Sum => Saves::NONE,
            Kind::Prod => Saves::OUTPUT.input(0),
            Kind::Linear => Saves::OUTPUT.input(1),
        }
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let back = |kind: Kind, inputs: &[&Tensor]| {
            let scan = Scan {
                kind,
                dim: self.dim,
                reverse: !self.reverse,
            };
            dispatch::call(scan, inputs)
        };
        let before = |t: &Tensor, fill: f64| shifted(t, self.dim, !self.reverse, fill);
        let after = |t: &Tensor| shifted(t, self.dim, self.reverse, 0.0);
        Ok(match self.kind {
            Kind::Sum => smallvec![Some(back(Kind::Sum, &[grad])?)],
            // The gradient flows back by the recurrence s[k] = g[k] + x[k + 1] * s[k + 1]; no
            // division, so zeros need no care.
            Kind::Prod => {
                let s = back(Kind::Linear, &[grad, &after(&ctx.input(0)?)?])?;
                smallvec![Some(s.mul(before(&ctx.output()?, 1.0)?)?)]
            }
            Kind::Linear => {
                let s = back(Kind::Linear, &[grad, &after(&ctx.input(1)?)?])?;
                let c = s.mul(before(&ctx.output()?, 0.0)?)?;
                smallvec![Some(s), Some(c)]
            }
        })
    }
}

impl Scan {
    fn run<T: Stored, A: Copy + Default>(
        &self,
        x: &Tensor,
        c: &Tensor,
        step: impl Fn(A, A, A) -> A + Sync,
        load: impl Fn(T) -> A + Sync,
        store: impl Fn(A) -> T + Sync,
    ) -> Result<Tensor> {
        let (_, n, inner) = around(x, self.dim);
        let (x_read, c_read) = (x.read(), c.read());
        let (x_all, c_all) = (x_read.slice::<T>(), c_read.slice::<T>());
        Tensor::build::<T>(self.name(), x.shape(), x.dtype(), |out| {
            if out.is_empty() {
                return;
            }
            let slices = (GRAIN / (n * inner)).max(1);
            let len = n
                * inner
                * if inner == 1 {
                    slices.next_multiple_of(ROWS)
                } else {
                    slices
                };
            parallel_chunks_mut(out, len, |i, out| {
                let at = i * len;
                let (x, c) = (&x_all[at..at + out.len()], &c_all[at..at + out.len()]);
                if inner == 1 {
                    rows(x, c, out, n, self.reverse, &step, &load, &store);
                } else {
                    let mut acc = vec![A::default(); inner];
                    for ((x, c), out) in x
                        .chunks_exact(n * inner)
                        .zip(c.chunks_exact(n * inner))
                        .zip(out.chunks_exact_mut(n * inner))
                    {
                        for k in 0..n {
                            let row = if self.reverse { n - 1 - k } else { k } * inner;
                            let (x, c) = (&x[row..row + inner], &c[row..row + inner]);
                            let out = &mut out[row..row + inner];
                            for (((o, y), &v), &c) in out.iter_mut().zip(&mut acc).zip(x).zip(c) {
                                *y = if k == 0 {
                                    load(v)
                                } else {
                                    step(load(v), load(c), *y)
                                };
                                *o = store(*y);
                            }
                        }
                    }
                }
            });
        })
    }
}

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;
/// Rows that run side by side: each element waits for the one before it, but not for other rows.
const ROWS: usize = 4;

/// The scan of each row of `n` elements.
#[allow(clippy::too_many_arguments)]
fn rows<T: Copy, A: Copy + Default>(
    x: &[T],
    c: &[T],
    out: &mut [T],
    n: usize,
    reverse: bool,
    step: impl Fn(A, A, A) -> A,
    load: impl Fn(T) -> A,
    store: impl Fn(A) -> T,
) {
    let mut parts = (x.chunks_exact(n).zip(c.chunks_exact(n))).zip(out.chunks_exact_mut(n));
    while let Some(((x, c), out)) = parts.next() {
        // Rows that there are no more of run along empty.
        let mut more = || parts.next().unwrap_or_default();
        let others = [more(), more(), more()];
        if others[2].1.is_empty() {
            each_row([((x, c), out)], reverse, &step, &load, &store);
            for row in others.into_iter().filter(|row| !row.1.is_empty()) {
                each_row([row], reverse, &step, &load, &store);
            }
        } else {
            let [second, third, fourth] = others;
            let rows = [((x, c), out), second, third, fourth];
            each_row(rows, reverse, &step, &load, &store);
        }
    }
}

/// A row's elements, coefficients and results.
type Row<'a, T> = ((&'a [T], &'a [T]), &'a mut [T]);

/// `R` rows of the same length, an element of each at a time.
#[inline(always)]
fn each_row<T: Copy, A: Copy + Default, const R: usize>(
    mut rows: [Row<'_, T>; R],
    reverse: bool,
    step: impl Fn(A, A, A) -> A,
    load: impl Fn(T) -> A,
    store: impl Fn(A) -> T,
) {
    let n = rows[0].1.len();
    for ((x, c), out) in &mut rows {
        (*x, *c) = (&x[..n], &c[..n]);
        *out = &mut std::mem::take(out)[..n];
    }
    let mut acc = [A::default(); R];
    for k in 0..n {
        let at = if reverse { n - 1 - k } else { k };
        for (((x, c), out), acc) in rows.iter_mut().zip(&mut acc) {
            let v = load(x[at]);
            *acc = if k == 0 {
                v
            } else {
                step(v, load(c[at]), *acc)
            };
            out[at] = store(*acc);
        }
    }
}

/// `t` moved by one index along `dim`, towards the end where `later`, `fill` entering.
fn shifted(t: &Tensor, dim: usize, later: bool, fill: f64) -> Result<Tensor> {
    if t.dim() == 0 {
        return t.full_like(fill);
    }
    let d = dim as i64;
    let n = t.shape()[dim];
    if n == 0 {
        return Ok(t.clone());
    }
    let edge = t.slice(d, 0, 1, 1)?.full_like(fill)?;
    if later {
        Tensor::cat(&[&edge, &t.slice(d, 0, n - 1, 1)?], d)
    } else {
        Tensor::cat(&[&t.slice(d, 1, n, 1)?, &edge], d)
    }
}

/// Along the last dimension, the product of the elements before each (after each, where
/// `reverse`).
pub(super) fn exclusive_cumprod(x: &Tensor, reverse: bool) -> Result<Tensor> {
    let dim = x.dim().saturating_sub(1);
    let scan = Scan {
        kind: Kind::Prod,
        dim,
        reverse,
    };
    shifted(&dispatch::call(scan, &[x])?, dim, !reverse, 1.0)
}

impl Tensor {
    /// The sums of the elements up to each along dimension `dim`
    /// ([`torch.cumsum`](https://pytorch.org/docs/stable/generated/torch.cumsum.html)); integers
    /// and
    /// bool as `i64`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.cumsum(0)?.to_vec::<i64>()?, [1, 3, 6]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn cumsum(&self, dim: i64) -> Result<Tensor> {
        let scan = Scan {
            kind: Kind::Sum,
            dim: self.dim_index("cumsum", dim)?,
            reverse: false,
        };
        dispatch::call(scan, &[self])
    }

    /// The products of the elements up to each along dimension `dim`
    /// ([`torch.cumprod`](https://pytorch.org/docs/stable/generated/torch.cumprod.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2, 3])?.cumprod(0)?.to_vec::<i64>()?, [1, 2, 6]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn cumprod(&self, dim: i64) -> Result<Tensor> {
        let scan = Scan {
            kind: Kind::Prod,
            dim: self.dim_index("cumprod", dim)?,
            reverse: false,
        };
        dispatch::call(scan, &[self])
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    type Along = fn(&Tensor, i64) -> Result<Tensor>;
    let along = |name: &'static str, f: Along| {
        OpSpec::new(name, format!("torch.{name}"), move |a| {
            Ok(vec![f(a[0].tensor()?, a[1].int()?)?])
        })
        .dtypes(&[DType::F32, DType::F64, DType::I64])
        .samples(
            [
                (&[3, 4][..], 0),
                (&[2, 3, 4], 1),
                (&[3, 4], -1),
                (&[], 0),
                (&[0, 2], 0),
            ]
            .map(|(shape, d)| Sample::new(vec![Arg::uniform(shape, (-2.0, 2.0)), Arg::I(d)]))
            .to_vec(),
        )
    };
    vec![
        along("cumsum", Tensor::cumsum),
        along("cumprod", Tensor::cumprod),
    ]
}
