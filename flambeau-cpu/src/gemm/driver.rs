//! From a problem to tiles: which way round, what to pack, how to cut.

use std::cell::RefCell;
use std::ops::Range;

use super::half;
use super::kernel::{Dots, Kernels, Mat, Piece, Rows, Tile, TileFn, Unit};
use crate::threads::{SyncPtr, parallel_for};

/// `c = alpha * a * b + beta * d`, see [`super::gemm_add`]. Pointers are of the kernels' types.
#[derive(Clone, Copy)]
pub(super) struct Problem {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub alpha: f64,
    pub a: Mat,
    pub b: Mat,
    /// Where 0, `d` is not read. `d` may be `c`.
    pub beta: f64,
    pub d: Mat,
    pub c: Mat,
    /// `c` and `d` hold sums, not elements of the half type of `a` and `b`.
    pub wide: bool,
}

// SAFETY: the pointers are used in `unsafe` code only, which keeps tasks apart.
unsafe impl Sync for Problem {}

/// Steps along `k` of one pass: a tile's rows and a panel stream through the L2 cache while the
/// sums stay in registers. Longer passes write `c` less often; 1024 beat 384 and 512 by 4 %.
const DEPTH: usize = 1024;
/// The most steps for which `b` is packed at a time.
const MOST: usize = 16 * DEPTH;
/// Packed units of a block of `a`, for a part of an L2 cache.
const A_BLOCK: usize = 64 << 10;
/// Packed units of a strip of `b`, for a part of the L3 cache.
const B_BLOCK: usize = 2 << 20;
/// Packed units of a part of `b` that stays in the L2 cache while tiles pass by.
const B_SMALL: usize = 32 << 10;
/// Sums of half types beside `c`.
const C_BLOCK: usize = 32 << 10;

/// Panels or tiles that are packed side by side, and the rows packed by one task.
const GROUP: usize = 8;
const SLICE: usize = 128;

/// How a problem is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Path {
    /// Vectors along `k`, nothing packed.
    Dots,
    /// Vectors along `n`, one pass over a large `b`.
    Rows,
    /// Vectors along `n`.
    Tiles { pack_b: bool },
}

/// Computes a problem on up to `threads` threads.
///
/// # Safety
/// Every element of `a`, `b`, `c` and, unless `beta` is 0, `d` must be there, `c`'s apart from each
/// other and from the rest (`d` may be `c` itself), and nobody else may use them meanwhile. The CPU
/// must have the kernels' features.
pub(super) unsafe fn run(problem: &Problem, kernels: &Kernels, threads: usize) {
    let mut p = *problem;
    if p.alpha == 0.0 {
        p.k = 0;
    }
    orient(&mut p, kernels);
    let size = p.result_size(kernels);
    // SAFETY: handed on.
    unsafe {
        if p.c.col != size {
            return scattered(&p, kernels, threads);
        }
        if p.beta != 0.0 && p.d.col != 0 && p.d.col != size {
            copy(p.m, p.n, size, p.d, p.c);
            p.d = p.c;
        }
        if p.k.div_ceil(kernels.pair) > MOST && p.has_sums(kernels) {
            // Several strips of `k` add to the same sums.
            return with_sums(&p, kernels, 0..p.m, 0..p.n, |to| {
                let (c, d, beta) = (to.c, to.d, to.beta);
                let wide = true;
                run_by(
                    &Problem {
                        c,
                        d,
                        beta,
                        wide,
                        ..p
                    },
                    kernels,
                    threads,
                    None,
                );
            });
        }
        run_by(&p, kernels, threads, None);
    }
}

/// A problem whose rows of `c` are contiguous, by a given path or the best.
///
/// # Safety
/// As [`run`].
pub(super) unsafe fn run_by(p: &Problem, kernels: &Kernels, threads: usize, path: Option<Path>) {
    // SAFETY: handed on.
    unsafe {
        match path.unwrap_or_else(|| choose(p, kernels)) {
            Path::Dots => dots(p, kernels, threads),
            Path::Rows => rows(p, kernels, threads),
            Path::Tiles { pack_b } => tiles(p, kernels, threads, pack_b),
        }
    }
}

impl Problem {
    /// Bytes of an element of `c`.
    fn result_size(&self, kernels: &Kernels) -> usize {
        match self.wide {
            true => kernels.sum,
            false => kernels.element,
        }
    }

