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
    /// max(0, x) ([`torch.nn.ReLU`](https://pytorch.org/docs/stable/generated/torch.nn.ReLU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, ReLU};
    /// let expected = Tensor::new([0.0f32, 2.0])?;
    /// let y = ReLU::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ReLU {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| if m.inplace { x.relu_() } else { x.relu() }, prints |m| inplace(m.inplace);
    /// min(max(0, x), 6)
    /// ([`torch.nn.ReLU6`](https://pytorch.org/docs/stable/generated/torch.nn.ReLU6.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, ReLU6};
    /// let expected = Tensor::new([0.0f32, 2.0])?;
    /// let y = ReLU6::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ReLU6 {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::relu6(x)), prints |m| inplace(m.inplace);
    /// x, times `negative_slope` below zero
    /// ([`torch.nn.LeakyReLU`](https://pytorch.org/docs/stable/generated/torch.nn.LeakyReLU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, LeakyReLU};
    /// let expected = Tensor::new([-0.1f32, 2.0])?;
    /// let y = LeakyReLU::new().negative_slope(0.1).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LeakyReLU {
        /// The slope below zero (0.01).
        negative_slope: f64 = 0.01,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::leaky_relu(x, m.negative_slope)),
        prints |m| format!("negative_slope={}{}", py(m.negative_slope), also_inplace(m.inplace));
    /// x, or α (eˣ - 1) below zero
    /// ([`torch.nn.ELU`](https://pytorch.org/docs/stable/generated/torch.nn.ELU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{ELU, Forward};
    /// let expected = Tensor::new([-0.63212f32, 2.0])?;
    /// let y = ELU::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ELU {
        /// α (1).
        alpha: f64 = 1.0,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::elu(x, m.alpha)),
        prints |m| format!("alpha={}{}", py(m.alpha), also_inplace(m.inplace));
    /// The self-normalising ELU (arXiv 1706.02515;
    /// [`torch.nn.SELU`](https://pytorch.org/docs/stable/generated/torch.nn.SELU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, SELU};
    /// let expected = Tensor::new([-1.11133f32, 2.1014])?;
    /// let y = SELU::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SELU {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::selu(x)), prints |m| inplace(m.inplace);
    /// ELU with a continuous slope (arXiv 1704.07483;
    /// [`torch.nn.CELU`](https://pytorch.org/docs/stable/generated/torch.nn.CELU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{CELU, Forward};
    /// let expected = Tensor::new([-0.78694f32, 2.0])?;
    /// let y = CELU::new().alpha(2.0).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    CELU {
        /// α (1).
        alpha: f64 = 1.0,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::celu(x, m.alpha)),
        prints |m| format!("alpha={}{}", py(m.alpha), also_inplace(m.inplace));
    /// x Φ(x) (arXiv 1606.08415;
    /// [`torch.nn.GELU`](https://pytorch.org/docs/stable/generated/torch.nn.GELU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, GELU};
    /// let expected = Tensor::new([-0.15866f32, 1.9545])?;
    /// let y = GELU::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    GELU {
        /// By tanh instead of the error function (`approximate="tanh"`; false).
        tanh: bool = false,
    } = |m, x| f::gelu(x, m.tanh),
        prints |m| format!("approximate='{}'", if m.tanh { "tanh" } else { "none" });
    /// x σ(x), also called swish
    /// ([`torch.nn.SiLU`](https://pytorch.org/docs/stable/generated/torch.nn.SiLU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, SiLU};
    /// let expected = Tensor::new([-0.26894f32, 1.76159])?;
    /// let y = SiLU::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SiLU {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::silu(x)), prints |m| inplace(m.inplace);
    /// x tanh(softplus(x))
    /// ([`torch.nn.Mish`](https://pytorch.org/docs/stable/generated/torch.nn.Mish.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Mish};
    /// let expected = Tensor::new([-0.3034f32, 1.94396])?;
    /// let y = Mish::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Mish {
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::mish(x)), prints |m| inplace(m.inplace);
    /// log(1 + e^βx) / β
    /// ([`torch.nn.Softplus`](https://pytorch.org/docs/stable/generated/torch.nn.Softplus.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Softplus};
    /// let expected = Tensor::new([0.31326f32, 2.12693])?;
    /// let y = Softplus::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Softplus {
        /// β (1).
        beta: f64 = 1.0,
        /// Where βx is above this, x itself (20).
        threshold: f64 = 20.0,
    } = |m, x| f::softplus(x, m.beta, m.threshold),
        prints |m| format!("beta={}, threshold={}", py(m.beta), py(m.threshold));
    /// x / (1 + |x|)
    /// ([`torch.nn.Softsign`](https://pytorch.org/docs/stable/generated/torch.nn.Softsign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Softsign};
    /// let expected = Tensor::new([-0.5f32, 0.66667])?;
    /// let y = Softsign::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Softsign {} = |_m, x| f::softsign(x), prints |_m| String::new();
    /// The hyperbolic tangent
    /// ([`torch.nn.Tanh`](https://pytorch.org/docs/stable/generated/torch.nn.Tanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Tanh};
    /// let expected = Tensor::new([-0.76159f32, 0.96403])?;
    /// let y = Tanh::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Tanh {} = |_m, x| x.tanh(), prints |_m| String::new();
    /// 1 / (1 + e⁻ˣ)
    /// ([`torch.nn.Sigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.Sigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Sigmoid};
    /// let expected = Tensor::new([0.26894f32, 0.8808])?;
    /// let y = Sigmoid::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Sigmoid {} = |_m, x| x.sigmoid(), prints |_m| String::new();
    /// x, cut to an interval
    /// ([`torch.nn.Hardtanh`](https://pytorch.org/docs/stable/generated/torch.nn.Hardtanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Hardtanh};
    /// let expected = Tensor::new([-0.5f32, 1.0])?;
    /// let y = Hardtanh::new().min_val(-0.5).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Hardtanh {
        /// The lower end (-1).
        min_val: f64 = -1.0,
        /// The upper end (1).
        max_val: f64 = 1.0,
        /// Changes its input (false).
        inplace: bool = false,
    } = |m, x| place(m.inplace, x, f::hardtanh(x, m.min_val, m.max_val)),
        prints |m| format!("min_val={}, max_val={}{}", py(m.min_val), py(m.max_val), also_inplace(m.inplace));
    /// x relu6(x + 3) / 6
    /// ([`torch.nn.Hardswish`](https://pytorch.org/docs/stable/generated/torch.nn.Hardswish.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Hardswish};
    /// let expected = Tensor::new([-0.33333f32, 1.66667])?;
    /// let y = Hardswish::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Hardswish {} = |_m, x| f::hardswish(x), prints |_m| String::new();
    /// relu6(x + 3) / 6
    /// ([`torch.nn.Hardsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.Hardsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Hardsigmoid};
    /// let expected = Tensor::new([0.33333f32, 0.83333])?;
    /// let y = Hardsigmoid::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Hardsigmoid {} = |_m, x| f::hardsigmoid(x), prints |_m| String::new();
    /// log σ(x)
    /// ([`torch.nn.LogSigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.LogSigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, LogSigmoid};
    /// let expected = Tensor::new([-1.31326f32, -0.12693])?;
    /// let y = LogSigmoid::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LogSigmoid {} = |_m, x| f::logsigmoid(x), prints |_m| String::new();
    /// x - tanh(x)
    /// ([`torch.nn.Tanhshrink`](https://pytorch.org/docs/stable/generated/torch.nn.Tanhshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Tanhshrink};
    /// let expected = Tensor::new([-0.23841f32, 1.03597])?;
    /// let y = Tanhshrink::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Tanhshrink {} = |_m, x| f::tanhshrink(x), prints |_m| String::new();
    /// x, or zero within λ of zero
    /// ([`torch.nn.Hardshrink`](https://pytorch.org/docs/stable/generated/torch.nn.Hardshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Hardshrink};
    /// let expected = Tensor::new([-1.0f32, 2.0])?;
    /// let y = Hardshrink::new().forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Hardshrink {
        /// λ (0.5).
        lambd: f64 = 0.5,
    } = |m, x| f::hardshrink(x, m.lambd), prints |m| py(m.lambd);
    /// x, drawn to zero by λ
    /// ([`torch.nn.Softshrink`](https://pytorch.org/docs/stable/generated/torch.nn.Softshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Softshrink};
    /// let expected = Tensor::new([0.0f32, 0.5])?;
    /// let y = Softshrink::new().lambd(1.5).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    /// eˣ over its sum along a dimension
    /// ([`torch.nn.Softmax`](https://pytorch.org/docs/stable/generated/torch.nn.Softmax.html)). Not
    /// before `CrossEntropyLoss`, which
    /// has its own.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Softmax};
    /// let expected = Tensor::new([0.04743f32, 0.95257])?;
    /// let y = Softmax::new(0).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Softmax = f::softmax;
    /// The logarithm of softmax
    /// ([`torch.nn.LogSoftmax`](https://pytorch.org/docs/stable/generated/torch.nn.LogSoftmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, LogSoftmax};
    /// let expected = Tensor::new([-3.04859f32, -0.04859])?;
    /// let y = LogSoftmax::new(0).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LogSoftmax = f::log_softmax;
    /// Softmax of -x
    /// ([`torch.nn.Softmin`](https://pytorch.org/docs/stable/generated/torch.nn.Softmin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, Softmin};
    /// let expected = Tensor::new([0.95257f32, 0.04743])?;
    /// let y = Softmin::new(0).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Softmin = f::softmin;
    /// The first half times σ of the second
    /// ([`torch.nn.GLU`](https://pytorch.org/docs/stable/generated/torch.nn.GLU.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, GLU};
    /// let expected = Tensor::new([-0.8808f32])?;
    /// let y = GLU::new(0).forward(&Tensor::new([-1.0f32, 2.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    GLU = f::glu;
}

