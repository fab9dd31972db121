//! Convolution over contiguous slices: forward, and the gradients of input, weight and bias.
//!
//! Layouts (all contiguous):
//! - `x`, `grad_in`: `[batch, in_channels, D, H, W]`
//! - `w`, `grad_w`: `[out_channels, in_channels / groups, kD, kH, kW]`
//! - `out`, `grad_out`: `[batch, out_channels, oD, oH, oW]`
//!
//! A 1-d or 2-d convolution sets the leading spatial entries to 1 (and their padding to 0). As in
//! PyTorch the kernel is not flipped. A transposed convolution is [`conv_backward_data`] of the
//! convolution whose `input` is the wanted output: with a stride, several inputs share one output
//! size, which is what `output_padding` chooses among.

mod choice;
mod correlate;
mod depthwise;
mod operand;
mod phases;
mod planes;
mod product;
pub mod reference;
mod weight;
mod winograd;

use crate::alloc::Buffer;
use crate::convert::{bf16_to_f32, f32_to_bf16};
use crate::float::{Float, ShapeError};
use crate::gemm::unit;
use half::bf16;

use choice::{Maps, Part, Path, choose};
use operand::{Pair, has_pairs};
use planes::scratch;

/// The geometry of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Samples; may be 0.
    pub batch: usize,
    /// Channels of the input; a multiple of `groups`.
    pub in_channels: usize,
    /// Channels of the output; a multiple of `groups`.
    pub out_channels: usize,
    /// Independent blocks of channels.
    pub groups: usize,
    /// Input `[D, H, W]`.
    pub input: [usize; 3],
    /// Kernel `[kD, kH, kW]`.
    pub kernel: [usize; 3],
    /// Step of the window.
    pub stride: [usize; 3],
    /// Zeros on both sides.
    pub padding: [usize; 3],
    /// Distance between kernel elements.
    pub dilation: [usize; 3],
}

impl ConvShape {
    /// A 2-d convolution with stride 1, no padding, no dilation and one group; set the other
    /// fields with the struct-update syntax.
    pub fn conv2d(
        batch: usize,
        in_channels: usize,
        input: [usize; 2],
        out_channels: usize,
        kernel: [usize; 2],
    ) -> Self {
        Self {
            batch,
            in_channels,
            out_channels,
            groups: 1,
            input: [1, input[0], input[1]],
            kernel: [1, kernel[0], kernel[1]],
            stride: [1; 3],
            padding: [0; 3],
            dilation: [1; 3],
        }
    }

    /// The output's `[oD, oH, oW]`, each `(input + 2 padding - dilation (kernel - 1) - 1) / stride + 1`.
    ///
    /// Errors: channels not divisible by groups, a zero kernel, stride or dilation, a kernel that
    /// does not fit in the padded input.
    ///
    /// ```
    /// # use flambeau_cpu::conv::ConvShape;
    /// let lenet = ConvShape::conv2d(4, 3, [32, 32], 6, [5, 5]);
    /// assert_eq!(lenet.output().unwrap(), [1, 28, 28]);
    /// let halved = ConvShape { stride: [1, 2, 2], padding: [0, 2, 2], ..lenet };
    /// assert_eq!(halved.output().unwrap(), [1, 16, 16]);
    /// assert!(ConvShape { input: [1, 4, 32], ..lenet }.output().is_err());
    /// ```
    pub fn output(&self) -> Result<[usize; 3], ShapeError> {
        let fail = |text: String| Err(ShapeError(text));
        if self.groups == 0
            || !self.in_channels.is_multiple_of(self.groups)
            || !self.out_channels.is_multiple_of(self.groups)
        {
            return fail(format!(
                "in_channels {} and out_channels {} must both be multiples of groups {}",
                self.in_channels, self.out_channels, self.groups
            ));
        }
        for (what, values) in [
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if values.contains(&0) {
                return fail(format!("{what} must be at least 1, got {values:?}"));
            }
        }
        let mut output = [0; 3];
        for (d, output) in output.iter_mut().enumerate() {
            let padded = self.padding[d]
                .checked_mul(2)
                .and_then(|p| p.checked_add(self.input[d]));
            let extent = self.dilation[d]
                .checked_mul(self.kernel[d] - 1)
                .and_then(|e| e.checked_add(1));
            match (padded, extent) {
                (Some(padded), Some(extent)) if extent <= padded => {
                    *output = (padded - extent) / self.stride[d] + 1;
                }
                _ => {
                    return fail(format!(
                        "the kernel does not fit in the padded input: kernel {:?} with dilation {:?}, \
                         input {:?} with padding {:?}",
                        self.kernel, self.dilation, self.input, self.padding
                    ));
                }
            }
        }
        Ok(output)
    }

