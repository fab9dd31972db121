//! From a problem to the kernels: which way round and by which path (`choose`), and the paths, by
//! vectors along `k` or one pass over `b` (`direct`), or by tiles (`tiles`), for which operands are
//! packed (`pack`). Batches of small problems (`small`) are chosen for once.

mod choose;
mod direct;
mod pack;
mod scratch;
mod small;
mod tiles;

use super::kernel::{Kernels, Mat};
pub(super) use choose::Path;
use choose::{choose, orient};
use direct::{dots, rows};
use scratch::{Line, copy, room, with_sums};
pub(super) use small::Small;
use tiles::{MOST, tiles};

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
