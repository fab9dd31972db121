//! Hyperbolic functions and their inverses; by way of f64, where sums of exponentials and arguments
//! of logarithms keep the digits that cancel.

use super::log::{exp2_wide, log1p_wide};
use super::poly;
use std::f64::consts::LOG2_E;

/// Hyperbolic sine. Correctly rounded but for rare cases.
#[inline(always)]
pub fn sinh(x: f32) -> f32 {
    let wide = f64::from(x);
    let e = exp2_wide(wide.abs() * LOG2_E);
    let far = (0.5 * (e - 1.0 / e)).copysign(wide);
    let y = wide * wide;
    let near = wide + wide * (y * poly!(y, 1.0 / 5040.0, 1.0 / 120.0, 1.0 / 6.0));
    (if wide.abs() < 0.1 { near } else { far }) as f32
}

/// Hyperbolic cosine. Correctly rounded but for rare cases.
#[inline(always)]
pub fn cosh(x: f32) -> f32 {
    let e = exp2_wide(f64::from(x).abs() * LOG2_E);
    (0.5 * (e + 1.0 / e)) as f32
}

/// `log1p_wide(u)` for u from 0, infinity included.
#[inline(always)]
fn log1p(u: f64) -> f64 {
    if u < f64::INFINITY { log1p_wide(u) } else { u }
}

/// Inverse hyperbolic sine. Correctly rounded but for rare cases.
#[inline(always)]
pub fn asinh(x: f32) -> f32 {
    let a = f64::from(x).abs();
    // a + sqrt(1 + a^2), less 1.
    let u = a + a * a / (1.0 + (1.0 + a * a).sqrt());
    let y = (log1p(u) as f32).copysign(x);
    // Infinity over infinity is none.
    if a < f64::INFINITY { y } else { x }
}

/// Inverse hyperbolic cosine; NaN below 1. Correctly rounded but for rare cases.
#[inline(always)]
pub fn acosh(x: f32) -> f32 {
    let t = f64::from(x) - 1.0;
    let y = log1p(t + (t * (t + 2.0)).sqrt()) as f32;
    if t < 0.0 { f32::NAN } else { y }
}

/// Inverse hyperbolic tangent; infinite at 1 and -1, NaN beyond. Correctly rounded but for rare
/// cases.
#[inline(always)]
pub fn atanh(x: f32) -> f32 {
    let a = f64::from(x).abs();
    let y = (0.5 * log1p(2.0 * a / (1.0 - a))) as f32;
    if a > 1.0 { f32::NAN } else { y.copysign(x) }
}
