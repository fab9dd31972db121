//! Attention over heads, softmax(Q Kᵀ · scale + bias) V, forward and backward: a few queries of one
//! head at a time, so that products and softmax meet in the cache.
//!
//! Work is cut by sizes alone, so the bits do not depend on the number of threads.

use crate::float::Float;
use crate::gemm::gemm;
use crate::math::Real;
use crate::threads::{SyncPtr, parallel_for};

/// Queries of a head that are taken at a time.
const BLOCK: usize = 128;
/// Running results of a row.
const LANES: usize = 16;

/// Where the rows of all heads lie in a slice; the numbers of a row are neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Where the first head begins.
    pub offset: usize,
    /// From batch to batch, head to head and row to row.
    pub strides: [usize; 3],
    /// Rows of a head.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl Heads {
    fn at(&self, batch: usize, head: usize) -> usize {
        self.offset + batch * self.strides[0] + head * self.strides[1]
    }

    /// Row and column stride.
    fn matrix(&self) -> (isize, isize) {
        (self.strides[2] as isize, 1)
    }
}

/// What is added to the scaled products; strides of batch, head, query and key.
#[derive(Clone, Copy)]
pub struct Bias<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// 0 where all share them.
    pub strides: [usize; 4],
}

/// Gradients to be written.
pub enum Gradients<'a, T> {
    /// Of queries, keys and values, each `[batch, heads, rows, width]` without gaps.
    Apart([&'a mut [T]; 3]),
    /// Of all three, which lie in one slice as they do in their own.
    Packed(&'a mut [T]),
}

/// Sizes and places.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Sequences side by side.
    pub batch: usize,
    /// Heads of each.
    pub heads: usize,
    /// Queries.
    pub q: Heads,
    /// Keys.
    pub k: Heads,
    /// Values.
    pub v: Heads,
    /// The results.
    pub out: Heads,
    /// The factor of the products.
    pub scale: f64,
    /// Whether query i sees the keys 0 to i alone.
    pub causal: bool,
}

macro_rules! kernels {
    ($t:ident, $softmax:ident, $back:ident) => {
        crate::simd_fn! {
            // Rows of `n` scores become weights; row `i` is query `first + i`. `bias` holds the rows'
            // own, `row` apart and its numbers `column` apart, or nothing.
            fn $softmax(x: &mut [$t], n: usize, first: usize, causal: bool, bias: &[$t], row: usize, column: usize) {
                for (i, x) in x.chunks_exact_mut(n).enumerate() {
                    let open = if causal { n.min(first + i + 1) } else { n };
                    let (x, closed) = x.split_at_mut(open);
                    closed.fill(0.0);
                    if column == 1 {
                        for (x, b) in x.iter_mut().zip(&bias[i * row..]) {
                            *x += *b;
                        }
                    } else if !bias.is_empty() {
                        let b = bias[i * row];
                        x.iter_mut().for_each(|x| *x += b);
                    }
                    let mut best = [$t::NEG_INFINITY; LANES];
                    let chunks = x.chunks_exact(LANES);
                    for (b, x) in best.iter_mut().zip(chunks.remainder()) {
                        *b = *x;
                    }
                    for x in chunks {
                        for i in 0..LANES {
                            best[i] = if x[i] > best[i] { x[i] } else { best[i] };
                        }
                    }
                    let max = best.iter().fold($t::NEG_INFINITY, |a, &b| if b > a { b } else { a });
                    if max == $t::NEG_INFINITY && !x.iter().any(|x| x.is_nan()) {
                        // Nothing to attend to.
                        x.fill(0.0);
                        continue;
                    }
                    let mut sums = [0.0; LANES];
                    let mut chunks = x.chunks_exact_mut(LANES);
                    for x in &mut chunks {
                        for i in 0..LANES {
                            x[i] = Real::exp(x[i] - max);
                            sums[i] += x[i];
                        }
                    }
                    for (s, x) in sums.iter_mut().zip(chunks.into_remainder()) {
                        *x = Real::exp(*x - max);
                        *s += *x;
                    }
                    let inverse = 1.0 / sum(sums);
                    x.iter_mut().for_each(|x| *x *= inverse);
                }
            }

            // `d`, the weights' gradients, become those of the products.
            fn $back(weights: &[$t], d: &mut [$t], n: usize, scale: $t) {
                for (w, d) in weights.chunks_exact(n).zip(d.chunks_exact_mut(n)) {
                    let mut sums = [0.0; LANES];
                    let (ws, ds) = (w.chunks_exact(LANES), d.chunks_exact(LANES));
                    for ((s, w), d) in sums.iter_mut().zip(ws.remainder()).zip(ds.remainder()) {
                        *s = *w * *d;
                    }
                    for (w, d) in ws.zip(ds) {
                        for i in 0..LANES {
                            sums[i] += w[i] * d[i];
                        }
                    }
                    let dot = sum(sums);
                    for (d, w) in d.iter_mut().zip(w) {
                        *d = *w * (*d - dot) * scale;
                    }
                }
            }
        }

        impl Scores for $t {
            const SOFTMAX: Softmax<$t> = $softmax;
            const BACK: fn(&[$t], &mut [$t], usize, $t) = $back;
        }
    };
}

/// Scores, columns, first query, causal or not, bias with its strides.
type Softmax<T> = fn(&mut [T], usize, usize, bool, &[T], usize, usize);

/// The lanes' sum, in the order of a tree.
#[inline(always)]
fn sum<T: Float>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            let other = lanes[i + width];
            lanes[i] += other;
        }
        width /= 2;
    }
    lanes[0]
}

