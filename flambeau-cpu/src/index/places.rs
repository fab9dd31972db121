//! Positions of some dimensions, the same for all of the others.

use super::{Accumulate, GRAIN};
use crate::alloc::Pod;
use crate::copy::clashes;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for};

/// Elements that lie in a row are shared out among threads from this many on.
const SHARED: usize = 32;

/// Places in a tensor: sums of an offset of the dimensions before the index, a position, and an
/// offset of the dimensions behind it; `block` elements in a row at each.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Sizes and strides of the dimensions before the index.
    pub before: &'a [(usize, usize)],
    /// Positions, none negative.
    pub index: &'a [i64],
    /// Elements from one position to the next.
    pub scale: usize,
    /// Sizes and strides of the dimensions behind the index, but for what makes up the block.
    pub after: &'a [(usize, usize)],
    /// Elements in a row.
    pub block: usize,
}

/// The offsets of all combinations of indices of dimensions (size, stride), in row-major order.
fn offsets(dims: &[(usize, usize)]) -> Vec<usize> {
    let mut out = vec![0];
    for &(size, stride) in dims {
        out = out
            .iter()
            .flat_map(|&at| (0..size).map(move |i| at + i * stride))
            .collect();
    }
    out
}

/// Copies a few or many elements; few without a call.
#[inline(always)]
fn copy<T: Pod>(x: &[T], out: &mut [T]) {
    if x.len() > 16 {
        return out.copy_from_slice(x);
    }
    for (o, &v) in out.iter_mut().zip(x) {
        *o = v;
    }
}

/// The elements of `x` at the places, in the order of offsets before, positions, offsets behind.
///
/// ```
/// use flambeau_cpu::index::{Places, pick};
/// let rows = Places { before: &[], index: &[2, 0], scale: 2, after: &[], block: 2 };
/// let mut out = [0; 4];
/// pick(&[1, 2, 3, 4, 5, 6], rows, &mut out);
/// assert_eq!(out, [5, 6, 1, 2]);
/// ```
///
/// # Panics
/// If a place lies outside of `x`, or `out` does not have a room for each.
pub fn pick<T: Pod>(x: &[T], places: Places<'_>, out: &mut [T]) {
    let Places {
        index,
        scale,
        block,
        ..
    } = places;
    let (before, after) = (offsets(places.before), offsets(places.after));
    let row = after.len() * block;
    assert_eq!(out.len(), before.len() * index.len() * row, "places");
    if out.is_empty() {
        return;
    }
    let out = SyncPtr(out.as_mut_ptr());
    let rows = before.len() * index.len();
    parallel_for(rows, (GRAIN / row).max(1), |range| {
        // SAFETY: each row is handed out once, and there are as many as `out` has room for.
        let mut out = unsafe {
            std::slice::from_raw_parts_mut(out.get().add(range.start * row), range.len() * row)
        };
        let mut at = range.start;
        while at < range.end {
            let (b, k) = (at / index.len(), at % index.len());
            let count = (index.len() - k).min(range.end - at);
            let (piece, rest) = std::mem::take(&mut out).split_at_mut(count * row);
            (out, at) = (rest, at + count);
            let (x, index) = (&x[before[b]..], &index[k..k + count]);
            if row == 1 {
                pick_elements(x, index, scale, piece);
            } else if let [offset] = after[..] {
                for (o, &i) in piece.chunks_exact_mut(block).zip(index) {
                    copy(&x[i as usize * scale + offset..][..block], o);
                }
            } else {
                for (o, &i) in piece.chunks_exact_mut(row).zip(index) {
                    let x = &x[i as usize * scale..];
                    for (o, &offset) in o.chunks_exact_mut(block).zip(&after) {
                        copy(&x[offset..][..block], o);
                    }
                }
            }
        }
    });
}

// Functions of their own, that the slices are known to lie apart.
#[inline(never)]
fn pick_elements<T: Pod>(x: &[T], index: &[i64], scale: usize, out: &mut [T]) {
    if scale == 1 {
        return (out.iter_mut().zip(index)).for_each(|(o, &i)| *o = x[i as usize]);
    }
    (out.iter_mut().zip(index)).for_each(|(o, &i)| *o = x[i as usize * scale]);
}

