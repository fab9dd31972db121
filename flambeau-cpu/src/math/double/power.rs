//! Powers.

use super::exp::exp2_sum;
use super::halves;
use super::log::split;

/// `log2(x)` for positive finite `x` as a sum of two, to 2^-63 of its value.
///
/// With `s = f / (2 + f)` and `x = (1 + f) * 2^e` it is `e + s (2 + 2/3 s^2 + ...) / log(2)`.
#[inline(always)]
fn log2_pair(x: f64) -> (f64, f64) {
    const TWO: (f64, f64) = (2.8853900817779268, 4.0710547481862066e-17);
    const TWO_THIRDS: (f64, f64) = (0.9617966939259756, 5.0577616648125906e-17);
    let (m, e, _) = split(x);
    let f = m - 1.0;
    let below = 2.0 + f;
    let lost = f - (below - 2.0);
    let over = 1.0 / below;
    let s = f * over;
    let s_low = lost.mul_add(-s, s.mul_add(-below, f)) * over;
    let z = s * s;
    let z_low = s.mul_add(s, -z) + 2.0 * s * s_low;
    let q = halves!(
        z,
        0.19038229686087604,
        0.1912554950778556,
        0.22198398346202372,
        0.262307701438028,
        0.3205989022699042,
        0.41219858309196145,
        0.577078016355618
    );
    let t = z * TWO_THIRDS.0;
    let t_low = (z * z).mul_add(q, z.mul_add(TWO_THIRDS.0, -t))
        + z.mul_add(TWO_THIRDS.1, z_low * TWO_THIRDS.0);
    let u = TWO.0 + t;
    let u_low = ((TWO.0 - u) + t) + (TWO.1 + t_low);
    let p = s * u;
    let p_low = s.mul_add(u, -p) + s.mul_add(u_low, s_low * u);
    let high = e + p;
    // e is 0 or the larger one.
    let low = ((e - high) + p) + p_low;
    let sum = high + low;
    (sum, low - (sum - high))
}

/// `x` to the power of `e`, with C's special cases: 1 where `e` is 0 or `x` is 1; NaN for a negative finite
/// `x` and an `e` that is not whole. At most 1.1 ulp off.
#[inline(always)]
pub fn pow(x: f64, e: f64) -> f64 {
    let a = x.abs();
    let (high, low) = log2_pair(a);
    let high = if a == 0.0 { f64::NEG_INFINITY } else { high };
    let high = if a == f64::INFINITY { a } else { high };
    let product = e * high;
    let rest = e.mul_add(low, e.mul_add(high, -product));
    let y = exp2_sum(product, rest);
    let whole = e.trunc() == e;
    let odd = whole && (0.5 * e).trunc() != 0.5 * e;
    let y = if odd { y.copysign(x) } else { y };
    let y = if x < 0.0 && a < f64::INFINITY && !whole {
        f64::NAN
    } else {
        y
    };
    let y = if x.is_nan() { x } else { y };
    let one = e == 0.0 || x == 1.0 || (a == 1.0 && e.abs() == f64::INFINITY);
    if one { 1.0 } else { y }
}

crate::simd_fn! {
    /// Each element of `x` to the power of `e`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn vpow_number(x: &[f64], e: f64, out: &mut [f64]) {
        assert_eq!(x.len(), out.len(), "slices of different lengths");
        for (o, x) in out.iter_mut().zip(x) {
            *o = pow(*x, e);
        }
    }
}
