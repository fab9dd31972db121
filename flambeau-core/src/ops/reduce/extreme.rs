//! Extremes along a dimension with their indices: `max_dim`, `argmax`, `median`, `cummax`.

use super::fold::{self, Fold};
use super::{around, expect_elements, in_lane, reduced_last};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{Lane, lane_of};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::smallvec;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;

/// Rows shorter than this are compared several at a time.
const NARROW: usize = 64;

/// Which element of a slice is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pick {
    Max,
    Min,
    /// The lower one of the two middle elements where their number is even.
    Median,
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
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let mut shape = Shape::from_slice(x.shape());
        if !shape.is_empty() {
            shape[self.dim] = 1;
        }
        let lane = lane_of(x.dtype());
        let index = match lane {
            DType::F32 => indices::<f32>(self, x, lane, &shape),
            DType::F64 => indices::<f64>(self, x, lane, &shape),
            DType::I64 => indices::<i64>(self, x, lane, &shape),
            _ => indices::<i32>(self, x, lane, &shape),
        }?;
        let value = x.detach().gather(self.dim as i64, &index)?;
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

/// Whether `a` comes before `b`: greater, or less. A NaN comes before everything but a NaN.
#[inline(always)]
fn beats<T: Stored>(a: T, b: T, largest: bool) -> bool {
    let nan = |v: T| v.partial_cmp(&v).is_none();
    (if largest { a > b } else { a < b }) || (nan(a) && !nan(b))
}

/// The index of the wanted element of each slice along the dimension, the first among equals.
fn indices<T: Extremes>(op: &Extreme, x: &Tensor, lane: DType, shape: &[usize]) -> Result<Tensor> {
    if op.pick == Pick::Median {
        let dims: &[usize] = if x.dim() == 0 { &[] } else { &[op.dim] };
        let (rows, n) = reduced_last("median", x, dims, lane)?;
        let read = rows.read();
        let src = read.slice::<T>();
        return Tensor::build::<i64>("median", shape, DType::I64, |out| {
            for (i, o) in out.iter_mut().enumerate() {
                *o = median(&src[i * n..(i + 1) * n]) as i64;
            }
        });
    }
    let (outer, n, inner) = around(x, op.dim);
    let x = in_lane(op.name(), x, lane)?;
    let read = x.read();
    let src = &read.slice::<T>()[..x.numel()];
    let largest = op.pick == Pick::Max;
    if inner < NARROW && outer * inner > 0 {
        // The extremes first, in whole registers, then where they are.
        let mut best = vec![T::default(); outer * inner];
        let fold = if largest { T::MAX } else { T::MIN };
        fold.run(src, n, inner, &mut best);
        return Tensor::build::<i64>(op.name(), shape, DType::I64, |out| {
            let per_chunk = (GRAIN / (n * inner)).max(1) * inner;
            parallel_chunks_mut(out, per_chunk, |i, out| {
                for (k, out) in out.chunks_mut(inner).enumerate() {
                    let at = i * per_chunk + k * inner;
                    let x = &src[at * n..(at + inner) * n];
                    find(x, &best[at..at + inner], out);
                }
            });
        });
    }
    Tensor::build::<i64>(op.name(), shape, DType::I64, |out| {
        if outer * inner == 0 {
            return;
        }
        let per_chunk = (GRAIN / (n * inner)).max(1) * inner;
        parallel_chunks_mut(out, per_chunk, |i, out| {
            for (k, out) in out.chunks_mut(inner).enumerate() {
                let at = (i * per_chunk / inner + k) * n * inner;
                columns(&src[at..at + n * inner], largest, out);
            }
        });
    })
}

/// A type with folds for its extremes.
trait Extremes: Lane {
    const MAX: &'static Fold<Self>;
    const MIN: &'static Fold<Self>;
}
macro_rules! extremes {
    ($($t:ty, $max:ident, $min:ident;)*) => {$(
        impl Extremes for $t {
            const MAX: &'static Fold<$t> = &fold::$max;
            const MIN: &'static Fold<$t> = &fold::$min;
        }
    )*};
}
extremes! {
    f32, MAX_F32, MIN_F32;
    f64, MAX_F64, MIN_F64;
    i32, MAX_I32, MIN_I32;
    i64, MAX_I64, MIN_I64;
}