/// x where it is above a threshold, else a value
/// ([`torch.nn.Threshold`](https://pytorch.org/docs/stable/generated/torch.nn.Threshold.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Threshold};
/// assert_eq!(
///     Threshold::new(0.5, 20.0).forward(&Tensor::new([0.25f32, 2.0])?)?.to_vec::<f32>()?,
///     [20.0, 2.0]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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

/// Leaky ReLU whose slope below zero is learned (He et al., arXiv 1502.01852;
/// [`torch.nn.PReLU`](https://pytorch.org/docs/stable/generated/torch.nn.PReLU.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, PReLU};
/// assert_eq!(
///     PReLU::new().forward(&Tensor::new([-1.0f32, 2.0])?)?.to_vec::<f32>()?,
///     [-0.25, 2.0]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, PReLU};
    /// assert_eq!(
    ///     PReLU::of(2, 0.5).forward(&Tensor::new([[-1.0f32, -2.0]])?)?.to_vec2::<f32>()?,
    ///     [[-0.5, -1.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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

/// Softmax over the channels of `[batch, channels, height, width]`
/// ([`torch.nn.Softmax2d`](https://pytorch.org/docs/stable/generated/torch.nn.Softmax2d.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Softmax2d};
/// assert_eq!(
///     Softmax2d::new().forward(&Tensor::zeros([2, 1, 1])?)?.flatten(0, -1)?.to_vec::<f32>()?,
///     [0.5, 0.5]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
