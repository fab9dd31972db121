//! Special functions that the CPU runtime does not vectorise, in f64.

use std::f64::consts::PI;

/// Functions of one element.
pub(crate) trait Special: Copy {
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

/// Inverse of the error function: a first guess by Winitzki's formula, then Newton's method on erf, or on erfc near the ends, where
/// 1 - |y| is exact.
pub(super) fn erfinv(y: f64) -> f64 {
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
        let step = error / (std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp());
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
