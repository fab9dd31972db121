//! Operands of any layout, type and broadcast, brought to chunks of a lane.

use super::copy::to_contiguous;
use super::{CHUNK, Lane};
use crate::dtype::Stored;
use crate::shape::broadcast_strides;
use crate::storage::Read;
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::copy::{every, join_rows};
use smallvec::SmallVec;

/// An operand, read along the row-major order of the result's elements.
pub(super) struct Source<'a> {
    read: Read<'a>,
    dtype: DType,
    /// Size and stride of the dimensions after merging, outermost first.
    pub dims: SmallVec<[(usize, usize); 6]>,
}

impl<'a> Source<'a> {
    pub fn new(t: &'a Tensor, shape: &[usize]) -> Source<'a> {
        let strides = broadcast_strides(t.shape(), t.strides(), shape);
        let mut dims: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        for (&d, &s) in shape.iter().zip(&strides) {
            match dims.last_mut() {
                _ if d == 1 => {}
                // Wrapping: where a size is 0, the others may multiply to more than memory holds.
                Some((size, stride)) if *stride == d.wrapping_mul(s) => {
                    (*size, *stride) = (size.wrapping_mul(d), s);
                }
                _ => dims.push((d, s)),
            }
        }
        if dims.is_empty() {
            dims.push((1, 1));
        }
        Source {
            read: t.read(),
            dtype: t.dtype(),
            dims,
        }
    }

    /// The elements as they stand, where they are contiguous and of lane `C`.
    pub fn direct<C: Lane>(&self) -> Option<&[C]> {
        (self.dtype == C::DTYPE && self.dims.len() == 1 && self.dims[0].1 == 1)
            .then(|| self.read.slice::<C>())
    }

    /// Elements in a row of the innermost dimension, and how far they lie apart.
    pub fn last(&self) -> (usize, usize) {
        self.dims[self.dims.len() - 1]
    }

    /// Whether a run along the last dimension can be taken as it stands: elements of lane `C`, one
    /// behind the other.
    pub fn in_runs<C: Lane>(&self) -> bool {
        self.dtype == C::DTYPE && self.last().1 == 1
    }

    /// Whether it is one element throughout.
    pub fn is_one(&self) -> bool {
        self.dims.len() == 1 && self.dims[0].1 == 0
    }

    /// A cursor at element `start` of the row-major order.
    pub fn at(&self, start: usize) -> Cursor<'_, 'a> {
        let (inner, stride) = self.last();
        let outer = &self.dims[..self.dims.len() - 1];
        let (mut rest, mut row) = (start / inner, 0);
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        for (i, &(size, step)) in index.iter_mut().zip(outer).rev() {
            *i = rest % size;
            rest /= size;
            row += *i * step;
        }
        Cursor {
            source: self,
            inner,
            stride,
            column: start % inner,
            row,
            index,
        }
    }
}

/// What is called with a place, the distance of several rows, and elements.
type Run<'f, C> = &'f mut dyn FnMut(usize, Option<usize>, &mut [C]);

/// Walks an operand in the row-major order.
pub(super) struct Cursor<'s, 'a> {
    source: &'s Source<'a>,
    /// Size and stride of the last dimension, and the place in it.
    inner: usize,
    stride: usize,
    column: usize,
    /// Where the row along it begins, and the places in the dimensions around it.
    row: usize,
    index: SmallVec<[usize; 6]>,
}

impl<'s> Cursor<'s, '_> {
    /// Elements up to the end of the row.
    pub fn left(&self) -> usize {
        self.inner - self.column
    }

