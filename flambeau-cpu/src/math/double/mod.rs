//! The elementary functions of f64, as those of f32 in the module above: branch-free but for the circular
//! ones, of the same bits at every SIMD level, right for every argument. The errors stated are above the
//! largest found over some ten thousand arguments; `goldens/fit.py` fits polynomials.

mod angle;
mod erf;
mod erfinv;
mod exp;
mod gamma;
mod hyperbolic;
mod log;
mod polygamma;
mod power;
mod trig;

pub use angle::{acos, asin, atan, atan2, hypot};
pub use erf::{erf, erfc, gelu, gelu_slope};
pub use erfinv::{erfinv, verfinv};
pub use exp::{exp, exp2, expm1, gelu_tanh, log1p_exp, sigmoid, silu, tanh};
pub use gamma::{digamma, lgamma, vdigamma, vlgamma};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh};
pub use log::{log, log1p, log2, log10};
pub use polygamma::{polygamma, trigamma, vpolygamma};
pub use power::{pow, vpow_number};
pub use trig::{cos, sin, tan, vcos, vsin, vtan};

/// 1.5 * 2^52: adding it to a smaller number rounds that to a whole one, in the lowest bits.
pub(super) const MAGIC: f64 = 6_755_399_441_055_744.0;

/// A polynomial by Horner's rule, the highest coefficient first. They are minimax fits (Remez).
///
/// Products are added before they are rounded: on AVX-512 and AVX2 that is one instruction, and loops take
/// half the time. On CPUs without it it is a library call, slow, but of the same bits.
macro_rules! poly {
    ($x:expr, $first:expr $(, $rest:expr)+) => {{
        let x = $x;
        let y = f64::from($first);
        $(let y = y.mul_add(x, $rest);)+
        y
    }};
}
pub(super) use poly;

/// The same as two, of even and of odd powers: half as many steps that wait for each other.
macro_rules! halves {
    ($x:expr $(, $odd:expr, $even:expr)+ $(,)?) => {{
        let x = $x;
        $crate::math::double::poly!(x * x $(, $odd)+).mul_add(x, $crate::math::double::poly!(x * x $(, $even)+))
    }};
    ($x:expr, $first:expr $(, $odd:expr, $even:expr)+ $(,)?) => {{
        let x = $x;
        $crate::math::double::poly!(x * x $(, $odd)+).mul_add(x, $crate::math::double::poly!(x * x, $first $(, $even)+))
    }};
}
pub(super) use halves;

macro_rules! slices {
    ($($name:ident = $f:ident;)*) => { $(
        crate::simd_fn! {
            #[doc = concat!("[`", stringify!($f), "`] of each element of `x`, into `out`.")]
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(x: &[f64], out: &mut [f64]) {
                assert_eq!(x.len(), out.len(), "slices of different lengths");
                for (o, x) in out.iter_mut().zip(x) {
                    *o = $f(*x);
                }
            }
        }
    )* };
}
slices! {
    vexp = exp;
    vexp2 = exp2;
    vexpm1 = expm1;
    vtanh = tanh;
    vsigmoid = sigmoid;
    vsilu = silu;
    vlog1p_exp = log1p_exp;
    vgelu_tanh = gelu_tanh;
    vlog = log;
    vlog1p = log1p;
    vlog2 = log2;
    vlog10 = log10;
    verf = erf;
    verfc = erfc;
    vgelu = gelu;
    vsinh = sinh;
    vcosh = cosh;
    vasinh = asinh;
    vacosh = acosh;
    vatanh = atanh;
    vasin = asin;
    vacos = acos;
    vatan = atan;
}

macro_rules! pairs {
    ($($name:ident = $f:ident;)*) => { $(
        crate::simd_fn! {
            #[doc = concat!("[`", stringify!($f), "`] of each element of `a` and that of `b`, into `out`.")]
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(a: &[f64], b: &[f64], out: &mut [f64]) {
                assert!(a.len() == out.len() && b.len() == out.len(), "slices of different lengths");
                for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                    *o = $f(*a, *b);
                }
            }
        }
    )* };
}
pairs! {
    vatan2 = atan2;
    vhypot = hypot;
    vpow = pow;
}

#[cfg(test)]
mod tests;
