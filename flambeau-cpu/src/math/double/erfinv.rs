//! The inverse of the error function.

use super::log::{log_reduced, split};
use crate::math::in_two;

/// Where a piece of [`erfinv`] ends and the next one begins.
const ENDS: [f64; 2] = [4.0, 13.0];
/// The middles of the pieces.
const CENTRES: [f64; 3] = [2.0, 2.796875, 4.84375];

/// A polynomial with one of three lists of coefficients, as `near` and `mid` say; the highest power first.
macro_rules! pieces {
    ($x:expr, $near:expr, $mid:expr, $first:tt, $($rest:tt),+ $(,)?) => {{
        let (x, near, mid) = ($x, $near, $mid);
        let y: f64 = pieces!(@ near mid $first);
        $(let y = y.mul_add(x, pieces!(@ near mid $rest));)+
        y
    }};
    (@ $near:ident $mid:ident [$a:expr, $b:expr, $c:expr]) => {
        if $near { $a } else if $mid { $b } else { $c }
    };
}

/// `-log(1 - x^2)`.
#[inline(always)]
fn depth(x: f64) -> f64 {
    // 1 - x^2 as a sum of two.
    let t = x * x;
    let u = 1.0 - t;
    let lost = ((1.0 - u) - t) - x.mul_add(x, -t);
    let (m, e, down) = split(u);
    -log_reduced(lost.mul_add(down, m - 1.0), e)
}

/// [`erfinv`] of `x`, whose [`depth`] is `w`.
#[inline(always)]
fn erfinv_at(x: f64, w: f64) -> f64 {
    let (near, mid) = (w < ENDS[0], w < ENDS[1]);
    let far = w.sqrt() - if mid { CENTRES[1] } else { CENTRES[2] };
    let t = if near { w - CENTRES[0] } else { far };
    let slope = pieces!(
        t,
        near,
        mid,
        [
            -2.9024281452017355e-18,
            -5.1363610817710206e-08,
            2.553199553429608e-12
        ],
        [
            -3.420456701485926e-17,
            1.3685107350984333e-07,
            2.5797039606843097e-12
        ],
        [
            3.1689118360348205e-16,
            1.3273590332133462e-07,
            -5.371767781054512e-11
        ],
        [
            1.2240038249342043e-15,
            -9.873048992522584e-07,
            1.172143637479332e-10
        ],
        [
            -1.9852769299435196e-14,
            1.1702736880827919e-06,
            -2.7223381242333686e-11
        ],
        [
            1.759396083296528e-14,
            2.142202215951608e-06,
            -4.798580733873494e-10
        ],
        [
            8.459964296986972e-13,
            -9.423321404791295e-06,
            2.273703276335426e-09
        ],
        [
            -4.3327048294593455e-12,
            9.511711529391019e-06,
            -7.429886154044891e-09
        ],
        [
            -2.1235774972440927e-11,
            2.2260043393628355e-05,
            1.869526138117381e-08
        ],
        [
            2.939232881240446e-10,
            -8.497818754650595e-05,
            -3.8824062802230315e-08
        ],
        [
            -2.563277358433678e-10,
            7.342231274131512e-05,
            7.249675195042731e-08
        ],
        [
            -1.2896051647773843e-08,
            0.00020224258147419878,
            -1.41661790058012e-07
        ],
        [
            6.906214846810512e-08,
            -0.0006928900374749103,
            3.683381214687268e-07
        ],
        [
            3.169428895089016e-07,
            0.0006437175114851541,
            -1.3556914981902534e-06
        ],
        [
            -4.8744706988702e-06,
            0.0012122760564816529,
            5.79481116257256e-06
        ],
        [
            7.581550373895259e-06,
            -0.005316111696471873,
            -2.4488868794465572e-05
        ],
        [
            0.00021593778927913503,
            0.010218301860669634,
            9.317218660372028e-05
        ],
        [
            -0.0016921483697708278,
            -0.013982178223443912,
            -0.000267699601258023
        ],
        [
            -0.0019681435417813423,
            0.015847442147693395,
            -2.599852135654919e-05
        ],
        [0.24976806887075081, 0.9966678953580054, 1.0103268444883384],
    );
    // The value at the centre, as a sum of two.
    let [value, rest] = [
        [1.3772152115148184, 2.629976304344011, 4.69204443454413],
        [
            7.068615877576852e-17,
            -2.276898436194855e-17,
            8.769449053755192e-17,
        ],
    ]
    .map(|c| {
        if near {
            c[0]
        } else if mid {
            c[1]
        } else {
            c[2]
        }
    });
    let y = x.mul_add(value, x * slope.mul_add(t, rest));
    let a = x.abs();
    let y = if a == 1.0 { f64::INFINITY } else { y };
    (if a <= 1.0 { y } else { f64::NAN }).copysign(x)
}

/// The inverse of [`erf`](super::erf()): infinite at 1 and -1, NaN beyond. At most 1.5 ulp off.
///
/// `erfinv(x) / x` is smooth in `w = -log(1 - x^2)` where that is small, elsewhere in its root
/// ([Giles](https://people.maths.ox.ac.uk/gilesm/files/gems_erfinv.pdf)).
#[inline(always)]
pub fn erfinv(x: f64) -> f64 {
    erfinv_at(x, depth(x))
}

crate::simd_fn! {
    /// [`erfinv`] of each element of `x`, into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn verfinv(x: &[f64], out: &mut [f64]) {
        in_two(x, out, depth, erfinv_at);
    }
}
