//! Matrix products and convolutions.

use super::{Slice, SliceMut, run, run_with, same};
use crate::MAX_DIMS;
use crate::error::{Result, fail};
use crate::kernels::{Conv, Matrix, matmul};

/// `out = alpha * a @ b + beta * out` of a batch of matrices of one type: `a` `[batch.., m, k]`, `b`
/// `[batch.., k, n]`, with strides of 0 where they are broadcast, `out` contiguous `[batch.., m, n]`.
///
/// # Errors
/// Where sizes or types do not fit, or there are too many dimensions.
pub fn product(
    a: &Slice<'_>,
    b: &Slice<'_>,
    [alpha, beta]: [f64; 2],
    out: &mut SliceMut<'_>,
) -> Result<()> {
    let (device, ty) = (out.device(), out.place.ty);
    same(device, &[a, b])?;
    let (x, y, z) = (a.place, b.place, out.place);
    let (&[ref batch @ .., m, k], &[ref b_batch @ .., l, n]) = (x.shape, y.shape) else {
        fail!("a product of {:?} and {:?}", x.shape, y.shape);
    };
    let fits = k == l && batch == b_batch && z.shape == [batch, &[m, n]].concat();
    if !fits || batch.len() > MAX_DIMS || [x.ty, y.ty] != [ty; 2] {
        fail!(
            "a product of {:?} and {:?} as {:?}",
            x.shape,
            y.shape,
            z.shape
        );
    }
    let to = out.flat(ty, z.numel())?;
    let [x, y] = [a, b].map(|s| {
        let (batches, last) = s.place.strides.split_at(batch.len());
        Matrix {
            ptr: s.view().ptr,
            batches,
            row: last[0],
            column: last[1],
        }
    });
    let launch = matmul((ty, ty), batch, [m, n, k], x, y, [alpha, beta], 0, to);
    // SAFETY: operands and result were checked to lie within their buffers; the result is borrowed
    // exclusively.
    unsafe { run(device, launch) }
}

/// The geometry of a convolution. Fewer than three dimensions have sizes of 1 in front.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Samples.
    pub batch: usize,
    /// Channels in and out, and groups, which divide both.
    pub channels: [usize; 3],
    /// The spatial sizes of input, output and kernel.
    pub sizes: [[usize; 3]; 3],
    /// Stride, padding and dilation.
    pub steps: [[usize; 3]; 3],
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
    }

    /// The output of `x`, weight and bias, all contiguous and of one type.
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
        let weights = [weight.flat(ty, n.weight)?, added];
        let to = out.flat(ty, n.output)?;
        let launch = self
            .kernel()
            .forward([ty; 2], x.flat(ty, n.input)?, weights, to);
        // SAFETY: all have as many elements as the geometry says; the result is borrowed exclusively.
        unsafe { run(device, launch) }
    }

    /// The input's gradient from the output's.
    ///
    /// # Errors
    /// As [`forward`](Convolution::forward).
    pub fn data(&self, grad: &Slice<'_>, weight: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
        let (device, ty, n) = (out.device(), out.place.ty, self.counts()?);
        same(device, &[grad, weight])?;
        let weights = [weight.flat(ty, n.weight)?, 0];
        let to = out.flat(ty, n.input)?;
        let launch = self
            .kernel()
            .data([ty; 2], grad.flat(ty, n.output)?, weights, to);
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
        unsafe {
            run_with(device, |memory| {
                Ok(self.kernel().weight([ty; 2], from, to, memory))
            })
        }
    }
}
