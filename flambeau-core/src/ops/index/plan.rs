//! Advanced indexing: elements picked along one or several dimensions by lists of positions, and
//! its counterpart that puts elements there. `index_select`, `embedding`, masks and the rest are
//! all this.

use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{lane_of, to_contiguous};
use crate::shape::{Shape, broadcast, check_numel, contiguous_strides};
use crate::storage::filled;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda, with_stored};
use flambeau_cpu::threads::parallel_chunks_mut;
use flambeau_cuda::kernels::Indexed;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// Which positions of which dimensions are meant.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The indexed dimensions, ascending, and their sizes.
    dims: SmallVec<[usize; 4]>,
    sizes: SmallVec<[usize; 4]>,
    /// For each position of the index's shape, the row-major position among the indexed
    /// dimensions. A copy: later changes of the index tensors are not seen.
    index: Arc<[usize]>,
    /// The index's shape, all index tensors broadcast.
    shape: Shape,
    /// How many of the other dimensions come before the index's in the result.
    front: usize,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan(dims {:?}, index {:?})", self.dims, self.shape)
    }
}

/// An index tensor as contiguous `i64`; not copied where it already is.
#[track_caller]
pub(crate) fn positions(op: &'static str, index: &Tensor) -> Result<Tensor> {
    if !index.dtype().is_integer() {
        bail!(
            op,
            "indices must be integers, not {}; convert with to_dtype(DType::I64)",
            index.dtype()
        );
    }
    if index.dtype() == DType::I64 && index.is_contiguous() {
        return Ok(index.detach());
    }
    to_contiguous(op, index, DType::I64)
}

/// The elements of an index tensor.
#[track_caller]
pub(crate) fn index_values(op: &'static str, index: &Tensor) -> Result<Vec<i64>> {
    let index = positions(op, index)?;
    let read = index.read();
    Ok(read.slice::<i64>()[..index.numel()].to_vec())
}

/// The first of `values` below `low` or not below `high`.
pub(crate) fn out_of_range(values: &[i64], low: i64, high: i64) -> Option<i64> {
    let bad = |v: i64| v < low || v >= high;
    let chunks = values.len().div_ceil(GRAIN);
    let mut found = vec![false; chunks];
    // All of a chunk are looked at: a loop that may end early is not vectorised.
    parallel_chunks_mut(&mut found, 1, |i, found| {
        let chunk = &values[i * GRAIN..values.len().min((i + 1) * GRAIN)];
        found[0] = flambeau_cpu::simd::dispatch(
            #[inline(always)]
            || chunk.iter().fold(false, |any, &v| any | bad(v)),
        );
    });
    let chunk = found.iter().position(|&f| f)?;
    let mut rest = values[chunk * GRAIN..].iter().copied();
    rest.find(|&v| bad(v))
}

impl Plan {
    /// Dimensions `dims` (ascending) of a tensor of `shape` indexed by integer tensors, which
    /// broadcast. Negative indices count from the end where `wrap`.
    #[track_caller]
    pub(crate) fn new(
        op: &'static str,
        shape: &[usize],
        dims: &[usize],
        indices: &[Tensor],
        wrap: bool,
    ) -> Result<Plan> {
        let mut common = Shape::new();
        for index in indices {
            let Ok(both) = broadcast(op, &common, index.shape()) else {
                let shapes: Vec<_> = indices.iter().map(Tensor::shape).collect();
                bail!(
                    op,
                    "the index tensors' shapes {shapes:?} do not broadcast together"
                );
            };
            common = both;
        }
        let mut flat = filled(op, 0usize, check_numel(op, &common)?)?;
        for (&dim, index) in dims.iter().zip(indices) {
            let size = shape[dim];
            let values = index_values(op, &index.expand(&common)?)?;
            let low = if wrap { -(size as i64) } else { 0 };
            if let Some(bad) = out_of_range(&values, low, size as i64) {
                bail!(
                    op,
                    "index {bad} is out of range for dimension {dim} of size {size}"
                );
            }
            for (f, i) in flat.iter_mut().zip(values) {
                *f = *f * size + if i < 0 { i + size as i64 } else { i } as usize;
            }
        }
        let adjacent = dims.windows(2).all(|w| w[1] == w[0] + 1);
        Ok(Plan {
            dims: SmallVec::from_slice(dims),
            sizes: dims.iter().map(|&d| shape[d]).collect(),
            index: flat.into(),
            shape: common,
            front: if adjacent { dims[0] } else { 0 },
        })
    }

