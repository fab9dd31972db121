//! Activations: a row of the table each, with PyTorch's defaults and printout.

use super::{forward, py};
use crate::functional as f;
use crate::parameter::{Mode, Parameter};
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
    /// min(max(0, x), 6) (`torch.nn.ReLU6`).
    ReLU6 {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::relu6(x)), prints |m| inplace(m.inplace);
    /// x, times `negative_slope` below zero (`torch.nn.LeakyReLU`).
    LeakyReLU {
        /// The slope below zero (0.01).
        negative_slope: f64 = 0.01,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::leaky_relu(x, m.negative_slope)),
        prints |m| format!("negative_slope={}{}", py(m.negative_slope), also_inplace(m.inplace));
    /// x, or α (eˣ - 1) below zero (`torch.nn.ELU`).
    ELU {
        /// α (1).
        alpha: f64 = 1.0,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::elu(x, m.alpha)),
        prints |m| format!("alpha={}{}", py(m.alpha), also_inplace(m.inplace));
    /// The self-normalising ELU (arXiv 1706.02515; `torch.nn.SELU`).
    SELU {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::selu(x)), prints |m| inplace(m.inplace);
    /// ELU with a continuous slope (arXiv 1704.07483; `torch.nn.CELU`).
    CELU {
        /// α (1).
        alpha: f64 = 1.0,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::celu(x, m.alpha)),
        prints |m| format!("alpha={}{}", py(m.alpha), also_inplace(m.inplace));
    /// x Φ(x) (arXiv 1606.08415; `torch.nn.GELU`).
    GELU {
        /// By tanh instead of the error function (`approximate="tanh"`; false).
        tanh: bool = false,
    } = |m, x| f::gelu(x, m.tanh),
        prints |m| format!("approximate='{}'", if m.tanh { "tanh" } else { "none" });
    /// x σ(x), also called swish (`torch.nn.SiLU`).
    SiLU {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::silu(x)), prints |m| inplace(m.inplace);
    /// x tanh(softplus(x)) (`torch.nn.Mish`).
    Mish {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::mish(x)), prints |m| inplace(m.inplace);
    /// log(1 + e^βx) / β (`torch.nn.Softplus`).
    Softplus {
        /// β (1).
        beta: f64 = 1.0,
        /// Where βx is above this, x itself (20).
        threshold: f64 = 20.0,
    } = |m, x| f::softplus(x, m.beta, m.threshold),
        prints |m| format!("beta={}, threshold={}", py(m.beta), py(m.threshold));
    /// x / (1 + |x|) (`torch.nn.Softsign`).
    Softsign {} = |_m, x| f::softsign(x), prints |_m| String::new();
    /// The hyperbolic tangent (`torch.nn.Tanh`).
    Tanh {} = |_m, x| x.tanh(), prints |_m| String::new();
    /// 1 / (1 + e⁻ˣ) (`torch.nn.Sigmoid`).
    Sigmoid {} = |_m, x| x.sigmoid(), prints |_m| String::new();
    /// x, cut to an interval (`torch.nn.Hardtanh`).
    Hardtanh {
        /// The lower end (-1).
        min_val: f64 = -1.0,
        /// The upper end (1).
        max_val: f64 = 1.0,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::hardtanh(x, m.min_val, m.max_val)),
        prints |m| format!("min_val={}, max_val={}{}", py(m.min_val), py(m.max_val), also_inplace(m.inplace));
    /// x relu6(x + 3) / 6 (`torch.nn.Hardswish`).
    Hardswish {} = |_m, x| f::hardswish(x), prints |_m| String::new();
    /// relu6(x + 3) / 6 (`torch.nn.Hardsigmoid`).
    Hardsigmoid {} = |_m, x| f::hardsigmoid(x), prints |_m| String::new();
    /// log σ(x) (`torch.nn.LogSigmoid`).
    LogSigmoid {} = |_m, x| f::logsigmoid(x), prints |_m| String::new();
    /// x - tanh(x) (`torch.nn.Tanhshrink`).
    Tanhshrink {} = |_m, x| f::tanhshrink(x), prints |_m| String::new();
    /// x, or zero within λ of zero (`torch.nn.Hardshrink`).
    Hardshrink {
        /// λ (0.5).
        lambd: f64 = 0.5,
    } = |m, x| f::hardshrink(x, m.lambd), prints |m| py(m.lambd);
    /// x, drawn to zero by λ (`torch.nn.Softshrink`).
    Softshrink {
        /// λ (0.5).
        lambd: f64 = 0.5,
    } = |m, x| f::softshrink(x, m.lambd), prints |m| py(m.lambd);
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
    /// The first half times σ of the second (`torch.nn.GLU`).
    GLU = f::glu;
}

/// x where it is above a threshold, else a value (`torch.nn.Threshold`).
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct Threshold {
    threshold: f64,
    value: f64,
    mode: Mode,
}

impl Threshold {
    /// `value` wherever x is not above `threshold`.
    pub fn new(threshold: f64, value: f64) -> Threshold {
        Threshold {
            threshold,
            value,
            mode: Mode::default(),
        }
    }

    fn extra_repr(&self) -> String {
        format!("threshold={}, value={}", py(self.threshold), py(self.value))
    }
}

forward!(Threshold, |m, x| f::threshold(x, m.threshold, m.value));

/// Leaky ReLU whose slope below zero is learned (He et al., arXiv 1502.01852; `torch.nn.PReLU`).
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct PReLU {
    /// One slope, or one for each channel.
    pub weight: Parameter,
    mode: Mode,
}

impl PReLU {
    /// One slope for all, 0.25.
    #[track_caller]
    pub fn new() -> PReLU {
        PReLU::of(1, 0.25)
    }

    /// `num_parameters` slopes, one for each channel of dimension 1, beginning at `init`.
    #[track_caller]
    pub fn of(num_parameters: usize, init: f64) -> PReLU {
        let mut mode = Mode::default();
        let weight = super::filled(&[num_parameters], init)
            .and_then(|w| w.requires_grad_(true))
            .unwrap_or_else(|e| {
                mode.set_fault(Some(e.message().to_owned()));
                super::nothing()
            });
        PReLU {
            weight: weight.into(),
            mode,
        }
    }

    fn extra_repr(&self) -> String {
        format!("num_parameters={}", self.weight.numel())
    }
}

impl Default for PReLU {
    fn default() -> PReLU {
        PReLU::new()
    }
}

forward!(PReLU, |m, x| f::prelu(x, &m.weight));

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
