//! Reductions over contiguous slices. The order of the additions depends on the length alone.

use std::ops::Range;

use crate::convert::Near;
use crate::float::Float;
use crate::simd::{Level, dispatch, level};
use crate::simd_fn;
use half::bf16;

/// Elements that are added in [`LANES`] running sums before the pairwise part takes over.
const BLOCK: usize = 4096;
/// Running sums of a block: four vectors of the widest kind.
pub const LANES: usize = 64;

/// The blocks of `0..n` reduced by `block` and combined pairwise.
#[inline(always)]
fn pairwise<T: Copy + Default>(
    n: usize,
    block: impl Fn(Range<usize>) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    if n <= BLOCK {
        return block(0..n);
    }
    // A binary counter: level i of `stack` holds the result of 2^i blocks where bit i of the
    // number of blocks so far is set.
    let mut stack = [T::default(); 52];
    let whole = n / BLOCK;
    for i in 0..whole {
        let mut value = block(i * BLOCK..(i + 1) * BLOCK);
        let level = i.trailing_ones() as usize;
        for left in &stack[..level] {
            value = join(*left, value);
        }
        stack[level] = value;
    }
    let mut value = block(whole * BLOCK..n);
    for (level, left) in stack.iter().enumerate() {
        if whole >> level & 1 == 1 {
            value = join(*left, value);
        }
    }
    value
}

/// Joins lanes in halves. The bounds are constants, so that the lanes stay in registers.
#[inline(always)]
pub fn fold_lanes<T: Copy>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    for i in 0..32 {
        lanes[i] = join(lanes[i], lanes[i + 32]);
    }
    let mut half = [lanes[0]; 16];
    for i in 0..16 {
        half[i] = join(lanes[i], lanes[i + 16]);
    }
    fold16(half, join)
}

/// The same for 16 lanes.
#[inline(always)]
pub(crate) fn fold16<T: Copy>(lanes: [T; 16], join: impl Fn(T, T) -> T) -> T {
    let mut half = [lanes[0]; 8];
    for i in 0..8 {
        half[i] = join(lanes[i], lanes[i + 8]);
    }
    let mut quarter = [lanes[0]; 4];
    for i in 0..4 {
        quarter[i] = join(half[i], half[i + 4]);
    }
    join(join(quarter[0], quarter[2]), join(quarter[1], quarter[3]))
}

/// `step(running result, element)` over a slice in [`LANES`] lanes, from `start` on. What is missing in
/// the last chunk is read as `pad` and not counted.
#[inline(always)]
pub(crate) fn run_lanes<T: Copy, A: Copy>(
    x: &[T],
    start: A,
    pad: T,
    step: impl Fn(A, T) -> A,
) -> [A; LANES] {
    let mut acc = [start; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for i in 0..LANES {
            acc[i] = step(acc[i], x[i]);
        }
    }
    if !rest.is_empty() {
        // Padded to a whole chunk: a loop over what is left would keep the lanes in memory.
        let mut last = [pad; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for i in 0..LANES {
            let next = step(acc[i], last[i]);
            acc[i] = if i < rest.len() { next } else { acc[i] };
        }
    }
    acc
}

/// Slices shorter than this are added up in half of the lanes by [`sums`].
const FEW: usize = 128;

/// `W` sums over the pairs of elements of two slices of the same length.
#[inline(always)]
pub(crate) fn sums<E: Copy, T: Float, const W: usize>(
    x: &[E],
    y: &[E],
    term: impl Fn(E, E) -> [T; W],
) -> [T; W] {
    let mut out = [T::ZERO; W];
    if x.len() < 16 {
        for (&x, &y) in x.iter().zip(y) {
            let t = term(x, y);
            for w in 0..W {
                out[w] += t[w];
            }
        }
        return out;
    }
    if x.len() < FEW {
        let acc = sums_in::<E, T, 16, W>(x, y, term);
        for w in 0..W {
            out[w] = fold16(acc[w], |a, b| a + b);
        }
        return out;
    }
    let acc = sums_in::<E, T, 32, W>(x, y, term);
    for w in 0..W {
        let mut half = [T::ZERO; 16];
        for i in 0..16 {
            half[i] = acc[w][i] + acc[w][i + 16];
        }
        out[w] = fold16(half, |a, b| a + b);
    }
    out
}

/// [`sums`] in `L` lanes, for `L` elements at least.
#[inline(always)]
fn sums_in<E: Copy, T: Float, const L: usize, const W: usize>(
    x: &[E],
    y: &[E],
    term: impl Fn(E, E) -> [T; W],
) -> [[T; L]; W] {
    let mut acc = [[T::ZERO; L]; W];
    let ((xs, rest), (ys, _)) = (x.as_chunks::<L>(), y.as_chunks::<L>());
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..L {
            let t = term(x[i], y[i]);
            for w in 0..W {
                acc[w][i] += t[w];
            }
        }
    }
    if let (false, Some(x), Some(y)) = (rest.is_empty(), x.last_chunk::<L>(), y.last_chunk::<L>()) {
        // The last whole chunk once more, where what has been counted is left out.
        for i in 0..L {
            let t = term(x[i], y[i]);
            for w in 0..W {
                acc[w][i] += if i + rest.len() >= L { t[w] } else { T::ZERO };
            }
        }
    }
    acc
}

