//! Extremes along a dimension with their indices: `max_dim`, `argmax`, `median`, `cummax`.

use super::{around, expect_elements, in_lane, reduced_last};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{Lane, lane_of, to_contiguous};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, numel};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::extreme;
use flambeau_cpu::fold::Extremes;
use flambeau_cpu::sort::{self, Ordered};
use flambeau_cpu::threads::{parallel_chunks_mut, parallel_slices_mut};
use smallvec::{SmallVec, smallvec};

/// Which element of a slice is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pick {
    Max,
    Min,
    /// The lower one of the two middle elements where their number is even.
    Median,
    /// The one that comes so many places behind the least.
    Nth(usize),
}

/// One element of each slice along `dim`, with its index as the extra result.
#[derive(Debug)]
struct Extreme {
    pick: Pick,
    dim: usize,
    keepdim: bool,
}

impl Op for Extreme {
    fn name(&self) -> &'static str {
        match self.pick {
            Pick::Max => "max",
            Pick::Min => "min",
            Pick::Median => "median",
            Pick::Nth(_) => "kthvalue",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let mut shape = Shape::from_slice(x.shape());
        if !shape.is_empty() {
            shape[self.dim] = 1;
        }
        let lane = lane_of(x.dtype());
        let (value, index) = match lane {
            DType::F32 => self.found::<f32>(x, lane, &shape),
            DType::F64 => self.found::<f64>(x, lane, &shape),
            DType::I64 => self.found::<i64>(x, lane, &shape),
            _ => self.found::<i32>(x, lane, &shape),
        }?;
        let value = match value.dtype() == x.dtype() {
            true => value,
            false => to_contiguous(self.name(), &value, x.dtype())?,
        };
        if !self.keepdim && !shape.is_empty() {
            shape.remove(self.dim);
        }
        Ok(Output {
            tensor: value.reshaped_whole(shape.clone()),
            extras: smallvec![index.reshaped_whole(shape)],
        })
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let (value, index) = match self.pick {
            Pick::Median => median_on_cuda(&x.detach(), self.dim)?,
            Pick::Nth(k) => nth_on_cuda(&x.detach(), self.dim, k)?,
            pick => cuda::extreme(self.name(), pick == Pick::Max, x, self.dim)?,
        };
        let mut shape = Shape::from_slice(value.shape());
        if !self.keepdim && !shape.is_empty() {
            shape.remove(self.dim);
        }
        Ok(Output {
            tensor: value.reshaped_whole(shape.clone()),
            extras: smallvec![index.reshaped_whole(shape)],
        })
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let zeros = Tensor::zeros_with(ctx.shape(0), (grad.dtype(), grad.device()))?;
        let (mut g, mut index) = (grad.clone(), ctx.extra(0).clone());
        let dim = self.dim as i64;
        if !self.keepdim && zeros.dim() > 0 {
            (g, index) = (g.unsqueeze(dim)?, index.unsqueeze(dim)?);
        }
        Ok(smallvec![Some(zeros.scatter(dim, &index, &g)?)])
    }
}

