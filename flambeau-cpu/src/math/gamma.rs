//! The gamma function.

use super::double::{self, MAGIC, log, poly};
use super::log::log1p_wide;
use std::f64::consts::PI;

/// `sin(pi r)` for `|r| <= 1/2`.
#[inline(always)]
fn sin_pi(r: f64) -> f64 {
    let rr = r * r;
    let p = poly!(
        rr,
        -2.1230288026808206e-05,
        0.00046606856536678527,
        -0.0073703911291341535,
        0.0821458831334061,
        -0.5992645291760804,
        2.550164039875087,
        -5.167712780049964
    );
    (r * rr).mul_add(p, r * PI)
}

/// `x` less the nearest whole number.
#[inline(always)]
fn beyond_whole(x: f64) -> f64 {
    // Numbers too large for this are whole.
    let r = x - ((x + MAGIC) - MAGIC);
    if x.abs() < 1e9 { r } else { 0.0 }
}

/// The logarithm of the gamma function's magnitude; infinite at 0, -1, -2, ... Correctly rounded but for
/// rare cases.
///
/// Close to its zeros 1 and 2 Taylor's series; elsewhere Stirling's, to which small arguments are shifted,
/// and for negative numbers the reflection formula.
#[inline(always)]
pub fn lgamma(x: f32) -> f32 {
    magnitude::<true>(x)
}

/// Elements that are looked over before they are computed.
const BLOCK: usize = 256;

macro_rules! slices {
    ($($name:ident = $f:ident, $inner:ident;)*) => { $(
        crate::simd_fn! {
            #[doc = concat!("[`", stringify!($f), "`] of each element of `x`, into `out`.")]
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(x: &[f32], out: &mut [f32]) {
                assert_eq!(x.len(), out.len(), "slices of different lengths");
                for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                    let below = x.iter().fold(0, |n, &x| n + u32::from(x <= 0.0));
                    if below == 0 {
                        for (o, &x) in out.iter_mut().zip(x) {
                            *o = $inner::<false>(x);
                        }
                    } else {
                        for (o, &x) in out.iter_mut().zip(x) {
                            *o = $inner::<true>(x);
                        }
                    }
                }
            }
        }
    )* };
}
slices! {
    vlgamma = lgamma, magnitude;
    vdigamma = digamma, slope;
}

/// [`lgamma`], for numbers above 0 or for `ALL`.
#[inline(always)]
fn magnitude<const ALL: bool>(x: f32) -> f32 {
    let x = f64::from(x);
    // Taylor's series around the nearer zero.
    let two = x > 1.5;
    let e = x - if two { 2.0 } else { 1.0 };
    let near = e * poly!(
        e,
        if two {
            -0.007385551028673986
        } else {
            -0.20738555102867398
        },
        if two {
            0.020580808427784546
        } else {
            0.27058080842778454
        },
        if two {
            -0.0673523010531981
        } else {
            -0.40068563438653143
        },
        if two {
            0.3224670334241132
        } else {
            0.8224670334241132
        },
        if two {
            0.42278433509846713
        } else {
            -0.5772156649015329
        }
    );
    let below = ALL && x <= 0.0;
    let y = if below { 1.0 - x } else { x };
    // gamma(y + 8) is gamma(y) times the product.
    let (yy, small) = (y * (y + 7.0), y < 8.0);
    let product = yy * (yy + 6.0) * (yy + 10.0) * (yy + 12.0);
    let (z, product) = if small { (y + 8.0, product) } else { (y, 1.0) };
    let over = 1.0 / z;
    let series = over
        * poly!(
            over * over,
            0.0007728061055686402,
            -0.0005943224316473821,
            0.0007936457634906362,
            -0.0027777777680610227,
            0.08333333333333033
        );
    const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;
    let stirling = (z - 0.5) * log(z) - z + (HALF_LOG_TAU + series);
    let r = beyond_whole(x);
    let sin = if ALL { sin_pi(r).abs() } else { 1.0 };
    let left = if below { PI * product / sin } else { product };
    let left = log(left);
    let far = if below {
        left - stirling
    } else {
        stirling - left
    };
    let y = if e.abs() < 1.0 / 64.0 { near } else { far };
    let y = if x.abs() == f64::INFINITY { x.abs() } else { y };
    y as f32
}

/// The derivative of [`lgamma`]: minus infinity at 0, infinity at -0, NaN at -1, -2, ... At most 1.1 ulp
/// off above 0.
///
/// Close to the zero Taylor's series; elsewhere the asymptotic series, to which small arguments are
/// shifted, and for negative numbers the reflection formula.
#[inline(always)]
pub fn digamma(x: f32) -> f32 {
    slope::<true>(x)
}

/// [`digamma`], for numbers above 0 or for `ALL`.
#[inline(always)]
fn slope<const ALL: bool>(x: f32) -> f32 {
    let wide = f64::from(x);
    let below = ALL && wide < 0.0;
    let y = if below { 1.0 - wide } else { wide };
    // That of y + 8 is more by the reciprocals of y to y + 7, of which the first and the last are
    // (2 y + 7) / (y (y + 7)), and so on.
    let (a, small) = (y * (y + 7.0), y < 8.0);
    let (b, c, d) = (a + 6.0, a + 10.0, a + 12.0);
    let (ab, cd) = (a * b, c * d);
    let top = (a + b).mul_add(cd, ab * (c + d));
    let more = (2.0 * y + 7.0) * (top / (ab * cd));
    let (z, more) = if small { (y + 8.0, more) } else { (y, 0.0) };
    let over = 1.0 / z;
    let series = poly!(
        over * over,
        1.0 / 132.0,
        -1.0 / 240.0,
        1.0 / 252.0,
        -1.0 / 120.0,
        1.0 / 12.0
    );
    let far = log1p_wide(z - 1.0) - over * over.mul_add(series, 0.5) - more;
    // Taylor's series around the zero.
    let e = y - 1.4616321449683622;
    let near = e * poly!(
        e,
        0.10782405069126237,
        -0.16394270544240652,
        0.258499760955651,
        -0.4427631689835921,
        0.9676722454476212
    );
    let far = if e.abs() < 1.0 / 64.0 { near } else { far };
    let r = if ALL { beyond_whole(wide) } else { 0.5 };
    let cotangent = sin_pi(0.5 - r.abs()) / sin_pi(r);
    let y = if below { far - PI * cotangent } else { far };
    let y = if below && r == 0.0 { f64::NAN } else { y };
    let y = if wide == f64::INFINITY { wide } else { y };
    let y = y as f32;
    if ALL && x == 0.0 {
        f32::INFINITY.copysign(-x)
    } else {
        y
    }
}

/// The derivative of order `n`, a whole number, of [`digamma`] of each element of `x`, into `out`; by way of f64.
///
/// # Panics
/// If the lengths differ.
pub fn vpolygamma(n: f64, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    let (mut wide, mut results) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let (wide, results) = (&mut wide[..x.len()], &mut results[..x.len()]);
        wide.iter_mut().zip(x).for_each(|(w, x)| *w = (*x).into());
        double::vpolygamma(n, wide, results);
        (out.iter_mut().zip(results)).for_each(|(o, y)| *o = *y as f32);
    }
}
