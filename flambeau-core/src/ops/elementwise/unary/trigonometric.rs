//! Trigonometric functions, their inverses, and degrees.

use super::{Unary, unary, unary_, unary_ops, unary_row};
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{DType, Result};
use flambeau_cpu::math;
use std::f64::consts::PI;

unary_ops! { ROWS:
    /// The sine of the element in radians
    /// ([`torch.sin`](https://pytorch.org/docs/stable/generated/torch.sin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.84147])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.sin()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SIN = sin, sin_() Float {
        vector: math::vsin,
        vector64: math::double::vsin,
        float: |x, p| R::sin(x),
        cuda: "sin(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.cos()?),
        domain: (-2.0, 2.0),
        torch: "torch.sin(x)",
    }
    /// The cosine of the element in radians
    /// ([`torch.cos`](https://pytorch.org/docs/stable/generated/torch.cos.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 0.5403])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.cos()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    COS = cos, cos_() Float {
        vector: math::vcos,
        vector64: math::double::vcos,
        float: |x, p| R::cos(x),
        cuda: "cos(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.sin()?)?.neg(),
        domain: (-2.0, 2.0),
        torch: "torch.cos(x)",
    }
    /// The tangent of the element in radians
    /// ([`torch.tan`](https://pytorch.org/docs/stable/generated/torch.tan.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.55741])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.tan()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    TAN = tan, tan_() Float {
        vector: math::vtan,
        vector64: math::double::vtan,
        float: |x, p| R::tan(x),
        cuda: "tan(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.square()?.add(1.0)?),
        domain: (-1.2, 1.2),
        torch: "torch.tan(x)",
    }
    /// The arc sine, in radians; NaN outside of -1 to 1
    /// ([`torch.asin`](https://pytorch.org/docs/stable/generated/torch.asin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.5708])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.asin()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ASIN = asin, asin_() Float {
        vector: math::vasin,
        vector64: math::double::vasin,
        float: |x, p| math::asin(x),
        cuda: "asin(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.neg()?.add(1.0)?.rsqrt()?),
        domain: (-0.8, 0.8),
        torch: "torch.asin(x)",
    }
    /// The arc cosine, in radians; NaN outside of -1 to 1
    /// ([`torch.acos`](https://pytorch.org/docs/stable/generated/torch.acos.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.5708f32, 0.0])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.acos()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ACOS = acos, acos_() Float {
        vector: math::vacos,
        vector64: math::double::vacos,
        float: |x, p| math::acos(x),
        cuda: "acos(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.neg()?.mul(c.input(0)?.square()?.neg()?.add(1.0)?.rsqrt()?),
        domain: (-0.8, 0.8),
        torch: "torch.acos(x)",
    }
    /// The arc tangent, in radians
    /// ([`torch.atan`](https://pytorch.org/docs/stable/generated/torch.atan.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.7854])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.atan()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ATAN = atan, atan_() Float {
        vector: math::vatan,
        vector64: math::double::vatan,
        float: |x, p| math::atan(x),
        cuda: "atan(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.square()?.add(1.0)?),
        domain: (-2.0, 2.0),
        torch: "torch.atan(x)",
    }
}

impl Tensor {
    /// Degrees to radians
    /// ([`torch.deg2rad`](https://pytorch.org/docs/stable/generated/torch.deg2rad.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([3.14159f32, 0.7854])?;
    /// assert!(Tensor::new([180.0f32, 45.0])?.deg2rad()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn deg2rad(&self) -> Result<Tensor> {
        self.mul(PI / 180.0)
    }
    /// [`deg2rad`](Tensor::deg2rad) in place.
    ///
    /// # Errors
    /// As [`deg2rad`](Tensor::deg2rad), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn deg2rad_(&self) -> Result<Tensor> {
        self.mul_(PI / 180.0)
    }
    /// Radians to degrees
    /// ([`torch.rad2deg`](https://pytorch.org/docs/stable/generated/torch.rad2deg.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([57.29578f32, -28.64789])?;
    /// assert!(Tensor::new([1.0f32, -0.5])?.rad2deg()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn rad2deg(&self) -> Result<Tensor> {
        self.mul(180.0 / PI)
    }
    /// [`rad2deg`](Tensor::rad2deg) in place.
    ///
    /// # Errors
    /// As [`rad2deg`](Tensor::rad2deg), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn rad2deg_(&self) -> Result<Tensor> {
        self.mul_(180.0 / PI)
    }
}

/// What tests and goldens know of this file beside the table.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let degrees = Sample::new(vec![Arg::uniform([5], (-200.0, 200.0))]);
    let integers = degrees.clone().dtypes(&[DType::I64, DType::Bool]);
    vec![
        OpSpec::new("deg2rad", "torch.deg2rad", |a| {
            Ok(vec![a[0].tensor()?.deg2rad()?])
        })
        .inplace(|a| Ok(vec![a[0].tensor()?.deg2rad_()?]))
        .elementwise()
        .samples(vec![degrees.clone(), integers.clone()]),
        OpSpec::new("rad2deg", "torch.rad2deg", |a| {
            Ok(vec![a[0].tensor()?.rad2deg()?])
        })
        .inplace(|a| Ok(vec![a[0].tensor()?.rad2deg_()?]))
        .elementwise()
        .samples(vec![degrees, integers]),
    ]
}
