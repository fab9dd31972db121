//! The greatest or least element along the middle dimension of `[outer, n, inner]`, with its index:
//! the first among equals, or the first NaN.

use crate::alloc::Pod;
use crate::fold::Extremes;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Rows of fewer elements are compared one by one.
const SHORT: usize = 32;
/// Of which so many are dealt with side by side.
const SIDE: usize = 16;
/// Columns that are dealt with side by side.
const COLUMNS: usize = 512;

/// Writes the greatest elements (the least, where not `largest`) to `values`, and their indices along
/// the middle dimension.
///
/// ```
/// let (mut values, mut indices) = ([0.0f32; 2], [0; 2]);
/// let x = [1.0, 3.0, 3.0, 5.0, 2.0, 4.0];
/// flambeau_cpu::extreme::extreme(&x, [2, 3, 1], true, &mut values, &mut indices);
/// assert_eq!((values, indices), ([3.0, 5.0], [1, 0]));
/// ```
///
/// # Panics
/// If the lengths do not fit, or the middle dimension is empty or as long as 2^31.
pub fn extreme<T: Extremes>(
    x: &[T],
    [outer, n, inner]: [usize; 3],
    largest: bool,
    values: &mut [T],
    indices: &mut [i64],
) {
    assert!(
        x.len() == outer * n * inner
            && values.len() == outer * inner
            && indices.len() == values.len(),
        "extreme: lengths"
    );
    if values.is_empty() {
        return;
    }
    assert!(
        (1..1 << 31).contains(&n),
        "extreme: {n} elements along the dimension"
    );
    let (values, indices) = (SyncPtr(values.as_mut_ptr()), SyncPtr(indices.as_mut_ptr()));
    if inner == 1 {
        if outer < 8 && n > GRAIN {
            // A few long rows: the fold shares each out among threads.
            // SAFETY: as many as rows, and nobody else touches them.
            let (values, indices) = unsafe {
                (
                    std::slice::from_raw_parts_mut(values.get(), outer),
                    std::slice::from_raw_parts_mut(indices.get(), outer),
                )
            };
            T::fold(largest).run(x, n, 1, values);
            for ((x, &value), index) in x.chunks_exact(n).zip(&*values).zip(indices) {
                *index = find(x, value) as i64;
            }
            return;
        }
        return parallel_for(outer, (GRAIN / n).max(1), |rows| {
            // SAFETY: rows are handed out once.
            let (values, indices) = unsafe {
                (
                    std::slice::from_raw_parts_mut(values.get().add(rows.start), rows.len()),
                    std::slice::from_raw_parts_mut(indices.get().add(rows.start), rows.len()),
                )
            };
            let x = &x[rows.start * n..rows.end * n];
            if n < SHORT {
                return short_rows(x, n, largest, values, indices);
            }
            // The extremes first, in whole registers, then where they are.
            for ((x, value), index) in x
                .chunks_exact(n)
                .zip(values.chunks_exact_mut(1))
                .zip(indices)
            {
                T::fold(largest).run(x, n, 1, value);
                *index = find(x, value[0]) as i64;
            }
        });
    }
    let groups = inner.div_ceil(COLUMNS);
    let work = n * inner.min(COLUMNS);
    parallel_for(outer * groups, (GRAIN / work).max(1), |range| {
        for i in range {
            let (o, from) = (i / groups, i % groups * COLUMNS);
            let width = (inner - from).min(COLUMNS);
            let x = &x[o * n * inner + from..][..(n - 1) * inner + width];
            // SAFETY: groups of columns are handed out once.
            let (values, indices) = unsafe {
                (
                    std::slice::from_raw_parts_mut(values.get().add(o * inner + from), width),
                    std::slice::from_raw_parts_mut(indices.get().add(o * inner + from), width),
                )
            };
            let few = inner <= COLUMNS / 16 && n * inner >= 4 * COLUMNS;
            match (few, largest) {
                (true, true) => few_columns::<T, true>(x, inner, values, indices),
                (true, false) => few_columns::<T, false>(x, inner, values, indices),
                (false, true) => columns::<T, true>(x, inner, values, indices),
                (false, false) => columns::<T, false>(x, inner, values, indices),
            }
        }
    });
}

/// Whether `v` takes the place of `best`, which came before.
#[inline(always)]
fn wins<T: Pod + PartialOrd, const MAX: bool>(v: T, best: T) -> bool {
    // Of the kinds of elements floating-point numbers alone are not equal to themselves.
    #[allow(clippy::eq_op)]
    let nan = (v != v) & (best == best);
    (if MAX { v > best } else { v < best }) | nan
}

/// Rows of a few elements: a register holds an element of each of several rows.
fn short_rows<T: Extremes>(
    x: &[T],
    n: usize,
    largest: bool,
    values: &mut [T],
    indices: &mut [i64],
) {
    dispatch(
        #[inline(always)]
        || {
            let mut turned = [[T::default(); SIDE]; SHORT];
            let groups = values.chunks_mut(SIDE).zip(indices.chunks_mut(SIDE));
            for (x, (values, indices)) in x.chunks(SIDE * n).zip(groups) {
                for (r, x) in x.chunks_exact(n).enumerate() {
                    for (turned, &v) in turned.iter_mut().zip(x) {
                        turned[r] = v;
                    }
                }
                let (mut best, mut at) = (turned[0], [0u32; SIDE]);
                for (k, x) in turned[..n].iter().enumerate().skip(1) {
                    for i in 0..SIDE {
                        // Both are compiled into the loop: one for each took twice the code.
                        let wins = (largest & wins::<T, true>(x[i], best[i]))
                            | (!largest & wins::<T, false>(x[i], best[i]));
                        best[i] = if wins { x[i] } else { best[i] };
                        at[i] = if wins { k as u32 } else { at[i] };
                    }
                }
                values.copy_from_slice(&best[..values.len()]);
                (indices.iter_mut().zip(at)).for_each(|(o, at)| *o = at.into());
            }
        },
    );
}

