//! Further loops for the rows that models are made of.
//!
//! The plain loop of a row reads slices and writes to another one. An operation in place, one in
//! bf16, and a bias that is one element for a whole row take it passes through buffers, which last
//! longer than an addition does. A row marked `hot` has loops of its own for these, in f32 and
//! bf16; one that is `arith` has the runtime's, for f64 and integers of every width. They compute what
//! the plain loop does, bit for bit.

mod layout;

use super::binary::Binary;
use super::unary::{Params, Unary};
use super::{GRAIN, UNIT, in_place_rows, lane_of};
use crate::dtype::Stored;
use crate::shape::{broadcast_strides, contiguous_strides, is_contiguous};
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::arith::{Arith, Arithmetic, Loops};
use flambeau_cpu::simd;
use flambeau_cpu::threads::parallel_slices_mut;
use half::{bf16, f16};
use layout::{Layout, Spread, tile, tiles};

/// Rows shorter than this are not worth a call each.
const ROW: usize = 32;
/// Elements for which a short row is repeated, and the longest period that is written out.
const TILE: usize = 1024;
const LONGEST: usize = 1 << 16;

/// The further loops of a row of two operands.
pub(crate) struct HotBinary {
    pub(crate) f32: Loops<f32, f32>,
    pub(crate) bf16: Loops<bf16, f32>,
    /// Whether the operands may be exchanged.
    pub(crate) commutes: bool,
}

/// The further loops of a row of one operand.
pub(crate) struct HotUnary {
    pub(crate) f32_in_place: fn(&mut [f32], Params),
    pub(crate) bf16: fn(&[bf16], &mut [bf16], Params),
    pub(crate) bf16_in_place: fn(&mut [bf16], Params),
}

macro_rules! hot_loops {
    ($s:ty, |$x:ident, $y:ident| $e:expr) => {{
        use flambeau_cpu::convert::Near;
        flambeau_cpu::simd_fn! {
            fn each(a: &[$s], b: &[$s], out: &mut [$s]) {
                for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                    let ($x, $y) = (a.wide(), b.wide());
                    *o = Near::near($e);
                }
            }
            fn one(a: &[$s], b: f32, out: &mut [$s]) {
                let $y = b;
                for (o, a) in out.iter_mut().zip(a) {
                    let $x = a.wide();
                    *o = Near::near($e);
                }
            }
            fn each_in_place(a: &mut [$s], b: &[$s]) {
                for (a, b) in a.iter_mut().zip(b) {
                    let ($x, $y) = (a.wide(), b.wide());
                    *a = Near::near($e);
                }
            }
            fn one_in_place(a: &mut [$s], b: f32) {
                let $y = b;
                for a in a.iter_mut() {
                    let $x = a.wide();
                    *a = Near::near($e);
                }
            }
        }
        flambeau_cpu::arith::Loops {
            each,
            one,
            each_in_place,
            one_in_place,
        }
    }};
}
pub(crate) use hot_loops;

/// The further loops of one expression.
macro_rules! hot_binary {
    ($commutes:expr, |$x:ident, $y:ident| $e:expr) => {{
        use $crate::ops::elementwise::hot::{HotBinary, hot_loops};
        static HOT: HotBinary = HotBinary {
            f32: hot_loops!(f32, |$x, $y| $e),
            bf16: hot_loops!(half::bf16, |$x, $y| $e),
            commutes: $commutes,
        };
        Some(&HOT)
    }};
}
pub(crate) use hot_binary;

