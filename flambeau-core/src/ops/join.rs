//! Putting tensors together, taking them apart, repeating and reordering their elements.

use crate::autocast::{Cast, Composite};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::binary::result_type;
use crate::ops::elementwise::{copy_into, to_contiguous};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, check_count, numel, sizes, wrap_dim, wrap_dims};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, with_stored};
use flambeau_cpu::simd::dispatch as dispatch_simd;
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::{SmallVec, smallvec};

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;

/// Concatenation along a dimension.
#[derive(Debug)]
struct Cat {
    dim: usize,
}

/// PyTorch lets tensors of shape `[0]` take part in any concatenation, as nothing.
fn is_nothing(shape: &[usize]) -> bool {
    shape == [0]
}

fn something<'a, 't>(inputs: &'a [&'t Tensor]) -> impl Iterator<Item = &'a &'t Tensor> {
    inputs.iter().filter(|t| !is_nothing(t.shape()))
}

impl Cat {
    /// The result's shape; `None` where there is nothing to put together.
    fn shape(&self, inputs: &[&Tensor]) -> Result<Option<Shape>> {
        let Some(first) = something(inputs).next() else {
            return Ok(None);
        };
        let mut shape = Shape::from_slice(first.shape());
        shape[self.dim] = 0;
        for (i, t) in something(inputs).enumerate() {
            let fits = t.dim() == shape.len()
                && (0..shape.len()).all(|d| d == self.dim || t.shape()[d] == shape[d]);
            if !fits {
                bail!(
                    "cat",
                    "shapes must agree in all dimensions but {}; tensor 0 has {:?}, tensor {i} has {:?}",
                    self.dim,
                    first.shape(),
                    t.shape()
                );
            }
            // Beyond what memory holds only where another size is 0.
            shape[self.dim] = shape[self.dim].saturating_add(t.shape()[self.dim]);
        }
        Ok(Some(shape))
    }
}

impl Op for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = result_type(inputs);
        let Some(shape) = self.shape(inputs)? else {
            return Ok(to_contiguous("cat", inputs[0], dtype)?.into());
        };
        let parts: Vec<Tensor> = something(inputs)
            .map(|&t| {
                if t.is_contiguous() && t.dtype() == dtype {
                    Ok(t.clone())
                } else {
                    to_contiguous("cat", t, dtype)
                }
            })
            .collect::<Result<_>>()?;
        let row = numel(&shape[self.dim..]);
        let out = with_stored!(dtype, S => {
            let reads: Vec<_> = parts.iter().map(|t| (t.read(), numel(&t.shape()[self.dim..]))).collect();
            Tensor::build::<S>("cat", &shape, dtype, |out| {
                if row == 0 {
                    return;
                }
                if row >= GRAIN {
                    // Long rows: threads share each piece.
                    for (o, mut out) in out.chunks_exact_mut(row).enumerate() {
                        for (read, len) in &reads {
                            let (piece, rest) = out.split_at_mut(*len);
                            let x = &read.slice::<S>()[o * len..(o + 1) * len];
                            parallel_chunks_mut(piece, GRAIN, |i, piece| {
                                piece.copy_from_slice(&x[i * GRAIN..][..piece.len()]);
                            });
                            out = rest;
                        }
                    }
                    return;
                }
                let per_chunk = (GRAIN / row).max(1);
                parallel_chunks_mut(out, per_chunk * row, |i, out| {
                    if reads.iter().all(|(_, len)| *len == 1) {
                        // Single elements, as in a stack along the last dimension.
                        for (j, (read, _)) in reads.iter().enumerate() {
                            let x = &read.slice::<S>()[i * per_chunk..];
                            for (out, &x) in out.chunks_exact_mut(row).zip(x) {
                                out[j] = x;
                            }
                        }
                        return;
                    }
                    for (k, mut out) in out.chunks_exact_mut(row).enumerate() {
                        let o = i * per_chunk + k;
                        for (read, len) in &reads {
                            let (piece, rest) = out.split_at_mut(*len);
                            piece.copy_from_slice(&read.slice::<S>()[o * len..(o + 1) * len]);
                            out = rest;
                        }
                    }
                });
            })
        })?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = result_type(inputs);
        let Some(shape) = self.shape(inputs)? else {
            return Ok(to_contiguous("cat", inputs[0], dtype)?.into());
        };
        let out = Tensor::empty_with(shape, (dtype, inputs[0].device()))?;
        let mut at = 0;
        for t in something(inputs) {
            let len = t.shape()[self.dim];
            let place = out.narrow(self.dim as i64, at as i64, len)?;
            copy_into(&t.to_dtype(dtype)?, &place)?;
            at += len;
        }
        Ok(out.into())
    }

    fn autocast(&self) -> Cast {
        Cast::Widest
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let mut from = 0;
        (0..ctx.input_count())
            .map(|i| {
                let shape = ctx.shape(i);
                if is_nothing(shape) {
                    return grad.slice(self.dim as i64, 0, 0, 1)?.reshape(0).map(Some);
                }
                let to = from + shape[self.dim];
                let piece = ctx
                    .needs(i)
                    .then(|| grad.slice(self.dim as i64, from, to, 1));
                from = to;
                piece.transpose()
            })
            .collect()
    }
}

