//! Pooling on a device.

use super::{make_as, slice, with_slice};
use crate::ops::format::dense;
use crate::tensor::Tensor;
use crate::{DType, MemoryFormat, Result};
use flambeau_cuda::tensor::Windows;

/// The maximum of each window and its place in the plane; `shape` and `format` are the results'.
#[track_caller]
pub(crate) fn max_pool(
    op: &'static str,
    windows: &Windows,
    x: &Tensor,
    (shape, format): (&[usize], MemoryFormat),
) -> Result<(Tensor, Tensor)> {
    let (x, strides) = (dense(op, x, x.dtype(), format)?, format.strides(shape));
    let (device, dtype) = (x.device(), x.dtype());
    with_slice(op, &x, |from| {
        let mut values = None;
        let places = make_as(op, shape, &strides, (DType::I64, device), |places| {
            values = Some(make_as(op, shape, &strides, (dtype, device), |out| {
                windows.max(from, out, places)
            }));
            Ok(())
        })?;
        let values = values.unwrap_or_else(|| Ok(places.clone()))?;
        Ok((values, places))
    })
}

/// The gradient of the maxima's input, which has `shape` and `format`.
#[track_caller]
pub(crate) fn max_pool_backward(
    op: &'static str,
    windows: &Windows,
    (grad, places): (&Tensor, &Tensor),
    (shape, format): (&[usize], MemoryFormat),
) -> Result<Tensor> {
    let grad = dense(op, grad, grad.dtype(), format)?;
    let places = dense(op, places, DType::I64, format)?;
    let strides = format.strides(shape);
    let read = places.read();
    let places = slice(op, &places, &read, places.shape(), places.strides())?;
    with_slice(op, &grad, |from| {
        make_as(op, shape, &strides, (grad.dtype(), grad.device()), |out| {
            windows.max_backward(from, &places, out)
        })
    })
}

/// The average of each window, of `shape` and `format`; or, `back`, the gradient of its input.
#[track_caller]
pub(crate) fn average_pool(
    op: &'static str,
    windows: &Windows,
    back: bool,
    x: &Tensor,
    (shape, format): (&[usize], MemoryFormat),
) -> Result<Tensor> {
    let x = dense(op, x, x.dtype(), format)?;
    let strides = format.strides(shape);
    with_slice(op, &x, |from| {
        make_as(
            op,
            shape,
            &strides,
            (x.dtype(), x.device()),
            |out| match back {
                false => windows.average(from, out),
                true => windows.average_backward(from, out),
            },
        )
    })
}
