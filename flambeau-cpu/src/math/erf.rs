//! The error function and what is made of it.

use super::exp::{LN2_HI, LN2_LO, LOG2_E, exp, exp_sum, expm1_quotient, pow2};
use super::{MAGIC, poly};

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

/// Where the polynomials of [`log_tail`] change.
const PARTS: [f32; 2] = [2.0, 6.0];
/// Their centres: the constant terms there are all but exact in f32.
const CENTRES: [f32; 3] = [0.638_671_9, 3.473_632_8, 9.536_133];
/// Their coefficients, the highest first.
const LOG_TAIL: [[f32; 3]; 10] = [
    [5.961_914e-7, -6.012_735e-9, -5.438_100_3e-11],
    [-5.728_979_4e-6, 1.107_012_7e-7, 1.047_233_2e-9],
    [2.490_379_7e-5, -1.181_272_4e-6, -1.205_510_4e-8],
    [-3.251_309_3e-5, 1.013_542_1e-5, 1.438_009_6e-7],
    [-3.904_497e-4, -7.808_447e-5, -1.864_302_1e-6],
    [0.004_033_278, 5.649_592_5e-4, 2.465_873_5e-5],
    [-0.024_790_43, -0.003_975_848_7, -3.397_530_9e-4],
    [0.123_451_434, 0.028_778_657, 0.005_165_386_5],
    [-0.605_365_4, -0.252_900_63, -0.102_675_445],
    [-1.137_300_5, -2.234_417, -3.184_736],
];

/// `exp(a^2 / 2)` times what lies beyond `a` under the normal distribution: its logarithm, for `a`
/// from 0 to 14.35, as a number and what that leaves over.
#[inline(always)]
fn log_tail(a: f32) -> (f32, f32) {
    let d = a - of_part(a, CENTRES);
    // Step by step: a loop in here would keep the loop around it from being vectorised.
    let h = of_part(a, LOG_TAIL[0]);
    let h = h.mul_add(d, of_part(a, LOG_TAIL[1]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[2]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[3]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[4]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[5]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[6]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[7]));
    let h = h.mul_add(d, of_part(a, LOG_TAIL[8]));
    let constant = of_part(a, LOG_TAIL[9]);
    let log = h.mul_add(d, constant);
    (log, h.mul_add(d, constant - log))
}

/// The number for the part that `a` lies in.
#[inline(always)]
fn of_part(a: f32, [first, second, third]: [f32; 3]) -> f32 {
    let low = if a > PARTS[0] { second } else { first };
    if a > PARTS[1] { third } else { low }
}

/// `x` times the normal distribution function at `x` (GELU, exact form,
/// [Hendrycks and Gimpel](https://arxiv.org/abs/1606.08415)); NaN for minus infinity, as in PyTorch.
/// At most 2 ulp off.
///
/// Fused multiply-add carries what a product rounds off, here and below: on CPUs without it this is
/// slow, but the bits are the same.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > 14.35 { 14.35 } else { a };
    // -a^2 / 2 as a sum of two, and the logarithm of the tail as one.
    let half = -0.5 * a;
    let high = a * half;
    let low = a.mul_add(half, -high);
    let (log, rest) = log_tail(a);
    let t = (high + log).mul_add(LOG2_E, MAGIC);
    let n = t - MAGIC;
    let whole = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    // The exponent less n ln(2), the first summand exact.
    let (first, second) = (
        n.mul_add(-LN2_HI, high) + log,
        n.mul_add(-LN2_LO, rest + low),
    );
    let r = first + second;
    let p = first + (r * r).mul_add(expm1_quotient(r), second);
    // Two factors, of which the first keeps clear of subnormal numbers.
    let tail = a.mul_add(p, a) * pow2(whole.wrapping_add(64)) * pow2(-64);
    let y = if x < 0.0 { -tail } else { x - tail };
    // Zero from here on, but for minus infinity.
    if x < -14.35 { x * 0.0 } else { y }
}

/// The derivative of [`gelu`]: the normal distribution function at `x` and `x` times its density; NaN
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
