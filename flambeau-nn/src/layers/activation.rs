//! Activations: a row of the table each, with PyTorch's defaults and printout.

use super::{forward, py};
use crate::functional as f;
use crate::parameter::Mode;
use flambeau_core::{Result, Tensor};
use flambeau_macros::Module;

/// `NAME { options } = |layer, x| result, prints text;`
macro_rules! activations {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$about:meta])* $field:ident: $t:ty = $default:expr),* $(,)? }
        = |$m:ident, $x:ident| $body:expr, prints |$r:ident| $repr:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            $($field: $t,)*
            mode: Mode,
        }

        impl $name {
            /// With PyTorch's defaults.
            pub fn new() -> $name {
                $name { $($field: $default,)* mode: Mode::default() }
            }

            $(
                $(#[$about])*
                #[must_use]
                pub fn $field(mut self, $field: $t) -> $name {
                    self.$field = $field;
                    self
                }
            )*

            fn extra_repr(&self) -> String {
                let $r = self;
                $repr
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new()
            }
        }

        forward!($name, |$m, $x| $body);
    )*};
}

/// The result, written over the input where the layer is told so.
#[track_caller]
fn place(inplace: bool, x: &Tensor, y: Result<Tensor>) -> Result<Tensor> {
    if inplace { x.copy_(&y?) } else { y }
}

/// `inplace=True`, where it is.
fn inplace(on: bool) -> String {
    if on {
        "inplace=True".to_owned()
    } else {
        String::new()
    }
}

/// The same after other text.
fn also_inplace(on: bool) -> &'static str {
    if on { ", inplace=True" } else { "" }
}

activations! {
    /// max(0, x) (`torch.nn.ReLU`).
    ReLU {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| if m.inplace { x.relu_() } else { x.relu() }, prints |m| inplace(m.inplace);
    /// x, times `negative_slope` below zero (`torch.nn.LeakyReLU`).
    LeakyReLU {
        /// The slope below zero (0.01).
        negative_slope: f64 = 0.01,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::leaky_relu(x, m.negative_slope)),
        prints |m| format!("negative_slope={}{}", py(m.negative_slope), also_inplace(m.inplace));
    /// The hyperbolic tangent (`torch.nn.Tanh`).
    Tanh {} = |_m, x| x.tanh(), prints |_m| String::new();
}

/// Layers along one dimension.
macro_rules! along {
    ($($(#[$doc:meta])* $name:ident = $function:path;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            dim: i64,
            mode: Mode,
        }

        impl $name {
            /// Along dimension `dim`.
            pub fn new(dim: i64) -> $name {
                $name { dim, mode: Mode::default() }
            }

            fn extra_repr(&self) -> String {
                format!("dim={}", self.dim)
            }
        }

        forward!($name, |m, x| $function(x, m.dim));
    )*};
}

along! {
    /// eˣ over its sum along a dimension (`torch.nn.Softmax`). Not before `CrossEntropyLoss`, which
    /// has its own.
    Softmax = f::softmax;
    /// The logarithm of softmax (`torch.nn.LogSoftmax`).
    LogSoftmax = f::log_softmax;
    /// Softmax of -x (`torch.nn.Softmin`).
    Softmin = f::softmin;
}

/// Softmax over the channels of `[batch, channels, height, width]` (`torch.nn.Softmax2d`).
#[derive(Debug, Default, Module)]
pub struct Softmax2d {
    mode: Mode,
}

impl Softmax2d {
    /// The only one there is.
    pub fn new() -> Softmax2d {
        Softmax2d::default()
    }
}

forward!(Softmax2d, |_m, x| f::softmax(x, -3));
