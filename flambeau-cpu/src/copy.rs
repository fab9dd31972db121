//! Copies between layouts: rows, transposes, and whatever else sizes and strides describe.

use crate::alloc::Pod;
use crate::simd::{Level, dispatch, level};
use crate::threads::{SyncPtr, parallel_for};

/// A dimension of a copy: its size, and the distance of its elements in source and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// How many elements.
    pub size: usize,
    /// Elements of the source from one to the next.
    pub from: usize,
    /// Elements of the target from one to the next.
    pub to: usize,
}

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Rows and columns of a tile: it takes whole cache lines of four-byte elements from both sides.
const TILE: usize = 16;
/// Columns of the source that a thread transposes at a time, and rows.
const BAND: usize = 64;
const RUN: usize = 1024;
/// The same where tiles are turned in registers, which is so fast that the order in which memory is
/// walked decides: squares, that few lines and pages are open on either side.
const SQUARE: usize = 256;

/// Copies the elements that `axes` (outermost first) names from `x` to `out`. Where several come to
/// one place, the last in row-major order stays.
///
/// ```
/// use flambeau_cpu::copy::{Axis, copy_strided};
/// let mut out = [0; 6];
/// // The transpose of a matrix of 2 rows.
/// let axes = [Axis { size: 3, from: 1, to: 2 }, Axis { size: 2, from: 3, to: 1 }];
/// copy_strided(&[1, 2, 3, 4, 5, 6], &mut out, &axes);
/// assert_eq!(out, [1, 4, 2, 5, 3, 6]);
/// ```
///
/// # Panics
/// If `x` or `out` is too short for the axes.
pub fn copy_strided<T: Pod>(x: &[T], out: &mut [T], axes: &[Axis]) {
    if axes.iter().any(|a| a.size == 0) {
        return;
    }
    let end = |stride: fn(&Axis) -> usize| {
        axes.iter()
            .try_fold(0usize, |end, a| {
                end.checked_add((a.size - 1).checked_mul(stride(a))?)
            })
            .unwrap_or(usize::MAX)
    };
    assert!(
        end(|a| a.from) < x.len() && end(|a| a.to) < out.len(),
        "strided copy: the axes reach beyond {} or {} elements",
        x.len(),
        out.len()
    );
    let mut sorted: Vec<Axis> = axes.iter().copied().filter(|a| a.size > 1).collect();
    sorted.sort_by_key(|a| std::cmp::Reverse(a.to));
    if overlap(&sorted) {
        return in_order(x, out, axes);
    }
    let axes = merged(&sorted);
    let (x, out) = (Source(x.as_ptr()), SyncPtr(out.as_mut_ptr()));
    // Below, SAFETY rests on this: all offsets that the axes make lie in the slices, and those
    // in `out` differ from one another, so that threads with different elements do not meet.
    let Some((&last, outer)) = axes.split_last() else {
        // SAFETY: one element, at the start of both.
        return unsafe { *out.get() = *x.get() };
    };
    let side = outer
        .iter()
        .rposition(|a| a.from == 1)
        .filter(|_| last.to == 1 && last.from > 1);
    match side {
        Some(side) => transpose(x, out, outer, side, last),
        None => rows(x, out, outer, last),
    }
}

/// A pointer that threads read through.
#[derive(Clone, Copy)]
struct Source<T>(*const T);
// SAFETY: it is only read through, and what it points to is `Pod`.
unsafe impl<T: Pod> Send for Source<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for Source<T> {}

impl<T> Source<T> {
    #[inline(always)]
    fn get(self) -> *const T {
        self.0
    }
}

/// Whether two elements may have one place in the target; `axes` by decreasing stride.
fn overlap(axes: &[Axis]) -> bool {
    let mut reach = 0;
    axes.iter().rev().any(|a| {
        let clash = a.to <= reach;
        reach += a.to * (a.size - 1);
        clash
    })
}

/// Neighbouring axes that are one run in both are joined.
fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::with_capacity(axes.len());
    for &a in axes {
        match out.last_mut() {
            Some(b) if b.from == a.size * a.from && b.to == a.size * a.to => {
                *b = Axis {
                    size: b.size * a.size,
                    ..a
                };
            }
            _ => out.push(a),
        }
    }
    out
}

