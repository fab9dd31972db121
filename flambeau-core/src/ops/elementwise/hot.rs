//! Further loops for the rows that models are made of.
//!
//! The plain loop of a row reads slices and writes to another one. An operation in place, one in
//! bf16, and a bias that is one element for a whole row take it passes through buffers, which last
//! longer than an addition does. A row marked `hot` has loops of its own for these, in f32 and
//! bf16. They compute what the plain loop does, bit for bit.

use super::GRAIN;
use super::unary::Params;
use crate::dtype::Stored;
use crate::shape::{broadcast_strides, is_contiguous};
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::threads::parallel_chunks_mut;
use half::bf16;
use smallvec::SmallVec;

/// Rows shorter than this are not worth a call each.
const ROW: usize = 32;
/// Elements for which a short row is repeated, and the longest period that is written out.
const TILE: usize = 1024;
const LONGEST: usize = 1 << 16;

/// Loops over elements of one type, with slices or a single number on the right.
pub(crate) struct Loops<S: 'static> {
    pub(crate) each: fn(&[S], &[S], &mut [S]),
    pub(crate) one: fn(&[S], f32, &mut [S]),
    pub(crate) each_in_place: fn(&mut [S], &[S]),
    pub(crate) one_in_place: fn(&mut [S], f32),
}

