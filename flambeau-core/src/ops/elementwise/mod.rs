//! Elementwise operations.
//!
//! A kernel is a loop over contiguous chunks in one of four lanes: `f32` (for f16, bf16 and f32),
//! `f64`, `i32` (for bool and the integers up to 32 bits) and `i64`. [`map`] brings operands of any
//! layout, broadcast and type to such chunks, so a row of the tables in `unary`, `binary` and `compare`
//! is all that a new operation takes.

pub(crate) mod activation;
pub(crate) mod binary;
pub(crate) mod choose;
pub(crate) mod clamp;
pub(crate) mod compare;
mod copy;
pub(crate) mod divide;
mod gate;
mod hot;
mod map;
pub(crate) mod pairs;
pub(crate) mod power;
mod products;
mod rows;
mod source;
pub(crate) mod unary;

pub(crate) use copy::{axes, copy_into, to_contiguous, with_size};
pub(crate) use map::{KernelResult, map, map_in_place};
pub(crate) use rows::{fill_in_place, in_place_rows};

use crate::autograd::is_grad_enabled;
use crate::dtype::{Element, Stored};
use crate::tensor::Tensor;
use crate::{DType, Result};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Elements whose number a thread's are a multiple of: those of some whole cache lines.
const UNIT: usize = 64;
/// Elements gathered at a time where an operand is not laid out as the kernel wants it.
const CHUNK: usize = 512;
/// Rows this long are worth a call of the kernel each; shorter ones are gathered several at a time.
const ROW: usize = 64;

/// What an operation does with its operands' type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Integers and bool become `f32` first.
    Float,
    /// It is kept.
    Same,
    /// It is kept, and bool refused.
    Number,
}

impl Kind {
    /// Whether the result of operands of `dtype` has that type too, and there is one.
    fn keeps(self, dtype: DType) -> bool {
        match self {
            Kind::Float => dtype.is_floating_point(),
            Kind::Same => true,
            Kind::Number => dtype != DType::Bool,
        }
    }
}

/// What an in-place operation on `x` with a rule that reads `x` computes from: a copy where it will
/// be recorded, for the rule wants the elements that are about to be overwritten.
pub(crate) fn original(x: &Tensor, others: &[&Tensor]) -> Result<Tensor> {
    if is_grad_enabled() && (x.tracked() || others.iter().any(|t| t.tracked())) {
        x.copy()
    } else {
        Ok(x.clone())
    }
}

/// A type kernels compute in.
pub(crate) trait Lane: Stored {
    const DTYPE: DType;
    fn load<S: Stored>(s: S) -> Self;
    /// [`load`](Lane::load) of each element of `x`, into `out`.
    fn load_slice<S: Stored>(x: &[S], out: &mut [Self]);
}

macro_rules! lane {
    ($($t:ty, $d:ident, $to:ident, |$x:ident, $out:ident| $slice:expr);*) => {$(
        impl Lane for $t {
            const DTYPE: DType = DType::$d;
            #[inline(always)]
            fn load<S: Stored>(s: S) -> $t { s.$to() }
            fn load_slice<S: Stored>($x: &[S], $out: &mut [$t]) { $slice }
        }
    )*};
}
lane!(
    f32, F32, to_f32, |x, out| S::widen(x, out);
    f64, F64, to_f64, |x, out| S::widen64(x, out);
    i32, I32, to_i32, |x, out| S::whole32(x, out);
    i64, I64, to_i64, |x, out| S::whole64(x, out)
);

/// The lane in which elements of `dtype` are computed.
pub(crate) const fn lane_of(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => DType::F32,
        DType::F64 => DType::F64,
        DType::I64 => DType::I64,
        _ => DType::I32,
    }
}

/// `f` of each element of `x`, into `out`.
pub(crate) fn convert_slice<S: Copy, T>(x: &[S], out: &mut [T], f: impl Fn(S) -> T) {
    flambeau_cpu::simd::dispatch(
        #[inline(always)]
        || out.iter_mut().zip(x).for_each(|(o, &v)| *o = f(v)),
    );
}

/// One element as a Rust number.
pub(crate) fn cast_one<S: Stored, T: Element>(v: S) -> T {
    let converted = match T::DTYPE {
        DType::Bool => T::Stored::from_i32(v.to_bool() as i32),
        d if d.is_integer() => T::Stored::from_i64(v.to_i64()),
        _ => T::Stored::from_f64(v.to_f64()),
    };
    T::restore(converted)
}
