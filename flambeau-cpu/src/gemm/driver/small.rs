//! Batches of products of a single tile each: what a product costs beside its multiplications is done
//! once for all.

use super::Problem;
use super::choose::orient;
use super::scratch::{B_SCRATCH, room};
use crate::gemm::kernel::{Kernels, Mat, Piece, Tile, TileFn};
use std::ops::Range;

/// Longer sums are worth the way of their own.
const DEPTH: usize = 64;

/// How each product of a batch is computed.
pub(in crate::gemm) struct Small<'a> {
    /// The first one.
    p: Problem,
    /// Whether it is computed as `c^T = b^T * a^T`.
    turned: bool,
    kernels: &'a Kernels,
    tile: TileFn,
    pack_b: bool,
    /// Columns that are packed.
    width: usize,
}

impl<'a> Small<'a> {
    /// Nothing where a product is more than a tile.
    pub fn new(problem: &Problem, kernels: &'a Kernels) -> Option<Small<'a>> {
        let mut p = *problem;
        if p.alpha == 0.0 {
            p.k = 0;
        }
        if p.m.min(p.n) > kernels.direct.first()?.len() || p.k > DEPTH {
            return None;
        }
        let turned = orient(&mut p, kernels);
        let size = p.result_size(kernels);
        let added = p.beta == 0.0 || p.d.col == 0 || p.d.col == size;
        let pairs = kernels.pair == 1 || p.a.col == kernels.element;
        let narrows = kernels.narrows || !p.has_sums(kernels);
        if p.c.col != size || !added || !pairs || !narrows {
            return None;
        }
        // A single column lies apart as well as not.
        let pack_b = p.b.col != kernels.element;
        let tables = match pack_b {
            true if kernels.unit.is_some() => return None,
            true => &kernels.packed[..],
            false => kernels.direct,
        };
        let vectors = p.n.div_ceil(kernels.lanes);
        let tile = *tables.get(vectors - 1)?.get(p.m - 1)?;
        Some(Small {
            p,
            turned,
            kernels,
            tile,
            pack_b: pack_b && p.k > 0,
            width: vectors * kernels.lanes,
        })
    }

    /// Computes some products, whose `a`, `b`, `c` and `d` begin so many bytes after those of the one
    /// before.
    ///
    /// # Safety
    /// As [`run`](super::run), for each of them.
    pub unsafe fn run(&self, range: Range<usize>, [a, b, c, d]: [usize; 4]) {
        let (p, kernels) = (&self.p, self.kernels);
        let (a_step, b_step) = if self.turned { (b, a) } else { (a, b) };
        let piece = Piece {
            width: p.n,
            stride: self.width,
            ..Piece::default()
        };
        B_SCRATCH.with_borrow_mut(|scratch| {
            let packed = match self.pack_b {
                true => room(scratch, (DEPTH + 4) * self.width * kernels.sum),
                false => std::ptr::null_mut(),
            };
            for i in range {
                let at = |x: Mat, step: usize| x.at.wrapping_add(i * step);
                let (mut b, mut b_row) = (at(p.b, b_step), p.b.row);
                if self.pack_b {
                    // SAFETY: elements of `b`, and room for the rows and more than a vector.
                    unsafe { (kernels.pack)(p.k, &[piece], b, (p.b.row, p.b.col), packed) };
                    (b, b_row) = (packed, self.width * kernels.sum);
                }
                let d = Mat {
                    at: at(p.d, d),
                    ..p.d
                };
                // SAFETY: the tile is the product.
                unsafe {
                    (self.tile)(&Tile {
                        k: p.k,
                        alpha: p.alpha,
                        a: at(p.a, a_step),
                        a_row: p.a.row,
                        a_step: p.a.col * kernels.pair,
                        b,
                        b_step: b_row,
                        beta: p.beta,
                        d,
                        c: at(p.c, c),
                        c_row: p.c.row,
                        half: p.has_sums(kernels),
                        rows: p.m,
                        cols: p.n,
                    });
                }
            }
        });
    }
}
