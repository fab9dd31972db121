//! Pooling on a device.

use super::{make, packed, slice, with_slice};
use crate::tensor::Tensor;
use crate::{DType, Result};
use flambeau_cuda::tensor::Windows;

/// The maximum of each window and its place in the plane; `shape` is the results'.
#[track_caller]
pub(crate) fn max_pool(
    op: &'static str,
    windows: &Windows,
    x: &Tensor,
    shape: &[usize],
) -> Result<(Tensor, Tensor)> {
    let x = packed(op, x, x.dtype())?;
    with_slice(op, &x, |from| {
        let mut values = None;
        let places = make(op, shape, DType::I64, x.device(), |places| {
            values = Some(make(op, shape, x.dtype(), x.device(), |out| {
                windows.max(from, out, places)
            }));
            Ok(())
        })?;
        let values = values.unwrap_or_else(|| Ok(places.clone()))?;
        Ok((values, places))
    })
}

/// The gradient of the maxima's input, which has `shape`.
#[track_caller]
pub(crate) fn max_pool_backward(
    op: &'static str,
    windows: &Windows,
    (grad, places): (&Tensor, &Tensor),
    shape: &[usize],
) -> Result<Tensor> {
    let grad = packed(op, grad, grad.dtype())?;
    let places = packed(op, places, DType::I64)?;
    let read = places.read();
    let places = slice(op, &places, &read, places.shape(), places.strides())?;
    with_slice(op, &grad, |from| {
        make(op, shape, grad.dtype(), grad.device(), |out| {
            windows.max_backward(from, &places, out)
        })
    })
}

/// The average of each window, of `shape`; or, `back`, the gradient of its input.
#[track_caller]
pub(crate) fn average_pool(
    op: &'static str,
    windows: &Windows,
    back: bool,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor> {
    let x = packed(op, x, x.dtype())?;
    with_slice(op, &x, |from| {
        make(op, shape, x.dtype(), x.device(), |out| match back {
            false => windows.average(from, out),
            true => windows.average_backward(from, out),
        })
    })
}