/// Elements in reverse order along dimensions; its own inverse.
#[derive(Debug)]
struct Flip {
    dims: Shape,
}

impl Op for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0].contiguous()?;
        let shape = x.shape();
        let Some((&n, outer)) = shape.split_last() else {
            return Ok(to_contiguous("flip", &x, x.dtype())?.into());
        };
        let last = self.dims.contains(&outer.len());
        let out = with_stored!(x.dtype(), S => {
            let read = x.read();
            let src = &read.slice::<S>()[..x.numel()];
            Tensor::build::<S>("flip", shape, x.dtype(), |out| {
                if out.is_empty() {
                    return;
                }
                let per_chunk = (GRAIN / n).max(1);
                parallel_chunks_mut(out, per_chunk * n, |i, out| {
                    for (k, out) in out.chunks_exact_mut(n).enumerate() {
                        let (mut rest, mut from, mut step) = (i * per_chunk + k, 0, 1);
                        for (d, &size) in outer.iter().enumerate().rev() {
                            let at = rest % size;
                            rest /= size;
                            from += step * if self.dims.contains(&d) { size - 1 - at } else { at };
                            step *= size;
                        }
                        let row = &src[from * n..(from + 1) * n];
                        if last {
                            dispatch_simd(
                                #[inline(always)]
                                || out.iter_mut().zip(row.iter().rev()).for_each(|(o, &v)| *o = v),
                            );
                        } else {
                            out.copy_from_slice(row);
                        }
                    }
                });
            })
        })?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let mut out = inputs[0].detach();
        for &d in &self.dims {
            let last = out.shape()[d] as i64 - 1;
            let index = Tensor::arange_with(last, -1, -1, (DType::I64, out.device()))?;
            out = out.index_select(d as i64, &index)?;
        }
        Ok(match self.dims.is_empty() {
            true => out.copy()?,
            false => out,
        }
        .into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let dims = self.dims.clone();
        Ok(smallvec![Some(dispatch::call(Flip { dims }, &[grad])?)])
    }
}

/// The lower or upper triangle of the matrices in the last two dimensions, zeros elsewhere.
#[derive(Clone, Copy, Debug)]
struct Triangle {
    upper: bool,
    diagonal: i64,
}

impl Op for Triangle {
    fn name(&self) -> &'static str {
        if self.upper { "triu" } else { "tril" }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let out = to_contiguous(self.name(), inputs[0], inputs[0].dtype())?;
        let (n, m) = (out.shape()[out.dim() - 2], out.shape()[out.dim() - 1]);
        if out.numel() == 0 {
            return Ok(out.into());
        }
        with_stored!(out.dtype(), S => {
            for (i, row) in out.write().slice::<S>().chunks_exact_mut(m).enumerate() {
                // The first column on or right of the diagonal.
                let at = self.diagonal.saturating_add((i % n) as i64);
                if self.upper {
                    row[..at.clamp(0, m as i64) as usize].fill(S::default());
                } else {
                    row[at.saturating_add(1).clamp(0, m as i64) as usize..].fill(S::default());
                }
            }
        });
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let (n, m) = (x.shape()[x.dim() - 2], x.shape()[x.dim() - 1]);
        let count = |n: usize| Tensor::arange_with(0, n, 1, x.device());
        let distance = count(m)?.sub(count(n)?.unsqueeze(1)?)?;
        let kept = match self.upper {
            true => distance.ge(self.diagonal)?,
            false => distance.le(self.diagonal)?,
        };
        Ok(kept.where_(x, x.zeros_like()?)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(dispatch::call(*self, &[grad])?)])
    }
}

