//! The error and gamma functions and their kin. What the CPU runtime does not vectorise is computed
//! here, in f64.

use super::{Unary, unary, unary_, unary_ops, unary_row};
use crate::Result;
use crate::dispatch::Saves;
use crate::ops::elementwise::Kind;
use crate::ops::spec::{Arg, OpSpec};
use crate::tensor::Tensor;
use flambeau_cpu::math::{self, Real as R};
use std::f64::consts::{FRAC_2_SQRT_PI, PI};

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
        float: |x, p| erfinv(x),
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
        float: |x, p| Special::lgamma(x),
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
        float: |x, p| Special::digamma(x),
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
        float: |x, p| Special::polygamma(x, p[0]),
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

/// Functions of one element.
trait Special: Copy {
    /// Logarithm of the gamma function's magnitude.
    fn lgamma(self) -> Self;
    /// Its derivative.
    fn digamma(self) -> Self;
    /// The derivative of order `n` of digamma.
    fn polygamma(self, n: Self) -> Self;
}

macro_rules! special {
    ($($t:ty),*) => {$(
        impl Special for $t {
            fn lgamma(self) -> $t { libm::lgamma(self as f64) as $t }
            fn digamma(self) -> $t { digamma(self as f64) as $t }
            fn polygamma(self, n: $t) -> $t { polygamma(n as f64, self as f64) as $t }
        }
    )*};
}
special!(f32, f64);

/// Inverse of the error function: a first guess by Winitzki's formula, then Newton's method on
/// erf, or on erfc near the ends, where 1 - |y| is exact.
fn erfinv(y: f64) -> f64 {
    if y.is_nan() || y.abs() > 1.0 {
        return f64::NAN;
    }
    if y.abs() == 1.0 {
        return f64::INFINITY.copysign(y);
    }
    let (a, z) = (0.147, y.abs());
    let l = (-z * z).ln_1p();
    let b = 2.0 / (PI * a) + l / 2.0;
    let mut x = ((b * b - l / a).sqrt() - b).max(0.0).sqrt();
    for _ in 0..4 {
        let error = if z < 0.5 {
            libm::erf(x) - z
        } else {
            (1.0 - z) - libm::erfc(x)
        };
        let step = error / (FRAC_2_SQRT_PI * (-x * x).exp());
        // Halley's correction: the second derivative is -2x times the first.
        x -= step / (1.0 + x * step);
    }
    x.copysign(y)
}

/// By reflection for negative numbers, recurrence up to 10 and the asymptotic series from there
/// (Abramowitz & Stegun 6.3.5, 6.3.7, 6.3.18).
fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return f64::INFINITY.copysign(-x);
    }
    if x < 0.0 {
        if x == x.trunc() {
            return f64::NAN;
        }
        // The tangent's argument is reduced first: pi times a large x is not precise.
        return digamma(1.0 - x) - PI / (PI * x.fract()).tan();
    }
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let z = 1.0 / (x * x);
    // Bernoulli numbers B(2k) / 2k.
    let series = [
        1.0 / 12.0,
        -1.0 / 120.0,
        1.0 / 252.0,
        -1.0 / 240.0,
        1.0 / 132.0,
        -691.0 / 32760.0,
        1.0 / 12.0,
    ];
    let tail = series.iter().rev().fold(0.0, |s, c| (s + c) * z);
    shift + x.ln() - 0.5 / x - tail
}

/// (-1)^(n + 1) n! zeta(n + 1, x) (Abramowitz & Stegun 6.4.10).
fn polygamma(n: f64, x: f64) -> f64 {
    if n == 0.0 {
        return digamma(x);
    }
    let sign = if n % 2.0 == 0.0 { -1.0 } else { 1.0 };
    sign * libm::tgamma(n + 1.0) * hurwitz_zeta(n + 1.0, x)
}

/// The sum of (q + k)^-s over k >= 0, for s > 1, by Euler and Maclaurin's formula.
fn hurwitz_zeta(s: f64, q: f64) -> f64 {
    if q.is_nan() || q == f64::NEG_INFINITY {
        return f64::NAN;
    }
    if q <= 0.0 {
        if q == q.floor() {
            return f64::INFINITY;
        }
        if s != s.floor() {
            return f64::NAN;
        }
    }
    let (mut q, mut sum) = (q, 0.0);
    // Terms up to where the series converges fast.
    let terms = (12.0 - q).ceil().clamp(0.0, 1e6) as u32;
    for _ in 0..terms {
        sum += q.powf(-s);
        q += 1.0;
    }
    let power = q.powf(-s);
    sum += power * q / (s - 1.0) + 0.5 * power;
    // Bernoulli numbers B(2k) / (2k)!.
    let coefficients = [
        1.0 / 12.0,
        -1.0 / 720.0,
        1.0 / 30240.0,
        -1.0 / 1209600.0,
        1.0 / 47900160.0,
        -691.0 / 1307674368000.0,
        1.0 / 74724249600.0,
    ];
    let mut factor = s * power / q;
    for (k, c) in coefficients.iter().enumerate() {
        sum += factor * c;
        let k = 2.0 * k as f64;
        factor *= (s + k + 1.0) * (s + k + 2.0) / (q * q);
    }
    sum
}
