//! Division that leaves a remainder, of floats. The remainder is exact.
//!
//! Where the quotient is small, one fused multiply-add takes its whole part times the divisor off;
//! elements with a larger one, and infinite divisors, take Rust's `%`.

use crate::simd_fn;

/// Elements that are looked over before the rare ones among them are mended.
const BLOCK: usize = 128;

/// A float type that has these operations.
trait Modulo: Copy + Default {
    /// `x / y` rounded towards zero, times y, taken off x; whether the quotient was small enough.
    fn near(x: Self, y: Self) -> (Self, bool);
    /// The same by division of the digits, for every x and y.
    fn any(x: Self, y: Self) -> Self;
    /// The remainder with the divisor's sign, of that with the dividend's.
    fn floored(y: Self, rest: Self) -> Self;
    /// The quotient rounded downwards, of the remainder with the dividend's sign.
    fn quotient(x: Self, y: Self, rest: Self) -> Self;
}

macro_rules! modulo {
    ($t:ident, $limit:expr) => {
        impl Modulo for $t {
            #[inline(always)]
            fn near(x: $t, y: $t) -> ($t, bool) {
                let quotient = x / y;
                let rest = (-quotient.trunc()).mul_add(y, x);
                // A quotient that rounding made whole is one too large.
                let over = (rest < 0.0) != (x < 0.0) && rest != 0.0;
                let rest = if over { rest + y.copysign(x) } else { rest };
                let small = quotient.abs() < $limit && y.abs() < $t::INFINITY;
                (rest.copysign(x), small)
            }
            #[inline(always)]
            fn any(x: $t, y: $t) -> $t {
                x % y
            }
            #[inline(always)]
            fn floored(y: $t, rest: $t) -> $t {
                if rest != 0.0 && (y < 0.0) != (rest < 0.0) {
                    rest + y
                } else {
                    rest
                }
            }
            #[inline(always)]
            fn quotient(x: $t, y: $t, rest: $t) -> $t {
                // Python's rule, which keeps x = y floor(x / y) + remainder as nearly as can be.
                let quotient = (x - rest) / y;
                let lower = rest != 0.0 && (y < 0.0) != (rest < 0.0);
                let quotient = if lower { quotient - 1.0 } else { quotient };
                let floor = quotient.floor();
                let nearest = if quotient - floor > 0.5 {
                    floor + 1.0
                } else {
                    floor
                };
                let whole = if quotient == 0.0 {
                    (0.0 * x).copysign(x / y)
                } else {
                    nearest
                };
                if y == 0.0 { x / y } else { whole }
            }
        }
    };
}
modulo!(f32, 4_194_304.0);
modulo!(f64, 2_251_799_813_685_248.0);

/// `finish(x, y, rest)` for each pair, `rest` being the remainder with the sign of `x`.
#[inline(always)]
fn divide<T: Modulo>(x: &[T], y: &[T], out: &mut [T], finish: impl Fn(T, T, T) -> T) {
    assert!(
        x.len() == out.len() && y.len() == out.len(),
        "slices of different lengths"
    );
    let blocks = x.chunks(BLOCK).zip(y.chunks(BLOCK));
    for (out, (x, y)) in out.chunks_mut(BLOCK).zip(blocks) {
        let mut far = 0u32;
        for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
            let (rest, small) = T::near(x, y);
            far += u32::from(!small);
            *o = finish(x, y, rest);
        }
        if far > 0 {
            for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                if !T::near(x, y).1 {
                    *o = finish(x, y, T::any(x, y));
                }
            }
        }
    }
}

simd_fn! {
    /// `x % y` of each pair, into `out`.
    ///
    /// # Panics
    /// If the lengths differ; so for all of these.
    pub fn fmod_f32(x: &[f32], y: &[f32], out: &mut [f32]) {
        divide(x, y, out, |_, _, rest| rest)
    }
    /// As [`fmod_f32`].
    pub fn fmod_f64(x: &[f64], y: &[f64], out: &mut [f64]) {
        divide(x, y, out, |_, _, rest| rest)
    }
    /// The remainder with the divisor's sign, Python's `%`.
    pub fn remainder_f32(x: &[f32], y: &[f32], out: &mut [f32]) {
        divide(x, y, out, |_, y, rest| Modulo::floored(y, rest))
    }
    /// As [`remainder_f32`].
    pub fn remainder_f64(x: &[f64], y: &[f64], out: &mut [f64]) {
        divide(x, y, out, |_, y, rest| Modulo::floored(y, rest))
    }
    /// The quotient rounded downwards, Python's `//`.
    pub fn floor_divide_f32(x: &[f32], y: &[f32], out: &mut [f32]) {
        divide(x, y, out, Modulo::quotient)
    }
    /// As [`floor_divide_f32`].
    pub fn floor_divide_f64(x: &[f64], y: &[f64], out: &mut [f64]) {
        divide(x, y, out, Modulo::quotient)
    }
}
