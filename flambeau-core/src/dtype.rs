//! Element types and PyTorch's promotion rules.

use crate::ops::elementwise::convert_slice;
use flambeau_cpu::convert::{self, Truncate};
use half::{bf16, f16};
use std::fmt;

/// The type of a tensor's elements.
///
/// The order is that of promotion inside a category; see [`DType::promote`].
///
/// ```
/// use flambeau_core::DType;
/// assert_eq!((DType::BF16.size(), DType::BF16.name()), (2, "bfloat16"));
/// assert_eq!(DType::I64.promote(DType::F16), DType::F16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Boolean, one byte.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer, PyTorch's `long`: the type of indices and labels.
    I64,
    /// IEEE half precision.
    F16,
    /// Brain float: eight exponent bits, seven of fraction.
    BF16,
    /// Single precision, the default.
    F32,
    /// Double precision.
    F64,
}

use DType::*;

impl DType {
    /// Every element type.
    pub const ALL: [DType; 10] = [Bool, U8, I8, I16, I32, I64, F16, BF16, F32, F64];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Bool | U8 | I8 => 1,
            I16 | F16 | BF16 => 2,
            I32 | F32 => 4,
            I64 | F64 => 8,
        }
    }

    /// PyTorch's name, as in `torch.float32`.
    pub const fn name(self) -> &'static str {
        match self {
            Bool => "bool",
            U8 => "uint8",
            I8 => "int8",
            I16 => "int16",
            I32 => "int32",
            I64 => "int64",
            F16 => "float16",
            BF16 => "bfloat16",
            F32 => "float32",
            F64 => "float64",
        }
    }

    /// The type of that name (`"float32"`, with or without `torch.`; `"float"`, `"long"` and the
    /// other aliases of PyTorch too).
    ///
    /// ```
    /// use flambeau_core::DType;
    /// assert_eq!(DType::from_name("torch.float16"), Some(DType::F16));
    /// assert_eq!(DType::from_name("long"), Some(DType::I64));
    /// ```
    pub fn from_name(name: &str) -> Option<DType> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        Some(match name {
            "float" => F32,
            "double" => F64,
            "half" => F16,
            "long" => I64,
            "int" => I32,
            "short" => I16,
            _ => return Self::ALL.into_iter().find(|d| d.name() == name),
        })
    }

    /// Whether this is one of the four floating-point types.
    pub const fn is_floating_point(self) -> bool {
        matches!(self, F16 | BF16 | F32 | F64)
    }

    /// Whether this is an integer type (not bool).
    pub const fn is_integer(self) -> bool {
        matches!(self, U8 | I8 | I16 | I32 | I64)
    }

    /// 0 for bool, 1 for integers, 2 for floating point: a 0-d operand or a Rust number changes
    /// the result's type only where its category is higher.
    pub(crate) const fn category(self) -> u8 {
        match self {
            Bool => 0,
            U8 | I8 | I16 | I32 | I64 => 1,
            _ => 2,
        }
    }

    /// [`torch.promote_types`](https://pytorch.org/docs/stable/generated/torch.promote_types.html):
    /// the smallest type that holds values of both.
    ///
    /// ```
    /// use flambeau_core::DType;
    /// assert_eq!(DType::F32.promote(DType::I64), DType::F32);
    /// assert_eq!(DType::U8.promote(DType::I8), DType::I16);
    /// assert_eq!(DType::F16.promote(DType::BF16), DType::F32);
    /// ```
    pub const fn promote(self, other: DType) -> DType {
        match (self, other) {
            (U8, I8) | (I8, U8) => I16,
            (F16, BF16) | (BF16, F16) => F32,
            (a, b) => {
                if (a as u8) >= (b as u8) {
                    a
                } else {
                    b
                }
            }
        }
    }

    /// The type in which reductions such as `sum` accumulate integers: `i64`; others unchanged.
    pub const fn sum_type(self) -> DType {
        match self {
            Bool | U8 | I8 | I16 | I32 | I64 => I64,
            d => d,
        }
    }

    /// Floating-point types unchanged, others the default type `f32`: the result type of
    /// `exp`, true division, `mean` of a division and the like.
    pub const fn to_float(self) -> DType {
        if self.is_floating_point() { self } else { F32 }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that a tensor's elements convert to and from.
pub trait Element:
    sealed::Sealed + Copy + Default + PartialEq + Send + Sync + fmt::Debug + 'static
{
    /// What the bytes in storage are read as: the type itself, `u8` for `bool`.
    type Stored: Stored;
    /// The tensor type that this Rust type stands for.
    const DTYPE: DType;
    /// To the stored form.
    fn store(self) -> Self::Stored;
    /// From the stored form.
    fn restore(stored: Self::Stored) -> Self;
}

/// A type that storage holds, with its conversions to the types kernels compute in.
/// Conversions are PyTorch's: towards integers floats are truncated and narrow types wrap.
pub trait Stored:
    sealed::Sealed
    + flambeau_cpu::alloc::Pod
    + flambeau_cuda::Pod
    + Copy
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + 'static
{
    /// As `f32`.
    fn to_f32(self) -> f32;
    /// As `f64`.
    fn to_f64(self) -> f64;
    /// As `i64`, truncating.
    fn to_i64(self) -> i64;
    /// As `i32`, truncating and wrapping.
    #[inline(always)]
    fn to_i32(self) -> i32 {
        self.to_i64() as i32
    }
    /// Whether it differs from zero (NaN does).
    fn to_bool(self) -> bool;
    /// From `f32`.
    fn from_f32(v: f32) -> Self;
    /// From `f64`.
    fn from_f64(v: f64) -> Self;
    /// From `i64`, wrapping.
    fn from_i64(v: i64) -> Self;
    /// From `i32`, wrapping.
    #[inline(always)]
    fn from_i32(v: i32) -> Self {
        Self::from_i64(v as i64)
    }
    /// [`to_f32`](Stored::to_f32) of each element.
    #[doc(hidden)]
    fn widen(x: &[Self], out: &mut [f32]) {
        convert_slice(x, out, Self::to_f32);
    }
    /// [`from_f32`](Stored::from_f32) of each element.
    #[doc(hidden)]
    fn narrow(x: &[f32], out: &mut [Self]) {
        convert_slice(x, out, Self::from_f32);
    }
    /// [`to_f64`](Stored::to_f64) of each element.
    #[doc(hidden)]
    fn widen64(x: &[Self], out: &mut [f64]) {
        convert_slice(x, out, Self::to_f64);
    }
    /// [`to_i64`](Stored::to_i64) of each element, as 8 bits.
    #[doc(hidden)]
    fn whole8(x: &[Self], out: &mut [i8]) {
        convert_slice(x, out, |v| v.to_i64() as i8);
    }
    /// [`to_i64`](Stored::to_i64) of each element, as 16 bits.
    #[doc(hidden)]
    fn whole16(x: &[Self], out: &mut [i16]) {
        convert_slice(x, out, |v| v.to_i64() as i16);
    }
    /// [`to_i32`](Stored::to_i32) of each element.
    #[doc(hidden)]
    fn whole32(x: &[Self], out: &mut [i32]) {
        convert_slice(x, out, Self::to_i32);
    }
    /// [`to_i64`](Stored::to_i64) of each element.
    #[doc(hidden)]
    fn whole64(x: &[Self], out: &mut [i64]) {
        convert_slice(x, out, Self::to_i64);
    }
}

macro_rules! stored {
    ($($t:ty $(: $truncate:path)?);*) => {$(
        impl sealed::Sealed for $t {}
        impl Stored for $t {
            #[inline(always)]
            fn to_f32(self) -> f32 { self as f32 }
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn to_bool(self) -> bool { self != 0 as $t }
            #[inline(always)]
            fn from_f32(v: f32) -> Self { stored!(@float v, $t) }
            #[inline(always)]
            fn from_f64(v: f64) -> Self { stored!(@float v, $t) }
            #[inline(always)]
            fn from_i64(v: i64) -> Self { v as $t }
            #[inline(always)]
            fn from_i32(v: i32) -> Self { v as $t }
            $(
                fn whole8(x: &[Self], out: &mut [i8]) { $truncate(x, out) }
                fn whole16(x: &[Self], out: &mut [i16]) { $truncate(x, out) }
                fn whole32(x: &[Self], out: &mut [i32]) { $truncate(x, out) }
                fn whole64(x: &[Self], out: &mut [i64]) { $truncate(x, out) }
            )?
        }
    )*};
    (@float $v:ident, f32) => { $v as f32 };
    (@float $v:ident, f64) => { $v as f64 };
    (@float $v:ident, $t:ty) => { stored_from_float!($v, $t) };
}
macro_rules! stored_from_float {
    ($v:ident, $t:ty) => {{
        // Through i64, so that a float outside the narrow type wraps as it does in PyTorch.
        const FLOAT: bool = (0.5 as $t) != (0 as $t);
        if FLOAT { $v as $t } else { $v as i64 as $t }
    }};
}
stored!(f32: Truncate::truncate; f64: Truncate::truncate; i64; i32; i16; i8; u8);

macro_rules! stored_half {
    ($($t:ty, $widen:ident, $narrow:ident);*) => {$(
        impl sealed::Sealed for $t {}
        impl Stored for $t {
            #[inline(always)]
            fn to_f32(self) -> f32 { <$t>::to_f32(self) }
            #[inline(always)]
            fn to_f64(self) -> f64 { <$t>::to_f64(self) }
            #[inline(always)]
            fn to_i64(self) -> i64 { <$t>::to_f32(self) as i64 }
            #[inline(always)]
            fn to_bool(self) -> bool { self.to_bits() & 0x7fff != 0 }
            #[inline(always)]
            fn from_f32(v: f32) -> Self { <$t>::from_f32(v) }
            #[inline(always)]
            fn from_f64(v: f64) -> Self { <$t>::from_f32(v as f32) }
            #[inline(always)]
            fn from_i64(v: i64) -> Self { <$t>::from_f32(v as f32) }
            fn widen(x: &[Self], out: &mut [f32]) { convert::$widen(x, out) }
            fn narrow(x: &[f32], out: &mut [Self]) { convert::$narrow(x, out) }
            fn widen64(x: &[Self], out: &mut [f64]) {
                let mut wide = [0.0; 256];
                for (x, out) in x.chunks(wide.len()).zip(out.chunks_mut(256)) {
                    let wide = &mut wide[..x.len()];
                    Self::widen(x, wide);
                    f32::widen64(wide, out);
                }
            }
            fn whole8(x: &[Self], out: &mut [i8]) { Truncate::truncate(x, out) }
            fn whole16(x: &[Self], out: &mut [i16]) { Truncate::truncate(x, out) }
            fn whole32(x: &[Self], out: &mut [i32]) { Truncate::truncate(x, out) }
            fn whole64(x: &[Self], out: &mut [i64]) { Truncate::truncate(x, out) }
        }
    )*};
}

stored_half!(f16, f16_to_f32, f32_to_f16; bf16, bf16_to_f32, f32_to_bf16);

macro_rules! element {
    ($($t:ty => $d:ident),*) => {$(
        impl Element for $t {
            type Stored = $t;
            const DTYPE: DType = $d;
            #[inline(always)]
            fn store(self) -> $t { self }
            #[inline(always)]
            fn restore(stored: $t) -> $t { stored }
        }
    )*};
}
element!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i16 => I16, i8 => I8, u8 => U8);

