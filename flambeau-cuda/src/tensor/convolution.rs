//! Convolutions.

use super::{Operand, Place, Slice, SliceMut, elementwise, run, run_with, same};
use crate::device::Device;
use crate::error::{Result, fail};
use crate::kernels::{Conv, Expr, Params};
use crate::vendor::Convolve;
use crate::{Ptr, Type, row_major};

/// The geometry of a convolution. Fewer than three dimensions have sizes of 1 in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Samples.
    pub batch: usize,
    /// Channels in and out, and groups, which divide both.
    pub channels: [usize; 3],
    /// The spatial sizes of input, output and kernel.
    pub sizes: [[usize; 3]; 3],
    /// Stride, padding and dilation.
    pub steps: [[usize; 3]; 3],
    /// Whether channels are innermost in memory: in input and output, and those of a filter in the weight.
    pub channels_last: bool,
}

/// Elements of input, output and weight.
struct Counts {
    input: usize,
    output: usize,
    weight: usize,
}

impl Convolution {
    fn counts(&self) -> Result<Counts> {
        let all = self
            .sizes
            .iter()
            .chain(&self.steps)
            .flatten()
            .chain(&self.channels);
        let [ins, outs, groups] = self.channels;
        let divides = groups > 0 && ins.is_multiple_of(groups) && outs.is_multiple_of(groups);
        if !divides || all.into_iter().any(|&v| v > i32::MAX as usize / 4) {
            fail!("a convolution of {self:?}");
        }
        let volumes = self.sizes.map(|s| s.iter().product::<usize>());
        Ok(Counts {
            input: self.batch * ins * volumes[0],
            output: self.batch * outs * volumes[1],
            weight: outs * (ins / groups) * volumes[2],
        })
    }

    fn kernel(&self) -> Conv {
        Conv::new(self.batch, self.channels, self.sizes, self.steps)
            .channels_last(self.channels_last)
    }

    /// The output of `x`, weight and bias, all without gaps, in the order that the geometry says, and of
    /// one type. Convolutions go to cuDNN where
    /// it is there.
    ///
    /// # Errors
    /// Where sizes or types do not fit; so below.
    pub fn forward(
        &self,
        x: &Slice<'_>,
        weight: &Slice<'_>,
        bias: Option<&Slice<'_>>,
        out: &mut SliceMut<'_>,
    ) -> Result<()> {
        let (device, ty, n) = (out.device(), out.place.ty, self.counts()?);
        same(device, &[x, weight])?;
        let added = match bias {
            Some(bias) => {
                same(device, &[bias])?;
                bias.flat(ty, self.channels[1])?
            }
            None => 0,
        };
        let (from, w) = (x.flat(ty, n.input)?, weight.flat(ty, n.weight)?);
        let to = out.flat(ty, n.output)?;
        // SAFETY: all have as many elements as the geometry says; the result is borrowed exclusively.
        if unsafe { self.by_library(device, Convolve::Forward, ty, [from, w, to])? } {
            return match bias {
                Some(bias) => self.add_to_channels(bias, out),
                None => Ok(()),
            };
        }
        let launch = self.kernel().forward([ty; 2], from, [w, added], to);
        // SAFETY: as above.
        unsafe { run(device, launch) }
    }

    /// The input's gradient from the output's.
    ///
    /// # Errors
    /// As [`forward`](Convolution::forward).
    pub fn data(&self, grad: &Slice<'_>, weight: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
        let (device, ty, n) = (out.device(), out.place.ty, self.counts()?);
        same(device, &[grad, weight])?;
        let (from, w) = (grad.flat(ty, n.output)?, weight.flat(ty, n.weight)?);
        let to = out.flat(ty, n.input)?;
        // SAFETY: as above.
        if unsafe { self.by_library(device, Convolve::Data, ty, [w, from, to])? } {
            return Ok(());
        }
        let launch = self.kernel().data([ty; 2], from, [w, 0], to);
        // SAFETY: as above.
        unsafe { run(device, launch) }
    }

    /// The weight's gradient from input and output's gradient.
    ///
    /// # Errors
    /// As [`forward`](Convolution::forward).
    pub fn weight(&self, x: &Slice<'_>, grad: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
        let (device, ty, n) = (out.device(), out.place.ty, self.counts()?);
        same(device, &[x, grad])?;
        let from = [x.flat(ty, n.input)?, grad.flat(ty, n.output)?];
        let to = out.flat(ty, n.weight)?;
        // SAFETY: as above.
        if unsafe { self.by_library(device, Convolve::Weight, ty, [from[0], from[1], to])? } {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe {
            run_with(device, |memory| {
                Ok(self.kernel().weight([ty; 2], from, to, memory))
            })
        }
    }

    /// Whether cuDNN did it.
    ///
    /// # Safety
    /// The addresses lead to as many elements as the geometry says; the last is borrowed exclusively.
    unsafe fn by_library(
        &self,
        device: &'static Device,
        kind: Convolve,
        ty: Type,
        places: [Ptr; 3],
    ) -> Result<bool> {
        let Counts {
            input,
            output,
            weight,
        } = self.counts()?;
        let Some(dnn) = device
            .dnn()
            .filter(|_| [input, output, weight].iter().all(|&n| n > 0))
        else {
            return Ok(false);
        };
        // SAFETY: the caller's.
        let done = unsafe { dnn.run(device, kind, ty, self, places)? };
        if done {
            device.started()?;
        }
        Ok(done)
    }

    /// Adds `bias`, a number for each channel, to the output.
    fn add_to_channels(&self, bias: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
        let [_, output, _] = self.sizes;
        let shape = [self.batch, self.channels[1], output.iter().product()];
        let (ty, mut strides) = (out.place.ty, row_major(&shape));
        if self.channels_last {
            (strides[1], strides[2]) = (1, shape[1]);
        }
        let whole = Place {
            shape: &shape,
            strides: &strides,
            ..out.place
        };
        let each = Place {
            shape: &shape,
            strides: &[0, 1, 0],
            ..bias.place
        };
        let each = Slice::new(bias.buffer, each)?;
        let (sum, operands) = (
            Expr::binary("a + b"),
            [Operand::Target, Operand::Elements(each)],
        );
        let mut whole = SliceMut::new(out.buffer, whole)?;
        elementwise(sum, ty.compute(), &mut whole, &operands, Params::default())
    }
}
