//! Picking and putting by position, running results and orders on a device.

use super::{failed, make, packed, slice, slice_mut, with_slice};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::{DType, Result};
use flambeau_cuda::kernels::{Along, Indexed, Scan};
use flambeau_cuda::tensor;

/// The elements of `x` at `positions` among the indexed dimensions, as a tensor of `shape`.
#[track_caller]
pub(crate) fn pick(
    op: &'static str,
    indexed: &Indexed<'_>,
    x: &Tensor,
    positions: &[i64],
    shape: &[usize],
) -> Result<Tensor> {
    with_slice(op, x, |from| {
        make(op, shape, x.dtype(), x.device(), |out| {
            tensor::pick(indexed, from, positions, out)
        })
    })
}

/// Puts (or adds) `values` into the memory of `x` at `positions`. No other thread may know of one of
/// them: both are locked.
#[track_caller]
pub(crate) fn put(
    op: &'static str,
    indexed: &Indexed<'_>,
    x: &Tensor,
    values: &Tensor,
    positions: &[i64],
    add: bool,
) -> Result<()> {
    let values = packed(op, values, x.dtype())?;
    with_slice(op, &values, |from| {
        let mut write = x.write();
        let mut out = slice_mut(op, x, &mut write)?;
        tensor::put(indexed, &mut out, from, positions, add).map_err(|e| failed(op, e))
    })
}

/// The elements that `index` names along dimension `dim` of `x`.
#[track_caller]
pub(crate) fn gather(op: &'static str, dim: usize, x: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (sizes, shape) = (ranked(x, index), ranked(index, x));
    let along = Along {
        sizes: &sizes,
        dim,
        shape: &shape,
    };
    let (x, index) = (x.reshape(&sizes)?, index.reshape(&shape)?);
    let out = with_slice(op, &x, |from| {
        with_slice(op, &index, |index| {
            make(op, &shape, x.dtype(), x.device(), |out| {
                tensor::gather(&along, from, index, out)
            })
        })
    })?;
    Ok(out)
}

/// The sizes of `t`, or one of 1 where it has no dimensions and the other one has.
fn ranked(t: &Tensor, other: &Tensor) -> Shape {
    match t.dim() == 0 && other.dim() > 0 {
        true => Shape::from_slice(&[1]),
        false => Shape::from_slice(t.shape()),
    }
}

/// A copy of `x` with `src` put (or added) where `index` says along dimension `dim`.
#[track_caller]
pub(crate) fn scatter(
    op: &'static str,
    dim: usize,
    x: &Tensor,
    index: &Tensor,
    src: &Tensor,
    add: bool,
) -> Result<Tensor> {
    let (sizes, shape) = (ranked(x, index), ranked(index, x));
    let along = Along {
        sizes: &sizes,
        dim,
        shape: &shape,
    };
    let out = super::convert(op, &x.reshape(&sizes)?, x.dtype())?;
    let index = index.reshape(&shape)?;
    let src = packed(op, &src.reshape(&shape)?, x.dtype())?;
    with_slice(op, &index, |index| {
        with_slice(op, &src, |src| {
            let mut write = out.write();
            let mut to = slice_mut(op, &out, &mut write)?;
            tensor::scatter(&along, &mut to, index, src, add).map_err(|e| failed(op, e))
        })
    })?;
    out.reshape(x.shape())
}

/// Running sums, products or (with `factors`) linear recurrences along the middle of `around`.
#[track_caller]
pub(crate) fn scan(
    op: &'static str,
    kind: Scan,
    around: [usize; 3],
    reverse: bool,
    (x, factors): (&Tensor, Option<&Tensor>),
    dtype: DType,
) -> Result<Tensor> {
    let x = packed(op, x, x.dtype())?;
    let factors = factors.map(|c| packed(op, c, x.dtype())).transpose()?;
    let read = factors.as_ref().map(Tensor::read);
    let c = match (&factors, &read) {
        (Some(c), Some(read)) => Some(slice(op, c, read, c.shape(), c.strides())?),
        _ => None,
    };
    with_slice(op, &x, |from| {
        make(op, x.shape(), dtype, x.device(), |out| {
            tensor::scan(kind, around, reverse, from, c.as_ref(), out, None)
        })
    })
}

/// The greatest (or least) so far along the middle of `around`, and its place.
#[track_caller]
pub(crate) fn running_extreme(
    op: &'static str,
    largest: bool,
    around: [usize; 3],
    x: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let x = packed(op, x, x.dtype())?;
    let kind = if largest { Scan::MaxAt } else { Scan::MinAt };
    with_slice(op, &x, |from| {
        let mut values = None;
        let places = make(op, x.shape(), DType::I64, x.device(), |places| {
            values = Some(make(op, x.shape(), x.dtype(), x.device(), |out| {
                tensor::scan(kind, around, false, from, None, out, Some(places))
            }));
            Ok(())
        })?;
        let values = values.unwrap_or_else(|| Ok(places.clone()))?;
        Ok((values, places))
    })
}

/// The places of the first `k` elements in order along the last dimension.
#[track_caller]
pub(crate) fn sort(op: &'static str, x: &Tensor, descending: bool, k: usize) -> Result<Tensor> {
    let x = packed(op, x, x.dtype())?;
    let (mut shape, n) = (
        Shape::from_slice(x.shape()),
        x.shape().last().copied().unwrap_or(1),
    );
    if let Some(last) = shape.last_mut() {
        *last = k;
    }
    let rows = x.numel().checked_div(n).unwrap_or(0);
    with_slice(op, &x, |from| {
        make(op, &shape, DType::I64, x.device(), |out| {
            tensor::sort([rows, n], descending, k, from, out)
        })
    })
}
