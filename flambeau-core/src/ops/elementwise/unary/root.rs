//! The square, roots and reciprocals; other powers are in `power`.

use super::{Unary, row_spec, unary, unary_, unary_ops, unary_row};
use crate::dispatch::Saves;
use crate::ops::elementwise::{Kind, original};
use crate::ops::spec::OpSpec;
use crate::tensor::Tensor;
use crate::{DType, Result};

unary_ops! { ROWS:
    /// The square root; NaN of negative numbers
    /// ([`torch.sqrt`](https://pytorch.org/docs/stable/generated/torch.sqrt.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([2.0f32, 1.41421])?;
    /// assert!(Tensor::new([4.0f32, 2.0])?.sqrt()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SQRT = sqrt, sqrt_() Float {
        float: |x, p| x.sqrt(),
        cuda: "sqrt(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.div(c.output()?.mul(2.0)?),
        domain: (0.2, 3.0),
        torch: "torch.sqrt(x)",
    }
    /// 1 over the square root
    /// ([`torch.rsqrt`](https://pytorch.org/docs/stable/generated/torch.rsqrt.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.5f32, 2.0])?;
    /// assert!(Tensor::new([4.0f32, 0.25])?.rsqrt()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RSQRT = rsqrt, rsqrt_() Float {
        float: |x, p| 1.0 / x.sqrt(),
        cuda: "1 / sqrt(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| {
            let y = c.output()?;
            g.mul(-0.5)?.mul(y.square()?.mul(&y)?)
        },
        domain: (0.2, 3.0),
        torch: "torch.rsqrt(x)",
    }
    /// 1 over the element
    /// ([`torch.reciprocal`](https://pytorch.org/docs/stable/generated/torch.reciprocal.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([4.0f32, -0.5])?.reciprocal()?.to_vec::<f32>()?, [0.25, -2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RECIPROCAL = reciprocal, reciprocal_() Float {
        float: |x, p| 1.0 / x,
        cuda: "1 / x",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.neg()?.mul(c.output()?.square()?),
        domain: (0.4, 3.0),
        torch: "torch.reciprocal(x)",
    }
}

/// The square: bool squares as `i64`, as in PyTorch.
pub(crate) static SQUARE: Unary = unary_row!("square", Number,
    hot: true,
    float: |x, p| x * x,
    int: |x, p| x.wrapping_mul(x),
    cuda: "x * x",
    cuda_int: "(COMPUTE)((u64)x * (u64)x)",
    saves: Saves::INPUTS,
    grad: |c, g, _| g.mul(c.input(0)?.mul(2.0)?),
    domain: (-2.0, 2.0),
    torch: "torch.square(x)",
);

impl Tensor {
    /// The square of each element; bool squares as `i64`
    /// ([`torch.square`](https://pytorch.org/docs/stable/generated/torch.square.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, -2.0])?.square()?.to_vec::<f32>()?, [2.25, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn square(&self) -> Result<Tensor> {
        if self.dtype() == DType::Bool {
            return self.to_dtype(DType::I64);
        }
        unary(&SQUARE, self, [0.0; 3])
    }
    /// [`square`](Tensor::square) in place.
    ///
    /// # Errors
    /// As [`square`](Tensor::square), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn square_(&self) -> Result<Tensor> {
        self.check_inplace("square")?;
        self.assign("square", original(self, &[])?.square()?)
    }
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    vec![row_spec(&SQUARE)]
}
