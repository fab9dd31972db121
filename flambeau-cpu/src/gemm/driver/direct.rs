//! Paths that read both operands where they lie: dot products, and one pass over a large `b`.

use super::scratch::{A_SCRATCH, copy, room, with_sums};
use super::tiles::tiles;
use super::{Cut, Problem};
use crate::gemm::TASK;
use crate::gemm::kernel::{Dots, Kernels, Mat, Rows};
use crate::threads::parallel_for;
use std::ops::Range;

/// The dot path on `a` as it is or, where its rows are not contiguous, on a copy.
pub(super) unsafe fn dots(p: &Problem, kernels: &Kernels, threads: usize) {
    let size = kernels.element;
    if p.a.col == size {
        // SAFETY: handed on.
        return unsafe { dots_along(p, kernels, threads) };
    }
    A_SCRATCH.with_borrow_mut(|scratch| {
        let a = Mat {
            at: room(scratch, p.m * p.k * size),
            row: p.k * size,
            col: size,
        };
        // SAFETY: handed on; there is room for the copy.
        unsafe {
            copy(p.m, p.k, size, p.a, a);
            dots_along(&Problem { a, ..*p }, kernels, threads);
        }
    });
}

unsafe fn dots_along(p: &Problem, kernels: &Kernels, threads: usize) {
    let rows = Cut::new(p.m, kernels.dots.len());
    // Columns in blocks that stay in the L1 cache while the rows pass by.
    let block = ((32 << 10) / (p.k.max(1) * kernels.element))
        .max(1)
        .next_multiple_of(4);
    let cols = Cut::new(p.n.div_ceil(4), block / 4);
    let task = |range: Range<usize>| {
        for t in range {
            let (first, end) = (4 * cols.start(t), (4 * cols.start(t + 1)).min(p.n));
            for i in 0..rows.parts {
                let (top, bottom) = (rows.start(i), rows.start(i + 1));
                // SAFETY: rows and columns in range; tasks have different columns.
                unsafe {
                    with_sums(p, kernels, top..bottom, first..end, |to| {
                        kernels.dots[bottom - top - 1](&Dots {
                            k: p.k,
                            alpha: p.alpha,
                            a: p.a.at(top, 0),
                            a_row: p.a.row,
                            b: p.b.at(0, first),
                            b_col: p.b.col,
                            beta: to.beta,
                            d: to.d,
                            c: to.c.at,
                            c_row: to.c.row,
                            n: end - first,
                        });
                    });
                }
            }
        }
    };
    match threads {
        1 => task(0..cols.parts),
        _ => parallel_for(cols.parts, grain(p, cols.parts), task),
    }
}

/// The row path; `alpha` is 1.
pub(super) unsafe fn rows(p: &Problem, kernels: &Kernels, threads: usize) {
    let Some(kernel) = kernels.rows else { return };
    // Sums of a block stay in the L1 or L2 cache.
    let vectors = p.n.div_ceil(kernels.lanes);
    // Two blocks at least where they are runs long enough.
    let most = vectors.div_ceil(2).max(256 / kernels.lanes);
    let cols = Cut::new(vectors, most.min(1024 / kernels.lanes));
    let col = |part: usize| (cols.start(part) * kernels.lanes).min(p.n);
    let task = |range: Range<usize>| {
        for t in range {
            let (first, n) = (col(t), col(t + 1) - col(t));
            // SAFETY: rows and columns in range; tasks have different columns.
            unsafe {
                with_sums(p, kernels, 0..p.m, first..first + n, |to| {
                    let (k, wide) = (0, true);
                    let (c, d, beta) = (to.c, to.d, to.beta);
                    let start = Problem {
                        n,
                        k,
                        c,
                        d,
                        beta,
                        wide,
                        ..*p
                    };
                    tiles(&start, kernels, 1, false);
                    kernel(&Rows {
                        m: p.m,
                        n,
                        k: p.k,
                        a: p.a,
                        b: p.b.at(0, first),
                        b_row: p.b.row,
                        c: c.at,
                        c_row: c.row,
                    });
                });
            }
        }
    };
    match threads {
        1 => task(0..cols.parts),
        _ => parallel_for(cols.parts, 1, task),
    }
}

/// Tasks to hand out at a time, so that each is worth it.
fn grain(p: &Problem, tasks: usize) -> usize {
    let each = p.m * p.n * p.k / tasks + 1;
    ((TASK / 2) / each).clamp(1, tasks.div_ceil(2))
}
