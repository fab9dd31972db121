//! Advanced indexing: elements picked along one or several dimensions by lists of positions, and
//! its counterpart that puts elements there. `index_select`, `embedding`, masks and the rest are
//! all this.

use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::{lane_of, to_contiguous, with_size};
use crate::shape::{Shape, broadcast, check_numel};
use crate::storage::{Read, Write};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Device, Result, bail, cuda};
use flambeau_cpu::index::{self as kernels, Places};
use flambeau_cpu::threads::{parallel_chunks_mut, parallel_slices_mut};
use flambeau_cuda::kernels::Indexed;
use smallvec::{SmallVec, smallvec};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// Which positions of which dimensions are meant.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The indexed dimensions, ascending, and their sizes.
    dims: SmallVec<[usize; 4]>,
    sizes: SmallVec<[usize; 4]>,
    /// For each position of the index's shape, the row-major position among the indexed
    /// dimensions, on the host. A copy: later changes of the index tensors are not seen.
    index: Tensor,
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
fn out_of_range(values: &[i64], low: i64, high: i64) -> Option<i64> {
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
        check_numel(op, &common)?;
        let indices: Vec<Tensor> = indices
            .iter()
            .map(|index| positions(op, &index.to_device(Device::Cpu)?.expand(&common)?))
            .collect::<Result<_>>()?;
        let reads: Vec<_> = indices.iter().map(Tensor::read).collect();
        let mut bad: Option<(i64, usize)> = None;
        for ((read, index), &dim) in reads.iter().zip(&indices).zip(dims) {
            let (values, size) = (&read.slice::<i64>()[..index.numel()], shape[dim] as i64);
            let low = if wrap { -size } else { 0 };
            bad = bad.or(out_of_range(values, low, size).map(|bad| (bad, dim)));
        }
        if let Some((bad, dim)) = bad {
            bail!(
                op,
                "index {bad} is out of range for dimension {dim} of size {}",
                shape[dim]
            );
        }
        let index = Tensor::build::<i64>(op, &common, DType::I64, |out| {
            parallel_slices_mut(out, 1, GRAIN, |start, out| {
                let at = start..start + out.len();
                for (k, (read, &dim)) in reads.iter().zip(dims).enumerate() {
                    combine(
                        out,
                        &read.slice::<i64>()[at.clone()],
                        shape[dim] as i64,
                        k == 0,
                    );
                }
            });
        })?;
        let adjacent = dims.windows(2).all(|w| w[1] == w[0] + 1);
        Ok(Plan {
            dims: SmallVec::from_slice(dims),
            sizes: dims.iter().map(|&d| shape[d]).collect(),
            index,
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
            count: self.index.numel(),
        }
    }

    /// The positions among the indexed dimensions.
    fn flat(&self) -> Vec<i64> {
        self.index.read().slice::<i64>()[..self.index.numel()].to_vec()
    }

    fn rest(&self, ndim: usize) -> impl Iterator<Item = usize> {
        (0..ndim).filter(|d| !self.dims.contains(d))
    }

    /// Calls `f` with the places in memory of these sizes and strides; not where there are none.
    fn with_places(&self, shape: &[usize], strides: &[usize], f: impl FnOnce(Places<'_>)) {
        let rest: Vec<(usize, usize)> = self
            .rest(shape.len())
            .map(|d| (shape[d], strides[d]))
            .collect();
        let read = self.index.read();
        let index = &read.slice::<i64>()[..self.index.numel()];
        if index.is_empty() || rest.iter().any(|&(size, _)| size == 0) {
            // The other sizes may be as large as a number can say.
            return;
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
        // Dimensions that are one run in memory: a position is a multiple of the last one's stride.
        let run = (1..picked.len()).all(|k| picked[k - 1] == picked[k] * self.sizes[k]);
        let mut offsets = Vec::new();
        if !run {
            offsets.extend(index.iter().map(|&flat| {
                let (mut rest, mut at) = (flat as usize, 0);
                for (size, stride) in self.sizes.iter().zip(&picked).rev() {
                    at += rest % size * stride;
                    rest /= size;
                }
                at as i64
            }));
        }
        f(Places {
            before,
            index: if run { index } else { &offsets },
            scale: if run { picked[picked.len() - 1] } else { 1 },
            after,
            block,
        });
    }
}

/// Positions `flat` of the dimensions before, and `index` along one of `size` more; nothing before it
/// where `first`. What is negative counts from the end.
fn combine(flat: &mut [i64], index: &[i64], size: i64, first: bool) {
    let wrapped = |i: i64| if i < 0 { i + size } else { i };
    flambeau_cpu::simd::dispatch(
        #[inline(always)]
        || {
            if first {
                (flat.iter_mut().zip(index)).for_each(|(f, &i)| *f = wrapped(i));
            } else {
                (flat.iter_mut().zip(index)).for_each(|(f, &i)| *f = *f * size + wrapped(i));
            }
        },
    );
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
        let shape = self.0.result_shape(x.shape());
        let out = with_size!(x.dtype(), S => {
            let read = x.read();
            let src = read.slice::<S>();
            Tensor::build::<S>("index", &shape, x.dtype(), |out| {
                self.0.with_places(x.shape(), x.strides(), |places| kernels::pick(src, places, out));
            })
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
        let lane = if self.accumulate {
            lane_of(dtype)
        } else {
            dtype
        };
        let out = to_contiguous("index_put", x, lane)?;
        let values = to_contiguous("index_put", values, lane)?;
        let n = values.numel();
        write(
            out.write(),
            &out,
            &self.plan,
            &values.read(),
            n,
            self.accumulate,
        );
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
    if values.is_contiguous() && values.dtype() == x.dtype() && !values.shares_storage(x) {
        let read = values.read();
        // Never waited for while the values are locked.
        if let Some(out) = x.0.storage.try_write(x.0.offset) {
            write(out, x, plan, &read, values.numel(), accumulate);
            return Ok(());
        }
    }
    // Of its own memory: nobody else locks it.
    let values = to_contiguous("index_put_", values, x.dtype())?;
    write(
        x.write(),
        x,
        plan,
        &values.read(),
        values.numel(),
        accumulate,
    );
    Ok(())
}

/// Puts or adds `n` contiguous values in the memory of `x`, which is of the same type; sums only
/// where that is a lane.
fn write(
    mut out: Write<'_>,
    x: &Tensor,
    plan: &Plan,
    values: &Read<'_>,
    n: usize,
    accumulate: bool,
) {
    plan.with_places(x.shape(), x.strides(), |places| {
        if accumulate {
            with_lane!(x.dtype(), T => {
                kernels::put_add(out.slice::<T>(), places, &values.slice::<T>()[..n]);
            });
        } else {
            with_size!(x.dtype(), S => {
                kernels::put(out.slice::<S>(), places, &values.slice::<S>()[..n]);
            });
        }
    });
}