impl Tensor {
    /// The tensors one after the other along dimension `dim`
    /// ([`torch.cat`](https://pytorch.org/docs/stable/generated/torch.cat.html)); all other sizes
    /// must
    /// agree, types promote.
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1i64, 2]])?;
    /// assert_eq!(Tensor::cat(&[&x, &x], 0)?.shape(), [2, 2]);
    /// assert_eq!(Tensor::cat(&[&x, &x], 1)?.to_vec::<i64>()?, [1, 2, 1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For an empty list, 0-d tensors (use [`stack`](Tensor::stack)), and shapes that disagree.
    #[track_caller]
    pub fn cat<T: AsRef<Tensor>>(tensors: &[T], dim: i64) -> Result<Tensor> {
        let tensors: SmallVec<[&Tensor; 8]> = tensors.iter().map(AsRef::as_ref).collect();
        let Some(first) = tensors
            .iter()
            .find(|t| !is_nothing(t.shape()))
            .or(tensors.first())
        else {
            bail!(
                "cat",
                "the list of tensors is empty; there must be one at least"
            );
        };
        if let Some(i) = tensors.iter().position(|t| t.dim() == 0) {
            bail!(
                "cat",
                "tensor {i} is 0-d and has no dimension to go along; use stack"
            );
        }
        let dim = wrap_dim("cat", dim, first.dim())?;
        dispatch::call(Cat { dim }, &tensors)
    }

    /// The tensors, of one shape, along a new dimension `dim`
    /// ([`torch.stack`](https://pytorch.org/docs/stable/generated/torch.stack.html)).
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([1i64, 2])?, Tensor::new([3i64, 4])?);
    /// assert_eq!(Tensor::stack(&[&a, &b], 0)?.to_vec2::<i64>()?, [[1, 2], [3, 4]]);
    /// assert_eq!(Tensor::stack(&[&a, &b], -1)?.to_vec2::<i64>()?, [[1, 3], [2, 4]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For an empty list and shapes that differ.
    #[track_caller]
    pub fn stack<T: AsRef<Tensor>>(tensors: &[T], dim: i64) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(tensors.len());
        for (i, t) in tensors.iter().map(AsRef::as_ref).enumerate() {
            let first = tensors[0].as_ref();
            if t.shape() != first.shape() {
                bail!(
                    "stack",
                    "shapes must be equal; tensor 0 has {:?}, tensor {i} has {:?}",
                    first.shape(),
                    t.shape()
                );
            }
            rows.push(t.unsqueeze(dim)?);
        }
        let Some(first) = rows.first() else {
            bail!(
                "stack",
                "the list of tensors is empty; there must be one at least"
            );
        };
        // Counted before the new dimension was there, so that -1 means the last place.
        let dim = wrap_dim("stack", dim, first.dim())? as i64;
        Tensor::cat(&rows, dim)
    }

    /// Views of `size` indices each along dimension `dim`; the last may be shorter
    /// ([`torch.split`](https://pytorch.org/docs/stable/generated/torch.split.html)).
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let parts = Tensor::arange(0, 5, 1)?.split(2, 0)?;
    /// assert_eq!(parts.iter().map(Tensor::numel).collect::<Vec<_>>(), [2, 2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `size` is zero and the dimension is not, there is no such dimension, or the views would be
    /// more than 2^24.
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("split", dim)?;
        if size == 0 && n > 0 {
            bail!(
                "split",
                "pieces of size 0 do not make up dimension {dim} of size {n}"
            );
        }
        let size = size.max(1);
        let count = n.div_ceil(size).max(1);
        check_count("split", count)?;
        (0..count)
            .map(|i| self.slice(dim, i * size, (i * size).saturating_add(size), 1))
            .collect()
    }

    /// Views of the given sizes along dimension `dim`
    /// ([`torch.split`](https://pytorch.org/docs/stable/generated/torch.split.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let parts = Tensor::arange(0, 5, 1)?.split_with_sizes(&[1, 4], 0)?;
    /// assert_eq!(parts[1].to_vec::<i64>()?, [1, 2, 3, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the sizes do not add up to the dimension's.
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("split", dim)?;
        let sum = sizes.iter().fold(0usize, |sum, &s| sum.saturating_add(s));
        if sum != n {
            bail!(
                "split",
                "sizes {sizes:?} add up to {sum}, not to dimension {dim}'s {n}"
            );
        }
        let mut from = 0;
        sizes
            .iter()
            .map(|&size| {
                from += size;
                self.slice(dim, from - size, from, 1)
            })
            .collect()
    }

    /// Up to `chunks` views of equal size along dimension `dim`, but for the last
    /// ([`torch.chunk`](https://pytorch.org/docs/stable/generated/torch.chunk.html)).
    /// A dimension of size 0 gives as many empty views as are asked for.
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let parts = Tensor::arange(0, 5, 1)?.chunk(3, 0)?;
    /// assert_eq!(parts.iter().map(Tensor::numel).collect::<Vec<_>>(), [2, 2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `chunks` is zero, or the views would be more than 2^24.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("chunk", dim)?;
        if chunks == 0 {
            bail!("chunk", "the number of chunks must be above zero");
        }
        if n == 0 {
            check_count("chunk", chunks)?;
            return (0..chunks).map(|_| self.slice(dim, 0, 0, 1)).collect();
        }
        self.split(n.div_ceil(chunks), dim)
    }

    #[track_caller]
    fn split_size(&self, op: &'static str, dim: i64) -> Result<usize> {
        if self.dim() == 0 {
            bail!(op, "a 0-d tensor has no dimension to split");
        }
        Ok(self.shape()[self.dim_index(op, dim)?])
    }

    /// Views of each index of dimension `dim`, without that dimension
    /// ([`torch.unbind`](https://pytorch.org/docs/stable/generated/torch.unbind.html)).
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let columns = Tensor::new([[1i64, 2], [3, 4]])?.unbind(1)?;
    /// assert_eq!(columns[1].to_vec::<i64>()?, [2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For 0-d tensors, and where the views would be more than 2^24.
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("unbind", dim)?;
        check_count("unbind", n)?;
        (0..n as i64).map(|i| self.select(dim, i)).collect()
    }

    /// The whole tensor repeated, `repeats` times along each dimension; more repeats than
    /// dimensions add dimensions in front
    /// ([`torch.Tensor.repeat`](https://pytorch.org/docs/stable/generated/torch.Tensor.repeat.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1i64, 2])?.repeat([2, 2])?.to_vec2::<i64>()?,
    ///     [[1, 2, 1, 2], [1, 2, 1, 2]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For fewer repeats than dimensions, and negative ones.
    #[track_caller]
    pub fn repeat(&self, repeats: impl Dims) -> Result<Tensor> {
        let repeats = repeats.dims();
        let Some(lead) = repeats.len().checked_sub(self.dim()) else {
            bail!(
                "repeat",
                "{repeats:?} has fewer entries than the tensor's shape {:?}; tile fills up with 1",
                self.shape()
            );
        };
        let (mut split, mut wide, mut out) = (Shape::new(), Vec::new(), Vec::new());
        for (i, &r) in repeats.iter().enumerate() {
            if r < 0 {
                bail!("repeat", "{r} in {repeats:?} is negative");
            }
            let size = if i < lead { 1 } else { self.shape()[i - lead] };
            split.extend([1, size]);
            wide.extend([r, size as i64]);
            out.push((r as usize).saturating_mul(size));
        }
        self.reshape(split)?.expand(wide)?.reshape(out)
    }

    /// [`repeat`](Tensor::repeat) with as many 1s in front as there are dimensions too many
    /// ([`torch.tile`](https://pytorch.org/docs/stable/generated/torch.tile.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [3, 4]])?.tile(2)?.to_vec2::<i64>()?,
    ///     [[1, 2, 1, 2], [3, 4, 3, 4]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For negative repeats.
    #[track_caller]
    pub fn tile(&self, repeats: impl Dims) -> Result<Tensor> {
        let mut repeats = repeats.dims();
        while repeats.len() < self.dim() {
            repeats.insert(0, 1);
        }
        self.repeat(repeats.to_vec())
    }

    /// Each element (slice, with `dim`) repeated `repeats` times in place
    /// ([`torch.repeat_interleave`](https://pytorch.org/docs/stable/generated/torch.repeat_interleave.html));
    /// without `dim` (`()`) of the flattened tensor.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.repeat_interleave(2, 0)?.to_vec::<i64>()?, [1, 1, 2, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn repeat_interleave(&self, repeats: usize, dim: impl Dims) -> Result<Tensor> {
        let (x, dim) = self.one_dim("repeat_interleave", dim)?;
        let mut wide: Vec<usize> = x.shape().to_vec();
        wide.insert(dim + 1, repeats);
        let wide = x.unsqueeze(dim as i64 + 1)?.expand(wide)?;
        wide.flatten(dim as i64, dim as i64 + 1)
    }

    /// [`repeat_interleave`](Tensor::repeat_interleave) with a number for each index, a 1-d
    /// integer tensor
    /// ([`torch.repeat_interleave`](https://pytorch.org/docs/stable/generated/torch.repeat_interleave.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([1i64, 2])?.repeat_interleave_each(&Tensor::new([1i64, 3])?, 0)?;
    /// assert_eq!(y.to_vec::<i64>()?, [1, 2, 2, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the numbers are not as many as the dimension's indices, or negative.
    #[track_caller]
    pub fn repeat_interleave_each(&self, repeats: &Tensor, dim: impl Dims) -> Result<Tensor> {
        let (x, dim) = self.one_dim("repeat_interleave", dim)?;
        let counts = repeats.to_dtype(DType::I64)?.to_vec::<i64>()?;
        let n = x.shape()[dim];
        if counts.len() != n || repeats.dim() > 1 || counts.iter().any(|&c| c < 0) {
            bail!(
                "repeat_interleave",
                "repeats {counts:?} must be one number, not negative, for each of dimension {dim}'s {n} indices"
            );
        }
        let sum = counts.iter().fold(0i64, |sum, &c| sum.saturating_add(c));
        let shape = sizes("repeat_interleave", sum)?;
        let index = Tensor::build::<i64>("repeat_interleave", &shape, DType::I64, |out| {
            let each = (0..).zip(&counts);
            let all = each.flat_map(|(i, &c)| std::iter::repeat_n(i, c as usize));
            out.iter_mut().zip(all).for_each(|(o, i)| *o = i);
        })?;
        x.index_select(dim as i64, &index)
    }

    /// The tensor and its one dimension, or flattened where none is named.
    #[track_caller]
    fn one_dim(&self, op: &'static str, dim: impl Dims) -> Result<(Tensor, usize)> {
        match dim.dims()[..] {
            [] => Ok((self.reshape(-1)?, 0)),
            [_] if self.dim() == 0 => Ok((self.reshape(-1)?, 0)),
            [d] => Ok((self.clone(), self.dim_index(op, d)?)),
            ref dims => bail!(op, "takes one dimension or none, not {dims:?}"),
        }
    }

    /// A copy in reverse order along dimensions `dims`
    /// ([`torch.flip`](https://pytorch.org/docs/stable/generated/torch.flip.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [3, 4]])?.flip([0, 1])?.to_vec2::<i64>()?,
    ///     [[4, 3], [2, 1]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a dimension is out of range or named twice.
    #[track_caller]
    pub fn flip(&self, dims: impl Dims) -> Result<Tensor> {
        let list = dims.dims();
        let dims = if list.is_empty() {
            Shape::new()
        } else {
            wrap_dims("flip", &list, self.dim())?
        };
        dispatch::call(Flip { dims }, &[self])
    }

    /// A copy shifted by `shifts` along `dims`, what leaves at one end coming back at the other
    /// ([`torch.roll`](https://pytorch.org/docs/stable/generated/torch.roll.html)); without `dims`
    /// (`()`) the flattened tensor is rolled.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::arange(0, 5, 1)?.roll(2, 0)?.to_vec::<i64>()?, [3, 4, 0, 1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are not as many shifts as dimensions.
    #[track_caller]
    pub fn roll(&self, shifts: impl Dims, dims: impl Dims) -> Result<Tensor> {
        let (shifts, dims) = (shifts.dims(), dims.dims());
        if dims.is_empty() && shifts.len() == 1 {
            let shape = Shape::from_slice(self.shape());
            return self.reshape(-1)?.roll(shifts[0], 0)?.reshape(shape);
        }
        if shifts.len() != dims.len() {
            bail!(
                "roll",
                "shifts {shifts:?} and dimensions {dims:?} must be as many"
            );
        }
        let mut out = self.copy()?;
        for (&shift, &dim) in shifts.iter().zip(&dims) {
            let n = out.split_size("roll", dim)?;
            if n > 0 {
                let cut = n - shift.rem_euclid(n as i64) as usize;
                out = Tensor::cat(
                    &[out.slice(dim, cut, n, 1)?, out.slice(dim, 0, cut, 1)?],
                    dim,
                )?;
            }
        }
        Ok(out)
    }

    #[track_caller]
    fn triangle(&self, upper: bool, diagonal: i64) -> Result<Tensor> {
        let op = Triangle { upper, diagonal };
        if self.dim() < 2 {
            bail!(
                op.name(),
                "the tensor of shape {:?} must have 2 dimensions at least",
                self.shape()
            );
        }
        dispatch::call(op, &[self])
    }

    /// The lower triangle of the matrices in the last two dimensions, up to and with the
    /// `diagonal`-th diagonal (0 the main one, positive above it); zeros elsewhere
    /// ([`torch.tril`](https://pytorch.org/docs/stable/generated/torch.tril.html)).
    ///
    /// PyTorch's default: `diagonal` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.tril(0)?.to_vec2::<i64>()?, [[1, 0], [3, 4]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For fewer than two dimensions.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle(false, diagonal)
    }

    /// The upper triangle, from the `diagonal`-th diagonal on, as [`tril`](Tensor::tril)
    /// ([`torch.triu`](https://pytorch.org/docs/stable/generated/torch.triu.html)).
    ///
    /// PyTorch's default: `diagonal` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.triu(1)?.to_vec2::<i64>()?, [[0, 2], [0, 0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`tril`](Tensor::tril).
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle(true, diagonal)
    }

    /// Of a vector the matrix with it on the `diagonal`-th diagonal, of a matrix that diagonal
    /// ([`torch.diag`](https://pytorch.org/docs/stable/generated/torch.diag.html)).
    ///
    /// PyTorch's default: `diagonal` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.diag(0)?.to_vec2::<i64>()?, [[1, 0], [0, 2]]);
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.diag(1)?.to_vec::<i64>()?, [2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than one or two dimensions.
    #[track_caller]
    pub fn diag(&self, diagonal: i64) -> Result<Tensor> {
        match self.dim() {
            1 => {
                let skip = usize::try_from(diagonal.unsigned_abs()).unwrap_or(usize::MAX);
                let n = self.shape()[0].saturating_add(skip);
                let out = Tensor::zeros_with([n, n], (self.dtype(), self.device()))?;
                out.diagonal(diagonal, 0, 1)?.copy_(self)?;
                Ok(out)
            }
            2 => self.diagonal(diagonal, 0, 1)?.copy(),
            n => bail!(
                "diag",
                "takes a vector or a matrix, not a tensor of {n} dimensions"
            ),
        }
    }

    /// The sum of a matrix's main diagonal
    /// ([`torch.trace`](https://pytorch.org/docs/stable/generated/torch.trace.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.trace()?.item::<i64>()?, 5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than two dimensions.
    #[track_caller]
    pub fn trace(&self) -> Result<Tensor> {
        if self.dim() != 2 {
            bail!("trace", "takes a matrix, not shape {:?}", self.shape());
        }
        let region = Composite::new(Cast::Full, [self])?;
        let [x] = region.inputs();
        x.diagonal(0, 0, 1)?.sum()
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let list = |v: &[i64]| Arg::L(v.to_vec());
    let with = |shape: &[usize], args: &[Arg]| {
        let mut all = vec![t(shape)];
        all.extend_from_slice(args);
        Sample::new(all)
    };
    vec![
        OpSpec::new("cat", "torch.cat", |a| {
            Ok(vec![Tensor::cat(&a[0].tensors()?, a[1].int()?)?])
        })
        .samples(
            [
                (vec![t(&[2, 3]), t(&[1, 3])], 0),
                (vec![t(&[2, 3]), t(&[2, 1]), t(&[2, 0])], -1),
                (vec![t(&[2, 3, 2]), t(&[2, 1, 2])], 1),
                (vec![t(&[0]), t(&[2, 3])], 1),
            ]
            .map(|(ts, d)| Sample::new(vec![Arg::Ts(ts), Arg::I(d)]))
            .to_vec(),
        ),
        OpSpec::new("stack", "torch.stack", |a| {
            Ok(vec![Tensor::stack(&a[0].tensors()?, a[1].int()?)?])
        })
        .samples(
            [0, 1, -1]
                .map(|d| Sample::new(vec![Arg::Ts(vec![t(&[2, 3]), t(&[2, 3])]), Arg::I(d)]))
                .to_vec(),
        ),
        OpSpec::new("split", "lambda x, n, d: torch.split(x, n, d)", |a| {
            a[0].tensor()?.split(a[1].int()? as usize, a[2].int()?)
        })
        .samples(vec![
            with(&[5, 2], &[Arg::I(2), Arg::I(0)]),
            with(&[2, 6], &[Arg::I(3), Arg::I(-1)]),
        ]),
        OpSpec::new("chunk", "lambda x, n, d: torch.chunk(x, n, d)", |a| {
            a[0].tensor()?.chunk(a[1].int()? as usize, a[2].int()?)
        })
        .samples(vec![
            with(&[5, 2], &[Arg::I(3), Arg::I(0)]),
            with(&[2, 4], &[Arg::I(2), Arg::I(1)]),
        ]),
        OpSpec::new("unbind", "lambda x, d: torch.unbind(x, d)", |a| {
            a[0].tensor()?.unbind(a[1].int()?)
        })
        .samples(vec![with(&[3, 2], &[Arg::I(1)])]),
        OpSpec::new("repeat", "lambda x, r: x.repeat(r)", |a| {
            Ok(vec![a[0].tensor()?.repeat(a[1].list()?)?])
        })
        .samples(vec![
            with(&[2, 3], &[list(&[2, 2])]),
            with(&[3], &[list(&[2, 1, 3])]),
            with(&[2], &[list(&[0])]),
        ]),
        OpSpec::new("tile", "torch.tile", |a| {
            Ok(vec![a[0].tensor()?.tile(a[1].list()?)?])
        })
        .samples(vec![with(&[2, 3], &[list(&[2])])]),
        OpSpec::new(
            "repeat_interleave",
            "lambda x, r, d: torch.repeat_interleave(x, r, d[0] if d else None)",
            |a| {
                Ok(vec![
                    a[0].tensor()?
                        .repeat_interleave(a[1].int()? as usize, a[2].list()?)?,
                ])
            },
        )
        .samples(vec![
            with(&[2, 3], &[Arg::I(2), list(&[1])]),
            with(&[2, 3], &[Arg::I(3), list(&[])]),
        ]),
        OpSpec::new("flip", "torch.flip", |a| {
            Ok(vec![a[0].tensor()?.flip(a[1].list()?)?])
        })
        .samples(vec![
            with(&[2, 3], &[list(&[0])]),
            with(&[2, 3, 2], &[list(&[0, 2])]),
            with(&[], &[list(&[])]),
        ]),
        OpSpec::new(
            "roll",
            "lambda x, s, d: torch.roll(x, tuple(s), tuple(d))",
            |a| Ok(vec![a[0].tensor()?.roll(a[1].list()?, a[2].list()?)?]),
        )
        .samples(vec![
            with(&[2, 5], &[list(&[2]), list(&[1])]),
            with(&[3, 5], &[list(&[-1, 7]), list(&[0, 1])]),
            with(&[3, 2], &[list(&[1]), list(&[])]),
        ]),
        OpSpec::new("tril", "torch.tril", |a| {
            Ok(vec![a[0].tensor()?.tril(a[1].int()?)?])
        })
        .samples([0, -1, 2].map(|k| with(&[2, 3, 4], &[Arg::I(k)])).to_vec()),
        OpSpec::new("triu", "torch.triu", |a| {
            Ok(vec![a[0].tensor()?.triu(a[1].int()?)?])
        })
        .samples([0, -1, 2].map(|k| with(&[4, 3], &[Arg::I(k)])).to_vec()),
        OpSpec::new("diagonal", "torch.diagonal", |a| {
            let x = a[0].tensor()?;
            Ok(vec![x.diagonal(a[1].int()?, a[2].int()?, a[3].int()?)?])
        })
        .samples(vec![
            with(&[3, 4], &[Arg::I(1), Arg::I(0), Arg::I(1)]),
            with(&[2, 3, 4], &[Arg::I(-1), Arg::I(2), Arg::I(0)]),
        ]),
        OpSpec::new("diag", "torch.diag", |a| {
            Ok(vec![a[0].tensor()?.diag(a[1].int()?)?])
        })
        .samples(vec![
            with(&[3], &[Arg::I(0)]),
            with(&[3], &[Arg::I(-2)]),
            with(&[3, 4], &[Arg::I(1)]),
        ]),
        OpSpec::new("trace", "torch.trace", |a| {
            Ok(vec![a[0].tensor()?.trace()?])
        })
        .samples(vec![with(&[3, 4], &[])]),
    ]
}
