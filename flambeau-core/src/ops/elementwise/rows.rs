//! Operations on the rows of a tensor where they lie.

use super::{CHUNK, GRAIN, ROW, UNIT};
use crate::dtype::Stored;
use crate::tensor::Tensor;
use crate::{DType, Scalar, with_stored};
use flambeau_cpu::copy::{join_rows, part_rows};
use flambeau_cpu::threads::parallel_slices_mut;
use smallvec::{SmallVec, smallvec};

/// Runs `f(first, elements)` over the rows of `target`, in any order and on several threads, long ones
/// in pieces, some short ones as one that is copied there and back. `first` is the number of the first
/// of the elements in the order of memory.
/// False, with nothing done, where elements do not lie in rows, or a thread is using the memory.
pub(crate) fn in_place_rows<S: Stored>(
    target: &Tensor,
    f: impl Fn(usize, &mut [S]) + Sync,
) -> bool {
    rows_of(target).is_some_and(|rows| in_rows(target, &rows, f))
}

/// The same for rows that are known.
fn in_rows<S: Stored>(target: &Tensor, rows: &Rows, f: impl Fn(usize, &mut [S]) + Sync) -> bool {
    // Never waited for: operands are locked already.
    let Some(mut guard) = target.0.storage.try_write(target.0.offset) else {
        return false;
    };
    let span = rows
        .iter()
        .map(|(n, stride)| (n - 1) * stride)
        .sum::<usize>()
        + 1;
    each_row(&mut guard.slice::<S>()[..span], rows, &f);
    true
}

/// Size and stride of dimensions, outermost first.
type Rows = SmallVec<[(usize, usize); 6]>;

/// The dimensions of `target`, the innermost of which is a row; nothing where elements do not lie in
/// rows.
fn rows_of(target: &Tensor) -> Option<Rows> {
    if target.is_empty() {
        return None;
    }
    if target.is_contiguous() {
        return Some(smallvec![(target.numel(), 1)]);
    }
    let mut dims: Rows = (target.shape().iter().copied())
        .zip(target.strides().iter().copied())
        .filter(|d| d.0 != 1)
        .collect();
    dims.sort_unstable_by_key(|d| std::cmp::Reverse(d.1));
    let mut rows = Rows::new();
    for (size, stride) in dims {
        match rows.last_mut() {
            Some(outer) if outer.1 == size * stride => *outer = (outer.0 * size, stride),
            _ => rows.push((size, stride)),
        }
    }
    if rows.is_empty() {
        rows.push((1, 1));
    }
    let apart = |w: &[(usize, usize)]| w[0].1 >= w[1].0 * w[1].1;
    (rows.last()?.1 == 1 && rows.windows(2).all(apart)).then_some(rows)
}

/// What is called with the number of the first element, and elements.
type Each<'a, S> = &'a (dyn Fn(usize, &mut [S]) + Sync);

/// Calls `f` for the rows of `out` that lie as [`rows_of`] says.
fn each_row<S: Stored>(out: &mut [S], rows: &[(usize, usize)], f: Each<'_, S>) {
    let [(_, stride), inner @ ..] = rows else {
        return;
    };
    if inner.is_empty() {
        return parallel_slices_mut(out, UNIT, GRAIN, f);
    }
    let each = inner.iter().map(|d| d.0).product::<usize>();
    let some = (GRAIN / each).max(1);
    parallel_slices_mut(out, *stride, stride * some, |start, part| {
        let mut dims = Rows::from_slice(rows);
        dims[0].0 = part.len().div_ceil(*stride);
        walk(start / stride * each, part, &dims, f);
    });
}

/// [`each_row`] on one thread, the first element being number `first`.
fn walk<S: Stored>(first: usize, out: &mut [S], dims: &[(usize, usize)], f: Each<'_, S>) {
    match *dims {
        [(size, _)] => f(first, &mut out[..size]),
        [(size, stride), (width, _)] if width < ROW => {
            let mut near = [S::default(); CHUNK];
            let some = near.len() / width;
            let parts = out.chunks_mut(some * stride).take(size.div_ceil(some));
            for (i, out) in parts.enumerate() {
                let near = &mut near[..some.min(size - i * some) * width];
                join_rows(out, stride, width, near);
                f(first + i * some * width, near);
                part_rows(near, width, out, stride);
            }
        }
        [(size, stride), ref inner @ ..] => {
            let each = inner.iter().map(|d| d.0).product::<usize>();
            for (i, part) in out.chunks_mut(stride).take(size).enumerate() {
                walk(first + i * each, part, inner, f);
            }
        }
        [] => {}
    }
}

/// Every element of `target` as `value`, without history. False, with nothing done, where a thread
/// is using the memory or it does not lie in rows.
pub(crate) fn fill_in_place(target: &Tensor, value: Scalar) -> bool {
    if target.on_cuda() {
        return false;
    }
    // Shorter rows are not worth a call each, and an element costs less to repeat than to copy.
    let Some(rows) =
        rows_of(target).filter(|rows| rows.len() == 1 || rows[rows.len() - 1].0 >= ROW / 4)
    else {
        return false;
    };
    with_stored!(target.dtype(), S => {
        let value = match (target.dtype(), value) {
            (DType::Bool, v) => S::from_i32((v.to_f64() != 0.0) as i32),
            (_, Scalar::Float(v)) => S::from_f64(v),
            (_, v) => S::from_i64(v.to_i64()),
        };
        in_rows(target, &rows, |_, out: &mut [S]| {
            flambeau_cpu::simd::dispatch(
                #[inline(always)]
                || out.fill(value),
            );
        })
    })
}
