//! Reductions over dimensions.

use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::to_contiguous;
use crate::shape::{Dims, Shape, wrap_dims};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail};
use flambeau_cpu::reduce as kernels;
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::smallvec;

/// The sum over `dims`; the result keeps them as size 1, the caller squeezes.
#[derive(Debug)]
struct Sum {
    dims: Shape,
    dtype: DType,
}

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, outer, inner) = reduced_last(inputs[0], &self.dims, self.dtype)?;
        let mut shape = Shape::from_slice(inputs[0].shape());
        self.dims.iter().for_each(|&d| shape[d] = 1);
        debug_assert_eq!(outer, crate::shape::numel(&shape));
        let out = match self.dtype {
            DType::F64 => rows::<f64, f64>(&x, &shape, self.dtype, inner, kernels::sum_f64),
            DType::I64 => rows::<i64, i64>(&x, &shape, self.dtype, inner, |row| {
                row.iter().fold(0i64, |s, v| s.wrapping_add(*v))
            }),
            DType::F32 => rows::<f32, f32>(&x, &shape, self.dtype, inner, kernels::sum_f32),
            // Half types accumulate in f32.
            _ => {
                let x = to_contiguous("sum", &x, DType::F32)?;
                rows::<f32, f32>(&x, &shape, DType::F32, inner, kernels::sum_f32)
                    .and_then(|s| to_contiguous("sum", &s, self.dtype))
            }
        }?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.expand(ctx.shape(0))?)])
    }
}

/// `x` as `outer` contiguous rows of `inner` elements each, those that `dims` runs over.
pub(crate) fn reduced_last(
    x: &Tensor,
    dims: &[usize],
    dtype: DType,
) -> Result<(Tensor, usize, usize)> {
    let kept = (0..x.dim()).filter(|d| !dims.contains(d));
    let order: Vec<usize> = kept.chain(dims.iter().copied()).collect();
    let inner = dims.iter().map(|&d| x.shape()[d]).product();
    let outer = (0..x.dim())
        .filter(|d| !dims.contains(d))
        .map(|d| x.shape()[d])
        .product();
    let moved = x.detach().permute(order)?;
    let rows = if moved.is_contiguous() && moved.dtype() == dtype {
        moved
    } else {
        to_contiguous("reduce", &moved, dtype)?
    };
    Ok((rows, outer, inner))
}

fn rows<T: crate::dtype::Stored, O: crate::dtype::Stored>(
    x: &Tensor,
    shape: &[usize],
    dtype: DType,
    inner: usize,
    f: impl Fn(&[T]) -> O + Sync,
) -> Result<Tensor> {
    let read = x.read();
    let src = &read.slice::<T>()[..x.numel()];
    let per_chunk = (1usize << 14).div_ceil(inner.max(1));
    Tensor::build::<O>("reduce", shape, dtype, |out| {
        parallel_chunks_mut(out, per_chunk, |i, out| {
            for (k, o) in out.iter_mut().enumerate() {
                let row = (i * per_chunk + k) * inner;
                *o = f(&src[row..row + inner]);
            }
        });
    })
}

impl Tensor {
    /// The sum of all elements; integers and bool sum as `i64`.
    #[track_caller]
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dim((), false)
    }

    /// The sum over dimensions `dim` (all where empty), kept as size 1 with `keepdim`.
    ///
    /// # Errors
    /// Where a dimension is out of range or named twice.
    #[track_caller]
    pub fn sum_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let dims = wrap_dims("sum", &dim.dims(), self.dim())?;
        let sum = dispatch::call(
            Sum {
                dims: dims.clone(),
                dtype: self.dtype().sum_type(),
            },
            &[self],
        )?;
        if keepdim {
            Ok(sum)
        } else {
            sum.drop_dims(&dims)
        }
    }

    /// Without the dimensions `dims`, all of size 1.
    #[track_caller]
    pub(crate) fn drop_dims(&self, dims: &[usize]) -> Result<Tensor> {
        let shape: Shape = (0..self.dim())
            .filter(|d| !dims.contains(d))
            .map(|d| self.shape()[d])
            .collect();
        self.view(shape)
    }

    /// The mean of all elements; floating point alone.
    #[track_caller]
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dim((), false)
    }

    /// The mean over dimensions `dim` (all where empty), kept as size 1 with `keepdim`.
    ///
    /// # Errors
    /// For integer and bool tensors, as in PyTorch.
    #[track_caller]
    pub fn mean_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        if !self.dtype().is_floating_point() {
            bail!(
                "mean",
                "the mean of a {} tensor is not defined; convert with to_dtype(DType::F32) first",
                self.dtype()
            );
        }
        let dims = wrap_dims("mean", &dim.dims(), self.dim())?;
        let n: usize = dims.iter().map(|&d| self.shape()[d]).product();
        self.sum_dim(dims, keepdim)?.div(n as f64)
    }

    /// Summed to `size`, to which this tensor's shape is a broadcast: the gradient of broadcasting.
    ///
    /// # Errors
    /// Where `size` does not broadcast to this shape.
    #[track_caller]
    pub fn sum_to_size(&self, size: &[usize]) -> Result<Tensor> {
        let lead = self.dim().checked_sub(size.len());
        let fits = lead.is_some_and(|lead| {
            size.iter()
                .zip(&self.shape()[lead..])
                .all(|(&s, &d)| s == d || s == 1)
        });
        let Some(lead) = lead.filter(|_| fits) else {
            bail!(
                "sum_to_size",
                "shape {:?} is not a broadcast of {size:?}",
                self.shape()
            );
        };
        let dims: Vec<usize> = (0..self.dim())
            .filter(|&d| d < lead || (size[d - lead] == 1 && self.shape()[d] != 1))
            .collect();
        if dims.is_empty() {
            return Ok(self.clone());
        }
        self.sum_dim(dims, true)?.view(Shape::from_slice(size))
    }
}
