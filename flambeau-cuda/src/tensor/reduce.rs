//! Folds along dimensions, and softmax.

use super::{Slice, SliceMut, run, run_with, same};
use crate::Type;
use crate::error::{Result, fail};
use crate::kernels::{self, Reduce};

/// Dimensions `dims` of `x` (ascending) folded into `out`, contiguous over the others; `aux` takes
/// the places of [`Reduce::MaxAt`] and [`Reduce::MinAt`], as `i64`, or the means of a variance.
///
/// # Errors
/// Where the results do not have a place each, or there are too many dimensions.
pub fn reduce(
    op: Reduce,
    x: &Slice<'_>,
    dims: &[usize],
    out: &mut SliceMut<'_>,
    aux: Option<&mut SliceMut<'_>>,
) -> Result<()> {
    let device = out.device();
    same(device, &[x])?;
    let shape = x.place.shape;
    if !dims.is_sorted() || dims.last().is_some_and(|&d| d >= shape.len()) {
        fail!("dimensions {dims:?} of a tensor of {}", shape.len());
    }
    let kept = (0..shape.len()).filter(|d| !dims.contains(d));
    let rows = kept.map(|d| shape[d]).product();
    let to = (out.flat(out.place.ty, rows)?, out.place.ty);
    let places = matches!(op, Reduce::MaxAt | Reduce::MinAt);
    let moments = matches!(op, Reduce::Var { .. } | Reduce::Std { .. });
    let aux = match aux {
        Some(aux) if !std::ptr::eq(aux.device(), device) => {
            fail!("results on {:?} and {device:?}", aux.device())
        }
        Some(aux) if places => aux.flat(Type::I64, rows)?,
        Some(aux) if moments => aux.flat(to.1, rows)?,
        None if !places => 0,
        _ => fail!("a second result belongs to the place of an extreme, or to a variance"),
    };
    // SAFETY: `x` was checked to lie within its buffer, and the results to have room for each row;
    // they are borrowed exclusively.
    unsafe {
        run_with(device, |memory| {
            Ok(kernels::reduce(op, shape, dims, x.view(), to, aux, memory)?)
        })
    }
}

/// Softmax, or its logarithm, along the middle dimension of `[outer, n, inner]`; both contiguous.
///
/// # Errors
/// Where sizes or types differ.
pub fn softmax(log: bool, shape: [usize; 3], x: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
    let (device, ty, n) = (out.device(), out.place.ty, shape.iter().product());
    same(device, &[x])?;
    let launch = kernels::softmax(ty, log, shape, x.flat(ty, n)?, out.flat(ty, n)?);
    // SAFETY: both are as large as the kernel takes them to be; the result is borrowed exclusively.
    unsafe { run(device, launch) }
}

/// The gradient of softmax's input from that of its output, `g`, and the output, `y`.
///
/// # Errors
/// Where sizes or types differ.
pub fn softmax_backward(
    log: bool,
    shape: [usize; 3],
    g: &Slice<'_>,
    y: &Slice<'_>,
    out: &mut SliceMut<'_>,
) -> Result<()> {
    let (device, ty, n) = (out.device(), out.place.ty, shape.iter().product());
    same(device, &[g, y])?;
    let from = [g.flat(ty, n)?, y.flat(ty, n)?];
    let launch = kernels::softmax_backward(ty, log, shape, from, out.flat(ty, n)?);
    // SAFETY: as above.
    unsafe { run(device, launch) }
}
