//! The error function and what is made of it.

use super::exp::{exp, exp_sum};
use super::poly;

/// erf for `|x| < 1`.
#[inline(always)]
fn erf_near(x: f32) -> f32 {
    let y = x * x;
    let p = poly!(
        y,
        7.889_123e-5,
        -8.020_842e-4,
        0.005_189_535_7,
        -0.026_854_444,
        0.112_836,
        -0.376_126_26,
        0.128_379_17
    );
    x + x * p
}

/// Error function, `2 / sqrt(pi)` times the integral of `exp(-t^2)` from 0 to `x`. At most 1.7 ulp
/// off.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let near = erf_near(x);
    let t = if a > 4.0 { 4.0 } else { a };
    let log_erfc = poly!(
        t,
        1.724_840_8e-7,
        -2.417_142_4e-5,
        4.566_774_7e-4,
        -0.004_257_608_7,
        0.025_320_645,
        -0.108_568_04,
        -0.633_098,
        -1.129_634_1,
        1.990_071_8e-4
    );
    let far = (1.0 - exp(log_erfc)).copysign(x);
    if a < 1.0 { near } else { far }
}

/// `-x^2` as a sum of two: the square of x's upper half, which is exact, and what is left.
#[inline(always)]
fn minus_square(x: f32) -> (f32, f32) {
    let upper = f32::from_bits(x.to_bits() & 0xffff_f000);
    (-upper * upper, (upper - x) * (upper + x))
}

/// `exp(z^2) * erfc(z)` for z from 0 to 10.2.
#[inline(always)]
fn erfcx(z: f32) -> f32 {
    // Times 1 + 2 z it varies little; a polynomial in t = (z - 2) / (z + 2) gives it.
    let over = 1.0 / ((z + 2.0) * (1.0 + 2.0 * z));
    let t = (z - 2.0) * (1.0 + 2.0 * z) * over;
    let p = poly!(
        t,
        -3.994_47e-4,
        -0.001_227_999_3,
        0.001_313_307_2,
        0.008_630_094,
        -0.008_060_141_5,
        -0.054_203_883,
        0.164_055_42,
        -0.166_031_46,
        -0.092_763_98,
        1.276_978_4
    );
    p * (z + 2.0) * over
}

/// `1 - erf(x)`, precise where it is close to 0. At most 6 ulp off.
#[inline(always)]
pub fn erfc(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > 10.2 { 10.2 } else { a };
    let (high, low) = minus_square(a);
    let tail = exp_sum(high, low) * erfcx(a);
    let far = if x < 0.0 { 2.0 - tail } else { tail };
    if a < 0.5 { 1.0 - erf_near(x) } else { far }
}

/// `x` times the normal distribution function at `x` (GELU, exact form,
/// [Hendrycks and Gimpel](https://arxiv.org/abs/1606.08415)); NaN for minus infinity, as in PyTorch.
/// At most 6 ulp off.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > 14.4 { 14.4 } else { a };
    let (high, low) = minus_square(a);
    let z = a * std::f32::consts::FRAC_1_SQRT_2;
    // In this order a subnormal exponential is not multiplied by |x|.
    let tail = 0.5 * a * erfcx(z) * exp_sum(0.5 * high, 0.5 * low);
    let far = if x < 0.0 { -tail } else { x - tail };
    let near = x * (0.5 + 0.5 * erf_near(z.copysign(x)));
    let y = if z < 0.5 { near } else { far };
    // Zero from here on, but for minus infinity.
    if x < -14.4 { x * 0.0 } else { y }
}
