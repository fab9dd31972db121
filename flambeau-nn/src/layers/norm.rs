//! Normalisation.

use super::{filled, forward, nothing, py, py_bool, setters, tuple};
use crate::parameter::{Buffer, Mode, Parameter};
use crate::warnings::check_mode;
use flambeau_core::{BatchNormOptions, DType, Result, Tensor, bail, no_grad};
use flambeau_macros::Module;

/// Constant parameters of a shape; what cannot be made becomes the layer's fault.
#[track_caller]
pub(super) fn parameter(mode: &mut Mode, shape: &[usize], value: f64) -> Parameter {
    filled(shape, value)
        .and_then(|t| t.requires_grad_(true))
        .unwrap_or_else(|e| {
            mode.set_fault(Some(e.message().to_owned()));
            nothing()
        })
        .into()
}

#[track_caller]
pub(super) fn buffer(mode: &mut Mode, shape: &[usize], value: f64) -> Buffer {
    Buffer::new(filled(shape, value).unwrap_or_else(|e| {
        mode.set_fault(Some(e.message().to_owned()));
        nothing()
    }))
}

/// The methods that batch and instance norm share; defaults as the documentation is to say them.
macro_rules! channel_norm {
    ($name:ident, $default:literal) => {
        impl $name {
            #[doc = concat!("Whether there are a learned scale and shift (", $default, ").")]
            #[must_use]
            #[track_caller]
            pub fn affine(mut self, affine: bool) -> $name {
                let shape = [self.num_features];
                self.weight = affine.then(|| parameter(&mut self.mode, &shape, 1.0));
                self.bias = affine.then(|| parameter(&mut self.mode, &shape, 0.0));
                self
            }

            #[doc = concat!("Whether there are running statistics, which evaluation uses (", $default, ");")]
            /// without them the input's own are used in evaluation too.
            #[must_use]
            #[track_caller]
            pub fn track_running_stats(mut self, track: bool) -> $name {
                let shape = [self.num_features];
                self.running_mean = track.then(|| buffer(&mut self.mode, &shape, 0.0));
                self.running_var = track.then(|| buffer(&mut self.mode, &shape, 1.0));
                self.num_batches_tracked = track.then(|| {
                    Buffer::new(Tensor::zeros_with((), DType::I64).unwrap_or_else(|_| nothing()))
                });
                self
            }

            fn extra_repr(&self) -> String {
                format!(
                    "{}, eps={}, momentum={}, affine={}, bias={}, track_running_stats={}",
                    self.num_features,
                    py(self.eps),
                    Option::<f64>::from(self.momentum).map_or("None".to_owned(), py),
                    py_bool(self.weight.is_some()),
                    py_bool(self.bias.is_some()),
                    py_bool(self.running_mean.is_some())
                )
            }
        }
    };
}
pub(super) use channel_norm;

