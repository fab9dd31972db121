//! Softmax and its logarithm along the middle dimension of `[outer, n, inner]`, with gradients.

use crate::float::Float;
use crate::reduce::{fold16, sums};
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_chunks_mut, parallel_for};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;
/// Running results of a row.
const LANES: usize = 16;
/// The most columns that are taken side by side.
const COLUMNS: usize = 512;
/// Elements of such columns that should stay in the second cache between passes.
const CACHED: usize = 1 << 16;

/// Softmax of `x`, or its logarithm where `log`.
///
/// ```
/// let mut p = [0.0f32; 2];
/// flambeau_cpu::softmax::forward(&[1.0, 1.0], &mut p, [1, 2, 1], false);
/// assert_eq!(p, [0.5, 0.5]);
/// ```
///
/// # Panics
/// If the lengths do not fit.
pub fn forward<T: Float>(x: &[T], out: &mut [T], shape: [usize; 3], log: bool) {
    let [_, n, inner] = check(shape, &[x.len(), out.len()]);
    if inner == 1 {
        return for_rows(n, out, |at, out| {
            dispatch(
                #[inline(always)]
                || {
                    let x = x[at..at + out.len()].chunks_exact(n);
                    // No `for_each`: its closure would be a function of its own, for the baseline.
                    for (x, out) in x.zip(out.chunks_exact_mut(n)) {
                        row(x, out, log);
                    }
                },
            );
        });
    }
    for_columns(shape, out, |x_at, width, out| {
        dispatch(
            #[inline(always)]
            || columns(&x[x_at..], out, [n, inner, width], log),
        );
    });
}