/// A few columns: several rows side by side make up a wide one, and the extremes of its columns are
/// compared at last.
fn few_columns<T: Extremes, const MAX: bool>(
    x: &[T],
    width: usize,
    values: &mut [T],
    indices: &mut [i64],
) {
    let group = COLUMNS / 4 / width;
    let wide = group * width;
    let whole = x.len() / wide * wide;
    let (mut best, mut at) = ([T::default(); COLUMNS], [0i64; COLUMNS]);
    let (best, at) = (&mut best[..wide], &mut at[..wide]);
    columns::<T, MAX>(&x[..whole], wide, best, at);
    for i in 0..width {
        let (mut first, mut row) = (best[i], at[i] * group as i64);
        for r in 1..group {
            let (v, other) = (
                best[r * width + i],
                at[r * width + i] * group as i64 + r as i64,
            );
            let equal = !wins::<T, MAX>(v, first) && !wins::<T, MAX>(first, v);
            if wins::<T, MAX>(v, first) || (equal && other < row) {
                (first, row) = (v, other);
            }
        }
        for (k, x) in x[whole..].chunks_exact(width).enumerate() {
            if wins::<T, MAX>(x[i], first) {
                (first, row) = (x[i], (whole / width + k) as i64);
            }
        }
        (values[i], indices[i]) = (first, row);
    }
}

fn columns<T: Extremes, const MAX: bool>(
    x: &[T],
    stride: usize,
    values: &mut [T],
    indices: &mut [i64],
) {
    let width = values.len();
    let mut places = [0u32; COLUMNS];
    let places = &mut places[..width];
    values.copy_from_slice(&x[..width]);
    dispatch(
        #[inline(always)]
        || {
            for (k, row) in x.chunks(stride).enumerate().skip(1) {
                let (row, best) = (&row[..width], &mut values[..width]);
                let places = &mut places[..width];
                for i in 0..width {
                    let wins = wins::<T, MAX>(row[i], best[i]);
                    best[i] = if wins { row[i] } else { best[i] };
                    places[i] = if wins { k as u32 } else { places[i] };
                }
            }
        },
    );
    (indices.iter_mut().zip(places)).for_each(|(o, &mut k)| *o = k.into());
}

/// The first place of `value` in `x`, of a NaN that of the first one.
fn find<T: Extremes>(x: &[T], value: T) -> usize {
    const CHUNK: usize = 128;
    #[allow(clippy::eq_op)]
    let nan = value != value;
    #[allow(clippy::eq_op)]
    let same = |v: T| (v == value) | (nan & (v != v));
    // All of a chunk are looked at: a loop that may end early is not vectorised.
    let chunk = dispatch(
        #[inline(always)]
        || {
            x.chunks(CHUNK)
                .position(|x| x.iter().fold(false, |any, &v| any | same(v)))
        },
    );
    let from = chunk.unwrap_or(0) * CHUNK;
    from + x[from..].iter().position(|&v| same(v)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Extremes + std::fmt::Debug>(of: impl Fn(usize) -> T) {
        for [outer, n, inner] in [
            [1, 1, 1],
            [7, 5, 1],
            [3, 31, 1],
            [3, 200, 1],
            [2, 50_000, 1],
            [10, 40_000, 1],
            [3, 9, 5],
            [2, 3001, 3],
            [1, 2000, 31],
            [2, 40, 700],
            [0, 3, 4],
        ] {
            let x: Vec<T> = (0..outer * n * inner)
                .map(|i| of(i * 7919 % 10_007))
                .collect();
            for largest in [true, false] {
                let mut values = vec![of(0); outer * inner];
                let mut indices = vec![-1; outer * inner];
                extreme(&x, [outer, n, inner], largest, &mut values, &mut indices);
                for o in 0..outer {
                    for i in 0..inner {
                        let at = |k: usize| x[(o * n + k) * inner + i];
                        let mut best = 0;
                        for k in 1..n {
                            let better = match largest {
                                true => wins::<T, true>(at(k), at(best)),
                                false => wins::<T, false>(at(k), at(best)),
                            };
                            best = if better { k } else { best };
                        }
                        let got = indices[o * inner + i];
                        assert_eq!(got, best as i64, "[{outer}, {n}, {inner}] {largest}");
                        let same = values[o * inner + i].partial_cmp(&at(best));
                        let both_nan = same.is_none() && at(best).partial_cmp(&at(best)).is_none();
                        assert!(same == Some(std::cmp::Ordering::Equal) || both_nan);
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_and_their_places() {
        check(|i| i as i32 - 5000);
        check(|i| i as i64 % 300 - 100);
        check(|i| i as f32);
        check(|i| (i % 20) as f64 - 10.0);
        check(|i| if i % 97 == 0 { f32::NAN } else { i as f32 });
    }
}
