//! Reductions and softmax on a device.

use super::{make, packed, with_slice};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::{DType, Result};
use flambeau_cuda::kernels::Reduce;
use flambeau_cuda::tensor;

/// Dimensions `dims` of `x` folded, as size 1, into elements of type `dtype`.
#[track_caller]
pub(crate) fn reduce(
    op: &'static str,
    kind: Reduce,
    x: &Tensor,
    dims: &[usize],
    dtype: DType,
) -> Result<Tensor> {
    let (dims, shape) = folded(x, dims);
    with_slice(op, x, |x_slice| {
        make(op, &shape, dtype, x.device(), |out| {
            tensor::reduce(kind, x_slice, &dims, out, None)
        })
    })
}

/// Mean and biased variance over dimensions `dims` of `x`, as size 1, of type `dtype`.
#[track_caller]
pub(crate) fn moments(
    op: &'static str,
    x: &Tensor,
    dims: &[usize],
    dtype: DType,
) -> Result<(Tensor, Tensor)> {
    let (dims, shape) = folded(x, dims);
    let kind = Reduce::Var { correction: 0.0 };
    with_slice(op, x, |x_slice| {
        let mut var = None;
        let mean = make(op, &shape, dtype, x.device(), |mean| {
            var = Some(make(op, &shape, dtype, x.device(), |var| {
                tensor::reduce(kind, x_slice, &dims, var, Some(mean))
            }));
            Ok(())
        })?;
        let var = var.unwrap_or_else(|| Ok(mean.clone()))?;
        Ok((mean, var))
    })
}

/// The extreme of each slice of `x` along `dim` and its first place, with `dim` as size 1.
#[track_caller]
pub(crate) fn extreme(
    op: &'static str,
    largest: bool,
    x: &Tensor,
    dim: usize,
) -> Result<(Tensor, Tensor)> {
    let dims: &[usize] = if x.dim() == 0 { &[] } else { &[dim] };
    let (dims, shape) = folded(x, dims);
    let kind = if largest {
        Reduce::MaxAt
    } else {
        Reduce::MinAt
    };
    with_slice(op, x, |x_slice| {
        let mut values = None;
        let places = make(op, &shape, DType::I64, x.device(), |places| {
            values = Some(make(op, &shape, x.dtype(), x.device(), |out| {
                tensor::reduce(kind, x_slice, &dims, out, Some(places))
            }));
            Ok(())
        })?;
        let values = values.unwrap_or_else(|| Ok(places.clone()))?;
        Ok((values, places))
    })
}

/// The dimensions in order, and the shape with them as size 1.
fn folded(x: &Tensor, dims: &[usize]) -> (Shape, Shape) {
    let mut dims = Shape::from_slice(dims);
    dims.sort_unstable();
    let mut shape = Shape::from_slice(x.shape());
    dims.iter().for_each(|&d| shape[d] = 1);
    (dims, shape)
}

/// Softmax of the floating-point `x` along the middle dimension of `[outer, n, inner]`.
#[track_caller]
pub(crate) fn softmax(
    op: &'static str,
    log: bool,
    x: &Tensor,
    around: [usize; 3],
) -> Result<Tensor> {
    let x = packed(op, x, x.dtype())?;
    with_slice(op, &x, |from| {
        make(op, x.shape(), x.dtype(), x.device(), |out| {
            tensor::softmax(log, around, from, out)
        })
    })
}

/// The gradient of softmax's input from that of its output and the output, of one type.
#[track_caller]
pub(crate) fn softmax_backward(
    op: &'static str,
    log: bool,
    (g, y): (&Tensor, &Tensor),
    around: [usize; 3],
) -> Result<Tensor> {
    let (g, y) = (packed(op, g, y.dtype())?, packed(op, y, y.dtype())?);
    let (g_read, y_read) = (g.read(), y.read());
    let g_slice = super::slice(op, &g, &g_read, g.shape(), g.strides())?;
    let y_slice = super::slice(op, &y, &y_read, y.shape(), y.strides())?;
    make(op, y.shape(), y.dtype(), y.device(), |out| {
        tensor::softmax_backward(log, around, &g_slice, &y_slice, out)
    })
}
