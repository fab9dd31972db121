//! Trigonometry.

use super::{MAGIC, poly};
use crate::simd_fn;

/// The largest argument that is reduced here; others are `libm`'s.
const SMALL: f64 = 65_536.0;

/// `x = n * pi / 2 + r + rest`: the lowest bits of n, and r, which is at most pi / 4.
#[inline(always)]
fn reduce(x: f64) -> (u64, f64, f64) {
    // Twice 37 bits of pi / 2, so that n times them is exact, and 53 more.
    const HIGH: f64 = 1.5707963267923333;
    const MIDDLE: f64 = 2.5633441515839558e-12;
    const LOW: f64 = 1.0562999066987428e-23;
    let t = x.mul_add(std::f64::consts::FRAC_2_PI, MAGIC);
    let n = t - MAGIC;
    let a = x - n * HIGH;
    let b = a - n * MIDDLE;
    // What rounding took away.
    let lost = (a - b) - n * MIDDLE;
    let low = n.mul_add(LOW, -lost);
    let r = b - low;
    (t.to_bits(), r, (b - r) - low)
}

/// `-y` where bit 1 of `n` is set.
#[inline(always)]
fn turned(y: f64, n: u64) -> f64 {
    f64::from_bits(y.to_bits() ^ (n & 2) << 62)
}

/// Sine and cosine of `r + rest`, at most pi / 4.
#[inline(always)]
pub(super) fn near(r: f64, rest: f64) -> (f64, f64) {
    let rr = r * r;
    let s = poly!(
        rr,
        -7.58668899111605e-13,
        1.6058531488141766e-10,
        -2.5052106231676596e-08,
        2.7557319219337143e-06,
        -0.00019841269841265063,
        0.008333333333333331,
        -0.16666666666666666
    );
    let c = poly!(
        rr,
        -1.1382622252384206e-11,
        2.087614613858501e-09,
        -2.755731727117506e-07,
        2.4801587298764788e-05,
        -0.0013888888888887398,
        0.041666666666666664
    );
    let half = 0.5 * rr;
    let sin = r + (r * rr * s + (rest - rest * half));
    let cos = 1.0 - half;
    (sin, cos + (((1.0 - cos) - half) + (rr * rr * c - r * rest)))
}

#[inline(always)]
fn sin_small(x: f64) -> f64 {
    let (n, r, rest) = reduce(x);
    let (sin, cos) = near(r, rest);
    let y = turned(if n & 1 == 0 { sin } else { cos }, n);
    if x == 0.0 { x } else { y }
}

#[inline(always)]
fn cos_small(x: f64) -> f64 {
    let (n, r, rest) = reduce(x);
    let (sin, cos) = near(r, rest);
    turned(if n & 1 == 0 { cos } else { sin }, n.wrapping_add(n & 1))
}

#[inline(always)]
fn tan_small(x: f64) -> f64 {
    let (n, r, rest) = reduce(x);
    let (sin, cos) = near(r, rest);
    let (top, below) = if n & 1 == 0 { (sin, cos) } else { (-cos, sin) };
    if x == 0.0 { x } else { top / below }
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident, $slice:ident = $small:ident, $large:path;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(x: f64) -> f64 {
            if x.abs() > SMALL { $large(x) } else { $small(x) }
        }

        simd_fn! {
            #[doc = concat!("[`", stringify!($name), "`] of each element of `x`, into `out`.")]
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $slice(x: &[f64], out: &mut [f64]) {
                assert_eq!(x.len(), out.len(), "slices of different lengths");
                let mut large = 0;
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = $small(x);
                    large += u64::from(x.abs() > SMALL);
                }
                if large > 0 {
                    for (o, &x) in out.iter_mut().zip(x) {
                        if x.abs() > SMALL {
                            *o = $large(x);
                        }
                    }
                }
            }
        }
    )*};
}
functions! {
    /// Sine of `x` radians; NaN for infinity. At most 1 ulp off.
    sin, vsin = sin_small, libm::sin;
    /// Cosine of `x` radians; NaN for infinity. At most 1 ulp off.
    cos, vcos = cos_small, libm::cos;
    /// Tangent of `x` radians; NaN for infinity. At most 2 ulp off.
    tan, vtan = tan_small, libm::tan;
}
