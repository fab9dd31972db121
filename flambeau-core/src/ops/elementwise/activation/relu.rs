//! Straight lines: the rectifiers, and clipping.

use super::{kinks, methods, plain, refused};
use crate::autocast::{Cast, Composite};
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::elementwise::binary::relu_backward;
use crate::ops::elementwise::gate::Gate;
use crate::ops::elementwise::unary::{Unary, unary, unary_, unary_ops, unary_row};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Result, bail};

unary_ops! { ROWS:
    /// max(0, x); NaN stays NaN. The gradient at 0 is 0
    /// ([`F.relu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.relu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.0f32, 2.0])?.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    RELU = relu, relu_() Number {
        hot: true,
        float: |x, p| if x < 0.0 { 0.0 } else { x },
        int: |x, p| if x < 0 { 0 } else { x },
        cuda: "x < 0 ? 0 : x",
        cuda_int: "x < 0 ? 0 : x",
        saves: Saves::OUTPUT,
        grad: |c, g, _| relu_backward(g, &c.output()?),
        domain: (0.2, 2.0),
        torch: "torch.relu(x)",
    }
    /// x where x > 0, else `negative_slope` times x
    /// ([`F.leaky_relu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.leaky_relu.html),
    /// where it defaults to 0.01).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.01f32, 2.0])?;
    /// let y = Tensor::new([-1.0f32, 2.0])?.leaky_relu(0.01)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    LEAKY_RELU = leaky_relu, leaky_relu_(negative_slope) Number {
        hot: true,
        float: |x, p| if x > 0.0 { x } else { x * p[0] },
        cuda: "x > 0 ? x : x * p0",
        saves: Saves::INPUTS,
        grad: |c, g, p| {
            let gate = Gate { outside: p[0], nan: p[0], ..Gate::open(0.0, f64::INFINITY) };
            gate.pass(g, &c.input(0)?)
        },
        domain: (0.2, 2.0),
        torch: "F.leaky_relu(x, p[0])",
        params: [[0.01, 0.0, 0.0], [0.3, 0.0, 0.0]],
    }
    /// x clipped to `min`..`max`
    /// ([`F.hardtanh`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardtanh.html),
    /// where they default to -1 and 1); no gradient at the
    /// ends.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-3.0f32, 0.5, 3.0])?.hardtanh(-1.0, 1.0)?.to_vec::<f32>()?,
    ///     [-1.0, 0.5, 1.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors, and where `min` is greater than `max`.
    HARDTANH = hardtanh, hardtanh_(min, max) Number {
        float: |x, p| if x < p[0] { p[0] } else if x > p[1] { p[1] } else { x },
        int: |x, p| if x < p[0] { p[0] } else if x > p[1] { p[1] } else { x },
        cuda: "x < p0 ? p0 : x > p1 ? p1 : x",
        cuda_int: "x < p0 ? p0 : x > p1 ? p1 : x",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate { nan: 1.0, ..Gate::open(p[0], p[1]) }.pass(g, &c.input(0)?),
        domain: (-0.9, 0.9),
        torch: "F.hardtanh(x, p[0], p[1])",
        params: [[-1.0, 1.0, 0.0], [-0.5, 2.0, 0.0]],
        check: |p| (p[0] > p[1]).then_some("min is greater than max"),
    }
    /// x where it exceeds `threshold`, else `value`
    /// ([`F.threshold`](https://pytorch.org/docs/stable/generated/torch.nn.functional.threshold.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-1.0f32, 0.5, 2.0])?.threshold(0.5, -9.0)?.to_vec::<f32>()?,
    ///     [-9.0, -9.0, 2.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    THRESHOLD = threshold, threshold_(threshold, value) Number {
        float: |x, p| if x <= p[0] { p[1] } else { x },
        int: |x, p| if x <= p[0] { p[1] } else { x },
        cuda: "x <= p0 ? p1 : x",
        cuda_int: "x <= p0 ? p1 : x",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate::shut(f64::NEG_INFINITY, p[0]).pass(g, &c.input(0)?),
        domain: (0.6, 2.0),
        torch: "F.threshold(x, p[0], p[1])",
        params: [[0.5, 7.0, 0.0]],
    }
}

methods! {
    /// x clipped to 0..6
    /// ([`F.relu6`](https://pytorch.org/docs/stable/generated/torch.nn.functional.relu6.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.0f32, 2.0, 9.0])?.relu6()?.to_vec::<f32>()?, [0.0, 2.0, 6.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    relu6, relu6_() = HARDTANH, [0.0, 6.0, 0.0];
}

impl Tensor {
    /// x where x > 0, else x times `weight`: one number, or one for each channel (dimension 1)
    /// ([`F.prelu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.prelu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([[-1.0f32, -2.0], [3.0, -4.0]])?.prelu(&Tensor::new([0.5f32, 0.25])?)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[-0.5, -0.5], [3.0, -1.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `weight` has neither one element nor as many as there are channels, or another type.
    #[track_caller]
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        let channels = if self.dim() > 1 { self.shape()[1] } else { 1 };
        if weight.dim() > 1 || (weight.numel() != 1 && weight.numel() != channels) {
            bail!(
                "prelu",
                "weight of shape {:?} for an input of {channels} channels; expected [1] or [{channels}]",
                weight.shape()
            );
        }
        let region = Composite::new(Cast::Low, [self, weight])?;
        let [x, weight] = region.inputs();
        if weight.dtype() != x.dtype() {
            bail!(
                "prelu",
                "the input is {}, the weight {}; convert one with to_dtype",
                x.dtype(),
                weight.dtype()
            );
        }
        let weight = if weight.numel() == 1 {
            weight.reshape(())?
        } else {
            let mut shape = vec![1; self.dim()];
            shape[1] = channels;
            weight.reshape(shape)?
        };
        x.gt(0.0)?.where_(x, x.mul(weight)?)
    }
}

/// What the table does not tell of this file's operations.
#[inline]
pub(super) fn adjust(specs: &mut [OpSpec]) {
    for spec in specs.iter_mut().filter(|s| s.name == "hardtanh") {
        spec.errors = vec![refused([1.0, -1.0, 0.0], "min is greater than max")];
    }
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![
        plain("relu6", "F.relu6", Tensor::relu6, Tensor::relu6_),
        OpSpec::new("prelu", "F.prelu", |a| {
            Ok(vec![a[0].tensor()?.prelu(a[1].tensor()?)?])
        })
        .samples(vec![
            Sample::new(vec![
                Arg::uniform([2, 3, 2], (-2.0, 2.0)),
                Arg::uniform([3], (0.1, 0.5)),
            ]),
            Sample::new(vec![
                Arg::uniform([5], (-2.0, 2.0)),
                Arg::uniform([1], (0.1, 0.5)),
            ]),
            Sample::new(vec![kinks(), Arg::uniform([1], (0.1, 0.5))]).kinked(),
        ])
        .errors(vec![(
            vec![
                Arg::uniform([2, 3], (0.0, 1.0)),
                Arg::uniform([2], (0.0, 1.0)),
            ],
            "expected [1] or [3]",
        )]),
    ]
}
