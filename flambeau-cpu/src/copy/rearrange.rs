//! Rows in another order, put together from runs: what flips, rolls and paddings are.

use super::GRAIN;
use super::rows::{LONG, short};
use crate::alloc::Pod;
use crate::index::Accumulate;
use crate::simd::dispatch;
use crate::threads::{parallel_chunks_mut, parallel_slices_mut};

/// Elements of a source in a row of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the first element is in the source's row.
    pub from: usize,
    /// Where it comes to in the result's.
    pub to: usize,
    /// How many elements.
    pub count: usize,
    /// Elements of the source from one to the next: 1, 0 or -1.
    pub step: isize,
}

/// For each of many planes of the source, rows of the result.
#[derive(Clone, Debug)]
pub struct Rearrangement {
    planes: usize,
    plane: usize,
    rows: Vec<usize>,
    runs: Vec<Run>,
    width: usize,
}

impl Rearrangement {
    /// Of `planes` planes of `plane` elements: where each row of the result begins in its plane, and
    /// what runs make up each row, in order and without gaps.
    ///
    /// # Panics
    /// If runs leave gaps or reach out of the plane, or a step is another one.
    pub fn new(planes: usize, plane: usize, rows: Vec<usize>, runs: Vec<Run>) -> Rearrangement {
        let width = runs.iter().map(|r| r.count).sum();
        let farthest = rows.iter().max().copied().unwrap_or(0);
        let mut at = 0;
        for run in &runs {
            let walk = run.count.saturating_sub(1);
            let (low, high) = match run.step {
                0 => (Some(run.from), run.from),
                1 => (Some(run.from), run.from.saturating_add(walk)),
                -1 => (run.from.checked_sub(walk), run.from),
                step => panic!("rearrangement: a step of {step}"),
            };
            let inside = low.is_some() && farthest.saturating_add(high) < plane;
            assert!(
                run.to == at && (run.count == 0 || rows.is_empty() || planes == 0 || inside),
                "rearrangement: {run:?} of a plane of {plane}"
            );
            at += run.count;
        }
        Rearrangement {
            planes,
            plane,
            rows,
            runs,
            width,
        }
    }

