//! Folding the elements along dimensions with an associative function.
//!
//! Work is cut by sizes alone, so the bits of a result do not depend on the number of threads.

use crate::dtype::Stored;
use crate::ops::elementwise::Lane;
use crate::shape::{Shape, numel};
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::reduce as kernels;
use flambeau_cpu::threads::parallel_chunks_mut;

/// Elements that are folded in one piece.
const BLOCK: usize = 1 << 15;
/// Running results of narrow columns.
const LANES: usize = 64;
/// Columns that are folded side by side, so that their running results stay in the first cache.
const COLUMNS: usize = 2048;

/// A fold of `T`: over the rows of a matrix, and down its columns.
pub(crate) struct Fold<T: 'static> {
    pub(crate) identity: T,
    /// Folds each row of so many elements.
    rows: fn(&[T], usize, &mut [T]),
    /// Folds rows of `acc.len()` elements, which start `stride` apart, into `acc`.
    columns: fn(&[T], usize, &mut [T]),
}

macro_rules! folds {
    ($($id:ident: $t:ty = $identity:expr, |$a:ident, $b:ident| $e:expr $(, $rows:path)?;)*) => {$(
        pub(crate) static $id: Fold<$t> = {
            flambeau_cpu::simd_fn! {
                fn columns(x: &[$t], stride: usize, acc: &mut [$t]) {
                    let width = acc.len();
                    let join = |$a: $t, $b: $t| $e;
                    // Four rows for each time that the running results are loaded and stored.
                    let mut fours = x;
                    while fours.len() >= 3 * stride + width {
                        let (a, b) = (&fours[..width], &fours[stride..][..width]);
                        let (c, d) = (&fours[2 * stride..][..width], &fours[3 * stride..][..width]);
                        for i in 0..width {
                            acc[i] = join(acc[i], join(join(a[i], b[i]), join(c[i], d[i])));
                        }
                        fours = fours.get(4 * stride..).unwrap_or(&[]);
                    }
                    for row in fours.chunks(stride) {
                        for (o, &v) in acc.iter_mut().zip(&row[..width]) {
                            *o = join(*o, v);
                        }
                    }
                }
            }
            Fold { identity: $identity, rows: folds!(@rows $t, $identity, |$a, $b| $e $(, $rows)?), columns }
        };
    )*};
    (@rows $t:ty, $identity:expr, |$a:ident, $b:ident| $e:expr, $rows:path) => { $rows };
    (@rows $t:ty, $identity:expr, |$a:ident, $b:ident| $e:expr) => {{
        flambeau_cpu::simd_fn! {
            fn rows(x: &[$t], n: usize, out: &mut [$t]) {
                kernels::each_row(
                    x,
                    n,
                    out,
                    #[inline(always)]
                    |x: &[$t]| {
                        let mut acc: [$t; LANES] = [$identity; LANES];
                        // Slices, not arrays: a loop over an array is unrolled before it could be
                        // vectorised.
                        let chunks = x.chunks_exact(LANES);
                        let rest = chunks.remainder();
                        for x in chunks {
                            for i in 0..LANES {
                                let ($a, $b): ($t, $t) = (acc[i], x[i]);
                                acc[i] = $e;
                            }
                        }
                        if !rest.is_empty() {
                            // Padded to a whole chunk: a loop over what is left would keep the
                            // running results in memory.
                            let mut last: [$t; LANES] = [$identity; LANES];
                            last[..rest.len()].copy_from_slice(rest);
                            for i in 0..LANES {
                                let ($a, $b): ($t, $t) = (acc[i], last[i]);
                                acc[i] = $e;
                            }
                        }
                        kernels::fold_lanes(acc, |$a: $t, $b: $t| $e)
                    },
                    $identity,
                    |$a: $t, $b: $t| $e,
                )
            }
        }
        rows
    }};
}

