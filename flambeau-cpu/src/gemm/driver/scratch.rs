//! Memory beside the matrices: for packed operands, and for sums of half types.

use super::Problem;
use crate::gemm::kernel::{Kernels, Mat};
use std::cell::RefCell;
use std::ops::Range;

/// Memory for packed operands and sums, kept by each thread.
type Scratch = RefCell<Vec<Line>>;

#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code)] // what it holds is read through pointers only
pub(super) struct Line([u8; 64]);

thread_local! {
    pub(super) static A_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
    pub(super) static B_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
    pub(super) static C_SCRATCH: Scratch = const { RefCell::new(Vec::new()) };
}

/// Room for `bytes` in a thread's scratch.
pub(super) fn room(scratch: &mut Vec<Line>, bytes: usize) -> *mut u8 {
    let lines = bytes.div_ceil(size_of::<Line>());
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 64]));
    }
    scratch.as_mut_ptr().cast()
}

/// Where the sums of a part of `c` go: `c = .. + beta * d`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub c: Mat,
    pub d: Mat,
    pub beta: f64,
    /// Both are of the half type.
    pub half: bool,
}

/// Calls `f` with the place for the sums of a part of `c`: that part itself or, for half types,
/// memory beside it, rounded into `c` at the end.
pub(super) unsafe fn with_sums(
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
        let half = false;
        return f(Target { c, d, beta, half });
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
                half: false,
            });
            for i in 0..rows.len() {
                let sums = std::slice::from_raw_parts(at.add(i * width), width);
                let c = std::slice::from_raw_parts_mut(c.at(i, 0).cast::<u16>(), width);
                (half.narrow)(sums, c);
            }
        }
    });
}

/// Copies the elements, of `size` bytes, of one `m` x `n` matrix into another.
pub(super) unsafe fn copy(m: usize, n: usize, size: usize, from: Mat, to: Mat) {
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