    /// Elements of `x` and `grad_in`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.input.iter().product::<usize>()
    }

    /// Elements of `w` and `grad_w`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.patch()
    }

    /// Elements of `out` and `grad_out`. Panics where [`output`](Self::output) errs.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.pixels()
    }

    /// Weights of one output channel: `in_channels / groups * kD * kH * kW`.
    fn patch(&self) -> usize {
        self.in_channels / self.groups * self.kernel.iter().product::<usize>()
    }

    /// Output positions of one plane.
    fn pixels(&self) -> usize {
        self.valid_output().iter().product()
    }

    fn valid_output(&self) -> [usize; 3] {
        self.output()
            .unwrap_or_else(|e| panic!("convolution of an impossible shape: {e}"))
    }

    fn check(&self, x: usize, w: usize, out: usize) {
        assert_eq!(x, self.input_len(), "convolution: length of the input");
        assert_eq!(w, self.weight_len(), "convolution: length of the weight");
        assert_eq!(out, self.output_len(), "convolution: length of the output");
    }
}

/// Every `[d, h, w]` below `size`, in order.
fn places(size: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..size[0])
        .flat_map(move |d| (0..size[1]).flat_map(move |h| (0..size[2]).map(move |w| [d, h, w])))
}

/// The element types of convolutions: f32 and f64. Their kernels are compiled here, once.
pub trait Convolve: Float + Sealed {}

/// What only this module may implement and use; arguments as of the functions below, checked.
#[allow(missing_docs)]
pub trait Sealed: Sized {
    #[doc(hidden)]
    fn forward(s: &ConvShape, x: &[Self], w: &[Self], bias: Option<&[Self]>, out: &mut [Self]);
    #[doc(hidden)]
    fn backward_data(s: &ConvShape, grad_out: &[Self], w: &[Self], grad_in: &mut [Self]);
    #[doc(hidden)]
    fn backward_weight(s: &ConvShape, x: &[Self], grad_out: &[Self], grad_w: &mut [Self]);
}

impl Convolve for f32 {}
impl Convolve for f64 {}

impl Sealed for f32 {
    fn forward(s: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        match choose(s, Part::Forward, Maps::F32) {
            Path::Direct => correlate::forward::<f32, f32, f32>(s, x, w, bias, out),
            Path::Winograd => winograd::forward(s, x, w, bias, out),
            Path::Rows => winograd::rows::forward(s, x, w, bias, out),
            Path::Phases => phases::forward(s, x, w, bias, out),
            Path::Depthwise => depthwise::forward::<f32, f32, f32>(s, x, w, bias, out),
            Path::Product => product::forward(s, x, w, bias, out),
        }
    }

    fn backward_data(s: &ConvShape, grad_out: &[f32], w: &[f32], grad_in: &mut [f32]) {
        match choose(s, Part::Data, Maps::F32) {
            Path::Direct => correlate::backward_data::<f32, f32, f32>(s, grad_out, w, grad_in),
            Path::Winograd => winograd::backward_data(s, grad_out, w, grad_in),
            Path::Rows => winograd::rows::backward_data(s, grad_out, w, grad_in),
            Path::Phases => phases::backward_data(s, grad_out, w, grad_in),
            Path::Depthwise => depthwise::backward_data::<f32, f32, f32>(s, grad_out, w, grad_in),
            Path::Product => product::backward_data(s, grad_out, w, grad_in),
        }
    }