/// The element that `$better` ends with, or `$nan` if any element is one.
macro_rules! extreme {
    ($x:expr, $start:expr, $better:tt, $nan:expr) => {{
        let (mut best, mut seen) = ([$start; LANES], [false; LANES]);
        // Slices, not arrays: a loop over an array is unrolled before it could be vectorised.
        let chunks = $x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for x in chunks {
            for i in 0..LANES {
                best[i] = if x[i] $better best[i] { x[i] } else { best[i] };
                seen[i] |= x[i] != x[i];
            }
        }
        for i in 0..rest.len() {
            best[i] = if rest[i] $better best[i] { rest[i] } else { best[i] };
            seen[i] |= rest[i] != rest[i];
        }
        if seen.contains(&true) {
            $nan
        } else {
            fold_lanes(best, #[inline(always)] |a, b| if b $better a { b } else { a })
        }
    }};
}

macro_rules! reductions {
    ($t:ident, $sum:ident, $sum_map:ident, $dot:ident, $max:ident, $min:ident, $add_rows:ident,
        $sum_rows:ident) => {
        simd_fn! {
            /// Sum of a slice; 0 for an empty one. Blocks of 4,096 in 64 running sums, the blocks
            /// pairwise: the error grows with the logarithm of the length.
            pub fn $sum(x: &[$t]) -> $t {
                $sum_map(x, 0.0, |v| v)
            }

            /// The sums of the rows of `n` elements of `x`, one for each place of `out`.
            pub fn $sum_rows(x: &[$t], n: usize, out: &mut [$t]) {
                each_row(x, n, out, #[inline(always)] |x| $sum_map(x, 0.0, |v| v), 0.0, |a, b| a + b)
            }

            /// Sum of `x[i] * y[i]`, added up as in the sum.
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $dot(x: &[$t], y: &[$t]) -> $t {
                assert_eq!(x.len(), y.len(), "slices of different lengths");
                pairwise(x.len(), #[inline(always)] |r: Range<usize>| {
                    sums(&x[r.clone()], &y[r], #[inline(always)] |a, b| [a * b])[0]
                }, |a, b| a + b)
            }

            /// Greatest element; NaN if there is one, minus infinity for an empty slice.
            pub fn $max(x: &[$t]) -> $t {
                extreme!(x, $t::NEG_INFINITY, >, $t::NAN)
            }

            /// Least element; NaN if there is one, infinity for an empty slice.
            pub fn $min(x: &[$t]) -> $t {
                extreme!(x, $t::INFINITY, <, $t::NAN)
            }

            /// Adds the rows of the matrix `x` (`x.len() / out.len()` rows, contiguous) to `out`.
            ///
            /// Rows are added in order; split long columns by row ranges and add the parts for a
            /// smaller error.
            ///
            /// # Panics
            /// If `x` is not a whole number of rows.
            pub fn $add_rows(x: &[$t], out: &mut [$t]) {
                if out.is_empty() {
                    assert!(x.is_empty(), "rows without columns");
                    return;
                }
                assert!(x.len() % out.len() == 0, "not a whole number of rows");
                for row in x.chunks_exact(out.len()) {
                    for (o, v) in out.iter_mut().zip(row) {
                        *o += *v;
                    }
                }
            }
        }

        /// Sum of `f(x[i])`, added up as in the sum; to be inlined into a dispatched function. `f` is
        /// also asked about `pad`, whatever it makes of that.
        #[inline(always)]
        pub fn $sum_map(x: &[$t], pad: $t, f: impl Fn($t) -> $t) -> $t {
            pairwise(
                x.len(),
                #[inline(always)]
                |r| {
                    let lanes = run_lanes(&x[r], 0.0, pad, #[inline(always)] |acc, v| acc + f(v));
                    fold_lanes(lanes, #[inline(always)] |a, b| a + b)
                },
                |a, b| a + b,
            )
        }
    };
}

/// The least and the greatest of some integers; of none, nothing.
///
/// ```
/// assert_eq!(flambeau_cpu::reduce::range_i64(&[3, -1, 2]), Some((-1, 3)));
/// ```
pub fn range_i64(x: &[i64]) -> Option<(i64, i64)> {
    dispatch(
        #[inline(always)]
        || {
            let first = *x.first()?;
            Some(x.iter().fold((first, first), |(least, most), &v| {
                (least.min(v), most.max(v))
            }))
        },
    )
}

/// Rows shorter than this are reduced element by element: filling the lanes would cost more.
const SHORT: usize = 32;
/// Rows shorter than this in a quarter of the lanes.
const MIDDLING: usize = 128;

/// `row` of each row of `n` elements, or of short ones a plain fold.
#[inline(always)]
pub fn each_row<T: Copy>(
    x: &[T],
    n: usize,
    out: &mut [T],
    row: impl Fn(&[T]) -> T,
    start: T,
    join: impl Fn(T, T) -> T,
) {
    assert_eq!(x.len(), n * out.len(), "lengths of the rows");
    if (SHORT..MIDDLING).contains(&n) {
        for (x, o) in x.chunks_exact(n).zip(out) {
            let (chunks, rest) = x.as_chunks::<16>();
            let (mut acc, mut last) = ([start; 16], [start; 16]);
            for x in chunks {
                for i in 0..16 {
                    acc[i] = join(acc[i], x[i]);
                }
            }
            last[..rest.len()].copy_from_slice(rest);
            for i in 0..16 {
                acc[i] = join(acc[i], last[i]);
            }
            *o = fold16(acc, &join);
        }
    } else if n >= SHORT {
        for (x, o) in x.chunks_exact(n).zip(out) {
            *o = row(x);
        }
    } else if n > 0 {
        // Four at a time, which need not wait for each other.
        for (x, o) in x.chunks_exact(n).zip(out) {
            let (quads, rest) = x.as_chunks::<4>();
            let mut acc = [start; 4];
            for q in quads {
                for i in 0..4 {
                    acc[i] = join(acc[i], q[i]);
                }
            }
            let mut sum = join(join(acc[0], acc[1]), join(acc[2], acc[3]));
            for &v in rest {
                sum = join(sum, v);
            }
            *o = sum;
        }
    } else {
        out.fill(start);
    }
}

/// The greatest element of each row of `n` elements of `x`; NaN where there is one, minus infinity
/// of nothing.
pub fn max_rows_f32(x: &[f32], n: usize, out: &mut [f32]) {
    extreme_rows::<true>(x, n, out);
}

/// The least, as the greatest.
pub fn min_rows_f32(x: &[f32], n: usize, out: &mut [f32]) {
    extreme_rows::<false>(x, n, out);
}

fn extreme_rows<const MAX: bool>(x: &[f32], n: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if n >= SHORT && level() == Level::Avx512 {
        assert_eq!(x.len(), n * out.len(), "lengths of the rows");
        for (x, o) in x.chunks_exact(n).zip(out) {
            // SAFETY: `level` returns Avx512 only where the CPU has what is enabled there.
            *o = unsafe { x86::extreme::<MAX>(x) };
        }
        return;
    }
    let start = if MAX {
        f32::NEG_INFINITY
    } else {
        f32::INFINITY
    };
    dispatch(
        #[inline(always)]
        || {
            each_row(
                x,
                n,
                out,
                #[inline(always)]
                |x: &[f32]| {
                    extreme_of(
                        x,
                        start,
                        #[inline(always)]
                        |a, b| if MAX { a > b } else { a < b },
                    )
                },
                start,
                |a, b| {
                    let first = if MAX { a > b } else { a < b };
                    if first || a.is_nan() { a } else { b }
                },
            );
        },
    );
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// The greatest element, or the least where not `MAX`; NaN where there is one. Written out, for
    /// the compiler does not vectorise it: sixteen lanes each in four registers, what is missing in
    /// the last one filled up.
    ///
    /// # Safety
    /// The CPU must have the enabled feature.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn extreme<const MAX: bool>(x: &[f32]) -> f32 {
        let start = _mm512_set1_ps(if MAX {
            f32::NEG_INFINITY
        } else {
            f32::INFINITY
        });
        let (mut best, mut nan) = ([start; 4], 0);
        let (whole, rest) = x.as_chunks::<64>();
        for x in whole {
            for (i, best) in best.iter_mut().enumerate() {
                // SAFETY: the chunk has this vector; no alignment is needed.
                let v = unsafe { _mm512_loadu_ps(x.as_ptr().add(16 * i)) };
                *best = if MAX {
                    _mm512_max_ps(v, *best)
                } else {
                    _mm512_min_ps(v, *best)
                };
                nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            }
        }
        for (x, best) in rest.chunks(16).zip(&mut best) {
            let there = ((1u32 << x.len()) - 1) as u16;
            // SAFETY: no more is read than the piece has.
            let v = unsafe { _mm512_mask_loadu_ps(start, there, x.as_ptr()) };
            *best = if MAX {
                _mm512_max_ps(v, *best)
            } else {
                _mm512_min_ps(v, *best)
            };
            nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        }
        let [a, b, c, d] = best;
        match (nan, MAX) {
            (0, true) => {
                let (a, b) = (_mm512_max_ps(a, b), _mm512_max_ps(c, d));
                _mm512_reduce_max_ps(_mm512_max_ps(a, b))
            }
            (0, false) => {
                let (a, b) = (_mm512_min_ps(a, b), _mm512_min_ps(c, d));
                _mm512_reduce_min_ps(_mm512_min_ps(a, b))
            }
            _ => f32::NAN,
        }
    }

    /// The sums of four rows of `n` elements, which fill no more than a few registers.
    ///
    /// # Safety
    /// The CPU must have the enabled feature.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn short_sums(x: &[f32], n: usize) -> [f32; 4] {
        let there = ((1u32 << (n % 16)) - 1) as u16;
        let mut sums = [_mm512_setzero_ps(); 4];
        for (sum, x) in sums.iter_mut().zip(x.chunks_exact(n)) {
            let (whole, rest) = x.as_chunks::<16>();
            for x in whole {
                // SAFETY: the chunk is a register's worth.
                *sum = _mm512_add_ps(*sum, unsafe { _mm512_loadu_ps(x.as_ptr()) });
            }
            // SAFETY: no more is read than the rest has.
            let v = unsafe { _mm512_maskz_loadu_ps(there, rest.as_ptr()) };
            *sum = _mm512_add_ps(*sum, v);
        }
        let [a, b, c, d] = sums;
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
        let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
        // Each quarter holds a part of the four sums.
        let quarters = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
        let halves = _mm512_add_ps(quarters, _mm512_shuffle_f32x4::<0x4e>(quarters, quarters));
        let all = _mm512_add_ps(halves, _mm512_shuffle_f32x4::<0xb1>(halves, halves));
        let mut out = [0.0; 4];
        // SAFETY: four elements are written where there are four.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), _mm512_castps512_ps128(all)) };
        out
    }
}

/// The sums of the rows of `n` elements of `x`, one for each place of `out`.
pub fn sum_rows_f32(x: &[f32], n: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if (SHORT..MIDDLING).contains(&n) && level() == Level::Avx512 {
        assert_eq!(x.len(), n * out.len(), "lengths of the rows");
        for (x, out) in x.chunks(4 * n).zip(out.chunks_mut(4)) {
            // SAFETY: `level` returns Avx512 only where the CPU has what is enabled there.
            let sums = unsafe { x86::short_sums(x, n) };
            out.copy_from_slice(&sums[..out.len()]);
        }
        return;
    }
    sum_rows_plain_f32(x, n, out);
}

simd_fn! {
    /// The sum of the elements, added up in `f32` as [`sum_f32`] does.
    pub fn sum_bf16(x: &[bf16]) -> f32 {
        pairwise(
            x.len(),
            #[inline(always)]
            |r| {
                let lanes = run_lanes(&x[r], 0.0, bf16::ZERO, #[inline(always)] |acc, v| acc + v.wide());
                fold_lanes(lanes, #[inline(always)] |a, b| a + b)
            },
            |a, b| a + b,
        )
    }
}

/// The element of a row that `better` ends with; NaN where there is one. A NaN is looked for beside
/// the comparisons, which may then be the CPU's own maximum and minimum.
#[inline(always)]
fn extreme_of(x: &[f32], start: f32, better: impl Fn(f32, f32) -> bool) -> f32 {
    let (mut best, mut nan) = ([start; LANES], [0u32; LANES]);
    // Slices, not arrays: a loop over an array is unrolled before it could be vectorised.
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for i in 0..LANES {
            best[i] = if better(x[i], best[i]) { x[i] } else { best[i] };
            nan[i] |= u32::from(x[i].is_nan());
        }
    }
    if !rest.is_empty() {
        // Padded to a whole chunk: a loop over what is left would keep the lanes in memory.
        let mut last = [start; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for i in 0..LANES {
            best[i] = if better(last[i], best[i]) {
                last[i]
            } else {
                best[i]
            };
            nan[i] |= u32::from(last[i].is_nan());
        }
    }
    let seen = nan.iter().fold(0, |all, &n| all | n);
    let best = fold_lanes(
        best,
        #[inline(always)]
        |a, b| if better(b, a) { b } else { a },
    );
    if seen == 0 { best } else { f32::NAN }
}

reductions!(
    f32,
    sum_f32,
    sum_map_f32,
    dot_f32,
    max_f32,
    min_f32,
    add_rows_f32,
    sum_rows_plain_f32
);
reductions!(
    f64,
    sum_f64,
    sum_map_f64,
    dot_f64,
    max_f64,
    min_f64,
    add_rows_f64,
    sum_rows_f64
);

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut s = 1u32;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / (1 << 24) as f32
            })
            .collect()
    }

    #[test]
    fn sums_are_close_to_f64() {
        let long = if cfg!(miri) { 2000 } else { 1_000_003 };
        for n in [0, 1, 63, 64, 65, 511, 512, 513, 5000, long] {
            let x = noise(n);
            let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert!(
                (f64::from(sum_f32(&x)) - exact).abs() <= 1e-6 * exact,
                "{n}"
            );
            let y: Vec<f32> = x.iter().map(|v| 1.0 - v).collect();
            let exact: f64 = x
                .iter()
                .zip(&y)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum();
            assert!(
                (f64::from(dot_f32(&x, &y)) - exact).abs() <= 1e-6 * exact,
                "{n}"
            );
            let wide: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            let exact: f64 = wide.iter().sum();
            assert!((sum_f64(&wide) - exact).abs() <= 1e-12 * exact, "{n}");
        }
    }

    #[test]
    fn extremes_and_nan() {
        assert_eq!(
            (max_f32(&[]), min_f64(&[])),
            (f32::NEG_INFINITY, f64::INFINITY)
        );
        for n in [1, 64, 100, 1000] {
            for at in [0, n / 2, n - 1] {
                let mut x = noise(n);
                x[at] = 2.0;
                assert_eq!(max_f32(&x), 2.0);
                x[at] = -2.0;
                assert_eq!(min_f32(&x), -2.0);
                x[at] = f32::NAN;
                assert!(max_f32(&x).is_nan() && min_f32(&x).is_nan());
            }
        }
    }

    #[test]
    fn extremes_of_rows() {
        for n in [1, 5, 31, 32, 64, 100, 1000] {
            for at in [0, n / 2, n - 1] {
                let mut x = noise(3 * n);
                (x[n + at], x[2 * n + at]) = (2.0, f32::NAN);
                let mut out = [0.0; 3];
                max_rows_f32(&x, n, &mut out);
                assert_eq!(out[..2], [max_f32(&x[..n]), 2.0]);
                assert!(out[2].is_nan());
                x[n + at] = -2.0;
                min_rows_f32(&x, n, &mut out);
                assert_eq!(out[..2], [min_f32(&x[..n]), -2.0]);
                assert!(out[2].is_nan());
            }
        }
    }

    #[test]
    fn bf16_is_summed_in_f32() {
        for n in [0, 1, 63, 64, 65, 5000] {
            let low: Vec<bf16> = noise(n).into_iter().map(bf16::from_f32).collect();
            let wide: Vec<f32> = low.iter().map(|v| v.to_f32()).collect();
            assert_eq!(sum_bf16(&low), sum_f32(&wide), "{n}");
        }
    }

    #[test]
    fn each_row_is_summed() {
        for n in [1, 3, 4, 10, 31, 32, 33, 64, 100, 5000] {
            let x: Vec<f32> = noise(7 * n).iter().map(|v| v - 0.5).collect();
            let mut sum = [0.0; 7];
            sum_rows_f32(&x, n, &mut sum);
            for (x, sum) in x.chunks_exact(n).zip(sum) {
                let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
                assert!((f64::from(sum) - exact).abs() < 1e-4, "{n}");
            }
        }
    }

    #[test]
    fn rows_add_up() {
        let mut out = [1.0, 1.0, 1.0];
        add_rows_f32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut out);
        assert_eq!(out, [6.0, 8.0, 10.0]);
        add_rows_f32(&[], &mut []);
    }
}
