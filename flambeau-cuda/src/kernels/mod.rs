//! Launches of our kernels. Each function describes one computation over tensors by its launches,
//! in order; none where there is nothing to compute.

mod check;
mod elementwise;
mod fused;
mod index;
mod norm;
mod pool;
mod product;
mod random;
mod reduce;
mod softmax;

pub use check::check;
pub(crate) use elementwise::STRIDED;
pub use elementwise::{Expr, Input, Params, TooManyDims, elementwise, elementwise_of};
pub use fused::{Arrays, NUMBERS, Update, list_norm, list_unscale};
pub use index::{Along, Indexed, Scan, compact, flatten_index, scan, sort};
pub use norm::{ChannelNorm, RowNorm};
pub use pool::Pool;
pub use product::{Conv, Matrix, matmul};
pub use random::{Philox, Random, Threads, dropout};
pub use reduce::{Reduce, reduce};
pub use softmax::{ClassLoss, softmax, softmax_backward};

use crate::{Launch, Ptr, Type, Unit};
use smallvec::SmallVec;

/// Launches to be run one after another.
pub type Launches = SmallVec<[Launch; 2]>;

/// Gives so many bytes of memory for the launches to work in, of no meaning; it may be given to
/// others once they have run.
pub type Memory<'a> = &'a mut dyn FnMut(usize) -> Ptr;

/// Lanes of a warp.
const WARP: usize = 32;

/// Threads of a block where nothing asks for another number: enough warps to hide latency, few
/// enough that several blocks share a multiprocessor.
const BLOCK: u32 = 256;

/// Blocks of [`BLOCK`] threads for `n` threads, as many as a grid takes; what is beyond, threads
/// reach by walking with the grid's stride.
fn blocks(n: usize) -> u32 {
    n.div_ceil(BLOCK as usize).clamp(1, i32::MAX as usize) as u32
}

/// A launch of `blocks` blocks of [`BLOCK`] threads, as yet without arguments.
fn flat(unit: Unit, entry: &'static str, blocks: u32) -> Launch {
    Launch {
        unit,
        entry,
        grid: [blocks, 1, 1],
        block: [BLOCK, 1, 1],
        shared: 0,
        args: crate::Args::new(),
    }
}

/// Threads of a block that walks over a row of `n` elements, 16 bytes at a time: whole warps, few for
/// a short row.
fn row_threads(n: usize, ty: Type) -> u32 {
    let vectors = n.div_ceil(16 / ty.size());
    vectors
        .next_multiple_of(WARP)
        .clamp(WARP, 4 * BLOCK as usize) as u32
}

/// Threads of a block for a row of `n`, and whether they hold all of it in registers (`Held` of
/// `common.cuh`).
fn held_threads(n: usize, ty: Type) -> (u32, bool) {
    const MOST: usize = 4 * BLOCK as usize;
    let each = if ty.size() == 8 { 8 } else { 16 };
    let threads = n.div_ceil(each).next_multiple_of(WARP).clamp(WARP, MOST);
    (threads as u32, n <= threads * each)
}

/// Into how many parts of which length `n` elements are cut: of `piece` elements, longer where there
/// would be more than `most`. At least one.
fn part_count(n: usize, piece: usize, most: usize) -> (usize, usize) {
    let piece = piece.max(n.div_ceil(most.max(1)));
    (n.div_ceil(piece).max(1), piece)
}