    /// The shape of the picked elements.
    pub(crate) fn result_shape(&self, shape: &[usize]) -> Shape {
        let rest: Shape = self.rest(shape.len()).map(|d| shape[d]).collect();
        let mut out = Shape::from_slice(&rest[..self.front]);
        out.extend_from_slice(&self.shape);
        out.extend_from_slice(&rest[self.front..]);
        out
    }

    /// The same for a CUDA device.
    fn indexed<'a>(&'a self, shape: &'a [usize]) -> Indexed<'a> {
        Indexed {
            shape,
            dims: &self.dims,
            front: self.front,
            count: self.index.len(),
        }
    }

    /// The positions among the indexed dimensions.
    fn flat(&self) -> Vec<i64> {
        self.index.iter().map(|&i| i as i64).collect()
    }

    fn rest(&self, ndim: usize) -> impl Iterator<Item = usize> {
        (0..ndim).filter(|d| !self.dims.contains(d))
    }

    fn places(&self, shape: &[usize], strides: &[usize]) -> Places {
        let rest: Vec<(usize, usize)> = self
            .rest(shape.len())
            .map(|d| (shape[d], strides[d]))
            .collect();
        if self.index.is_empty() || rest.iter().any(|&(size, _)| size == 0) {
            // The other sizes may be as large as a number can say.
            return Places::default();
        }
        let (before, mut after) = rest.split_at(self.front);
        let mut block = 1;
        while let Some((&(size, stride), outer)) = after.split_last()
            && (stride == block || size == 1)
        {
            block *= size;
            after = outer;
        }
        let picked: SmallVec<[usize; 4]> = self.dims.iter().map(|&d| strides[d]).collect();
        let index = self.index.iter().map(|&flat| {
            if let [stride] = picked[..] {
                return flat * stride;
            }
            let (mut rest, mut at) = (flat, 0);
            for (size, stride) in self.sizes.iter().zip(&picked).rev() {
                at += rest % size * stride;
                rest /= size;
            }
            at
        });
        Places {
            whole_rows: picked[..] == [block] && after.is_empty() && before.is_empty(),
            before: offsets(before),
            index: index.collect(),
            after: offsets(after),
            block,
        }
    }
}

/// The offsets of all combinations of indices of dimensions (size, stride), in row-major order.
fn offsets(dims: &[(usize, usize)]) -> Vec<usize> {
    let mut out = vec![0];
    for &(size, stride) in dims {
        out = out
            .iter()
            .flat_map(|&at| (0..size).map(move |i| at + i * stride))
            .collect();
    }
    out
}

/// Where the picked elements lie: sums of one offset of each list, then `block` in a row.
#[derive(Default)]
struct Places {
    before: Vec<usize>,
    index: Vec<usize>,
    after: Vec<usize>,
    block: usize,
    /// Whether the positions name contiguous rows of `block` elements, one after the other.
    whole_rows: bool,
}

impl Places {
    /// Elements that belong to one position of the index.
    fn row(&self) -> usize {
        self.after.len() * self.block
    }

    /// The base offset of row `i`, rows counted in the result's order.
    fn base(&self, i: usize) -> usize {
        if let [before] = self.before[..] {
            return before + self.index[i];
        }
        self.before[i / self.index.len()] + self.index[i % self.index.len()]
    }