    /// Whether sums need a place of their own.
    fn has_sums(&self, kernels: &Kernels) -> bool {
        kernels.half.is_some() && !self.wide
    }
}

/// Turns the problem (`c^T = b^T * a^T`) where that makes the rows of `c` contiguous, and sets the
/// strides of axes of length 1, which mean nothing, to those of contiguous ones.
fn orient(p: &mut Problem, kernels: &Kernels) {
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
}

/// Estimates in units of one vector multiplication; the figures are measured.
fn choose(p: &Problem, kernels: &Kernels) -> Path {
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

/// Copies the elements, of `size` bytes, of one `m` x `n` matrix into another.
unsafe fn copy(m: usize, n: usize, size: usize, from: Mat, to: Mat) {
    for i in 0..m {
        for j in 0..n {
            let (from, to) = (from.at(i, j), to.at(i, j));
            // SAFETY: elements of both. Constant sizes are single moves.
            unsafe {
                match size {
                    2 => std::ptr::copy(from, to, 2),
                    4 => std::ptr::copy(from, to, 4),
                    _ => std::ptr::copy(from, to, size),
                }
            }
        }
    }
}

/// Neither rows nor columns of `c` are contiguous: computes beside it. Rare enough to allocate for.
unsafe fn scattered(p: &Problem, kernels: &Kernels, threads: usize) {
    let size = p.result_size(kernels);
    let mut dense: Vec<Line> = Vec::new();
    let beside = Mat {
        at: room(&mut dense, p.m * p.n * size),
        row: p.n * size,
        col: size,
    };
    // SAFETY: `a`, `b` and the elements of `c` and `d` are the caller's, `dense` is ours and large
    // enough.
    unsafe {
        if p.beta != 0.0 {
            copy(p.m, p.n, size, p.d, beside);
        }
        let (c, d) = (beside, beside);
        run(&Problem { c, d, ..*p }, kernels, threads);
        copy(p.m, p.n, size, beside, p.c);
    }
}

/// Where the sums of a part of `c` go: `c = .. + beta * d`.
#[derive(Clone, Copy)]
struct Target {
    c: Mat,
    d: Mat,
    beta: f64,
}

/// Calls `f` with the place for the sums of a part of `c`: that part itself or, for half types,
/// memory beside it, rounded into `c` at the end.
unsafe fn with_sums(
    p: &Problem,
    kernels: &Kernels,
    rows: Range<usize>,
    cols: Range<usize>,
    f: impl FnOnce(Target),
) {
    let (c, d) = (
        p.c.from(rows.start, cols.start),
        p.d.from(rows.start, cols.start),
    );
    let beta = p.beta;
    let Some(half) = kernels.half.filter(|_| !p.wide) else {
        return f(Target { c, d, beta });
    };
    let width = cols.len();
    C_SCRATCH.with_borrow_mut(|scratch| {
        let at: *mut f32 = room(scratch, rows.len() * width * size_of::<f32>()).cast();
        let sums = Mat {
            at: at.cast(),
            row: width * size_of::<f32>(),
            col: size_of::<f32>(),
        };
        // SAFETY: there is room for the sums; rows of `c` are contiguous, those of `d` too unless
        // they repeat one element.
        unsafe {
            if beta != 0.0 {
                for i in 0..rows.len() {
                    let sums = std::slice::from_raw_parts_mut(at.add(i * width), width);
                    let d = std::slice::from_raw_parts(
                        d.at(i, 0).cast::<u16>(),
                        if d.col == 0 { 1 } else { width },
                    );
                    (half.widen)(d, &mut sums[..d.len()]);
                    if d.len() < width {
                        let first = sums[0];
                        sums.fill(first);
                    }
                    if beta != 1.0 {
                        sums.iter_mut().for_each(|s| *s *= beta as f32);
                    }
                }
            }
            f(Target {
                c: sums,
                d: sums,
                beta: if beta == 0.0 { 0.0 } else { 1.0 },
            });
            for i in 0..rows.len() {
                let sums = std::slice::from_raw_parts(at.add(i * width), width);
                let c = std::slice::from_raw_parts_mut(c.at(i, 0).cast::<u16>(), width);
                (half.narrow)(sums, c);
            }
        }
    });
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

/// The dot path on `a` as it is or, where its rows are not contiguous, on a copy.
unsafe fn dots(p: &Problem, kernels: &Kernels, threads: usize) {
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
unsafe fn rows(p: &Problem, kernels: &Kernels, threads: usize) {
    let Some(kernel) = kernels.rows else { return };
    // Sums of a block stay in the L1 or L2 cache.
    let cols = Cut::new(p.n.div_ceil(kernels.lanes), 1024 / kernels.lanes);
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
    ((super::TASK / 2) / each).clamp(1, tasks.div_ceil(2))
}

/// Memory for packed operands and sums, kept by each thread.
type Scratch = RefCell<Vec<Line>>;

#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code)] // what it holds is read through pointers only
struct Line([u8; 64]);

thread_local! {
    static A_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
    static B_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
    static C_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
}

/// Room for `bytes` in a thread's scratch.
fn room(scratch: &mut Vec<Line>, bytes: usize) -> *mut u8 {
    let lines = bytes.div_ceil(size_of::<Line>());
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 64]));
    }
    scratch.as_mut_ptr().cast()
}

