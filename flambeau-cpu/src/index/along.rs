//! An index of its own for every element.

use super::{Accumulate, GRAIN};
use crate::alloc::Pod;
use crate::threads::{SyncPtr, parallel_for};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

crate::simd_fn! {
    /// Whether all indices are below `size` and none is negative.
    fn all_inside(index: &[i64], size: usize) -> bool {
        // As unsigned numbers negative ones are the largest.
        index.iter().fold(0, |most, &i| most.max(i as u64)) < size as u64
    }
}

/// Columns that are dealt with together: a cache line of each row and more, and few enough that what
/// they meet of a large tensor stays in the second cache.
const COLUMNS: usize = 64;

/// Elements of the index that stay in the first cache from when they are checked until they are used.
const PIECE: usize = 2048;

/// An index along a dimension of a contiguous tensor: element `[.., i, ..]` of the index names
/// element `[.., index[.., i, ..], ..]` of the tensor.
#[derive(Clone, Copy, Debug)]
pub struct Along<'a> {
    index: &'a [i64],
    shape: &'a [usize],
    sizes: &'a [usize],
    dim: usize,
}

/// Neighbouring elements of the index: number `first` and those after it, in `rows` of `width`.
/// The place of number `j` of row `r` lies at `at + r * pitch + j * stride`, and its index times the
/// dimension's stride.
struct Run {
    first: usize,
    rows: usize,
    width: usize,
    at: usize,
    pitch: usize,
    stride: usize,
}

impl Run {
    /// The run's part of what has an element for each of the index.
    fn of<T>(&self, all: &[T]) -> Range<usize> {
        let range = self.first..self.first + self.rows * self.width;
        assert!(range.end <= all.len(), "a run within the index");
        range
    }
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
    /// thread, in order. Along the last dimension no run is longer than `most` elements; where that cuts
    /// rows, threads share their pieces.
    fn runs(&self, most: usize, f: impl Fn(Run) + Sync) {
        if self.index.is_empty() {
            return;
        }
        let (n, last) = (self.shape[self.dim], self.shape.len() - 1);
        let outer: usize = self.shape[..self.dim].iter().product();
        if self.dim == last {
            let run = |row: usize, rows: usize, from: usize, width: usize| Run {
                first: row * n + from,
                rows,
                width,
                at: self.offset(0, last, row),
                pitch: self.sizes[last],
                stride: 0,
            };
            if n > most {
                let pieces = n.div_ceil(most);
                return parallel_for(outer * pieces, (GRAIN / most).max(1), |range| {
                    for i in range {
                        let (row, from) = (i / pieces, i % pieces * most);
                        f(run(row, 1, from, (n - from).min(most)));
                    }
                });
            }
            // Where the index is as long as the tensor in the other dimensions, rows follow each other
            // throughout, else along the last of these.
            let flat = self.shape[1.min(last)..last] == self.sizes[1.min(last)..last];
            let together = if flat { outer } else { self.shape[last - 1] };
            return parallel_for(outer, (GRAIN / n).max(1), |range| {
                let mut row = range.start;
                while row < range.end {
                    let rows = (together - row % together).min(range.end - row);
                    let rows = rows.min(most / n);
                    f(run(row, rows, 0, n));
                    row += rows;
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
                        rows: 1,
                        width: count,
                        at,
                        pitch: 0,
                        stride: 1,
                    });
                }
            }
        });
    }

    /// The first index that is out of range, as an error.
    fn first_outside(&self) -> Result<(), i64> {
        let size = self.sizes[self.dim];
        let found = (self.index.iter()).find(|&&i| i as u64 >= size as u64);
        found.map_or(Ok(()), |&i| Err(i))
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
    let (size, step) = (along.sizes[along.dim], along.stride(along.dim));
    let (out, outside) = (SyncPtr(out.as_mut_ptr()), AtomicBool::new(false));
    along.runs(PIECE, |run| {
        let index = &along.index[run.of(along.index)];
        if !all_inside(index, size) {
            return outside.store(true, Ordering::Relaxed);
        }
        // SAFETY: runs count the index's elements, as many as `out` has, each once.
        let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(run.first), index.len()) };
        // SAFETY: indices below the size lead to places in the tensor, whose elements `x` has.
        unsafe {
            match run.stride {
                0 => gather_run(x, &run, index, |_, i| i, out),
                _ => gather_run(x, &run, index, |j, i| j + i * step, out),
            }
        }
    });
    match outside.into_inner() {
        true => along.first_outside(),
        false => Ok(()),
    }
}

/// `out[j] = x[place(j, index[j])]` for each row, from where it begins.
///
/// # Safety
/// The places lie in `x`.
// A function of its own, that the slices are known to lie apart.
#[inline(never)]
unsafe fn gather_run<T: Pod>(
    x: &[T],
    run: &Run,
    index: &[i64],
    place: impl Fn(usize, usize) -> usize,
    out: &mut [T],
) {
    let (x, mut at, pitch) = (x.as_ptr(), run.at, run.pitch);
    let rows = index.chunks_exact(run.width);
    for (index, out) in rows.zip(out.chunks_exact_mut(run.width)) {
        for (j, (o, &i)) in out.iter_mut().zip(index).enumerate() {
            // SAFETY: the caller's promise.
            *o = unsafe { *x.add(at + place(j, i as usize)) };
        }
        at += pitch;
    }
}

/// Puts the elements of `src` where the index says.
///
/// # Errors
/// The first index out of range; nothing has been put then.
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
    let (size, step) = (along.sizes[along.dim], along.stride(along.dim));
    let outside = AtomicBool::new(false);
    parallel_for(along.index.len(), 2 * GRAIN, |range| {
        if !all_inside(&along.index[range], size) {
            outside.store(true, Ordering::Relaxed);
        }
    });
    if outside.into_inner() {
        return along.first_outside();
    }
    let out = SyncPtr(out.as_mut_ptr());
    along.runs(usize::MAX, |run| {
        let (index, src) = (&along.index[run.of(along.index)], &src[run.of(src)]);
        // SAFETY: a run's rows begin in the tensor. Indices below the size lead to places in it; those
        // that are the same are met by one thread, for others differ in a dimension before or behind.
        unsafe {
            match run.stride {
                0 => write_run(out.get(), &run, index, src, |_, i| i, &with),
                _ => write_run(out.get(), &run, index, src, |j, i| j + i * step, &with),
            }
        }
    });
    Ok(())
}

/// `out[place(j, index[j])]` with `src[j]` for each row, from where it begins.
///
/// # Safety
/// The places may be written.
// A function of its own, that nothing else is thought to change with `out`.
#[inline(never)]
unsafe fn write_run<T: Pod>(
    out: *mut T,
    run: &Run,
    index: &[i64],
    src: &[T],
    place: impl Fn(usize, usize) -> usize,
    with: impl Fn(T, T) -> T,
) {
    let (mut at, pitch) = (run.at, run.pitch);
    let rows = index.chunks_exact(run.width);
    for (index, src) in rows.zip(src.chunks_exact(run.width)) {
        for (j, (&i, &v)) in index.iter().zip(src).enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let o = out.add(at + place(j, i as usize));
                *o = with(*o, v);
            }
        }
        at += pitch;
    }
}
