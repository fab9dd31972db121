//! Elementary functions of f32 for loops (branch-free, so that they vectorise inside
//! [`dispatch`](crate::simd::dispatch)), and [`Real`], which has them for f32 and f64 alike.
//!
//! They are right for every argument: NaN, infinities, signed zeros and subnormal numbers. The
//! errors stated (in units in the last place) are the largest over all f32 arguments. A function
//! gives the same bits on every CPU and at every SIMD level.

mod angle;
pub mod double;
mod erf;
mod exp;
mod gamma;
mod gelu;
mod hyperbolic;
mod log;
mod modulo;
mod trig;

pub use angle::{acos, asin, atan, atan2, hypot};
pub use erf::{erf, erfc, erfinv, gelu_slope, verfinv};
pub use exp::{exp, exp2, expm1, gelu_tanh, log1p_exp, sigmoid, silu, tanh};
pub use gamma::{digamma, lgamma, vdigamma, vlgamma, vpolygamma};
pub use gelu::{gelu, vgelu};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh};
pub use log::{log, log1p, log2, log10, pow};
pub use modulo::{
    floor_divide_f32, floor_divide_f64, fmod_f32, fmod_f64, remainder_f32, remainder_f64,
};
pub use trig::{cos, sin, tan, vcos, vsin, vtan};

/// 1.5 * 2^23: adding it to a smaller number rounds that to a whole one, in the lowest bits.
const MAGIC: f32 = 12_582_912.0;

/// A polynomial by Horner's rule, the highest coefficient first. They are minimax fits (Remez).
///
/// Products are rounded before they are added: fused multiply-add would be a library call on
/// CPUs without it, and results would differ from level to level.
macro_rules! poly {
    ($x:expr, $first:expr $(, $rest:expr)+) => {{
        let x = $x;
        let y = $first;
        $(let y = y * x + $rest;)+
        y
    }};
}
use poly;

/// The same in fused steps, where a fifth of the time counts: an instruction on AVX-512 and AVX2; on CPUs
/// without it a library call, slow, but of the same bits.
macro_rules! fused {
    ($x:expr, $first:expr $(, $rest:expr)+ $(,)?) => {{
        let x = $x;
        let y = $first;
        $(let y = x.mul_add(y, $rest);)+
        y
    }};
}
use fused;

