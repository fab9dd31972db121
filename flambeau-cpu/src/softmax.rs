//! Softmax and its logarithm along the middle dimension of `[outer, n, inner]`, with gradients.

use std::ops::Range;

use crate::float::{Float, compiled_here};
use crate::reduce::{fold16, sums};
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for, parallel_slices_mut};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;
/// Running results of a row.
const LANES: usize = 16;
/// The most columns that are taken side by side.
const COLUMNS: usize = 512;
/// Rows shorter than this are taken several at a time where columns are asked for.
const FEW: usize = 32;
/// Elements of such columns that should stay in the second cache between passes.
const CACHED: usize = 1 << 16;

compiled_here! {
    SoftmaxKernels<T>;

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
    pub fn forward(x: &[T], out: &mut [T], shape: [usize; 3], log: bool) = softmax;

    /// The logarithm of the sum of exponentials along the middle dimension, without overflow.
    ///
    /// ```
    /// let mut out = [0.0f32];
    /// flambeau_cpu::softmax::log_sum_exp(&[1000.0, 1000.0], &mut out, [1, 2, 1]);
    /// assert!((out[0] - 1000.69318).abs() < 1e-4);
    /// ```
    ///
    /// # Panics
    /// If the lengths do not fit, or the middle dimension is empty.
    pub fn log_sum_exp(x: &[T], out: &mut [T], shape: [usize; 3]) = log_sums;
}

