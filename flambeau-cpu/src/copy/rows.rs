//! Row by row along the last axis.

use super::{Axis, GRAIN, Source, offsets};
use crate::alloc::Pod;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for};

/// Bytes from which on a row is worth the call of `memcpy`, which for some thousand of them is slower
/// than a loop over registers on CPUs whose microcode copies strings.
pub(super) const LONG: usize = 1 << 16;

/// So many repetitions of an element are not worth a call.
const FEW: usize = 8;

/// Copies rows along `last`, long ones in pieces.
///
/// # Safety
/// As [`run`](super::run).
pub(super) unsafe fn rows<T: Pod>(x: Source<T>, out: &SyncPtr<T>, outer: &[Axis], last: Axis) {
    let count: usize = outer.iter().map(|a| a.size).product();
    if last.size > GRAIN {
        let pieces = last.size.div_ceil(GRAIN);
        return parallel_for(count * pieces, 1, |range| {
            for i in range {
                let (from, to) = offsets(outer, i / pieces);
                let start = i % pieces * GRAIN;
                let n = (last.size - start).min(GRAIN);
                // SAFETY: the caller's promise.
                unsafe {
                    let x = x.get().add(from + start * last.from);
                    row(
                        x,
                        out.get().add(to + start * last.to),
                        Axis { size: n, ..last },
                    );
                }
            }
        });
    }
    // Rows side by side along the innermost of the outer axes need no division for each.
    let one = Axis {
        size: 1,
        from: 0,
        to: 0,
    };
    let (&next, outer) = outer.split_last().unwrap_or((&one, &[]));
    parallel_for(count, (GRAIN / last.size).max(1), |range| {
        let mut i = range.start;
        while i < range.end {
            let (from, to) = offsets(outer, i / next.size);
            let k = i % next.size;
            let n = (next.size - k).min(range.end - i);
            // SAFETY: the caller's promise.
            unsafe {
                let x = x.get().add(from + k * next.from);
                some(
                    x,
                    out.get().add(to + k * next.to),
                    Axis { size: n, ..next },
                    last,
                );
            }
            i += n;
        }
    });
}

/// The rows along `last` that lie side by side along `next`.
///
/// # Safety
/// The elements are there in both.
#[inline(always)]
unsafe fn some<T: Pod>(x: *const T, out: *mut T, next: Axis, last: Axis) {
    let bytes = last.size * size_of::<T>();
    if (last.from, last.to) == (1, 1) && bytes < LONG {
        // Numbers of its own, which writing does not change.
        return dispatch(
            #[inline(always)]
            move || {
                for k in 0..next.size {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let (x, out) = (x.add(k * next.from), out.add(k * next.to));
                        short(x.cast(), out.cast(), bytes);
                    }
                }
            },
        );
    }
    if (last.from, last.to) == (0, 1) && last.size <= FEW {
        return dispatch(
            #[inline(always)]
            move || {
                for k in 0..next.size {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let (v, out) = (*x.add(k * next.from), out.add(k * next.to));
                        for j in 0..last.size {
                            *out.add(j) = v;
                        }
                    }
                }
            },
        );
    }
    for k in 0..next.size {
        // SAFETY: the caller's promise.
        unsafe { row(x.add(k * next.from), out.add(k * next.to), last) };
    }
}

/// The rows of `width` elements of `x` that start `stride` apart, one behind the other in `out`.
///
/// ```
/// let mut out = [0; 4];
/// flambeau_cpu::copy::join_rows(&[1, 2, 3, 4, 5], 3, 2, &mut out);
/// assert_eq!(out, [1, 2, 4, 5]);
/// ```
///
/// # Panics
/// If `x` is too short, or `out` is not a whole number of rows.
pub fn join_rows<T: Pod>(x: &[T], stride: usize, width: usize, out: &mut [T]) {
    let n = side_by_side(out.len(), width, stride, x.len());
    let [next, last] = [(n, stride, width), (width, 1, 1)];
    let axis = |(size, from, to)| Axis { size, from, to };
    // SAFETY: all rows are there.
    unsafe { some(x.as_ptr(), out.as_mut_ptr(), axis(next), axis(last)) }
}

/// The reverse of [`join_rows`]: rows that lie one behind the other in `x`, to where they start
/// `stride` apart. What lies between them is left alone.
///
/// # Panics
/// If `out` is too short, or `x` is not a whole number of rows.
pub fn part_rows<T: Pod>(x: &[T], width: usize, out: &mut [T], stride: usize) {
    let n = side_by_side(x.len(), width, stride, out.len());
    let [next, last] = [(n, width, stride), (width, 1, 1)];
    let axis = |(size, from, to)| Axis { size, from, to };
    // SAFETY: all rows are there.
    unsafe { some(x.as_ptr(), out.as_mut_ptr(), axis(next), axis(last)) }
}

/// How many rows of `width` are `len` elements; they reach no farther than `end`, `stride` apart.
fn side_by_side(len: usize, width: usize, stride: usize, end: usize) -> usize {
    let n = len / width.max(1);
    let reach = (n.checked_sub(1)).map_or(Some(0), |n| n.checked_mul(stride)?.checked_add(width));
    assert!(
        n * width == len && reach.is_some_and(|reach| reach <= end),
        "{len} elements as rows of {width}, {stride} apart in {end}"
    );
    n
}

/// One row.
///
/// # Safety
/// The elements are there in both.
#[inline(always)]
unsafe fn row<T: Pod>(x: *const T, out: *mut T, last: Axis) {
    let n = last.size;
    // SAFETY: the caller's promise.
    unsafe {
        match (last.from, last.to) {
            (1, 1) => std::ptr::copy_nonoverlapping(x, out, n),
            (0, 1) => {
                let (out, x) = (std::slice::from_raw_parts_mut(out, n), *x);
                dispatch(
                    #[inline(always)]
                    || out.fill(x),
                );
            }
            // A stride that the compiler knows is shuffled in registers.
            (2, 1) => dispatch(
                #[inline(always)]
                move || {
                    for k in 0..n {
                        *out.add(k) = *x.add(2 * k);
                    }
                },
            ),
            (from, to) => {
                for k in 0..n {
                    *out.add(k * to) = *x.add(k * from);
                }
            }
        }
    }
}

/// Copies `n` bytes without a call; the last register's worth may be written twice.
///
/// # Safety
/// They are there in both, which do not overlap.
#[inline(always)]
pub(super) unsafe fn short(x: *const u8, out: *mut u8, n: usize) {
    /// # Safety
    /// `W <= n`, and as above.
    #[inline(always)]
    unsafe fn by<const W: usize>(x: *const u8, out: *mut u8, n: usize) {
        // SAFETY: the caller's promise; arrays of bytes have no alignment.
        unsafe {
            let mut at = 0;
            while at + W <= n {
                *out.add(at).cast::<[u8; W]>() = *x.add(at).cast::<[u8; W]>();
                at += W;
            }
            if at < n {
                *out.add(n - W).cast::<[u8; W]>() = *x.add(n - W).cast::<[u8; W]>();
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        match n {
            // Where rows are not aligned, wide registers lie across two cache lines each.
            512.. => by::<64>(x, out, n),
            32.. => by::<32>(x, out, n),
            16.. => by::<16>(x, out, n),
            8.. => by::<8>(x, out, n),
            4.. => by::<4>(x, out, n),
            _ => by::<1>(x, out, n),
        }
    }
}