    /// Elements of the result.
    pub fn len(&self) -> usize {
        self.planes * self.rows.len() * self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The result from the source `x`.
    ///
    /// ```
    /// use flambeau_cpu::copy::{Rearrangement, Run};
    /// // Two rows of three, the last one first, rolled by one.
    /// let runs = vec![
    ///     Run { from: 2, to: 0, count: 1, step: 1 },
    ///     Run { from: 0, to: 1, count: 2, step: 1 },
    /// ];
    /// let mut out = [0; 6];
    /// Rearrangement::new(1, 6, vec![3, 0], runs).apply(&[1, 2, 3, 4, 5, 6], &mut out);
    /// assert_eq!(out, [6, 4, 5, 3, 1, 2]);
    /// ```
    ///
    /// # Panics
    /// If the slices do not have the planes' and the result's elements.
    pub fn apply<T: Pod>(&self, x: &[T], out: &mut [T]) {
        assert!(
            x.len() >= self.planes * self.plane && out.len() == self.len(),
            "rearrangement: {} elements into {}",
            x.len(),
            out.len()
        );
        if out.is_empty() {
            return;
        }
        let (width, rows) = (self.width, self.rows.len());
        let plane = |i: usize| &x[i * self.plane..][..self.plane];
        if width > GRAIN {
            return for_parts(out, width, |row, from, out| {
                let (x, to) = (
                    &plane(row / rows)[self.rows[row % rows]..],
                    from + out.len(),
                );
                for run in &self.runs {
                    let (a, b) = (run.to.max(from), (run.to + run.count).min(to));
                    if a < b {
                        let skipped = (a - run.to) as isize * run.step;
                        let first = run.from.wrapping_add_signed(skipped);
                        let out = &mut out[a - from..b - from];
                        dispatch(
                            #[inline(always)]
                            || copy(x, first, run.step, out),
                        );
                    }
                }
            });
        }
        parallel_slices_mut(out, width, GRAIN, |start, out| {
            let first = start / width;
            dispatch(
                #[inline(always)]
                || {
                    let (mut p, mut r) = (first / rows, first % rows);
                    for out in out.chunks_exact_mut(width) {
                        let x = &plane(p)[self.rows[r]..];
                        for run in &self.runs {
                            copy(x, run.from, run.step, &mut out[run.to..run.to + run.count]);
                        }
                        r += 1;
                        if r == rows {
                            (p, r) = (p + 1, 0);
                        }
                    }
                },
            );
        });
    }

    /// The transpose of [`apply`](Rearrangement::apply): each element of `g`, one of the result, is
    /// added to the place in `x` that it came from. What `x` held before is lost.
    ///
    /// # Panics
    /// As [`apply`](Rearrangement::apply), where `x` has more elements than the planes.
    pub fn apply_back<T: Accumulate + Default>(&self, g: &[T], x: &mut [T]) {
        assert!(
            x.len() == self.planes * self.plane && g.len() == self.len(),
            "rearrangement: {} elements back into {}",
            g.len(),
            x.len()
        );
        if x.is_empty() {
            return;
        }
        let size = self.rows.len() * self.width;
        let each = (GRAIN / self.plane.max(size)).max(1);
        parallel_chunks_mut(x, each * self.plane, |i, x| {
            x.fill(T::default());
            dispatch(
                #[inline(always)]
                || self.add_planes(i * each, size, g, x),
            );
        });
    }

    /// The planes from `first` on of `x`, of which each has `size` elements of `g`.
    #[inline(always)]
    fn add_planes<T: Accumulate>(&self, first: usize, size: usize, g: &[T], x: &mut [T]) {
        for (k, x) in x.chunks_exact_mut(self.plane).enumerate() {
            let g = &g[(first + k) * size..][..size];
            for (&row, g) in self.rows.iter().zip(g.chunks_exact(self.width.max(1))) {
                let x = &mut x[row..];
                for run in &self.runs {
                    add(&g[run.to..run.to + run.count], x, run.from, run.step);
                }
            }
        }
    }
}

/// `f(row, first column, piece)` for pieces of rows of `width` elements.
fn for_parts<T: Send>(out: &mut [T], width: usize, f: impl Fn(usize, usize, &mut [T]) + Sync) {
    let mut pieces: Vec<(usize, usize, &mut [T])> = Vec::new();
    for (row, out) in out.chunks_mut(width).enumerate() {
        for (k, piece) in out.chunks_mut(GRAIN).enumerate() {
            pieces.push((row, k * GRAIN, piece));
        }
    }
    parallel_chunks_mut(&mut pieces, 1, |_, piece| {
        let (row, from, out) = &mut piece[0];
        f(*row, *from, out);
    });
}

/// `out` filled from element `from` of `x` on.
#[inline(always)]
fn copy<T: Pod>(x: &[T], from: usize, step: isize, out: &mut [T]) {
    let n = out.len();
    match step {
        1 => {
            let x = &x[from..from + n];
            if size_of_val(x) < LONG {
                // SAFETY: both have as many bytes, in slices that do not overlap.
                unsafe { short(x.as_ptr().cast(), out.as_mut_ptr().cast(), size_of_val(x)) };
            } else {
                out.copy_from_slice(x);
            }
        }
        0 => out.fill(x[from]),
        _ => {
            let x = &x[from + 1 - n..from + 1];
            for (o, &v) in out.iter_mut().zip(x.iter().rev()) {
                *o = v;
            }
        }
    }
}

/// `g` added to the elements of `x` from `from` on.
#[inline(always)]
fn add<T: Accumulate>(g: &[T], x: &mut [T], from: usize, step: isize) {
    let n = g.len();
    match step {
        1 => (x[from..from + n].iter_mut().zip(g)).for_each(|(x, &g)| *x = x.plus(g)),
        0 => {
            let x = &mut x[from];
            g.iter().for_each(|&g| *x = x.plus(g));
        }
        _ => {
            let x = &mut x[from + 1 - n..from + 1];
            (x.iter_mut().rev().zip(g)).for_each(|(x, &g)| *x = x.plus(g));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(from: usize, to: usize, count: usize, step: isize) -> Run {
        Run {
            from,
            to,
            count,
            step,
        }
    }

    #[test]
    fn runs_make_up_rows() {
        let long = 3 * GRAIN / 2;
        for (planes, rows, width) in [
            (3, 4, 5),
            (2000, 3, 7),
            (1, 2, long),
            (2, 5, 700),
            (0, 1, 4),
        ] {
            let plane = rows * width;
            let x: Vec<i64> = (0..(planes * plane) as i64).collect();
            // Rows backwards and the last one twice; columns rolled by 2, then backwards, then the
            // first one three times.
            let order: Vec<usize> = (0..rows)
                .rev()
                .chain([rows - 1])
                .map(|r| r * width)
                .collect();
            let runs = vec![
                run(width - 2, 0, 2, 1),
                run(0, 2, width - 2, 1),
                run(width - 1, width, width, -1),
                run(0, 2 * width, 3, 0),
            ];
            let map = Rearrangement::new(planes, plane, order.clone(), runs.clone());
            let (mut out, mut back) = (vec![-1; map.len()], vec![9; x.len()]);
            map.apply(&x, &mut out);
            map.apply_back(&out, &mut back);
            let (mut at, mut want_back) = (0, vec![0; x.len()]);
            for p in 0..planes {
                for &row in &order {
                    for r in &runs {
                        for k in 0..r.count {
                            let i =
                                p * plane + row + r.from.wrapping_add_signed(k as isize * r.step);
                            assert_eq!(out[at], x[i], "{planes} {rows} {width}");
                            want_back[i] += out[at];
                            at += 1;
                        }
                    }
                }
            }
            assert!(back == want_back && at == out.len());
        }
    }

    #[test]
    #[should_panic(expected = "of a plane of 6")]
    fn runs_that_reach_out_are_refused() {
        Rearrangement::new(1, 6, vec![0, 3], vec![run(0, 0, 4, 1)]);
    }
}
