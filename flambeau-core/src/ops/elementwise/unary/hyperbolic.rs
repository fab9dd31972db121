//! Hyperbolic functions and their inverses.

use super::{Unary, unary, unary_, unary_ops, unary_row};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::elementwise::binary::{Binary, SIGNED, binary, binary_row};
use crate::tensor::Tensor;
use flambeau_cpu::math::{self, Real as R};
use smallvec::smallvec;

unary_ops! { ROWS:
    /// The hyperbolic sine
    /// ([`torch.sinh`](https://pytorch.org/docs/stable/generated/torch.sinh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.1752])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.sinh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SINH = sinh, sinh_() Float {
        vector: math::vsinh,
        vector64: math::double::vsinh,
        float: |x, p| math::sinh(x),
        cuda: "sinh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.cosh()?),
        domain: (-2.0, 2.0),
        torch: "torch.sinh(x)",
    }
    /// The hyperbolic cosine
    /// ([`torch.cosh`](https://pytorch.org/docs/stable/generated/torch.cosh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 1.54308])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.cosh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    COSH = cosh, cosh_() Float {
        vector: math::vcosh,
        vector64: math::double::vcosh,
        float: |x, p| math::cosh(x),
        cuda: "cosh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.sinh()?),
        domain: (-2.0, 2.0),
        torch: "torch.cosh(x)",
    }
    /// The hyperbolic tangent
    /// ([`torch.tanh`](https://pytorch.org/docs/stable/generated/torch.tanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.76159])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.tanh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    TANH = tanh, tanh_() Float {
        vector64: math::double::vtanh,
        float: |x, p| R::tanh(x),
        cuda: "tanh(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| binary(&TANH_BACKWARD, g, &c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.tanh(x)",
    }
    /// The inverse hyperbolic sine
    /// ([`torch.asinh`](https://pytorch.org/docs/stable/generated/torch.asinh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.88137])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.asinh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ASINH = asinh, asinh_() Float {
        vector: math::vasinh,
        vector64: math::double::vasinh,
        float: |x, p| math::asinh(x),
        cuda: "asinh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.add(1.0)?.rsqrt()?),
        domain: (-2.0, 2.0),
        torch: "torch.asinh(x)",
    }
    /// The inverse hyperbolic cosine; NaN below 1
    /// ([`torch.acosh`](https://pytorch.org/docs/stable/generated/torch.acosh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.31696])?;
    /// assert!(Tensor::new([1.0f32, 2.0])?.acosh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ACOSH = acosh, acosh_() Float {
        vector: math::vacosh,
        vector64: math::double::vacosh,
        float: |x, p| math::acosh(x),
        cuda: "acosh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.sub(1.0)?.rsqrt()?),
        domain: (1.3, 3.0),
        torch: "torch.acosh(x)",
    }
    /// The inverse hyperbolic tangent; NaN outside of -1 to 1
    /// ([`torch.atanh`](https://pytorch.org/docs/stable/generated/torch.atanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.54931])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.atanh()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ATANH = atanh, atanh_() Float {
        vector: math::vatanh,
        vector64: math::double::vatanh,
        float: |x, p| math::atanh(x),
        cuda: "atanh(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.square()?.neg()?.add(1.0)?),
        domain: (-0.8, 0.8),
        torch: "torch.atanh(x)",
    }
}

/// The gradient of tanh from that of its result and the result: g (1 - y^2).
static TANH_BACKWARD: Binary = binary_row!("tanh_backward", Same,
    float: |g, y| g * (1.0 - y * y),
    cuda: "a * (1 - b * b)",
    saves: |_| Saves::INPUTS,
    grad: |c, g| {
        let y = c.input(1)?;
        Ok(smallvec![Some(binary(&TANH_BACKWARD, g, &y)?), Some(g.mul(c.input(0)?)?.mul(y.mul(-2.0)?)?)])
    },
    domain: SIGNED,
    torch: "",
);
