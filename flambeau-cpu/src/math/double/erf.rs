//! The error function and what is made of it.

use super::exp::{exp, exp_sum, pow2, scale_down};
use super::{halves, poly};
use std::f64::consts::FRAC_1_SQRT_2;

/// erf for `|x| < 1`.
#[inline(always)]
fn erf_near(x: f64) -> f64 {
    let y = x * x;
    let p = poly!(
        y,
        5.960687365487138e-11,
        -1.1374956310600045e-09,
        1.4660328685329812e-08,
        -1.6350396185651638e-07,
        1.6461008470897275e-06,
        -1.4925595771510586e-05,
        0.00012055331132916607,
        -0.0008548326981424113,
        0.0052239776248283985,
        -0.02686617064507787,
        0.11283791670954885,
        -0.3761263890318375,
        0.1283791670955126
    );
    p.mul_add(x, x)
}

/// Error function, `2 / sqrt(pi)` times the integral of `exp(-t^2)` from 0 to `x`. At most 1 ulp off.
#[inline(always)]
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    let near = erf_near(x);
    let t = if a > 6.0 { 6.0 } else { a };
    let log_erfc = halves!(
        t - 1.0,
        1.0388989271564951e-12,
        -2.8810805834413872e-11,
        3.6819737959153784e-10,
        -2.863718621295175e-09,
        1.4910096326043343e-08,
        -5.203387210885287e-08,
        9.753881200963617e-08,
        1.4288880555969948e-07,
        -2.0597875023900353e-06,
        9.60891339688361e-06,
        -2.715912029339031e-05,
        2.6277878734063124e-05,
        0.0002373224802716676,
        -0.0019779025676434124,
        0.010033825374368942,
        -0.04156109804180501,
        -0.843107256358677,
        -2.638967514234788,
        -1.8496055099332482
    );
    let (more, n) = exp_sum(log_erfc, 0.0);
    let far = (1.0 - (1.0 + more) * pow2(n)).copysign(x);
    if a < 1.0 { near } else { far }
}

/// `exp(z^2) * erfc(z)` for z from 0 to 27.4.
#[inline(always)]
fn erfcx(z: f64) -> f64 {
    // Times 1 + 2 z it varies little; a polynomial in t = (z - 4) / (z + 4) gives it.
    let p = poly!(
        (z - 4.0) / (z + 4.0),
        1.1869816633914408e-09,
        1.6383915670402408e-09,
        -1.4087599411691903e-08,
        -1.7385467566396496e-08,
        1.104249860812293e-07,
        7.404123477882437e-08,
        -8.260890238429503e-07,
        2.941734009341498e-07,
        5.710279724085462e-06,
        -1.1222170964885703e-05,
        -2.4399475242337614e-05,
        0.0001506217144746412,
        -0.00019925661746235412,
        -0.0007577732964342102,
        0.005031969963679391,
        -0.01619773405667998,
        0.03716751553908327,
        -0.06633036581231708,
        0.09373283499825127,
        -0.10103906603629964,
        0.06809705425469544,
        0.015379652102619655,
        -0.13962111684056253,
        1.2329951186255526
    );
    p / (1.0 + 2.0 * z)
}

/// `-x^2` as a sum of two: the square of x's upper half, which is exact, and what is left.
#[inline(always)]
fn minus_square(x: f64) -> (f64, f64) {
    let upper = f64::from_bits(x.to_bits() & 0xffff_ffff_f800_0000);
    (-upper * upper, (upper - x) * (upper + x))
}

/// `1 - erf(x)`, precise where it is close to 0. At most 2.1 ulp off.
#[inline(always)]
pub fn erfc(x: f64) -> f64 {
    let a = x.abs();
    let a = if a > 27.4 { 27.4 } else { a };
    let (high, low) = minus_square(a);
    let (more, n) = exp_sum(high, low);
    let h = erfcx(a);
    let tail = scale_down((h.mul_add(more, h), n));
    let far = if x < 0.0 { 2.0 - tail } else { tail };
    if x.abs() < 0.625 {
        1.0 - erf_near(x)
    } else {
        far
    }
}

/// Beyond, the lower end of the normal distribution is 0.
const LIMIT: f64 = 38.7;

/// `x` times the normal distribution function at `x` (GELU, exact form,
/// [Hendrycks and Gimpel](https://arxiv.org/abs/1606.08415)); NaN for minus infinity, as in PyTorch.
/// At most 2 ulp off.
#[inline(always)]
pub fn gelu(x: f64) -> f64 {
    const WIDE: f64 = 1.4140625;
    let a = x.abs();
    let a = if a > LIMIT { LIMIT } else { a };
    let (high, low) = minus_square(a);
    let (more, n) = exp_sum(0.5 * high, 0.5 * low);
    // What lies beyond a, over the density there, varies little times 1 + 1.41 a.
    let t = (a - 5.0) / (a + 5.0);
    let slope = halves!(
        t,
        4.464691611512052e-09,
        3.816119719762613e-09,
        -4.3284421147326046e-08,
        -3.237127928036159e-08,
        2.917814668662051e-07,
        1.4911029082902938e-07,
        -1.9489346282180012e-06,
        1.797397896619239e-07,
        1.3337055271991908e-05,
        -1.6744733331437002e-05,
        -7.620258947728499e-05,
        0.0002828525777020747,
        -4.458117197438961e-05,
        -0.0024609787670459475,
        0.010207506806167511,
        -0.02517490489977666,
        0.04439161775782278,
        -0.05714783162465269,
        0.04763493184940285,
        -0.004180862069210123,
        -0.07006025455439831
    );
    let p = slope.mul_add(t, 0.6207628284311055);
    let below = a.mul_add(WIDE, 1.0);
    let over = 1.0 / below;
    let top = a * p;
    let h = top * over;
    // What rounding took away.
    let lost = a.mul_add(WIDE, 1.0 - below);
    let rest = (h.mul_add(-below, top) + h.mul_add(-lost, a.mul_add(p, -top))) * over;
    let tail = scale_down((h + h.mul_add(more, rest), n));
    let near = 0.5 * x * (1.0 + erf_near(x * FRAC_1_SQRT_2));
    let y = if x < 0.0 { -tail } else { x - tail };
    let y = if a < 0.88 { near } else { y };
    // Zero from here on, but for minus infinity.
    if x < -LIMIT { x * 0.0 } else { y }
}

/// The derivative of [`gelu`]: the normal distribution function at `x` and `x` times its density; NaN
/// for infinities, as in PyTorch.
#[inline(always)]
pub fn gelu_slope(x: f64) -> f64 {
    const DENSITY: f64 = 0.398_942_280_401_432_7;
    let a = x.abs();
    let bell = exp(-0.5 * a * a);
    let a = if a > LIMIT { LIMIT } else { a };
    let tail = bell * (0.5 * erfcx(a * FRAC_1_SQRT_2));
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    below + x * bell * DENSITY
}
