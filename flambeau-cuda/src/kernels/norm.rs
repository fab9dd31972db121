//! Layer, group and batch norm.

use super::{Launches, Memory, WARP, blocks, flat, held_threads, part_count};
use crate::{Launch, Pod, Ptr, Type, Unit};

/// Rows of `width` neighbours that are normalised each for itself: layer norm has `inner` 1 and
/// `channels` = `width`, group norm rows of `channels / groups * inner`.
#[derive(Clone, Copy, Debug)]
pub struct RowNorm {
    /// The type of input, output and gradient.
    pub ty: Type,
    /// The type of weight and bias.
    pub param: Type,
    /// How many rows.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Channels, which weight and bias have an element for.
    pub channels: usize,
    /// Neighbours of one channel.
    pub inner: usize,
}

/// `[batch, channels, inner]`, normalised for each channel.
#[derive(Clone, Copy, Debug)]
pub struct ChannelNorm {
    /// The type of input, output and gradient.
    pub ty: Type,
    /// The type of weight and bias.
    pub param: Type,
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Elements of a channel in a sample.
    pub inner: usize,
}

/// `Statistics` of `norm.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Statistics {
    stats: Ptr,
    mean: Ptr,
    var: Ptr,
    width: i64,
    eps: f64,
}

// SAFETY: five numbers of eight bytes, as in the C++ struct.
unsafe impl Pod for Statistics {}

fn unit(ty: Type, param: Type) -> Unit {
    Unit::new("norm.cu")
        .define("ELEMENT", ty.name())
        .define("W", param.name())
        .define("ACC", ty.accumulate().name())
}

impl RowNorm {
    /// `(x - mean) / sqrt(var + eps) * weight + bias`; `stats` `[rows, 2]`, of the accumulating
    /// type, gets mean and inverse deviation. Weight and bias may be 0.
    pub fn forward(
        &self,
        x: Ptr,
        [weight, bias]: [Ptr; 2],
        eps: f64,
        out: Ptr,
        stats: Ptr,
    ) -> Option<Launch> {
        if self.rows * self.width == 0 {
            return None;
        }
        let unit = unit(self.ty, self.param);
        let mut launch = flat(unit, "row_norm_forward", self.rows as u32);
        let (threads, held) = held_threads(self.width, self.ty);
        launch.block[0] = threads;
        let args = launch.args.push(x).push(weight).push(bias).push(out);
        let args = args.push(stats).push(self.width as i64);
        let args = args.push(self.channels as i64).push(self.inner as i64);
        args.push(eps).push(i32::from(held));
        Some(launch)
    }

    /// The gradient of the input.
    pub fn backward(
        &self,
        [x, grad]: [Ptr; 2],
        weight: Ptr,
        stats: Ptr,
        out: Ptr,
    ) -> Option<Launch> {
        if self.rows * self.width == 0 {
            return None;
        }
        let unit = unit(self.ty, self.param);
        let mut launch = flat(unit, "row_norm_backward", self.rows as u32);
        let (threads, held) = held_threads(self.width, self.ty);
        launch.block[0] = threads;
        let args = launch.args.push(x).push(grad).push(weight).push(stats);
        let args = args.push(out).push(self.width as i64);
        let args = args.push(self.channels as i64).push(self.inner as i64);
        args.push(i32::from(held));
        Some(launch)
    }

    /// The gradients of weight and bias, either of which may be 0.
    pub fn affine(
        &self,
        [x, grad]: [Ptr; 2],
        stats: Ptr,
        to: [Ptr; 2],
        memory: Memory<'_>,
    ) -> Launches {
        let batch = self.rows * self.width / (self.channels * self.inner).max(1);
        let shape = ChannelNorm {
            ty: self.ty,
            param: self.param,
            batch,
            channels: self.channels,
            inner: self.inner,
        };
        let of = Statistics {
            stats,
            mean: 0,
            var: 0,
            width: self.width as i64,
            eps: 0.0,
        };
        shape.sums([x, grad], of, 0, to, memory)
    }
}

