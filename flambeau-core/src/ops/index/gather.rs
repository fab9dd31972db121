//! `gather`, `scatter`, `scatter_add`: an index of its own for every element.

use super::plan::{Accumulate, out_of_range, positions, with_lane};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{lane_of, to_contiguous};
use crate::shape::{Shape, contiguous_strides, numel};
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, Result, bail, cuda, with_stored};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::smallvec;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// Where the elements that an index names lie in a contiguous tensor.
struct Places<'a> {
    index: &'a [i64],
    /// The index's sizes, and the tensor's strides but 0 along the indexed dimension.
    shape: Shape,
    strides: Shape,
    /// The stride of the indexed dimension.
    step: usize,
}

impl<'a> Places<'a> {
    /// Checks the index, whose elements are `values`, against a tensor of sizes `shape`.
    fn new(
        op: &'static str,
        shape: &[usize],
        dim: usize,
        index: &Tensor,
        values: &'a [i64],
    ) -> Result<Places<'a>> {
        let one = [1];
        let at_least_1d = |s: &[usize]| Shape::from_slice(if s.is_empty() { &one } else { s });
        let (sizes, shape) = (at_least_1d(shape), at_least_1d(index.shape()));
        let fits = sizes.len() == shape.len()
            && (0..sizes.len()).all(|d| d == dim || shape[d] <= sizes[d]);
        if !fits && index.numel() > 0 {
            bail!(
                op,
                "an index of shape {:?} does not fit a tensor of shape {:?}: they must have as many dimensions, and the index be no longer but along dimension {dim}",
                index.shape(),
                &sizes[..]
            );
        }
        // An empty index names nothing, whatever its shape.
        let shape = if fits {
            shape
        } else {
            Shape::from_elem(0, sizes.len())
        };
        if let Some(bad) = out_of_range(values, 0, sizes[dim] as i64) {
            bail!(
                op,
                "index {bad} is out of range for dimension {dim} of size {}",
                sizes[dim]
            );
        }
        let mut strides = contiguous_strides(&sizes);
        let step = strides[dim];
        strides[dim] = 0;
        Ok(Places {
            index: values,
            shape,
            strides,
            step,
        })
    }

    /// Calls `f(i, place)` for elements `from..to` of the index.
    #[inline(always)]
    fn each(&self, from: usize, to: usize, mut f: impl FnMut(usize, usize)) {
        let last = self.shape.len() - 1;
        let (width, stride) = (self.shape[last], self.strides[last]);
        let mut i = from;
        while i < to {
            let (mut rest, column) = (i / width, i % width);
            let mut base = 0;
            for d in (0..last).rev() {
                base += rest % self.shape[d] * self.strides[d];
                rest /= self.shape[d];
            }
            let n = (width - column).min(to - i);
            base += column * stride;
            for (j, &index) in self.index[i..i + n].iter().enumerate() {
                f(i + j, base + j * stride + index as usize * self.step);
            }
            i += n;
        }
    }
}

/// The elements that input 1, the index, names along a dimension of input 0.
#[derive(Debug)]
struct Gather {
    dim: usize,
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, index) = (inputs[0].contiguous()?, inputs[1]);
        let positions = positions("gather", index)?;
        let guard = positions.read();
        let values = &guard.slice::<i64>()[..index.numel()];
        let places = Places::new("gather", x.shape(), self.dim, index, values)?;
        let out = with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = read.slice::<S>();
            Tensor::build::<S>("gather", index.shape(), x.dtype(), |out| {
                parallel_chunks_mut(out, GRAIN, |i, out| {
                    let start = i * GRAIN;
                    places.each(start, start + out.len(), |i, at| out[i - start] = src[at]);
                });
            })
        })?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let index = positions("gather", inputs[1])?;
        Ok(cuda::gather("gather", self.dim, inputs[0], &index)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(1)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let zeros = Tensor::zeros_with(ctx.shape(0), (grad.dtype(), grad.device()))?;
        let g = zeros.scatter_add(self.dim as i64, &ctx.input(1)?, grad)?;
        Ok(smallvec![Some(g), None])
    }
}

/// Input 0 with input 2 put or added where input 1, the index, says.
#[derive(Debug)]
struct Scatter {
    dim: usize,
    add: bool,
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        if self.add { "scatter_add" } else { "scatter" }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, index, src) = (inputs[0], inputs[1], inputs[2]);
        let lane = if self.add {
            lane_of(x.dtype())
        } else {
            x.dtype()
        };
        let out = to_contiguous(self.name(), x, lane)?;
        self.write(&out, index, src)?;
        if lane == x.dtype() {
            Ok(out.into())
        } else {
            Ok(to_contiguous(self.name(), &out, x.dtype())?.into())
        }
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, src) = (inputs[0], inputs[2]);
        let index = positions(self.name(), inputs[1])?;
        Ok(cuda::scatter(self.name(), self.dim, x, &index, src, self.add)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(1)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let (dim, index) = (self.dim as i64, ctx.input(1)?);
        let x = if !ctx.needs(0) {
            None
        } else if self.add {
            Some(grad.clone())
        } else {
            Some(grad.scatter(dim, &index, 0)?)
        };
        let src = ctx.needs(2).then(|| grad.gather(dim, &index)).transpose()?;
        Ok(smallvec![x, None, src])
    }
}

