//! Where elements differ from zero.

use super::plan::{Plan, put};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, with_stored};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::{SmallVec, smallvec};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Elements of a row that are looked at in one go.
const SEGMENT: usize = 256;

/// The elements of input 0 where input 1, a bool tensor of the same shape, is true.
#[derive(Debug)]
struct MaskedSelect;

impl Op for MaskedSelect {
    fn name(&self) -> &'static str {
        "masked_select"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, mask) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        let guard = mask.read();
        let mask = &guard.slice::<u8>()[..x.numel()];
        let counts = counts(mask);
        let out = with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = read.slice::<S>();
            let shape = [counts.iter().sum()];
            Tensor::build::<S>("masked_select", &shape, x.dtype(), |out| {
                let mut parts = parts(out, &counts, 1);
                parallel_chunks_mut(&mut parts, 1, |i, part| {
                    let end = mask.len().min((i + 1) * GRAIN);
                    select(&src[i * GRAIN..end], &mask[i * GRAIN..end], part[0]);
                });
            })
        })?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(1)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let shape = ctx.shape(0);
        let index = ctx.input(1)?.reshape(-1)?.nonzero()?.reshape(-1)?;
        let n = crate::shape::numel(shape);
        // Not written before the copy that gradients are put into.
        let zeros = Tensor::zeros_with((), (grad.dtype(), grad.device()))?.expand([n])?;
        let plan = Plan::new("masked_select", &[n], &[0], &[index], false)?;
        Ok(smallvec![
            Some(put(&zeros, &plan, grad, false)?.view(shape)?),
            None
        ])
    }
}

/// The elements of `x` where `mask` is not 0, for whose number `out` has room.
fn select<S: Stored>(x: &[S], mask: &[u8], out: &mut [S]) {
    let mut rest = out;
    let mut found = [S::default(); SEGMENT + 1];
    for (x, mask) in x.chunks(SEGMENT).zip(mask.chunks(SEGMENT)) {
        // As for positions, below.
        let mut count = 0;
        for (&v, &m) in x.iter().zip(mask) {
            found[count] = v;
            count += (m != 0) as usize;
        }
        let (piece, others) = rest.split_at_mut(count);
        piece.copy_from_slice(&found[..count]);
        rest = others;
    }
}

/// How many elements of each piece of [`GRAIN`] are not zero.
fn counts<S: Stored>(x: &[S]) -> Vec<usize> {
    let mut counts = vec![0; x.len().div_ceil(GRAIN)];
    parallel_chunks_mut(&mut counts, 1, |i, count| {
        count[0] = count_true(&x[i * GRAIN..x.len().min((i + 1) * GRAIN)]);
    });
    counts
}

/// `out` cut into pieces of so many times `width` elements.
fn parts<'a, T>(out: &'a mut [T], counts: &[usize], width: usize) -> Vec<&'a mut [T]> {
    let (mut parts, mut rest) = (Vec::with_capacity(counts.len()), out);
    for count in counts {
        let (part, others) = rest.split_at_mut(count * width);
        parts.push(part);
        rest = others;
    }
    parts
}

impl Tensor {
    /// The elements where `mask`, a bool tensor that broadcasts, is true, in one dimension
    /// ([`torch.masked_select`](https://pytorch.org/docs/stable/generated/torch.masked_select.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([1i64, 2, 3])?;
    /// assert_eq!(x.masked_select(&x.ne(2)?)?.to_vec::<i64>()?, [1, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the mask is not bool or does not broadcast.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        if mask.dtype() != DType::Bool {
            bail!(
                "masked_select",
                "the mask must be bool, not {}; compare first (mask.ne(0))",
                mask.dtype()
            );
        }
        let shape = crate::shape::broadcast("masked_select", self.shape(), mask.shape())?;
        let (x, mask) = (self.expand(&shape)?, mask.expand(&shape)?);
        if x.on_cuda() || mask.on_cuda() {
            return x.take(&mask.reshape(-1)?.nonzero()?.reshape(-1)?);
        }
        dispatch::call(MaskedSelect, &[&x, &mask])
    }

    /// The positions of the elements that differ from zero, `[count, dimensions]`, in row-major
    /// order ([`torch.nonzero`](https://pytorch.org/docs/stable/generated/torch.nonzero.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[0i64, 7], [8, 0]])?.nonzero()?.to_vec2::<i64>()?,
    ///     [[0, 1], [1, 0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn nonzero(&self) -> Result<Tensor> {
        let (x, dims) = (self.detach().contiguous()?, self.dim());
        let out = with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = &read.slice::<S>()[..x.numel()];
            // Counted first, so that threads know where to write.
            let counts = counts(src);
            let shape = [counts.iter().sum(), dims];
            Tensor::build::<i64>("nonzero", &shape, DType::I64, |out| {
                let mut parts = parts(out, &counts, dims);
                parallel_chunks_mut(&mut parts, 1, |i, part| {
                    let end = src.len().min((i + 1) * GRAIN);
                    positions(&src[..end], i * GRAIN, x.shape(), part[0]);
                });
            })
        })?;
        out.to_device(self.device())
    }
}

fn count_true<S: Stored>(x: &[S]) -> usize {
    flambeau_cpu::simd::dispatch(
        #[inline(always)]
        || x.iter().map(|v| v.to_bool() as u32).sum::<u32>() as usize,
    )
}

/// The positions in a tensor of sizes `shape` of those elements from number `start` on that are not
/// zero, into `out`, which has room for just them.
fn positions<S: Stored>(x: &[S], start: usize, shape: &[usize], out: &mut [i64]) {
    let Some((&n, outer)) = shape.split_last() else {
        return;
    };
    let mut index: SmallVec<[i64; 6]> = SmallVec::from_elem(0, shape.len());
    let (mut at, mut column, mut rest) = (start, start % n, start / n);
    for (i, &size) in index.iter_mut().zip(outer).rev() {
        *i = (rest % size) as i64;
        rest /= size;
    }
    let mut out = out.chunks_exact_mut(shape.len());
    let mut found = [0i64; SEGMENT + 1];
    while at < x.len() {
        let len = (n - column).min(x.len() - at).min(SEGMENT);
        // Each is written down, and stays if it is one: nothing here depends on a branch.
        let mut count = 0;
        for (i, v) in x[at..at + len].iter().enumerate() {
            found[count] = (column + i) as i64;
            count += v.to_bool() as usize;
        }
        for (out, &column) in out.by_ref().take(count).zip(&found) {
            out.copy_from_slice(&index);
            out[shape.len() - 1] = column;
        }
        (at, column) = (at + len, column + len);
        if column == n {
            column = 0;
            for (i, &size) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                if *i < size as i64 {
                    break;
                }
                *i = 0;
            }
        }
    }
}
