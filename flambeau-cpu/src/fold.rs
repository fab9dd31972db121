//! Folding the middle dimension of `[outer, n, inner]` with an associative function.
//!
//! Work is cut by sizes alone, so the bits of a result do not depend on the number of threads.

use crate::alloc::Pod;
use crate::reduce as kernels;
use crate::threads::{parallel_chunks_mut, parallel_slices_mut};

/// Elements that are folded in one piece.
pub const BLOCK: usize = 1 << 15;
/// Running results that stay in registers.
const LANES: usize = 64;
/// The same for what is left of the columns.
const FEW: usize = 16;
/// Columns that are folded side by side, so that their running results stay in the first cache.
const COLUMNS: usize = 2048;
/// Rows up to this long are walked once for each [`LANES`] columns, whose running results then stay in
/// registers; of longer ones too many pages would be open.
const NEAR: usize = 1024;

/// A fold of `T`: over the rows of a matrix, and down its columns.
pub struct Fold<T: 'static> {
    /// What changes nothing.
    pub identity: T,
    /// Folds each row of so many elements.
    pub rows: fn(&[T], usize, &mut [T]),
    /// Folds down the columns of matrices that follow each other, of `[rows, stride, width]`: rows of
    /// `width` elements start `stride` apart.
    columns: fn(&[T], [usize; 3], &mut [T]),
}

/// Folds `W` columns from `from` on of rows `stride` apart.
#[inline(always)]
fn wide<T: Pod, const W: usize>(
    x: &[T],
    stride: usize,
    from: usize,
    acc: &mut [T],
    identity: T,
    join: impl Fn(T, T) -> T,
) {
    let mut now = [identity; W];
    // Four rows for each step: the running results wait less, and for sums the error grows less.
    let mut fours = x;
    while fours.len() >= 3 * stride + acc.len() {
        let row = |k: usize| &fours[k * stride + from..][..W];
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        for i in 0..W {
            now[i] = join(now[i], join(join(a[i], b[i]), join(c[i], d[i])));
        }
        fours = fours.get(4 * stride..).unwrap_or(&[]);
    }
    while !fours.is_empty() {
        let row = &fours[from..][..W];
        for i in 0..W {
            now[i] = join(now[i], row[i]);
        }
        fours = fours.get(stride..).unwrap_or(&[]);
    }
    acc[from..from + W].copy_from_slice(&now);
}

/// Folds the columns from `from` to `to`, with their running results in memory.
#[inline(always)]
fn narrow<T: Pod>(
    x: &[T],
    stride: usize,
    (from, to): (usize, usize),
    acc: &mut [T],
    identity: T,
    join: impl Fn(T, T) -> T,
) {
    let (all, width) = (acc.len(), to - from);
    let acc = &mut acc[from..to];
    acc.fill(identity);
    let mut fours = x;
    while fours.len() >= 3 * stride + all {
        let row = |k: usize| &fours[k * stride + from..][..width];
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        for i in 0..width {
            acc[i] = join(acc[i], join(join(a[i], b[i]), join(c[i], d[i])));
        }
        fours = fours.get(4 * stride..).unwrap_or(&[]);
    }
    for row in fours.chunks(stride) {
        for (o, &v) in acc.iter_mut().zip(&row[from..to]) {
            *o = join(*o, v);
        }
    }
}

/// Folds rows of `acc.len()` elements, which start `stride` apart, into `acc`.
#[inline(always)]
fn down<T: Pod>(
    x: &[T],
    stride: usize,
    acc: &mut [T],
    identity: T,
    join: impl Fn(T, T) -> T + Copy,
) {
    let (mut from, width) = (0, acc.len());
    if stride <= NEAR {
        while from + LANES <= width {
            wide::<T, LANES>(x, stride, from, acc, identity, join);
            from += LANES;
        }
        while from + FEW <= width {
            wide::<T, FEW>(x, stride, from, acc, identity, join);
            from += FEW;
        }
    }
    if from < width {
        narrow(x, stride, (from, width), acc, identity, join);
    }
}