/// The part that all batch norms have.
macro_rules! batch_norm {
    ($name:ident, [$($rank:literal)|+], $expected:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// While training each channel is normalised by the batch's own mean and variance, which also
        /// enter the running ones; in evaluation by the running ones.
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            /// Scale of each channel, `[channels]`.
            pub weight: Option<Parameter>,
            /// Shift of each channel, `[channels]`.
            pub bias: Option<Parameter>,
            /// `[channels]`.
            pub running_mean: Option<Buffer>,
            /// `[channels]`, of the unbiased variance.
            pub running_var: Option<Buffer>,
            /// How many batches the running statistics have seen.
            pub num_batches_tracked: Option<Buffer>,
            num_features: usize,
            eps: f64,
            momentum: Option<f64>,
            mode: Mode,
        }

        impl $name {
            /// For `num_features` channels: eps 1e-5, momentum 0.1, with scale, shift and running
            /// statistics.
            #[track_caller]
            pub fn new(num_features: usize) -> $name {
                let layer = $name {
                    weight: None,
                    bias: None,
                    running_mean: None,
                    running_var: None,
                    num_batches_tracked: None,
                    num_features,
                    eps: 1e-5,
                    momentum: Some(0.1),
                    mode: Mode::default(),
                };
                layer.affine(true).track_running_stats(true)
            }

            setters! {
                /// Added to the variance (1e-5).
                eps: f64;
            }

            /// Weight of a batch in the running statistics (0.1); `None` for the plain average of
            /// all batches.
            #[must_use]
            pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> $name {
                self.momentum = momentum.into();
                self
            }

            #[track_caller]
            fn run(&self, x: &Tensor) -> Result<Tensor> {
                if !matches!(x.dim(), $($rank)|+) {
                    bail!(
                        "batch_norm",
                        concat!(stringify!($name), " expects an input ", $expected, "; got shape {:?}"),
                        x.shape()
                    );
                }
                let training = self.mode.is_training();
                check_mode(training && self.running_mean.is_some(), stringify!($name));
                let mut momentum = self.momentum.unwrap_or(0.0);
                if let Some(seen) = self.num_batches_tracked.as_ref().filter(|_| training) {
                    no_grad(|| seen.add_(1))?;
                    if self.momentum.is_none() {
                        momentum = 1.0 / seen.item::<i64>()? as f64;
                    }
                }
                let running = self.running_mean.as_deref().zip(self.running_var.as_deref());
                x.batch_norm(BatchNormOptions {
                    running,
                    weight: self.weight.as_deref(),
                    bias: self.bias.as_deref(),
                    training: training || running.is_none(),
                    momentum,
                    eps: self.eps,
                })
            }
        }

        channel_norm!($name, "true");

        forward!($name, |m, x| m.run(x));
    };
}
batch_norm!(
    BatchNorm1d,
    [2 | 3],
    "[batch, channels] or [batch, channels, length]",
    "Batch normalisation of `[batch, channels]` or `[batch, channels, length]` (Ioffe and Szegedy,
arXiv 1502.03167;
[`torch.nn.BatchNorm1d`](https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{BatchNorm1d, Forward};
let norm = BatchNorm1d::new(1);
let y = norm.forward(&Tensor::new([1.0f32, 3.0, 5.0, -1.0])?.view([2, 1, 2])?)?;
let expected = Tensor::new([-0.44721f32, 0.44721, 1.34164, -1.34164])?;
assert!(y.flatten(0, -1)?.allclose(&expected, 1e-4, 1e-5, false)?);
// The batch counts for a tenth of the running mean.
assert!((norm.running_mean.as_ref().unwrap().item::<f32>()? - 0.2).abs() < 1e-6);
# Ok::<(), flambeau_core::Error>(())
```"
);
batch_norm!(BatchNorm2d, [4], "[batch, channels, height, width]",
    "Batch normalisation of `[batch, channels, height, width]` (Ioffe and Szegedy, arXiv 1502.03167;
[`torch.nn.BatchNorm2d`](https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{BatchNorm2d, Forward};
let norm = BatchNorm2d::new(1);
let y = norm.forward(&Tensor::new([1.0f32, 3.0, 5.0, -1.0])?.view([2, 1, 1, 2])?)?;
let expected = Tensor::new([-0.44721f32, 0.44721, 1.34164, -1.34164])?;
assert!(y.flatten(0, -1)?.allclose(&expected, 1e-4, 1e-5, false)?);
// The batch counts for a tenth of the running mean.
assert!((norm.running_mean.as_ref().unwrap().item::<f32>()? - 0.2).abs() < 1e-6);
# Ok::<(), flambeau_core::Error>(())
```");
batch_norm!(
    BatchNorm3d,
    [5],
    "[batch, channels, depth, height, width]",
    "Batch normalisation of `[batch, channels, depth, height, width]` (Ioffe and Szegedy, arXiv
1502.03167;
[`torch.nn.BatchNorm3d`](https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm3d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{BatchNorm3d, Forward};
let norm = BatchNorm3d::new(1);
let y = norm.forward(&Tensor::new([1.0f32, 3.0, 5.0, -1.0])?.view([2, 1, 1, 1, 2])?)?;
let expected = Tensor::new([-0.44721f32, 0.44721, 1.34164, -1.34164])?;
assert!(y.flatten(0, -1)?.allclose(&expected, 1e-4, 1e-5, false)?);
// The batch counts for a tenth of the running mean.
assert!((norm.running_mean.as_ref().unwrap().item::<f32>()? - 0.2).abs() < 1e-6);
# Ok::<(), flambeau_core::Error>(())
```"
);

/// Normalises each sample over its last dimensions (Ba, Kiros and Hinton, arXiv 1607.06450;
/// [`torch.nn.LayerNorm`](https://pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, LayerNorm};
/// let x = Tensor::new([[1.0f32, 3.0], [0.0, 40.0]])?;
/// let expected = Tensor::new([[-0.99999f32, 0.99999], [-1.0, 1.0]])?;
/// assert!(LayerNorm::new(2).forward(&x)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct LayerNorm {
    /// Scale, of the normalized shape.
    pub weight: Option<Parameter>,
    /// Shift, of the normalized shape.
    pub bias: Option<Parameter>,
    normalized_shape: Vec<usize>,
    eps: f64,
    mode: Mode,
}

impl LayerNorm {
    /// Over the last dimensions, of sizes `normalized_shape`; eps 1e-5, with scale and shift.
    #[track_caller]
    pub fn new(normalized_shape: impl flambeau_core::Dims) -> LayerNorm {
        let sizes = normalized_shape.dims();
        let mut layer = LayerNorm {
            weight: None,
            bias: None,
            normalized_shape: sizes.iter().map(|&s| s.max(0) as usize).collect(),
            eps: 1e-5,
            mode: Mode::default(),
        };
        if sizes.is_empty() || sizes.iter().any(|&s| s < 0) {
            layer.mode.set_fault(Some(format!(
                "the normalized shape {sizes:?} must have sizes, none negative"
            )));
            return layer;
        }
        layer.elementwise_affine(true)
    }

    setters! {
        /// Added to the variance (1e-5).
        eps: f64;
    }

    /// Whether there are a learned scale and shift (true).
    #[must_use]
    #[track_caller]
    pub fn elementwise_affine(mut self, affine: bool) -> LayerNorm {
        self.weight = affine.then(|| parameter(&mut self.mode, &self.normalized_shape, 1.0));
        self.bias = affine.then(|| parameter(&mut self.mode, &self.normalized_shape, 0.0));
        self
    }

    /// Whether there is a shift beside the scale (true).
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> LayerNorm {
        let wanted = bias && self.weight.is_some();
        self.bias = wanted.then(|| parameter(&mut self.mode, &self.normalized_shape, 0.0));
        self
    }

    fn extra_repr(&self) -> String {
        format!(
            "{}, eps={}, elementwise_affine={}, bias={}",
            tuple(&self.normalized_shape),
            py(self.eps),
            py_bool(self.weight.is_some()),
            py_bool(self.bias.is_some())
        )
    }
}

forward!(LayerNorm, |m, x| x.layer_norm(
    &m.normalized_shape,
    m.weight.as_deref(),
    m.bias.as_deref(),
    m.eps
));

/// Normalises groups of channels of each sample (Wu and He, arXiv 1803.08494;
/// [`torch.nn.GroupNorm`](https://pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, GroupNorm};
/// let x = Tensor::new([[1.0f32, 3.0, 0.0, 40.0]])?;
/// let expected = Tensor::new([[-0.99999f32, 0.99999, -1.0, 1.0]])?;
/// assert!(GroupNorm::new(2, 4).forward(&x)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct GroupNorm {
    /// Scale of each channel, `[channels]`.
    pub weight: Option<Parameter>,
    /// Shift of each channel, `[channels]`.
    pub bias: Option<Parameter>,
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    mode: Mode,
}

impl GroupNorm {
    /// `num_channels` channels in `num_groups` groups; eps 1e-5, with scale and shift. Channels that
    /// do not divide are an error of the first call.
    #[track_caller]
    pub fn new(num_groups: usize, num_channels: usize) -> GroupNorm {
        let mut layer = GroupNorm {
            weight: None,
            bias: None,
            num_groups,
            num_channels,
            eps: 1e-5,
            mode: Mode::default(),
        };
        if num_groups == 0 || !num_channels.is_multiple_of(num_groups) {
            layer.mode.set_fault(Some(format!(
                "{num_channels} channels do not divide into {num_groups} groups"
            )));
        }
        layer.affine(true)
    }

    setters! {
        /// Added to the variance (1e-5).
        eps: f64;
    }

    /// Whether there are a learned scale and shift (true).
    #[must_use]
    #[track_caller]
    pub fn affine(mut self, affine: bool) -> GroupNorm {
        let shape = [self.num_channels];
        self.weight = affine.then(|| parameter(&mut self.mode, &shape, 1.0));
        self.bias = affine.then(|| parameter(&mut self.mode, &shape, 0.0));
        self
    }

    fn extra_repr(&self) -> String {
        format!(
            "{}, {}, eps={}, affine={}, bias={}",
            self.num_groups,
            self.num_channels,
            py(self.eps),
            py_bool(self.weight.is_some()),
            py_bool(self.bias.is_some())
        )
    }
}

forward!(GroupNorm, |m, x| x.group_norm(
    m.num_groups,
    m.weight.as_deref(),
    m.bias.as_deref(),
    m.eps
));
