//! Launches of our kernels. Each function describes one computation over tensors by its launches,
//! in order; none where there is nothing to compute.

mod elementwise;

pub use elementwise::{Expr, Params, elementwise};

use crate::{Launch, Unit};

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
