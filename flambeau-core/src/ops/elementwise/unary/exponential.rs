//! Exponential functions and logarithms.

use super::{Unary, unary, unary_, unary_ops, unary_row};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::tensor::Tensor;
use flambeau_cpu::math::{self, Real as R};
use std::f64::consts::{LN_2, LN_10};

unary_ops! { ROWS:
    /// e to the power of each element
    /// ([`torch.exp`](https://pytorch.org/docs/stable/generated/torch.exp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 2.71828])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.exp()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    EXP = exp, exp_() Float {
        vector64: math::double::vexp,
        float: |x, p| R::exp(x),
        cuda: "exp(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?),
        domain: (-2.0, 2.0),
        torch: "torch.exp(x)",
    }
    /// 2 to the power of each element
    /// ([`torch.exp2`](https://pytorch.org/docs/stable/generated/torch.exp2.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 8.0])?;
    /// assert!(Tensor::new([0.0f32, 3.0])?.exp2()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    EXP2 = exp2, exp2_() Float {
        vector: math::vexp2,
        vector64: math::double::vexp2,
        float: |x, p| R::exp2(x),
        cuda: "exp2(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?)?.mul(LN_2),
        domain: (-2.0, 2.0),
        torch: "torch.exp2(x)",
    }
    /// e to the power of each element, less 1; precise near 0
    /// ([`torch.expm1`](https://pytorch.org/docs/stable/generated/torch.expm1.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 1.71828])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.expm1()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    EXPM1 = expm1, expm1_() Float {
        vector64: math::double::vexpm1,
        float: |x, p| R::expm1(x),
        cuda: "expm1(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.add(1.0)?),
        domain: (-2.0, 2.0),
        torch: "torch.expm1(x)",
    }
    /// The natural logarithm: -inf of 0, NaN of negative numbers
    /// ([`torch.log`](https://pytorch.org/docs/stable/generated/torch.log.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.69315])?;
    /// assert!(Tensor::new([1.0f32, 2.0])?.log()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG = log, log_() Float {
        vector64: math::double::vlog,
        float: |x, p| R::log(x),
        cuda: "log(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?),
        domain: (0.2, 3.0),
        torch: "torch.log(x)",
    }
    /// The logarithm to base 2
    /// ([`torch.log2`](https://pytorch.org/docs/stable/generated/torch.log2.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 3.0])?;
    /// assert!(Tensor::new([1.0f32, 8.0])?.log2()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG2 = log2, log2_() Float {
        vector64: math::double::vlog2,
        float: |x, p| R::log2(x),
        cuda: "log2(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.mul(LN_2)?),
        domain: (0.2, 3.0),
        torch: "torch.log2(x)",
    }
    /// The logarithm to base 10
    /// ([`torch.log10`](https://pytorch.org/docs/stable/generated/torch.log10.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 3.0])?;
    /// assert!(Tensor::new([1.0f32, 1000.0])?.log10()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG10 = log10, log10_() Float {
        vector64: math::double::vlog10,
        float: |x, p| R::log10(x),
        cuda: "log10(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.mul(LN_10)?),
        domain: (0.2, 3.0),
        torch: "torch.log10(x)",
    }
    /// The natural logarithm of 1 plus the element; precise near 0
    /// ([`torch.log1p`](https://pytorch.org/docs/stable/generated/torch.log1p.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.69315])?;
    /// assert!(Tensor::new([0.0f32, 1.0])?.log1p()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LOG1P = log1p, log1p_() Float {
        vector64: math::double::vlog1p,
        float: |x, p| R::log1p(x),
        cuda: "log1p(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.div(c.input(0)?.add(1.0)?),
        domain: (-0.7, 3.0),
        torch: "torch.log1p(x)",
    }
}
