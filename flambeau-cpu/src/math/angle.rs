//! Inverse trigonometry, and the angle and the length of a vector.

use super::poly;

const HALF_PI: (f32, f32) = (std::f32::consts::FRAC_PI_2, -4.371_139e-8);
const PI: (f32, f32) = (std::f32::consts::PI, -8.742_278e-8);

/// `whole - x`, where `whole` has a second part that its f32 leaves over.
#[inline(always)]
fn less(whole: (f32, f32), x: f32) -> f32 {
    whole.0 - (x - whole.1)
}

/// asin for `|x| <= 5/8`, of which `z` is the square.
#[inline(always)]
fn asin_near(x: f32, z: f32) -> f32 {
    let p = poly!(
        z,
        0.064_515_956,
        -0.009_879_358,
        0.040_029_544,
        0.043_246_757,
        0.075_091,
        0.166_664_7
    );
    x + x * (z * p)
}

/// What [`asin_near`] is asked for, `(|x|, x^2)`, or the sine of half the complement where `a` is
/// beyond 5/8: up to there the difference to pi / 2 would lose a digit.
#[inline(always)]
fn halved(a: f32) -> (bool, f32, f32) {
    let far = a > 0.625;
    let z = if far { 0.5 - 0.5 * a } else { a * a };
    let s = if far { z.sqrt() } else { a };
    (far, s, z)
}

/// The angle whose sine is `x`; NaN beyond 1. At most 1.7 ulp off.
#[inline(always)]
pub fn asin(x: f32) -> f32 {
    let (far, s, z) = halved(x.abs());
    let r = asin_near(s, z);
    let y = if far { less(HALF_PI, 2.0 * r) } else { r };
    y.copysign(x)
}

/// The angle whose cosine is `x`, from 0 to pi; NaN beyond 1. At most 1.7 ulp off.
#[inline(always)]
pub fn acos(x: f32) -> f32 {
    let (far, s, z) = halved(x.abs());
    let r = asin_near(s, z);
    let outer = if x < 0.0 { less(PI, 2.0 * r) } else { 2.0 * r };
    if far {
        outer
    } else {
        less(HALF_PI, r.copysign(x))
    }
}

/// atan for `t` from 0 to 1.
#[inline(always)]
fn atan_near(t: f32) -> f32 {
    let y = t * t;
    let p = poly!(
        y,
        -0.001_793_627_2,
        0.010_914_633,
        -0.031_177_903,
        0.057_957_657,
        -0.084_034_55,
        0.109_521_87,
        -0.142_642_42,
        0.199_985_49,
        -0.333_333
    );
    t + t * (y * p)
}

/// The angle whose tangent is `x`, from -pi / 2 to pi / 2. At most 2 ulp off.
#[inline(always)]
pub fn atan(x: f32) -> f32 {
    let a = x.abs();
    let steep = a > 1.0;
    let r = atan_near(if steep { 1.0 / a } else { a });
    let y = if steep { less(HALF_PI, r) } else { r };
    y.copysign(x)
}

/// The angle of the vector `(x, y)`, from -pi to pi, with C's special cases. At most 2 ulp off.
#[inline(always)]
pub fn atan2(y: f32, x: f32) -> f32 {
    let (a, b) = (y.abs(), x.abs());
    let steep = a > b;
    let (low, high) = if steep { (b, a) } else { (a, b) };
    // Equal ones may both be infinite, or 0.
    let t = if low == high { 1.0 } else { low / high };
    let r = atan_near(if high == 0.0 { 0.0 } else { t });
    let r = if steep { less(HALF_PI, r) } else { r };
    let r = if x.is_sign_negative() { less(PI, r) } else { r };
    let r = r.copysign(y);
    if x.is_nan() || y.is_nan() { x + y } else { r }
}

/// The length of the vector `(x, y)`, without overflow on the way; infinite where one of both is.
/// Correctly rounded but for rare cases.
#[inline(always)]
pub fn hypot(x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x), f64::from(y));
    let length = (a * a + b * b).sqrt() as f32;
    let infinite = x.abs() == f32::INFINITY || y.abs() == f32::INFINITY;
    if infinite { f32::INFINITY } else { length }
}
