//! Layer, group and batch norm on a device.

use super::{failed, make, make_as, packed, slice, slice_mut, type_of};
use crate::ops::format::dense;
use crate::storage::{Read, Write};
use crate::tensor::Tensor;
use crate::{DType, Result};
use flambeau_cuda::kernels::{ChannelNorm, RowNorm};
use flambeau_cuda::tensor::{self, Slice, SliceMut};

/// Weight and bias of a norm, of one type.
pub(crate) type Affine<'a> = [Option<&'a Tensor>; 2];

/// The gradients of input, weight and bias.
pub(crate) type Gradients = [Option<Tensor>; 3];

/// The type that weight and bias are brought to: that of the first there is, or the input's.
fn param(x: &Tensor, affine: Affine<'_>) -> DType {
    let first = affine.into_iter().flatten().next();
    first.map_or(x.dtype(), Tensor::dtype)
}

/// Rows of `width` neighbours of `x`, `inner` of them for each of `channels`.
pub(crate) fn rows(
    x: &Tensor,
    affine: Affine<'_>,
    [width, channels, inner]: [usize; 3],
) -> RowNorm {
    RowNorm {
        ty: type_of(x.dtype()),
        param: type_of(param(x, affine)),
        rows: x.numel() / width,
        width,
        channels,
        inner,
    }
}

/// The channels of `x` `[batch, channels, ..]`; where they are innermost in memory, every place is a sample.
pub(crate) fn channels(x: &Tensor, affine: Affine<'_>) -> ChannelNorm {
    let places: usize = x.shape()[2..].iter().product();
    let last = x.suggest_memory_format().is_channels_last();
    ChannelNorm {
        ty: type_of(x.dtype()),
        param: type_of(param(x, affine)),
        batch: if last {
            x.shape()[0] * places
        } else {
            x.shape()[0]
        },
        channels: x.shape()[1],
        inner: if last { 1 } else { places },
    }
}