    fn pick<S: Stored>(&self, x: &[S], out: &mut [S]) {
        let row = self.row();
        if out.is_empty() {
            return;
        }
        let per_chunk = (GRAIN / row).max(1);
        parallel_chunks_mut(out, per_chunk * row, |i, out| {
            for (k, out) in out.chunks_exact_mut(row).enumerate() {
                let base = self.base(i * per_chunk + k);
                if row == 1 {
                    out[0] = x[base];
                    continue;
                }
                for (out, &at) in out.chunks_exact_mut(self.block).zip(&self.after) {
                    out.copy_from_slice(&x[base + at..base + at + self.block]);
                }
            }
        });
    }

    /// [`put`](Places::put) of whole rows of the target: each thread deals with its own rows.
    fn put_rows<S: Stored>(&self, values: &[S], out: &mut [S], with: impl Fn(S, S) -> S + Sync) {
        let row = self.block;
        let rows = (out.len() / row).div_ceil(PARTS).max(TARGETS / row).max(1);
        parallel_chunks_mut(out, rows * row, |i, out| {
            let from = i * rows * row;
            flambeau_cpu::simd::dispatch(
                #[inline(always)]
                || {
                    for (&at, values) in self.index.iter().zip(values.chunks_exact(row)) {
                        let Some(at) = at.checked_sub(from).filter(|&at| at < out.len()) else {
                            continue;
                        };
                        for (o, &v) in out[at..at + row].iter_mut().zip(values) {
                            *o = with(*o, v);
                        }
                    }
                },
            );
        });
    }

    /// In order, so that of several values for one place the last stays, and sums do not depend
    /// on threads.
    fn put<S: Stored>(&self, values: &[S], out: &mut [S], with: impl Fn(S, S) -> S + Sync) {
        let row = self.row();
        if values.is_empty() {
            return;
        }
        if self.whole_rows && values.len() >= GRAIN {
            return self.put_rows(values, out, with);
        }
        for (i, values) in values.chunks_exact(row).enumerate() {
            let base = self.base(i);
            for (values, &at) in values.chunks_exact(self.block).zip(&self.after) {
                let out = &mut out[base + at..base + at + self.block];
                for (o, &v) in out.iter_mut().zip(values) {
                    *o = with(*o, v);
                }
            }
        }
    }
}

/// Targets of [`Places::put_rows`] that a thread takes at a time, and the most parts of them: each
/// looks through the whole index.
const TARGETS: usize = 1 << 16;
const PARTS: usize = 16;

/// A type that sums are accumulated in: one of the four lanes.
pub(crate) trait Accumulate: Stored {
    /// The sum; integers wrap.
    fn plus(self, other: Self) -> Self;
}
macro_rules! accumulate {
    ($($t:ty, |$a:ident, $b:ident| $e:expr;)*) => {$(
        impl Accumulate for $t {
            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                let ($a, $b) = (self, other);
                $e
            }
        }
    )*};
}
accumulate! {
    f32, |a, b| a + b;
    f64, |a, b| a + b;
    i32, |a, b| a.wrapping_add(b);
    i64, |a, b| a.wrapping_add(b);
}

/// Runs `$body` with `$t` standing for the lane of `$dtype`.
macro_rules! with_lane {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $crate::ops::elementwise::lane_of($dtype) {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            _ => {
                type $t = i32;
                $body
            }
        }
    };
}
pub(crate) use with_lane;

/// The elements at a plan's places.
#[derive(Debug)]
struct Index(Plan);

impl Op for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let places = self.0.places(x.shape(), x.strides());
        let shape = self.0.result_shape(x.shape());
        let out = with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = read.slice::<S>();
            Tensor::build::<S>("index", &shape, x.dtype(), |out| places.pick(src, out))
        })?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, shape) = (inputs[0], self.0.result_shape(inputs[0].shape()));
        let out = cuda::pick(
            "index",
            &self.0.indexed(x.shape()),
            x,
            &self.0.flat(),
            &shape,
        )?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        // Not written before the copy that gradients are added to.
        let zeros = Tensor::zeros_with((), (grad.dtype(), grad.device()))?.expand(ctx.shape(0))?;
        Ok(smallvec![Some(put(&zeros, &self.0, grad, true)?)])
    }
}

