//! Towards 0, or 0 around it.

use super::{composite, refused};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::elementwise::gate::Gate;
use crate::ops::elementwise::unary::{Unary, unary, unary_, unary_ops, unary_row};
use crate::ops::spec::OpSpec;
use crate::tensor::Tensor;

unary_ops! { ROWS:
    /// x, but 0 from -`lambd` to `lambd`
    /// ([`F.hardshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardshrink.html),
    /// where it defaults to 0.5).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-1.0f32, 0.25, 2.0])?.hardshrink(0.5)?.to_vec::<f32>()?,
    ///     [-1.0, 0.0, 2.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors.
    HARDSHRINK = hardshrink, hardshrink_(lambd) Number {
        float: |x, p| if x >= -p[0] && x <= p[0] { 0.0 } else { x },
        cuda: "x >= -p0 && x <= p0 ? 0 : x",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate::shut(-p[0], p[0]).pass(g, &c.input(0)?),
        domain: (0.6, 2.0),
        torch: "F.hardshrink(x, p[0])",
        params: [[0.5, 0.0, 0.0]],
    }
    /// x moved towards 0 by `lambd`, which is not negative
    /// ([`F.softshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softshrink.html),
    /// where it defaults to 0.5).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([-1.0f32, 0.25, 2.0])?.softshrink(0.5)?.to_vec::<f32>()?,
    ///     [-0.5, 0.0, 1.5]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, and a negative `lambd`.
    SOFTSHRINK = softshrink, softshrink_(lambd) Number {
        float: |x, p| if x > p[0] { x - p[0] } else if x < -p[0] { x + p[0] } else { x * 0.0 },
        cuda: "x > p0 ? x - p0 : x < -p0 ? x + p0 : x * 0",
        saves: Saves::INPUTS,
        grad: |c, g, p| Gate::shut(-p[0], p[0]).pass(g, &c.input(0)?),
        domain: (0.6, 2.0),
        torch: "F.softshrink(x, p[0])",
        params: [[0.5, 0.0, 0.0]],
        check: |p| (p[0].is_nan() || p[0] < 0.0).then_some("lambd must not be negative"),
    }
}

impl Tensor {
    /// x - tanh(x)
    /// ([`F.tanhshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.tanhshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.03597])?;
    /// assert!(Tensor::new([0.0f32, 2.0])?.tanhshrink()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn tanhshrink(&self) -> Result<Tensor> {
        self.sub(self.tanh()?)
    }
}

/// What the table does not tell of this file's operations.
#[inline]
pub(super) fn adjust(specs: &mut [OpSpec]) {
    for spec in specs.iter_mut().filter(|s| s.name == "softshrink") {
        spec.errors = vec![refused([-1.0, 0.0, 0.0], "must not be negative")];
    }
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![composite("tanhshrink", "F.tanhshrink", Tensor::tanhshrink)]
}
