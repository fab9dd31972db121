//! Operands of any layout, type and broadcast, brought to chunks of a lane.

use super::copy::to_contiguous;
use super::{CHUNK, Lane};
use crate::dtype::Stored;
use crate::shape::broadcast_strides;
use crate::storage::Read;
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use smallvec::SmallVec;
use std::ops::Range;

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

    /// Where element `i` lies.
    fn place(&self, i: usize) -> usize {
        let (mut rest, mut at) = (i, 0);
        for &(size, stride) in self.dims.iter().rev() {
            at += rest % size * stride;
            rest /= size;
        }
        at
    }

    /// Elements `start..start + len` as they stand, where they are contiguous and of lane `C`.
    pub fn piece<C: Lane>(&self, start: usize, len: usize) -> Option<&[C]> {
        let (size, stride) = self.last();
        let fits = self.dtype == C::DTYPE && stride == 1 && start % size + len <= size;
        fits.then(|| &self.read.slice::<C>()[self.place(start)..][..len])
    }

    /// Elements `start..start + out.len()` of the row-major order.
    pub fn gather<C: Lane>(&self, start: usize, out: &mut [C]) {
        let stride = self.last().1;
        if self.dtype == C::DTYPE {
            let x = self.read.slice::<C>();
            return self.runs(start, out.len(), &mut |at, place| {
                let (out, x) = (&mut out[at], &x[place..]);
                match stride {
                    0 => out.fill(x[0]),
                    1 => out.copy_from_slice(&x[..out.len()]),
                    _ => flambeau_cpu::copy::every(x, stride, out),
                }
            });
        }
        with_stored!(self.dtype, S => {
            let x = self.read.slice::<S>();
            self.runs(start, out.len(), &mut |at, place| {
                let (out, x) = (&mut out[at], &x[place..]);
                match stride {
                    0 => out.fill(C::load(x[0])),
                    _ => convert_spaced(x, stride, out),
                }
            })
        });
    }

    /// Calls `f(at, place)` for the runs along the last dimension that make up elements
    /// `start..start + len`: those number `at`, counted from `start`, begin at `place` of the memory.
    fn runs(&self, start: usize, len: usize, f: &mut dyn FnMut(Range<usize>, usize)) {
        let (inner, stride) = self.last();
        let outer = &self.dims[..self.dims.len() - 1];
        let (mut column, mut rest, mut base) = (start % inner, start / inner, 0);
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        for (i, &(size, step)) in index.iter_mut().zip(outer).rev() {
            *i = rest % size;
            rest /= size;
            base += *i * step;
        }
        let mut at = 0;
        while at < len {
            let end = at + (inner - column).min(len - at);
            f(at..end, base + column * stride);
            (at, column) = (end, 0);
            for (i, &(size, step)) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                base += step;
                if *i < size {
                    break;
                }
                base -= size * step;
                *i = 0;
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
        flambeau_cpu::copy::every(&x[i * 128 * stride..], stride, near);
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