/// The functions of this module, for code that is generic over f32 and f64.
///
/// f32 takes the functions of this module, f64 those of [`double`].
pub trait Real: Copy + Send + Sync + 'static {
    /// e to the power of x.
    fn exp(self) -> Self;
    /// 2 to the power of x.
    fn exp2(self) -> Self;
    /// exp(x) - 1, precise near 0.
    fn expm1(self) -> Self;
    /// Natural logarithm.
    fn log(self) -> Self;
    /// log(1 + x), precise near 0.
    fn log1p(self) -> Self;
    /// Logarithm to base 2.
    fn log2(self) -> Self;
    /// Logarithm to base 10.
    fn log10(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + exp(-x)).
    fn sigmoid(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// 1 - erf(x), precise for large x.
    fn erfc(self) -> Self;
    /// Sine (radians).
    fn sin(self) -> Self;
    /// Cosine (radians).
    fn cos(self) -> Self;
    /// Tangent (radians).
    fn tan(self) -> Self;
    /// x times the normal distribution function at x (GELU, exact form).
    fn gelu(self) -> Self;
    /// The derivative of GELU's exact form.
    fn gelu_slope(self) -> Self;
    /// GELU's tanh approximation.
    fn gelu_tanh(self) -> Self;
    /// x * sigmoid(x).
    fn silu(self) -> Self;
    /// log(1 + exp(-x)) for x from 0, precise for large x.
    fn log1p_exp(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn exp(self) -> f32 {
        exp(self)
    }
    #[inline(always)]
    fn exp2(self) -> f32 {
        exp2(self)
    }
    #[inline(always)]
    fn expm1(self) -> f32 {
        expm1(self)
    }
    #[inline(always)]
    fn log(self) -> f32 {
        log(self)
    }
    #[inline(always)]
    fn log1p(self) -> f32 {
        log1p(self)
    }
    #[inline(always)]
    fn log2(self) -> f32 {
        log2(self)
    }
    #[inline(always)]
    fn log10(self) -> f32 {
        log10(self)
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> f32 {
        sigmoid(self)
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        erf(self)
    }
    #[inline(always)]
    fn erfc(self) -> f32 {
        erfc(self)
    }
    #[inline(always)]
    fn sin(self) -> f32 {
        sin(self)
    }
    #[inline(always)]
    fn cos(self) -> f32 {
        cos(self)
    }
    #[inline(always)]
    fn tan(self) -> f32 {
        tan(self)
    }
    #[inline(always)]
    fn gelu(self) -> f32 {
        gelu(self)
    }
    #[inline(always)]
    fn gelu_slope(self) -> f32 {
        gelu_slope(self)
    }
    #[inline(always)]
    fn gelu_tanh(self) -> f32 {
        gelu_tanh(self)
    }
    #[inline(always)]
    fn silu(self) -> f32 {
        silu(self)
    }
    #[inline(always)]
    fn log1p_exp(self) -> f32 {
        log1p_exp(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn exp(self) -> f64 {
        double::exp(self)
    }
    #[inline(always)]
    fn exp2(self) -> f64 {
        double::exp2(self)
    }
    #[inline(always)]
    fn expm1(self) -> f64 {
        double::expm1(self)
    }
    #[inline(always)]
    fn log(self) -> f64 {
        double::log(self)
    }
    #[inline(always)]
    fn log1p(self) -> f64 {
        double::log1p(self)
    }
    #[inline(always)]
    fn log2(self) -> f64 {
        double::log2(self)
    }
    #[inline(always)]
    fn log10(self) -> f64 {
        double::log10(self)
    }
    #[inline(always)]
    fn tanh(self) -> f64 {
        double::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> f64 {
        double::sigmoid(self)
    }
    #[inline(always)]
    fn erf(self) -> f64 {
        double::erf(self)
    }
    #[inline(always)]
    fn erfc(self) -> f64 {
        double::erfc(self)
    }
    #[inline(always)]
    fn sin(self) -> f64 {
        double::sin(self)
    }
    #[inline(always)]
    fn cos(self) -> f64 {
        double::cos(self)
    }
    #[inline(always)]
    fn tan(self) -> f64 {
        double::tan(self)
    }
    #[inline(always)]
    fn gelu(self) -> f64 {
        double::gelu(self)
    }
    #[inline(always)]
    fn gelu_slope(self) -> f64 {
        double::gelu_slope(self)
    }
    #[inline(always)]
    fn gelu_tanh(self) -> f64 {
        double::gelu_tanh(self)
    }
    #[inline(always)]
    fn silu(self) -> f64 {
        double::silu(self)
    }
    #[inline(always)]
    fn log1p_exp(self) -> f64 {
        double::log1p_exp(self)
    }
}

/// `second(x, first(x))` of each element, in two loops over a few elements at a time.
///
/// The CPU begins with the next elements while it waits for steps of these, as far as its queues hold: of a
/// long chain that is not far. Two halves of it take two thirds of the time.
#[inline(always)]
fn in_two<T: Copy, R: Copy + Default>(
    x: &[T],
    out: &mut [T],
    first: impl Fn(T) -> R,
    second: impl Fn(T, R) -> T,
) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    let mut between = [R::default(); 256];
    for (x, out) in x.chunks(between.len()).zip(out.chunks_mut(between.len())) {
        for (r, x) in between.iter_mut().zip(x) {
            *r = first(*x);
        }
        for ((o, x), r) in out.iter_mut().zip(x).zip(&between) {
            *o = second(*x, *r);
        }
    }
}

macro_rules! slices {
    ($($(#[$meta:meta])* $name:ident = $f:path;)*) => { $(
        crate::simd_fn! {
            $(#[$meta])*
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(x: &[f32], out: &mut [f32]) {
                assert_eq!(x.len(), out.len(), "slices of different lengths");
                for (o, x) in out.iter_mut().zip(x) {
                    *o = $f(*x);
                }
            }
        }
    )* };
}

slices! {
    /// [`exp`] of each element of `x`, into `out`.
    vexp = exp;
    /// [`exp2`] of each element of `x`, into `out`.
    vexp2 = exp2;
    /// [`expm1`] of each element of `x`, into `out`.
    vexpm1 = expm1;
    /// [`log`] of each element of `x`, into `out`.
    vlog = log;
    /// [`log1p`] of each element of `x`, into `out`.
    vlog1p = log1p;
    /// [`log2`] of each element of `x`, into `out`.
    vlog2 = log2;
    /// [`log10`] of each element of `x`, into `out`.
    vlog10 = log10;
    /// [`tanh`] of each element of `x`, into `out`.
    vtanh = tanh;
    /// [`sigmoid`] of each element of `x`, into `out`.
    vsigmoid = sigmoid;
    /// [`erf`] of each element of `x`, into `out`.
    verf = erf;
    /// [`erfc`] of each element of `x`, into `out`.
    verfc = erfc;
    /// [`gelu_tanh`] of each element of `x`, into `out`.
    vgelu_tanh = gelu_tanh;
    /// [`log1p_exp`] of each element of `x`, into `out`.
    vlog1p_exp = log1p_exp;
    /// [`silu`] of each element of `x`, into `out`.
    vsilu = silu;
    /// [`asin`] of each element of `x`, into `out`.
    vasin = asin;
    /// [`acos`] of each element of `x`, into `out`.
    vacos = acos;
    /// [`atan`] of each element of `x`, into `out`.
    vatan = atan;
    /// [`sinh`] of each element of `x`, into `out`.
    vsinh = sinh;
    /// [`cosh`] of each element of `x`, into `out`.
    vcosh = cosh;
    /// [`asinh`] of each element of `x`, into `out`.
    vasinh = asinh;
    /// [`acosh`] of each element of `x`, into `out`.
    vacosh = acosh;
    /// [`atanh`] of each element of `x`, into `out`.
    vatanh = atanh;
}

macro_rules! pairs {
    ($($(#[$meta:meta])* $name:ident = $f:path;)*) => { $(
        crate::simd_fn! {
            $(#[$meta])*
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(a: &[f32], b: &[f32], out: &mut [f32]) {
                assert!(a.len() == out.len() && b.len() == out.len(), "slices of different lengths");
                for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                    *o = $f(*a, *b);
                }
            }
        }
    )* };
}

pairs! {
    /// [`atan2`] of each element of `a` and that of `b`, into `out`.
    vatan2 = atan2;
    /// [`hypot`] of each element of `a` and that of `b`, into `out`.
    vhypot = hypot;
}

#[cfg(test)]
mod tests;