/// Offsets of element `i` of the row-major order.
fn offsets(axes: &[Axis], i: usize) -> (usize, usize) {
    let (mut rest, mut from, mut to) = (i, 0, 0);
    for a in axes.iter().rev() {
        from += rest % a.size * a.from;
        to += rest % a.size * a.to;
        rest /= a.size;
    }
    (from, to)
}

fn in_order<T: Pod>(x: &[T], out: &mut [T], axes: &[Axis]) {
    for i in 0..axes.iter().map(|a| a.size).product() {
        let (from, to) = offsets(axes, i);
        out[to] = x[from];
    }
}

/// Row by row along the last axis, long rows in pieces.
fn rows<T: Pod>(x: Source<T>, out: SyncPtr<T>, outer: &[Axis], last: Axis) {
    let count: usize = outer.iter().map(|a| a.size).product();
    let pieces = last.size.div_ceil(GRAIN);
    let grain = (GRAIN / last.size).max(1);
    parallel_for(count * pieces, grain, |range| {
        for i in range {
            let (from, to) = offsets(outer, i / pieces);
            let start = i % pieces * GRAIN;
            let n = (last.size - start).min(GRAIN);
            // SAFETY: see `copy_strided`.
            unsafe {
                let x = x.get().add(from + start * last.from);
                let out = out.get().add(to + start * last.to);
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
                        || {
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
    });
}

/// Planes in which one axis is contiguous in the source, the other in the target.
fn transpose<T: Pod>(x: Source<T>, out: SyncPtr<T>, outer: &[Axis], side: usize, last: Axis) {
    let mut batch = outer.to_vec();
    let across = batch.remove(side);
    let count: usize = batch.iter().map(|a| a.size).product();
    let fast = turns_in_registers::<T>();
    let (most, longest) = if fast { (SQUARE, SQUARE) } else { (BAND, RUN) };
    let (bands, runs) = (across.size.div_ceil(most), last.size.div_ceil(longest));
    let work = across.size.min(most) * last.size.min(longest);
    parallel_for(count * bands * runs, (GRAIN / work).max(1), |range| {
        for i in range {
            let (from, to) = offsets(&batch, i / (bands * runs));
            let (band, run) = (i / runs % bands * most, i % runs * longest);
            let height = (across.size - band).min(most);
            let width = (last.size - run).min(longest);
            dispatch(
                #[inline(always)]
                || {
                    for p in (0..width).step_by(TILE) {
                        for q in (0..height).step_by(TILE) {
                            // SAFETY: see `copy_strided`; tiles at the edge are cut.
                            unsafe {
                                let x = x.get().add(from + (run + p) * last.from + band + q);
                                let out = out.get().add(to + (band + q) * across.to + run + p);
                                if p + TILE <= width && q + TILE <= height {
                                    if fast {
                                        turn(x, last.from, out, across.to);
                                    } else {
                                        tile(x, last.from, out, across.to);
                                    }
                                } else {
                                    for k in 0..(height - q).min(TILE) {
                                        for j in 0..(width - p).min(TILE) {
                                            *out.add(k * across.to + j) = *x.add(j * last.from + k);
                                        }
                                    }
                                }
                            }
                        }
                    }
                },
            );
        }
    });
}

/// Whether [`turn`] may be called.
fn turns_in_registers<T>() -> bool {
    cfg!(target_arch = "x86_64") && size_of::<T>() == 4 && level() == Level::Avx512
}

/// [`tile`] of four-byte elements, in registers.
///
/// # Safety
/// As there; [`turns_in_registers`] holds.
#[inline(always)]
unsafe fn turn<T: Pod>(x: *const T, from: usize, out: *mut T, to: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise; elements of four bytes are moved whatever they mean.
    unsafe {
        x86::turn(x.cast(), from, out.cast(), to);
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        tile(x, from, out, to);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// # Safety
    /// 16 rows of 16 elements `from` apart lie at `x`, and are free `to` apart at `out`; the CPU has
    /// the enabled feature.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn turn(x: *const i32, from: usize, out: *mut i32, to: usize) {
        // SAFETY: the caller's promise; no alignment is needed.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(x.add(i * from).cast());
            }
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
            }
            // quads[4 j + k] holds, in its quarter l, rows 4 j to 4 j + 3 of column 4 l + k.
            let mut quads = pairs;
            for j in (0..16).step_by(4) {
                quads[j] = _mm512_unpacklo_epi64(pairs[j], pairs[j + 2]);
                quads[j + 1] = _mm512_unpackhi_epi64(pairs[j], pairs[j + 2]);
                quads[j + 2] = _mm512_unpacklo_epi64(pairs[j + 1], pairs[j + 3]);
                quads[j + 3] = _mm512_unpackhi_epi64(pairs[j + 1], pairs[j + 3]);
            }
            for k in 0..4 {
                let (a, b, c, d) = (quads[k], quads[4 + k], quads[8 + k], quads[12 + k]);
                let (even, odd) = (
                    (
                        _mm512_shuffle_i32x4::<0x88>(a, b),
                        _mm512_shuffle_i32x4::<0x88>(c, d),
                    ),
                    (
                        _mm512_shuffle_i32x4::<0xdd>(a, b),
                        _mm512_shuffle_i32x4::<0xdd>(c, d),
                    ),
                );
                let columns = [
                    _mm512_shuffle_i32x4::<0x88>(even.0, even.1),
                    _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1),
                    _mm512_shuffle_i32x4::<0xdd>(even.0, even.1),
                    _mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1),
                ];
                for (l, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_si512(out.add((4 * l + k) * to).cast(), column);
                }
            }
        }
    }
}

