//! Inverse trigonometry, and the angle and the length of a vector.

use super::exp::pow2;
use super::halves;

/// Numbers as a sum of two.
const QUARTER_PI: (f64, f64) = (std::f64::consts::FRAC_PI_4, 3.061616997868383e-17);
const HALF_PI: (f64, f64) = (std::f64::consts::FRAC_PI_2, 6.123233995736766e-17);
const PI: (f64, f64) = (std::f64::consts::PI, 1.2246467991473532e-16);

/// `whole - x`.
#[inline(always)]
fn less(whole: (f64, f64), x: f64) -> f64 {
    whole.0 - (x - whole.1)
}

/// `asin(s) - s` for `|s| <= 1/2`, of which `z` is the square.
#[inline(always)]
fn asin_rest(s: f64, z: f64) -> f64 {
    let p = halves!(
        z,
        0.03195780361644418,
        -0.016292314078120124,
        0.019572731731352155,
        0.006511306968727594,
        0.012173167486989477,
        0.013884616755105189,
        0.017359769110478585,
        0.022371753666336956,
        0.0303819593248207,
        0.044642856823649484,
        0.0750000000034283,
        0.16666666666665383
    );
    s * z * p
}

/// Whether `a` is beyond 1/2; there the sine of half the complement, else `a`; and the square of that.
#[inline(always)]
fn halved(a: f64) -> (bool, f64, f64) {
    let far = a > 0.5;
    let z = if far { 0.5 - 0.5 * a } else { a * a };
    (far, if far { z.sqrt() } else { a }, z)
}

/// The angle whose sine is `x`; NaN beyond 1. At most 1.5 ulp off.
#[inline(always)]
pub fn asin(x: f64) -> f64 {
    let (far, s, z) = halved(x.abs());
    let rest = asin_rest(s, z);
    let beyond = (HALF_PI.0 - 2.0 * s) - (2.0 * rest - HALF_PI.1);
    (if far { beyond } else { s + rest }).copysign(x)
}

/// The angle whose cosine is `x`, from 0 to pi; NaN beyond 1. At most 1.5 ulp off.
#[inline(always)]
pub fn acos(x: f64) -> f64 {
    let (far, s, z) = halved(x.abs());
    let rest = asin_rest(s, z);
    let r = 2.0 * (s + rest);
    let outer = if x < 0.0 { less(PI, r) } else { r };
    let (s, rest) = if x < 0.0 { (-s, -rest) } else { (s, rest) };
    let inner = (HALF_PI.0 - s) - (rest - HALF_PI.1);
    if far { outer } else { inner }
}

/// The angle whose tangent is `low / high`, for `0 <= low <= high` that are neither both 0 nor too small or
/// large for a quotient of 1 by their sum.
///
/// Beyond an eighth of a turn's half it is a quarter of pi more than that of `(low - high) / (low + high)`.
#[inline(always)]
fn slope(low: f64, high: f64) -> f64 {
    const EIGHTH: f64 = 0.414_213_562_373_095_03;
    let upper = low > EIGHTH * high;
    let (top, below) = if upper {
        (low - high, low + high)
    } else {
        (low, high)
    };
    let base = if upper { QUARTER_PI } else { (0.0, 0.0) };
    let over = 1.0 / below;
    let s = top * over;
    // What the quotient lacks.
    let rest = s.mul_add(-below, top) * over;
    let z = s * s;
    let p = halves!(
        z,
        0.01520994895656407,
        -0.03348904866403395,
        0.04504177564290538,
        -0.0521855931060594,
        0.05877045954321676,
        -0.06666229236037848,
        0.07692282927547156,
        -0.09090908152057497,
        0.11111111088388688,
        -0.1428571428539144,
        0.19999999999997697,
        -0.33333333333333326
    );
    base.0 + (s + ((s * z).mul_add(p, rest) + base.1))
}

/// The angle whose tangent is `x`, from -pi / 2 to pi / 2. At most 2 ulp off.
#[inline(always)]
pub fn atan(x: f64) -> f64 {
    // From here on it is pi / 2.
    const FLAT: f64 = 1e18;
    let a = x.abs();
    let a = if a > FLAT { FLAT } else { a };
    let steep = a > 1.0;
    let r = if steep { slope(1.0, a) } else { slope(a, 1.0) };
    let y = if steep { less(HALF_PI, r) } else { r };
    y.copysign(x)
}

/// The angle of the vector `(x, y)`, from -pi to pi, with C's special cases. At most 2 ulp off.
#[inline(always)]
pub fn atan2(y: f64, x: f64) -> f64 {
    let (a, b) = (y.abs(), x.abs());
    let steep = a > b;
    let (low, high) = if steep { (b, a) } else { (a, b) };
    // The quotient of 1 by them has all its digits.
    let scale = if high > 1e300 {
        1e-200
    } else if high < 1e-270 {
        1e60
    } else {
        1.0
    };
    let (low_scaled, high_scaled) = (low * scale, high * scale);
    // Equal ones may both be infinite, or 0.
    let infinite = high == f64::INFINITY;
    let (low, high) = if low == high || infinite || high == 0.0 {
        (if low == high && high > 0.0 { 1.0 } else { 0.0 }, 1.0)
    } else {
        (low_scaled, high_scaled)
    };
    let r = slope(low, high);
    let r = if steep { less(HALF_PI, r) } else { r };
    let r = if x.is_sign_negative() { less(PI, r) } else { r };
    let r = r.copysign(y);
    if x.is_nan() || y.is_nan() { x + y } else { r }
}

/// The length of the vector `(x, y)`, without overflow on the way; infinite where one of both is.
/// At most 1.5 ulp off.
#[inline(always)]
pub fn hypot(x: f64, y: f64) -> f64 {
    let (a, b) = (x.abs(), y.abs());
    let large = if a > b { a } else { b };
    let (tiny, huge) = (pow2(600u64.wrapping_neg()), pow2(600));
    let (down, up) = if large > 1e150 {
        (tiny, huge)
    } else if large < 1e-140 {
        (huge, tiny)
    } else {
        (1.0, 1.0)
    };
    let (a, b) = (a * down, b * down);
    let length = a.mul_add(a, b * b).sqrt() * up;
    let infinite = x.abs() == f64::INFINITY || y.abs() == f64::INFINITY;
    if infinite { f64::INFINITY } else { length }
}
