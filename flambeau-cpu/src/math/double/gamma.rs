//! The gamma function's logarithm, and the derivative of that.

use super::log::{log, log_pair, split};
use super::trig::near;
use super::{MAGIC, halves};
use std::f64::consts::PI;

/// Sine and cosine of `pi r` for `|r| <= 1/2`.
#[inline(always)]
pub(super) fn half_turn(r: f64) -> (f64, f64) {
    // What pi has beyond an f64.
    const REST: f64 = 1.2246467991473532e-16;
    let a = r.abs();
    let steep = a > 0.25;
    let a = if steep { 0.5 - a } else { a };
    let angle = a * PI;
    let (sin, cos) = near(angle, a.mul_add(REST, a.mul_add(PI, -angle)));
    let (sin, cos) = if steep { (cos, sin) } else { (sin, cos) };
    (sin.copysign(r), cos)
}

/// `x` less the nearest whole number.
#[inline(always)]
pub(super) fn beyond_whole(x: f64) -> f64 {
    // Numbers too large for this are whole.
    let r = x - ((x + MAGIC) - MAGIC);
    if x.abs() < 2e15 { r } else { 0.0 }
}

/// From here on [`lgamma`] is Stirling's series.
const STIRLING: f64 = 8.5;

/// [`lgamma`] for `y` above 0.
///
/// `lgamma(2 + t)` is a polynomial for t from sqrt(2) - 2 to 1/2. To that the logarithm is added of the
/// numbers by which gamma of the argument is more, or less.
#[inline(always)]
fn lgamma_above(y: f64) -> f64 {
    let far = y >= STIRLING;
    let below = y < std::f64::consts::SQRT_2;
    let n = (y + MAGIC) - MAGIC;
    let n = if !below && n < 2.0 { 2.0 } else { n };
    let t = y - n;
    let small = halves!(
        t,
        1.1457351973904402e-07,
        -1.1881024072656775e-07,
        1.4245930031657827e-07,
        -4.4772622584993347e-07,
        9.883727944718237e-07,
        -2.036716646774566e-06,
        4.365951027720074e-06,
        -9.440546282641001e-06,
        2.0508654644753134e-05,
        -4.492604187860013e-05,
        9.945737043681967e-05,
        -0.00022315477760317492,
        0.0005096695330690216,
        -0.0011927539106939785,
        0.0028905103304754888,
        -0.0073855510286999024,
        0.020580808427788446,
        -0.06735230105319784,
        0.3224670334241132,
        0.0
    );
    const LINEAR: f64 = 0.42278433509846713;
    // Below sqrt(2) gamma is less by y and y + 1, or y alone; beyond 2.5 more by y - 1, y - 2, ..., 2 + t.
    let product = if below {
        y * if n < 1.0 { y + 1.0 } else { 1.0 }
    } else {
        let factor = |k: f64| if n > k + 1.0 { y - k } else { 1.0 };
        (factor(1.0) * factor(2.0)) * (factor(3.0) * factor(4.0)) * (factor(5.0) * factor(6.0))
    };
    let (m, e, _) = split(if far { y } else { product });
    let f = m - 1.0;
    let (high, rest) = log_pair(f, e);
    let (f, high, rest) = if below {
        (-f, -high, -rest)
    } else {
        (f, high, rest)
    };
    let middle = high + (LINEAR.mul_add(t, f) + small.mul_add(t, rest));
    // (y - 1/2) (log(y) - 1) and what is left of it.
    let high = high - 1.0;
    let log = high + f;
    let low = ((high - log) + f) + rest;
    let z = y - 0.5;
    let main = z * log;
    const REST: f64 = 0.4189385332046727;
    let over = 1.0 / y;
    let series = over
        * halves!(
            over * over,
            -0.001640211330592476,
            0.0008366085751961019,
            -0.0005951897037640825,
            0.000793650558271906,
            -0.0027777777772379077,
            0.0833333333333329
        );
    let stirling = main + (z.mul_add(low, z.mul_add(log, -main)) + (REST + series));
    let stirling = if main == f64::INFINITY {
        main
    } else {
        stirling
    };
    if far { stirling } else { middle }
}

/// The logarithm of the gamma function's magnitude; infinite at 0, -1, -2, ... At most 2 ulp off above 0.
/// Below, where the reflection formula gives it, that much of the terms, or of 8.
#[inline(always)]
pub fn lgamma(x: f64) -> f64 {
    let y = lgamma_above(x.abs());
    let (sin, _) = half_turn(beyond_whole(x));
    let a = x.abs();
    let reflected = log(PI / (a * sin.abs())) - y;
    // So close to 0 that the product is too small for a quotient.
    let y = if x < -1e-150 { reflected } else { y };
    let pole = x <= 0.0 && beyond_whole(x) == 0.0;
    if pole || a == f64::INFINITY {
        f64::INFINITY
    } else {
        y
    }
}

