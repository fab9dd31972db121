//! Convolutions and their transposes.

use super::{Affine, Size, forward, setters, tuple};
use crate::functional::{PaddingMode, pad};
use crate::init::Draw;
use crate::parameter::{Mode, Parameter};
use flambeau_core::{ConvOptions, Result, Tensor};
use flambeau_macros::Module;

/// What a convolution puts around its input: so many positions on both sides, or as PyTorch's words
/// say.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Conv2d, Forward, Padding};
/// let conv = Conv2d::new(1, 1, 3).padding(Padding::Same);
/// assert_eq!(conv.forward(&Tensor::ones([1, 8, 8])?)?.shape(), [1, 8, 8]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<const N: usize> {
    /// So many on both sides of each dimension.
    Sides([usize; N]),
    /// As many as keep the size (`"same"`); needs stride 1.
    Same,
    /// None (`"valid"`).
    Valid,
}

impl<const N: usize, T: Into<Size<N>>> From<T> for Padding<N> {
    fn from(size: T) -> Padding<N> {
        Padding::Sides(size.into().each)
    }
}

impl<const N: usize> Padding<N> {
    /// Before and after each dimension, in `pad`'s order: the last dimension first.
    fn sides(&self, kernel: [usize; N], dilation: [usize; N]) -> Vec<i64> {
        let mut sides = Vec::with_capacity(2 * N);
        for i in (0..N).rev() {
            let (before, after) = match self {
                Padding::Sides(p) => (p[i], p[i]),
                Padding::Valid => (0, 0),
                Padding::Same => {
                    let total = dilation[i].saturating_mul(kernel[i].max(1) - 1);
                    (total / 2, total - total / 2)
                }
            };
            sides.extend([before, after].map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
        }
        sides
    }
}

macro_rules! conv_layer {
    ($name:ident, $n:literal, $method:ident, $input:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            /// `[out, in / groups, kernel…]`.
            pub weight: Parameter,
            /// `[out]`.
            pub bias: Option<Parameter>,
            in_channels: usize,
            out_channels: usize,
            kernel_size: [usize; $n],
            stride: [usize; $n],
            padding: Padding<$n>,
            dilation: [usize; $n],
            groups: usize,
            padding_mode: PaddingMode,
            mode: Mode,
            draw: Draw,
        }

        impl $name {
            /// From `in_channels` to `out_channels` planes by kernels of `kernel_size`; stride and
            /// dilation 1, no padding, one group, with a bias.
            #[track_caller]
            pub fn new(
                in_channels: usize,
                out_channels: usize,
                kernel_size: impl Into<Size<$n>>,
            ) -> $name {
                let kernel_size = kernel_size.into().each;
                let mut mode = Mode::default();
                let shape = weight_shape(in_channels, out_channels, 1, &kernel_size);
                let a = Affine::draw(&mut mode, None, shape, Some(out_channels));
                $name {
                    weight: a.weight,
                    bias: a.bias,
                    in_channels,
                    out_channels,
                    kernel_size,
                    stride: [1; $n],
                    padding: Padding::Sides([0; $n]),
                    dilation: [1; $n],
                    groups: 1,
                    padding_mode: PaddingMode::Zeros,
                    mode,
                    draw: a.draw,
                }
            }

            /// The values for the options as they are now, from where the generator was before.
            #[track_caller]
            fn redraw(mut self, bias: bool) -> $name {
                let shape = weight_shape(
                    self.in_channels,
                    self.out_channels,
                    self.groups,
                    &self.kernel_size,
                );
                let bias = bias.then_some(self.out_channels);
                let a = Affine::draw(&mut self.mode, Some(self.draw), shape, bias);
                $name {
                    weight: a.weight,
                    bias: a.bias,
                    draw: a.draw,
                    ..self
                }
            }

            /// Step of the kernel (1).
            #[must_use]
            pub fn stride(mut self, stride: impl Into<Size<$n>>) -> $name {
                self.stride = stride.into().each;
                self
            }

            /// Distance between the kernel's elements (1).
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<Size<$n>>) -> $name {
                self.dilation = dilation.into().each;
                self
            }

            /// What is put around the input: numbers or a [`Padding`] (none).
            #[must_use]
            pub fn padding(mut self, padding: impl Into<Padding<$n>>) -> $name {
                self.padding = padding.into();
                self
            }

            setters! {
                /// What the padding is made of (zeros).
                padding_mode: PaddingMode;
            }

            /// Blocks of channels that do not mix (1). Draws the values anew, from where the
            /// generator was before. Channels that do not divide are an error of the first call.
            #[must_use]
            #[track_caller]
            pub fn groups(mut self, groups: usize) -> $name {
                self.groups = groups;
                let bias = self.bias.is_some();
                self.redraw(bias)
            }

            /// Whether there is a bias (true). Draws the values anew, from where the generator was
            /// before.
            #[must_use]
            #[track_caller]
            pub fn bias(self, bias: bool) -> $name {
                self.redraw(bias)
            }

            /// Planes of the input.
            pub fn in_channels(&self) -> usize {
                self.in_channels
            }

            /// Planes of the output.
            pub fn out_channels(&self) -> usize {
                self.out_channels
            }

            #[track_caller]
            fn run(&self, x: &Tensor) -> Result<Tensor> {
                let mut options = ConvOptions {
                    stride: self.stride,
                    padding: [0; $n],
                    dilation: self.dilation,
                    groups: self.groups,
                };
                if self.padding == Padding::Same && self.stride != [1; $n] {
                    flambeau_core::bail!(
                        stringify!($method),
                        "padding that keeps the size needs stride 1; got {:?}",
                        self.stride
                    );
                }
                let sides = self.padding.sides(self.kernel_size, self.dilation);
                let even = sides.chunks(2).all(|s| s[0] == s[1]);
                let padded = if self.padding_mode == PaddingMode::Zeros && even {
                    options.padding = std::array::from_fn(|i| sides[2 * ($n - 1 - i)] as usize);
                    None
                } else {
                    Some(pad(x, &sides, self.padding_mode, 0.0)?)
                };
                padded
                    .as_ref()
                    .unwrap_or(x)
                    .$method(&self.weight, self.bias.as_deref(), &options)
            }

            fn extra_repr(&self) -> String {
                let mut s = format!(
                    "{}, {}, kernel_size={}, stride={}",
                    self.in_channels,
                    self.out_channels,
                    tuple(&self.kernel_size),
                    tuple(&self.stride)
                );
                match &self.padding {
                    Padding::Sides(p) if *p != [0; $n] => s += &format!(", padding={}", tuple(p)),
                    Padding::Sides(_) => {}
                    Padding::Same => s += ", padding=same",
                    Padding::Valid => s += ", padding=valid",
                }
                if self.dilation != [1; $n] {
                    s += &format!(", dilation={}", tuple(&self.dilation));
                }
                if self.groups != 1 {
                    s += &format!(", groups={}", self.groups);
                }
                if self.bias.is_none() {
                    s += ", bias=False";
                }
                if self.padding_mode != PaddingMode::Zeros {
                    s += &format!(", padding_mode={}", mode_name(self.padding_mode));
                }
                s
            }
        }