/// A whole tile, through a copy of it: rows a power of two apart would otherwise push each other
/// out of the first cache before they are used up.
///
/// # Safety
/// `TILE` rows of `TILE` elements `from` apart lie at `x`, and are free `to` apart at `out`.
#[inline(always)]
unsafe fn tile<T: Pod>(x: *const T, from: usize, out: *mut T, to: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [*x.cast::<[T; TILE]>(); TILE];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = *x.add(j * from).cast::<[T; TILE]>();
        }
        for k in 0..TILE {
            let mut column = rows[0];
            for j in 0..TILE {
                column[j] = rows[j][k];
            }
            *out.add(k * to).cast::<[T; TILE]>() = column;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(size: usize, from: usize, to: usize) -> Axis {
        Axis { size, from, to }
    }

    fn check(axes: &[Axis]) {
        let end = |f: fn(&Axis) -> usize| axes.iter().map(|a| (a.size - 1) * f(a)).sum::<usize>();
        let x: Vec<i32> = (0..=end(|a| a.from) as i32).collect();
        let n = end(|a| a.to) + 1;
        let (mut out, mut want) = (vec![-1; n], vec![-1; n]);
        copy_strided(&x, &mut out, axes);
        in_order(&x, &mut want, axes);
        assert!(out == want, "{axes:?}");
    }

    #[test]
    fn any_strides_are_followed() {
        check(&[]);
        check(&[axis(100_000, 1, 1)]);
        check(&[axis(5, 0, 3), axis(3, 1, 1)]);
        check(&[axis(5, 1, 3), axis(3, 0, 1)]);
        check(&[axis(70, 3, 2), axis(1, 9, 9)]);
        check(&[axis(70, 500, 201), axis(200, 2, 1)]);
        for (rows, columns) in [(16, 16), (300, 70), (17, 1030), (3, 50_000), (50_000, 3)] {
            check(&[axis(columns, 1, rows), axis(rows, columns, 1)]);
            // With gaps on both sides, and planes around and between.
            check(&[axis(columns, 1, rows + 5), axis(rows, columns + 3, 1)]);
        }
        let (n, c, h) = (3, 37, 50);
        check(&[axis(n, c * h, c * h), axis(h, 1, c), axis(c, h, 1)]);
        check(&[axis(h, 1, c * n), axis(n, c * h, c), axis(c, h, 1)]);
        // The target's axes out of order.
        check(&[axis(c, h, 1), axis(h, 1, c)]);
        check(&[axis(4, 25, 1), axis(25, 1, 4)]);
        // The last of several stays.
        check(&[axis(4, 6, 2), axis(6, 1, 1)]);
        copy_strided::<i32>(&[], &mut [], &[axis(0, 1, 1)]);
    }

    #[test]
    #[should_panic(expected = "reach beyond")]
    fn too_short_a_slice_is_refused() {
        copy_strided(&[1, 2, 3], &mut [0; 4], &[axis(4, 1, 1)]);
    }
}