/// The types that attention is computed in: f32 and f64.
pub trait Scores: Float {
    #[doc(hidden)]
    const SOFTMAX: Softmax<Self>;
    #[doc(hidden)]
    const BACK: fn(&[Self], &mut [Self], usize, Self);
}

kernels!(f32, softmax_f32, back_f32);
kernels!(f64, softmax_f64, back_f64);

/// Memory that several heads write to, each its own rows.
struct Target<T> {
    pointer: SyncPtr<T>,
    heads: Heads,
}

impl<T: Copy + Send> Target<T> {
    /// Copies the rows of a head from its row `first` on.
    ///
    /// # Safety
    /// The places were checked to lie in the slice and to be disjoint ([`Attention::check`]), each
    /// head's rows are written by one thread, and the slice stays borrowed.
    unsafe fn write(&self, batch: usize, head: usize, first: usize, rows: &[T]) {
        let Heads { strides, width, .. } = self.heads;
        let at = self.heads.at(batch, head);
        for (i, row) in rows.chunks_exact(width.max(1)).enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let to = self.pointer.get().add(at + (first + i) * strides[2]);
                std::ptr::copy_nonoverlapping(row.as_ptr(), to, width);
            }
        }
    }
}

impl Attention {
    /// Whether all rows of `parts`, which lie in a slice of `len`, are apart from one another.
    fn check(&self, parts: &[Heads], len: usize) {
        let mut dims = Vec::new();
        let first = parts[0];
        if parts.len() > 1 {
            let step = parts[1].offset - first.offset;
            for (i, p) in parts.iter().enumerate() {
                let same = (p.strides, p.rows, p.width) == (first.strides, first.rows, first.width);
                assert!(same && p.offset == first.offset + i * step);
            }
            dims.push((step, parts.len()));
        }
        let [batch, head, row] = first.strides;
        dims.extend([(batch, self.batch), (head, self.heads), (row, first.rows)]);
        dims.retain(|&(_, size)| size > 1);
        dims.sort_unstable();
        let mut reach = first.width;
        for (stride, size) in dims {
            assert!(stride >= reach, "rows of attention overlap");
            reach += stride * (size - 1);
        }
        assert!(
            first.offset + reach <= len,
            "rows of attention end beyond the slice"
        );
    }

    /// The results, and for the backward pass the weights `[batch, heads, queries, keys]`.
    ///
    /// # Panics
    /// Where places do not lie in their slices, or those of results overlap.
    pub fn forward<T: Scores>(
        &self,
        q: &[T],
        k: &[T],
        v: &[T],
        bias: Option<Bias<'_, T>>,
        weights: &mut [T],
        out: &mut [T],
    ) {
        let (queries, keys, width) = (self.q.rows, self.k.rows, self.v.width);
        assert_eq!(weights.len(), self.batch * self.heads * queries * keys);
        if out.is_empty() {
            return;
        }
        self.check(&[self.out], out.len());
        let target = Target {
            pointer: SyncPtr(out.as_mut_ptr()),
            heads: self.out,
        };
        let weights = SyncPtr(weights.as_mut_ptr());
        let blocks = queries.div_ceil(BLOCK);
        parallel_for(self.batch * self.heads * blocks, 1, |tasks| {
            for task in tasks {
                let (head, first) = (task / blocks, task % blocks * BLOCK);
                let (n, h) = (head / self.heads, head % self.heads);
                let rows = BLOCK.min(queries - first);
                // SAFETY: the blocks of all heads cut the weights, whose length was checked, into
                // disjoint parts, and each is one task's.
                let weights = unsafe {
                    let from = weights.get().add((head * queries + first) * keys);
                    std::slice::from_raw_parts_mut(from, rows * keys)
                };
                let mut result = vec![T::ZERO; rows * width];
                if keys > 0 {
                    self.weigh(q, k, bias, weights, (n, h), first);
                    gemm(
                        rows,
                        width,
                        keys,
                        T::ONE,
                        weights,
                        (keys as isize, 1),
                        &v[self.v.at(n, h)..],
                        self.v.matrix(),
                        T::ZERO,
                        &mut result,
                        (width as isize, 1),
                    );
                }
                // SAFETY: the rows from `first` on of this head are this task's; the places were
                // checked.
                unsafe { target.write(n, h, first, &result) };
            }
        });
    }