/// One pass: all of `c`'s rows, some of its columns, some steps along `k`.
struct Pass<'a> {
    p: &'a Problem,
    kernels: &'a Kernels,
    tables: &'a [&'static [TileFn]],
    unit: Option<Unit>,
    /// The rows of `c`, cut into tiles.
    rows: Cut,
    /// Tiles whose part of `a` stays in a cache while panels pass by.
    block: usize,
    /// Width of a panel of `b`.
    width: usize,
    pack_a: bool,
    /// `b`'s panels where it is packed: `steps * width` units each.
    packed_b: Option<*const u8>,
    /// Columns of `c`.
    cols: (usize, usize),
    /// Steps along `k`, the whole pass.
    steps: (usize, usize),
}

// SAFETY: the pointers are used in `unsafe` code only, which keeps tasks apart.
unsafe impl Sync for Pass<'_> {}

unsafe fn tiles(p: &Problem, kernels: &Kernels, threads: usize, pack_b: bool) {
    let tables = if pack_b {
        &kernels.packed[..]
    } else {
        kernels.direct
    };
    let unit = kernels.unit.filter(|_| pack_b);
    let vectors = match tables.get(3) {
        // Tall tiles save reading `b`, which is little work where `k` is short; wide ones write
        // longer runs.
        Some(wide) if p.m <= wide.len() || p.k <= 8 => 4,
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
                    true => 1,
                    false => (A_BLOCK / (height * length.clamp(1, DEPTH))).max(1),
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
    /// Packs the pass's part of `b` in panels of `width` columns.
    unsafe fn pack_panels(&self, panels: usize, threads: usize, to: *mut u8) {
        let (p, kernels, width) = (self.p, self.kernels, self.width);
        let (pad, length) = (self.pad(), self.steps.1 - self.steps.0);
        let slices = Cut::new(length / pad, SLICE / pad);
        let to = SyncPtr(to);
        let task = |range: Range<usize>| {
            for t in range {
                let (group, slice) = (t / slices.parts, t % slices.parts);
                let (s0, s1) = (slices.start(slice) * pad, slices.start(slice + 1) * pad);
                let mut pieces = [Piece::default(); GROUP];
                let last = panels.min((group + 1) * GROUP);
                for panel in group * GROUP..last {
                    let first = self.cols.0 + panel * width;
                    pieces[panel % GROUP] = Piece {
                        first,
                        width: width.min(self.cols.1 - first),
                        to: (panel * length + s0) * width,
                        stride: width,
                    };
                }
                let pieces = &pieces[..last - group * GROUP];
                let (k0, k1) = self.elements(self.steps.0 + s0, self.steps.0 + s1);
                // SAFETY: the panels' columns are in `b`; their places in `to` are their own. The
                // width is a multiple of the vector, so that no store reaches another slice's.
                unsafe {
                    let from = p.b.at(k0, 0);
                    self.pack(
                        kernels.pack,
                        k1 - k0,
                        pieces,
                        from,
                        (p.b.row, p.b.col),
                        to.get(),
                    );
                    // What a tile unit reads beyond the end of `k`.
                    let done = (k1 - k0).div_ceil(kernels.pair);
                    for piece in pieces.iter().filter(|_| done < s1 - s0) {
                        let at = to.get().add((piece.to + done * width) * kernels.sum);
                        at.write_bytes(0, (s1 - s0 - done) * width * kernels.sum);
                    }
                }
            }
        };
        let tasks = panels.div_ceil(GROUP) * slices.parts;
        match threads == 1 || panels * width * length < 32 << 10 {
            true => task(0..tasks),
            false => parallel_for(tasks, 1, task),
        }
    }

    unsafe fn pack(
        &self,
        pack: super::kernel::PackFn,
        k: usize,
        pieces: &[Piece],
        from: *const u8,
        strides: (usize, usize),
        to: *mut u8,
    ) {
        // SAFETY: handed on.
        unsafe {
            match self.kernels.half {
                Some(half) if self.kernels.widened => {
                    half::pack(half, pack, k, pieces, from, strides, to);
                }
                _ => pack(k, pieces, from, strides, to),
            }
        }
    }

    /// What the number of steps is a multiple of.
    fn pad(&self) -> usize {
        self.unit.map_or(1, |u| u.pairs)
    }

    /// The elements along `k` of some steps.
    fn elements(&self, s0: usize, s1: usize) -> (usize, usize) {
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
        let tasks = (work / super::TASK).clamp(1, 4 * threads);
        let most = (work / super::TASK).clamp(1, 16 * threads);
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
        let depth = Cut::new((self.steps.1 - self.steps.0) / pad, DEPTH / pad);
        let part = |d: usize| self.steps.0 + depth.start(d) * pad;
        let (top, bottom) = (self.rows.start(tiles.0), self.rows.start(tiles.1));
        let group = match self.p.has_sums(self.kernels) {
            // One tile's sums need not leave the L1 cache.
            true if self.block == 1 => 4,
            true => (C_BLOCK / ((bottom - top) * self.width)).max(1),
            false => panels.1 - panels.0,
        };
        A_SCRATCH.with_borrow_mut(|scratch| {
            let mut held = None;
            for first in (panels.0..panels.1).step_by(group) {
                let end = panels.1.min(first + group);
                let col = |panel: usize| (self.cols.0 + panel * self.width).min(self.cols.1);
                // SAFETY: rows and columns of the matrices.
                unsafe {
                    with_sums(
                        self.p,
                        self.kernels,
                        top..bottom,
                        col(first)..col(end),
                        |to| {
                            for d in 0..depth.parts {
                                let steps = (part(d), part(d + 1));
                                let a = self.pack_a.then(|| match held {
                                    Some((at, a)) if at == d => a,
                                    _ => self.pack_tiles(tiles, steps, scratch),
                                });
                                held = a.map(|a| (d, a));
                                self.multiply(tiles, (first, end), steps, a, to);
                            }
                        },
                    );
                }
            }
        });
    }

    /// Packs some tiles' rows of `a`.
    unsafe fn pack_tiles(
        &self,
        tiles: (usize, usize),
        steps: (usize, usize),
        scratch: &mut Vec<Line>,
    ) -> *const u8 {
        let (p, length) = (self.p, steps.1 - steps.0);
        let (k0, k1) = self.elements(steps.0, steps.1);
        let top = self.rows.start(tiles.0);
        let most = self.unit.map_or(p.m.div_ceil(self.rows.parts), |u| u.rows);
        let units = (tiles.1 - tiles.0) * most * length + 64;
        let to = room(scratch, units * self.kernels.sum);
        for group in (tiles.0..tiles.1).step_by(GROUP) {
            let mut pieces = [Piece::default(); GROUP];
            let last = tiles.1.min(group + GROUP);
            for t in group..last {
                let (first, end) = (self.rows.start(t), self.rows.start(t + 1));
                pieces[t - group] = match self.unit {
                    Some(unit) => Piece {
                        first,
                        width: end - first,
                        to: (t - tiles.0) * unit.rows * length,
                        stride: length,
                    },
                    None => Piece {
                        first,
                        width: end - first,
                        to: (first - top) * length,
                        stride: end - first,
                    },
                };
            }
            let pack = self.unit.map_or(self.kernels.pack, |u| u.pack_a);
            let (pieces, from) = (&pieces[..last - group], p.a.at(0, k0));
            // SAFETY: rows and columns of `a`; tiles are packed in order, each ending where the
            // next begins, and there is a vector's room after the last.
            unsafe { self.pack(pack, k1 - k0, pieces, from, (p.a.col, p.a.row), to) };
        }
        to
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
