//! More operations on pairs: extremes, angles, logarithms of sums, bits.

use super::Kind;
use super::binary::{
    Binary, SIGNED, binary, binary_, binary_ops, binary_row, row_spec, want, zeros,
};
use super::unary::keep;
use crate::dispatch::{Grads, Saves};
use crate::ops::spec::OpSpec;
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, Result};
use flambeau_cpu::math::{self, Real as R};
use smallvec::smallvec;

/// The gradient to the operand that was taken, half to each where they are equal; `less` says
/// where the first was not.
fn split_ties(
    c: &Ctx<'_>,
    g: &Tensor,
    less: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Grads> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let shared = a.eq(&b)?.where_(g.mul(0.5)?, g)?;
    Ok(smallvec![
        want(c, 0, || keep(&shared, &less(&a, &b)?.logical_not()?))?,
        want(c, 1, || keep(&shared, &less(&b, &a)?.logical_not()?))?,
    ])
}

/// The same where a NaN loses: `more` says where the first was taken, ties apart.
fn split_ties_but_nan(
    c: &Ctx<'_>,
    g: &Tensor,
    more: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Grads> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let tie = a.eq(&b)?;
    let shared = tie.where_(g.mul(0.5)?, g)?;
    let first = more(&a, &b)?.logical_or(b.isnan()?)?;
    Ok(smallvec![
        want(c, 0, || keep(&shared, &first.logical_or(&tie)?))?,
        want(c, 1, || keep(&shared, &first.logical_not()?))?,
    ])
}

