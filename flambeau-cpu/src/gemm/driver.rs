//! From a problem to tiles: which way round, what to pack, how to cut.

use std::cell::RefCell;

use super::GemmScalar;
use super::kernel::{Dots, Kernels, Piece, Tile};
use crate::threads::{SyncPtr, parallel_for};

/// `c = alpha * a * b + beta * c`, see [`super::gemm`].
#[derive(Clone, Copy)]
pub(super) struct Problem<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub alpha: T,
    pub a: *const T,
    pub a_strides: (usize, usize),
    pub b: *const T,
    pub b_strides: (usize, usize),
    pub beta: T,
    pub c: *mut T,
    pub c_strides: (usize, usize),
}

// SAFETY: the pointers are used in `unsafe` code only, which keeps tasks apart.
unsafe impl<T> Sync for Problem<T> {}

/// Depth of a pass over `k`: a packed panel of `b` and one of `a` together fit the L1 and L2 caches.
const DEPTH: usize = 384;
/// Elements of a packed block of `a`, for half an L2 cache.
const A_BLOCK: usize = 64 << 10;
/// Elements of a packed block of `b`, for a part of the L3 cache.
const B_BLOCK: usize = 768 << 10;

/// Panels or tiles that are packed side by side.
const GROUP: usize = 8;

/// Computes a problem on up to `threads` threads.
///
/// # Safety
/// Every element of `a`, `b` and `c` must be there, `c`'s apart from each other and from the rest,
/// and nobody else may use them meanwhile.
pub(super) unsafe fn run<T: GemmScalar>(mut p: Problem<T>, threads: usize) {
    let kernels = T::kernels();
    if p.k == 0 || p.alpha == T::ZERO {
        // SAFETY: handed on.
        return unsafe { scale(&p) };
    }
    orient(&mut p);
    if p.c_strides.1 != 1 && p.n > 1 {
        // SAFETY: handed on.
        return unsafe { scattered(p, threads) };
    }
    // SAFETY: handed on.
    unsafe {
        match choose(&p, kernels) {
            Path::Dots => dots(&p, kernels, threads),
            Path::Tiles { pack_b } => tiles(&p, kernels, threads, pack_b),
        }
    }
}

/// A problem whose rows of `c` are contiguous, by given kernels and a given path.
#[cfg(test)]
pub(super) unsafe fn run_with<T: GemmScalar>(
    p: &Problem<T>,
    kernels: &Kernels<T>,
    by_dots: bool,
    pack_b: bool,
) {
    // SAFETY: handed on.
    unsafe {
        match by_dots {
            true => dots(p, kernels, 1),
            false => tiles(p, kernels, 1, pack_b),
        }
    }
}

/// Turns the problem (`c^T = b^T * a^T`) where that makes the rows of `c` contiguous, and sets the
/// strides of axes of length 1, which mean nothing, to 1.
fn orient<T>(p: &mut Problem<T>) {
    let unit = |stride: &mut usize, len: usize| {
        if len == 1 {
            *stride = 1;
        }
    };
    unit(&mut p.a_strides.0, p.m);
    unit(&mut p.a_strides.1, p.k);
    unit(&mut p.b_strides.0, p.k);
    unit(&mut p.b_strides.1, p.n);
    unit(&mut p.c_strides.0, p.m);
    unit(&mut p.c_strides.1, p.n);
    let turn = match (p.c_strides.1 == 1, p.c_strides.0 == 1) {
        (true, false) => false,
        (false, true) => true,
        // A column: as a row its elements can share a vector or a dot kernel.
        (true, true) => p.n == 1,
        _ => false,
    };
    if turn {
        let swap = |s: (usize, usize)| (s.1, s.0);
        let (a, a_strides) = (p.a, p.a_strides);
        (p.a, p.a_strides) = (p.b, swap(p.b_strides));
        (p.b, p.b_strides) = (a, swap(a_strides));
        p.c_strides = swap(p.c_strides);
        (p.m, p.n) = (p.n, p.m);
    }
}

enum Path {
    /// Vectors along `k`, nothing packed.
    Dots,
    /// Vectors along `n`.
    Tiles { pack_b: bool },
}

