//! Folding the elements along dimensions with an associative function.

use crate::dtype::Stored;
use crate::ops::elementwise::Lane;
use crate::shape::{Shape, numel};
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::fold::{BLOCK, Fold};
use flambeau_cpu::reduce as kernels;
use flambeau_cpu::threads::parallel_chunks_mut;

/// The sums of the rows of `n` elements of the contiguous `x`, added up in f32 as they are read.
pub(super) fn sum_bf16_rows(
    op: &'static str,
    x: &Tensor,
    n: usize,
    shape: &[usize],
) -> Result<Tensor> {
    let read = x.read();
    let src = &read.slice::<half::bf16>()[..x.numel()];
    let pieces = n.div_ceil(BLOCK).max(1);
    Tensor::build::<f32>(op, shape, DType::F32, |out| {
        let mut parts = vec![0.0; out.len() * pieces];
        let per_chunk = (BLOCK / n.max(1)).max(1);
        parallel_chunks_mut(&mut parts, per_chunk, |i, parts| {
            for (k, part) in parts.iter_mut().enumerate() {
                let (row, piece) = ((i * per_chunk + k) / pieces, (i * per_chunk + k) % pieces);
                let x = &src[row * n..(row + 1) * n];
                *part = kernels::sum_bf16(&x[piece * BLOCK..n.min((piece + 1) * BLOCK)]);
            }
        });
        kernels::sum_rows_f32(&parts, pieces, out);
    })
}

/// Folds rows of `n` elements of the contiguous `x`, converted a chunk at a time.
pub(super) fn converted_rows<T: Lane>(fold: &Fold<T>, x: &Tensor, n: usize, out: &mut [T]) {
    const CHUNK: usize = 4096;
    with_stored!(x.dtype(), S => {
        let read = x.read();
        let src = &read.slice::<S>()[..x.numel()];
        let pieces = n.div_ceil(BLOCK).max(1);
        let mut parts = vec![T::default(); out.len() * pieces];
        let per_chunk = (BLOCK / n.max(1)).max(1);
        parallel_chunks_mut(&mut parts, per_chunk, |i, parts| {
            let mut buffer = [T::default(); CHUNK];
            for (k, part) in parts.iter_mut().enumerate() {
                let (row, piece) = ((i * per_chunk + k) / pieces, (i * per_chunk + k) % pieces);
                let x = &src[row * n..(row + 1) * n];
                let x = &x[piece * BLOCK..n.min((piece + 1) * BLOCK)];
                let mut chunks = [fold.identity; BLOCK / CHUNK];
                for (x, result) in x.chunks(CHUNK).zip(chunks.chunks_exact_mut(1)) {
                    let buffer = &mut buffer[..x.len()];
                    T::load_slice(x, buffer);
                    (fold.rows)(buffer, x.len(), result);
                }
                (fold.rows)(&chunks, chunks.len(), std::slice::from_mut(part));
            }
        });
        (fold.rows)(&parts, pieces, out);
    });
}

/// Folds dimensions `dims` of the contiguous `x` of stored type `T`; they become size 1.
pub(super) fn dims<T: Stored>(
    fold: &Fold<T>,
    op: &'static str,
    x: &Tensor,
    dims: &[usize],
    dtype: DType,
) -> Result<Tensor> {
    let mut shape = Shape::from_slice(x.shape());
    if shape.contains(&0) {
        dims.iter().for_each(|&d| shape[d] = 1);
        return Tensor::build::<T>(op, &shape, dtype, |out| out.fill(fold.identity));
    }
    let mut x = x.clone();
    let mut end = shape.len();
    // Runs of neighbouring dimensions, the last one first; size 1 belongs to any run.
    while end > 0 {
        let gone = |d: usize| dims.contains(&d) || shape[d] == 1;
        let last = end - 1;
        end = last;
        if !gone(last) {
            continue;
        }
        while end > 0 && gone(end - 1) {
            end -= 1;
        }
        let n = numel(&shape[end..=last]);
        if n == 1 {
            continue;
        }
        let inner = numel(&shape[last + 1..]);
        shape[end..=last].fill(1);
        x = {
            let read = x.read();
            let src = &read.slice::<T>()[..x.numel()];
            Tensor::build::<T>(op, &shape, dtype, |out| fold.run(src, n, inner, out))?
        };
    }
    Ok(x)
}