    /// The next elements as they stand, where the source is [in runs](Source::in_runs) and they are no
    /// more than are [left](Cursor::left) of the row.
    pub fn piece<C: Lane>(&mut self, len: usize) -> Option<&'s [C]> {
        if !self.source.in_runs::<C>() || len > self.left() {
            return None;
        }
        let x = &self.source.read.slice::<C>()[self.row + self.column..][..len];
        self.advance(len);
        Some(x)
    }

    /// The next `out.len()` elements.
    pub fn gather<C: Lane>(&mut self, out: &mut [C]) {
        let (width, stride) = (self.inner, self.stride);
        if self.source.dtype == C::DTYPE {
            let x = self.source.read.slice::<C>();
            return self.runs(out, &mut |place, step, out| match (stride, step) {
                (1, Some(step)) => join_rows(&x[place..], step, width, out),
                (1, None) => out.copy_from_slice(&x[place..][..out.len()]),
                _ => each_row(place, step, width, out, |place, out| match stride {
                    0 => out.fill(x[place]),
                    _ => every(&x[place..], stride, out),
                }),
            });
        }
        with_stored!(self.source.dtype, S => {
            let x = self.source.read.slice::<S>();
            self.runs(out, &mut |place, step, out| {
                each_row(place, step, width, out, |place, out| match stride {
                    0 => out.fill(C::load(x[place])),
                    _ => convert_spaced(&x[place..], stride, out),
                })
            })
        });
    }

    /// Calls `f(place, step, elements)` for the runs along the last dimension that make up `out`, which
    /// begin at `place` of the memory. With a `step` they are several whole rows, so far apart.
    fn runs<C>(&mut self, mut out: &mut [C], f: Run<'_, C>) {
        while !out.is_empty() {
            let rows = match (self.index.last(), &self.source.dims[..]) {
                (Some(i), &[.., (size, step), _]) if self.column == 0 && size - i > 1 => {
                    Some(((size - i).min(out.len() / self.inner), step)).filter(|r| r.0 > 1)
                }
                _ => None,
            };
            let place = self.row + self.column * self.stride;
            let n = rows.map_or(self.left().min(out.len()), |r| r.0 * self.inner);
            let (run, rest) = std::mem::take(&mut out).split_at_mut(n);
            f(place, rows.map(|r| r.1), run);
            match rows {
                Some((rows, _)) => self.next_row(rows),
                None => self.advance(n),
            }
            out = rest;
        }
    }

    /// Goes on by no more than what is [left](Cursor::left).
    fn advance(&mut self, n: usize) {
        self.column += n;
        if self.column == self.inner {
            self.column = 0;
            self.next_row(1);
        }
    }

    /// Goes on by so many rows, no more than there are left along the dimension next to the last.
    fn next_row(&mut self, mut rows: usize) {
        let outer = &self.source.dims[..self.index.len()];
        for (i, &(size, step)) in self.index.iter_mut().zip(outer).rev() {
            *i += rows;
            self.row += rows * step;
            if *i < size {
                break;
            }
            self.row -= size * step;
            (*i, rows) = (0, 1);
        }
    }
}

/// Calls `f(place, row)` for the rows of `out`, which begin `step` apart in the memory, or for all of
/// it.
fn each_row<C>(
    place: usize,
    step: Option<usize>,
    width: usize,
    out: &mut [C],
    mut f: impl FnMut(usize, &mut [C]),
) {
    match step {
        None => f(place, out),
        Some(step) => {
            for (i, row) in out.chunks_mut(width).enumerate() {
                f(place + i * step, row);
            }
        }
    }
}

/// Every `stride`-th element of `x`, converted, into `out`.
fn convert_spaced<S: Stored, C: Lane>(x: &[S], stride: usize, out: &mut [C]) {
    if stride == 1 {
        return C::load_slice(&x[..out.len()], out);
    }
    let mut near = [S::default(); 128];
    for (i, out) in out.chunks_mut(near.len()).enumerate() {
        let near = &mut near[..out.len()];
        every(&x[i * 128 * stride..], stride, near);
        C::load_slice(near, out);
    }
}

/// Copies of the operands whose rows lie across memory, as a transpose's do: reading those element
/// by element would touch a cache line for each.
pub(super) fn rows_first<const N: usize>(
    op: &'static str,
    shape: &[usize],
    inputs: [&Tensor; N],
) -> Result<[Option<Tensor>; N]> {
    let mut out = [const { None }; N];
    for (out, t) in out.iter_mut().zip(inputs) {
        if t.shape() == shape && !t.is_contiguous() && t.numel() > CHUNK {
            let (_, stride) = Source::new(t, shape).last();
            if stride >= 8 {
                *out = Some(to_contiguous(op, t, t.dtype())?);
            }
        }
    }
    Ok(out)
}