/// Estimates in units of one vector multiplication; the figures are measured.
fn choose<T>(p: &Problem<T>, kernels: &Kernels<T>) -> Path {
    let few = p.m <= 8 || p.k * p.n <= 64 << 10;
    // Rows that are close together come with each other's cache lines and pages.
    let close = p.b_strides.0 <= 8 * kernels.lanes;
    if p.b_strides.1 == 1 && (few || close) {
        return Path::Tiles { pack_b: false };
    }
    if p.a_strides.1 == 1 && p.b_strides.0 == 1 {
        let round = |n: usize, to: usize| n.div_ceil(to) * to;
        let dots = p.m * round(p.n, 4) * (p.k.div_ceil(kernels.lanes) * 5 / 4 + 4);
        let tiles = p.m * p.n.div_ceil(kernels.lanes) * p.k + p.n * p.k / 2;
        if dots < tiles {
            return Path::Dots;
        }
    }
    Path::Tiles { pack_b: true }
}

/// `c = beta * c`.
unsafe fn scale<T: GemmScalar>(p: &Problem<T>) {
    for i in 0..p.m {
        for j in 0..p.n {
            // SAFETY: an element of `c`.
            unsafe {
                let c = p.c.add(i * p.c_strides.0 + j * p.c_strides.1);
                *c = if p.beta == T::ZERO {
                    T::ZERO
                } else {
                    p.beta * *c
                };
            }
        }
    }
}

/// Neither rows nor columns of `c` are contiguous: computes beside it and adds up. Rare enough to
/// allocate for.
unsafe fn scattered<T: GemmScalar>(p: Problem<T>, threads: usize) {
    let mut dense = vec![T::ZERO; p.m * p.n];
    let beside = Problem {
        beta: T::ZERO,
        c: dense.as_mut_ptr(),
        c_strides: (p.n, 1),
        ..p
    };
    // SAFETY: `a` and `b` are the caller's, `dense` is ours and large enough; the elements of `c`
    // are the caller's.
    unsafe {
        run(beside, threads);
        for (i, row) in dense.chunks_exact(p.n).enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let c = p.c.add(i * p.c_strides.0 + j * p.c_strides.1);
                *c = if p.beta == T::ZERO {
                    sum
                } else {
                    sum + p.beta * *c
                };
            }
        }
    }
}

/// Cuts `n` things into the fewest parts of at most `most`, as equal as possible.
#[derive(Clone, Copy)]
struct Cut {
    n: usize,
    parts: usize,
}

impl Cut {
    fn new(n: usize, most: usize) -> Cut {
        Cut {
            n,
            parts: n.div_ceil(most.max(1)).max(1),
        }
    }

    /// Where a part starts; `start(parts)` is `n`.
    #[inline(always)]
    fn start(self, part: usize) -> usize {
        let (each, more) = (self.n / self.parts, self.n % self.parts);
        part * each + part.min(more)
    }
}

