//! Pooling.

use super::{Size, forward, py_bool, setters, tuple};
use crate::parameter::Mode;
use flambeau_core::{PoolOptions, Result, Tensor};
use flambeau_macros::Module;

macro_rules! max_pool {
    ($name:ident, $n:literal, $method:ident, $indices:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            kernel_size: Size<$n>,
            stride: Size<$n>,
            padding: Size<$n>,
            dilation: Size<$n>,
            ceil_mode: bool,
            mode: Mode,
        }

        impl $name {
            /// Windows of `kernel_size`, side by side.
            pub fn new(kernel_size: impl Into<Size<$n>>) -> $name {
                let kernel_size = kernel_size.into();
                $name {
                    kernel_size,
                    stride: kernel_size,
                    padding: 0.into(),
                    dilation: 1.into(),
                    ceil_mode: false,
                    mode: Mode::default(),
                }
            }

            setters! { into
                /// Step of the window (the kernel size).
                stride: Size<$n>;
                /// What is put around the input, never chosen (0).
                padding: Size<$n>;
                /// Distance between the window's elements (1).
                dilation: Size<$n>;
            }
            setters! {
                /// Whether a last window may hang over the edge (false).
                ceil_mode: bool;
            }

            fn options(&self) -> PoolOptions<$n> {
                PoolOptions {
                    stride: Some(self.stride.each),
                    padding: self.padding.each,
                    dilation: self.dilation.each,
                    ceil_mode: self.ceil_mode,
                    ..PoolOptions::new(self.kernel_size.each)
                }
            }

            /// The output and the place of each maximum in its plane (`return_indices=True`).
            ///
            /// # Errors
            /// As the forward pass.
            #[track_caller]
            pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                x.$indices(self.options())
            }

            fn extra_repr(&self) -> String {
                format!(
                    "kernel_size={}, stride={}, padding={}, dilation={}, ceil_mode={}",
                    self.kernel_size,
                    self.stride,
                    self.padding,
                    self.dilation,
                    py_bool(self.ceil_mode)
                )
            }
        }

        forward!($name, |m, x| x.$method(m.options()));
    };
}
max_pool!(
    MaxPool1d,
    1,
    max_pool1d,
    max_pool1d_with_indices,
    "The maximum of each window of `[batch, channels, length]`
([`torch.nn.MaxPool1d`](https://pytorch.org/docs/stable/generated/torch.nn.MaxPool1d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{Forward, MaxPool1d};
let x = Tensor::arange(0.0, 6, 1)?.view([1, 1, 6])?;
let y = MaxPool1d::new(3).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2]);
assert_eq!(y.to_vec::<f32>()?, [2.0, 5.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
max_pool!(
    MaxPool2d,
    2,
    max_pool2d,
    max_pool2d_with_indices,
    "The maximum of each window of `[batch, channels, height, width]`
([`torch.nn.MaxPool2d`](https://pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{Forward, MaxPool2d};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 4, 4])?;
let y = MaxPool2d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2, 2]);
assert_eq!(y.to_vec::<f32>()?, [5.0, 7.0, 13.0, 15.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
max_pool!(
    MaxPool3d,
    3,
    max_pool3d,
    max_pool3d_with_indices,
    "The maximum of each window of `[batch, channels, depth, height, width]`
([`torch.nn.MaxPool3d`](https://pytorch.org/docs/stable/generated/torch.nn.MaxPool3d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{Forward, MaxPool3d};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 2, 2, 4])?;
let y = MaxPool3d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 1, 1, 2]);
assert_eq!(y.to_vec::<f32>()?, [13.0, 15.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);

macro_rules! avg_pool {
    ($name:ident, $n:literal, $method:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            kernel_size: Size<$n>,
            stride: Size<$n>,
            padding: Size<$n>,
            ceil_mode: bool,
            count_include_pad: bool,
            divisor_override: Option<i64>,
            mode: Mode,
        }

        impl $name {
            /// Windows of `kernel_size`, side by side.
            pub fn new(kernel_size: impl Into<Size<$n>>) -> $name {
                let kernel_size = kernel_size.into();
                $name {
                    kernel_size,
                    stride: kernel_size,
                    padding: 0.into(),
                    ceil_mode: false,
                    count_include_pad: true,
                    divisor_override: None,
                    mode: Mode::default(),
                }
            }

            setters! { into
                /// Step of the window (the kernel size).
                stride: Size<$n>;
                /// Zeros put around the input (0).
                padding: Size<$n>;
                /// What to divide by instead of the window's size.
                divisor_override: Option<i64>;
            }
            setters! {
                /// Whether a last window may hang over the edge (false).
                ceil_mode: bool;
                /// Whether the padding counts in the average (true).
                count_include_pad: bool;
            }

            fn extra_repr(&self) -> String {
                // PyTorch turns the numbers of the one-dimensional layer into tuples.
                let show = |s: &Size<$n>| {
                    if $n == 1 {
                        tuple(&s.each)
                    } else {
                        s.to_string()
                    }
                };
                format!(
                    "kernel_size={}, stride={}, padding={}",
                    show(&self.kernel_size),
                    show(&self.stride),
                    show(&self.padding)
                )
            }
        }

        forward!($name, |m, x| x.$method(PoolOptions {
            stride: Some(m.stride.each),
            padding: m.padding.each,
            ceil_mode: m.ceil_mode,
            count_include_pad: m.count_include_pad,
            divisor_override: m.divisor_override,
            ..PoolOptions::new(m.kernel_size.each)
        }));
    };
}
avg_pool!(
    AvgPool1d,
    1,
    avg_pool1d,
    "The average of each window of `[batch, channels, length]`
([`torch.nn.AvgPool1d`](https://pytorch.org/docs/stable/generated/torch.nn.AvgPool1d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AvgPool1d, Forward};
let x = Tensor::arange(0.0, 6, 1)?.view([1, 1, 6])?;
let y = AvgPool1d::new(3).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2]);
assert_eq!(y.to_vec::<f32>()?, [1.0, 4.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
avg_pool!(
    AvgPool2d,
    2,
    avg_pool2d,
    "The average of each window of `[batch, channels, height, width]`
([`torch.nn.AvgPool2d`](https://pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AvgPool2d, Forward};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 4, 4])?;
let y = AvgPool2d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2, 2]);
assert_eq!(y.to_vec::<f32>()?, [2.5, 4.5, 10.5, 12.5]);
# Ok::<(), flambeau_core::Error>(())
```"
);
avg_pool!(
    AvgPool3d,
    3,
    avg_pool3d,
    "The average of each window of `[batch, channels, depth, height, width]`
([`torch.nn.AvgPool3d`](https://pytorch.org/docs/stable/generated/torch.nn.AvgPool3d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AvgPool3d, Forward};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 2, 2, 4])?;
let y = AvgPool3d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 1, 1, 2]);
assert_eq!(y.to_vec::<f32>()?, [6.5, 8.5]);
# Ok::<(), flambeau_core::Error>(())
```"
);

macro_rules! adaptive {
    ($name:ident, $n:literal, $method:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            output_size: Size<$n>,
            mode: Mode,
        }

        impl $name {
            /// With so many windows as give `output_size`.
            pub fn new(output_size: impl Into<Size<$n>>) -> $name {
                $name {
                    output_size: output_size.into(),
                    mode: Mode::default(),
                }
            }

            fn extra_repr(&self) -> String {
                format!("output_size={}", self.output_size)
            }
        }

        forward!($name, |m, x| x.$method(m.output_size.each));
    };
}
adaptive!(
    AdaptiveAvgPool1d,
    1,
    adaptive_avg_pool1d,
    "Averages that give a length
([`torch.nn.AdaptiveAvgPool1d`](https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool1d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AdaptiveAvgPool1d, Forward};
let x = Tensor::arange(0.0, 6, 1)?.view([1, 1, 6])?;
let y = AdaptiveAvgPool1d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2]);
assert_eq!(y.to_vec::<f32>()?, [1.0, 4.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
adaptive!(
    AdaptiveAvgPool2d,
    2,
    adaptive_avg_pool2d,
    "Averages that give a height and width
([`torch.nn.AdaptiveAvgPool2d`](https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AdaptiveAvgPool2d, Forward};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 4, 4])?;
let y = AdaptiveAvgPool2d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2, 2]);
assert_eq!(y.to_vec::<f32>()?, [2.5, 4.5, 10.5, 12.5]);
# Ok::<(), flambeau_core::Error>(())
```"
);
adaptive!(
    AdaptiveAvgPool3d,
    3,
    adaptive_avg_pool3d,
    "Averages that give a depth, height and width
([`torch.nn.AdaptiveAvgPool3d`](https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool3d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AdaptiveAvgPool3d, Forward};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 2, 2, 4])?;
let y = AdaptiveAvgPool3d::new(1).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 1, 1, 1]);
assert_eq!(y.to_vec::<f32>()?, [7.5]);
# Ok::<(), flambeau_core::Error>(())
```"
);
adaptive!(
    AdaptiveMaxPool1d,
    1,
    adaptive_max_pool1d,
    "Maxima that give a length
([`torch.nn.AdaptiveMaxPool1d`](https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool1d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AdaptiveMaxPool1d, Forward};
let x = Tensor::arange(0.0, 6, 1)?.view([1, 1, 6])?;
let y = AdaptiveMaxPool1d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2]);
assert_eq!(y.to_vec::<f32>()?, [2.0, 5.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
adaptive!(
    AdaptiveMaxPool2d,
    2,
    adaptive_max_pool2d,
    "Maxima that give a height and width
([`torch.nn.AdaptiveMaxPool2d`](https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool2d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AdaptiveMaxPool2d, Forward};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 4, 4])?;
let y = AdaptiveMaxPool2d::new(2).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 2, 2]);
assert_eq!(y.to_vec::<f32>()?, [5.0, 7.0, 13.0, 15.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
adaptive!(
    AdaptiveMaxPool3d,
    3,
    adaptive_max_pool3d,
    "Maxima that give a depth, height and width
([`torch.nn.AdaptiveMaxPool3d`](https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool3d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{AdaptiveMaxPool3d, Forward};
let x = Tensor::arange(0.0, 16, 1)?.view([1, 1, 2, 2, 4])?;
let y = AdaptiveMaxPool3d::new(1).forward(&x)?;
assert_eq!(y.shape(), [1, 1, 1, 1, 1]);
assert_eq!(y.to_vec::<f32>()?, [15.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
