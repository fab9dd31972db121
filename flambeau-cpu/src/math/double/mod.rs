//! The elementary functions of f64, as those of f32 in the module above: branch-free but for the circular
//! ones, of the same bits at every SIMD level, right for every argument. The errors stated are the
//! largest found over some million arguments.

mod erf;
mod exp;
mod log;
mod trig;

pub use erf::{erf, erfc, gelu, gelu_slope};
pub use exp::{exp, exp2, expm1, gelu_tanh, sigmoid, silu, tanh};
pub use log::{log, log1p, log2, log10};
pub use trig::{cos, sin, tan, vcos, vsin, vtan};

/// 1.5 * 2^52: adding it to a smaller number rounds that to a whole one, in the lowest bits.
pub(super) const MAGIC: f64 = 6_755_399_441_055_744.0;

/// A polynomial as two, of even and of odd powers, each by Horner's rule: half as many steps that wait for
/// each other. The highest coefficient first; minimax fits (Remez).
macro_rules! halves {
    ($x:expr $(, $odd:expr, $even:expr)+) => {{
        let x = $x;
        poly!(x * x $(, $even)+) + x * poly!(x * x $(, $odd)+)
    }};
    ($x:expr, $first:expr $(, $odd:expr, $even:expr)+) => {{
        let x = $x;
        poly!(x * x, $first $(, $even)+) + x * poly!(x * x $(, $odd)+)
    }};
}
use halves;

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
    vgelu_tanh = gelu_tanh;
    vlog = log;
    vlog1p = log1p;
    vlog2 = log2;
    vlog10 = log10;
    verf = erf;
    verfc = erfc;
    vgelu = gelu;
}

#[cfg(test)]
mod tests;