/// The first row of the matrix `x`, of rows `out.len()` long, in which each column has its extreme
/// `best`; where that is NaN, the first NaN.
fn find<T: Stored>(x: &[T], best: &[T], out: &mut [i64]) {
    let width = out.len();
    let same = |a: T, b: T| a == b || (a.partial_cmp(&a).is_none() && b.partial_cmp(&b).is_none());
    if let ([best], [out]) = (best, &mut *out) {
        let first = |x: &[T]| x.iter().position(|&v| same(v, *best));
        // A short row is not worth the chunks.
        let from = match x.len() {
            0..=64 => 0,
            _ => first_chunk(x, std::slice::from_ref(best), 32).unwrap_or(0),
        };
        *out = first(&x[from..]).map_or(0, |i| (from + i) as i64);
        return;
    }
    out.fill(-1);
    let (mut missing, mut at) = (width, 0);
    // Rows side by side that fill some registers.
    let tile: Vec<T> = best
        .iter()
        .copied()
        .cycle()
        .take(width * 256usize.div_ceil(width))
        .collect();
    while missing > 0 {
        let Some(hit) = first_chunk(&x[at..], &tile, tile.len()) else {
            break;
        };
        let end = x.len().min(at + hit + tile.len());
        for (i, row) in x[at + hit..end].chunks_exact(width).enumerate() {
            for ((o, &v), &b) in out.iter_mut().zip(row).zip(best) {
                if *o < 0 && same(v, b) {
                    *o = ((at + hit) / width + i) as i64;
                    missing -= 1;
                }
            }
        }
        at = end;
    }
}

/// Where the first chunk of `len` elements begins in which one is what it is in `wanted`, which is
/// one for all of them, or one for each; NaN is NaN.
fn first_chunk<T: Stored>(x: &[T], wanted: &[T], len: usize) -> Option<usize> {
    flambeau_cpu::simd::dispatch(
        #[inline(always)]
        || {
            let nan = |v: T| v.partial_cmp(&v).is_none();
            // All of a chunk are looked at: a loop that may end early is not vectorised.
            let hit = |x: &[T]| match *wanted {
                [w] if nan(w) => x.iter().fold(false, |any, &v| any | nan(v)),
                [w] => x.iter().fold(false, |any, &v| any | (v == w)),
                _ => (x.iter().zip(wanted))
                    .fold(false, |any, (&v, &w)| any | (v == w) | (nan(v) & nan(w))),
            };
            x.chunks(len).position(hit).map(|i| i * len)
        },
    )
}

/// The first index of the extreme of each column of a matrix of rows `out.len()` long.
fn columns<T: Stored>(x: &[T], largest: bool, out: &mut [i64]) {
    let width = out.len();
    out.fill(0);
    let mut best = x[..width].to_vec();
    for (i, row) in x.chunks_exact(width).enumerate().skip(1) {
        for ((o, b), &v) in out.iter_mut().zip(&mut best).zip(row) {
            if beats(v, *b, largest) {
                (*o, *b) = (i as i64, v);
            }
        }
    }
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

/// The index of the lower median; of the first NaN where there is one.
fn median<T: Stored>(x: &[T]) -> usize {
    if let Some(i) = x.iter().position(|v| v.partial_cmp(v).is_none()) {
        return i;
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    let k = (x.len() - 1) / 2;
    let by = |&a: &usize, &b: &usize| {
        x[a].partial_cmp(&x[b])
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(a.cmp(&b))
    };
    *order.select_nth_unstable_by(k, by).1
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
                for at in 0..out.len() {
                    let k = at / inner % n;
                    let before = if k == 0 { 0 } else { out[at - inner] };
                    // Where the best so far lies.
                    let best = src[at - (k - before as usize) * inner];
                    // The last among equals, as in PyTorch.
                    let stays = k > 0 && beats(best, src[at], self.largest);
                    out[at] = if stays { before } else { k as i64 };
                }
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
        arg("argmax", |x, d, k| x.argmax(d, k)),
        arg("argmin", |x, d, k| x.argmin(d, k)),
        along("cummax", Tensor::cummax),
        along("cummin", Tensor::cummin),
    ]
}