impl sealed::Sealed for bool {}
impl Element for bool {
    type Stored = u8;
    const DTYPE: DType = Bool;
    #[inline(always)]
    fn store(self) -> u8 {
        self as u8
    }
    #[inline(always)]
    fn restore(stored: u8) -> bool {
        stored != 0
    }
}

/// Runs `$body` with the type alias `$t` standing for what storage holds for `$dtype`
/// (`u8` for bool).
#[macro_export]
#[doc(hidden)]
macro_rules! with_stored {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool | $crate::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::DType::I8 => {
                type $t = i8;
                $body
            }
            $crate::DType::I16 => {
                type $t = i16;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::F16 => {
                type $t = ::half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = ::half::bf16;
                $body
            }
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}

/// A number written in the program: it takes part in promotion by its category alone.
///
/// ```
/// use flambeau_core::{DType, Tensor};
/// let x = Tensor::new([1i64, 2])?;
/// assert_eq!(x.mul(2)?.dtype(), DType::I64);
/// assert_eq!(x.mul(2.0)?.dtype(), DType::F32);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
}

impl Scalar {
    /// The value as `f64`.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Bool(b) => b as u8 as f64,
            Scalar::Int(i) => i as f64,
            Scalar::Float(f) => f,
        }
    }
    /// The value as `i64`, truncated.
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Bool(b) => b as i64,
            Scalar::Int(i) => i,
            Scalar::Float(f) => f as i64,
        }
    }
    /// The type a tensor made of it has: bool, `i64` or the default `f32`.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => Bool,
            Scalar::Int(_) => I64,
            Scalar::Float(_) => F32,
        }
    }
}

macro_rules! scalar_from {
    ($($t:ty => $v:ident as $to:ty),*) => {$(
        impl From<$t> for Scalar {
            fn from(v: $t) -> Scalar { Scalar::$v(v as $to) }
        }
    )*};
}
scalar_from!(bool => Bool as bool, i64 => Int as i64, i32 => Int as i64, i16 => Int as i64, i8 => Int as i64,
    u8 => Int as i64, u32 => Int as i64, usize => Int as i64, f32 => Float as f64, f64 => Float as f64);