/// The further loops of one expression.
macro_rules! hot_unary {
    (|$x:ident, $p:ident| $e:expr) => {{
        use flambeau_cpu::convert::Near;
        use half::bf16;
        flambeau_cpu::simd_fn! {
            fn f32_in_place(x: &mut [f32], params: $crate::ops::elementwise::unary::Params) {
                // Most rows take no numbers.
                #[allow(unused_variables)]
                let $p = params.map(|v| v as f32);
                for o in x.iter_mut() {
                    let $x = *o;
                    *o = $e;
                }
            }
            fn low(x: &[bf16], out: &mut [bf16], params: $crate::ops::elementwise::unary::Params) {
                // Most rows take no numbers.
                #[allow(unused_variables)]
                let $p = params.map(|v| v as f32);
                for (o, x) in out.iter_mut().zip(x) {
                    let $x = x.wide();
                    *o = Near::near($e);
                }
            }
            fn low_in_place(x: &mut [bf16], params: $crate::ops::elementwise::unary::Params) {
                // Most rows take no numbers.
                #[allow(unused_variables)]
                let $p = params.map(|v| v as f32);
                for o in x.iter_mut() {
                    let $x = o.wide();
                    *o = Near::near($e);
                }
            }
        }
        static HOT: $crate::ops::elementwise::hot::HotUnary =
            $crate::ops::elementwise::hot::HotUnary {
                f32_in_place,
                bf16: low,
                bf16_in_place: low_in_place,
            };
        Some(&HOT)
    }};
}
pub(crate) use hot_unary;

