//! Layer, group and batch norm.

use super::{Slice, SliceMut, run, run_with, same};
use crate::error::{Result, fail};
use crate::kernels::{ChannelNorm, RowNorm};
use crate::{Device, Ptr, Type};

/// The address of an operand that may be missing.
fn optional(device: &Device, x: Option<&Slice<'_>>, ty: Type, n: usize) -> Result<Ptr> {
    match x {
        Some(x) => {
            same(device, &[x])?;
            x.flat(ty, n)
        }
        None => Ok(0),
    }
}

/// The address of a result that may not be wanted.
fn wanted(device: &Device, x: Option<&mut SliceMut<'_>>, ty: Type, n: usize) -> Result<Ptr> {
    match x {
        Some(x) if std::ptr::eq(x.device(), device) => x.flat(ty, n),
        Some(x) => fail!("results on {device:?} and {:?}", x.device()),
        None => Ok(0),
    }
}

fn check_rows(norm: &RowNorm) -> Result<(usize, Type)> {
    let block = norm.channels * norm.inner;
    let n = norm.rows * norm.width;
    if block == 0 || !n.is_multiple_of(block) {
        fail!(
            "rows of {} over {} channels of {}",
            norm.width,
            norm.channels,
            norm.inner
        );
    }
    Ok((n, norm.ty.accumulate()))
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` of each row; `stats` `[rows, 2]`, of the accumulating
/// type, gets mean and inverse deviation. Weight and bias have an element for each channel.
///
/// # Errors
/// Where sizes or types do not fit; so below.
pub fn row_norm(
    norm: &RowNorm,
    x: &Slice<'_>,
    [weight, bias]: [Option<&Slice<'_>>; 2],
    eps: f64,
    out: &mut SliceMut<'_>,
    stats: &mut SliceMut<'_>,
) -> Result<()> {
    let (device, (n, acc)) = (out.device(), check_rows(norm)?);
    same(device, &[x])?;
    let affine = [
        optional(device, weight, norm.param, norm.channels)?,
        optional(device, bias, norm.param, norm.channels)?,
    ];
    let held = wanted(device, Some(stats), acc, 2 * norm.rows)?;
    let launch = norm.forward(
        x.flat(norm.ty, n)?,
        affine,
        eps,
        out.flat(norm.ty, n)?,
        held,
    );
    // SAFETY: all have as many elements as the kernel uses; results are borrowed exclusively.
    unsafe { run(device, launch) }
}

/// The gradients of [`row_norm`]'s input, weight and bias, as far as they are wanted.
///
/// # Errors
/// As [`row_norm`].
pub fn row_norm_backward(
    norm: &RowNorm,
    [x, grad, stats]: [&Slice<'_>; 3],
    weight: Option<&Slice<'_>>,
    input: Option<&mut SliceMut<'_>>,
    [of_weight, of_bias]: [Option<&mut SliceMut<'_>>; 2],
) -> Result<()> {
    let (device, (n, acc)) = (x.buffer.device(), check_rows(norm)?);
    same(device, &[grad, stats])?;
    let from = [x.flat(norm.ty, n)?, grad.flat(norm.ty, n)?];
    let held = stats.flat(acc, 2 * norm.rows)?;
    let factor = optional(device, weight, norm.param, norm.channels)?;
    let to = wanted(device, input, norm.ty, n)?;
    let affine = [
        wanted(device, of_weight, norm.param, norm.channels)?,
        wanted(device, of_bias, norm.param, norm.channels)?,
    ];
    if to != 0 {
        // SAFETY: as above.
        unsafe { run(device, norm.backward(from, factor, held, to))? };
    }
    if affine != [0, 0] {
        // SAFETY: as above.
        unsafe { run_with(device, |memory| Ok(norm.affine(from, held, affine, memory)))? };
    }
    Ok(())
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` of each channel of `[batch, channels, inner]`, with
/// mean and variance `[channels]` of the accumulating type.
///
/// # Errors
/// Where sizes or types do not fit.
pub fn channel_norm(
    norm: &ChannelNorm,
    x: &Slice<'_>,
    [mean, var]: [&Slice<'_>; 2],
    [weight, bias]: [Option<&Slice<'_>>; 2],
    eps: f64,
    out: &mut SliceMut<'_>,
) -> Result<()> {
    let (device, acc) = (out.device(), norm.ty.accumulate());
    let n = norm.batch * norm.channels * norm.inner;
    same(device, &[x, mean, var])?;
    let moments = [
        mean.flat(acc, norm.channels)?,
        var.flat(acc, norm.channels)?,
    ];
    let affine = [
        optional(device, weight, norm.param, norm.channels)?,
        optional(device, bias, norm.param, norm.channels)?,
    ];
    let launch = norm.forward(
        x.flat(norm.ty, n)?,
        moments,
        affine,
        eps,
        out.flat(norm.ty, n)?,
    );
    // SAFETY: as above.
    unsafe { run(device, launch) }
}

/// The gradients of [`channel_norm`]'s input, weight and bias, as far as they are wanted; `given`
/// where mean and variance were not the batch's own.
///
/// # Errors
/// As [`channel_norm`].
pub fn channel_norm_backward(
    norm: &ChannelNorm,
    [x, grad]: [&Slice<'_>; 2],
    ([mean, var], given): ([&Slice<'_>; 2], bool),
    (weight, eps): (Option<&Slice<'_>>, f64),
    input: Option<&mut SliceMut<'_>>,
    [of_weight, of_bias]: [Option<&mut SliceMut<'_>>; 2],
) -> Result<()> {
    let (device, acc) = (x.buffer.device(), norm.ty.accumulate());
    let n = norm.batch * norm.channels * norm.inner;
    same(device, &[grad, mean, var])?;
    let from = [x.flat(norm.ty, n)?, grad.flat(norm.ty, n)?];
    let moments = [
        mean.flat(acc, norm.channels)?,
        var.flat(acc, norm.channels)?,
    ];
    let factor = optional(device, weight, norm.param, norm.channels)?;
    let to = wanted(device, input, norm.ty, n)?;
    let affine = [
        wanted(device, of_weight, norm.param, norm.channels)?,
        wanted(device, of_bias, norm.param, norm.channels)?,
    ];
    let sums = device.allocate(2 * norm.channels * acc.size())?;
    let kept = if given { 0 } else { sums.address() };
    if affine != [0, 0] || !given {
        // SAFETY: as above; `sums` is held until the launches are on the stream.
        unsafe {
            run_with(device, |memory| {
                Ok(norm.affine(from, moments, eps, kept, affine, memory))
            })?;
        }
    }
    if to != 0 {
        // SAFETY: as above.
        unsafe { run(device, norm.backward(from, moments, factor, eps, kept, to))? };
    }
    Ok(())
}