impl Extreme {
    /// The wanted element of each slice along the dimension and its index, the first among equals.
    fn found<T: Lane + Extremes + Ordered>(
        &self,
        x: &Tensor,
        lane: DType,
        shape: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        let op = self.name();
        let along: &[usize] = if x.dim() == 0 { &[] } else { &[self.dim] };
        // Without elements there may be no slices either, but then no memory either.
        let (x, sizes) = match self.pick {
            Pick::Max | Pick::Min => {
                let (outer, n, inner) = around(x, self.dim);
                (in_lane(op, x, lane)?, [outer, n, inner])
            }
            _ => {
                let (rows, n) = reduced_last(op, x, along, lane)?;
                (rows, [numel(shape), n, 1])
            }
        };
        let read = x.read();
        let src = &read.slice::<T>()[..x.numel()];
        let mut index = None;
        let value = Tensor::build::<T>(op, shape, lane, |values| {
            index = Some(Tensor::build::<i64>(op, shape, DType::I64, |indices| {
                if values.is_empty() {
                    return;
                }
                let [_, n, _] = sizes;
                let each: &(dyn Fn(&[T]) -> usize + Sync) = match self.pick {
                    Pick::Max | Pick::Min => {
                        let largest = self.pick == Pick::Max;
                        return extreme::extreme(src, sizes, largest, values, indices);
                    }
                    Pick::Median => &sort::median,
                    Pick::Nth(k) => &move |x| sort::nth(x, k),
                };
                let per_chunk = (4096 / n).max(1);
                parallel_chunks_mut(indices, per_chunk, |i, indices| {
                    for (k, index) in indices.iter_mut().enumerate() {
                        *index = each(&src[(i * per_chunk + k) * n..][..n]) as i64;
                    }
                });
                for (i, (value, index)) in values.iter_mut().zip(indices).enumerate() {
                    *value = src[i * n + *index as usize];
                }
            }));
        })?;
        let index = index.unwrap_or_else(|| Tensor::zeros_with(shape, DType::I64))?;
        Ok((value, index))
    }
}

/// The element `k` places behind the least of each slice and its index, with `dim` as size 1.
fn nth_on_cuda(x: &Tensor, dim: usize, k: usize) -> Result<(Tensor, Tensor)> {
    if x.dim() == 0 {
        return Ok((x.clone(), Tensor::zeros_with((), (DType::I64, x.device()))?));
    }
    let d = dim as i64;
    let index = x.argsort(d, false)?.narrow(d, k as i64, 1)?.contiguous()?;
    Ok((x.gather(d, &index)?, index))
}

/// The lower median of each slice and its index, with `dim` as size 1; the first NaN where there is
/// one.
fn median_on_cuda(x: &Tensor, dim: usize) -> Result<(Tensor, Tensor)> {
    if x.dim() == 0 {
        return Ok((x.clone(), Tensor::zeros_with((), (DType::I64, x.device()))?));
    }
    let (d, n) = (dim as i64, x.shape()[dim]);
    let order = x.argsort(d, false)?;
    let middle = order.narrow(d, (n as i64 - 1) / 2, 1)?;
    let (nan, first) = x.ne(x)?.to_dtype(DType::U8)?.max_dim(d, true)?;
    let index = nan.ne(0)?.where_(&first, &middle)?;
    Ok((x.gather(d, &index)?, index))
}

/// Whether `a` comes before `b`: greater, or less. A NaN comes before everything but a NaN.
#[inline(always)]
fn beats<T: Stored>(a: T, b: T, largest: bool) -> bool {
    let nan = |v: T| v.partial_cmp(&v).is_none();
    (if largest { a > b } else { a < b }) || (nan(a) && !nan(b))
}

/// The greatest (or least) of the elements so far, with its index as the extra result.
#[derive(Debug)]
struct CumExtreme {
    dim: usize,
    largest: bool,
}

impl Op for CumExtreme {
    fn name(&self) -> &'static str {
        if self.largest { "cummax" } else { "cummin" }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0].contiguous()?;
        let (_, n, inner) = around(&x, self.dim);
        let index = crate::with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = &read.slice::<S>()[..x.numel()];
            Tensor::build::<i64>(self.name(), x.shape(), DType::I64, |out| {
                if out.is_empty() {
                    return;
                }
                parallel_slices_mut(out, n * inner, 1 << 14, |start, out| {
                    let x = &src[start..][..out.len()];
                    for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(n * inner)) {
                        running(x, inner, self.largest, out);
                    }
                });
            })?
        });
        Ok(Output {
            tensor: x.detach().gather(self.dim as i64, &index)?,
            extras: smallvec![index],
        })
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (outer, n, inner) = around(inputs[0], self.dim);
        let around = [outer, n, inner];
        let (tensor, index) = cuda::running_extreme(self.name(), self.largest, around, inputs[0])?;
        Ok(Output {
            tensor,
            extras: smallvec![index],
        })
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let zeros = Tensor::zeros_with(ctx.shape(0), (grad.dtype(), grad.device()))?;
        let g = zeros.scatter_add(self.dim as i64, ctx.extra(0), grad)?;
        Ok(smallvec![Some(g)])
    }
}

