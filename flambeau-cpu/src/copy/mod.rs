//! Copies between layouts: rows, transposes, and whatever else sizes and strides describe.

mod interleave;
mod rearrange;
mod rows;
mod transpose;

pub use interleave::interleave;
pub use rearrange::{Rearrangement, Run};
pub use rows::{join_rows, part_rows};

use crate::alloc::Pod;
use crate::threads::SyncPtr;

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

/// Every `stride`-th element of `x`, from the first on, into `out`.
///
/// # Panics
/// If `x` is too short.
pub fn every<T: Pod>(x: &[T], stride: usize, out: &mut [T]) {
    let Some((last, rest)) = out.split_last_mut() else {
        return;
    };
    *last = x[rest.len() * stride];
    if stride == 2 {
        // A stride that the compiler knows is shuffled in registers.
        let (pairs, _) = x.as_chunks::<2>();
        return crate::simd::dispatch(
            #[inline(always)]
            || {
                rest.iter_mut()
                    .zip(pairs)
                    .for_each(|(o, pair)| *o = pair[0])
            },
        );
    }
    rest.iter_mut()
        .zip(x.iter().step_by(stride))
        .for_each(|(o, &v)| *o = v);
}

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
    let ends = ends(axes);
    assert!(
        ends.0 < x.len() && ends.1 < out.len(),
        "strided copy: the axes reach beyond {} or {} elements",
        x.len(),
        out.len()
    );
    let sorted = sorted(axes);
    if clashes(&sorted.iter().map(|a| (a.size, a.to)).collect::<Vec<_>>()) {
        return in_order(x, out, axes);
    }
    let axes = merged(&sorted);
    // SAFETY: all offsets that the axes make lie in the slices, and those in `out` differ from one
    // another, so that threads with different elements do not meet.
    unsafe { run(Source(x.as_ptr()), &SyncPtr(out.as_mut_ptr()), &axes) }
}

/// Copies what `axes`, sorted and merged, names.
///
/// # Safety
/// The elements are there in both, and those of the target apart from one another.
unsafe fn run<T: Pod>(x: Source<T>, out: &SyncPtr<T>, axes: &[Axis]) {
    let Some((&last, outer)) = axes.split_last() else {
        // SAFETY: one element, at the start of both.
        return unsafe { *out.get() = *x.get() };
    };
    let side = outer
        .iter()
        .rposition(|a| a.from == 1)
        .filter(|_| last.to == 1 && last.from > 1);
    // SAFETY: the caller's promise.
    unsafe {
        match side {
            Some(side) => transpose::transpose(x, out, outer, side, last),
            None => rows::rows(x, out, outer, last),
        }
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

/// The farthest elements of source and target.
fn ends(axes: &[Axis]) -> (usize, usize) {
    let end = |stride: fn(&Axis) -> usize| {
        axes.iter()
            .try_fold(0usize, |end, a| {
                end.checked_add((a.size - 1).checked_mul(stride(a))?)
            })
            .unwrap_or(usize::MAX)
    };
    (end(|a| a.from), end(|a| a.to))
}

/// The dimensions of more than one element, the largest distance in the target first.
fn sorted(axes: &[Axis]) -> Vec<Axis> {
    let mut sorted: Vec<Axis> = axes.iter().copied().filter(|a| a.size > 1).collect();
    sorted.sort_by_key(|a| std::cmp::Reverse(a.to));
    sorted
}

/// Whether two elements of dimensions (size, stride) may have one place.
pub(crate) fn clashes(dims: &[(usize, usize)]) -> bool {
    let mut dims: Vec<_> = dims.iter().filter(|d| d.0 > 1).collect();
    dims.sort_by_key(|d| d.1);
    let mut reach = 0;
    dims.iter().any(|&&(size, stride)| {
        let clash = stride <= reach;
        reach += stride * (size - 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(size: usize, from: usize, to: usize) -> Axis {
        Axis { size, from, to }
    }

    fn check(axes: &[Axis]) {
        check_type(axes, |i| i);
        check_type(axes, |i| i as i16);
        check_type(axes, |i| i as u8);
        check_type(axes, |i| i as i64);
    }

    fn check_type<T: Pod + PartialEq>(axes: &[Axis], of: fn(i32) -> T) {
        let (x_end, out_end) = ends(axes);
        let x: Vec<T> = (0..=x_end as i32).map(of).collect();
        let n = out_end + 1;
        let (mut out, mut want) = (vec![of(-1); n], vec![of(-1); n]);
        copy_strided(&x, &mut out, axes);
        in_order(&x, &mut want, axes);
        assert!(out == want, "{axes:?}, {} bytes", size_of::<T>());
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
        // Short rows, many of them, and all the lengths around a register's.
        for n in [2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 700] {
            check(&[
                axis(70, 3 * n, n + 1),
                axis(5, 90_000, 71 * (n + 1)),
                axis(n, 1, 1),
            ]);
        }
        // The target's axes out of order.
        check(&[axis(c, h, 1), axis(h, 1, c)]);
        check(&[axis(4, 25, 1), axis(25, 1, 4)]);
        // The last of several stays.
        check(&[axis(4, 6, 2), axis(6, 1, 1)]);
        copy_strided::<i32>(&[], &mut [], &[axis(0, 1, 1)]);
    }

    #[test]
    fn rows_are_joined_and_parted() {
        for (n, width, stride) in [(0, 3, 5), (1, 4, 2), (7, 3, 3), (50, 10, 17), (9, 70, 100)] {
            let end = if n == 0 { 0 } else { (n - 1) * stride + width };
            let x: Vec<i16> = (0..end as i16).collect();
            let mut near = vec![0; n * width];
            join_rows(&x, stride, width, &mut near);
            for (i, &v) in near.iter().enumerate() {
                assert_eq!(v, x[i / width * stride + i % width]);
            }
            let mut out = vec![-1; end];
            part_rows(&near, width, &mut out, stride);
            for (i, (&got, &v)) in out.iter().zip(&x).enumerate() {
                assert_eq!(got, if i % stride < width { v } else { -1 });
            }
        }
    }

    #[test]
    #[should_panic(expected = "as rows of")]
    fn rows_that_are_not_there_are_refused() {
        join_rows(&[1, 2, 3, 4], 3, 2, &mut [0; 4]);
    }

    #[test]
    #[should_panic(expected = "reach beyond")]
    fn too_short_a_slice_is_refused() {
        copy_strided(&[1, 2, 3], &mut [0; 4], &[axis(4, 1, 1)]);
    }
}