// A NaN, once met, stays.
folds! {
    SUM_F32: f32 = 0.0, |a, b| a + b, kernels::sum_rows_f32;
    SUM_F64: f64 = 0.0, |a, b| a + b, kernels::sum_rows_f64;
    SUM_I64: i64 = 0, |a, b| a.wrapping_add(b);
    PROD_F32: f32 = 1.0, |a, b| a * b;
    PROD_F64: f64 = 1.0, |a, b| a * b;
    PROD_I64: i64 = 1, |a, b| a.wrapping_mul(b);
    MAX_F32: f32 = f32::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b }, kernels::max_rows_f32;
    MAX_F64: f64 = f64::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b };
    MAX_I32: i32 = i32::MIN, |a, b| if a > b { a } else { b };
    MAX_I64: i64 = i64::MIN, |a, b| if a > b { a } else { b };
    MIN_F32: f32 = f32::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b }, kernels::min_rows_f32;
    MIN_F64: f64 = f64::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b };
    MIN_I32: i32 = i32::MAX, |a, b| if a < b { a } else { b };
    MIN_I64: i64 = i64::MAX, |a, b| if a < b { a } else { b };
    ANY: u8 = 0, |a, b| a | b;
    ALL: u8 = 1, |a, b| a & b;
}

/// Reduces rows of `n` elements: `f(first row, elements, results)` takes some whole rows, or a piece
/// of a long one, whose results `join` puts together.
pub(crate) fn fold_rows<T: Stored>(
    x: &[T],
    n: usize,
    out: &mut [T],
    f: impl Fn(usize, &[T], &mut [T]) + Sync,
    join: impl Fn(&[T], &mut [T]),
) {
    let pieces = n.div_ceil(BLOCK);
    if pieces <= 1 {
        let per_chunk = (BLOCK / n.max(1)).max(1);
        parallel_chunks_mut(out, per_chunk, |i, out| {
            let row = i * per_chunk;
            f(row, &x[row * n..(row + out.len()) * n], out);
        });
        return;
    }
    let mut parts = vec![T::default(); out.len() * pieces];
    parallel_chunks_mut(&mut parts, 1, |i, part| {
        let (row, piece) = (i / pieces, i % pieces);
        let x = &x[row * n..(row + 1) * n];
        f(row, &x[piece * BLOCK..n.min((piece + 1) * BLOCK)], part);
    });
    for (o, parts) in out.chunks_exact_mut(1).zip(parts.chunks_exact(pieces)) {
        join(parts, o);
    }
}

/// The sums of the rows of `n` elements of the contiguous `x`, added up in f32 as they are read.
pub(super) fn sum_bf16_rows(
    op: &'static str,
    x: &Tensor,
    n: usize,
    shape: &[usize],
) -> Result<Tensor> {
    let read = x.read();
    let src = &read.slice::<half::bf16>()[..x.numel()];
    let pieces = n.div_ceil(BLOCK).max(1);
    Tensor::build::<f32>(op, shape, DType::F32, |out| {
        let mut parts = vec![0.0; out.len() * pieces];
        let per_chunk = (BLOCK / n.max(1)).max(1);
        parallel_chunks_mut(&mut parts, per_chunk, |i, parts| {
            for (k, part) in parts.iter_mut().enumerate() {
                let (row, piece) = ((i * per_chunk + k) / pieces, (i * per_chunk + k) % pieces);
                let x = &src[row * n..(row + 1) * n];
                *part = kernels::sum_bf16(&x[piece * BLOCK..n.min((piece + 1) * BLOCK)]);
            }
        });
        kernels::sum_rows_f32(&parts, pieces, out);
    })
}

impl<T: Stored> Fold<T> {
    /// Folds the middle dimension of `x`, which is `[outer, n, inner]`, into `out` `[outer, inner]`.
    pub(crate) fn run(&self, x: &[T], n: usize, inner: usize, out: &mut [T]) {
        if n == 0 || out.is_empty() {
            out.fill(self.identity);
        } else if inner == 1 {
            let rows = |x: &[T], out: &mut [T]| (self.rows)(x, x.len() / out.len(), out);
            fold_rows(x, n, out, |_, x, out| rows(x, out), rows);
        } else {
            self.columns(x, n, inner, out);
        }
    }