impl Scatter {
    /// Puts or adds `src` in the memory of the contiguous `x`; sums only where that is of a lane.
    /// False, with nothing done, where a thread is using the memory.
    fn write(&self, x: &Tensor, index: &Tensor, src: &Tensor) -> Result<bool> {
        let positions = positions(self.name(), index)?;
        let guard = positions.read();
        let values = &guard.slice::<i64>()[..index.numel()];
        let places = Places::new(self.name(), x.shape(), self.dim, index, values)?;
        let mut copy = None;
        if !(src.is_contiguous() && src.dtype() == x.dtype()) {
            copy = Some(to_contiguous(self.name(), src, x.dtype())?);
        }
        let src = copy.as_ref().unwrap_or(src);
        // What the dimensions before the indexed one tell apart does not meet.
        let shape = index.shape();
        let apart =
            x.dim() > 0 && shape.len() == x.dim() && shape[..self.dim] == x.shape()[..self.dim];
        let slabs = if apart {
            numel(&x.shape()[..self.dim])
        } else {
            1
        };
        // In order: of several values for one place the last stays, and sums have one order.
        fn run<T: Stored>(
            places: &Places<'_>,
            slabs: usize,
            src: &Tensor,
            out: &Tensor,
            with: impl Fn(T, T) -> T + Sync,
        ) -> bool {
            let n = places.index.len();
            if n == 0 {
                return true;
            }
            let read = src.read();
            let src = read.slice::<T>();
            // Never waited for: the operands are locked already.
            let Some(mut write) = out.0.storage.try_write(out.0.offset) else {
                return false;
            };
            let out = &mut write.slice::<T>()[..out.numel()];
            let (slab, of_index) = (out.len() / slabs, n / slabs);
            let per_chunk = (GRAIN / slab.max(of_index)).max(1);
            parallel_chunks_mut(out, per_chunk * slab, |i, out| {
                let first = i * per_chunk;
                let (from, to) = (first * of_index, (first + out.len() / slab) * of_index);
                places.each(from, to, |i, at| {
                    let o = &mut out[at - first * slab];
                    *o = with(*o, src[i]);
                });
            });
            true
        }
        Ok(if self.add {
            with_lane!(x.dtype(), T => run::<T>(&places, slabs, src, x, T::plus))
        } else {
            with_stored!(x.dtype(), S => run::<S>(&places, slabs, src, x, |_, v| v))
        })
    }

    /// The operation in the memory of `x` without a history; false, with nothing done, where that
    /// cannot be.
    fn run_in_place(&self, x: &Tensor, index: &Tensor, src: &Tensor) -> Result<bool> {
        let fits = ![x, index, src].iter().any(|t| t.on_cuda())
            && x.is_contiguous()
            && (!self.add || lane_of(x.dtype()) == x.dtype())
            && x.changes_unrecorded(&[src])
            && ![index, src].iter().any(|t| t.shares_storage(x));
        Ok(fits && self.write(x, index, src)?)
    }
}

impl Tensor {
    /// The elements that `index` names along dimension `dim`: for two dimensions and `dim` 0,
    /// `out[i][j] = self[index[i][j]][j]`
    /// ([`torch.gather`](https://pytorch.org/docs/stable/generated/torch.gather.html)). The result
    /// has the index's shape,
    /// whose other sizes may be smaller than the tensor's.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1i64, 2], [3, 4]])?;
    /// let picked = x.gather(1, &Tensor::new([[1i64], [0]])?)?;
    /// assert_eq!(picked.to_vec::<i64>()?, [2, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the index does not fit, is not of integers, or names what is not there (negative
    /// indices too, as in PyTorch).
    #[track_caller]
    pub fn gather(&self, dim: i64, index: &Tensor) -> Result<Tensor> {
        let dim = self.dim_index("gather", dim)?;
        dispatch::call(Gather { dim }, &[self, index])
    }

    /// A copy with `src`, a number or a tensor at least as large as the index, put where `index`
    /// says: for two dimensions and `dim` 0, `out[index[i][j]][j] = src[i][j]`
    /// ([`torch.scatter`](https://pytorch.org/docs/stable/generated/torch.scatter.html)).
    /// Of several values for one place the last stays.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::zeros([2, 2])?.scatter(1, &Tensor::new([[1i64], [0]])?, 5.0)?.to_vec2::<f32>()?,
    ///     [[0.0, 5.0], [5.0, 0.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`gather`](Tensor::gather), and where types differ.
    #[track_caller]
    pub fn scatter(&self, dim: i64, index: &Tensor, src: impl Operand) -> Result<Tensor> {
        self.scattered(dim, index, &*src.operand()?, false)
    }

