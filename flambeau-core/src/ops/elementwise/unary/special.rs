//! The error and gamma functions and their kin.

use super::{Unary, unary, unary_, unary_ops, unary_row};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::spec::{Arg, OpSpec};
use crate::tensor::Tensor;
use flambeau_cpu::math::{self, Real as R};
use std::f64::consts::FRAC_2_SQRT_PI;

unary_ops! { ROWS:
    /// The error function
    /// ([`torch.erf`](https://pytorch.org/docs/stable/generated/torch.erf.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.5205])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.erf()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ERF = erf, erf_() Float {
        vector64: math::double::verf,
        float: |x, p| R::erf(x),
        cuda: "erf(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.neg()?.exp()?.mul(FRAC_2_SQRT_PI)?),
        domain: (-2.0, 2.0),
        torch: "torch.erf(x)",
    }
    /// 1 less the error function; precise for large elements
    /// ([`torch.erfc`](https://pytorch.org/docs/stable/generated/torch.erfc.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.0f32, 0.4795])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.erfc()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ERFC = erfc, erfc_() Float {
        vector64: math::double::verfc,
        float: |x, p| R::erfc(x),
        cuda: "erfc(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.square()?.neg()?.exp()?.mul(-FRAC_2_SQRT_PI)?),
        domain: (-2.0, 2.0),
        torch: "torch.erfc(x)",
    }
    /// The inverse of the error function: infinite at -1 and 1, NaN outside
    /// ([`torch.erfinv`](https://pytorch.org/docs/stable/generated/torch.erfinv.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.0f32, 0.47694])?;
    /// assert!(Tensor::new([0.0f32, 0.5])?.erfinv()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ERFINV = erfinv, erfinv_() Float {
        vector: math::verfinv,
        vector64: math::double::verfinv,
        float: |x, p| math::erfinv(x),
        cuda: "erfinv(x)",
        saves: Saves::OUTPUT,
        grad: |c, g, _| g.mul(c.output()?.square()?.exp()?.mul(1.0 / FRAC_2_SQRT_PI)?),
        domain: (-0.8, 0.8),
        torch: "torch.erfinv(x)",
    }
    /// The natural logarithm of the gamma function's magnitude
    /// ([`torch.lgamma`](https://pytorch.org/docs/stable/generated/torch.lgamma.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([0.57236f32, 1.79176])?;
    /// assert!(Tensor::new([0.5f32, 4.0])?.lgamma()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LGAMMA = lgamma, lgamma_() Float {
        vector: math::vlgamma,
        vector64: math::double::vlgamma,
        float: |x, p| math::lgamma(x),
        cuda: "lgamma(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.digamma()?),
        domain: (0.3, 4.0),
        torch: "torch.lgamma(x)",
    }
    /// The derivative of [`lgamma`](Tensor::lgamma): NaN at negative integers
    /// ([`torch.digamma`](https://pytorch.org/docs/stable/generated/torch.digamma.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([-0.57722f32, 1.25612])?;
    /// assert!(Tensor::new([1.0f32, 4.0])?.digamma()?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    DIGAMMA = digamma, digamma_() Float {
        vector: math::vdigamma,
        vector64: math::double::vdigamma,
        float: |x, p| math::digamma(x),
        cuda: "digamma(x)",
        saves: Saves::INPUTS,
        grad: |c, g, _| g.mul(c.input(0)?.polygamma(1.0)?),
        domain: (0.3, 4.0),
        torch: "torch.digamma(x)",
    }
    /// The derivative of order `n` (a whole number, not negative) of [`digamma`](Tensor::digamma)
    /// ([`torch.polygamma`](https://pytorch.org/docs/stable/generated/torch.polygamma.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let expected = Tensor::new([1.64493f32, 0.28382])?;
    /// let y = Tensor::new([1.0f32, 4.0])?.polygamma(1.0)?;
    /// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `n` is negative or a fraction.
    POLYGAMMA = polygamma, polygamma_(n) Float {
        with: |x, out, p| math::vpolygamma(p[0], x, out),
        with64: |x, out, p| math::double::vpolygamma(p[0], x, out),
        float: |x, p| math::double::polygamma(p[0], x),
        cuda: "p0 == 0 ? digamma(x) : (COMPUTE)polygamma((int)p0, (double)x)",
        saves: Saves::INPUTS,
        grad: |c, g, p| g.mul(c.input(0)?.polygamma(p[0] + 1.0)?),
        domain: (0.6, 4.0),
        torch: "torch.polygamma(int(p[0]), x)",
        params: [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]],
        check: |p| (p[0] < 0.0 || p[0].fract() != 0.0).then_some("the order n must be a whole number that is not negative"),
    }
}

/// What the table does not tell of this file's operations.
#[inline]
pub(super) fn adjust(specs: &mut [OpSpec]) {
    for spec in specs {
        // PyTorch's trigamma stops its series at an error of 1e-9.
        if ["digamma", "polygamma"].contains(&spec.name) {
            spec.tolerance = 20.0;
            // At poles it gives rounding noise.
            let x = Arg::values([7], &[-2.5, -1.5, -0.5, -1e-3, 0.5, 100.0, f64::NAN]);
            for sample in spec.samples.iter_mut().filter(|s| !s.smooth) {
                sample.args[0] = x.clone();
            }
        }
    }
}