    fn backward_weight(s: &ConvShape, x: &[f32], grad_out: &[f32], grad_w: &mut [f32]) {
        match choose(s, Part::Weight, Maps::F32) {
            Path::Direct | Path::Rows => {
                weight::backward_weight::<f32, f32, f32>(s, x, grad_out, grad_w)
            }
            Path::Winograd => winograd::backward_weight(s, x, grad_out, grad_w),
            Path::Phases => phases::backward_weight(s, x, grad_out, grad_w),
            Path::Depthwise => depthwise::backward_weight::<f32, f32, f32>(s, x, grad_out, grad_w),
            Path::Product => product::backward_weight(s, x, grad_out, grad_w),
        }
    }
}

impl Sealed for f64 {
    fn forward(s: &ConvShape, x: &[f64], w: &[f64], bias: Option<&[f64]>, out: &mut [f64]) {
        match choose(s, Part::Forward, Maps::F64) {
            Path::Depthwise => depthwise::forward::<f64, f64, f64>(s, x, w, bias, out),
            Path::Product => product::forward(s, x, w, bias, out),
            _ => correlate::forward::<f64, f64, f64>(s, x, w, bias, out),
        }
    }

    fn backward_data(s: &ConvShape, grad_out: &[f64], w: &[f64], grad_in: &mut [f64]) {
        match choose(s, Part::Data, Maps::F64) {
            Path::Depthwise => depthwise::backward_data::<f64, f64, f64>(s, grad_out, w, grad_in),
            Path::Product => product::backward_data(s, grad_out, w, grad_in),
            _ => correlate::backward_data::<f64, f64, f64>(s, grad_out, w, grad_in),
        }
    }

    fn backward_weight(s: &ConvShape, x: &[f64], grad_out: &[f64], grad_w: &mut [f64]) {
        match choose(s, Part::Weight, Maps::F64) {
            Path::Depthwise => depthwise::backward_weight::<f64, f64, f64>(s, x, grad_out, grad_w),
            Path::Product => product::backward_weight(s, x, grad_out, grad_w),
            _ => weight::backward_weight::<f64, f64, f64>(s, x, grad_out, grad_w),
        }
    }
}

/// `out = conv(x, w) + bias`.
///
/// # Panics
/// When a slice's length is not that of the shape, or the shape has no output.
pub fn conv_forward<T: Convolve>(
    s: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    s.check(x.len(), w.len(), out.len());
    if let Some(bias) = bias {
        assert_eq!(
            bias.len(),
            s.out_channels,
            "convolution: length of the bias"
        );
    }
    Sealed::forward(s, x, w, bias, out);
}

/// The gradient of the input: `grad_in` is overwritten.
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_data<T: Convolve>(s: &ConvShape, grad_out: &[T], w: &[T], grad_in: &mut [T]) {
    s.check(grad_in.len(), w.len(), grad_out.len());
    T::backward_data(s, grad_out, w, grad_in);
}

/// The gradient of the weight: `grad_w` is overwritten.
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_weight<T: Convolve>(s: &ConvShape, x: &[T], grad_out: &[T], grad_w: &mut [T]) {
    s.check(x.len(), grad_w.len(), grad_out.len());
    T::backward_weight(s, x, grad_out, grad_w);
}

/// What multiplies maps of bf16.
fn bf16_maps(s: &ConvShape, part: Part) -> Maps {
    let tiles = || match part {
        Part::Weight => weight::by_tile::is_for(s),
        _ => correlate::by_tile::is_for(s, part),
    };
    if has_pairs() && unit::available() && tiles() {
        return Maps::Tiles;
    }
    let single = depthwise::is_for(s, part, false) && !depthwise::is_for(s, part, true);
    match has_pairs() && !single {
        true => Maps::Pairs,
        false => Maps::Bf16,
    }
}

/// The values in f32.
fn widened(maps: &[bf16]) -> Buffer {
    let mut wide = scratch::<f32>(maps.len(), false);
    bf16_to_f32(maps, wide.as_mut_slice());
    wide
}