/// How many rows of `stride` elements are taken as one: as many as fill whole registers, a power of 2.
#[inline(always)]
fn group(n: usize, stride: usize) -> usize {
    if stride >= LANES {
        return 1;
    }
    let mut group = FEW >> stride.trailing_zeros().min(4);
    while group * stride < LANES && n >= 16 * group {
        group *= 2;
    }
    let worth = if stride < FEW { group } else { 4 * group };
    if n >= worth { group } else { 1 }
}

/// What [`Fold::columns`] does.
#[inline(always)]
fn columns<T: Pod>(
    x: &[T],
    [n, stride, width]: [usize; 3],
    out: &mut [T],
    identity: T,
    join: impl Fn(T, T) -> T + Copy,
) {
    // Rows shorter than the running results are taken several at a time: faster, and for sums the error
    // grows less.
    let group = if width == stride { group(n, stride) } else { 1 };
    let (len, rows) = (group * stride, n / group);
    let mut acc = [identity; NEAR + FEW];
    for (k, out) in out.chunks_exact_mut(width).enumerate() {
        let x = &x[k * n * stride..][..(n - 1) * stride + width];
        if group == 1 {
            down(x, stride, out, identity, join);
            continue;
        }
        let (x, rest) = x.split_at(rows * len);
        down(x, len, &mut acc[..len], identity, join);
        for (a, &v) in acc.iter_mut().zip(rest) {
            *a = join(*a, v);
        }
        let mut half = len / 2;
        while half >= stride {
            // In whole registers: what is written beyond the half has been read.
            for i in (0..half).step_by(FEW) {
                let mut other = [identity; FEW];
                other.copy_from_slice(&acc[i + half..][..FEW]);
                for (a, b) in acc[i..i + FEW].iter_mut().zip(other) {
                    *a = join(*a, b);
                }
            }
            half /= 2;
        }
        (out.iter_mut().zip(&acc)).for_each(|(o, &v)| *o = v);
    }
}

macro_rules! folds {
    ($($(#[$doc:meta])* $id:ident: $t:ty = $identity:expr, |$a:ident, $b:ident| $e:expr $(, $rows:path)?;)*) => {$(
        $(#[$doc])*
        pub static $id: Fold<$t> = {
            crate::simd_fn! {
                fn all(x: &[$t], sizes: [usize; 3], out: &mut [$t]) {
                    columns(x, sizes, out, $identity, |$a: $t, $b: $t| $e);
                }
            }
            Fold { identity: $identity, rows: folds!(@rows $t, $identity, |$a, $b| $e $(, $rows)?), columns: all }
        };
    )*};
    (@rows $t:ty, $identity:expr, |$a:ident, $b:ident| $e:expr, $rows:path) => { $rows };
    (@rows $t:ty, $identity:expr, |$a:ident, $b:ident| $e:expr) => {{
        crate::simd_fn! {
            fn rows(x: &[$t], n: usize, out: &mut [$t]) {
                kernels::each_row(
                    x,
                    n,
                    out,
                    #[inline(always)]
                    |x: &[$t]| {
                        let join = |$a: $t, $b: $t| $e;
                        let lanes = kernels::run_lanes(x, $identity, $identity, join);
                        kernels::fold_lanes(lanes, join)
                    },
                    $identity,
                    #[inline(always)]
                    |$a: $t, $b: $t| $e,
                )
            }
        }
        rows
    }};
}

// A NaN, once met, stays.
folds! {
    /// Sums.
    SUM_F32: f32 = 0.0, |a, b| a + b, kernels::sum_rows_f32;
    /// Sums.
    SUM_F64: f64 = 0.0, |a, b| a + b, kernels::sum_rows_f64;
    /// Sums that wrap.
    SUM_I64: i64 = 0, |a, b| a.wrapping_add(b);
    /// Products.
    PROD_F32: f32 = 1.0, |a, b| a * b;
    /// Products.
    PROD_F64: f64 = 1.0, |a, b| a * b;
    /// Products that wrap.
    PROD_I64: i64 = 1, |a, b| a.wrapping_mul(b);
    /// Greatest elements; a NaN where there is one.
    MAX_F32: f32 = f32::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b }, kernels::max_rows_f32;
    /// Greatest elements; a NaN where there is one.
    MAX_F64: f64 = f64::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b };
    /// Greatest elements.
    MAX_I32: i32 = i32::MIN, |a, b| a.max(b);
    /// Greatest elements.
    MAX_I64: i64 = i64::MIN, |a, b| a.max(b);
    /// Least elements; a NaN where there is one.
    MIN_F32: f32 = f32::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b }, kernels::min_rows_f32;
    /// Least elements; a NaN where there is one.
    MIN_F64: f64 = f64::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b };
    /// Least elements.
    MIN_I32: i32 = i32::MAX, |a, b| a.min(b);
    /// Least elements.
    MIN_I64: i64 = i64::MAX, |a, b| a.min(b);
    /// Whether a truth value, 0 or 1, is 1.
    ANY: u8 = 0, |a, b| a | b;
    /// Whether all truth values are 1.
    ALL: u8 = 1, |a, b| a & b;
}

