//! The gamma function.

use super::double::{MAGIC, log};
use super::poly;

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
    r * std::f64::consts::PI + r * rr * p
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

crate::simd_fn! {
    /// [`lgamma`] of each element of `x`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn vlgamma(x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "slices of different lengths");
        for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            let below = x.iter().fold(0, |n, &x| n + u32::from(x <= 0.0));
            if below == 0 {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = magnitude::<false>(x);
                }
            } else {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = magnitude::<true>(x);
                }
            }
        }
    }
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
    // Numbers too large for this are whole.
    let r = x - ((x + MAGIC) - MAGIC);
    let r = if x.abs() < 1e9 { r } else { 0.0 };
    let sin = if ALL { sin_pi(r).abs() } else { 1.0 };
    let left = if below {
        std::f64::consts::PI * product / sin
    } else {
        product
    };
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
