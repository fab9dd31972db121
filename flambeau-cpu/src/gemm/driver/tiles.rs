//! The path by tiles: how the work is cut for caches and threads, and the walk over the tiles.

use super::pack::Packed;
use super::scratch::{A_SCRATCH, B_SCRATCH, Target, room, with_sums};
use super::{Cut, Problem};
use crate::gemm::kernel::{Kernels, Tile, TileFn, Unit};
use crate::threads::parallel_for;

/// Steps along `k` of one pass: a tile's rows and a panel stream through the L2 cache while the
/// sums stay in registers. Longer passes write `c` less often; 1024 beat 384 and 512 by 4 %.
const DEPTH: usize = 1024;
/// The most steps for which `b` is packed at a time.
pub(super) const MOST: usize = 16 * DEPTH;
/// Packed units of a block of `a`, for a part of an L2 cache.
const A_BLOCK: usize = 64 << 10;
/// The same for a small `b`, for a part of an L1 cache.
const A_SMALL: usize = 4 << 10;
/// Packed units of a strip of `b`, for a part of the L3 cache.
const B_BLOCK: usize = 2 << 20;
/// Packed units of a part of `b` that stays in the L2 cache while tiles pass by.
const B_SMALL: usize = 32 << 10;
/// Sums of half types beside `c`.
const C_BLOCK: usize = 32 << 10;

/// One pass: all of `c`'s rows, some of its columns, some steps along `k`.
pub(super) struct Pass<'a> {
    pub p: &'a Problem,
    pub kernels: &'a Kernels,
    pub tables: &'a [&'static [TileFn]],
    pub unit: Option<Unit>,
    /// The rows of `c`, cut into tiles.
    pub rows: Cut,
    /// Tiles whose part of `a` stays in a cache while panels pass by.
    pub block: usize,
    /// Width of a panel of `b`.
    pub width: usize,
    pub pack_a: bool,
    /// `b`'s panels where it is packed: `steps * width` units each.
    pub packed_b: Option<*const u8>,
    /// Columns of `c`.
    pub cols: (usize, usize),
    /// Steps along `k`, the whole pass.
    pub steps: (usize, usize),
}

// SAFETY: the pointers are used in `unsafe` code only, which keeps tasks apart.
unsafe impl Sync for Pass<'_> {}

pub(super) unsafe fn tiles(p: &Problem, kernels: &Kernels, threads: usize, pack_b: bool) {
    let tables = if pack_b {
        &kernels.packed[..]
    } else {
        kernels.direct
    };
    let unit = kernels.unit.filter(|_| pack_b);
    let vectors = match tables.get(3) {
        // Tall tiles save reading `b`, which is little work where `k` is short; wide ones write
        // longer runs.
        Some(wide) if p.n > 2 * kernels.lanes && (p.m <= wide.len() || p.k <= 8) => 4,
        _ => 2,
    };
    let width = vectors * kernels.lanes;
    let rows = Cut::new(p.m, unit.map_or(tables[vectors - 1].len(), |u| u.rows));
    let tall = tables[1].len();
    // Unpacked rows of `a` are read again for each panel, in as many streams as a tile has rows,
    // and of the cache lines of unpacked columns a tile uses a part only.
    let small = p.n * p.k.div_ceil(kernels.pair) <= B_SMALL;
    let streams = !small && p.n > 4 * width && p.m * p.k > 8 << 10;
    let contiguous = p.a.col == kernels.element;
    let lines = !contiguous && p.m > 4 * tall && p.m * p.k > 256 << 10;
    let paired = kernels.pair == 2 && !contiguous;
    let pack_a = unit.is_some() || kernels.widened || paired || vectors == 2 && (streams || lines);
    let pad = unit.map_or(1, |u| u.pairs);
    let steps = p.k.div_ceil(kernels.pair).div_ceil(pad);
    let chunks = Cut::new(steps, MOST / pad);
    let panels = p.n.div_ceil(width);
    B_SCRATCH.with_borrow_mut(|scratch| {
        for chunk in 0..chunks.parts {
            let steps = (chunks.start(chunk) * pad, chunks.start(chunk + 1) * pad);
            let length = steps.1 - steps.0;
            let strip = match pack_b && length > 0 {
                true => Cut::new(panels, (B_BLOCK / length / width).max(4)),
                false => Cut::new(panels, panels),
            };
            for s in 0..strip.parts {
                let (first, end) = (strip.start(s), strip.start(s + 1));
                let panels = end - first;
                let height = p.m.div_ceil(rows.parts);
                let block = match small {
                    // As many as lie in the L1 cache; one where sums are to stay there too.
                    true => match p.has_sums(kernels) && !kernels.narrows {
                        true => 1,
                        false => (A_SMALL / (height * length.max(1))).max(1),
                    },
                    false => match unit {
                        Some(unit) => (unit.block / (height * length.max(1))).max(1),
                        None => (A_BLOCK / (height * length.clamp(1, DEPTH))).max(1),
                    },
                };
                let mut pass = Pass {
                    p,
                    kernels,
                    tables,
                    unit,
                    rows,
                    block,
                    width,
                    pack_a,
                    packed_b: None,
                    cols: (first * width, (end * width).min(p.n)),
                    steps,
                };
                // SAFETY: handed on; there is room for all panels.
                unsafe {
                    if pack_b {
                        let to = room(scratch, (panels * width * length + 64) * kernels.sum);
                        pass.pack_panels(panels, threads, to);
                        pass.packed_b = Some(to);
                    }
                    pass.run(panels, threads);
                }
            }
        }
    });
}