/// A copy of the first input with the second put (added, where `accumulate`) at a plan's places.
#[derive(Debug)]
struct IndexPut {
    plan: Plan,
    accumulate: bool,
}

impl Op for IndexPut {
    fn name(&self) -> &'static str {
        "index_put"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, values) = (inputs[0], inputs[1]);
        let dtype = x.dtype();
        let strides = contiguous_strides(x.shape());
        let places = self.plan.places(x.shape(), &strides);
        if !self.accumulate {
            let out = to_contiguous("index_put", x, dtype)?;
            let values = to_contiguous("index_put", values, dtype)?;
            with_stored!(dtype, S => {
                let read = values.read();
                places.put(read.slice::<S>(), out.write().slice::<S>(), |_, v| v);
            });
            return Ok(out.into());
        }
        let lane = lane_of(dtype);
        let out = to_contiguous("index_put", x, lane)?;
        let values = to_contiguous("index_put", values, lane)?;
        with_lane!(dtype, T => {
            let read = values.read();
            places.put(read.slice::<T>(), out.write().slice::<T>(), T::plus);
        });
        if lane == dtype {
            Ok(out.into())
        } else {
            Ok(to_contiguous("index_put", &out, dtype)?.into())
        }
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, values) = (inputs[0], inputs[1]);
        let out = to_contiguous("index_put", x, x.dtype())?;
        let (indexed, at) = (self.plan.indexed(x.shape()), self.plan.flat());
        cuda::put("index_put", &indexed, &out, values, &at, self.accumulate)?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let x = if !ctx.needs(0) {
            None
        } else if self.accumulate {
            Some(grad.clone())
        } else {
            let zeros = Tensor::zeros_with((), (grad.dtype(), grad.device()))?;
            let zeros = zeros.expand(self.plan.result_shape(grad.shape()))?;
            Some(put(grad, &self.plan, &zeros, false)?)
        };
        let values = ctx.needs(1).then(|| pick(grad, &self.plan)).transpose()?;
        Ok(smallvec![x, values])
    }
}

/// The elements of `x` at the plan's places.
#[track_caller]
pub(crate) fn pick(x: &Tensor, plan: &Plan) -> Result<Tensor> {
    dispatch::call(Index(plan.clone()), &[x])
}

/// A copy of `x` with `values`, of the shape [`pick`] gives and the type of `x`, put or added at
/// the plan's places.
#[track_caller]
pub(crate) fn put(x: &Tensor, plan: &Plan, values: &Tensor, accumulate: bool) -> Result<Tensor> {
    let op = IndexPut {
        plan: plan.clone(),
        accumulate,
    };
    dispatch::call(op, &[x, values])
}

/// [`put`] straight into the memory of `x`, for tensors outside of any graph. Sums only where
/// `x` is of a lane.
pub(crate) fn put_in_memory(
    x: &Tensor,
    plan: &Plan,
    values: &Tensor,
    accumulate: bool,
) -> Result<()> {
    if x.on_cuda() {
        // Of its own memory: no read lock is held on what is written.
        let values = to_contiguous("index_put_", &values.to_device(x.device())?, x.dtype())?;
        return cuda::put(
            "index_put_",
            &plan.indexed(x.shape()),
            x,
            &values,
            &plan.flat(),
            accumulate,
        );
    }
    let places = plan.places(x.shape(), x.strides());
    // Contiguous and of its own memory: no read lock is held on what is written.
    let values = to_contiguous("index_put_", values, x.dtype())?;
    if accumulate {
        with_lane!(x.dtype(), T => {
            let read = values.read();
            places.put(read.slice::<T>(), x.write().slice::<T>(), T::plus);
        });
        return Ok(());
    }
    with_stored!(x.dtype(), S => {
        let read = values.read();
        places.put(read.slice::<S>(), x.write().slice::<S>(), |_, v| v);
    });
    Ok(())
}
