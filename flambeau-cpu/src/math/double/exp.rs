//! The exponential family.

use super::{MAGIC, halves};
use std::f64::consts::LOG2_E;

/// ln(2) in two parts; the first has few enough bits that multiples of it are exact.
pub(super) const LN2_HI: f64 = 0.693147180559663;
pub(super) const LN2_LO: f64 = 2.8235290563031577e-13;

/// What is left of a number of 2^n, and n in the lowest 12 bits.
type Scaled = (f64, u64);

/// `x = n * ln(2) + r` with `|r| <= ln(2) / 2`: r and n.
#[inline(always)]
fn reduce(x: f64) -> Scaled {
    let t = x.mul_add(LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
    (r, t.to_bits())
}

/// `exp(r) - 1` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn expm1_reduced(r: f64) -> f64 {
    let p = halves!(
        r,
        2.091813816945801e-09,
        2.510038687728531e-08,
        2.755726431433642e-07,
        2.7557268456677055e-06,
        2.4801587333953088e-05,
        0.0001984126986305611,
        0.0013888888888880944,
        0.008333333333330062,
        0.04166666666666667,
        0.16666666666666669
    );
    (r * r).mul_add(p.mul_add(r, 0.5), r)
}

/// 2 to the power of `n`, for `-1022 <= n <= 1023` in the lowest 12 bits.
#[inline(always)]
pub(super) fn pow2(n: u64) -> f64 {
    f64::from_bits(n.wrapping_add(1023) << 52)
}

/// `x * 2^n` for `n <= 0`, in two factors, of which the first keeps clear of subnormal numbers.
#[inline(always)]
pub(super) fn scale_down((x, n): Scaled) -> f64 {
    x * pow2(n.wrapping_add(64)) * pow2(64u64.wrapping_neg())
}

/// `x * 2^n`, where only the last of two factors rounds or overflows; `below` as n is 0 or less, or more.
#[inline(always)]
fn scale((x, n): Scaled, below: bool) -> f64 {
    let (more, rest) = if below {
        (64, pow2(64u64.wrapping_neg()))
    } else {
        (2u64.wrapping_neg(), 4.0)
    };
    x * pow2(n.wrapping_add(more)) * rest
}

/// `x` no less than `low` and no more than `high`; NaN stays.
#[inline(always)]
fn clamp(x: f64, low: f64, high: f64) -> f64 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// e to the power of `x`; subnormal results included. At most 1 ulp off.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let (r, n) = reduce(clamp(x, -746.0, 710.0));
    scale((1.0 + expm1_reduced(r), n), x < 0.0)
}

/// `exp(high + low)` for a small `low` and a sum from -752 to 710: what it is more than a power of 2, as
/// a part of that.
#[inline(always)]
pub(super) fn exp_sum(high: f64, low: f64) -> Scaled {
    let (r, n) = reduce(high);
    (expm1_reduced(r + low), n)
}

/// `exp(x)` as `(high + low) * 2^n` for `x` from -752 to 711: high, the nearest number; low; and n.
#[inline(always)]
pub(super) fn exp_parts(x: f64) -> (f64, f64, u64) {
    let (r, n) = reduce(x);
    let p = expm1_reduced(r);
    let high = 1.0 + p;
    (high, p - (high - 1.0), n)
}

/// `x = n + r` with `|r| <= 1/2` for what has a power of 2 that is no zero and not infinite: r and n.
#[inline(always)]
fn reduce_binary(x: f64) -> Scaled {
    let x = clamp(x, -1076.0, 1025.0);
    let t = x + MAGIC;
    (x - (t - MAGIC), t.to_bits())
}

/// `2^r` for `|r| <= 1/2`.
#[inline(always)]
fn exp2_reduced(r: f64) -> f64 {
    let q = halves!(
        r,
        2.5737809739203516e-11,
        4.4558180194401075e-10,
        7.054891470334292e-09,
        1.0178057087050934e-07,
        1.3215486823291205e-06,
        1.5252733841558266e-05,
        0.0001540353039335478,
        0.0013333558146406469,
        0.009618129107628487,
        0.055504108664821625,
        0.24022650695910072,
        std::f64::consts::LN_2
    );
    q.mul_add(r, 1.0)
}

/// 2 to the power of `x`; exact for whole numbers. At most 1 ulp off.
#[inline(always)]
pub fn exp2(x: f64) -> f64 {
    let (r, n) = reduce_binary(x);
    scale((exp2_reduced(r), n), x < 0.0)
}

/// 2 to the power of `high + low` for a small `low`.
#[inline(always)]
pub(super) fn exp2_sum(high: f64, low: f64) -> f64 {
    let (r, n) = reduce_binary(high);
    // Where there is a result at all; else `low` may be NaN.
    let r = if high.abs() < 1080.0 { r + low } else { r };
    scale((exp2_reduced(r), n), high < 0.0)
}

/// `exp(x) - 1`, precise near 0. At most 1.5 ulp off.
#[inline(always)]
pub fn expm1(x: f64) -> f64 {
    let (r, n) = reduce(clamp(x, -40.0, 710.0));
    // Half of everything, so that 2^n does not overflow before the result does.
    let s = pow2(n.wrapping_sub(1));
    let y = s.mul_add(expm1_reduced(r), s - 0.5) * 2.0;
    if x == 0.0 { x } else { y }
}

/// Hyperbolic tangent. At most 2 ulp off.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let a = x.abs();
    // Beyond, the result is 1.
    let e = expm1(if a > 20.0 { 40.0 } else { 2.0 * a });
    (e / (e + 2.0)).copysign(x)
}

/// `1 / (1 + exp(-x))`. At most 2 ulp off, also where it is close to 0.
#[inline(always)]
pub fn sigmoid(x: f64) -> f64 {
    let a = -x.abs();
    let (r, n) = reduce(if a < -746.0 { -746.0 } else { a });
    let z = scale_down((1.0 + expm1_reduced(r), n));
    (if x < 0.0 { z } else { 1.0 }) / (1.0 + z)
}

/// `x * sigmoid(x)`; NaN for minus infinity, as in PyTorch. At most 2 ulp off.
#[inline(always)]
pub fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// `log(1 + exp(-a))` for `a` from 0, precise where that is close to 0. At most 2.5 ulp off.
#[inline(always)]
pub fn log1p_exp(a: f64) -> f64 {
    let (r, n) = reduce(if a > 746.0 { -746.0 } else { -a });
    let z = scale_down((1.0 + expm1_reduced(r), n));
    // Twice the inverse hyperbolic tangent of z / (2 + z), which is a third at most.
    let s = (z + z) / (2.0 + z);
    let u = 0.25 * s * s;
    let p = halves!(
        u,
        0.08504842241113494,
        0.04172500267265602,
        0.06052470640803062,
        0.06650560661355222,
        0.07693274224938068,
        0.09090872236517958,
        0.11111111976973259,
        0.14285714274055167,
        0.20000000000077606,
        0.33333333333333154
    );
    (s * u).mul_add(p, s)
}

/// GELU's tanh approximation, `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`; NaN for minus
/// infinity, as in PyTorch.
///
/// Computed as `x * sigmoid(2 * ...)`, which keeps the digits that `1 + tanh` loses for negative `x`.
#[inline(always)]
pub fn gelu_tanh(x: f64) -> f64 {
    const TWICE: f64 = 1.595_769_121_605_730_8;
    x * sigmoid(TWICE * (x + 0.044_715 * x * x * x))
}
