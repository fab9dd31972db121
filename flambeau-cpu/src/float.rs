//! The element types that the numeric kernels compute in.

use std::fmt::{Debug, Display};
use std::ops::{AddAssign, Div, MulAssign, Neg, Sub, SubAssign};

use crate::fold::{Extremes, Sums};
use half::bf16;

use crate::alloc::Pod;
use crate::convert::Near;
use crate::gemm::GemmScalar;
use crate::lanes::Vectors;
use crate::math::Real;
use crate::pool::{AvgPoolKernels, MaxPoolKernels};
use crate::softmax::SoftmaxKernels;

/// An element type that kernels do arithmetic in: `f32` or `f64`. (`f16` and `bf16` are widened
/// to `f32` by the caller.)
pub trait Float:
    GemmScalar
    + Real
    + Extremes
    + Sums
    + Vectors
    + SoftmaxKernels<Self>
    + MaxPoolKernels<Self>
    + AvgPoolKernels<Self>
    + Default
    + PartialOrd
    + Debug
    + Display
    + Sub<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// Minus infinity.
    const NEG_INFINITY: Self;

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// This value, widened exactly.
    fn to_f64(self) -> f64;
    /// Whether this is NaN.
    fn is_nan(self) -> bool;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// `self * b + c`, fused only where the target's baseline has the instruction (elsewhere
    /// `mul_add` would be a library call).
    fn multiply_add(self, b: Self, c: Self) -> Self;
}

macro_rules! float {
    ($t:ty) => {
        impl Float for $t {
            const NEG_INFINITY: Self = <$t>::NEG_INFINITY;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn multiply_add(self, b: Self, c: Self) -> Self {
                if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                    self.mul_add(b, c)
                } else {
                    self * b + c
                }
            }
        }
    };
}
float!(f32);
float!(f64);

/// Functions over the float types whose bodies are compiled in this crate, once for each type: a crate that
/// calls a generic function compiles it anew, kernels for every SIMD level included. The body is
/// the function behind `=`; [`Float`] has the trait. Not for kernels that keep their sums in arrays: at this
/// crate's level of optimisation some end up in memory, and norms take up to twice as long.
macro_rules! compiled_here {
    (
        $Trait:ident<$T:ident>;
        $($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;)*
    ) => {
        #[allow(missing_docs, clippy::too_many_arguments)]
        #[doc(hidden)]
        pub trait $Trait<$T> {
            $(fn $name($($arg: $ty),*) $(-> $ret)?;)*
        }
        $crate::float::compiled_here!(@for f32, $Trait<$T>; $(fn $name($($arg: $ty),*) $(-> $ret)? = $body;)*);
        $crate::float::compiled_here!(@for f64, $Trait<$T>; $(fn $name($($arg: $ty),*) $(-> $ret)? = $body;)*);
        $(
            $(#[$meta])*
            #[inline(always)]
            pub fn $name<$T: $crate::float::Float>($($arg: $ty),*) $(-> $ret)? {
                <$T as $Trait<$T>>::$name($($arg),*)
            }
        )*
    };
    (
        @for $t:ty, $Trait:ident<$T:ident>;
        $(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:path;)*
    ) => {
        const _: () = {
            type $T = $t;
            impl $Trait<$T> for $t {
                $(
                    #[inline(never)]
                    fn $name($($arg: $ty),*) $(-> $ret)? {
                        $body($($arg),*)
                    }
                )*
            }
        };
    };
}
pub(crate) use compiled_here;

/// How values that are summed as `T` are stored: as `T`, or as bf16 for sums of f32.
pub(crate) trait Stored<T>: Pod {
    /// The value, exactly.
    fn widen(self) -> T;
    /// The nearest, ties to even; a NaN stays one.
    fn narrow(value: T) -> Self;
    /// All of `x`, which are no more than fit the buffer where they have to be widened into that.
    fn widened<'a>(x: &'a [Self], buffer: &'a mut [T]) -> &'a [T];
}

impl<T: Float> Stored<T> for T {
    #[inline(always)]
    fn widen(self) -> T {
        self
    }
    #[inline(always)]
    fn narrow(value: T) -> T {
        value
    }
    #[inline(always)]
    fn widened<'a>(x: &'a [T], _: &'a mut [T]) -> &'a [T] {
        x
    }
}

impl Stored<f32> for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.wide()
    }
    #[inline(always)]
    fn narrow(value: f32) -> bf16 {
        bf16::near(value)
    }
    #[inline(always)]
    fn widened<'a>(x: &'a [bf16], buffer: &'a mut [f32]) -> &'a [f32] {
        let buffer = &mut buffer[..x.len()];
        for (o, x) in buffer.iter_mut().zip(x) {
            *o = x.wide();
        }
        buffer
    }
}

/// A window, stride or padding that gives no valid output, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeError(pub String);

impl std::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShapeError {}
