//! `gather`, `scatter`, `scatter_add`: an index of its own for every element.

use super::plan::{positions, with_lane};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::{lane_of, to_contiguous, with_size};
use crate::shape::Shape;
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, Result, bail, cuda};
use flambeau_cpu::index::{self as kernels, Along};
use smallvec::smallvec;

/// The sizes of a tensor and of its index along `dim`, of one dimension at least.
///
/// # Errors
/// Where the index does not fit the tensor.
#[track_caller]
fn ranked(op: &'static str, x: &Tensor, dim: usize, index: &Tensor) -> Result<(Shape, Shape)> {
    let one = [1];
    let at_least_1d = |s: &[usize]| Shape::from_slice(if s.is_empty() { &one } else { s });
    let (sizes, shape) = (at_least_1d(x.shape()), at_least_1d(index.shape()));
    let fits =
        sizes.len() == shape.len() && (0..sizes.len()).all(|d| d == dim || shape[d] <= sizes[d]);
    // An empty index names nothing, whatever its shape.
    if !fits && index.numel() > 0 {
        bail!(
            op,
            "an index of shape {:?} does not fit a tensor of shape {:?}: they must have as many dimensions, and the index be no longer but along dimension {dim}",
            index.shape(),
            &sizes[..]
        );
    }
    Ok((sizes, shape))
}

/// Says that index `bad` is out of range.
#[track_caller]
fn expect_in_range(
    op: &'static str,
    found: std::result::Result<(), i64>,
    dim: usize,
    size: usize,
) -> Result<()> {
    match found {
        Ok(()) => Ok(()),
        Err(bad) => bail!(
            op,
            "index {bad} is out of range for dimension {dim} of size {size}"
        ),
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
        let (sizes, shape) = ranked("gather", &x, self.dim, index)?;
        if index.numel() == 0 {
            return Ok(Tensor::empty_with(index.shape(), x.dtype())?.into());
        }
        let guard = positions.read();
        let along = Along::new(
            &guard.slice::<i64>()[..index.numel()],
            &shape,
            &sizes,
            self.dim,
        );
        let mut found = Ok(());
        let out = with_size!(x.dtype(), S => {
            let read = x.read();
            let src = read.slice::<S>();
            Tensor::build::<S>("gather", index.shape(), x.dtype(), |out| {
                found = kernels::gather(src, along, out);
            })
        })?;
        expect_in_range("gather", found, self.dim, sizes[self.dim])?;
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
        let (sizes, shape) = ranked(self.name(), x, self.dim, index)?;
        if index.numel() == 0 {
            return Ok(true);
        }
        let size = sizes[self.dim];
        let guard = positions.read();
        let values = &guard.slice::<i64>()[..index.numel()];
        let along = Along::new(values, &shape, &sizes, self.dim);
        let mut copy = None;
        if !(src.is_contiguous() && src.dtype() == x.dtype()) {
            copy = Some(to_contiguous(self.name(), src, x.dtype())?);
        }
        let src = copy.as_ref().unwrap_or(src);
        let (read, n) = (src.read(), index.numel());
        // Never waited for: the operands are locked already.
        let Some(mut write) = x.0.storage.try_write(x.0.offset) else {
            return Ok(false);
        };
        let found = if self.add {
            with_lane!(x.dtype(), T => {
                kernels::scatter_add(write.slice::<T>(), along, &read.slice::<T>()[..n])
            })
        } else {
            with_size!(x.dtype(), S => {
                kernels::scatter(write.slice::<S>(), along, &read.slice::<S>()[..n])
            })
        };
        expect_in_range(self.name(), found, self.dim, size)?;
        Ok(true)
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