/// The gradient of softmax's input from that of its output, `g`, and the output, `y`: `(g - sum(g
/// y)) y`, for the logarithm `g - exp(y) sum(g)`.
///
/// # Panics
/// If the lengths do not fit.
pub fn backward<T: Float>(g: &[T], y: &[T], out: &mut [T], shape: [usize; 3], log: bool) {
    let [_, n, inner] = check(shape, &[g.len(), y.len(), out.len()]);
    if inner == 1 {
        return for_rows(n, out, |at, out| {
            let (g, y) = (&g[at..at + out.len()], &y[at..at + out.len()]);
            dispatch(
                #[inline(always)]
                || {
                    let rows = g.chunks_exact(n).zip(y.chunks_exact(n));
                    for ((g, y), out) in rows.zip(out.chunks_exact_mut(n)) {
                        row_backward(g, y, out, log);
                    }
                },
            );
        });
    }
    for_columns(shape, out, |at, width, out| {
        let (g, y) = (&g[at..], &y[at..]);
        dispatch(
            #[inline(always)]
            || {
                let mut sums = [T::ZERO; COLUMNS];
                let sums = &mut sums[..width];
                for k in 0..n {
                    let (g, y) = (&g[k * inner..][..width], &y[k * inner..][..width]);
                    for ((s, &g), &y) in sums.iter_mut().zip(g).zip(y) {
                        *s += if log { g } else { g * y };
                    }
                }
                for k in 0..n {
                    let (g, y) = (&g[k * inner..][..width], &y[k * inner..][..width]);
                    // SAFETY: rows of the columns that `for_columns` hands out here alone.
                    let out = unsafe { std::slice::from_raw_parts_mut(out.add(k * inner), width) };
                    for (((o, &s), &g), &y) in out.iter_mut().zip(&*sums).zip(g).zip(y) {
                        *o = if log { g - y.exp() * s } else { (g - s) * y };
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn row_backward<T: Float>(g: &[T], y: &[T], out: &mut [T], log: bool) {
    if log {
        let [sum] = sums(
            g,
            y,
            #[inline(always)]
            |g, _| [g],
        );
        for ((o, &g), &y) in out.iter_mut().zip(g).zip(y) {
            *o = g - y.exp() * sum;
        }
    } else {
        let [dot] = sums(
            g,
            y,
            #[inline(always)]
            |g, y| [g * y],
        );
        for ((o, &g), &y) in out.iter_mut().zip(g).zip(y) {
            *o = (g - dot) * y;
        }
    }
}

fn check(shape: [usize; 3], lengths: &[usize]) -> [usize; 3] {
    let len = shape.iter().product();
    assert!(lengths.iter().all(|&l| l == len), "softmax: lengths");
    shape
}

/// Calls `f(offset, rows)` for whole rows of `n` elements that make up all of `out`.
fn for_rows<T: Float>(n: usize, out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    let piece = n * (GRAIN / n.max(1)).max(1);
    parallel_chunks_mut(out, piece, |i, out| f(i * piece, out));
}

/// Calls `f(offset, width, first place of out)` for groups of columns that make up all of them.
fn for_columns<T: Float>(
    [outer, n, inner]: [usize; 3],
    out: &mut [T],
    f: impl Fn(usize, usize, *mut T) + Sync,
) {
    if out.is_empty() {
        return;
    }
    // Few enough to be cached from pass to pass, or, where they cannot be, many in a row.
    let width = match CACHED / n {
        fit @ 64.. => fit.min(COLUMNS),
        _ => COLUMNS,
    };
    let groups = inner.div_ceil(width);
    let out = SyncPtr(out.as_mut_ptr());
    let grain = GRAIN / (n * width.min(inner)) + 1;
    parallel_for(outer * groups, grain, |range| {
        for i in range {
            let from = i % groups * width;
            let at = i / groups * n * inner + from;
            // SAFETY: `at` is an element's place; each group of columns is handed out once.
            f(at, width.min(inner - from), unsafe { out.get().add(at) });
        }
    });
}

#[inline(always)]
fn row<T: Float>(x: &[T], out: &mut [T], log: bool) {
    let mut padded = [T::NEG_INFINITY; SHORT];
    if x.len() > SHORT {
        return whole_row(x, out, log);
    }
    // Short rows are padded to whole vectors by minus infinity, whose exponential is 0.
    let width = x.len().next_multiple_of(LANES);
    padded[..x.len()].copy_from_slice(x);
    let mut results = [T::ZERO; SHORT];
    whole_row(&padded[..width], &mut results[..width], log);
    out.copy_from_slice(&results[..x.len()]);
}

/// The longest row that is worth a copy of it.
const SHORT: usize = 64;

#[inline(always)]
fn whole_row<T: Float>(x: &[T], out: &mut [T], log: bool) {
    // Slices, not arrays: a loop over an array is unrolled before it could be vectorised.
    let chunks = x.chunks_exact(LANES);
    let mut best = [T::NEG_INFINITY; LANES];
    for (b, &v) in best.iter_mut().zip(chunks.remainder()) {
        *b = v;
    }
    for x in chunks {
        for i in 0..LANES {
            best[i] = if x[i] > best[i] { x[i] } else { best[i] };
        }
    }
    let max = fold16(best, |a, b| if b > a { b } else { a });
    for (o, &x) in out.iter_mut().zip(x) {
        *o = (x - max).exp();
    }
    let [sum] = sums(
        out,
        out,
        #[inline(always)]
        |e, _| [e],
    );
    if log {
        let ln = sum.log();
        for (o, &x) in out.iter_mut().zip(x) {
            *o = x - max - ln;
        }
    } else {
        let scale = T::from_f64(1.0) / sum;
        for o in out {
            *o *= scale;
        }
    }
}

#[inline(always)]
fn columns<T: Float>(x: &[T], out: *mut T, [n, inner, width]: [usize; 3], log: bool) {
    let (mut max, mut sum) = ([T::NEG_INFINITY; COLUMNS], [T::ZERO; COLUMNS]);
    let (max, sum) = (&mut max[..width], &mut sum[..width]);
    for k in 0..n {
        for (m, &v) in max.iter_mut().zip(&x[k * inner..][..width]) {
            *m = if v > *m { v } else { *m };
        }
    }
    for k in 0..n {
        let x = &x[k * inner..][..width];
        // SAFETY: rows of the columns that `for_columns` hands out here alone.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(k * inner), width) };
        for (((o, s), &m), &x) in out.iter_mut().zip(sum.iter_mut()).zip(&*max).zip(x) {
            let e = (x - m).exp();
            *s += e;
            *o = e;
        }
    }
    for s in sum.iter_mut() {
        *s = if log { s.log() } else { T::from_f64(1.0) / *s };
    }
    for k in 0..n {
        let x = &x[k * inner..][..width];
        // SAFETY: as above.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(k * inner), width) };
        for (((o, &s), &m), &x) in out.iter_mut().zip(&*sum).zip(&*max).zip(x) {
            *o = if log { x - m - s } else { *o * s };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_the_textbooks() {
        for shape in [
            [3, 1, 1],
            [5, 37, 1],
            [2, 5, 3],
            [1, 2000, 70],
            [2, 3, 600],
            [0, 3, 2],
        ] {
            let [outer, n, inner] = shape;
            let len = outer * n * inner;
            let x: Vec<f32> = (0..len).map(|i| ((i * 7919) % 101) as f32 / 9.0).collect();
            let g: Vec<f32> = (0..len)
                .map(|i| ((i * 31) % 17) as f32 / 9.0 - 0.7)
                .collect();
            for log in [false, true] {
                let (mut y, mut dx) = (vec![0.0; len], vec![0.0; len]);
                forward(&x, &mut y, shape, log);
                backward(&g, &y, &mut dx, shape, log);
                for at in (0..outer).flat_map(|o| (0..inner).map(move |i| o * n * inner + i)) {
                    let of = |x: &[f32]| -> Vec<f64> {
                        (0..n).map(|k| x[at + k * inner].into()).collect()
                    };
                    let (x, g, y, dx) = (of(&x), of(&g), of(&y), of(&dx));
                    let sum: f64 = x.iter().map(|x| x.exp()).sum();
                    let p: Vec<f64> = x.iter().map(|x| x.exp() / sum).collect();
                    let dot: f64 = g.iter().zip(&p).map(|(g, p)| g * p).sum();
                    let all: f64 = g.iter().sum();
                    for k in 0..n {
                        let (want, slope) = match log {
                            true => (p[k].ln(), g[k] - p[k] * all),
                            false => (p[k], (g[k] - dot) * p[k]),
                        };
                        assert!((y[k] - want).abs() < 2e-6 * (1.0 + want.abs()), "{shape:?}");
                        assert!((dx[k] - slope).abs() < 1e-4, "{shape:?}: {} {slope}", dx[k]);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_infinities_are_not_numbers() {
        for shape in [[1, 3, 1], [1, 3, 1]] {
            let mut out = [0.0f32; 3];
            forward(&[f32::NEG_INFINITY; 3], &mut out, shape, false);
            assert!(out.iter().all(|v| v.is_nan()));
            forward(&[0.0, f32::NEG_INFINITY, 0.0], &mut out, shape, false);
            assert_eq!(out, [0.5, 0.0, 0.5]);
        }
    }
}
