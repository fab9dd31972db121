//! The element types that can be filled with random numbers, and how each converts.

use half::{bf16, f16};

/// An element type of a fill: `f32`, `f64`, `f16`, `bf16`, `i64`, `i32`, `i16`, `i8`, `u8` or
/// `bool`.
pub trait Number: Copy + PartialEq + Send + Sync + sealed::Sealed + 'static {
    /// PyTorch's name of the type, for messages.
    const NAME: &'static str;
    /// The least integer that the type holds, or `i64`'s where that is greater.
    const MIN: i64;
    /// The greatest integer that the type holds, or `i64`'s where that is less.
    const MAX: i64;
    /// Bits of significand, the leading one included; 0 for integers.
    const MANTISSA_DIGITS: u32;
    /// Converts as C++ does: wraps (integers), rounds to nearest (floats), tests for 0 (`bool`).
    fn from_i64(value: i64) -> Self;
    /// Converts as C++ does: truncates (integers), rounds to nearest (floats; the 16-bit ones by
    /// way of `f32`), tests for 0 (`bool`).
    fn from_f64(value: f64) -> Self;
    /// Truncates.
    fn to_i64(self) -> i64;
}

/// A floating element type.
pub trait Real: Number {
    /// The greatest finite value.
    const LARGEST: f64;
    /// Rounds a value computed in `f32` to nearest.
    fn from_f32(value: f32) -> Self;
    /// Widens exactly.
    fn to_f64(self) -> f64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! number {
    ($t:ident, $name:literal, $min:expr, $max:expr, $digits:expr, |$x:ident| $convert:expr, |$v:ident| $back:expr) => {
        impl sealed::Sealed for $t {}
        impl Number for $t {
            const NAME: &'static str = $name;
            const MIN: i64 = $min;
            const MAX: i64 = $max;
            const MANTISSA_DIGITS: u32 = $digits;
            #[inline(always)]
            fn from_i64($x: i64) -> Self {
                $convert
            }
            #[inline(always)]
            fn from_f64($x: f64) -> Self {
                $convert
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                let $v = self;
                $back
            }
        }
    };
}
number!(i64, "int64", i64::MIN, i64::MAX, 0, |x| x as i64, |v| v
    as i64);
number!(
    i32,
    "int32",
    i32::MIN as i64,
    i32::MAX as i64,
    0,
    |x| x as i32,
    |v| v as i64
);
number!(
    i16,
    "int16",
    i16::MIN as i64,
    i16::MAX as i64,
    0,
    |x| x as i16,
    |v| v as i64
);
number!(
    i8,
    "int8",
    i8::MIN as i64,
    i8::MAX as i64,
    0,
    |x| x as i8,
    |v| v as i64
);
number!(u8, "uint8", 0, u8::MAX as i64, 0, |x| x as u8, |v| v as i64);
number!(bool, "bool", 0, 1, 0, |x| x as f64 != 0.0, |v| v as i64);
number!(f64, "float64", i64::MIN, i64::MAX, 53, |x| x as f64, |v| v
    as i64);
number!(f32, "float32", i64::MIN, i64::MAX, 24, |x| x as f32, |v| v
    as i64);
number!(
    bf16,
    "bfloat16",
    i64::MIN,
    i64::MAX,
    8,
    |x| bf16::from_f32(x as f32),
    |v| v.to_f32() as i64
);
number!(
    f16,
    "float16",
    -65504,
    65504,
    11,
    |x| f16::from_f32(x as f32),
    |v| v.to_f32() as i64
);

macro_rules! real {
    ($t:ident, $largest:expr, |$x:ident| $convert:expr) => {
        impl Real for $t {
            const LARGEST: f64 = $largest;
            #[inline(always)]
            fn from_f32($x: f32) -> Self {
                $convert
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
        }
    };
}
real!(f64, f64::MAX, |x| x as f64);
real!(f32, f32::MAX as f64, |x| x);
real!(bf16, 3.3895313892515355e38, |x| bf16::from_f32(x));
real!(f16, 65504.0, |x| f16::from_f32(x));