/// [`conv_forward`] of bf16 maps: weights are values of bf16 held in f32, bias and sums are f32, the
/// result is rounded once.
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_forward_bf16(
    s: &ConvShape,
    x: &[bf16],
    w: &[f32],
    bias: Option<&[f32]>,
    out: &mut [bf16],
) {
    s.check(x.len(), w.len(), out.len());
    let maps = bf16_maps(s, Part::Forward);
    match (choose(s, Part::Forward, maps), maps) {
        (Path::Winograd, _) => winograd::forward(s, x, w, bias, out),
        (Path::Phases, _) => phases::forward(s, x, w, bias, out),
        (Path::Depthwise, Maps::Pairs) => depthwise::forward::<f32, bf16, Pair>(s, x, w, bias, out),
        (_, Maps::Pairs) => correlate::forward::<f32, bf16, Pair>(s, x, w, bias, out),
        (_, Maps::Tiles) => correlate::forward_by_tiles::<unit::Cpu>(s, x, w, bias, out),
        _ => {
            let mut wide = scratch::<f32>(out.len(), false);
            let wide = wide.as_mut_slice();
            f32::forward(s, widened(x).as_slice(), w, bias, wide);
            f32_to_bf16(wide, out);
        }
    }
}

/// [`conv_backward_data`] of bf16 maps, with weights as of [`conv_forward_bf16`].
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_data_bf16(s: &ConvShape, grad_out: &[bf16], w: &[f32], grad_in: &mut [bf16]) {
    s.check(grad_in.len(), w.len(), grad_out.len());
    let maps = bf16_maps(s, Part::Data);
    match (choose(s, Part::Data, maps), maps) {
        (Path::Winograd, _) => winograd::backward_data(s, grad_out, w, grad_in),
        (Path::Phases, _) => phases::backward_data(s, grad_out, w, grad_in),
        (Path::Depthwise, Maps::Pairs) => {
            depthwise::backward_data::<f32, bf16, Pair>(s, grad_out, w, grad_in)
        }
        (_, Maps::Pairs) => correlate::backward_data::<f32, bf16, Pair>(s, grad_out, w, grad_in),
        (_, Maps::Tiles) => correlate::backward_data_by_tiles::<unit::Cpu>(s, grad_out, w, grad_in),
        _ => {
            let mut wide = scratch::<f32>(grad_in.len(), false);
            let wide = wide.as_mut_slice();
            f32::backward_data(s, widened(grad_out).as_slice(), w, wide);
            f32_to_bf16(wide, grad_in);
        }
    }
}

/// [`conv_backward_weight`] of bf16 maps; the result is f32.
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_weight_bf16(s: &ConvShape, x: &[bf16], grad_out: &[bf16], grad_w: &mut [f32]) {
    s.check(x.len(), grad_w.len(), grad_out.len());
    let maps = bf16_maps(s, Part::Weight);
    match (choose(s, Part::Weight, maps), maps) {
        (Path::Winograd, _) => winograd::backward_weight(s, x, grad_out, grad_w),
        (Path::Phases, _) => phases::backward_weight(s, x, grad_out, grad_w),
        (Path::Depthwise, Maps::Pairs) => {
            depthwise::backward_weight::<f32, bf16, Pair>(s, x, grad_out, grad_w)
        }
        (_, Maps::Pairs) => weight::backward_weight::<f32, bf16, Pair>(s, x, grad_out, grad_w),
        (_, Maps::Tiles) => weight::backward_weight_by_tiles::<unit::Cpu>(s, x, grad_out, grad_w),
        _ => {
            let (x, grad_out) = (widened(x), widened(grad_out));
            f32::backward_weight(s, x.as_slice(), grad_out.as_slice(), grad_w);
        }
    }
}

/// The gradient of the bias, the sum of `grad_out` over batch and positions: `grad_bias` is
/// overwritten.
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_bias<T: Convolve>(s: &ConvShape, grad_out: &[T], grad_bias: &mut [T]) {
    assert_eq!(
        grad_out.len(),
        s.output_len(),
        "convolution: length of the output"
    );
    assert_eq!(
        grad_bias.len(),
        s.out_channels,
        "convolution: length of the bias"
    );
    reference::backward_bias(s, grad_out, grad_bias);
}

#[cfg(test)]
mod tests;
