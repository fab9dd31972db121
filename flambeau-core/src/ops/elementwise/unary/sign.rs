//! What changes or reads the sign.

use super::{Unary, unary, unary_, unary_ops, unary_row, zero};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::tensor::Tensor;
use flambeau_cpu::arith::Arith;

unary_ops! { ROWS:
    /// The negative of each element. Not for bool: [`logical_not`](Tensor::logical_not)
    /// ([`torch.neg`](https://pytorch.org/docs/stable/generated/torch.neg.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, -2.0])?.neg()?.to_vec::<f32>()?, [-1.5, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    NEG = neg, neg_() Number {
        hot: true,
        bits16: (Arith::Xor, i16::MIN),
        float: |x, p| -x,
        int: |x, p| x.wrapping_neg(),
        cuda: "-x",
        cuda_int: "(COMPUTE)(0 - (u64)x)",
        saves: Saves::NONE,
        grad: |_, g, _| g.neg(),
        domain: (-2.0, 2.0),
        torch: "torch.neg(x)",
    }
    /// The absolute value; its gradient at 0 is 0
    /// ([`torch.abs`](https://pytorch.org/docs/stable/generated/torch.abs.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, -2.0])?.abs()?.to_vec::<f32>()?, [1.5, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For bool tensors.
    ABS = abs, abs_() Number {
        hot: true,
        bits16: (Arith::And, i16::MAX),
        float: |x, p| x.abs(),
        int: |x, p| x.wrapping_abs(),
        cuda: "fabs(x)",
        cuda_int: "x < 0 ? (COMPUTE)(0 - (u64)x) : x",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.sgn()?),
        domain: (0.2, 2.0),
        torch: "torch.abs(x)",
    }
    /// -1, 0 or 1 as the element is negative, zero (or NaN) or positive
    /// ([`torch.sign`](https://pytorch.org/docs/stable/generated/torch.sign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-3.0f32, 0.0, 2.5])?.sign()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIGN = sign, sign_() Same {
        float: |x, p| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 },
        int: |x, p| x.signum(),
        cuda: "sign(x)",
        cuda_int: "sign(x)",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 2.0),
        torch: "torch.sign(x)",
    }
    /// As [`sign`](Tensor::sign):
    /// [`torch.sgn`](https://pytorch.org/docs/stable/generated/torch.sgn.html) of real numbers.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([-3.0f32, 0.0, 2.5])?.sgn()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SGN = sgn, sgn_() Same {
        float: |x, p| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 },
        int: |x, p| x.signum(),
        cuda: "sign(x)",
        cuda_int: "sign(x)",
        saves: Saves::NONE,
        grad: zero,
        domain: (0.2, 2.0),
        torch: "torch.sgn(x)",
    }
}