    /// The weights of some queries of a head.
    fn weigh<T: Scores>(
        &self,
        q: &[T],
        k: &[T],
        bias: Option<Bias<'_, T>>,
        weights: &mut [T],
        (n, h): (usize, usize),
        first: usize,
    ) {
        let keys = self.k.rows;
        let rows = weights.len() / keys;
        let (row, column) = self.k.matrix();
        gemm(
            rows,
            keys,
            self.q.width,
            T::from_f64(self.scale),
            &q[self.q.at(n, h) + first * self.q.strides[2]..],
            self.q.matrix(),
            &k[self.k.at(n, h)..],
            (column, row),
            T::ZERO,
            weights,
            (keys as isize, 1),
        );
        let (bias, row, column) = match bias {
            None => (&[][..], 0, 0),
            Some(Bias { data, strides: s }) => {
                let from = n * s[0] + h * s[1] + first * s[2];
                (&data[from..], s[2], s[3])
            }
        };
        T::SOFTMAX(weights, keys, first, self.causal, bias, row, column);
    }

    /// The gradients of queries, keys and values from that of the results, which lies as they do.
    ///
    /// # Panics
    /// Where places do not lie in their slices.
    pub fn backward<T: Scores>(
        &self,
        q: &[T],
        k: &[T],
        v: &[T],
        weights: &[T],
        dout: &[T],
        grads: Gradients<'_, T>,
    ) {
        let (queries, keys) = (self.q.rows, self.k.rows);
        let parts = [self.q, self.k, self.v];
        let targets: Vec<Target<T>> = match grads {
            Gradients::Apart(all) => (all.into_iter().zip(parts))
                .map(|(slice, part)| {
                    let (rows, width) = (part.rows, part.width);
                    let heads = Heads {
                        offset: 0,
                        strides: [self.heads * rows * width, rows * width, width],
                        ..part
                    };
                    assert_eq!(slice.len(), self.batch * self.heads * rows * width);
                    slice.fill(T::ZERO);
                    Target {
                        pointer: SyncPtr(slice.as_mut_ptr()),
                        heads,
                    }
                })
                .collect(),
            Gradients::Packed(slice) => {
                if !slice.is_empty() {
                    self.check(&parts, slice.len());
                }
                slice.fill(T::ZERO);
                let pointer = slice.as_mut_ptr();
                let target = |heads| Target {
                    pointer: SyncPtr(pointer),
                    heads,
                };
                parts.map(target).into()
            }
        };
        let [q_target, k_target, v_target] = &targets[..] else {
            unreachable!("three parts")
        };
        if queries * keys == 0 {
            return;
        }
        parallel_for(self.batch * self.heads, 1, |tasks| {
            for head in tasks {
                let (n, h) = (head / self.heads, head % self.heads);
                let weights = &weights[head * queries * keys..][..queries * keys];
                let dout = &dout[self.out.at(n, h)..];
                let (q_rows, k_rows, v_rows) = (
                    &q[self.q.at(n, h)..],
                    &k[self.k.at(n, h)..],
                    &v[self.v.at(n, h)..],
                );
                let (row, column) = (keys as isize, 1);
                let (out, width) = (self.out.matrix(), self.v.width);
                let mut d = vec![T::ZERO; queries * keys];
                let v_turned = (1, self.v.strides[2] as isize);
                gemm(
                    queries,
                    keys,
                    width,
                    T::ONE,
                    dout,
                    out,
                    v_rows,
                    v_turned,
                    T::ZERO,
                    &mut d,
                    (row, column),
                );
                T::BACK(weights, &mut d, keys, T::from_f64(self.scale));
                let product = |rows: usize,
                               columns: usize,
                               inner: usize,
                               a: (&[T], (isize, isize)),
                               b: (&[T], (isize, isize)),
                               to: &Target<T>| {
                    let mut c = vec![T::ZERO; rows * columns];
                    let strides = (columns as isize, 1);
                    gemm(
                        rows,
                        columns,
                        inner,
                        T::ONE,
                        a.0,
                        a.1,
                        b.0,
                        b.1,
                        T::ZERO,
                        &mut c,
                        strides,
                    );
                    // SAFETY: this head's rows are this task's, in each of the three; the places were
                    // checked.
                    unsafe { to.write(n, h, 0, &c) };
                };
                let e = self.q.width;
                let (turned, straight) = ((column, row), (row, column));
                product(
                    queries,
                    e,
                    keys,
                    (&d, straight),
                    (k_rows, self.k.matrix()),
                    q_target,
                );
                product(
                    keys,
                    e,
                    queries,
                    (&d, turned),
                    (q_rows, self.q.matrix()),
                    k_target,
                );
                product(
                    keys,
                    width,
                    queries,
                    (weights, turned),
                    (dout, out),
                    v_target,
                );
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, salt: usize) -> Vec<f64> {
        let at = |i: usize| ((i * 7919 + salt * 104_729) % 997) as f64 / 498.5 - 1.0;
        (0..n).map(at).collect()
    }

    /// Queries, keys and values in one slice, `[batch, rows, 3, heads, width]`.
    fn packed(batch: usize, heads: usize, rows: usize, width: usize, causal: bool) -> Attention {
        let row = 3 * heads * width;
        let part = |i: usize| Heads {
            offset: i * heads * width,
            strides: [rows * row, width, row],
            rows,
            width,
        };
        Attention {
            batch,
            heads,
            q: part(0),
            k: part(1),
            v: part(2),
            out: Heads {
                offset: 0,
                strides: [rows * heads * width, width, heads * width],
                rows,
                width,
            },
            scale: 0.7,
            causal,
        }
    }

    fn results(a: &Attention, x: &[f64], bias: Option<Bias<'_, f64>>) -> (Vec<f64>, Vec<f64>) {
        let (rows, heads) = (a.q.rows, a.batch * a.heads);
        let mut weights = vec![f64::NAN; heads * rows * rows];
        let mut out = vec![f64::NAN; heads * rows * a.v.width];
        a.forward(x, x, x, bias, &mut weights, &mut out);
        (weights, out)
    }

    #[test]
    fn results_are_those_of_the_definition() {
        for (rows, causal) in [(5, false), (5, true), (150, false), (131, true)] {
            let a = packed(2, 3, rows, 4, causal);
            let x = numbers(2 * rows * 36, 1);
            let data = numbers(rows * rows, 2);
            let bias = Bias {
                data: &data,
                strides: [0, 0, rows, 1],
            };
            let (_, out) = results(&a, &x, Some(bias));
            let at = |part: Heads, n: usize, h: usize, row: usize| {
                let from = part.offset + n * part.strides[0] + h * part.strides[1];
                &x[from + row * part.strides[2]..][..4]
            };
            for (n, h, i) in [(0, 0, 0), (1, 2, rows - 1), (1, 0, rows / 2)] {
                let q = at(a.q, n, h, i);
                let last = if causal { i + 1 } else { rows };
                let scores: Vec<f64> = (0..last)
                    .map(|j| {
                        let k = at(a.k, n, h, j);
                        let dot: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                        (0.7 * dot + data[i * rows + j]).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                for c in 0..4 {
                    let want: f64 = (scores.iter().enumerate())
                        .map(|(j, s)| s / total * at(a.v, n, h, j)[c])
                        .sum();
                    let got = out[((n * rows + i) * 3 + h) * 4 + c];
                    assert!(
                        (got - want).abs() < 1e-12,
                        "{rows} {causal}: {got}, not {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for causal in [false, true] {
            let a = packed(2, 2, 3, 2, causal);
            let x = numbers(2 * 3 * 12, 1);
            let dout = numbers(2 * 3 * 4, 5);
            let (weights, _) = results(&a, &x, None);
            let mut dx = vec![f64::NAN; x.len()];
            a.backward(&x, &x, &x, &weights, &dout, Gradients::Packed(&mut dx));
            for i in 0..x.len() {
                let at = |by: f64| -> f64 {
                    let mut moved = x.clone();
                    moved[i] += by;
                    let (_, out) = results(&a, &moved, None);
                    out.iter().zip(&dout).map(|(a, b)| a * b).sum()
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!(
                    (dx[i] - numeric).abs() < 1e-8,
                    "at {i} {}, not {numeric}",
                    dx[i]
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn results_that_overlap_are_refused() {
        let mut a = packed(1, 2, 3, 2, false);
        a.out.strides[1] = 1;
        results(&a, &numbers(36, 1), None);
    }
}