/// [`lgamma`] where nothing is below 0.
#[inline(always)]
fn lgamma_no_sign(x: f64) -> f64 {
    let y = lgamma_above(x);
    if x == f64::INFINITY || x == 0.0 {
        f64::INFINITY
    } else {
        y
    }
}

/// [`digamma`] for `y` above 0.
///
/// From 1 to 2 a polynomial times the distance from the zero there; up to 10 that and reciprocals of the numbers
/// between; then the asymptotic series
/// ([DLMF 5.11.2](https://dlmf.nist.gov/5.11.E2)).
#[inline(always)]
fn digamma_above(y: f64) -> f64 {
    const ZERO: (f64, f64) = (1.4616321449683622, 9.549995429965697e-17);
    const ZERO_LESS_1: (f64, f64) = (0.46163214496836236, -1.5522348162858677e-17);
    let steps = y.trunc() - 1.0;
    let below = y < 1.0;
    // The argument between 1 and 2, of which 1 is left out where it is y + 1.
    let base = if below { y } else { y - steps };
    let zero = if below { ZERO_LESS_1 } else { ZERO };
    let t = base - if below { 0.5 } else { 1.5 };
    let quotient = halves!(
        t,
        0.00012112990184718708,
        -0.00017828265347724843,
        9.335287107787122e-05,
        -0.0001447219938302456,
        0.00032584767559807156,
        -0.0004859983054761274,
        0.0006902927951243859,
        -0.0010364432603303698,
        0.0015635012801835351,
        -0.0023454977056306166,
        0.0035180889735850172,
        -0.005279936890479504,
        0.007927023305818464,
        -0.011908220134134237,
        0.017907248236644528,
        -0.026975796658479368,
        0.04076083394336086,
        -0.06192213327552169,
        0.0949887244528502,
        -0.14840492305388053,
        0.24054248424078722,
        -0.4236274212814606,
        0.9510558760318328
    );
    let middle = ((base - zero.0) - zero.1) * quotient;
    let over = 1.0 / y;
    let term = |k: f64| 1.0 / if steps >= k { y - k } else { f64::INFINITY };
    let sum = term(1.0)
        + term(2.0)
        + term(3.0)
        + term(4.0)
        + term(5.0)
        + term(6.0)
        + term(7.0)
        + term(8.0);
    // What the quotient lacks counts where it nearly cancels.
    let rest = if y > 0.25 {
        y.mul_add(-over, 1.0) * over
    } else {
        0.0
    };
    let middle = if below {
        (middle - rest) - over
    } else {
        middle + sum
    };
    let series = halves!(
        over * over,
        -0.01846298269800209,
        0.007540756508633743,
        -0.004166431858236242,
        0.003968253158801743,
        -0.008333333332027019,
        0.08333333333333261
    );
    let far = log(y) - over * over.mul_add(series, 0.5);
    if y >= 10.0 { far } else { middle }
}

/// The derivative of [`lgamma`]: minus infinity at 0, infinity at -0, NaN at -1, -2, ... At most 2.3 ulp
/// off above 0. Below, where the reflection formula gives it, that much of the terms, or of 8.
#[inline(always)]
pub fn digamma(x: f64) -> f64 {
    let below = x < 0.0;
    let y = digamma_above(if below { 1.0 - x } else { x });
    let r = beyond_whole(x);
    let (sin, cos) = half_turn(r);
    let reflected = if r == 0.0 {
        f64::NAN
    } else {
        y - PI * (cos / sin)
    };
    let y = if below { reflected } else { y };
    if x == 0.0 {
        f64::INFINITY.copysign(-x)
    } else {
        y
    }
}

/// [`digamma`] where nothing is below 0.
#[inline(always)]
fn digamma_no_sign(x: f64) -> f64 {
    let y = digamma_above(x);
    if x == 0.0 {
        f64::INFINITY.copysign(-x)
    } else {
        y
    }
}

/// Elements that are looked over before they are computed.
const BLOCK: usize = 256;

macro_rules! slices {
    ($($name:ident = $f:ident, $no_sign:ident;)*) => { $(
        crate::simd_fn! {
            #[doc = concat!("[`", stringify!($f), "`] of each element of `x`, into `out`.")]
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(x: &[f64], out: &mut [f64]) {
                assert_eq!(x.len(), out.len(), "slices of different lengths");
                for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                    let below = x.iter().fold(0, |n, &x| n + u64::from(x < 0.0));
                    if below == 0 {
                        for (o, &x) in out.iter_mut().zip(x) {
                            *o = $no_sign(x);
                        }
                    } else {
                        for (o, &x) in out.iter_mut().zip(x) {
                            *o = $f(x);
                        }
                    }
                }
            }
        }
    )* };
}
slices! {
    vlgamma = lgamma, lgamma_no_sign;
    vdigamma = digamma, digamma_no_sign;
}