/// Where the extreme of the elements so far of each column of the matrix `x`, of rows of `width`
/// elements, lies; the last among equals, as in PyTorch.
fn running<S: Stored>(x: &[S], width: usize, largest: bool, out: &mut [i64]) {
    let mut best: SmallVec<[(S, i64); 8]> = x[..width].iter().map(|&v| (v, 0)).collect();
    for (k, (x, out)) in x
        .chunks_exact(width)
        .zip(out.chunks_exact_mut(width))
        .enumerate()
    {
        for ((&v, o), best) in x.iter().zip(out).zip(&mut best) {
            if !beats(best.0, v, largest) {
                *best = (v, k as i64);
            }
            *o = best.1;
        }
    }
}

impl Tensor {
    #[track_caller]
    fn extreme(
        &self,
        op: &'static str,
        pick: Pick,
        dim: i64,
        keep: bool,
    ) -> Result<(Tensor, Tensor)> {
        let d = self.dim_index(op, dim)?;
        if self.dim() > 0 {
            expect_elements(op, self, &[d])?;
        }
        let op = Extreme {
            pick,
            dim: d,
            keepdim: keep,
        };
        let out = dispatch::call_with_extras(op, &[self])?;
        Ok((out.tensor, out.extras[0].clone()))
    }

    /// The greatest elements along dimension `dim` and their indices (`torch.max(x, dim)`); the
    /// first among equals, NaN where there is one
    /// ([`torch.max`](https://pytorch.org/docs/stable/generated/torch.max.html)).
    ///
    /// PyTorch's default: `keepdim` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([[1.0f32, 3.0], [5.0, 5.0]])?.max_dim(1, false)?;
    /// assert_eq!(values.to_vec::<f32>()?, [3.0, 5.0]);
    /// assert_eq!(indices.to_vec::<i64>()?, [1, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the dimension is out of range or empty.
    #[track_caller]
    pub fn max_dim(&self, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.extreme("max", Pick::Max, dim, keepdim)
    }

