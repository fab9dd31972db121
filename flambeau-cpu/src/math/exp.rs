//! The exponential family.

use super::{MAGIC, fused, poly};

/// log2(e).
pub(super) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln(2) in two parts; the first has few enough bits that multiples of it are exact.
pub(super) const LN2_HI: f32 = 355.0 / 512.0;
pub(super) const LN2_LO: f32 = -2.121_944_4e-4;

/// `x = n * ln(2) + r` with `|r| <= ln(2) / 2`: n and r.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    let t = x * LOG2_E + MAGIC;
    let n = t - MAGIC;
    let i = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    (i, (x - n * LN2_HI) - n * LN2_LO)
}

/// `(exp(r) - 1 - r) / r^2` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn expm1_quotient(r: f32) -> f32 {
    poly!(
        r,
        0.001_381_314_7,
        0.008_369_419,
        0.041_668_456,
        0.166_665_15,
        0.499_999_94
    )
}

/// `exp(r) - 1` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn expm1_reduced(r: f32) -> f32 {
    r + r * r * expm1_quotient(r)
}

/// 2 to the power of `n`, for `-126 <= n <= 127`.
#[inline(always)]
pub(super) fn pow2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `x * 2^n` in two steps, so that only the last one rounds or overflows.
#[inline(always)]
fn scale(x: f32, n: i32) -> f32 {
    let half = n >> 1;
    x * pow2(half) * pow2(n.wrapping_sub(half))
}

/// `x` no less than `low` and no more than `high`; NaN stays.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// e to the power of `x`; subnormal results included. At most 1 ulp off.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (n, r) = reduce(clamp(x, -104.0, 89.0));
    scale(1.0 + expm1_reduced(r), n)
}

/// `exp(high + low)` for a small `low`.
#[inline(always)]
pub(super) fn exp_sum(high: f32, low: f32) -> f32 {
    let (n, r) = reduce(clamp(high, -104.0, 89.0));
    scale(1.0 + expm1_reduced(r + low), n)
}

/// 2 to the power of `x`; exact for whole numbers. At most 1.3 ulp off.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    let x = clamp(x, -150.0, 129.0);
    let t = x + MAGIC;
    let n = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let r = x - (t - MAGIC);
    let q = fused!(
        r,
        1.547_629_8e-4,
        0.001_340_026_6,
        0.009_618_004,
        0.055_503_28,
        0.240_226_5,
        std::f32::consts::LN_2
    );
    scale(q.mul_add(r, 1.0), n)
}

/// `exp(x) - 1`, precise near 0. At most 2 ulp off.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    let (n, r) = reduce(clamp(x, -20.0, 89.0));
    // Half of everything, so that 2^n does not overflow before the result does.
    let s = pow2(n - 1);
    let y = (s * expm1_reduced(r) + (s - 0.5)) * 2.0;
    if x == 0.0 { x } else { y }
}

/// Hyperbolic tangent. At most 1.5 ulp off.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let y = x * x;
    let p = poly!(
        y,
        0.002_147_561_6,
        -0.008_182_703_5,
        0.021_702_98,
        -0.053_947_207,
        0.133_332_1,
        -0.333_333_3
    );
    let near = x + x * y * p;
    let far = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    let y = if a < 0.625 { near } else { far };
    y.copysign(x)
}

/// e to the power of `a` for `a` up to 0, and how much more that is for each part of it.
#[inline(always)]
fn exp_minus(a: f32) -> (f32, f32) {
    let a = if a < -104.0 { -104.0 } else { a };
    let t = a.mul_add(LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, a));
    let q = fused!(
        r,
        0.001_381_314_7,
        0.008_369_419,
        0.041_668_456,
        0.166_665_15,
        0.499_999_94
    );
    let p = (r * r).mul_add(q, r);
    let high = 1.0 + p;
    let low = p - (high - 1.0);
    // In two factors, of which the first keeps clear of subnormal numbers.
    let n = t.to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    (high * pow2(n.wrapping_add(64)) * pow2(-64), low)
}

/// `1 / (1 + exp(-x))`. At most 2 ulp off, also where it is close to 0.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // Below 0, where the quotient is as wrong as the exponential is, what rounding left over of that is
    // taken out below the line.
    let (z, low) = exp_minus(-x.abs());
    let (top, rest) = if x < 0.0 { (z, low) } else { (1.0, 0.0) };
    top / (1.0 + (z - rest))
}

/// `x * sigmoid(x)`; NaN for minus infinity, as in PyTorch. At most 3.3 ulp off; below -87 the sigmoid is
/// subnormal and has fewer digits.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `log(1 + exp(-a))` for `a` from 0, precise where that is close to 0. At most 2.5 ulp off.
#[inline(always)]
pub fn log1p_exp(a: f32) -> f32 {
    let (z, _) = exp_minus(-a);
    // Twice the inverse hyperbolic tangent of z / (2 + z), which is a third at most.
    let s = (z + z) / (2.0 + z);
    let u = 0.25 * s * s;
    let p = fused!(
        u,
        0.121_446_33,
        0.107_153_96,
        0.143_082_97,
        0.199_994_44,
        0.333_333_38
    );
    (s * u).mul_add(p, s)
}

/// GELU's tanh approximation, `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
///
/// NaN for minus infinity, as in PyTorch. Computed as `x * sigmoid(2 * ...)`, which keeps the digits that `1 + tanh` loses for negative
/// `x`: at most 3 ulp off above 0 and 250 near -10, where the result is about 1e-30.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const TWICE: f32 = 1.595_769_2;
    x * sigmoid(TWICE * (x + 0.044_715 * x * x * x))
}
