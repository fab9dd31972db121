//! Hyperbolic functions and their inverses.

use super::exp::{exp_parts, pow2};
use super::log::{log_of_ratio, split};
use super::poly;

/// Beyond, the results are infinite.
const LIMIT: f64 = 710.5;

/// A quarter of `exp(a)` for `a` from 0: its nearest f64, and what is left of it.
#[inline(always)]
fn quarter(a: f64) -> (f64, f64) {
    let (high, low, n) = exp_parts(if a > LIMIT { LIMIT } else { a });
    let s = pow2(n.wrapping_sub(2));
    (high * s, low * s)
}

/// Hyperbolic sine. At most 1.5 ulp off.
#[inline(always)]
pub fn sinh(x: f64) -> f64 {
    let (q, rest) = quarter(x.abs());
    let far = (2.0 * (q + (rest - 0.0625 / q))).copysign(x);
    let y = x * x;
    let p = poly!(
        y,
        7.758741219058034e-13,
        1.6057260042901192e-10,
        2.50521231327502e-08,
        2.7557319157101147e-06,
        0.0001984126984143176,
        0.008333333333333148,
        0.16666666666666669
    );
    let near = (x * y).mul_add(p, x);
    if x.abs() < 1.0 { near } else { far }
}

/// Hyperbolic cosine. At most 1.5 ulp off.
#[inline(always)]
pub fn cosh(x: f64) -> f64 {
    let (q, rest) = quarter(x.abs());
    2.0 * (q + (rest + 0.0625 / q))
}

/// Beyond, the root of `a^2 + 1` or `a^2 - 1` is `a`.
const LARGE: f64 = 268_435_456.0;

/// The root of `high + low`: the nearest f64, and what is left of it.
#[inline(always)]
fn root(high: f64, low: f64) -> (f64, f64) {
    let s = high.sqrt();
    (s, (s.mul_add(-s, high) + low) * (0.5 / s))
}

/// The logarithm of `a` plus the root `s + rest`, of which the sum is at least 1. Where that is below
/// sqrt(2), it is twice the inverse hyperbolic tangent of `near`: above and below the line, and what the
/// latter lacks, which is 0 where it is not 2 or little more.
#[inline(always)]
fn log_of_sum(a: f64, (s, rest): (f64, f64), near: (f64, f64, f64)) -> f64 {
    let (large, small) = if a > s { (a, s) } else { (s, a) };
    let half = 0.5 * large + 0.5 * small;
    let lost = ((0.5 * large - half) + 0.5 * small) + 0.5 * rest;
    let (m, e, down) = split(half);
    let e = e + 1.0;
    let (top, below, lost) = if e == 0.0 {
        near
    } else {
        (lost.mul_add(down, m - 1.0), m + 1.0, 0.0)
    };
    let s = top / below;
    log_of_ratio((lost * -0.5).mul_add(s, s), e)
}

/// Inverse hyperbolic sine. At most 2 ulp off.
#[inline(always)]
pub fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let b = if a > LARGE { 1.0 } else { a };
    // b^2 + 1 as a sum of two.
    let t = b * b;
    let u = t + 1.0;
    let lost = if t < 1.0 {
        t - (u - 1.0)
    } else {
        1.0 - (u - t)
    };
    let (s, rest) = root(u, lost + b.mul_add(b, -t));
    let sum = if a > LARGE { (a, 0.0) } else { (s, rest) };
    let below = 1.0 + s;
    let y = log_of_sum(a, sum, (a, below, (s - (below - 1.0)) + rest));
    (if a < f64::INFINITY { y } else { a }).copysign(x)
}

/// Inverse hyperbolic cosine; NaN below 1. At most 2 ulp off.
#[inline(always)]
pub fn acosh(x: f64) -> f64 {
    let b = if x > LARGE { 2.0 } else { x };
    // b^2 - 1 as a sum of two.
    let t = b * b;
    let u = t - 1.0;
    let lost = ((t - u) - 1.0) + b.mul_add(b, -t);
    let high = u + lost;
    let (s, rest) = root(high, (u - high) + lost);
    let sum = if x > LARGE { (x, 0.0) } else { (s, rest) };
    let near = (x - 1.0, if x == 1.0 { 1.0 } else { s }, 0.0);
    let y = log_of_sum(x, sum, near);
    let y = if x == f64::INFINITY { x } else { y };
    if x >= 1.0 { y } else { f64::NAN }
}

/// Inverse hyperbolic tangent; infinite at 1 and -1, NaN beyond. At most 2 ulp off.
///
/// It is half the logarithm of `(1 + x) / (1 - x)`, whose power of 2 is seen from the bits of the two to
/// within a twelfth.
#[inline(always)]
pub fn atanh(x: f64) -> f64 {
    let a = x.abs();
    let (above, below) = (1.0 + a, 1.0 - a);
    let (more, less) = (a - (above - 1.0), (1.0 - below) - a);
    let difference = above.to_bits().wrapping_sub(below.to_bits());
    let e = difference.wrapping_add(1 << 51) >> 52;
    let k = pow2(0u64.wrapping_sub(e));
    let top = above.mul_add(k, -below) + more.mul_add(k, -less);
    let bottom = above.mul_add(k, below) + more.mul_add(k, less);
    // 2^52 + e, as bits.
    let e = f64::from_bits(e | 0x4330_0000_0000_0000) - 4_503_599_627_370_496.0;
    let y = 0.5 * log_of_ratio(top / bottom, e);
    let y = if a == 1.0 { f64::INFINITY } else { y };
    (if a <= 1.0 { y } else { f64::NAN }).copysign(x)
}
