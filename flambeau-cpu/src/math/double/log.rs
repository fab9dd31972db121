//! Logarithms.

use super::exp::{LN2_HI, LN2_LO};
use super::halves;

/// Bits of sqrt(1/2): mantissas are taken from [sqrt(1/2), sqrt(2)).
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
/// The bits of 1, which are an exponent of 0.
const ONE: u64 = 1023 << 52;

/// `x = m * 2^e` with m in [sqrt(1/2), sqrt(2)), for positive finite x: m, e, and 2^-e where x and that
/// are normal numbers.
#[inline(always)]
pub(super) fn split(x: f64) -> (f64, f64, f64) {
    let tiny = x < f64::MIN_POSITIVE;
    let bits = (if tiny {
        x * 18_014_398_509_481_984.0
    } else {
        x
    })
    .to_bits();
    let exponent = bits.wrapping_sub(SQRT_HALF).wrapping_add(ONE) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(exponent << 52).wrapping_add(ONE));
    // 2^52 + exponent, as bits.
    let e = f64::from_bits(exponent | 0x4330_0000_0000_0000) - 4_503_599_627_371_519.0;
    let down = f64::from_bits(2046u64.saturating_sub(exponent) << 52);
    (m, if tiny { e - 54.0 } else { e }, down)
}

/// `log(1 + f)` is `f` less the first, half of its square, and more the second.
///
/// With `s = f / (2 + f)` it is `2 atanh(s) = 2 s + s R`, and `2 s` is `f - s f`.
#[inline(always)]
fn parts(f: f64) -> (f64, f64) {
    let s = f / (2.0 + f);
    let z = s * s;
    let p = halves!(
        z,
        0.14617881383863035,
        0.15331596234597247,
        0.1818289324048533,
        0.22222211072567188,
        0.28571428626400397,
        0.39999999999898445,
        0.666666666666667
    );
    let half = 0.5 * f * f;
    (half, s * p.mul_add(z, half))
}

/// `log(1 + f) + e * log(2)` for `sqrt(1/2) <= 1 + f < sqrt(2)`.
#[inline(always)]
pub(super) fn log_reduced(f: f64, e: f64) -> f64 {
    let (half, rest) = parts(f);
    e.mul_add(LN2_HI, f - (half - e.mul_add(LN2_LO, rest)))
}

/// `2 atanh(s) + e * log(2)` for `|s| <= 0.2`: the logarithm of `(1 + s) / (1 - s) * 2^e`.
#[inline(always)]
pub(super) fn log_of_ratio(s: f64, e: f64) -> f64 {
    let z = s * s;
    let p = halves!(
        z,
        0.14011004623698314,
        0.13147668008710245,
        0.1539272701266902,
        0.18181613983413192,
        0.22222225207831445,
        0.2857142854732264,
        0.40000000000094027,
        0.6666666666666654
    );
    let rest = (s * z).mul_add(p, e * LN2_LO);
    e.mul_add(LN2_HI, 2.0f64.mul_add(s, rest))
}

/// `log(1 + f) + e * log(2)` less f, as a sum of two, of which the first is a whole multiple of a part of log(2).
#[inline(always)]
pub(super) fn log_pair(f: f64, e: f64) -> (f64, f64) {
    let (half, rest) = parts(f);
    (e * LN2_HI, e.mul_add(LN2_LO, rest) - half)
}

/// The logarithm of what is no positive finite number, else `y`.
#[inline(always)]
fn special(x: f64, y: f64) -> f64 {
    let y = if x == f64::INFINITY { x } else { y };
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    // Also where x is NaN.
    if x >= 0.0 { y } else { f64::NAN }
}

/// Natural logarithm; NaN below 0. At most 1 ulp off.
#[inline(always)]
pub fn log(x: f64) -> f64 {
    let (m, e, _) = split(x);
    special(x, log_reduced(m - 1.0, e))
}

/// `log(1 + x)`, precise near 0; NaN below -1. At most 1 ulp off.
#[inline(always)]
pub fn log1p(x: f64) -> f64 {
    let u = 1.0 + x;
    // What rounding took away.
    let lost = if x < 1.0 {
        x - (u - 1.0)
    } else {
        1.0 - (u - x)
    };
    let (m, e, down) = split(u);
    // |lost| <= 2^(e - 53): where 2^-e is subnormal, and here 0, it is of no account.
    let y = special(u, log_reduced(lost.mul_add(down, m - 1.0), e));
    if x == 0.0 { x } else { y }
}

/// `e * (e_high + e_low) + log(m) * (high + low)` for `x = m * 2^e`: the logarithm is taken as two numbers,
/// of which the first has so few bits that its product with `high` is exact, as is that of e with `e_high`.
#[inline(always)]
fn to_base(x: f64, high: f64, low: f64, (e_high, e_low): (f64, f64)) -> f64 {
    let (m, e, _) = split(x);
    let f = m - 1.0;
    let (half, rest) = parts(f);
    // The upper 21 bits.
    let upper = f64::from_bits((f - half).to_bits() & 0xffff_ffff_0000_0000);
    let lower = ((f - upper) - half) + rest;
    let (a, b) = (e * e_high, upper * high);
    let sum = a + b;
    // a is 0 or the larger one.
    let lost = (a - sum) + b;
    let y = sum + (lost + (e * e_low + (lower * high + (upper + lower) * low)));
    special(x, y)
}

/// Logarithm to base 2; NaN below 0; exact for powers of 2. At most 1 ulp off.
#[inline(always)]
pub fn log2(x: f64) -> f64 {
    to_base(x, 1.4426950407214463, 1.6751713164886512e-10, (1.0, 0.0))
}

/// Logarithm to base 10; NaN below 0. At most 1 ulp off.
#[inline(always)]
pub fn log10(x: f64) -> f64 {
    to_base(
        x,
        0.43429448176175356,
        1.414982685385801e-10,
        (0.30102999566361177, 3.694239077158931e-13),
    )
}