    /// The least elements along dimension `dim` and their indices, as [`max_dim`](Tensor::max_dim)
    /// ([`torch.min`](https://pytorch.org/docs/stable/generated/torch.min.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([[1.0f32, 3.0], [5.0, 4.0]])?.min_dim(1, false)?;
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 4.0]);
    /// assert_eq!(indices.to_vec::<i64>()?, [0, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`max_dim`](Tensor::max_dim).
    #[track_caller]
    pub fn min_dim(&self, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.extreme("min", Pick::Min, dim, keepdim)
    }

    /// The medians along dimension `dim` and their indices: of an even number the lower one
    /// (`torch.median(x, dim)`); NaN where there is one
    /// ([`torch.median`](https://pytorch.org/docs/stable/generated/torch.median.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([[4i64, 1, 3, 2]])?.median_dim(1, false)?;
    /// assert_eq!((values.to_vec::<i64>()?, indices.to_vec::<i64>()?), (vec![2], vec![3]));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the dimension is out of range or empty.
    #[track_caller]
    pub fn median_dim(&self, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        self.extreme("median", Pick::Median, dim, keepdim)
    }

    /// The median of all elements
    /// ([`torch.median`](https://pytorch.org/docs/stable/generated/torch.median.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([4i64, 1, 3, 2])?.median()?.item::<i64>()?, 2);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are none.
    #[track_caller]
    pub fn median(&self) -> Result<Tensor> {
        Ok(self.reshape(-1)?.median_dim(0, false)?.0)
    }

    /// The `k`-th least element along dimension `dim`, counted from 1, and its index
    /// ([`torch.kthvalue`](https://pytorch.org/docs/stable/generated/torch.kthvalue.html)).
    ///
    /// PyTorch's defaults: `dim` -1, `keepdim` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (value, index) = Tensor::new([3i64, 9, 5])?.kthvalue(2, 0, false)?;
    /// assert_eq!((value.item::<i64>()?, index.item::<i64>()?), (5, 2));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `k` is zero or there are fewer than `k`.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        if k == 0 {
            bail!("kthvalue", "k counts from 1");
        }
        let n = self.shape().get(self.dim_index("kthvalue", dim)?).copied();
        if k > n.unwrap_or(1) {
            bail!(
                "kthvalue",
                "{k} elements asked for, but dimension {dim} has {}",
                n.unwrap_or(1)
            );
        }
        self.extreme("kthvalue", Pick::Nth(k - 1), dim, keepdim)
    }

    #[track_caller]
    fn arg(&self, op: &'static str, pick: Pick, dim: impl Dims, keep: bool) -> Result<Tensor> {
        let x = self.detach();
        match dim.dims()[..] {
            [] => {
                expect_elements(op, &x.reshape(-1)?, &[0])?;
                let (_, index) = x.reshape(-1)?.extreme(op, pick, 0, false)?;
                let ones: Shape = smallvec![1; if keep { self.dim() } else { 0 }];
                index.view(ones)
            }
            [dim] => Ok(x.extreme(op, pick, dim, keep)?.1),
            ref dims => bail!(op, "takes one dimension or none, not {dims:?}"),
        }
    }

    /// The index of the greatest element along one dimension, or among all in row-major order
    /// where `dim` is `()`
    /// ([`torch.argmax`](https://pytorch.org/docs/stable/generated/torch.argmax.html)); the first
    /// among equals, that of a NaN where there is
    /// one.
    ///
    /// PyTorch's defaults: `dim` none, `keepdim` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1.0f32, 3.0], [5.0, 4.0]])?;
    /// assert_eq!(x.argmax(1, false)?.to_vec::<i64>()?, [1, 0]);
    /// assert_eq!(x.argmax((), false)?.item::<i64>()?, 2);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the dimension is out of range or empty.
    #[track_caller]
    pub fn argmax(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.arg("argmax", Pick::Max, dim, keepdim)
    }

    /// The index of the least element, as [`argmax`](Tensor::argmax)
    /// ([`torch.argmin`](https://pytorch.org/docs/stable/generated/torch.argmin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1.0f32, 3.0], [5.0, 4.0]])?.argmin(1, false)?.to_vec::<i64>()?,
    ///     [0, 1]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`argmax`](Tensor::argmax).
    #[track_caller]
    pub fn argmin(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.arg("argmin", Pick::Min, dim, keepdim)
    }

    #[track_caller]
    fn cumulative(&self, dim: i64, largest: bool) -> Result<(Tensor, Tensor)> {
        let dim = self.dim_index(if largest { "cummax" } else { "cummin" }, dim)?;
        let out = dispatch::call_with_extras(CumExtreme { dim, largest }, &[self])?;
        Ok((out.tensor, out.extras[0].clone()))
    }

    /// The greatest of the elements up to each along dimension `dim`, and its index
    /// ([`torch.cummax`](https://pytorch.org/docs/stable/generated/torch.cummax.html)); the last
    /// among equals.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([1i64, 3, 2])?.cummax(0)?;
    /// assert_eq!(values.to_vec::<i64>()?, [1, 3, 3]);
    /// assert_eq!(indices.to_vec::<i64>()?, [0, 1, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn cummax(&self, dim: i64) -> Result<(Tensor, Tensor)> {
        self.cumulative(dim, true)
    }

    /// The least of the elements up to each along dimension `dim`, and its index
    /// ([`torch.cummin`](https://pytorch.org/docs/stable/generated/torch.cummin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([3i64, 1, 2])?.cummin(0)?;
    /// assert_eq!(values.to_vec::<i64>()?, [3, 1, 1]);
    /// assert_eq!(indices.to_vec::<i64>()?, [0, 1, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`cummax`](Tensor::cummax).
    #[track_caller]
    pub fn cummin(&self, dim: i64) -> Result<(Tensor, Tensor)> {
        self.cumulative(dim, false)
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    type Pair = fn(&Tensor, i64, bool) -> Result<(Tensor, Tensor)>;
    let pair = |name: &'static str, f: Pair| {
        OpSpec::new(
            name,
            format!(
                "lambda x, d, k: tuple(torch.{}(x, d, keepdim=k))",
                &name[..name.len() - 4]
            ),
            move |a| {
                let (values, indices) = f(a[0].tensor()?, a[1].int()?, a[2].bool()?)?;
                Ok(vec![values, indices])
            },
        )
    };
    let x = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let samples = || {
        [
            (&[3, 5][..], 0, false),
            (&[3, 5], -1, true),
            (&[2, 5, 3], 1, false),
            (&[], 0, false),
            (&[0, 3], 1, false),
        ]
        .map(|(shape, d, k)| Sample::new(vec![x(shape), Arg::I(d), Arg::B(k)]))
        .to_vec()
    };
    type One = fn(&Tensor, &[i64], bool) -> Result<Tensor>;
    let arg = |name: &'static str, f: One| {
        OpSpec::new(
            name,
            format!("lambda x, d, k: torch.{name}(x, d[0] if d else None, keepdim=k)"),
            move |a| Ok(vec![f(a[0].tensor()?, a[1].list()?, a[2].bool()?)?]),
        )
        .no_grad()
        .samples(
            [
                (&[3, 5][..], &[][..], false),
                (&[3, 5], &[], true),
                (&[3, 5], &[0], false),
                (&[2, 3, 4], &[-1], true),
            ]
            .map(|(shape, d, k)| Sample::new(vec![x(shape), Arg::L(d.to_vec()), Arg::B(k)]))
            .to_vec(),
        )
    };
    type Along = fn(&Tensor, i64) -> Result<(Tensor, Tensor)>;
    let along = |name: &'static str, f: Along| {
        OpSpec::new(
            name,
            format!("lambda x, d: tuple(torch.{name}(x, d))"),
            move |a| {
                let (values, indices) = f(a[0].tensor()?, a[1].int()?)?;
                Ok(vec![values, indices])
            },
        )
        .samples(
            [(&[3, 5][..], 0), (&[3, 5], 1), (&[], 0), (&[0], 0)]
                .map(|(shape, d)| Sample::new(vec![x(shape), Arg::I(d)]))
                .to_vec(),
        )
    };
    vec![
        pair("max_dim", Tensor::max_dim).samples(samples()),
        pair("min_dim", Tensor::min_dim).samples(samples()),
        pair("median_dim", Tensor::median_dim).samples(samples()),
        OpSpec::new("median", "torch.median", |a| {
            Ok(vec![a[0].tensor()?.median()?])
        })
        .samples(vec![Sample::new(vec![x(&[3, 4])])]),
        OpSpec::new(
            "kthvalue",
            "lambda x, k, d, b: tuple(torch.kthvalue(x, k, d, b))",
            move |a| {
                let k = a[1].int()? as usize;
                a[0].tensor()?
                    .kthvalue(k, a[2].int()?, a[3].bool()?)
                    .map(|(values, indices)| vec![values, indices])
            },
        )
        .samples(
            [(2, 1, true), (3, 0, false)]
                .map(|(k, d, b)| Sample::new(vec![x(&[4, 5]), Arg::I(k), Arg::I(d), Arg::B(b)]))
                .to_vec(),
        ),
        arg("argmax", |x, d, k| x.argmax(d, k)),
        arg("argmin", |x, d, k| x.argmin(d, k)),
        along("cummax", Tensor::cummax),
        along("cummin", Tensor::cummin),
    ]
}