binary_ops! { PAIRS:
    /// The greater of two elements; NaN where either is. Where they are equal, each gets half the
    /// gradient ([`torch.maximum`](https://pytorch.org/docs/stable/generated/torch.maximum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([1.0f32, 5.0])?, Tensor::new([3.0f32, f32::NAN])?);
    /// let y = a.maximum(&b)?.to_vec::<f32>()?;
    /// assert!(y[0] == 3.0 && y[1].is_nan());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    MAXIMUM = maximum, maximum_ Same {
        hot: true,
        arith: Max,
        float: |x, y| if x > y || x.is_nan() { x } else { y },
        int: |x, y| x.max(y),
        cuda: "maximum(a, b)",
        cuda_int: "maximum(a, b)",
        saves: |_| Saves::INPUTS,
        grad: |c, g| split_ties(c, g, |a, b| a.lt(b)),
        domain: SIGNED,
        torch: "torch.maximum",
    }
    /// The lesser of two elements; NaN where either is. Where they are equal, each gets half the
    /// gradient ([`torch.minimum`](https://pytorch.org/docs/stable/generated/torch.minimum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 5])?.minimum(3)?.to_vec::<i64>()?, [1, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    MINIMUM = minimum, minimum_ Same {
        hot: true,
        arith: Min,
        float: |x, y| if x < y || x.is_nan() { x } else { y },
        int: |x, y| x.min(y),
        cuda: "minimum(a, b)",
        cuda_int: "minimum(a, b)",
        saves: |_| Saves::INPUTS,
        grad: |c, g| split_ties(c, g, |a, b| a.gt(b)),
        domain: SIGNED,
        torch: "torch.minimum",
    }
    /// The greater of two elements, the other one where one is NaN. Where they are equal, each gets
    /// half the gradient
    /// ([`torch.fmax`](https://pytorch.org/docs/stable/generated/torch.fmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1.0f32, 5.0])?.fmax(&Tensor::new([3.0f32, f32::NAN])?)?.to_vec::<f32>()?,
    ///     [3.0, 5.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    FMAX = fmax, fmax_ Same {
        arith: Max,
        float: |x, y| if x >= y || y.is_nan() { x } else { y },
        int: |x, y| x.max(y),
        cuda: "a >= b || b != b ? a : b",
        cuda_int: "a >= b || b != b ? a : b",
        saves: |_| Saves::INPUTS,
        grad: |c, g| split_ties_but_nan(c, g, |a, b| a.gt(b)),
        domain: SIGNED,
        torch: "torch.fmax",
    }
    /// The lesser of two elements, the other one where one is NaN. Where they are equal, each gets
    /// half the gradient
    /// ([`torch.fmin`](https://pytorch.org/docs/stable/generated/torch.fmin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1.0f32, 5.0])?.fmin(&Tensor::new([3.0f32, f32::NAN])?)?.to_vec::<f32>()?,
    ///     [1.0, 5.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    FMIN = fmin, fmin_ Same {
        arith: Min,
        float: |x, y| if x <= y || y.is_nan() { x } else { y },
        int: |x, y| x.min(y),
        cuda: "a <= b || b != b ? a : b",
        cuda_int: "a <= b || b != b ? a : b",
        saves: |_| Saves::INPUTS,
        grad: |c, g| split_ties_but_nan(c, g, |a, b| a.lt(b)),
        domain: SIGNED,
        torch: "torch.fmin",
    }
    /// The angle of the point (`other`, this) in radians, from -pi to pi
    /// ([`torch.atan2`](https://pytorch.org/docs/stable/generated/torch.atan2.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.7854f32, -2.35619])?;
    /// let y = Tensor::new([1.0f32, -1.0])?.atan2(&Tensor::new([1.0f32, -1.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    ATAN2 = atan2, atan2_ Float {
        vector: math::vatan2,
        vector64: math::double::vatan2,
        float: |x, y| math::atan2(x, y),
        cuda: "atan2(a, b)",
        saves: |_| Saves::INPUTS,
        grad: |c, g| {
            let (a, b) = (c.input(0)?, c.input(1)?);
            let square = a.square()?.add(b.square()?)?;
            // 0 at the origin, where there is no angle.
            let scale = keep(&square.reciprocal()?, &square.ne(0.0)?)?;
            Ok(smallvec![
                want(c, 0, || g.mul(&b)?.mul(&scale))?,
                want(c, 1, || g.mul(a.neg()?)?.mul(&scale))?,
            ])
        },
        domain: ((0.3, 2.0), (-2.0, 2.0)),
        torch: "torch.atan2",
    }
    /// The length of the hypotenuse: sqrt(x^2 + y^2) without overflow. Floating point alone
    /// ([`torch.hypot`](https://pytorch.org/docs/stable/generated/torch.hypot.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3.0f32])?.hypot(&Tensor::new([4.0f32])?)?.to_vec::<f32>()?, [5.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, and where shapes do not broadcast.
    HYPOT = hypot, hypot_ Number {
        vector: math::vhypot,
        vector64: math::double::vhypot,
        float: |x, y| math::hypot(x, y),
        cuda: "hypot(a, b)",
        saves: |_| Saves::OUTPUT.input(0).input(1),
        grad: |c, g| {
            let out = c.output()?;
            Ok(smallvec![
                want(c, 0, || g.mul(c.input(0)?.div(&out)?))?,
                want(c, 1, || g.mul(c.input(1)?.div(&out)?))?,
            ])
        },
        domain: ((0.3, 2.0), (-2.0, 2.0)),
        torch: "torch.hypot",
    }
    /// The magnitude of this with the sign of `other`
    /// ([`torch.copysign`](https://pytorch.org/docs/stable/generated/torch.copysign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.5f32, 2.0])?.copysign(-1)?.to_vec::<f32>()?, [-1.5, -2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    COPYSIGN = copysign, copysign_ Float {
        float: |x, y| x.copysign(y),
        cuda: "copysign(a, b)",
        saves: |_| Saves::OUTPUT.input(0),
        grad: |c, g| {
            let x = c.input(0)?;
            let first = want(c, 0, || {
                g.mul(keep(&c.output()?.div(&x)?, &x.ne(0.0)?)?)
            })?;
            Ok(smallvec![first, want(c, 1, || g.zeros_like())?])
        },
        domain: ((0.3, 2.0), (0.3, 2.0)),
        torch: "torch.copysign",
    }
    /// log(exp(x) + exp(y)) without overflow. Floating point alone
    /// ([`torch.logaddexp`](https://pytorch.org/docs/stable/generated/torch.logaddexp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.69315f32, 1000.69318])?;
    /// let y = Tensor::new([0.0f32, 1000.0])?.logaddexp(&Tensor::new([0.0f32, 1000.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, and where shapes do not broadcast.
    LOGADDEXP = logaddexp, logaddexp_ Number {
        float: |x, y| {
            let top = if x > y || x.is_nan() { x } else { y };
            // Equal infinities have no difference.
            if x == y && x.is_infinite() { x } else { top + R::log1p_exp((x - y).abs()) }
        },
        cuda: "a == b && a - a != 0 ? a : maximum(a, b) + log1p(exp(-fabs(a - b)))",
        saves: |_| Saves::INPUTS,
        grad: |c, g| {
            let (a, b) = (c.input(0)?, c.input(1)?);
            Ok(smallvec![
                want(c, 0, || g.div(b.sub(&a)?.exp()?.add(1.0)?))?,
                want(c, 1, || g.div(a.sub(&b)?.exp()?.add(1.0)?))?,
            ])
        },
        domain: SIGNED,
        torch: "torch.logaddexp",
    }
    /// x log(y): 0 where x is 0, unless y is NaN
    /// ([`torch.xlogy`](https://pytorch.org/docs/stable/generated/torch.xlogy.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 2.19722])?;
    /// let y = Tensor::new([0.0f32, 2.0])?.xlogy(&Tensor::new([0.0f32, 3.0])?)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes do not broadcast.
    XLOGY = xlogy, xlogy_ Float {
        float: |x, y| if x == 0.0 && !y.is_nan() { 0.0 } else { x * R::log(y) },
        cuda: "a == 0 && b == b ? 0 : a * log(b)",
        saves: |_| Saves::INPUTS,
        grad: |c, g| {
            let (a, b) = (c.input(0)?, c.input(1)?);
            let first = want(c, 0, || {
                let none = a.eq(0.0)?.logical_and(b.le(0.0)?)?;
                keep(&g.xlogy(&b)?, &none.logical_not()?)
            })?;
            Ok(smallvec![first, want(c, 1, || g.mul(&a)?.div(&b))?])
        },
        domain: ((0.3, 2.0), (0.3, 2.0)),
        torch: "torch.xlogy",
    }
    /// Where both bits are set; of bool tensors, where both are true. Integers and bool alone
    /// ([`torch.bitwise_and`](https://pytorch.org/docs/stable/generated/torch.bitwise_and.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([6i64, 5])?.bitwise_and(3)?.to_vec::<i64>()?, [2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For floating-point tensors, and where shapes do not broadcast.
    BITWISE_AND = bitwise_and, bitwise_and_ Same {
        arith: And,
        int: |x, y| x & y,
        cuda_int: "a & b",
        saves: |_| Saves::NONE,
        grad: zeros,
        domain: SIGNED,
        torch: "torch.bitwise_and",
    }
    /// Where a bit is set in either. Integers and bool alone
    /// ([`torch.bitwise_or`](https://pytorch.org/docs/stable/generated/torch.bitwise_or.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([6i64, 5])?.bitwise_or(3)?.to_vec::<i64>()?, [7, 7]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bitwise_and`](Tensor::bitwise_and).
    BITWISE_OR = bitwise_or, bitwise_or_ Same {
        arith: Or,
        int: |x, y| x | y,
        cuda_int: "a | b",
        saves: |_| Saves::NONE,
        grad: zeros,
        domain: SIGNED,
        torch: "torch.bitwise_or",
    }
    /// Where a bit is set in one of both. Integers and bool alone
    /// ([`torch.bitwise_xor`](https://pytorch.org/docs/stable/generated/torch.bitwise_xor.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([6i64, 5])?.bitwise_xor(3)?.to_vec::<i64>()?, [5, 6]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bitwise_and`](Tensor::bitwise_and).
    BITWISE_XOR = bitwise_xor, bitwise_xor_ Same {
        arith: Xor,
        int: |x, y| x ^ y,
        cuda_int: "a ^ b",
        saves: |_| Saves::NONE,
        grad: zeros,
        domain: SIGNED,
        torch: "torch.bitwise_xor",
    }
    /// Bits moved up by `other`, which may be any integer: all are lost from the type's width on
    /// and where it is negative
    /// ([`torch.bitwise_left_shift`](https://pytorch.org/docs/stable/generated/torch.bitwise_left_shift.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 3])?.bitwise_left_shift(2)?.to_vec::<i64>()?, [4, 12]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For floating-point and bool tensors, and where shapes do not broadcast.
    SHL = bitwise_left_shift, bitwise_left_shift_ Number {
        int: |x, y| u32::try_from(y).ok().and_then(|s| x.checked_shl(s)).unwrap_or(0),
        cuda_int: "b < 0 || b >= (COMPUTE)(8 * sizeof(COMPUTE)) ? 0 : (COMPUTE)((u64)a << b)",
        saves: |_| Saves::NONE,
        grad: zeros,
        domain: SIGNED,
        torch: "torch.bitwise_left_shift",
    }
    /// Bits moved down by `other`, keeping the sign: only that is left from the type's width on
    /// and where it is negative
    /// ([`torch.bitwise_right_shift`](https://pytorch.org/docs/stable/generated/torch.bitwise_right_shift.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([8i64, -8])?.bitwise_right_shift(2)?.to_vec::<i64>()?, [2, -2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bitwise_left_shift`](Tensor::bitwise_left_shift).
    SHR = bitwise_right_shift, bitwise_right_shift_ Number {
        int: |x, y| {
            let all = if x < 0 { -1 } else { 0 };
            u32::try_from(y).ok().and_then(|s| x.checked_shr(s)).unwrap_or(all)
        },
        cuda_int: "b < 0 || b >= (COMPUTE)(8 * sizeof(COMPUTE)) ? (a < 0 ? -1 : 0) : a >> b",
        saves: |_| Saves::NONE,
        grad: zeros,
        domain: SIGNED,
        torch: "torch.bitwise_right_shift",
    }
}

/// What tests and goldens know of the table.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    PAIRS.iter().map(|&def| row_spec(def)).collect()
}