/// The further loops of a row of two operands.
pub(crate) struct HotBinary {
    pub(crate) f32: Loops<f32>,
    pub(crate) bf16: Loops<bf16>,
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
        $crate::ops::elementwise::hot::Loops {
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

/// The dimensions of a result and the strides of both operands, those that all run along merged.
struct Layout(SmallVec<[(usize, [usize; 2]); 6]>);

impl Layout {
    fn new(shape: &[usize], strides: [&[usize]; 2]) -> Layout {
        let mut dims: SmallVec<[(usize, [usize; 2]); 6]> = SmallVec::new();
        for (d, &n) in shape.iter().enumerate() {
            let s = [strides[0][d], strides[1][d]];
            match dims.last_mut() {
                _ if n == 1 => {}
                Some((size, outer)) if (0..2).all(|i| outer[i] == n * s[i]) => {
                    (*size, *outer) = (*size * n, s);
                }
                _ => dims.push((n, s)),
            }
        }
        Layout(dims)
    }

    fn inner(&self) -> (usize, [usize; 2]) {
        self.0.last().copied().unwrap_or((1, [1, 1]))
    }

    /// Calls `f(first, places, len)` for the rows, or parts of rows, that make up elements
    /// `start..start + len`; `first` counts from `start`.
    #[inline]
    fn rows(&self, start: usize, len: usize, mut f: impl FnMut(usize, [usize; 2], usize)) {
        let (width, stride) = self.inner();
        let outer = &self.0[..self.0.len().saturating_sub(1)];
        let (mut column, mut rest, mut base) = (start % width, start / width, [0, 0]);
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        for (i, &(size, s)) in index.iter_mut().zip(outer).rev() {
            *i = rest % size;
            rest /= size;
            (0..2).for_each(|k| base[k] += *i * s[k]);
        }
        let mut done = 0;
        while done < len {
            let n = (width - column).min(len - done);
            f(
                done,
                std::array::from_fn(|k| base[k] + column * stride[k]),
                n,
            );
            (done, column) = (done + n, 0);
            for (i, &(size, s)) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                (0..2).for_each(|k| base[k] += s[k]);
                if *i < size {
                    break;
                }
                (0..2).for_each(|k| base[k] -= size * s[k]);
                *i = 0;
            }
        }
    }
}

/// The only element, as `f32`.
fn number(t: &Tensor) -> f32 {
    with_stored!(t.dtype(), S => t.read().slice::<S>()[0].to_f32())
}

/// A type that hot rows have loops for.
pub(crate) trait Hot: Stored + flambeau_cpu::convert::Near {
    const DTYPE: DType;
    fn binary(hot: &HotBinary) -> &Loops<Self>;
}
impl Hot for f32 {
    const DTYPE: DType = DType::F32;
    fn binary(hot: &HotBinary) -> &Loops<f32> {
        &hot.f32
    }
}
impl Hot for bf16 {
    const DTYPE: DType = DType::BF16;
    fn binary(hot: &HotBinary) -> &Loops<bf16> {
        &hot.bf16
    }
}

/// A row on `a` and `b`, whose result is of type `dtype` and shape `shape`; nothing where the plain
/// loop does as well or the operands do not lie as these loops want them.
pub(crate) fn binary(
    hot: &HotBinary,
    op: &'static str,
    shape: &[usize],
    dtype: DType,
    operands: [&Tensor; 2],
) -> Option<Result<Tensor>> {
    match dtype {
        DType::F32 => binary_of::<f32>(hot, op, shape, operands),
        DType::BF16 => binary_of::<bf16>(hot, op, shape, operands),
        _ => None,
    }
}

fn binary_of<S: Hot>(
    hot: &HotBinary,
    op: &'static str,
    shape: &[usize],
    [a, b]: [&Tensor; 2],
) -> Option<Result<Tensor>> {
    if crate::shape::numel(shape) == 0 {
        return None;
    }
    let loops = S::binary(hot);
    let plain = |t: &Tensor| t.dtype() == S::DTYPE && t.is_contiguous() && t.shape() == shape;
    if plain(a) && b.numel() == 1 {
        let (y, read) = (number(b), a.read());
        return Some(Tensor::build::<S>(op, shape, S::DTYPE, |out| {
            let x = read.slice::<S>();
            parallel_chunks_mut(out, GRAIN, |i, out| {
                (loops.one)(&x[i * GRAIN..][..out.len()], y, out);
            });
        }));
    }
    // The plain loop takes f32 slices as they are.
    if [a, b].iter().any(|t| t.dtype() != S::DTYPE)
        || (S::DTYPE == DType::F32 && plain(a) && plain(b))
    {
        return None;
    }
    let strides = [a, b].map(|t| broadcast_strides(t.shape(), t.strides(), shape));
    let layout = Layout::new(shape, [&strides[0], &strides[1]]);
    let (width, inner) = layout.inner();
    let tiled = tile::<S>(&layout, b, || is_contiguous(shape, &strides[0]));
    let fits = match inner {
        [1, 1] | [1, 0] => true,
        [0, 1] => hot.commutes,
        _ => false,
    };
    if tiled.is_none() && !(fits && (width >= ROW || layout.0.len() <= 1)) {
        return None;
    }
    let reads = (a.read(), b.read());
    let tile = tiled.as_ref().map(|(t, period)| (t.read(), *period));
    Some(Tensor::build::<S>(op, shape, S::DTYPE, |out| {
        let (a, b) = (reads.0.slice::<S>(), reads.1.slice::<S>());
        parallel_chunks_mut(out, GRAIN, |i, out| {
            let start = i * GRAIN;
            if let Some((tile, period)) = &tile {
                return tiles(out, start, (tile.slice::<S>(), *period), |at, out, tile| {
                    (loops.each)(&a[at..at + out.len()], tile, out);
                });
            }
            layout.rows(start, out.len(), |at, [p, q], n| {
                let out = &mut out[at..at + n];
                match inner {
                    [1, 1] => (loops.each)(&a[p..p + n], &b[q..q + n], out),
                    [1, 0] => (loops.one)(&a[p..p + n], b[q].wide(), out),
                    _ => (loops.one)(&b[q..q + n], a[p].wide(), out),
                }
            });
        });
    }))
}

/// Where `b` is the same again and again, and its rows are too short to be worth a call each: one
/// period of it, and short ones often enough for [`TILE`] elements from any of the first on.
fn tile<S: Hot>(
    layout: &Layout,
    b: &Tensor,
    contiguous: impl Fn() -> bool,
) -> Option<(Tensor, usize)> {
    let (width, [_, stride]) = layout.inner();
    let [(4.., [period, 0]), _, ..] = layout.0[..] else {
        return None;
    };
    if width >= TILE / 8 || stride > 1 || period > LONGEST || !contiguous() {
        return None;
    }
    let read = b.read();
    let b = read.slice::<S>();
    let len = match period {
        TILE.. => period,
        _ => period + TILE.next_multiple_of(period),
    };
    // From the cache of memory: new pages would take longer than the rest.
    let made = Tensor::build::<S>("tile", &[len], S::DTYPE, |out| {
        layout.rows(0, period, |at, [_, q], n| match stride {
            1 => out[at..at + n].copy_from_slice(&b[q..q + n]),
            _ => out[at..at + n].fill(b[q]),
        });
        for at in (period..len).step_by(period) {
            out.copy_within(..period, at);
        }
    });
    Some((made.ok()?, period))
}

/// Calls `f(piece, what stands beside it)` for the pieces of `out`, whose first element is number
/// `start`, beside a [`tile`] of that period.
fn tiles<S>(
    out: &mut [S],
    start: usize,
    (tile, period): (&[S], usize),
    mut f: impl FnMut(usize, &mut [S], &[S]),
) {
    let (mut at, mut rest) = (start, out);
    while !rest.is_empty() {
        let beside = &tile[at % period..];
        let (piece, others) = rest.split_at_mut(beside.len().min(rest.len()));
        f(at, piece, beside);
        at += piece.len();
        rest = others;
    }
}

/// The same in the memory of `target`. False, with nothing done, where that cannot be.
pub(crate) fn binary_in_place(hot: &HotBinary, target: &Tensor, b: &Tensor) -> bool {
    match target.dtype() {
        DType::F32 => binary_in_place_of::<f32>(hot, target, b),
        DType::BF16 => binary_in_place_of::<bf16>(hot, target, b),
        _ => false,
    }
}

fn binary_in_place_of<S: Hot>(hot: &HotBinary, target: &Tensor, b: &Tensor) -> bool {
    let (loops, shape) = (S::binary(hot), target.shape());
    if !target.is_contiguous() || target.is_empty() || b.shares_storage(target) {
        return false;
    }
    if b.numel() == 1 {
        let y = number(b);
        return in_place::<S>(target, |_, out| (loops.one_in_place)(out, y));
    }
    if b.dtype() != S::DTYPE {
        return false;
    }
    let strides = broadcast_strides(b.shape(), b.strides(), shape);
    let layout = Layout::new(shape, [target.strides(), &strides]);
    let (width, [_, inner]) = layout.inner();
    let tiled = tile::<S>(&layout, b, || true);
    if tiled.is_none() && (inner > 1 || (width < ROW && layout.0.len() > 1)) {
        return false;
    }
    let read = b.read();
    let b = read.slice::<S>();
    let tile = tiled.as_ref().map(|(t, period)| (t.read(), *period));
    in_place::<S>(target, |start, out| {
        if let Some((tile, period)) = &tile {
            return tiles(out, start, (tile.slice::<S>(), *period), |_, out, tile| {
                (loops.each_in_place)(out, tile);
            });
        }
        layout.rows(start, out.len(), |at, [_, q], n| {
            let out = &mut out[at..at + n];
            match inner {
                1 => (loops.each_in_place)(out, &b[q..q + n]),
                _ => (loops.one_in_place)(out, b[q].wide()),
            }
        });
    })
}

/// Runs `f(first, elements)` over pieces of the contiguous `target`; false, with nothing done, where
/// a thread is using the memory.
fn in_place<S: Stored>(target: &Tensor, f: impl Fn(usize, &mut [S]) + Sync) -> bool {
    // Never waited for: the operands are locked already.
    let Some(mut guard) = target.0.storage.try_write(target.0.offset) else {
        return false;
    };
    let out = &mut guard.slice::<S>()[..target.numel()];
    parallel_chunks_mut(out, GRAIN, |i, out| f(i * GRAIN, out));
    true
}

/// A row of one operand on `x` as it lies; nothing where the plain loop does as well.
pub(crate) fn unary(
    hot: &HotUnary,
    op: &'static str,
    x: &Tensor,
    params: Params,
) -> Option<Result<Tensor>> {
    if x.dtype() != DType::BF16 || !x.is_contiguous() {
        return None;
    }
    let read = x.read();
    Some(Tensor::build::<bf16>(op, x.shape(), x.dtype(), |out| {
        let x = read.slice::<bf16>();
        parallel_chunks_mut(out, GRAIN, |i, out| {
            (hot.bf16)(&x[i * GRAIN..][..out.len()], out, params);
        });
    }))
}

/// The same in the memory of `x`. False, with nothing done, where that cannot be.
pub(crate) fn unary_in_place(hot: &HotUnary, x: &Tensor, params: Params) -> bool {
    x.is_contiguous()
        && match x.dtype() {
            DType::F32 => in_place::<f32>(x, |_, x| (hot.f32_in_place)(x, params)),
            DType::BF16 => in_place::<bf16>(x, |_, x| (hot.bf16_in_place)(x, params)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::super::activation::ACTIVATIONS;
    use super::super::binary::{BINARY, binary, binary_};
    use super::super::pairs::PAIRS;
    use super::super::unary::{UNARY, unary, unary_};
    use super::*;

    fn same(a: &Tensor, b: &Tensor) -> bool {
        a.shape() == b.shape() && a.dtype() == b.dtype() && a.to_bytes().ok() == b.to_bytes().ok()
    }

    /// What the plain loop makes of whole operands in f32.
    fn plain(
        f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<Tensor> {
        let shape = crate::shape::broadcast("", a.shape(), b.shape())?;
        let whole = |t: &Tensor| t.to_dtype(DType::F32)?.expand(&shape)?.contiguous();
        f(&whole(a)?, &whole(b)?)?.to_dtype(a.dtype())
    }

    #[test]
    fn pairs_are_what_the_plain_loop_computes() -> Result<()> {
        let shapes: [[&[usize]; 2]; 12] = [
            [&[70, 1000], &[70, 1000]],
            [&[70, 1000], &[]],
            [&[70, 1000], &[1000]],
            [&[70, 1000], &[70, 1]],
            [&[70, 1], &[1000]],
            [&[1000], &[70, 1000]],
            [&[5000, 10], &[10]],
            [&[5000, 10], &[5000, 1]],
            [&[8, 30, 7, 7], &[30, 1, 1]],
            [&[4, 700, 7, 9], &[700, 1, 1]],
            [&[3, 40, 40, 30], &[40, 1, 30]],
            [&[3, 1, 40, 30], &[3, 20, 1, 30]],
        ];
        let rows = BINARY.iter().chain(PAIRS).filter(|row| row.hot.is_some());
        for (def, dtype) in rows.flat_map(|&row| [(row, DType::F32), (row, DType::BF16)]) {
            for [left, right] in shapes {
                let a = Tensor::randn(left)?.to_dtype(dtype)?;
                let b = Tensor::randn(right)?.to_dtype(dtype)?;
                let want = plain(|a, b| binary(def, a, b), &a, &b)?;
                let case = format!("{} of {dtype} {left:?} {right:?}", def.name);
                assert!(same(&binary(def, &a, &b)?, &want), "{case}");
                if want.shape() == a.shape() {
                    binary_(def, &a, &b)?;
                    assert!(same(&a, &want), "{case} in place");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn one_operand_is_what_the_plain_loop_computes() -> Result<()> {
        let rows = UNARY.iter().chain(ACTIVATIONS);
        for def in rows.filter(|row| row.hot.is_some()) {
            for dtype in [DType::F32, DType::BF16] {
                let x = Tensor::randn([70, 1001])?.to_dtype(dtype)?;
                let want = unary(def, &x.to_dtype(DType::F32)?, [0.0; 3])?.to_dtype(dtype)?;
                assert!(same(&unary(def, &x, [0.0; 3])?, &want), "{}", def.name);
                unary_(def, &x, [0.0; 3])?;
                assert!(same(&x, &want), "{} of {dtype} in place", def.name);
            }
        }
        Ok(())
    }

    #[test]
    fn the_layout_of_transposed_operands_is_kept() -> Result<()> {
        let x = Tensor::randn([30, 20, 10])?.permute([2, 0, 1])?;
        let y = x.mul(2.0)?.add(&x)?.exp()?;
        assert_eq!(y.strides(), x.strides());
        let want = x.contiguous()?.mul(2.0)?.add(x.contiguous()?)?.exp()?;
        assert!(same(&y.contiguous()?, &want));
        // Operands in different orders, or broadcast, give the usual one.
        assert!(x.add(x.contiguous()?)?.is_contiguous());
        assert!(x.add(Tensor::ones([20])?)?.is_contiguous());
        Ok(())
    }
}