/// # Safety
/// All places lie at `out` and are no other thread's.
#[inline(never)]
unsafe fn write_elements<T: Pod>(
    out: *mut T,
    index: &[i64],
    scale: usize,
    values: &[T],
    with: impl Fn(T, T) -> T,
) {
    for (&i, &v) in index.iter().zip(values) {
        // SAFETY: the caller's promise.
        unsafe {
            let o = out.add(i as usize * scale);
            *o = with(*o, v);
        }
    }
}

/// Puts `values` at the places, in whose order they are.
///
/// # Panics
/// As [`pick`].
pub fn put<T: Pod>(out: &mut [T], places: Places<'_>, values: &[T]) {
    write(out, places, values, |_, v| v);
}

/// Adds `values` at the places, in whose order they are.
///
/// # Panics
/// As [`pick`].
pub fn put_add<T: Accumulate>(out: &mut [T], places: Places<'_>, values: &[T]) {
    write(out, places, values, T::plus);
}

#[inline(always)]
fn write<T: Pod>(
    out: &mut [T],
    places: Places<'_>,
    values: &[T],
    with: impl Fn(T, T) -> T + Copy + Sync,
) {
    let Places {
        index,
        scale,
        block,
        ..
    } = places;
    let (before, after) = (offsets(places.before), offsets(places.after));
    let row = after.len() * block;
    assert_eq!(values.len(), before.len() * index.len() * row, "places");
    let Some(&most) = index.iter().max().filter(|_| !values.is_empty()) else {
        return;
    };
    let least = index.iter().min().copied().unwrap_or(0);
    let reach = |offsets: &[usize]| offsets.iter().max().copied().unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let end = (most.checked_mul(scale)).and_then(|at| {
        at.checked_add(reach(&before))?
            .checked_add(reach(&after) + block)
    });
    assert!(
        least >= 0 && end.is_some_and(|end| end <= out.len()),
        "positions {least} to {most} reach out of {} elements",
        out.len()
    );
    // Threads share the offsets before the index, or the columns of blocks: their elements are
    // different ones, unless dimensions overlap.
    let mut dims: Vec<(usize, usize)> = [places.before, places.after].concat();
    dims.extend([(most + 1, scale), (block, 1)]);
    let apart = values.len() > GRAIN && !clashes(&dims);
    let width = match apart && before.len() == 1 && block >= 2 * SHARED {
        true => (block / 4).next_multiple_of(SHARED),
        false => block,
    };
    let parts = block.div_ceil(width);
    let each = match apart {
        true => (GRAIN / (index.len() * after.len() * width)).max(1),
        false => usize::MAX,
    };
    let out = SyncPtr(out.as_mut_ptr());
    parallel_for(before.len() * parts, each, |range| {
        for i in range {
            let (b, from) = (i / parts, i % parts * width);
            let to = (from + width).min(block);
            let values = &values[b * index.len() * row..][..index.len() * row];
            // SAFETY: the farthest place was found to be in `out`. Elements that several threads may
            // meet were ruled out above, or there is one thread.
            let at = |position: i64, offset: usize| unsafe {
                out.get()
                    .add(before[b] + position as usize * scale + offset)
            };
            if row == 1 {
                // SAFETY: as above.
                unsafe { write_elements(out.get().add(before[b]), index, scale, values, with) };
                continue;
            }
            dispatch(
                #[inline(always)]
                || {
                    for (&i, values) in index.iter().zip(values.chunks_exact(row)) {
                        for (values, &offset) in values.chunks_exact(block).zip(&after) {
                            // SAFETY: as above; no other reference to these elements is alive.
                            let o = unsafe {
                                std::slice::from_raw_parts_mut(at(i, offset + from), to - from)
                            };
                            for (o, &v) in o.iter_mut().zip(&values[from..to]) {
                                *o = with(*o, v);
                            }
                        }
                    }
                },
            );
        }
    });
}