/// A type that there may be further loops for.
pub(crate) trait Hot: Stored {
    /// What stands for an operand of one element.
    type Number: Copy + Sync + 'static;
    /// That of an element of any type.
    fn number<T: Stored>(v: T) -> Self::Number;
    /// The loops of a row for `dtype`, which is stored as this type, and whether its operands may be
    /// exchanged.
    fn loops(def: &Binary, dtype: DType) -> Option<(&'static Loops<Self, Self::Number>, bool)>;
}

macro_rules! hot_float {
    ($($t:ident),*) => {$(
        impl Hot for $t {
            type Number = f32;
            fn number<T: Stored>(v: T) -> f32 {
                v.to_f32()
            }
            fn loops(def: &Binary, _: DType) -> Option<(&'static Loops<$t, f32>, bool)> {
                def.hot.map(|hot| (&hot.$t, hot.commutes))
            }
        }
    )*};
}
hot_float!(f32, bf16);

impl Hot for f16 {
    type Number = f32;
    fn number<T: Stored>(v: T) -> f32 {
        v.to_f32()
    }
    fn loops(_: &Binary, _: DType) -> Option<(&'static Loops<f16, f32>, bool)> {
        None
    }
}

macro_rules! hot_arith {
    ($($t:ty, |$v:ident| $number:expr);*) => {$(
        impl Hot for $t {
            type Number = $t;
            fn number<T: Stored>($v: T) -> $t {
                $number
            }
            fn loops(def: &Binary, dtype: DType) -> Option<(&'static Loops<$t, $t>, bool)> {
                let op = match (dtype, def.arith?) {
                    (DType::Bool, Arith::Add | Arith::Max) => Arith::Or,
                    (DType::Bool, Arith::Mul | Arith::Min) => Arith::And,
                    (_, op) => op,
                };
                Some((<$t as Arithmetic>::loops(op)?, op != Arith::Sub))
            }
        }
    )*};
}
hot_arith!(
    f64, |v| v.to_f64();
    i64, |v| v.to_i64();
    i32, |v| v.to_i32();
    i16, |v| v.to_i64() as i16;
    i8, |v| v.to_i64() as i8;
    u8, |v| v.to_i64() as u8
);

/// The only element.
fn number<S: Hot>(t: &Tensor) -> S::Number {
    with_stored!(t.dtype(), T => S::number(t.read().slice::<T>()[0]))
}

/// A row on `a` and `b`, whose result is of type `dtype` and shape `shape`; nothing where the plain
/// loop does as well or the operands do not lie as these loops want them.
pub(crate) fn binary(
    def: &Binary,
    shape: &[usize],
    dtype: DType,
    operands: [&Tensor; 2],
) -> Option<Result<Tensor>> {
    with_stored!(dtype, S => binary_of::<S>(def, shape, dtype, operands))
}

fn binary_of<S: Hot>(
    def: &Binary,
    shape: &[usize],
    dtype: DType,
    [a, b]: [&Tensor; 2],
) -> Option<Result<Tensor>> {
    if crate::shape::numel(shape) == 0 {
        return None;
    }
    let (op, (loops, commutes)) = (def.name, S::loops(def, dtype)?);
    let way = Way::<S>::new(dtype, shape, [a, b], commutes)?;
    let number = matches!(way, Way::Number(_));
    let reads = (a.read(), (!number).then(|| b.read()));
    Some(Tensor::build::<S>(op, shape, dtype, |out| {
        let a = reads.0.slice::<S>();
        let b = reads.1.as_ref().map_or(&[][..], |b| b.slice::<S>());
        parallel_slices_mut(out, UNIT, GRAIN, |start, out| match &way {
            Way::Number(b) => (loops.one)(&a[start..][..out.len()], *b, out),
            Way::Spread(spread) if spread.operand == 0 => {
                spread.each(a, start, out, |at, out, a| {
                    (loops.each)(a, &b[at..at + out.len()], out);
                })
            }
            Way::Spread(spread) => spread.each(b, start, out, |at, out, b| {
                (loops.each)(&a[at..at + out.len()], b, out);
            }),
            Way::Tile(tile, period) => {
                let tile = (tile.read(), *period);
                tiles(out, start, (tile.0.slice::<S>(), tile.1), |at, out, b| {
                    (loops.each)(&a[at..at + out.len()], b, out);
                });
            }
            Way::Rows(layout) => layout.rows(start, out.len(), &mut |at, [p, q], n| {
                let out = &mut out[at..at + n];
                match layout.inner().1 {
                    [1, 1] => (loops.each)(&a[p..p + n], &b[q..q + n], out),
                    [1, 0] => (loops.one)(&a[p..p + n], S::number(b[q]), out),
                    _ => (loops.one)(&b[q..q + n], S::number(a[p]), out),
                }
            }),
        });
    }))
}

/// How the second operand stands beside the elements of a result.
enum Way<S: Hot> {
    /// The same number beside all of them.
    Number(S::Number),
    /// One of the operands is one element for a whole row, and rows are short.
    Spread(Spread),
    /// The same elements again and again: one period of them, and how long that is.
    Tile(Tensor, usize),
    /// Rows that are worth a call each.
    Rows(Layout),
}

impl<S: Hot> Way<S> {
    fn new(dtype: DType, shape: &[usize], [a, b]: [&Tensor; 2], commutes: bool) -> Option<Way<S>> {
        let plain = |t: &Tensor| t.dtype() == dtype && t.is_contiguous() && t.shape() == shape;
        if plain(a) && b.numel() == 1 {
            return Some(Way::Number(number::<S>(b)));
        }
        // The plain loop takes slices of its own type as they are.
        if [a, b].iter().any(|t| t.dtype() != dtype)
            || (lane_of(dtype) == dtype && plain(a) && plain(b))
        {
            return None;
        }
        let strides = [a, b].map(|t| broadcast_strides(t.shape(), t.strides(), shape));
        let layout = Layout::new(shape, [&strides[0], &strides[1]]);
        let whole = |i: usize| is_contiguous(shape, &strides[i]);
        if let Some((tile, period)) = tile::<S>(&layout, b, dtype, || whole(0)) {
            return Some(Way::Tile(tile, period));
        }
        for operand in [1, 0] {
            if layout.spreads(operand) && whole(1 - operand) {
                return Some(Way::Spread(Spread { layout, operand }));
            }
        }
        let (width, inner) = layout.inner();
        let fits = match inner {
            [1, 1] | [1, 0] => true,
            [0, 1] => commutes,
            _ => false,
        };
        (fits && (width >= ROW || layout.0.len() <= 1)).then_some(Way::Rows(layout))
    }
}

/// The same in the memory of `target`. False, with nothing done, where that cannot be.
pub(crate) fn binary_in_place(def: &Binary, target: &Tensor, b: &Tensor) -> bool {
    with_stored!(target.dtype(), S => binary_in_place_of::<S>(def, target, b))
}

fn binary_in_place_of<S: Hot>(def: &Binary, target: &Tensor, b: &Tensor) -> bool {
    let (dtype, shape) = (target.dtype(), target.shape());
    let Some((loops, _)) = S::loops(def, dtype) else {
        return false;
    };
    if target.is_empty() || b.shares_storage(target) {
        return false;
    }
    let keeps = matches!(def.arith, Some(Arith::Max | Arith::Min)) && dtype == DType::F32;
    if keeps && masked_stores_are_slow() {
        return false;
    }
    if b.numel() == 1 {
        let y = number::<S>(b);
        return in_place_rows(target, |_, out: &mut [S]| (loops.one_in_place)(out, y));
    }
    if b.dtype() != dtype || !in_memory_order(shape, target.strides()) {
        return false;
    }
    let strides = broadcast_strides(b.shape(), b.strides(), shape);
    let layout = Layout::new(shape, [&contiguous_strides(shape), &strides]);
    let (width, [_, inner]) = layout.inner();
    let way = match tile::<S>(&layout, b, dtype, || true) {
        Some((tile, period)) => Way::<S>::Tile(tile, period),
        None if layout.spreads(1) => Way::Spread(Spread { layout, operand: 1 }),
        None if inner > 1 || (width < ROW && layout.0.len() > 1) => return false,
        None => Way::Rows(layout),
    };
    let read = b.read();
    let b = read.slice::<S>();
    in_place_rows::<S>(target, |start, out| match &way {
        Way::Number(b) => (loops.one_in_place)(out, *b),
        Way::Spread(spread) => {
            spread.each(b, start, out, |_, out, b| (loops.each_in_place)(out, b));
        }
        Way::Tile(tile, period) => {
            let read = tile.read();
            tiles(out, start, (read.slice::<S>(), *period), |_, out, b| {
                (loops.each_in_place)(out, b);
            });
        }
        Way::Rows(layout) => layout.rows(start, out.len(), &mut |at, [_, q], n| {
            let out = &mut out[at..at + n];
            match inner {
                1 => (loops.each_in_place)(out, &b[q..q + n]),
                _ => (loops.one_in_place)(out, S::number(b[q])),
            }
        }),
    })
}

/// A loop in place of a function that keeps some elements as they are is compiled to masked stores,
/// which with AVX2 take tens of cycles on AMD's CPUs.
fn masked_stores_are_slow() -> bool {
    simd::level() == simd::Level::Avx2
}

/// Whether elements lie in memory in the order they have in the tensor, gaps or not.
fn in_memory_order(shape: &[usize], strides: &[usize]) -> bool {
    let dims = shape.iter().zip(strides).filter(|d| *d.0 != 1);
    dims.map(|d| d.1).is_sorted_by(|a, b| a >= b)
}

/// The loops that change the sign bit of the 16-bit floating types as the row does, and their operand.
fn sign_bit(def: &Unary, dtype: DType) -> Option<(&'static Loops<i16, i16>, i16)> {
    let (op, bits) = def.bits16.filter(|_| dtype.size() == 2)?;
    dtype
        .is_floating_point()
        .then_some((<i16 as Arithmetic>::loops(op)?, bits))
}

/// A row of one operand on `x` as it lies; nothing where the plain loop does as well.
pub(crate) fn unary(def: &Unary, x: &Tensor, params: Params) -> Option<Result<Tensor>> {
    let op = def.name;
    if !x.is_contiguous() {
        return None;
    }
    if let Some((loops, bits)) = sign_bit(def, x.dtype()) {
        let read = x.read();
        return Some(Tensor::build::<i16>(op, x.shape(), x.dtype(), |out| {
            let x = read.slice::<i16>();
            parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
                (loops.one)(&x[start..][..out.len()], bits, out);
            });
        }));
    }
    let hot = def.hot.filter(|_| x.dtype() == DType::BF16)?;
    let read = x.read();
    Some(Tensor::build::<bf16>(op, x.shape(), x.dtype(), |out| {
        let x = read.slice::<bf16>();
        parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
            (hot.bf16)(&x[start..][..out.len()], out, params);
        });
    }))
}

/// The same in the memory of `x`. False, with nothing done, where that cannot be.
pub(crate) fn unary_in_place(def: &Unary, x: &Tensor, params: Params) -> bool {
    if let Some((loops, bits)) = sign_bit(def, x.dtype()) {
        return in_place_rows(x, |_, x| (loops.one_in_place)(x, bits));
    }
    let Some(hot) = def.hot else {
        return false;
    };
    match x.dtype() {
        DType::F32 if !masked_stores_are_slow() => {
            in_place_rows(x, |_, x| (hot.f32_in_place)(x, params))
        }
        DType::BF16 => in_place_rows(x, |_, x| (hot.bf16_in_place)(x, params)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