/// A type with a fold for its sums.
pub trait Sums: Pod + Default {
    /// The fold.
    const SUM: &'static Fold<Self>;
}
impl Sums for f32 {
    const SUM: &'static Fold<f32> = &SUM_F32;
}
impl Sums for f64 {
    const SUM: &'static Fold<f64> = &SUM_F64;
}

/// A type with folds for its extremes.
pub trait Extremes: Pod + PartialOrd + Default {
    /// The fold for the greatest elements, or the least.
    fn fold(largest: bool) -> &'static Fold<Self>;
}
macro_rules! extremes {
    ($($t:ty, $max:ident, $min:ident;)*) => {$(
        impl Extremes for $t {
            fn fold(largest: bool) -> &'static Fold<$t> {
                if largest { &$max } else { &$min }
            }
        }
    )*};
}
extremes! {
    f32, MAX_F32, MIN_F32;
    f64, MAX_F64, MIN_F64;
    i32, MAX_I32, MIN_I32;
    i64, MAX_I64, MIN_I64;
}

/// Reduces rows of `n` elements: `f(first row, elements, results)` takes some whole rows, or a piece
/// of a long one, whose results `join` puts together.
///
/// # Panics
/// If `x` is shorter than the rows.
pub fn fold_rows<T: Pod + Default>(
    x: &[T],
    n: usize,
    out: &mut [T],
    f: impl Fn(usize, &[T], &mut [T]) + Sync,
    join: impl Fn(&[T], &mut [T]),
) {
    let pieces = n.div_ceil(BLOCK);
    if pieces <= 1 {
        let per_chunk = (BLOCK / n.max(1)).max(1);
        parallel_slices_mut(out, 1, per_chunk, |row, out| {
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

impl<T: Pod + Default> Fold<T> {
    /// Folds the middle dimension of `x`, which is `[outer, n, inner]`, into `out` `[outer, inner]`.
    ///
    /// ```
    /// let mut sums = [0; 2];
    /// flambeau_cpu::fold::SUM_I64.run(&[1, 2, 3, 4, 5, 6], 3, 2, &mut sums);
    /// assert_eq!(sums, [9, 12]);
    /// ```
    ///
    /// # Panics
    /// If `x` is shorter than the sizes say.
    pub fn run(&self, x: &[T], n: usize, inner: usize, out: &mut [T]) {
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
                    (self.columns)(&x[i * COLUMNS..], [n, inner, out.len()], out);
                });
            }
            return;
        }
        // Short ones: threads take matrices, or runs of rows.
        let rows = (BLOCK / inner).max(LANES);
        let pieces = n.div_ceil(rows);
        if pieces == 1 {
            return parallel_slices_mut(out, inner, BLOCK / n, |start, out| {
                self.matrices(&x[start * n..], n, inner, out);
            });
        }
        let mut parts = vec![T::default(); out.len() * pieces];
        parallel_chunks_mut(&mut parts, inner, |i, part| {
            let (o, from) = (i / pieces, i % pieces * rows);
            let n_here = rows.min(n - from);
            self.matrices(&x[(o * n + from) * inner..], n_here, inner, part);
        });
        self.matrices(&parts, pieces, inner, out);
    }

    /// Folds down the columns of matrices of `n` by `inner`, no more than [`COLUMNS`] at a time.
    fn matrices(&self, x: &[T], n: usize, inner: usize, out: &mut [T]) {
        if inner <= COLUMNS {
            return (self.columns)(x, [n, inner, inner], out);
        }
        for (k, out) in out.chunks_exact_mut(inner).enumerate() {
            for (i, out) in out.chunks_mut(COLUMNS).enumerate() {
                let x = &x[k * n * inner + i * COLUMNS..];
                (self.columns)(x, [n, inner, out.len()], out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_is_that_of_its_elements() {
        fn check<T: Pod + Default + PartialEq>(
            fold: &Fold<T>,
            of: impl Fn(usize) -> T,
            join: impl Fn(T, T) -> T,
        ) {
            for [outer, n, inner] in [
                [1, 1, 1],
                [5, 10, 1],
                [5, 100, 1],
                [2, 70_000, 1],
                [3, 7, 5],
                [2, 500, 3],
                [2, 900, 7],
                [1, 3000, 16],
                [3, 40, 100],
                [2, 9, 1500],
                [3, 200, 1000],
                [1, 5, 20_000],
                [2, 0, 3],
            ] {
                let x: Vec<T> = (0..outer * n * inner)
                    .map(|i| of(i * 7919 % 10_007))
                    .collect();
                let mut out = vec![of(0); outer * inner];
                fold.run(&x, n, inner, &mut out);
                for (at, &got) in out.iter().enumerate() {
                    let (o, i) = (at / inner, at % inner);
                    let column = (0..n).map(|k| x[(o * n + k) * inner + i]);
                    let want = column.fold(fold.identity, &join);
                    assert!(got == want, "[{outer}, {n}, {inner}] {at}");
                }
            }
        }
        // Numbers whose sums and products are exact.
        check(&SUM_F32, |i| (i % 9) as f32 - 4.0, |a, b| a + b);
        check(&SUM_I64, |i| i as i64, |a, b| a + b);
        check(
            &PROD_F32,
            |i| if i % 3 == 0 { -1.0 } else { 1.0 },
            |a, b| a * b,
        );
        check(&PROD_I64, |i| i as i64 | 1, i64::wrapping_mul);
        check(&MAX_F32, |i| i as f32, f32::max);
        check(&MIN_F64, |i| i as f64, f64::min);
        check(&MAX_I32, |i| -(i as i32), i32::max);
        check(&MIN_I64, |i| i as i64, i64::min);
        check(&ANY, |i| (i % 1000 == 3) as u8, |a, b| a | b);
        check(&ALL, |i| (i % 1000 != 3) as u8, |a, b| a & b);
    }

    #[test]
    fn a_nan_stays() {
        for [n, inner] in [[10, 1], [100, 1], [1000, 1], [40, 3], [1000, 3], [50, 100]] {
            for at in [0, n / 2, n - 1] {
                let mut x = vec![1.0f32; n * inner];
                x[at * inner] = f32::NAN;
                let (mut most, mut least) = (vec![0.0; inner], vec![0.0; inner]);
                MAX_F32.run(&x, n, inner, &mut most);
                MIN_F32.run(&x, n, inner, &mut least);
                assert!(most[0].is_nan() && least[0].is_nan(), "{n} {inner} {at}");
                assert!(most[1..].iter().chain(&least[1..]).all(|&v| v == 1.0));
            }
        }
    }
}
