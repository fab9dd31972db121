//! Exponential below 0: ELU and its kin.

use super::{along, methods, plain, refused};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::elementwise::unary::{Params, Unary, keep, row_spec, unary, unary_, unary_row};
use crate::ops::spec::OpSpec;
use crate::tensor::Tensor;
use flambeau_cpu::math::Real as R;

/// Klambauer et al. 2017, "Self-Normalizing Neural Networks": [alpha, scale, 1].
const SELU_PARAMS: Params = [1.673_263_242_354_377_2, 1.050_700_987_355_480_5, 1.0];

/// p = [alpha, scale, input scale]: scale x above 0, scale alpha (exp(x input scale) - 1) below.
static ELU: Unary = unary_row!("elu", Number,
    float: |x, p| if x < 0.0 { R::expm1(x * p[2]) * (p[0] * p[1]) } else { x * p[1] },
    cuda: "x < 0 ? expm1(x * p2) * (p0 * p1) : x * p1",
    saves: Saves::INPUTS,
    grad: |c, g, p| along(g, unary(&ELU_SLOPE, &c.input(0)?, p)?),
    domain: (-2.0, -0.2),
    torch: "torch.ops.aten.elu(x, *p)",
    params: [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [0.5, 1.0, 2.0], SELU_PARAMS],
    check: |p| p[2].is_infinite().then_some("alpha must not be 0"),
);

static ELU_SLOPE: Unary = unary_row!("elu_backward", Number,
    float: |x, p| if x <= 0.0 { R::exp(x * p[2]) * (p[0] * p[1] * p[2]) } else { p[1] },
    cuda: "x <= 0 ? exp(x * p2) * (p0 * p1 * p2) : p1",
    saves: Saves::INPUTS,
    grad: |c, g, p| {
        let x = c.input(0)?;
        keep(&g.mul(unary(&ELU_SLOPE, &x, p)?)?.mul(p[2])?, &x.le(0.0)?)
    },
    domain: (-2.0, -0.2),
    torch: "",
);

methods! {
    /// x above 0, `alpha` (exp(x) - 1) below
    /// ([`F.elu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.elu.html), where it
    /// defaults to 1).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.63212f32, 2.0])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.elu(1.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    elu, elu_(alpha) = ELU, [alpha, 1.0, 1.0];
    /// x above 0, `alpha` (exp(x / alpha) - 1) below
    /// ([`F.celu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.celu.html), where
    /// it defaults to 1).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.78694f32, 2.0])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.celu(2.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, and where `alpha` is 0.
    celu, celu_(alpha) = ELU, [alpha, 1.0, 1.0 / alpha];
    /// The self-normalising ELU
    /// ([`F.selu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.selu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-1.11133f32, 2.1014])?;
    /// assert!(Tensor::new([-1.0f32, 2.0])?.selu()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    selu, selu_() = ELU, SELU_PARAMS;
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let infinite = [0.0, 1.0, f64::INFINITY];
    vec![
        row_spec(&ELU).errors(vec![refused(infinite, "alpha must not be 0")]),
        plain("selu", "F.selu", Tensor::selu, Tensor::selu_),
        plain(
            "celu",
            "lambda x: F.celu(x, 2.0)",
            |x| x.celu(2.0),
            |x| x.celu_(2.0),
        ),
    ]
}
