//! Layers that put a margin around their input.

use super::{forward, py};
use crate::functional::{PaddingMode, pad};
use crate::parameter::Mode;
use flambeau_macros::Module;

/// A margin of `N` numbers: one for all sides, or one for each in `pad`'s order (left, right, top,
/// bottom, front, back).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, ZeroPad2d};
/// let x = Tensor::ones([1, 2, 2])?;
/// assert_eq!(ZeroPad2d::new(1).forward(&x)?.shape(), [1, 4, 4]);
/// assert_eq!(ZeroPad2d::new((0, 3, 0, 0)).forward(&x)?.shape(), [1, 2, 5]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margin<const N: usize>([i64; N]);

impl<const N: usize> From<i64> for Margin<N> {
    fn from(n: i64) -> Margin<N> {
        Margin([n; N])
    }
}

impl<const N: usize> From<[i64; N]> for Margin<N> {
    fn from(sides: [i64; N]) -> Margin<N> {
        Margin(sides)
    }
}

impl From<(i64, i64)> for Margin<2> {
    fn from((a, b): (i64, i64)) -> Margin<2> {
        Margin([a, b])
    }
}

impl From<(i64, i64, i64, i64)> for Margin<4> {
    fn from((a, b, c, d): (i64, i64, i64, i64)) -> Margin<4> {
        Margin([a, b, c, d])
    }
}

impl<const N: usize> std::fmt::Display for Margin<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sides: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "({})", sides.join(", "))
    }
}

macro_rules! pad_layers {
    ($($name:ident $n:literal $padding:ident $doc:literal;)*) => {$(
        #[doc = concat!($doc,
            " ([`torch.nn.", stringify!($name), "`](https://pytorch.org/docs/stable/generated/torch.nn.",
            stringify!($name), ".html)).\n\n```\nuse flambeau_core::Tensor;\nuse flambeau_nn::{Forward, ",
            stringify!($name), "};\nlet x = Tensor::ones([3; 1 + ", $n, " / 2])?;\nlet y = ", stringify!($name),
            "::new(1).forward(&x)?;\n// One more on both sides.\nassert_eq!(y.shape()[1..], [5; ", $n,
            " / 2]);\n# Ok::<(), flambeau_core::Error>(())\n```")]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            padding: Margin<$n>,
            mode: Mode,
        }

        impl $name {
            /// With a margin of one number for all sides, or one for each; negative ones cut off.
            pub fn new(padding: impl Into<Margin<$n>>) -> $name {
                $name { padding: padding.into(), mode: Mode::default() }
            }

            fn extra_repr(&self) -> String {
                self.padding.to_string()
            }
        }

        forward!($name, |m, x| pad(x, &m.padding.0, PaddingMode::$padding, 0.0));
    )*};
}

pad_layers! {
    ZeroPad1d 2 Zeros "Zeros at both ends of `[…, length]`";
    ZeroPad2d 4 Zeros "Zeros around `[…, height, width]`";
    ZeroPad3d 6 Zeros "Zeros around `[…, depth, height, width]`";
    ReflectionPad1d 2 Reflect "The input mirrored at both ends of `[…, length]`";
    ReflectionPad2d 4 Reflect "The input mirrored around `[…, height, width]`";
    ReflectionPad3d 6 Reflect "The input mirrored around `[…, depth, height, width]`";
    ReplicationPad1d 2 Replicate "The last element repeated at both ends of `[…, length]`";
    ReplicationPad2d 4 Replicate "The edge repeated around `[…, height, width]`";
    ReplicationPad3d 6 Replicate "The faces repeated around `[…, depth, height, width]`";
    CircularPad1d 2 Circular "The input from its other end at both ends of `[…, length]`";
    CircularPad2d 4 Circular "The input from its other side around `[…, height, width]`";
    CircularPad3d 6 Circular "The input from its other side around `[…, depth, height, width]`";
}

macro_rules! constant_pad_layers {
    ($($name:ident $n:literal;)*) => {$(
        #[doc = concat!("One value around the input",
            " ([`torch.nn.", stringify!($name), "`](https://pytorch.org/docs/stable/generated/torch.nn.",
            stringify!($name), ".html)).\n\n```\nuse flambeau_core::Tensor;\nuse flambeau_nn::{Forward, ",
            stringify!($name), "};\nlet x = Tensor::ones([3; 1 + ", $n, " / 2])?;\nlet y = ", stringify!($name),
            "::new(1, 0.5).forward(&x)?;\n// One more on both sides.\nassert_eq!(y.shape()[1..], [5; ", $n,
            " / 2]);\n# Ok::<(), flambeau_core::Error>(())\n```")]
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            padding: Margin<$n>,
            value: f64,
            mode: Mode,
        }

        impl $name {
            /// With a margin of one number for all sides, or one for each, of `value`.
            pub fn new(padding: impl Into<Margin<$n>>, value: f64) -> $name {
                $name { padding: padding.into(), value, mode: Mode::default() }
            }

            fn extra_repr(&self) -> String {
                format!("padding={}, value={}", self.padding, py(self.value))
            }
        }

        forward!($name, |m, x| pad(x, &m.padding.0, PaddingMode::Zeros, m.value));
    )*};
}

constant_pad_layers! {
    ConstantPad1d 2;
    ConstantPad2d 4;
    ConstantPad3d 6;
}