        forward!($name, |m, x| m.run(x),
            at format!(concat!(stringify!($name), "({} -> {})"), m.in_channels, m.out_channels));
    };
}

/// PyTorch's word for a padding mode.
fn mode_name(mode: PaddingMode) -> &'static str {
    match mode {
        PaddingMode::Zeros => "zeros",
        PaddingMode::Constant(_) => "constant",
        PaddingMode::Reflect => "reflect",
        PaddingMode::Replicate => "replicate",
        PaddingMode::Circular => "circular",
    }
}

/// `[out, in / groups, kernel…]`, where the channels divide.
fn weight_shape(
    in_channels: usize,
    out_channels: usize,
    groups: usize,
    kernel: &[usize],
) -> std::result::Result<Vec<usize>, String> {
    check_groups(in_channels, out_channels, groups)?;
    Ok([&[out_channels, in_channels / groups], kernel].concat())
}

fn check_groups(
    in_channels: usize,
    out_channels: usize,
    groups: usize,
) -> std::result::Result<(), String> {
    if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
        return Err(format!(
            "{in_channels} input and {out_channels} output channels do not divide into {groups} groups; choose a divisor of both"
        ));
    }
    Ok(())
}

conv_layer!(
    Conv1d,
    1,
    conv1d,
    "[batch, in, length]",
    "Convolution over `[batch, in, length]` or `[in, length]`
([`torch.nn.Conv1d`](https://pytorch.org/docs/stable/generated/torch.nn.Conv1d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Conv1d, Forward};
manual_seed(0);
let y = Conv1d::new(2, 3, 2).stride(2).forward(&Tensor::ones([1, 2, 5])?)?;
assert_eq!(y.shape(), [1, 3, 2]);
assert!((y.sum()?.item::<f32>()? + 2.7267).abs() < 1e-3);
# Ok::<(), flambeau_core::Error>(())
```"
);
conv_layer!(Conv2d, 2, conv2d, "[batch, in, height, width]",
    "Convolution over `[batch, in, height, width]` or `[in, height, width]`
([`torch.nn.Conv2d`](https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Conv2d, Forward};
manual_seed(0);
let conv = Conv2d::new(3, 6, 5).stride(2).padding(1).bias(false);
assert_eq!(conv.forward(&Tensor::ones([1, 3, 32, 32])?)?.shape(), [1, 6, 15, 15]);
// The generator stands where it does after nn.Conv2d(3, 6, 5, bias=False).
assert_eq!(Tensor::rand([1])?.item::<f32>()?, 0.9146645);
assert_eq!(conv.to_string(), \"Conv2d(3, 6, kernel_size=(5, 5), stride=(2, 2), padding=(1, 1), bias=False)\");
# Ok::<(), flambeau_core::Error>(())
```");
conv_layer!(
    Conv3d,
    3,
    conv3d,
    "[batch, in, depth, height, width]",
    "Convolution over `[batch, in, depth, height, width]` or without the batch
([`torch.nn.Conv3d`](https://pytorch.org/docs/stable/generated/torch.nn.Conv3d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Conv3d, Forward};
manual_seed(0);
let y = Conv3d::new(2, 3, 2).stride(2).forward(&Tensor::ones([1, 2, 5, 4, 4])?)?;
assert_eq!(y.shape(), [1, 3, 2, 2, 2]);
assert!((y.sum()?.item::<f32>()? + 8.3602).abs() < 1e-3);
# Ok::<(), flambeau_core::Error>(())
```"
);

macro_rules! conv_transpose_layer {
    ($name:ident, $n:literal, $method:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            /// `[in, out / groups, kernel…]`.
            pub weight: Parameter,
            /// `[out]`.
            pub bias: Option<Parameter>,
            in_channels: usize,
            out_channels: usize,
            kernel_size: [usize; $n],
            stride: [usize; $n],
            padding: [usize; $n],
            output_padding: [usize; $n],
            dilation: [usize; $n],
            groups: usize,
            mode: Mode,
            draw: Draw,
        }

        impl $name {
            /// From `in_channels` to `out_channels` planes by kernels of `kernel_size`; stride and
            /// dilation 1, no padding, one group, with a bias.
            #[track_caller]
            pub fn new(
                in_channels: usize,
                out_channels: usize,
                kernel_size: impl Into<Size<$n>>,
            ) -> $name {
                let kernel_size = kernel_size.into().each;
                let mut mode = Mode::default();
                let shape = transposed_shape(in_channels, out_channels, 1, &kernel_size);
                let a = Affine::draw(&mut mode, None, shape, Some(out_channels));
                $name {
                    weight: a.weight,
                    bias: a.bias,
                    in_channels,
                    out_channels,
                    kernel_size,
                    stride: [1; $n],
                    padding: [0; $n],
                    output_padding: [0; $n],
                    dilation: [1; $n],
                    groups: 1,
                    mode,
                    draw: a.draw,
                }
            }

            #[track_caller]
            fn redraw(mut self, bias: bool) -> $name {
                let shape = transposed_shape(
                    self.in_channels,
                    self.out_channels,
                    self.groups,
                    &self.kernel_size,
                );
                let bias = bias.then_some(self.out_channels);
                let a = Affine::draw(&mut self.mode, Some(self.draw), shape, bias);
                $name {
                    weight: a.weight,
                    bias: a.bias,
                    draw: a.draw,
                    ..self
                }
            }

            /// Step of the kernel over the output (1).
            #[must_use]
            pub fn stride(mut self, stride: impl Into<Size<$n>>) -> $name {
                self.stride = stride.into().each;
                self
            }

            /// What is cut off both sides of the output (0).
            #[must_use]
            pub fn padding(mut self, padding: impl Into<Size<$n>>) -> $name {
                self.padding = padding.into().each;
                self
            }

            /// What is added to one side of the output (0).
            #[must_use]
            pub fn output_padding(mut self, output_padding: impl Into<Size<$n>>) -> $name {
                self.output_padding = output_padding.into().each;
                self
            }

            /// Distance between the kernel's elements (1).
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<Size<$n>>) -> $name {
                self.dilation = dilation.into().each;
                self
            }

            /// Blocks of channels that do not mix (1). Draws the values anew, from where the
            /// generator was before. Channels that do not divide are an error of the first call.
            #[must_use]
            #[track_caller]
            pub fn groups(mut self, groups: usize) -> $name {
                self.groups = groups;
                let bias = self.bias.is_some();
                self.redraw(bias)
            }

            /// Whether there is a bias (true). Draws the values anew, from where the generator was
            /// before.
            #[must_use]
            #[track_caller]
            pub fn bias(self, bias: bool) -> $name {
                self.redraw(bias)
            }

            #[track_caller]
            fn run(&self, x: &Tensor) -> Result<Tensor> {
                let options = ConvOptions {
                    stride: self.stride,
                    padding: self.padding,
                    dilation: self.dilation,
                    groups: self.groups,
                };
                x.$method(
                    &self.weight,
                    self.bias.as_deref(),
                    &options,
                    self.output_padding,
                )
            }

            fn extra_repr(&self) -> String {
                let mut s = format!(
                    "{}, {}, kernel_size={}, stride={}",
                    self.in_channels,
                    self.out_channels,
                    tuple(&self.kernel_size),
                    tuple(&self.stride)
                );
                for (name, value, default) in [
                    ("padding", self.padding, 0),
                    ("dilation", self.dilation, 1),
                    ("output_padding", self.output_padding, 0),
                ] {
                    if value != [default; $n] {
                        s += &format!(", {name}={}", tuple(&value));
                    }
                }
                if self.groups != 1 {
                    s += &format!(", groups={}", self.groups);
                }
                if self.bias.is_none() {
                    s += ", bias=False";
                }
                s
            }
        }

        forward!($name, |m, x| m.run(x),
            at format!(concat!(stringify!($name), "({} -> {})"), m.in_channels, m.out_channels));
    };
}

/// `[in, out / groups, kernel…]`, where the channels divide.
fn transposed_shape(
    in_channels: usize,
    out_channels: usize,
    groups: usize,
    kernel: &[usize],
) -> std::result::Result<Vec<usize>, String> {
    check_groups(in_channels, out_channels, groups)?;
    Ok([&[in_channels, out_channels / groups], kernel].concat())
}

conv_transpose_layer!(
    ConvTranspose1d,
    1,
    conv_transpose1d,
    "Transposed convolution over `[batch, in, length]`
([`torch.nn.ConvTranspose1d`](https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose1d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{ConvTranspose1d, Forward};
manual_seed(0);
let y = ConvTranspose1d::new(2, 3, 2).stride(2).forward(&Tensor::ones([1, 2, 5])?)?;
assert_eq!(y.shape(), [1, 3, 10]);
assert!((y.sum()?.item::<f32>()? + 9.7093).abs() < 1e-3);
# Ok::<(), flambeau_core::Error>(())
```"
);
conv_transpose_layer!(
    ConvTranspose2d,
    2,
    conv_transpose2d,
    "Transposed convolution over `[batch, in, height, width]`
([`torch.nn.ConvTranspose2d`](https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{ConvTranspose2d, Forward};
manual_seed(0);
let y = ConvTranspose2d::new(2, 3, 2).stride(2).forward(&Tensor::ones([1, 2, 5, 4])?)?;
assert_eq!(y.shape(), [1, 3, 10, 8]);
assert!((y.sum()?.item::<f32>()? - 13.4455).abs() < 1e-3);
# Ok::<(), flambeau_core::Error>(())
```"
);
conv_transpose_layer!(
    ConvTranspose3d,
    3,
    conv_transpose3d,
    "Transposed convolution over `[batch, in, depth, height, width]`
([`torch.nn.ConvTranspose3d`](https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose3d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{ConvTranspose3d, Forward};
manual_seed(0);
let y = ConvTranspose3d::new(2, 3, 2).stride(2).forward(&Tensor::ones([1, 2, 5, 4, 4])?)?;
assert_eq!(y.shape(), [1, 3, 10, 8, 8]);
assert!((y.sum()?.item::<f32>()? + 49.9729).abs() < 1e-3);
# Ok::<(), flambeau_core::Error>(())
```"
);