impl Pass<'_> {
    /// What the number of steps is a multiple of.
    pub(super) fn pad(&self) -> usize {
        self.unit.map_or(1, |u| u.pairs)
    }

    /// The elements along `k` of some steps.
    pub(super) fn elements(&self, s0: usize, s1: usize) -> (usize, usize) {
        let pair = self.kernels.pair;
        ((s0 * pair).min(self.p.k), (s1 * pair).min(self.p.k))
    }

    /// Computes the pass in tasks of some tiles by some panels.
    unsafe fn run(&self, panels: usize, threads: usize) {
        let tiles = self.rows.parts;
        if threads == 1 {
            // SAFETY: handed on.
            return unsafe { self.blocks((0, tiles), (0, panels)) };
        }
        // At least two tasks a thread where the work allows, and more where rows are enough, so that
        // the threads end together; columns are cut when there are few rows, as the rows of `a` are
        // packed once for each group of columns.
        let (k0, k1) = self.elements(self.steps.0, self.steps.1);
        let work = self.p.m * (self.cols.1 - self.cols.0) * (k1 - k0);
        let tasks = (work / self.kernels.task()).clamp(1, 4 * threads);
        // A tile unit's panels come from beyond the L2 cache for each task's tiles.
        let most = match self.unit {
            Some(_) => tasks,
            None => (work / self.kernels.task()).clamp(1, 16 * threads),
        };
        let down = match tiles < tasks.max(8) && !self.pack_a && panels >= tasks {
            true => Cut::new(tiles, tiles),
            false => Cut::new(tiles, (tiles / most).max(1)),
        };
        let across = Cut::new(panels, panels.div_ceil(tasks.div_ceil(down.parts)));
        parallel_for(down.parts * across.parts, 1, |range| {
            for t in range {
                let (i, j) = (t / across.parts, t % across.parts);
                // SAFETY: handed on; the tasks' parts of `c` are disjoint.
                unsafe {
                    self.blocks(
                        (down.start(i), down.start(i + 1)),
                        (across.start(j), across.start(j + 1)),
                    );
                }
            }
        });
    }

    /// Computes some tiles by some panels, in blocks of tiles.
    unsafe fn blocks(&self, tiles: (usize, usize), panels: (usize, usize)) {
        for t in (tiles.0..tiles.1).step_by(self.block) {
            // SAFETY: handed on.
            unsafe { self.block((t, tiles.1.min(t + self.block)), panels) };
        }
    }

    /// Computes some tiles by some panels.
    unsafe fn block(&self, tiles: (usize, usize), panels: (usize, usize)) {
        let pad = self.pad();
        let length = self.steps.1 - self.steps.0;
        let most = self.unit.map_or(DEPTH, |u| u.depth).min(length);
        let depth = Cut::new(length / pad, most / pad);
        let part = |d: usize| self.steps.0 + depth.start(d) * pad;
        let (top, bottom) = (self.rows.start(tiles.0), self.rows.start(tiles.1));
        // Kernels that narrow do so where they have a sum's every part.
        let narrow = self.kernels.narrows
            && self.unit.is_none()
            && self.p.has_sums(self.kernels)
            && depth.parts == 1
            && self.elements(self.steps.0, self.steps.1) == (0, self.p.k);
        let group = match self.p.has_sums(self.kernels) && !narrow {
            // One tile's sums need not leave the L1 cache.
            true if self.block == 1 => 4,
            true => (C_BLOCK / ((bottom - top) * self.width)).max(1),
            false => panels.1 - panels.0,
        };
        // Where panels come in groups each part of `a` is needed again for every group.
        let parts = match group < panels.1 - panels.0 {
            true => depth.parts,
            false => 1,
        };
        A_SCRATCH.with_borrow_mut(|scratch| {
            let mut packed = Packed::new(self, tiles, (parts, most), scratch);
            for first in (panels.0..panels.1).step_by(group) {
                let end = panels.1.min(first + group);
                let col = |panel: usize| (self.cols.0 + panel * self.width).min(self.cols.1);
                let (rows, cols) = (top..bottom, col(first)..col(end));
                let mut add = |to: Target| {
                    for d in 0..depth.parts {
                        let steps = (part(d), part(d + 1));
                        // SAFETY: rows and columns of the matrices.
                        unsafe {
                            let a = self.pack_a.then(|| packed.part(d, steps));
                            self.multiply(tiles, (first, end), steps, a, to);
                        }
                    }
                };
                match narrow {
                    true => add(Target {
                        c: self.p.c.from(rows.start, cols.start),
                        d: self.p.d.from(rows.start, cols.start),
                        beta: self.p.beta,
                        half: true,
                    }),
                    // SAFETY: as above.
                    false => unsafe { with_sums(self.p, self.kernels, rows, cols, add) },
                }
            }
        });
    }

    unsafe fn multiply(
        &self,
        tiles: (usize, usize),
        panels: (usize, usize),
        steps: (usize, usize),
        packed_a: Option<*const u8>,
        to: Target,
    ) {
        let (p, kernels) = (self.p, self.kernels);
        let (sum, length) = (kernels.sum, steps.1 - steps.0);
        let (k0, k1) = self.elements(steps.0, steps.1);
        let (top, left) = (self.rows.start(tiles.0), panels.0 * self.width);
        if let Some(unit) = self.unit {
            (unit.enter)();
        }
        for panel in panels.0..panels.1 {
            let across = panel * self.width;
            let col = self.cols.0 + across;
            let cols = self.width.min(self.cols.1 - col);
            let table = self.tables[cols.div_ceil(kernels.lanes) - 1];
            let (b, b_step) = match self.packed_b {
                Some(b) => {
                    let whole = self.steps.1 - self.steps.0;
                    let at = (panel * whole + steps.0 - self.steps.0) * self.width;
                    (b.wrapping_add(at * sum), self.width * sum)
                }
                None => (p.b.at(k0, col).cast_const(), p.b.row),
            };
            for t in tiles.0..tiles.1 {
                let (first, end) = (self.rows.start(t), self.rows.start(t + 1));
                let (a, a_row, a_step) = match (packed_a, self.unit) {
                    (None, _) => {
                        let at = p.a.at(first, k0).cast_const();
                        (at, p.a.row, p.a.col * kernels.pair)
                    }
                    (Some(a), None) => {
                        let at = a.wrapping_add((first - top) * length * sum);
                        (at, sum, (end - first) * sum)
                    }
                    (Some(a), Some(unit)) => {
                        let at = a.wrapping_add((t - tiles.0) * unit.rows * length * sum);
                        (at, length * sum, sum)
                    }
                };
                let c = to.c.from(first - top, across - left);
                let (d, beta) = match steps.0 {
                    0 => (to.d.from(first - top, across - left), to.beta),
                    _ => (c, 1.0),
                };
                // SAFETY: the tile's rows and columns lie in the matrices, packed panels and tiles
                // where they were written.
                unsafe {
                    table[end - first - 1](&Tile {
                        k: k1 - k0,
                        alpha: p.alpha,
                        a,
                        a_row,
                        a_step,
                        b,
                        b_step,
                        beta,
                        d,
                        c: c.at,
                        c_row: c.row,
                        half: to.half,
                        rows: end - first,
                        cols,
                    });
                }
            }
        }
        if let Some(unit) = self.unit {
            (unit.leave)();
        }
    }
}
