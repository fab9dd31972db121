//! How two operands lie beside the elements of a result.

use super::{Hot, LONGEST, TILE};
use crate::DType;
use crate::tensor::Tensor;
use smallvec::SmallVec;

/// The dimensions of a result and the strides of both operands, those that all run along merged.
pub(super) struct Layout(pub SmallVec<[(usize, [usize; 2]); 6]>);

impl Layout {
    pub fn new(shape: &[usize], strides: [&[usize]; 2]) -> Layout {
        let mut dims: SmallVec<[(usize, [usize; 2]); 6]> = SmallVec::new();
        for (d, &n) in shape.iter().enumerate() {
            let s = [strides[0][d], strides[1][d]];
            match dims.last_mut() {
                _ if n == 1 => {}
                Some((size, outer)) if (0..2).all(|i| outer[i] == n * s[i]) => {
                    (*size, *outer) = (*size * n, s);
                }
                _ => dims.push((n, s)),
            }
        }
        Layout(dims)
    }

    pub fn inner(&self) -> (usize, [usize; 2]) {
        self.0.last().copied().unwrap_or((1, [1, 1]))
    }

    /// Whether an operand is one element for a whole row, and rows too short to be worth a call each:
    /// it goes by [`Spread`].
    pub fn spreads(&self, operand: usize) -> bool {
        let (width, inner) = self.inner();
        let short = self.0.len() > 1 && width < TILE / 8;
        short && inner[operand] == 0 && inner[1 - operand] == 1
    }

    /// Calls `f(first, places, len)` for the rows, or parts of rows, that make up elements
    /// `start..start + len`; `first` counts from `start`.
    pub fn rows(&self, start: usize, len: usize, f: &mut dyn FnMut(usize, [usize; 2], usize)) {
        let (width, stride) = self.inner();
        // One row needs no division.
        if self.0.len() <= 1 {
            return f(0, stride.map(|s| start * s), len);
        }
        let outer = &self.0[..self.0.len() - 1];
        let (mut column, mut rest, mut base) = (start % width, start / width, [0, 0]);
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        for (i, &(size, s)) in index.iter_mut().zip(outer).rev() {
            *i = rest % size;
            rest /= size;
            (0..2).for_each(|k| base[k] += *i * s[k]);
        }
        let mut done = 0;
        while done < len {
            let n = (width - column).min(len - done);
            f(
                done,
                std::array::from_fn(|k| base[k] + column * stride[k]),
                n,
            );
            (done, column) = (done + n, 0);
            for (i, &(size, s)) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                (0..2).for_each(|k| base[k] += s[k]);
                if *i < size {
                    break;
                }
                (0..2).for_each(|k| base[k] -= size * s[k]);
                *i = 0;
            }
        }
    }
}

/// Elements that [`Spread`] writes at a time, so many beyond the end of a row too.
const STEP: usize = 16;
/// A piece, what of its first and last row lies outside of it, and what is written too much.
const BESIDE: usize = TILE + TILE / 4 + STEP;

/// An operand that is one element for a whole row, where rows are too short to be worth a call each:
/// what stands beside some rows is written out first.
pub(super) struct Spread {
    pub layout: Layout,
    pub operand: usize,
}

impl Spread {
    /// Where the element for a row lies.
    fn place(&self, row: usize) -> usize {
        let outer = &self.layout.0[..self.layout.0.len() - 1];
        let (mut rest, mut place) = (row, 0);
        for &(size, strides) in outer.iter().rev() {
            place += rest % size * strides[self.operand];
            rest /= size;
        }
        place
    }

    /// Calls `f(first, piece, what stands beside it)` for the pieces of `out`, whose first element is
    /// number `start`.
    pub fn each<S: Hot>(
        &self,
        x: &[S],
        start: usize,
        out: &mut [S],
        mut f: impl FnMut(usize, &mut [S], &[S]),
    ) {
        let [.., (size, strides), (width, _)] = self.layout.0[..] else {
            return;
        };
        let stride = strides[self.operand];
        let mut beside = [S::default(); BESIDE];
        let mut at = start;
        for out in out.chunks_mut(TILE) {
            // Runs along the last of the outer dimensions.
            let (mut row, column) = (at / width, at % width);
            let rows = (column + out.len()).div_ceil(width);
            let mut done = 0;
            while done < rows {
                let run = (size - row % size).min(rows - done);
                let place = self.place(row);
                let into = &mut beside[done * width..];
                repeat(&x[place..], stride, (run, width), into);
                (done, row) = (done + run, row + run);
            }
            f(at, out, &beside[column..column + out.len()]);
            at += out.len();
        }
    }
}

/// Rows of `width` elements, `run` of them, each of one element of `x`; they lie `stride` apart. Up to
/// [`STEP`] elements beyond are written too.
fn repeat<S: Hot>(x: &[S], stride: usize, (run, width): (usize, usize), out: &mut [S]) {
    flambeau_cpu::simd::dispatch(
        #[inline(always)]
        move || {
            for i in 0..run {
                let (mut at, end) = (i * width, (i + 1) * width);
                let value = [x[i * stride]; STEP];
                while at < end {
                    out[at..at + STEP].copy_from_slice(&value);
                    at += STEP;
                }
            }
        },
    );
}

/// Where `b` is the same again and again, and its rows are too short to be worth a call each: one
/// period of it, and short ones often enough for [`TILE`] elements from any of the first on.
pub(super) fn tile<S: Hot>(
    layout: &Layout,
    b: &Tensor,
    dtype: DType,
    contiguous: impl Fn() -> bool,
) -> Option<(Tensor, usize)> {
    let (width, [_, stride]) = layout.inner();
    let [(4.., [period, 0]), _, ..] = layout.0[..] else {
        return None;
    };
    let longest = if stride == 0 { TILE } else { LONGEST };
    if width >= TILE / 8 || stride > 1 || period > longest || !contiguous() {
        return None;
    }
    let read = b.read();
    let b = read.slice::<S>();
    let len = match period {
        TILE.. => period,
        _ => period + TILE.next_multiple_of(period),
    };
    // From the cache of memory: new pages would take longer than the rest.
    let made = Tensor::build::<S>("tile", &[len], dtype, |out| {
        layout.rows(0, period, &mut |at, [_, q], n| match stride {
            1 => out[at..at + n].copy_from_slice(&b[q..q + n]),
            _ => out[at..at + n].fill(b[q]),
        });
        for at in (period..len).step_by(period) {
            out.copy_within(..period, at);
        }
    });
    Some((made.ok()?, period))
}

/// Calls `f(piece, what stands beside it)` for the pieces of `out`, whose first element is number
/// `start`, beside a [`tile`] of that period.
pub(super) fn tiles<S>(
    out: &mut [S],
    start: usize,
    (tile, period): (&[S], usize),
    mut f: impl FnMut(usize, &mut [S], &[S]),
) {
    let (mut at, mut rest) = (start, out);
    while !rest.is_empty() {
        let beside = &tile[at % period..];
        let (piece, others) = rest.split_at_mut(beside.len().min(rest.len()));
        f(at, piece, beside);
        at += piece.len();
        rest = others;
    }
}