fn full(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// Operands that may be missing, locked for reading.
struct Held<'t> {
    tensors: &'t [Option<Tensor>; 2],
    reads: [Option<Read<'t>>; 2],
}

fn pack(op: &'static str, x: &Tensor, affine: Affine<'_>) -> Result<[Option<Tensor>; 2]> {
    let dtype = param(x, affine);
    let [w, b] = affine.map(|t| t.map(|t| packed(op, t, dtype)));
    Ok([w.transpose()?, b.transpose()?])
}

impl<'t> Held<'t> {
    fn new(tensors: &'t [Option<Tensor>; 2]) -> Held<'t> {
        let reads = tensors.each_ref().map(|t| t.as_ref().map(Tensor::read));
        Held { tensors, reads }
    }

    fn slice(&self, op: &'static str, i: usize) -> Result<Option<Slice<'_>>> {
        match (&self.tensors[i], &self.reads[i]) {
            (Some(t), Some(read)) => slice(op, t, read, t.shape(), t.strides()).map(Some),
            _ => Ok(None),
        }
    }
}

fn of<'a>(op: &'static str, t: &'a Tensor, read: &'a Read<'_>) -> Result<Slice<'a>> {
    slice(op, t, read, t.shape(), t.strides())
}

fn to<'a>(
    op: &'static str,
    t: &'a Option<Tensor>,
    write: &'a mut Option<Write<'_>>,
) -> Result<Option<SliceMut<'a>>> {
    match (t, write) {
        (Some(t), Some(write)) => slice_mut(op, t, write).map(Some),
        _ => Ok(None),
    }
}

/// New tensors for the gradients that are wanted; that of `x`, which is without gaps, lies as it does.
fn wanted(x: &Tensor, dtype: DType, count: usize, needs: [bool; 3]) -> Result<Gradients> {
    let new = |want: bool| {
        let options = (dtype, x.device());
        want.then(|| Tensor::empty_with([count], options))
            .transpose()
    };
    let of_x = needs[0].then(|| x.empty_like()).transpose()?;
    Ok([of_x, new(needs[1])?, new(needs[2])?])
}

/// Each row of `x` normalised, and mean and inverse deviation of each.
#[track_caller]
pub(crate) fn row_norm(
    op: &'static str,
    norm: &RowNorm,
    x: &Tensor,
    affine: Affine<'_>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let x = packed(op, x, x.dtype())?;
    let tensors = pack(op, &x, affine)?;
    let (read, held) = (x.read(), Held::new(&tensors));
    let (from, w, b) = (of(op, &x, &read)?, held.slice(op, 0)?, held.slice(op, 1)?);
    let options = (full(x.dtype()), x.device());
    let stats = Tensor::empty_with([norm.rows, 2], options)?;
    let mut write = stats.write();
    let mut kept = slice_mut(op, &stats, &mut write)?;
    let out = make(op, x.shape(), x.dtype(), x.device(), |out| {
        tensor::row_norm(norm, &from, [w.as_ref(), b.as_ref()], eps, out, &mut kept)
    })?;
    drop(write);
    Ok((out, stats))
}

/// The gradients of [`row_norm`], as far as they are needed.
#[track_caller]
pub(crate) fn row_norm_backward(
    op: &'static str,
    norm: &RowNorm,
    (x, grad, stats): (&Tensor, &Tensor, &Tensor),
    weight: Option<&Tensor>,
    dtype: DType,
    needs: [bool; 3],
) -> Result<Gradients> {
    let (x, grad) = (packed(op, x, x.dtype())?, packed(op, grad, x.dtype())?);
    let tensors = [weight.map(|w| packed(op, w, dtype)).transpose()?, None];
    let (reads, held) = ((x.read(), grad.read(), stats.read()), Held::new(&tensors));
    let from = [
        &of(op, &x, &reads.0)?,
        &of(op, &grad, &reads.1)?,
        &of(op, stats, &reads.2)?,
    ];
    let grads = wanted(&x, dtype, norm.channels, needs)?;
    let [mut w0, mut w1, mut w2] = grads.each_ref().map(|t| t.as_ref().map(Tensor::write));
    let (mut a, mut b, mut c) = (
        to(op, &grads[0], &mut w0)?,
        to(op, &grads[1], &mut w1)?,
        to(op, &grads[2], &mut w2)?,
    );
    let weight = held.slice(op, 0)?;
    let others = [b.as_mut(), c.as_mut()];
    tensor::row_norm_backward(norm, from, weight.as_ref(), a.as_mut(), others)
        .map_err(|e| failed(op, e))?;
    drop((w0, w1, w2));
    Ok(grads)
}

/// Each channel of `x` normalised by mean and variance.
#[track_caller]
pub(crate) fn channel_norm(
    op: &'static str,
    norm: &ChannelNorm,
    x: &Tensor,
    [mean, var]: [&Tensor; 2],
    affine: Affine<'_>,
    eps: f64,
) -> Result<Tensor> {
    let x = dense(op, x, x.dtype(), x.suggest_memory_format())?;
    let tensors = pack(op, &x, affine)?;
    let (reads, held) = ((x.read(), mean.read(), var.read()), Held::new(&tensors));
    let moments = [&of(op, mean, &reads.1)?, &of(op, var, &reads.2)?];
    let (from, w, b) = (
        of(op, &x, &reads.0)?,
        held.slice(op, 0)?,
        held.slice(op, 1)?,
    );
    make_as(op, x.shape(), x.strides(), (x.dtype(), x.device()), |out| {
        tensor::channel_norm(norm, &from, moments, [w.as_ref(), b.as_ref()], eps, out)
    })
}

/// The gradients of [`channel_norm`], as far as they are needed; `given` where the moments were not
/// the batch's own.
#[track_caller]
pub(crate) fn channel_norm_backward(
    op: &'static str,
    norm: &ChannelNorm,
    (x, grad): (&Tensor, &Tensor),
    ([mean, var], given): ([&Tensor; 2], bool),
    (weight, eps): (Option<&Tensor>, f64),
    dtype: DType,
    needs: [bool; 3],
) -> Result<Gradients> {
    let format = x.suggest_memory_format();
    let [x, grad] = [x, grad].map(|t| dense(op, t, x.dtype(), format));
    let (x, grad) = (x?, grad?);
    let tensors = [weight.map(|w| packed(op, w, dtype)).transpose()?, None];
    let reads = (x.read(), grad.read(), mean.read(), var.read());
    let held = Held::new(&tensors);
    let from = [&of(op, &x, &reads.0)?, &of(op, &grad, &reads.1)?];
    let moments = [&of(op, mean, &reads.2)?, &of(op, var, &reads.3)?];
    let grads = wanted(&x, dtype, norm.channels, needs)?;
    let [mut w0, mut w1, mut w2] = grads.each_ref().map(|t| t.as_ref().map(Tensor::write));
    let (mut a, mut b, mut c) = (
        to(op, &grads[0], &mut w0)?,
        to(op, &grads[1], &mut w1)?,
        to(op, &grads[2], &mut w2)?,
    );
    let weight = held.slice(op, 0)?;
    let others = [b.as_mut(), c.as_mut()];
    let scale = (weight.as_ref(), eps);
    tensor::channel_norm_backward(norm, from, (moments, given), scale, a.as_mut(), others)
        .map_err(|e| failed(op, e))?;
    drop((w0, w1, w2));
    Ok(grads)
}
