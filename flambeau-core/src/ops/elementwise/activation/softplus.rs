//! log(1 + exp(x)), and the logarithm of the sigmoid, which is that turned round.

use super::{along, methods};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::elementwise::binary::{Binary, SIGNED, binary, binary_row};
use crate::ops::elementwise::unary::{Unary, keep, row_spec, unary, unary_, unary_ops, unary_row};
use crate::ops::spec::OpSpec;
use crate::tensor::Tensor;
use flambeau_cpu::math::Real as R;
use smallvec::smallvec;

unary_ops! { ROWS:
    /// The logarithm of the sigmoid, without overflow
    /// ([`F.logsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.functional.logsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.69315f32, -100.0])?;
    /// let y = Tensor::new([0.0f32, -100.0])?.log_sigmoid()?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    LOG_SIGMOID = log_sigmoid, log_sigmoid_() Number {
        float: |x, p| (if x < 0.0 { x } else { 0.0 }) - R::log1p_exp(x.abs()),
        cuda: "(x < 0 ? x : 0) - log1p(exp(-fabs(x)))",
        saves: Saves::INPUTS,
        grad: |c, g, _| binary(&LOG_SIGMOID_BACKWARD, g, &c.input(0)?),
        domain: (-2.0, 2.0),
        torch: "F.logsigmoid(x)",
    }
}

/// The gradient of the sigmoid's logarithm from that of its result, and the input.
static LOG_SIGMOID_BACKWARD: Binary = binary_row!("log_sigmoid_backward", Same,
    float: |g, x| g * R::sigmoid(-x),
    cuda: "a * sigmoid(-b)",
    saves: |_| Saves::INPUTS,
    grad: |c, u| {
        // The derivative of the slope: -s (1 - s).
        let (g, x) = (c.input(0)?, c.input(1)?);
        let s = x.sigmoid()?;
        let bend = s.mul(s.sub(1.0)?)?;
        Ok(smallvec![Some(binary(&LOG_SIGMOID_BACKWARD, u, &x)?), Some(u.mul(g)?.mul(bend)?)])
    },
    domain: SIGNED,
    torch: "",
);

/// p = [beta, threshold].
static SOFTPLUS: Unary = unary_row!("softplus", Number,
    float: |x, p| {
        let t = x * p[0];
        let soft = ((if t > 0.0 { t } else { 0.0 }) + R::log1p_exp(t.abs())) / p[0];
        if t > p[1] { x } else { soft }
    },
    cuda: "x * p0 > p1 ? x : log1p(exp(x * p0)) / p0",
    saves: Saves::INPUTS,
    grad: |c, g, p| along(g, unary(&SOFTPLUS_SLOPE, &c.input(0)?, p)?),
    domain: (-2.0, 2.0),
    torch: "F.softplus(x, p[0], p[1])",
    params: [[1.0, 20.0, 0.0], [2.0, 5.0, 0.0]],
);

static SOFTPLUS_SLOPE: Unary = unary_row!("softplus_backward", Number,
    float: |x, p| if x * p[0] > p[1] { 1.0 } else { R::sigmoid(x * p[0]) },
    cuda: "x * p0 > p1 ? 1 : sigmoid(x * p0)",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let scaled = c.input(0)?.mul(p[0])?;
        let s = scaled.sigmoid()?;
        keep(&g.mul(s.mul(s.neg()?.add(1.0)?)?)?.mul(p[0])?, &scaled.le(p[1])?)
    },
    domain: (-2.0, 2.0),
    torch: "",
);

methods! {
    /// log(1 + exp(x)), without overflow
    /// ([`F.softplus`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softplus.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.31326f32, 30.0])?;
    /// assert!(Tensor::new([-1.0f32, 30.0])?.softplus()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    softplus, softplus_() = SOFTPLUS, [1.0, 20.0, 0.0];
    /// log(1 + exp(beta x)) / beta; x itself where beta x exceeds `threshold`
    /// ([`F.softplus`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softplus.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.06346f32, 3.0])?;
    /// let y = Tensor::new([-1.0f32, 3.0])?.softplus_with(2.0, 4.0)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    softplus_with, softplus_with_(beta, threshold) = SOFTPLUS, [beta, threshold, 0.0];
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![row_spec(&SOFTPLUS)]
}
