//! The sigmoid, its like and its inverse.

use super::{composite, plain};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::binary::{Binary, SIGNED, binary, binary_row};
use crate::ops::elementwise::gate::Gate;
use crate::ops::elementwise::unary::{Unary, unary, unary_, unary_ops, unary_row};
use crate::ops::elementwise::{Kind, original};
use crate::ops::spec::OpSpec;
use crate::tensor::Tensor;
use flambeau_cpu::math::{self, Real as R};
use smallvec::smallvec;

unary_ops! { ROWS:
    /// 1 / (1 + exp(-x))
    /// ([`torch.sigmoid`](https://pytorch.org/docs/stable/generated/torch.sigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.5f32, 0.8808])?;
    /// assert!(Tensor::new([0.0f32, 2.0])?.sigmoid()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIGMOID = sigmoid, sigmoid_() Float {
        vector: math::vsigmoid,
        vector64: math::double::vsigmoid,
        float: |x, p| R::sigmoid(x),
        cuda: "sigmoid(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| binary(&SIGMOID_BACKWARD, g, &c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.sigmoid(x)",
    }
    /// relu6(x + 3) / 6
    /// ([`F.hardsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.75, 1.0])?;
    /// let y = Tensor::new([-4.0f32, 1.5, 4.0])?.hardsigmoid()?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    HARDSIGMOID = hardsigmoid, hardsigmoid_() Number {
        float: |x, p| (x + 3.0).clamp(0.0, 6.0) / 6.0,
        cuda: "minimum(maximum(x + 3, COMPUTE(0)), COMPUTE(6)) / 6",
        saves: Saves::INPUTS,
        grad: |c, g, _| Gate { inside: 1.0 / 6.0, ..Gate::open(-3.0, 3.0) }.pass(g, &c.input(0)?),
        domain: (-2.0, 2.0),
        torch: "F.hardsigmoid(x)",
    }
}

/// g y (1 - y).
static SIGMOID_BACKWARD: Binary = binary_row!("sigmoid_backward", Same,
    float: |g, y| g * (1.0 - y) * y,
    cuda: "a * (1 - b) * b",
    saves: |_| Saves::INPUTS,
    grad: |c, g| {
        let y = c.input(1)?;
        let slope = y.mul(-2.0)?.add(1.0)?;
        Ok(smallvec![
            Some(binary(&SIGMOID_BACKWARD, g, &y)?),
            Some(g.mul(c.input(0)?)?.mul(slope)?),
        ])
    },
    domain: SIGNED,
    torch: "",
);

/// p = [low, high, 1 where x is clipped to them].
static LOGIT: Unary = unary_row!("logit", Float,
    float: |x, p| {
        let x = if x < p[0] { p[0] } else if x > p[1] { p[1] } else { x };
        R::log(x / (1.0 - x))
    },
    cuda: "log((x < p0 ? p0 : x > p1 ? p1 : x) / (1 - (x < p0 ? p0 : x > p1 ? p1 : x)))",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let x = c.input(0)?;
        let slope = g.div(x.mul(x.neg()?.add(1.0)?)?.abs()?)?;
        let (low, high, outside) = if p[2] == 0.0 { (0.0, 1.0, f64::NAN) } else { (p[0], p[1], 0.0) };
        x.lt(low)?.logical_or(x.gt(high)?)?.where_(outside, slope)
    },
    domain: (0.3, 0.7),
    torch: "",
);

impl Tensor {
    /// x / (1 + |x|)
    /// ([`F.softsign`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softsign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-1.0f32, 3.0])?.softsign()?.to_vec::<f32>()?, [-0.5, 0.75]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    #[track_caller]
    pub fn softsign(&self) -> Result<Tensor> {
        self.div(self.abs()?.add(1.0)?)
    }

    /// log(x / (1 - x)), of x clipped to eps..1 - eps where `eps` is given
    /// ([`torch.logit`](https://pytorch.org/docs/stable/generated/torch.logit.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 2.19722])?;
    /// let y = Tensor::new([0.5f32, 1.0])?.logit(Some(0.1))?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Result<Tensor> {
        let (low, high) = eps.map_or((f64::NEG_INFINITY, f64::INFINITY), |e| (e, 1.0 - e));
        unary(&LOGIT, self, [low, high, eps.is_some() as u8 as f64])
    }
    /// [`logit`](Tensor::logit) in place.
    ///
    /// # Errors
    /// As [`logit`](Tensor::logit), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn logit_(&self, eps: Option<f64>) -> Result<Tensor> {
        self.check_inplace("logit")?;
        self.assign("logit", original(self, &[])?.logit(eps)?)
    }
}

/// What the table does not tell of this file's operations.
#[inline]
pub(super) fn adjust(specs: &mut [OpSpec]) {
    for spec in specs.iter_mut().filter(|s| s.name == "hardsigmoid") {
        // PyTorch's f64 gradient has 1/6 in f32.
        spec.tolerance = 100.0;
    }
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![
        composite("softsign", "F.softsign", Tensor::softsign),
        plain(
            "logit",
            "torch.logit",
            |x| x.logit(None),
            |x| x.logit_(None),
        ),
        plain(
            "logit_eps",
            "lambda x: torch.logit(x, 0.2)",
            |x| x.logit(Some(0.2)),
            |x| x.logit_(Some(0.2)),
        ),
    ]
}
