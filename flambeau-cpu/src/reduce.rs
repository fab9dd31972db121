//! Reductions over contiguous slices. The order of the additions depends on the length alone.

use std::ops::Range;

use crate::simd_fn;

/// Elements that are added in [`LANES`] running sums before the pairwise part takes over.
const BLOCK: usize = 512;
/// Running sums of a block: four vectors of the widest kind.
const LANES: usize = 64;

/// The blocks of `0..n` reduced by `block` and combined pairwise.
#[inline(always)]
fn pairwise<T: Copy>(n: usize, block: &impl Fn(Range<usize>) -> T, join: &impl Fn(T, T) -> T) -> T {
    // A binary counter: level i of `stack` holds the result of 2^i blocks where bit i of the
    // number of blocks so far is set.
    let mut stack: [Option<T>; 60] = [None; 60];
    let whole = n / BLOCK;
    for i in 0..whole {
        let mut value = block(i * BLOCK..(i + 1) * BLOCK);
        let mut level = 0;
        while let Some(left) = stack[level].take() {
            value = join(left, value);
            level += 1;
        }
        stack[level] = Some(value);
    }
    let mut value = block(whole * BLOCK..n);
    for left in stack.iter().take(60).flatten() {
        value = join(*left, value);
    }
    value
}

/// Folds lanes in halves.
#[inline(always)]
fn fold<T: Copy>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The element that `better` ends with, or `nan` if any element is one.
#[inline(always)]
fn extreme<T: Copy>(
    x: &[T],
    start: T,
    better: impl Fn(T, T) -> T,
    is_nan: impl Fn(T) -> bool,
    nan: T,
) -> T {
    let mut best = [start; LANES];
    let mut seen = [false; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for i in 0..LANES {
            best[i] = better(best[i], x[i]);
            seen[i] |= is_nan(x[i]);
        }
    }
    for i in 0..rest.len() {
        best[i] = better(best[i], rest[i]);
        seen[i] |= is_nan(rest[i]);
    }
    match seen.contains(&true) {
        true => nan,
        false => fold(best, better),
    }
}

macro_rules! reductions {
    ($t:ident, $sum:ident, $sum_map:ident, $dot:ident, $max:ident, $min:ident, $add_rows:ident) => {
        simd_fn! {
            /// Sum of a slice; 0 for an empty one. Blocks of 512 in 64 running sums, the blocks
            /// pairwise: the error grows with the logarithm of the length.
            pub fn $sum(x: &[$t]) -> $t {
                $sum_map(x, |v| v)
            }

            /// Sum of `x[i] * y[i]`, added up as in the sum.
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $dot(x: &[$t], y: &[$t]) -> $t {
                assert_eq!(x.len(), y.len(), "slices of different lengths");
                pairwise(x.len(), &|r: Range<usize>| {
                    let (x, y) = (&x[r.clone()], &y[r]);
                    let mut acc = [0.0; LANES];
                    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
                    let (xr, yr) = (xs.remainder(), ys.remainder());
                    for (x, y) in xs.zip(ys) {
                        for i in 0..LANES {
                            acc[i] += x[i] * y[i];
                        }
                    }
                    for i in 0..xr.len() {
                        acc[i] += xr[i] * yr[i];
                    }
                    fold(acc, |a, b| a + b)
                }, &|a, b| a + b)
            }

            /// Greatest element; NaN if there is one, minus infinity for an empty slice.
            pub fn $max(x: &[$t]) -> $t {
                extreme(x, $t::NEG_INFINITY, |a, b| if b > a { b } else { a }, |v| v != v, $t::NAN)
            }

            /// Least element; NaN if there is one, infinity for an empty slice.
            pub fn $min(x: &[$t]) -> $t {
                extreme(x, $t::INFINITY, |a, b| if b < a { b } else { a }, |v| v != v, $t::NAN)
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

        /// Sum of `f(x[i])`, added up as in the sum; to be inlined into a dispatched function.
        #[inline(always)]
        pub fn $sum_map(x: &[$t], f: impl Fn($t) -> $t) -> $t {
            pairwise(
                x.len(),
                &|r| {
                    let x = &x[r];
                    let mut acc = [0.0; LANES];
                    let xs = x.chunks_exact(LANES);
                    let xr = xs.remainder();
                    for x in xs {
                        for i in 0..LANES {
                            acc[i] += f(x[i]);
                        }
                    }
                    for i in 0..xr.len() {
                        acc[i] += f(xr[i]);
                    }
                    fold(acc, |a, b| a + b)
                },
                &|a, b| a + b,
            )
        }
    };
}

reductions!(
    f32,
    sum_f32,
    sum_map_f32,
    dot_f32,
    max_f32,
    min_f32,
    add_rows_f32
);
reductions!(
    f64,
    sum_f64,
    sum_map_f64,
    dot_f64,
    max_f64,
    min_f64,
    add_rows_f64
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
    fn rows_add_up() {
        let mut out = [1.0, 1.0, 1.0];
        add_rows_f32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut out);
        assert_eq!(out, [6.0, 8.0, 10.0]);
        add_rows_f32(&[], &mut []);
    }
}
