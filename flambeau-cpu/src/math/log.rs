//! Logarithms and powers.

use super::double::poly as fused;
use super::exp::{LN2_HI, LN2_LO};
use super::poly;

/// Bits of sqrt(1/2): mantissas are taken from [sqrt(1/2), sqrt(2)).
const SQRT_HALF: i32 = 0x3f35_04f3;

/// `x = m * 2^e` with m in [sqrt(1/2), sqrt(2)), for positive finite x.
#[inline(always)]
fn split(x: f32) -> (f32, i32) {
    let tiny = x < f32::MIN_POSITIVE;
    let x = if tiny { x * 8_388_608.0 } else { x };
    let bits = x.to_bits() as i32;
    let e = bits.wrapping_sub(SQRT_HALF) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    (m, if tiny { e - 23 } else { e })
}

/// `log(1 + f) + e * log(2)` for `sqrt(1/2) <= 1 + f < sqrt(2)`.
#[inline(always)]
fn log_reduced(f: f32, e: f32) -> f32 {
    let p = poly!(
        f,
        0.067_466_48,
        -0.116_756_55,
        0.118_881_606,
        -0.124_055_885,
        0.142_195_52,
        -0.166_679_96,
        0.200_021_19,
        -0.250_000_1,
        0.333_333_13
    );
    let ff = f * f;
    let tail = f * ff * p + e * LN2_LO;
    e * LN2_HI + (f - (0.5 * ff - tail))
}

/// The logarithm of what is no positive finite number, else `y`.
#[inline(always)]
fn special(x: f32, y: f32) -> f32 {
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    // Also where x is NaN.
    if x >= 0.0 { y } else { f32::NAN }
}

/// Natural logarithm; NaN below 0. At most 1.5 ulp off.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    let (m, e) = split(x);
    special(x, log_reduced(m - 1.0, e as f32))
}

/// `log(1 + x)`, precise near 0; NaN below -1. At most 2 ulp off.
#[inline(always)]
pub fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    // What rounding took away.
    let lost = if x < 1.0 {
        x - (u - 1.0)
    } else {
        1.0 - (u - x)
    };
    let (m, e) = split(u);
    // |lost| <= 2^(e - 24): where 2^-e is subnormal it is of no account.
    let down = f32::from_bits((127 - e.clamp(-1, 126)) as u32 * (1 << 23));
    let y = special(u, log_reduced((m - 1.0) + lost * down, e as f32));
    if x == 0.0 { x } else { y }
}

/// `log2(x)` for positive finite `x`, to 1e-13.
#[inline(always)]
fn log2_wide(x: f32) -> f64 {
    let (m, e) = split(x);
    f64::from(e) + log2_mantissa(f64::from(m) - 1.0)
}

/// `log2(m)` for `m = 1 + f` from sqrt(1/2) to sqrt(2), to 1e-13 of its value.
#[inline(always)]
fn log2_mantissa(f: f64) -> f64 {
    let s = f / (2.0 + f);
    let p = fused!(
        s * s,
        0.2829031223612481,
        0.31990598272513426,
        0.4122092280014955,
        0.5770779428931667,
        0.9617966941093715,
        2.885390081777858
    );
    s * p
}

/// `log(1 + u)` for positive `1 + u` that is neither subnormal nor infinite, to 1e-13 of its value.
#[inline(always)]
pub(super) fn log1p_wide(u: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const BIAS: u64 = 1023;
    let bits = (1.0 + u).to_bits();
    let exponent = bits.wrapping_sub(SQRT_HALF).wrapping_add(BIAS << 52) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(exponent << 52).wrapping_add(BIAS << 52));
    // Where there is no exponent to take out, u itself has the digits that 1 + u lost.
    let f = if exponent == BIAS { u } else { m - 1.0 };
    // 2^52 + exponent, as bits.
    let whole = f64::from_bits(exponent | 0x4330_0000_0000_0000) - 4_503_599_627_371_519.0;
    (whole + log2_mantissa(f)) * std::f64::consts::LN_2
}

/// 2 to the power of `y` in f64, to 1e-12; `y` is cut to what f32 can tell from 0 and infinity.
#[inline(always)]
pub(super) fn exp2_wide(y: f64) -> f64 {
    // 1.5 * 2^52: adding it rounds to a whole number, in the lowest bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let y = if y > 200.0 { 200.0 } else { y };
    let y = if y < -200.0 { -200.0 } else { y };
    let t = y + MAGIC;
    let r = y - (t - MAGIC);
    let p = poly!(
        r,
        1.326406817810295e-06,
        1.53100809591547e-05,
        0.00015403411636574646,
        0.0013333450561201262,
        0.009618129228488648,
        0.055504109412144134,
        0.24022650695467565,
        0.6931471805459308,
        1.0
    );
    let n = t.to_bits().wrapping_sub(MAGIC.to_bits());
    p * f64::from_bits(n.wrapping_add(1023) << 52)
}

/// Logarithm to base 2; NaN below 0; exact for powers of 2. Correctly rounded but for rare cases.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    special(x, log2_wide(x) as f32)
}

/// Logarithm to base 10; NaN below 0. Correctly rounded but for rare cases.
#[inline(always)]
pub fn log10(x: f32) -> f32 {
    special(x, (log2_wide(x) * std::f64::consts::LOG10_2) as f32)
}

/// `x` to the power of `e`, with C's special cases: 1 where `e` is 0 or `x` is 1; NaN for a
/// negative finite `x` and an `e` that is not whole. Correctly rounded but for rare cases.
#[inline(always)]
pub fn pow(x: f32, e: f32) -> f32 {
    let a = x.abs();
    let log = log2_wide(a);
    let log = if a == 0.0 { f64::NEG_INFINITY } else { log };
    let log = if a == f32::INFINITY {
        f64::INFINITY
    } else {
        log
    };
    let y = exp2_wide(f64::from(e) * log) as f32;
    let whole = e.trunc() == e;
    let odd = whole && (0.5 * e).trunc() != 0.5 * e;
    let y = if odd { y.copysign(x) } else { y };
    let y = if x < 0.0 && a < f32::INFINITY && !whole {
        f32::NAN
    } else {
        y
    };
    let y = if x.is_nan() { x } else { y };
    let one = e == 0.0 || x == 1.0 || (a == 1.0 && e.abs() == f32::INFINITY);
    if one { 1.0 } else { y }
}
