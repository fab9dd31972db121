//! Dropout.

use super::{forward, py, py_bool, setters};
use crate::parameter::Mode;
use crate::warnings::check_mode;
use flambeau_core::{Result, Tensor};
use flambeau_macros::Module;

macro_rules! dropout {
    ($name:ident, $method:ident, $doc:literal) => {
        #[doc = $doc]
        ///
        /// While training, zeros are drawn as PyTorch draws them on a CPU, and what stays is scaled
        /// by 1 / (1 - p); in evaluation the input passes unchanged.
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            p: f64,
            inplace: bool,
            mode: Mode,
        }

        impl $name {
            /// With probability `p` (PyTorch's default is 0.5) of a zero.
            pub fn new(p: f64) -> $name {
                $name {
                    p,
                    inplace: false,
                    mode: Mode::default(),
                }
            }

            setters! {
                /// Changes its input (false).
                inplace: bool;
            }

            #[track_caller]
            fn run(&self, x: &Tensor) -> Result<Tensor> {
                let training = self.mode.is_training();
                check_mode(training && self.p > 0.0, stringify!($name));
                let y = x.$method(self.p, training)?;
                if self.inplace && !y.is(x) {
                    x.copy_(&y)
                } else {
                    Ok(y)
                }
            }

            fn extra_repr(&self) -> String {
                format!("p={}, inplace={}", py(self.p), py_bool(self.inplace))
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new(0.5)
            }
        }

        forward!($name, |m, x| m.run(x));
    };
}
dropout!(
    Dropout,
    dropout,
    "Zeroes elements at random
([`torch.nn.Dropout`](https://pytorch.org/docs/stable/generated/torch.nn.Dropout.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Dropout, Forward};
manual_seed(0);
let y = Dropout::new(0.5).forward(&Tensor::ones([6])?)?;
assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
dropout!(
    Dropout1d,
    feature_dropout,
    "Zeroes whole channels of `[batch, channels, length]`
([`torch.nn.Dropout1d`](https://pytorch.org/docs/stable/generated/torch.nn.Dropout1d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Dropout1d, Forward};
manual_seed(0);
let y = Dropout1d::new(0.5).forward(&Tensor::ones([1, 4, 2])?)?;
assert_eq!(y.flatten(2, -1)?.mean_dim(2, false)?.to_vec::<f32>()?, [0.0, 0.0, 2.0, 0.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
dropout!(
    Dropout2d,
    feature_dropout,
    "Zeroes whole planes of `[batch, channels, height, width]`
([`torch.nn.Dropout2d`](https://pytorch.org/docs/stable/generated/torch.nn.Dropout2d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Dropout2d, Forward};
manual_seed(0);
let y = Dropout2d::new(0.5).forward(&Tensor::ones([1, 4, 2, 2])?)?;
assert_eq!(y.flatten(2, -1)?.mean_dim(2, false)?.to_vec::<f32>()?, [0.0, 0.0, 2.0, 0.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
dropout!(
    Dropout3d,
    feature_dropout,
    "Zeroes whole volumes of `[batch, channels, depth, height, width]`
([`torch.nn.Dropout3d`](https://pytorch.org/docs/stable/generated/torch.nn.Dropout3d.html)).

```
use flambeau_core::{Tensor, manual_seed};
use flambeau_nn::{Dropout3d, Forward};
manual_seed(0);
let y = Dropout3d::new(0.5).forward(&Tensor::ones([1, 4, 2, 2, 2])?)?;
assert_eq!(y.flatten(2, -1)?.mean_dim(2, false)?.to_vec::<f32>()?, [0.0, 0.0, 2.0, 0.0]);
# Ok::<(), flambeau_core::Error>(())
```"
);