    fn columns(&self, x: &[T], n: usize, inner: usize, out: &mut [T]) {
        if inner >= BLOCK / 2 {
            // Long rows: threads take columns.
            for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(inner)) {
                parallel_chunks_mut(out, COLUMNS, |i, out| {
                    self.piece(&x[i * COLUMNS..], inner, n, out);
                });
            }
            return;
        }
        // Short ones: threads take runs of rows.
        let rows = (BLOCK / inner).max(LANES);
        let pieces = n.div_ceil(rows);
        let each = |i: usize, out: &mut [T]| {
            let (o, piece) = (i / pieces, i % pieces);
            let (from, to) = (piece * rows, n.min((piece + 1) * rows));
            self.piece(&x[(o * n + from) * inner..], inner, to - from, out);
        };
        let per_chunk = (BLOCK / (n.min(rows) * inner)).max(1);
        let split = |out: &mut [T]| {
            parallel_chunks_mut(out, inner * per_chunk, |i, out| {
                for (k, out) in out.chunks_exact_mut(inner).enumerate() {
                    each(i * per_chunk + k, out);
                }
            });
        };
        if pieces == 1 {
            return split(out);
        }
        let mut parts = vec![T::default(); out.len() * pieces];
        split(&mut parts);
        for (out, parts) in out
            .chunks_exact_mut(inner)
            .zip(parts.chunks_exact(pieces * inner))
        {
            self.piece(parts, inner, pieces, out);
        }
    }

    /// Folds `n` rows, `stride` apart, of which `x` starts at the first one's wanted columns.
    fn piece(&self, x: &[T], stride: usize, n: usize, out: &mut [T]) {
        out.fill(self.identity);
        // Rows shorter than the running results are taken several at a time: faster, and for sums
        // the error grows less.
        let group = LANES / stride;
        if group > 1 && out.len() == stride && n > group {
            let mut acc = [self.identity; LANES];
            let acc = &mut acc[..group * stride];
            let whole = n / group * acc.len();
            (self.columns)(&x[..whole], acc.len(), acc);
            (self.columns)(acc, stride, out);
            if n * stride > whole {
                (self.columns)(&x[whole..n * stride], stride, out);
            }
            return;
        }
        for (i, out) in out.chunks_mut(COLUMNS).enumerate() {
            let at = i * COLUMNS;
            (self.columns)(&x[at..at + (n - 1) * stride + out.len()], stride, out);
        }
    }

    /// Folds rows of `n` elements of the contiguous `x`, converted a chunk at a time.
    pub(crate) fn converted_rows(&self, x: &Tensor, n: usize, out: &mut [T])
    where
        T: Lane,
    {
        const CHUNK: usize = 4096;
        with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = &read.slice::<S>()[..x.numel()];
            let pieces = n.div_ceil(BLOCK).max(1);
            let mut parts = vec![T::default(); out.len() * pieces];
            let per_chunk = (BLOCK / n.max(1)).max(1);
            parallel_chunks_mut(&mut parts, per_chunk, |i, parts| {
                let mut buffer = [T::default(); CHUNK];
                for (k, part) in parts.iter_mut().enumerate() {
                    let (row, piece) = ((i * per_chunk + k) / pieces, (i * per_chunk + k) % pieces);
                    let x = &src[row * n..(row + 1) * n];
                    let x = &x[piece * BLOCK..n.min((piece + 1) * BLOCK)];
                    let mut chunks = [self.identity; BLOCK / CHUNK];
                    for (x, result) in x.chunks(CHUNK).zip(chunks.chunks_exact_mut(1)) {
                        let buffer = &mut buffer[..x.len()];
                        T::load_slice(x, buffer);
                        (self.rows)(buffer, x.len(), result);
                    }
                    (self.rows)(&chunks, chunks.len(), std::slice::from_mut(part));
                }
            });
            (self.rows)(&parts, pieces, out);
        });
    }

    /// Folds dimensions `dims` of the contiguous `x` of stored type `T`; they become size 1.
    pub(crate) fn dims(
        &self,
        op: &'static str,
        x: &Tensor,
        dims: &[usize],
        dtype: DType,
    ) -> Result<Tensor> {
        let mut shape = Shape::from_slice(x.shape());
        if shape.contains(&0) {
            dims.iter().for_each(|&d| shape[d] = 1);
            return Tensor::build::<T>(op, &shape, dtype, |out| out.fill(self.identity));
        }
        let mut x = x.clone();
        let mut end = shape.len();
        // Runs of neighbouring dimensions, the last one first; size 1 belongs to any run.
        while end > 0 {
            let folded = |d: usize| dims.contains(&d) || shape[d] == 1;
            let last = end - 1;
            end = last;
            if !folded(last) {
                continue;
            }
            while end > 0 && folded(end - 1) {
                end -= 1;
            }
            let n = numel(&shape[end..=last]);
            if n == 1 {
                continue;
            }
            let inner = numel(&shape[last + 1..]);
            shape[end..=last].fill(1);
            x = {
                let read = x.read();
                let src = &read.slice::<T>()[..x.numel()];
                Tensor::build::<T>(op, &shape, dtype, |out| self.run(src, n, inner, out))?
            };
        }
        Ok(x)
    }
}