/// [`forward`].
fn softmax<T: Float>(x: &[T], out: &mut [T], shape: [usize; 3], log: bool) {
    let [_, n, inner] = check(shape, &[x.len(), out.len()]);
    if inner == 1 {
        return for_rows(n, out, |at, out| {
            dispatch(
                #[inline(always)]
                || {
                    if n <= NARROW {
                        return narrow(&x[at..at + out.len()], out, n, log);
                    }
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

/// The gradient of softmax's input from that of the output, `g`, and the output, `y`: `(g - sum(g
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
                let strips = Strips::new([n, inner, width]);
                let mut sums = [T::ZERO; COLUMNS];
                let sums = &mut sums[..strips.width];
                for part in strips.each() {
                    let (g, y) = (&g[part.clone()], &y[part]);
                    for ((s, &g), &y) in sums.iter_mut().zip(g).zip(y) {
                        *s += if log { g } else { g * y };
                    }
                }
                strips.join(sums, |a, b| a + b);
                for part in strips.each() {
                    let (g, y) = (&g[part.clone()], &y[part.clone()]);
                    // SAFETY: rows of the columns that `for_columns` hands out here alone.
                    let out = unsafe { strips.of(out, part) };
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
    parallel_slices_mut(out, n, GRAIN, f);
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
    // Short rows are padded to whole vectors by minus infinity, whose exponential is 0.
    let (mut padded, mut results) = ([T::NEG_INFINITY; SHORT], [T::ZERO; SHORT]);
    let short = x.len() <= SHORT;
    let (from, to) = if short {
        let width = x.len().next_multiple_of(LANES);
        padded[..x.len()].copy_from_slice(x);
        (&padded[..width], &mut results[..width])
    } else {
        (x, &mut *out)
    };
    whole_row(from, to, log);
    if short {
        out.copy_from_slice(&results[..x.len()]);
    }
}

/// The longest rows that are dealt with side by side.
const NARROW: usize = 16;

/// Calls `f` for `LANES` rows of `n` elements at a time, the last time for fewer: with the first
/// element of each, then the second, and so on.
#[inline(always)]
fn side_by_side<T: Float>(x: &[T], n: usize, mut f: impl FnMut(usize, usize, &mut [[T; LANES]])) {
    let mut turned = [[T::ZERO; LANES]; NARROW];
    for (i, x) in x.chunks(LANES * n).enumerate() {
        for (r, x) in x.chunks_exact(n).enumerate() {
            for (turned, &v) in turned.iter_mut().zip(x) {
                turned[r] = v;
            }
        }
        f(i * LANES, x.len() / n, &mut turned[..n]);
    }
}

/// The greatest of each column.
#[inline(always)]
fn greatest<T: Float>(x: &[[T; LANES]]) -> [T; LANES] {
    let mut max = [T::NEG_INFINITY; LANES];
    for x in x {
        for i in 0..LANES {
            max[i] = if x[i] > max[i] { x[i] } else { max[i] };
        }
    }
    max
}

/// Narrow rows: a register holds an element of each of several rows.
#[inline(always)]
fn narrow<T: Float>(x: &[T], out: &mut [T], n: usize, log: bool) {
    side_by_side(
        x,
        n,
        #[inline(always)]
        |first, rows, x| {
            let (max, mut sum) = (greatest(x), [T::ZERO; LANES]);
            for x in x.iter_mut() {
                for i in 0..LANES {
                    let shifted = x[i] - max[i];
                    let e = shifted.exp();
                    sum[i] += e;
                    x[i] = if log { shifted } else { e };
                }
            }
            for s in &mut sum {
                *s = if log { s.log() } else { T::from_f64(1.0) / *s };
            }
            for x in x.iter_mut() {
                for i in 0..LANES {
                    x[i] = if log { x[i] - sum[i] } else { x[i] * sum[i] };
                }
            }
            let out = &mut out[first * n..][..rows * n];
            for (r, out) in out.chunks_exact_mut(n).enumerate() {
                for (o, x) in out.iter_mut().zip(&*x) {
                    *o = x[r];
                }
            }
        },
    );
}

/// [`log_sum_exp`].
fn log_sums<T: Float>(x: &[T], out: &mut [T], [outer, n, inner]: [usize; 3]) {
    assert!(
        n > 0 && x.len() == outer * n * inner && out.len() == outer * inner,
        "log_sum_exp: lengths"
    );
    // An infinite greatest element is not subtracted: it would turn into NaN.
    let (low, high) = (T::NEG_INFINITY, -T::NEG_INFINITY);
    let shift = |max: T| {
        if max > low && max < high {
            max
        } else {
            T::ZERO
        }
    };
    if inner == 1 {
        let rows = (GRAIN / n).max(1);
        return parallel_slices_mut(out, 1, rows, |first, out| {
            let x = &x[first * n..][..out.len() * n];
            dispatch(
                #[inline(always)]
                || {
                    if n <= NARROW {
                        return side_by_side(
                            x,
                            n,
                            #[inline(always)]
                            |first, rows, x| {
                                let (max, mut sum) = (greatest(x).map(shift), [T::ZERO; LANES]);
                                for x in x.iter() {
                                    for i in 0..LANES {
                                        sum[i] += (x[i] - max[i]).exp();
                                    }
                                }
                                for i in 0..LANES {
                                    sum[i] = sum[i].log() + max[i];
                                }
                                out[first..first + rows].copy_from_slice(&sum[..rows]);
                            },
                        );
                    }
                    for (x, o) in x.chunks_exact(n).zip(&mut *out) {
                        let max = shift(greatest_of(x));
                        let [sum] = sums(
                            x,
                            x,
                            #[inline(always)]
                            |x, _| [(x - max).exp()],
                        );
                        *o = sum.log() + max;
                    }
                },
            );
        });
    }
    let groups = inner.div_ceil(COLUMNS);
    let out = SyncPtr(out.as_mut_ptr());
    parallel_for(
        outer * groups,
        GRAIN / (n * inner.min(COLUMNS)) + 1,
        |range| {
            for i in range {
                let (o, from) = (i / groups, i % groups * COLUMNS);
                let width = (inner - from).min(COLUMNS);
                let x = &x[o * n * inner + from..];
                // SAFETY: each group of columns is handed out once.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(out.get().add(o * inner + from), width)
                };
                dispatch(
                    #[inline(always)]
                    || {
                        let strips = Strips::new([n, inner, width]);
                        let (mut max, mut sum) = ([T::NEG_INFINITY; COLUMNS], [T::ZERO; COLUMNS]);
                        let (max, sum) = (&mut max[..strips.width], &mut sum[..strips.width]);
                        greatest_down(&strips, x, max);
                        max.iter_mut().for_each(|m| *m = shift(*m));
                        for part in strips.each() {
                            for ((s, &m), &x) in sum.iter_mut().zip(&*max).zip(&x[part]) {
                                *s += (x - m).exp();
                            }
                        }
                        strips.join(sum, |a, b| a + b);
                        for ((o, &s), &m) in out.iter_mut().zip(&*sum).zip(&*max) {
                            *o = s.log() + m;
                        }
                    },
                );
            }
        },
    );
}

/// The greatest element of a row; of NaNs nothing is said.
#[inline(always)]
fn greatest_of<T: Float>(x: &[T]) -> T {
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
    fold16(best, |a, b| if b > a { b } else { a })
}

/// The longest row that is worth a copy of it.
const SHORT: usize = 64;

#[inline(always)]
fn whole_row<T: Float>(x: &[T], out: &mut [T], log: bool) {
    let max = greatest_of(x);
    if log {
        let [sum] = sums(
            x,
            x,
            #[inline(always)]
            |x, _| [(x - max).exp()],
        );
        let ln = sum.log();
        for (o, &x) in out.iter_mut().zip(x) {
            *o = x - max - ln;
        }
        return;
    }
    for (o, &x) in out.iter_mut().zip(x) {
        *o = (x - max).exp();
    }
    let [sum] = sums(
        out,
        out,
        #[inline(always)]
        |e, _| [e],
    );
    let scale = T::from_f64(1.0) / sum;
    for o in out {
        *o *= scale;
    }
}

/// The columns of a matrix, walked some rows at a time: one, or as many short ones as fill registers,
/// which lie one behind the other.
struct Strips {
    /// Rows at a time, a power of two.
    rows: usize,
    stride: usize,
    /// Elements that are taken at a time.
    width: usize,
    /// Where the last row ends.
    end: usize,
}

impl Strips {
    /// For `width` columns of `n` rows that start `inner` elements apart.
    #[inline(always)]
    fn new([n, inner, width]: [usize; 3]) -> Strips {
        let whole_registers = LANES >> inner.trailing_zeros().min(4);
        let rows = match width == inner && inner < FEW {
            true => (4 * LANES).div_ceil(inner).next_power_of_two(),
            false => 1,
        };
        let rows = match rows {
            1 => 1,
            _ => rows.max(whole_registers).min(1 << n.ilog2()),
        };
        Strips {
            rows,
            stride: rows * inner,
            width: (rows - 1) * inner + width,
            end: (n - 1) * inner + width,
        }
    }

    /// Where they lie; the last may be shorter.
    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = Range<usize>> {
        let (width, end) = (self.width, self.end);
        (0..end)
            .step_by(self.stride)
            .map(move |at| at..end.min(at + width))
    }

    /// That part of `out`.
    ///
    /// # Safety
    /// The elements are there, and nothing else touches them meanwhile.
    #[inline(always)]
    unsafe fn of<'a, T>(&self, out: *mut T, part: Range<usize>) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(out.add(part.start), part.len()) }
    }

    /// Joins the results of the rows of a strip; each then has that of its column.
    #[inline(always)]
    fn join<T: Float>(&self, results: &mut [T], join: impl Fn(T, T) -> T) {
        let mut half = self.width / 2;
        let columns = self.width / self.rows;
        while self.rows > 1 && half >= columns {
            let (low, high) = results.split_at_mut(half);
            for (a, &b) in low.iter_mut().zip(&*high) {
                *a = join(*a, b);
            }
            half /= 2;
        }
        let mut done = columns;
        while done < self.width {
            results.copy_within(..done, done);
            done *= 2;
        }
    }
}

/// The greatest element of each column, for each row of a strip.
#[inline(always)]
fn greatest_down<T: Float>(strips: &Strips, x: &[T], max: &mut [T]) {
    for part in strips.each() {
        for (m, &v) in max.iter_mut().zip(&x[part]) {
            *m = if v > *m { v } else { *m };
        }
    }
    strips.join(max, |a, b| if b > a { b } else { a });
}

#[inline(always)]
fn columns<T: Float>(x: &[T], out: *mut T, shape: [usize; 3], log: bool) {
    let strips = Strips::new(shape);
    let (mut max, mut sum) = ([T::NEG_INFINITY; COLUMNS], [T::ZERO; COLUMNS]);
    let (max, sum) = (&mut max[..strips.width], &mut sum[..strips.width]);
    greatest_down(&strips, x, max);
    for part in strips.each() {
        // SAFETY: rows of the columns that `for_columns` hands out here alone.
        let out = unsafe { strips.of(out, part.clone()) };
        for (((o, s), &m), &x) in out.iter_mut().zip(sum.iter_mut()).zip(&*max).zip(&x[part]) {
            let e = (x - m).exp();
            *s += e;
            *o = e;
        }
    }
    strips.join(sum, |a, b| a + b);
    for s in sum.iter_mut() {
        *s = if log { s.log() } else { T::from_f64(1.0) / *s };
    }
    for part in strips.each() {
        // SAFETY: as above.
        let out = unsafe { strips.of(out, part.clone()) };
        for (((o, &s), &m), &x) in out.iter_mut().zip(&*sum).zip(&*max).zip(&x[part]) {
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
            [53, 3, 1],
            [16, 16, 1],
            [5, 37, 1],
            [2, 5, 3],
            [1, 2000, 70],
            [2, 3, 600],
            [3, 700, 3],
            [2, 97, 31],
            [1, 40, 16],
            [2, 33, 2],
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
    fn sums_of_exponentials() {
        for shape in [
            [50, 1, 1],
            [37, 3, 1],
            [20, 16, 1],
            [5, 37, 1],
            [2, 5, 3],
            [2, 3, 600],
        ] {
            let [outer, n, inner] = shape;
            let len = outer * n * inner;
            let x: Vec<f32> = (0..len).map(|i| ((i * 7919) % 101) as f32 / 9.0).collect();
            let mut out = vec![0.0; outer * inner];
            log_sum_exp(&x, &mut out, shape);
            for (at, got) in out.iter().enumerate() {
                let (o, i) = (at / inner, at % inner);
                let each = (0..n).map(|k| f64::from(x[(o * n + k) * inner + i]).exp());
                let want = each.sum::<f64>().ln();
                assert!((f64::from(*got) - want).abs() < 1e-5, "{shape:?}");
            }
        }
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        let mut out = [0.0; 3];
        log_sum_exp(&[low, low, high, 1.0, 0.0, f32::NAN], &mut out, [3, 2, 1]);
        assert!(out[0] == low && out[1] == high && out[2].is_nan());
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
