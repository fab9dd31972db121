//! The derivatives of the digamma function.

use super::gamma::{beyond_whole, half_turn};
use super::{digamma, halves};
use std::f64::consts::PI;

/// The derivative of [`digamma`] for `y` above 0: the asymptotic series
/// ([DLMF 5.15.8](https://dlmf.nist.gov/5.15.E8)), and below 10 the squares of the reciprocals of y to y + 9.
#[inline(always)]
fn trigamma_above(y: f64) -> f64 {
    let small = y < 10.0;
    // Two of these numbers have the sum 2 y + 9 and the product y (y + 9) + k (9 - k).
    let (sum, product) = (2.0 * y + 9.0, y * (y + 9.0));
    let square = sum * sum;
    let pair = |k: f64| {
        let q = product + k;
        2.0f64.mul_add(-q, square) / (q * q)
    };
    let last = y + 9.0;
    let squares = pair(20.0) + pair(18.0) + pair(14.0) + pair(8.0);
    let squares = (squares + 1.0 / (last * last)) + 1.0 / (y * y);
    let z = if small { y + 10.0 } else { y };
    let over = 1.0 / z;
    let u = over * over;
    let p = halves!(
        u,
        -0.2174950526286053,
        0.0752973247662864,
        -0.03333034911787223,
        0.023809513957285675,
        -0.03333333331834315,
        0.16666666666665908
    );
    let far = over + u * over.mul_add(p, 0.5);
    if small { far + squares } else { far }
}

/// The derivative of [`digamma`]; infinite at 0, -1, -2, ... At most 4 ulp off; by the reflection formula below.
#[inline(always)]
pub fn trigamma(x: f64) -> f64 {
    let below = x <= 0.0;
    let y = trigamma_above(if below { 1.0 - x } else { x });
    let (sin, _) = half_turn(beyond_whole(x));
    let t = PI / sin;
    let y = if below { t * t - y } else { y };
    if x == f64::NEG_INFINITY { f64::NAN } else { y }
}

crate::simd_fn! {
    fn vtrigamma(x: &[f64], out: &mut [f64]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = trigamma(*x);
        }
    }
}

/// [`polygamma`] of order `n` of each element of `x`, into `out`.
///
/// # Panics
/// If the lengths differ.
pub fn vpolygamma(n: f64, x: &[f64], out: &mut [f64]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    if n == 1.0 {
        return vtrigamma(x, out);
    }
    for (o, x) in out.iter_mut().zip(x) {
        *o = polygamma(n, *x);
    }
}

/// The derivative of order `n`, a whole number, of [`digamma`]: `(-1)^(n + 1) n! zeta(n + 1, x)`
/// ([DLMF 25.11.12](https://dlmf.nist.gov/25.11.E12)).
pub fn polygamma(n: f64, x: f64) -> f64 {
    if n == 0.0 {
        return digamma(x);
    }
    if n == 1.0 {
        return trigamma(x);
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
