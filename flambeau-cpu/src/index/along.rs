//! An index of its own for every element.

use super::{Accumulate, GRAIN};
use crate::alloc::Pod;
use crate::threads::{SyncPtr, parallel_for};
use std::sync::atomic::{AtomicBool, Ordering};

/// Columns that are dealt with together: a cache line of each row and more, and few enough that what
/// they meet of a large tensor stays in the second cache.
const COLUMNS: usize = 64;

/// An index along a dimension of a contiguous tensor: element `[.., i, ..]` of the index names
/// element `[.., index[.., i, ..], ..]` of the tensor.
#[derive(Clone, Copy, Debug)]
pub struct Along<'a> {
    index: &'a [i64],
    shape: &'a [usize],
    sizes: &'a [usize],
    dim: usize,
}

/// Neighbouring elements of the index: number `first` and those after it, `count` of them. The place
/// of number `j` lies at `at + j * stride`, and its index times the dimension's stride.
struct Run {
    first: usize,
    count: usize,
    at: usize,
    stride: usize,
}

impl<'a> Along<'a> {
    /// An index of sizes `shape` for dimension `dim` of a tensor of `sizes`.
    ///
    /// # Panics
    /// If there are not as many dimensions, or the index is longer than the tensor along another one
    /// than `dim`, or its elements are not as many as its sizes say.
    pub fn new(index: &'a [i64], shape: &'a [usize], sizes: &'a [usize], dim: usize) -> Along<'a> {
        let fits = |d: usize| d == dim || shape[d] <= sizes[d];
        assert!(
            shape.len() == sizes.len() && dim < sizes.len() && (0..sizes.len()).all(fits),
            "an index of {shape:?} along dimension {dim} of {sizes:?}"
        );
        assert_eq!(index.len(), shape.iter().product(), "elements of the index");
        Along {
            index,
            shape,
            sizes,
            dim,
        }
    }

    /// Elements from one to the next of dimension `d` of the tensor.
    fn stride(&self, d: usize) -> usize {
        self.sizes[d + 1..].iter().product()
    }

    /// Where element `i` of the index's dimensions `from..to`, in row-major order, lies.
    fn offset(&self, from: usize, to: usize, i: usize) -> usize {
        let (mut rest, mut at, mut stride) = (i, 0, self.sizes[to..].iter().product::<usize>());
        for d in (from..to).rev() {
            at += rest % self.shape[d] * stride;
            rest /= self.shape[d];
            stride *= self.sizes[d];
        }
        at
    }

    /// Calls `f` on runs that make up the index. Runs whose places may be the same are called by one
    /// thread, in order; where `split`, none of them have to be.
    fn runs(&self, split: bool, f: impl Fn(Run) + Sync) {
        if self.index.is_empty() {
            return;
        }
        let (n, last) = (self.shape[self.dim], self.shape.len() - 1);
        let outer: usize = self.shape[..self.dim].iter().product();
        if self.dim == last {
            // Pieces of long rows, or some short ones.
            let pieces = if split { n.div_ceil(GRAIN) } else { 1 };
            // Where the index is as long as the tensor in the other dimensions, no division says it.
            let flat = self.shape[1.min(last)..last] == self.sizes[1.min(last)..last];
            let grain = (GRAIN / n).max(1);
            return parallel_for(outer * pieces, grain, |range| {
                for i in range {
                    let (row, from) = (i / pieces, i % pieces * GRAIN);
                    let at = match flat {
                        true => row * self.sizes[last],
                        false => self.offset(0, last, row),
                    };
                    f(Run {
                        first: row * n + from,
                        count: if pieces == 1 {
                            n
                        } else {
                            (n - from).min(GRAIN)
                        },
                        at,
                        stride: 0,
                    });
                }
            });
        }
        let inner: usize = self.shape[self.dim + 1..].iter().product();
        let flat = self.shape[self.dim + 2..] == self.sizes[self.dim + 2..];
        // Neighbouring columns: all that lies behind the dimension, or only the last one.
        let width = if flat { inner } else { self.shape[last] };
        let (between, columns) = (inner / width, (GRAIN / n).max(COLUMNS).min(width));
        let blocks = width.div_ceil(columns);
        let grain = (GRAIN / (n * columns)).max(1);
        parallel_for(outer * between * blocks, grain, |range| {
            for i in range {
                let (o, b) = (i / blocks / between, i / blocks % between);
                let from = i % blocks * columns;
                let count = (width - from).min(columns);
                let at = self.offset(0, self.dim, o) + from;
                let at = at
                    + if flat {
                        0
                    } else {
                        self.offset(self.dim + 1, last, b)
                    };
                for k in 0..n {
                    f(Run {
                        first: ((o * n + k) * between + b) * width + from,
                        count,
                        at,
                        stride: 1,
                    });
                }
            }
        });
    }

    /// Calls `f(run, its indices, size, stride)` for all runs, with the size and the stride of the
    /// dimension. `f` says whether all of the run's indices were in range.
    ///
    /// # Errors
    /// The first index that is out of range; others have been dealt with.
    fn each(
        &self,
        split: bool,
        f: impl Fn(Run, &[i64], usize, usize) -> bool + Sync,
    ) -> Result<(), i64> {
        let (size, step) = (self.sizes[self.dim], self.stride(self.dim));
        let bad = AtomicBool::new(false);
        self.runs(split, |run| {
            let index = &self.index[run.first..run.first + run.count];
            if !f(run, index, size, step) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        let out_of_range = |&i: &i64| i as u64 >= size as u64;
        match bad.into_inner() {
            false => Ok(()),
            true => Err(self.index.iter().copied().find(out_of_range).unwrap_or(-1)),
        }
    }

    fn check(&self, tensor: usize, of_index: usize) {
        let n: usize = self.sizes.iter().product();
        assert!(
            tensor >= n && of_index == self.index.len(),
            "{tensor} elements of {n}, {of_index} for an index of {}",
            self.index.len()
        );
    }
}

/// The elements of `x` that the index names, in its order.
///
/// ```
/// use flambeau_cpu::index::{Along, gather};
/// let mut out = [0; 4];
/// let along = Along::new(&[1, 1, 0, 1], &[2, 2], &[2, 2], 0);
/// gather(&[1, 2, 3, 4], along, &mut out).unwrap();
/// assert_eq!(out, [3, 4, 1, 4]);
/// ```
///
/// # Errors
/// The first index out of range.
///
/// # Panics
/// If a slice has not as many elements as sizes say.
pub fn gather<T: Pod>(x: &[T], along: Along<'_>, out: &mut [T]) -> Result<(), i64> {
    along.check(x.len(), out.len());
    let out = SyncPtr(out.as_mut_ptr());
    along.each(true, |run, index, size, step| {
        // SAFETY: runs count the index's elements, as many as `out` has, each once.
        let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(run.first), run.count) };
        let x = &x[run.at..];
        // SAFETY: indices below the size lead to places in the tensor, whose elements `x` has.
        unsafe {
            match (run.stride, step) {
                (0, 1) => gather_run(x, index, size, |_, i| i, out),
                (0, _) => gather_run(x, index, size, |_, i| i * step, out),
                _ => gather_run(x, index, size, |j, i| j + i * step, out),
            }
        }
    })
}

/// `out[j] = x[place(j, index[j])]`, where the index is below `size`; whether all are.
///
/// # Safety
/// The places of indices below `size` lie in `x`.
// A function of its own, that the slices are known to lie apart.
#[inline(never)]
unsafe fn gather_run<T: Pod>(
    x: &[T],
    index: &[i64],
    size: usize,
    place: impl Fn(usize, usize) -> usize,
    out: &mut [T],
) -> bool {
    let mut all = true;
    for (j, (o, &i)) in out.iter_mut().zip(index).enumerate() {
        if i as u64 >= size as u64 {
            all = false;
            continue;
        }
        // SAFETY: the caller's promise.
        *o = unsafe { *x.get_unchecked(place(j, i as usize)) };
    }
    all
}

/// Puts the elements of `src` where the index says.
///
/// # Errors
/// The first index out of range; others have been put.
///
/// # Panics
/// As [`gather`].
pub fn scatter<T: Pod>(out: &mut [T], along: Along<'_>, src: &[T]) -> Result<(), i64> {
    write(out, along, src, |_, v| v)
}

/// Adds the elements of `src` where the index says.
///
/// # Errors
/// As [`scatter`].
///
/// # Panics
/// As [`gather`].
pub fn scatter_add<T: Accumulate>(out: &mut [T], along: Along<'_>, src: &[T]) -> Result<(), i64> {
    write(out, along, src, T::plus)
}

#[inline(always)]
fn write<T: Pod>(
    out: &mut [T],
    along: Along<'_>,
    src: &[T],
    with: impl Fn(T, T) -> T + Sync,
) -> Result<(), i64> {
    along.check(out.len(), src.len());
    let out = SyncPtr(out.as_mut_ptr());
    along.each(false, |run, index, size, step| {
        let src = &src[run.first..run.first + run.count];
        // SAFETY: a run begins in the tensor. Indices below the size lead to places in it; those that
        // are the same are met by one thread, for others differ in a dimension before or behind.
        unsafe {
            let out = out.get().add(run.at);
            match (run.stride, step) {
                (0, 1) => write_run(out, index, size, src, |_, i| i, &with),
                (0, _) => write_run(out, index, size, src, |_, i| i * step, &with),
                _ => write_run(out, index, size, src, |j, i| j + i * step, &with),
            }
        }
    })
}

/// `out[place(j, index[j])]` with `src[j]`, where the index is below `size`; whether all are.
///
/// # Safety
/// The places of indices below `size` may be written.
// A function of its own, that nothing else is thought to change with `out`.
#[inline(never)]
unsafe fn write_run<T: Pod>(
    out: *mut T,
    index: &[i64],
    size: usize,
    src: &[T],
    place: impl Fn(usize, usize) -> usize,
    with: impl Fn(T, T) -> T,
) -> bool {
    let mut all = true;
    // Several are checked at once, which are then written without a look between.
    const BLOCK: usize = 8;
    for (b, (index, src)) in index.chunks(BLOCK).zip(src.chunks(BLOCK)).enumerate() {
        let inside = index
            .iter()
            .fold(true, |all, &i| all & ((i as u64) < size as u64));
        for (j, (&i, &v)) in index.iter().zip(src).enumerate() {
            if !inside && i as u64 >= size as u64 {
                all = false;
                continue;
            }
            // SAFETY: the caller's promise.
            unsafe {
                let o = out.add(place(b * BLOCK + j, i as usize));
                *o = with(*o, v);
            }
        }
    }
    all
}