    /// A copy with `src` added where `index` says, as [`scatter`](Tensor::scatter)
    /// ([`torch.scatter_add`](https://pytorch.org/docs/stable/generated/torch.scatter_add.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (index, src) = (Tensor::new([0i64, 1, 0])?, Tensor::new([1.0f32, 2.0, 3.0])?);
    /// assert_eq!(Tensor::zeros([2])?.scatter_add(0, &index, &src)?.to_vec::<f32>()?, [4.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`scatter`](Tensor::scatter).
    #[track_caller]
    pub fn scatter_add(&self, dim: i64, index: &Tensor, src: impl Operand) -> Result<Tensor> {
        self.scattered(dim, index, &*src.operand()?, true)
    }

    /// [`scatter`](Tensor::scatter) in place.
    ///
    /// # Errors
    /// As [`scatter`](Tensor::scatter), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn scatter_(&self, dim: i64, index: &Tensor, src: impl Operand) -> Result<Tensor> {
        self.scattered_in_place("scatter_", dim, index, &*src.operand()?, false)
    }

    /// [`scatter_add`](Tensor::scatter_add) in place.
    ///
    /// # Errors
    /// As [`scatter_add`](Tensor::scatter_add), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn scatter_add_(&self, dim: i64, index: &Tensor, src: impl Operand) -> Result<Tensor> {
        self.scattered_in_place("scatter_add_", dim, index, &*src.operand()?, true)
    }

    #[track_caller]
    fn scattered_in_place(
        &self,
        name: &'static str,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        add: bool,
    ) -> Result<Tensor> {
        self.check_inplace(name)?;
        let (op, src) = self.scatter_source(dim, index, src, add)?;
        if op.run_in_place(self, index, &src)? {
            return Ok(self.written(name));
        }
        self.assign(name, dispatch::call(op, &[self, index, &src])?)
    }

    #[track_caller]
    fn scattered(&self, dim: i64, index: &Tensor, src: &Tensor, add: bool) -> Result<Tensor> {
        let (op, src) = self.scatter_source(dim, index, src, add)?;
        dispatch::call(op, &[self, index, &src])
    }

    /// The operation, and the part of `src` that the index takes.
    #[track_caller]
    fn scatter_source(
        &self,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        add: bool,
    ) -> Result<(Scatter, Tensor)> {
        let op = Scatter {
            dim: self.dim_index("scatter", dim)?,
            add,
        };
        if src.is_number() {
            let src = src.to((self.dtype(), self.device()))?;
            return Ok((op, src.expand(index.shape())?));
        }
        if src.dtype() != self.dtype() {
            bail!(
                op.name(),
                "expected both to have the same dtype, got a tensor of {} and a source of {}; convert one with to_dtype",
                self.dtype(),
                src.dtype()
            );
        }
        let fits =
            src.dim() == index.dim() && src.shape().iter().zip(index.shape()).all(|(s, i)| s >= i);
        if !fits && index.numel() > 0 {
            bail!(
                op.name(),
                "a source of shape {:?} is smaller than the index of shape {:?}",
                src.shape(),
                index.shape()
            );
        }
        let mut part = src.clone();
        if index.numel() > 0 {
            for (d, &n) in index.shape().iter().enumerate() {
                if part.shape()[d] != n {
                    part = part.slice(d as i64, 0, n, 1)?;
                }
            }
        } else {
            part = Tensor::zeros_with(index.shape(), (self.dtype(), self.device()))?;
        }
        Ok((op, part))
    }

    /// The elements that `indices` names along dimension `dim`, indices and tensor broadcasting
    /// in the others
    /// ([`torch.take_along_dim`](https://pytorch.org/docs/stable/generated/torch.take_along_dim.html));
    /// without `dim` (`()`) of the flattened tensor.
    /// What `argsort` and `argmax` with `keepdim` return picks what `sort` and `max` do.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[3i64, 1, 2], [4, 6, 5]])?;
    /// assert_eq!(
    ///     x.take_along_dim(&x.argsort(1, false)?, 1)?.to_vec2::<i64>()?,
    ///     [[1, 2, 3], [4, 5, 6]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`gather`](Tensor::gather), and where shapes do not broadcast.
    #[track_caller]
    pub fn take_along_dim(&self, indices: &Tensor, dim: impl crate::Dims) -> Result<Tensor> {
        let d = match dim.dims()[..] {
            [] => return self.reshape(-1)?.gather(0, &indices.reshape(-1)?),
            [d] => self.dim_index("take_along_dim", d)?,
            ref dims => bail!(
                "take_along_dim",
                "takes one dimension or none, not {dims:?}"
            ),
        };
        if self.dim() != indices.dim() {
            bail!(
                "take_along_dim",
                "a tensor of shape {:?} and indices of shape {:?} must have as many dimensions",
                self.shape(),
                indices.shape()
            );
        }
        if self.dim() == 0 {
            return self.gather(0, indices);
        }
        let (mut mine, mut theirs) = (
            Shape::from_slice(self.shape()),
            Shape::from_slice(indices.shape()),
        );
        (mine[d], theirs[d]) = (1, 1);
        let common = crate::shape::broadcast("take_along_dim", &mine, &theirs)?;
        let with = |n: usize| {
            let mut shape = common.clone();
            shape[d] = n;
            shape
        };
        let index = indices.expand(with(indices.shape()[d]))?;
        self.expand(with(self.shape()[d]))?.gather(d as i64, &index)
    }
}
