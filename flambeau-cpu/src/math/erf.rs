//! The error function and what is made of it.

use super::double::halves;
use super::exp::{exp, exp_sum};
use super::log::log1p_wide;
use super::{in_two, poly};

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

/// The derivative of [`gelu`](super::gelu): the normal distribution function at `x` and `x` times its density; NaN
/// for infinities, as in PyTorch. At most 3e-7 off.
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    const DENSITY: f32 = 0.398_942_3;
    let a = x.abs();
    let bell = exp(-0.5 * a * a);
    let t = 1.0 / (1.0 + 0.27 * a);
    let tail = bell
        * t
        * poly!(
            t,
            -0.121_597_864,
            0.510_054_65,
            -0.423_038_13,
            0.399_051,
            0.016_349_172,
            0.119_181_134
        );
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    below + x * bell * DENSITY
}

/// `-log(1 - x^2)`.
#[inline(always)]
fn depth(x: f32) -> f64 {
    let x = f64::from(x);
    -log1p_wide(-x * x)
}

/// [`erfinv`] of `x`, whose [`depth`] is `w`.
#[inline(always)]
fn erfinv_at(x: f32, w: f64) -> f32 {
    // The root need not be more precise than the result.
    let root = f64::from((w as f32).sqrt());
    let near = halves!(
        w - 2.5,
        -8.79099686970933e-09,
        2.3232643236626127e-08,
        4.661698497095925e-07,
        -3.4627046909491696e-06,
        -4.963344182628454e-06,
        0.00021834443890414836,
        -0.001252741884393986,
        -0.004177386780089758,
        0.2466402861554354,
        1.501409359282239,
    );
    let far = halves!(
        root - 3.0,
        0.00011363842837389821,
        -0.0003077450701969601,
        -5.376191677391823e-05,
        0.001482851057094408,
        -0.0035989880349243998,
        0.005687810137934731,
        -0.007636955376328729,
        0.009445192108151536,
        1.001674946885281,
        2.8329768027178615,
    );
    let wide = f64::from(x);
    let y = (wide * if w < 5.0 { near } else { far }) as f32;
    let a = x.abs();
    let y = if a == 1.0 { f32::INFINITY } else { y };
    (if a <= 1.0 { y } else { f32::NAN }).copysign(x)
}

/// The inverse of [`erf`]: infinite at 1 and -1, NaN beyond. At most 1.4 ulp off.
///
/// `erfinv(x) / x` is smooth in `w = -log(1 - x^2)`, and from w = 5 in its root
/// ([Giles](https://people.maths.ox.ac.uk/gilesm/files/gems_erfinv.pdf)).
#[inline(always)]
pub fn erfinv(x: f32) -> f32 {
    erfinv_at(x, depth(x))
}

crate::simd_fn! {
    /// [`erfinv`] of each element of `x`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn verfinv(x: &[f32], out: &mut [f32]) {
        in_two(x, out, depth, erfinv_at);
    }
}
