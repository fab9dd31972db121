//! Which way round a problem is computed, and by which path.

use super::Problem;
use crate::gemm::kernel::Kernels;

/// How a problem is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::gemm) enum Path {
    /// Vectors along `k`, nothing packed.
    Dots,
    /// Vectors along `n`, one pass over a large `b`.
    Rows,
    /// Vectors along `n`.
    Tiles { pack_b: bool },
}

/// Turns the problem (`c^T = b^T * a^T`) where that makes the rows of `c` contiguous, and sets the
/// strides of axes of length 1, which mean nothing, to those of contiguous ones. Whether it turned it.
pub(super) fn orient(p: &mut Problem, kernels: &Kernels) -> bool {
    let unit = |stride: &mut usize, len: usize, size: usize| {
        if len == 1 {
            *stride = size;
        }
    };
    let (size, result) = (kernels.element, p.result_size(kernels));
    unit(&mut p.a.row, p.m, size);
    unit(&mut p.a.col, p.k, size);
    unit(&mut p.b.row, p.k, size);
    unit(&mut p.b.col, p.n, size);
    unit(&mut p.c.row, p.m, result);
    unit(&mut p.c.col, p.n, result);
    unit(&mut p.d.row, p.m, result);
    unit(&mut p.d.col, p.n, result);
    let turn = match (p.c.col == result, p.c.row == result) {
        (true, false) => false,
        (false, true) => true,
        // A column: as a row its elements can share a vector or a dot kernel.
        (true, true) => p.n == 1,
        _ => false,
    };
    if turn {
        (p.a, p.b) = (p.b.turned(), p.a.turned());
        (p.c, p.d) = (p.c.turned(), p.d.turned());
        (p.m, p.n) = (p.n, p.m);
    }
    turn
}

/// Estimates in units of one vector multiplication; the figures are measured.
pub(super) fn choose(p: &Problem, kernels: &Kernels) -> Path {
    if !kernels.direct.is_empty() && p.b.col == kernels.element {
        let large = p.k * p.n * kernels.element > 512 << 10;
        if p.m <= 8 && large && p.alpha == 1.0 && kernels.rows.is_some() {
            return Path::Rows;
        }
        let few = match kernels.pair {
            1 => p.m <= 8 || p.k * p.n <= 64 << 10,
            // Pairs are put together again for each tile of rows.
            _ => p.m <= kernels.direct[0].len() || p.m <= 16 && p.k * p.n <= 16 << 10,
        };
        // Rows that are close together come with each other's cache lines and pages.
        let close = kernels.pair == 1 && p.b.row <= 8 * kernels.lanes * kernels.element;
        if few || close {
            return Path::Tiles { pack_b: false };
        }
    }
    if p.b.row == kernels.element && !kernels.dots.is_empty() {
        let round = |n: usize, to: usize| n.div_ceil(to) * to;
        let lanes = kernels.lanes * kernels.pair;
        let turned = p.a.col != kernels.element;
        let dots = p.m * round(p.n, 4) * (p.k.div_ceil(lanes) * 5 / 4 + 4)
            + if turned { 2 * p.m * p.k } else { 0 };
        let steps = p.k.div_ceil(kernels.pair);
        let tiles = p.m * p.n.div_ceil(kernels.lanes) * steps + p.n * steps / 2;
        if dots < tiles {
            return Path::Dots;
        }
    }
    Path::Tiles { pack_b: true }
}