unsafe fn dots<T: GemmScalar>(p: &Problem<T>, kernels: &Kernels<T>, threads: usize) {
    let rows = Cut::new(p.m, kernels.dots.len());
    // Columns in blocks that stay in the L1 cache while the rows pass by.
    let block = ((8 << 10) / p.k).max(1).next_multiple_of(4);
    let cols = Cut::new(p.n.div_ceil(4), block / 4);
    let task = |range: std::ops::Range<usize>| {
        for t in range {
            let (first, end) = (4 * cols.start(t), (4 * cols.start(t + 1)).min(p.n));
            for i in 0..rows.parts {
                let (top, bottom) = (rows.start(i), rows.start(i + 1));
                // SAFETY: rows and columns in range; tasks have different columns.
                unsafe {
                    kernels.dots[bottom - top - 1](&Dots {
                        k: p.k,
                        alpha: p.alpha,
                        a: p.a.add(top * p.a_strides.0),
                        a_stride: p.a_strides.0,
                        b: p.b.add(first * p.b_strides.1),
                        b_stride: p.b_strides.1,
                        beta: p.beta,
                        c: p.c.add(top * p.c_strides.0 + first),
                        c_stride: p.c_strides.0,
                        n: end - first,
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

/// Tasks to hand out at a time, so that each is worth it.
fn grain<T>(p: &Problem<T>, tasks: usize) -> usize {
    let each = p.m * p.n * p.k / tasks + 1;
    ((super::TASK / 2) / each).clamp(1, tasks.div_ceil(2))
}

/// Memory for packed operands, kept by each thread.
type Scratch = RefCell<Vec<Line>>;

#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code)] // what it holds is read through pointers only
struct Line([u8; 64]);

thread_local! {
    static A_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
    static B_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
}

/// Room for `n` elements in a thread's scratch.
fn room<T>(scratch: &mut Vec<Line>, n: usize) -> *mut T {
    let lines = (n * size_of::<T>()).div_ceil(size_of::<Line>());
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 64]));
    }
    scratch.as_mut_ptr().cast()
}

/// One pass: all of `c`'s rows, some of its columns, a part of `k`.
struct Pass<'a, T: 'static> {
    p: &'a Problem<T>,
    kernels: &'a Kernels<T>,
    /// The rows of `c`, cut into tiles.
    rows: Cut,
    /// Width of a panel of `b`.
    width: usize,
    pack_a: bool,
    /// `b`'s panels where it is packed: `depth * width` elements each.
    packed_b: Option<*const T>,
    /// Columns of `c`.
    cols: (usize, usize),
    /// Start and length along `k`.
    k: (usize, usize),
}

// SAFETY: the pointers are used in `unsafe` code only, which keeps tasks apart.
unsafe impl<T> Sync for Pass<'_, T> {}

unsafe fn tiles<T: GemmScalar>(p: &Problem<T>, kernels: &Kernels<T>, threads: usize, pack_b: bool) {
    let tall = kernels.tiles[1].len();
    let vectors = match p.m <= kernels.tiles[3].len() && !pack_b {
        true => 4,
        false => 2,
    };
    let width = vectors * kernels.lanes;
    let rows = Cut::new(
        p.m,
        if vectors == 2 {
            tall
        } else {
            kernels.tiles[3].len()
        },
    );
    // Unpacked rows of `a` are read again for each panel, in as many streams as a tile has rows,
    // and of the cache lines of unpacked columns a tile uses a part only.
    let streams = p.n > 4 * width && p.m * p.k > 8 << 10;
    let lines = p.a_strides.1 != 1 && p.m > 4 * tall && p.m * p.k > 256 << 10;
    let pack_a = vectors == 2 && (streams || lines);
    let depth = Cut::new(p.k, DEPTH);
    let deepest = p.k.div_ceil(depth.parts);
    let strip = match pack_b {
        true => Cut::new(p.n.div_ceil(width), (B_BLOCK / deepest / width).max(1)),
        false => Cut::new(p.n.div_ceil(width), usize::MAX),
    };
    B_SCRATCH.with_borrow_mut(|scratch| {
        for s in 0..strip.parts {
            let (first, end) = (strip.start(s), strip.start(s + 1));
            let cols = (first * width, (end * width).min(p.n));
            let panels = end - first;
            for d in 0..depth.parts {
                let (k0, k1) = (depth.start(d), depth.start(d + 1));
                let packed_b = pack_b.then(|| {
                    let to = room::<T>(scratch, panels * width * (k1 - k0) + kernels.lanes);
                    // SAFETY: handed on; there is room for all panels.
                    unsafe { pack_panels(p, kernels, threads, width, cols, (k0, k1 - k0), to) };
                    to.cast_const()
                });
                let pass = Pass {
                    p,
                    kernels,
                    rows,
                    width,
                    pack_a,
                    packed_b,
                    cols,
                    k: (k0, k1 - k0),
                };
                // SAFETY: handed on.
                unsafe { pass.run(panels, threads) };
            }
        }
    });
}

/// Packs columns `cols` and rows `k.0..k.0 + k.1` of `b` in panels of `width` columns.
unsafe fn pack_panels<T: GemmScalar>(
    p: &Problem<T>,
    kernels: &Kernels<T>,
    threads: usize,
    width: usize,
    cols: (usize, usize),
    k: (usize, usize),
    to: *mut T,
) {
    let panels = (cols.1 - cols.0).div_ceil(width);
    let to = SyncPtr(to);
    let task = |range: std::ops::Range<usize>| {
        for group in range {
            let mut pieces = [Piece::default(); GROUP];
            let last = panels.min((group + 1) * GROUP);
            for panel in group * GROUP..last {
                let first = cols.0 + panel * width;
                pieces[panel % GROUP] = Piece {
                    first,
                    width: width.min(cols.1 - first),
                    to: panel * width * k.1,
                    stride: width,
                };
            }
            // SAFETY: the panels' columns are in `b`; their places in `to` are their own. The
            // width is a multiple of the vector, so that no store reaches another panel.
            unsafe {
                (kernels.pack)(
                    k.1,
                    &pieces[..last - group * GROUP],
                    p.b.add(k.0 * p.b_strides.0),
                    p.b_strides,
                    to.get(),
                );
            }
        }
    };
    let groups = panels.div_ceil(GROUP);
    match threads == 1 || panels * width * k.1 < 64 << 10 {
        true => task(0..groups),
        false => parallel_for(groups, 1, task),
    }
}

impl<T: GemmScalar> Pass<'_, T> {
    /// Computes the pass in tasks of some tiles by some panels.
    unsafe fn run(&self, panels: usize, threads: usize) {
        let (tiles, depth) = (self.rows.parts, self.k.1);
        let tile_rows = self.p.m.div_ceil(tiles);
        let block = (A_BLOCK / (tile_rows * depth)).max(1);
        if threads == 1 {
            for t in (0..tiles).step_by(block) {
                // SAFETY: handed on.
                unsafe { self.block((t, tiles.min(t + block)), (0, panels)) };
            }
            return;
        }
        // At least two tasks a thread where the work allows; columns are cut when there are few
        // rows, as the rows of `a` are packed once for each group of columns.
        let work = self.p.m * (self.cols.1 - self.cols.0) * depth;
        let tasks = (work / super::TASK).clamp(1, 4 * threads);
        let down = Cut::new(tiles, (tiles / tasks).clamp(1, block));
        let across = Cut::new(panels, panels.div_ceil(tasks.div_ceil(down.parts)));
        parallel_for(down.parts * across.parts, 1, |range| {
            for t in range {
                let (i, j) = (t / across.parts, t % across.parts);
                // SAFETY: handed on; the tasks' parts of `c` are disjoint.
                unsafe {
                    self.block(
                        (down.start(i), down.start(i + 1)),
                        (across.start(j), across.start(j + 1)),
                    );
                }
            }
        });
    }

    /// Computes some tiles by some panels.
    unsafe fn block(&self, tiles: (usize, usize), panels: (usize, usize)) {
        let (p, depth) = (self.p, self.k.1);
        let top = self.rows.start(tiles.0);
        let height = self.rows.start(tiles.1) - top;
        if !self.pack_a {
            // SAFETY: handed on.
            return unsafe { self.multiply(tiles, panels, None) };
        }
        A_SCRATCH.with_borrow_mut(|scratch| {
            let to = room::<T>(scratch, height * depth + self.kernels.lanes);
            for group in (tiles.0..tiles.1).step_by(GROUP) {
                let mut pieces = [Piece::default(); GROUP];
                let last = tiles.1.min(group + GROUP);
                for t in group..last {
                    let (first, end) = (self.rows.start(t), self.rows.start(t + 1));
                    pieces[t - group] = Piece {
                        first,
                        width: end - first,
                        to: (first - top) * depth,
                        stride: end - first,
                    };
                }
                // SAFETY: rows and columns of `a`; tiles are packed in order, each ending where
                // the next begins, and there is a vector's room after the last.
                unsafe {
                    (self.kernels.pack)(
                        depth,
                        &pieces[..last - group],
                        p.a.add(self.k.0 * p.a_strides.1),
                        (p.a_strides.1, p.a_strides.0),
                        to,
                    );
                }
            }
            // SAFETY: handed on.
            unsafe { self.multiply(tiles, panels, Some(to)) };
        });
    }

    unsafe fn multiply(
        &self,
        tiles: (usize, usize),
        panels: (usize, usize),
        packed_a: Option<*const T>,
    ) {
        let (p, depth) = (self.p, self.k.1);
        let top = self.rows.start(tiles.0);
        for panel in panels.0..panels.1 {
            let col = self.cols.0 + panel * self.width;
            let cols = self.width.min(self.cols.1 - col);
            let vectors = cols.div_ceil(self.kernels.lanes);
            for t in tiles.0..tiles.1 {
                let (first, end) = (self.rows.start(t), self.rows.start(t + 1));
                // SAFETY: the tile's rows and columns lie in the matrices, packed panels and
                // tiles where they were written.
                unsafe {
                    let (b, b_stride) = match self.packed_b {
                        Some(b) => (b.add(panel * self.width * depth), self.width),
                        None => (p.b.add(self.k.0 * p.b_strides.0 + col), p.b_strides.0),
                    };
                    let at = first * p.a_strides.0 + self.k.0 * p.a_strides.1;
                    let (a, kernel) = match packed_a {
                        Some(a) => (
                            a.add((first - top) * depth),
                            self.kernels.packed[vectors - 1],
                        ),
                        None => (p.a.add(at), self.kernels.tiles[vectors - 1]),
                    };
                    kernel[end - first - 1](&Tile {
                        k: depth,
                        alpha: p.alpha,
                        a,
                        a_strides: p.a_strides,
                        b,
                        b_stride,
                        beta: if self.k.0 == 0 { p.beta } else { T::ONE },
                        c: p.c.add(first * p.c_strides.0 + col),
                        c_stride: p.c_strides.0,
                        cols,
                    });
                }
            }
        }
    }
}