impl ChannelNorm {
    /// `(x - mean) / sqrt(var + eps) * weight + bias` with mean and variance `[channels]` of the
    /// accumulating type (the batch's own from `Reduce::Var`). Weight and bias may be 0.
    pub fn forward(
        &self,
        x: Ptr,
        [mean, var]: [Ptr; 2],
        [weight, bias]: [Ptr; 2],
        eps: f64,
        out: Ptr,
    ) -> Option<Launch> {
        let mut launch = self.flat("channel_norm_forward")?;
        let args = launch.args.push(x).push(mean).push(var).push(weight);
        let args = args.push(bias).push(out);
        self.shape(args).push(eps);
        Some(launch)
    }

    /// The gradient of the input; `sums` from [`affine`](ChannelNorm::affine), 0 where mean and
    /// variance were given.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        [x, grad]: [Ptr; 2],
        [mean, var]: [Ptr; 2],
        weight: Ptr,
        eps: f64,
        sums: Ptr,
        out: Ptr,
    ) -> Option<Launch> {
        let mut launch = self.flat("channel_norm_backward")?;
        let args = launch.args.push(x).push(grad).push(mean).push(var);
        let args = args.push(weight).push(sums).push(out);
        self.shape(args).push(eps);
        Some(launch)
    }

    /// The gradients of weight and bias, and both before rounding in `sums` `[channels, 2]` of the
    /// accumulating type (bias first); any may be 0.
    pub fn affine(
        &self,
        xs: [Ptr; 2],
        [mean, var]: [Ptr; 2],
        eps: f64,
        sums: Ptr,
        to: [Ptr; 2],
        memory: Memory<'_>,
    ) -> Launches {
        let of = Statistics {
            stats: 0,
            mean,
            var,
            width: 0,
            eps,
        };
        self.sums(xs, of, sums, to, memory)
    }

    fn shape<'a>(&self, args: &'a mut crate::Args) -> &'a mut crate::Args {
        let n = self.batch * self.channels * self.inner;
        args.push(n as i64)
            .push(self.channels as i64)
            .push(self.inner as i64)
    }

    fn flat(&self, entry: &'static str) -> Option<Launch> {
        let n = self.batch * self.channels * self.inner;
        let vectors = n.div_ceil(16 / self.ty.size());
        (n > 0).then(|| flat(unit(self.ty, self.param), entry, blocks(vectors)))
    }

    fn sums(
        &self,
        [x, grad]: [Ptr; 2],
        of: Statistics,
        sums: Ptr,
        [weight, bias]: [Ptr; 2],
        memory: Memory<'_>,
    ) -> Launches {
        if self.channels == 0 {
            return Launches::new();
        }
        let unit = unit(self.ty, self.param);
        let pair = 2 * self.ty.accumulate().size();
        let columns = self.inner == 1;
        let n = self.batch * self.inner;
        let (pieces, piece) = if columns {
            part_count(n, 256, 65535)
        } else {
            part_count(n, 1 << 13, i32::MAX as usize / self.channels)
        };
        let parts = memory(self.channels * pieces * pair);
        let mut first = if columns {
            let mut launch = flat(
                unit.clone(),
                "affine_columns",
                self.channels.div_ceil(WARP) as u32,
            );
            launch.grid[1] = pieces as u32;
            launch.block = [WARP as u32, 8, 1];
            launch
        } else {
            flat(unit.clone(), "affine_rows", (self.channels * pieces) as u32)
        };
        let args = first.args.push(x).push(grad).push(parts).push(of);
        args.push(self.batch as i64).push(self.channels as i64);
        if !columns {
            args.push(self.inner as i64);
        }
        args.push(pieces as i64).push(piece as i64);
        let mut last = flat(unit, "affine_parts", blocks(WARP * self.channels));
        let args = last.args.push(parts).push(sums).push(weight).push(bias);
        args.push(self.channels as i64).push(pieces as i64);
        Launches::from_iter([first, last])
    }
}
