//! Pooling over contiguous planes: maximum, average and their adaptive forms, each with its
//! gradient, in one, two or three dimensions, by PyTorch's rules.
//!
//! A tensor `[batch, channels, D, H, W]` is `planes = batch * channels` planes of `[D, H, W]`; 1-d
//! and 2-d pooling set the leading entries to 1 (kernel, stride and dilation 1, padding 0).

mod adaptive;
mod average;
mod canvas;
mod max;
#[cfg(test)]
mod tests;

pub use adaptive::{
    AdaptiveShape, adaptive_avg_pool_backward, adaptive_avg_pool_forward, adaptive_max_pool_forward,
};
pub use average::{AvgOptions, AvgPoolKernels, avg_pool_backward, avg_pool_forward};
pub use max::{MaxPoolKernels, max_pool_backward, max_pool_forward, max_pool_values};

use crate::float::ShapeError;

/// The geometry of a pooling with windows of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Batch times channels; may be 0.
    pub planes: usize,
    /// Input `[D, H, W]`.
    pub input: [usize; 3],
    /// Window `[kD, kH, kW]`.
    pub kernel: [usize; 3],
    /// Step of the window.
    pub stride: [usize; 3],
    /// Positions added on both sides; they never win a maximum and count as 0 in an average.
    pub padding: [usize; 3],
    /// Distance between the window's elements; 1 for average pooling.
    pub dilation: [usize; 3],
    /// Whether a last window may hang over the right edge.
    pub ceil_mode: bool,
}

impl PoolShape {
    /// A 2-d pooling with square windows side by side.
    pub fn pool2d(planes: usize, input: [usize; 2], kernel: usize) -> Self {
        Self {
            planes,
            input: [1, input[0], input[1]],
            kernel: [1, kernel, kernel],
            stride: [1, kernel, kernel],
            padding: [0; 3],
            dilation: [1; 3],
            ceil_mode: false,
        }
    }

    /// The output's `[oD, oH, oW]`. With `ceil_mode` a partial last window counts if it starts
    /// inside the input or the left padding.
    ///
    /// Errors: a zero kernel, stride or dilation, padding above half the window, a window that does
    /// not fit.
    ///
    /// ```
    /// # use flambeau_cpu::pool::PoolShape;
    /// let pool = PoolShape::pool2d(8, [5, 6], 2);
    /// assert_eq!(pool.output().unwrap(), [1, 2, 3]);
    /// assert_eq!(PoolShape { ceil_mode: true, ..pool }.output().unwrap(), [1, 3, 3]);
    /// ```
    pub fn output(&self) -> Result<[usize; 3], ShapeError> {
        for (what, values) in [
            ("kernel size", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if values.contains(&0) {
                return Err(ShapeError(format!(
                    "pooling: {what} must be at least 1, got {values:?}"
                )));
            }
        }
        let mut output = [0; 3];
        for d in 0..3 {
            let (pad, stride) = (self.padding[d], self.stride[d]);
            let window = self.dilation[d]
                .checked_mul(self.kernel[d] - 1)
                .and_then(|w| w.checked_add(1))
                .unwrap_or(usize::MAX);
            if pad > window / 2 {
                return Err(ShapeError(format!(
                    "pooling: padding must be at most half of the window, got padding {:?} for kernel \
                     {:?} with dilation {:?}",
                    self.padding, self.kernel, self.dilation
                )));
            }
            let padded = pad
                .checked_mul(2)
                .and_then(|p| p.checked_add(self.input[d]));
            let Some(room) = padded.and_then(|p| p.checked_sub(window)) else {
                return Err(ShapeError(format!(
                    "pooling: the window does not fit: kernel {:?} with dilation {:?}, input {:?} with \
                     padding {:?}",
                    self.kernel, self.dilation, self.input, self.padding
                )));
            };
            output[d] = if self.ceil_mode {
                let count = room.div_ceil(stride) + 1;
                count - usize::from((count - 1) * stride >= self.input[d] + pad)
            } else {
                room / stride + 1
            };
            if output[d] == 0 {
                return Err(ShapeError(format!(
                    "pooling: the output is too small: input {:?}, output {output:?}",
                    self.input
                )));
            }
        }
        Ok(output)
    }

    /// Elements of `x` and `grad_in`.
    pub fn input_len(&self) -> usize {
        self.planes * self.input.iter().product::<usize>()
    }

    /// Elements of `out`, `grad_out` and `indices`. Panics where [`output`](Self::output) errs.
    pub fn output_len(&self) -> usize {
        self.planes * self.valid_output().iter().product::<usize>()
    }

    fn valid_output(&self) -> [usize; 3] {
        self.output()
            .unwrap_or_else(|e| panic!("pooling of an impossible shape: {e}"))
    }
}
