//! Matrix products and convolutions on a device.

use super::{failed, make_as, packed, slice, slice_mut, with_slice};
use crate::ops::elementwise::copy_into;
use crate::ops::format::dense;
use crate::shape::{Strides, broadcast_strides, numel};
use crate::tensor::Tensor;
use crate::{Error, MemoryFormat, Result};
use flambeau_cpu::conv::ConvShape;
use flambeau_cuda::tensor::{self, Convolution};

/// `alpha * a @ b`, plus `c` times its factor, of the last two dimensions; the others, and all of
/// `c`, broadcast to `shape`.
#[track_caller]
pub(crate) fn product(
    op: &'static str,
    [a, b]: [&Tensor; 2],
    alpha: f64,
    c: Option<(&Tensor, f64)>,
    shape: &[usize],
) -> Result<Tensor> {
    let out = Tensor::empty_with(shape, (a.dtype(), a.device()))?;
    let columns = shape[shape.len() - 1];
    let is_bias = |c: &Tensor| {
        c.on_cuda() && c.dtype() == a.dtype() && c.shape() == [columns] && c.is_contiguous()
    };
    // A number for each column is added on the way out.
    let bias = c
        .filter(|&(c, beta)| beta == 1.0 && is_bias(c))
        .map(|c| c.0);
    let beta = match c {
        _ if bias.is_some() => 0.0,
        // What factor 0 multiplies is not read, so that NaN in it does not spread.
        Some((c, beta)) if beta != 0.0 => {
            copy_into(&c.detach().to_dtype(a.dtype())?.expand(shape)?, &out)?;
            beta
        }
        _ => 0.0,
    };
    // Dimensions that join are one: the operands may have any number.
    let batch = &shape[..shape.len() - 2];
    let (x, y) = (matrices(a, batch), matrices(b, batch));
    let (a_read, b_read) = (a.read(), b.read());
    let x = slice(op, a, &a_read, &x.0, &x.1)?;
    let y = slice(op, b, &b_read, &y.0, &y.1)?;
    let c_read = bias.map(Tensor::read);
    let bias = match (bias, &c_read) {
        (Some(c), Some(read)) => Some(slice(op, c, read, c.shape(), c.strides())?),
        _ => None,
    };
    {
        let mut write = out.write();
        let mut to = slice_mut(op, &out, &mut write)?;
        tensor::product(&x, &y, [alpha, beta], bias.as_ref(), &mut to)
            .map_err(|e| failed(op, e))?;
    }
    Ok(out)
}

/// Shape and strides of an operand whose batch is broadcast.
fn matrices(t: &Tensor, batch: &[usize]) -> (Vec<usize>, Strides) {
    let d = t.dim() - 2;
    let shape = [batch, &t.shape()[d..]].concat();
    let mut strides = broadcast_strides(&t.shape()[..d], &t.strides()[..d], batch);
    strides.extend_from_slice(&t.strides()[d..]);
    (shape, strides)
}

/// Which member of the family of convolutions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Convolve {
    /// Of input, weight and bias the output.
    Forward,
    /// Of the output's gradient and the weight the input's gradient.
    Data,
    /// Of the input and the output's gradient the weight's gradient.
    Weight,
}

/// A convolution of shape `s`; all operands are of one type, and brought to `format`. The result has it
/// too, and `shape`.
#[track_caller]
pub(crate) fn convolve(
    op: &'static str,
    kind: Convolve,
    s: &ConvShape,
    inputs: &[&Tensor],
    (shape, format): (&[usize], MemoryFormat),
) -> Result<Tensor> {
    let output = s.output().map_err(|e| Error::new(op, e.to_string()))?;
    let dtype = inputs[0].dtype();
    let geometry = Convolution {
        batch: s.batch,
        channels: [s.in_channels, s.out_channels, s.groups],
        sizes: [s.input, output, s.kernel],
        steps: [s.stride, s.padding, s.dilation],
        channels_last: format.is_channels_last(),
    };
    if numel(shape) == 0 {
        return Tensor::zeros_with(shape, (dtype, inputs[0].device()));
    }
    let [a, b] = [inputs[0], inputs[1]].map(|t| dense(op, t, dtype, format));
    let (a, b, strides) = (a?, b?, format.strides(shape));
    let bias = inputs.get(2).map(|c| packed(op, c, dtype)).transpose()?;
    let read = bias.as_ref().map(Tensor::read);
    let c = match (&bias, &read) {
        (Some(c), Some(read)) => Some(slice(op, c, read, c.shape(), c.strides())?),
        _ => None,
    };
    with_slice(op, &a, |x| {
        with_slice(op, &b, |y| {
            make_as(op, shape, &strides, (dtype, a.device()), |out| match kind {
                Convolve::Forward => geometry.forward(x, y, c.as_ref(), out),
                Convolve::Data => geometry.data(x, y, out),
                Convolve::Weight => geometry.weight(x, y, out),
            })
        })
    })
}
