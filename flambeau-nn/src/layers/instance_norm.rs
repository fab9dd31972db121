//! Normalisation of each channel of each sample.

use super::norm::{buffer, channel_norm, parameter};
use super::{forward, nothing, py, py_bool, setters};
use crate::functional::instance_norm;
use crate::parameter::{Buffer, Mode, Parameter};
use crate::warnings::check_mode;
use flambeau_core::{DType, Result, Tensor, bail};
use flambeau_macros::Module;

macro_rules! instance_norm {
    ($name:ident, $rank:literal, $expected:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Each channel of each sample is normalised by its own mean and variance, in evaluation too
        /// unless there are running statistics.
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
            /// In the state dict as batch norm's; PyTorch does not count with it.
            pub num_batches_tracked: Option<Buffer>,
            num_features: usize,
            eps: f64,
            momentum: f64,
            mode: Mode,
        }

        impl $name {
            /// For `num_features` channels: eps 1e-5, momentum 0.1, without scale, shift and running
            /// statistics.
            pub fn new(num_features: usize) -> $name {
                $name {
                    weight: None,
                    bias: None,
                    running_mean: None,
                    running_var: None,
                    num_batches_tracked: None,
                    num_features,
                    eps: 1e-5,
                    momentum: 0.1,
                    mode: Mode::default(),
                }
            }

            setters! {
                /// Added to the variance (1e-5).
                eps: f64;
                /// Weight of a batch in the running statistics (0.1).
                momentum: f64;
            }

            #[track_caller]
            fn run(&self, x: &Tensor) -> Result<Tensor> {
                let batched = x.dim() == $rank;
                let fixed = self.weight.is_some() || self.running_mean.is_some();
                let channels = match x.shape() {
                    &[_, channels, ..] if batched => channels,
                    &[channels, ..] if x.dim() + 1 == $rank => channels,
                    shape => bail!(
                        "instance_norm",
                        concat!(
                            stringify!($name),
                            " expects an input ",
                            $expected,
                            ", or without the batch; got shape {:?}"
                        ),
                        shape
                    ),
                };
                if fixed && channels != self.num_features {
                    bail!(
                        "instance_norm",
                        "the input of shape {:?} has {channels} channels; the layer has {}",
                        x.shape(),
                        self.num_features
                    );
                }
                let training = self.mode.is_training();
                check_mode(training && self.running_mean.is_some(), stringify!($name));
                let whole = if batched { x.clone() } else { x.unsqueeze(0)? };
                let y = instance_norm(
                    &whole,
                    self.running_mean.as_deref(),
                    self.running_var.as_deref(),
                    self.weight.as_deref(),
                    self.bias.as_deref(),
                    training || self.running_mean.is_none(),
                    self.momentum,
                    self.eps,
                )?;
                if batched { Ok(y) } else { y.squeeze_dim(0) }
            }
        }

        channel_norm!($name, "false");
        forward!($name, |m, x| m.run(x));
    };
}
instance_norm!(
    InstanceNorm1d,
    3,
    "[batch, channels, length]",
    "Instance normalisation of `[batch, channels, length]` (Ulyanov, Vedaldi and Lempitsky, arXiv
1607.08022;
[`torch.nn.InstanceNorm1d`](https://pytorch.org/docs/stable/generated/torch.nn.InstanceNorm1d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{Forward, InstanceNorm1d};
let norm = InstanceNorm1d::new(1);
let y = norm.forward(&Tensor::new([1.0f32, 3.0, 5.0, -1.0])?.view([2, 1, 2])?)?;
let expected = Tensor::new([-0.99999f32, 0.99999, 1.0, -1.0])?;
assert!(y.flatten(0, -1)?.allclose(&expected, 1e-4, 1e-5, false)?);
# Ok::<(), flambeau_core::Error>(())
```"
);
instance_norm!(InstanceNorm2d, 4, "[batch, channels, height, width]",
    "Instance normalisation of `[batch, channels, height, width]` (Ulyanov, Vedaldi and Lempitsky, arXiv
1607.08022;
[`torch.nn.InstanceNorm2d`](https://pytorch.org/docs/stable/generated/torch.nn.InstanceNorm2d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{Forward, InstanceNorm2d};
let norm = InstanceNorm2d::new(1).eps(0.0);
let y = norm.forward(&Tensor::new([[[[1.0f32, 3.0], [3.0, 1.0]]]])?)?;
assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0, 1.0, -1.0]);
# Ok::<(), flambeau_core::Error>(())
```");
instance_norm!(
    InstanceNorm3d,
    5,
    "[batch, channels, depth, height, width]",
    "Instance normalisation of `[batch, channels, depth, height, width]` (Ulyanov, Vedaldi and
Lempitsky, arXiv 1607.08022;
[`torch.nn.InstanceNorm3d`](https://pytorch.org/docs/stable/generated/torch.nn.InstanceNorm3d.html)).

```
use flambeau_core::Tensor;
use flambeau_nn::{Forward, InstanceNorm3d};
let norm = InstanceNorm3d::new(1);
let y = norm.forward(&Tensor::new([1.0f32, 3.0, 5.0, -1.0])?.view([2, 1, 1, 1, 2])?)?;
let expected = Tensor::new([-0.99999f32, 0.99999, 1.0, -1.0])?;
assert!(y.flatten(0, -1)?.allclose(&expected, 1e-4, 1e-5, false)?);
# Ok::<(), flambeau_core::Error>(())
```"
);
